/* Tiles of int32 sums, sixteen columns at a time. A column's parameters are loaded once for all rows. */
#include "kernels/avx512vnni/lanes_avx512vnni.h"

void ql_requantize_s32_x8__avx512vnni(const int32_t *acc, size_t acc_stride, size_t rows, size_t cols,
                                      const float *multiplier, int32_t zero_point, int32_t qmin, int32_t qmax,
                                      uint8_t *codes, size_t codes_stride)
{
    const __m512 low = _mm512_set1_ps((float)(qmin - zero_point)), high = _mm512_set1_ps((float)(qmax - zero_point));
    const __m512i z = _mm512_set1_epi32(zero_point);
    for (size_t j = 0; j < cols; j += LANES) {
        __mmask16 mask = lane_mask(cols - j);
        __m512 m = _mm512_maskz_loadu_ps(mask, multiplier + j);
        for (size_t i = 0; i < rows; i++) {
            __m512 r = _mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(mask, acc + i * acc_stride + j));
            r = _mm512_min_ps(_mm512_max_ps(_mm512_mul_ps(r, m), low), high);
            __m512i code = _mm512_add_epi32(_mm512_cvtps_epi32(r), z);
            _mm512_mask_cvtepi32_storeu_epi8(codes + i * codes_stride + j, mask, code);
        }
    }
}

/* (a * q + 2^30) >> 31: of the 64-bit lanes only the low 32 bits are wanted. odd_mantissa: those of odd lanes. */
static inline __m512i doubling_high_multiply(__m512i a, __m512i mantissa, __m512i odd_mantissa)
{
    const __m512i nudge = _mm512_set1_epi64(1 << 30);
    __m512i even = _mm512_mul_epi32(a, mantissa);
    __m512i odd = _mm512_mul_epi32(_mm512_srli_epi64(a, 32), odd_mantissa);
    even = _mm512_srli_epi64(_mm512_add_epi64(even, nudge), 31);
    odd = _mm512_slli_epi64(_mm512_add_epi64(odd, nudge), 1);
    return _mm512_mask_blend_epi32(0xAAAA, even, odd);
}

static inline __m512i rounding_shift_right(__m512i a, __m512i shift, __m512i mask)
{
    __m512i remainder = _mm512_and_si512(a, mask);
    __m512i threshold = _mm512_sub_epi32(_mm512_srli_epi32(mask, 1), _mm512_srai_epi32(a, 31));
    __m512i quotient = _mm512_srav_epi32(a, shift);
    __mmask16 up = _mm512_cmpgt_epi32_mask(remainder, threshold);
    return _mm512_mask_add_epi32(quotient, up, quotient, _mm512_set1_epi32(1));
}

/* Sixteen columns by any exponents. */
static inline void requantize_any(const int32_t *acc, size_t acc_stride, size_t rows, __mmask16 lanes, __m512i q,
                                  __m512i e, __m512i z, __m512i low, __m512i high, uint8_t *codes, size_t codes_stride)
{
    const __m512i zero = _mm512_setzero_si512();
    const __m512i left = _mm512_max_epi32(e, zero), right = _mm512_max_epi32(_mm512_sub_epi32(zero, e), zero);
    const __m512i mask = _mm512_sub_epi32(_mm512_sllv_epi32(_mm512_set1_epi32(1), right), _mm512_set1_epi32(1));
    const __m512i odd_q = _mm512_srli_epi64(q, 32);
    for (size_t i = 0; i < rows; i++) {
        __m512i v = _mm512_sllv_epi32(_mm512_maskz_loadu_epi32(lanes, acc + i * acc_stride), left);
        v = rounding_shift_right(doubling_high_multiply(v, q, odd_q), right, mask);
        v = _mm512_add_epi32(_mm512_min_epi32(_mm512_max_epi32(v, low), high), z);
        _mm512_mask_cvtepi32_storeu_epi8(codes + i * codes_stride, lanes, v);
    }
}

/* The same if every exponent is in [-22, 0], as nearly all are: clamped before the shift instead of after it, the
 * product leaves room to add half a step and the zero point in one go. */
static inline __attribute__((always_inline)) void requantize_down(const int32_t *acc, size_t acc_stride, size_t rows,
                                                                  __mmask16 lanes, __m512i q, __m512i e, __m512i z,
                                                                  __m512i low, __m512i high, uint8_t *codes,
                                                                  size_t codes_stride)
{
    const __m512i one = _mm512_set1_epi32(1), n = _mm512_sub_epi32(_mm512_setzero_si512(), e);
    const __m512i half = _mm512_srli_epi32(_mm512_sllv_epi32(one, n), 1), odd_q = _mm512_srli_epi64(q, 32);
    const __m512i up = _mm512_add_epi32(half, _mm512_sllv_epi32(z, n));
    const __m512i down = _mm512_sub_epi32(up, _mm512_min_epi32(half, one));
    low = _mm512_sllv_epi32(low, n), high = _mm512_sllv_epi32(high, n);
    for (size_t i = 0; i < rows; i++) {
        __m512i v = doubling_high_multiply(_mm512_maskz_loadu_epi32(lanes, acc + i * acc_stride), q, odd_q);
        v = _mm512_min_epi32(_mm512_max_epi32(v, low), high);
        v = _mm512_add_epi32(v, _mm512_mask_mov_epi32(up, _mm512_movepi32_mask(v), down));
        _mm_mask_storeu_epi8(codes + i * codes_stride, lanes, _mm512_cvtepi32_epi8(_mm512_srav_epi32(v, n)));
    }
}

void ql_requantize_fixed_s32_x8__avx512vnni(const int32_t *acc, size_t acc_stride, size_t rows, size_t cols,
                                            const int32_t *mantissa, const int32_t *exponent, int32_t zero_point,
                                            int32_t qmin, int32_t qmax, uint8_t *codes, size_t codes_stride)
{
    const __m512i z = _mm512_set1_epi32(zero_point);
    const __m512i low = _mm512_set1_epi32(qmin - zero_point), high = _mm512_set1_epi32(qmax - zero_point);
    for (size_t j = 0; j < cols; j += LANES) {
        const __mmask16 lanes = lane_mask(cols - j);
        const __m512i q = _mm512_maskz_loadu_epi32(lanes, mantissa + j);
        const __m512i e = _mm512_maskz_loadu_epi32(lanes, exponent + j);
        if (_mm512_cmpgt_epu32_mask(_mm512_add_epi32(e, _mm512_set1_epi32(22)), _mm512_set1_epi32(22)))
            requantize_any(acc + j, acc_stride, rows, lanes, q, e, z, low, high, codes + j, codes_stride);
        else if (lanes == ALL)
            requantize_down(acc + j, acc_stride, rows, ALL, q, e, z, low, high, codes + j, codes_stride);
        else
            requantize_down(acc + j, acc_stride, rows, lanes, q, e, z, low, high, codes + j, codes_stride);
    }
}

void ql_scale_s32_f32__avx512vnni(const int32_t *acc, size_t acc_stride, size_t rows, size_t cols,
                                  const float *row_scale, const float *scale, const float *offset, float low,
                                  float high, float *y, size_t y_stride)
{
    const __m512 least = _mm512_set1_ps(low), greatest = _mm512_set1_ps(high);
    for (size_t j = 0; j < cols; j += LANES) {
        __mmask16 mask = lane_mask(cols - j);
        __m512 s = _mm512_maskz_loadu_ps(mask, scale + j), o = _mm512_maskz_loadu_ps(mask, offset + j);
        for (size_t i = 0; i < rows; i++) {
            __m512 v = _mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(mask, acc + i * acc_stride + j));
            v = _mm512_mul_ps(_mm512_mul_ps(v, _mm512_set1_ps(row_scale[i])), s);
            v = _mm512_min_ps(greatest, _mm512_max_ps(least, _mm512_add_ps(v, o)));
            _mm512_mask_storeu_ps(y + i * y_stride + j, mask, v);
        }
    }
}

void ql_add_outer_s32__avx512vnni(int32_t *acc, size_t acc_stride, size_t rows, size_t cols, const int32_t *row,
                                  const int32_t *col)
{
    for (size_t j = 0; j < cols; j += LANES) {
        __mmask16 mask = lane_mask(cols - j);
        __m512i c = _mm512_maskz_loadu_epi32(mask, col + j);
        for (size_t i = 0; i < rows; i++) {
            int32_t *p = acc + i * acc_stride + j;
            __m512i product = _mm512_mullo_epi32(_mm512_set1_epi32(row[i]), c);
            _mm512_mask_storeu_epi32(p, mask, _mm512_add_epi32(_mm512_maskz_loadu_epi32(mask, p), product));
        }
    }
}
