/* Tiles of int32 sums, eight columns at a time. A column's parameters are loaded once for all rows. */
#include <string.h>

#include "kernels/avx2/lanes_avx2.h"

static inline void store_bytes(uint8_t *codes, __m256i v, size_t left)
{
    const uint64_t bytes = low_bytes(v);
    memcpy(codes, &bytes, left < LANES ? left : LANES);
}

void ql_requantize_s32_x8__avx2(const int32_t *acc, size_t acc_stride, size_t rows, size_t cols,
                                const float *multiplier, int32_t zero_point, int32_t qmin, int32_t qmax, uint8_t *codes,
                                size_t codes_stride)
{
    const __m256 low = _mm256_set1_ps((float)(qmin - zero_point)), high = _mm256_set1_ps((float)(qmax - zero_point));
    const __m256i z = _mm256_set1_epi32(zero_point);
    for (size_t j = 0; j < cols; j += LANES) {
        __m256i mask = lane_mask(cols - j);
        __m256 m = _mm256_maskload_ps(multiplier + j, mask);
        for (size_t i = 0; i < rows; i++) {
            __m256 r = _mm256_cvtepi32_ps(_mm256_maskload_epi32(acc + i * acc_stride + j, mask));
            r = _mm256_min_ps(_mm256_max_ps(_mm256_mul_ps(r, m), low), high);
            store_bytes(codes + i * codes_stride + j, _mm256_add_epi32(_mm256_cvtps_epi32(r), z), cols - j);
        }
    }
}

/* AVX2 has no arithmetic shift of 64-bit lanes, but of (product + 2^30) >> 31 only the low 32 bits are wanted, and
 * those a logical shift gives as well. */
static inline __m256i doubling_high_multiply(__m256i a, __m256i mantissa)
{
    const __m256i nudge = _mm256_set1_epi64x(1 << 30);
    __m256i even = _mm256_mul_epi32(a, mantissa);
    __m256i odd = _mm256_mul_epi32(_mm256_srli_epi64(a, 32), _mm256_srli_epi64(mantissa, 32));
    even = _mm256_srli_epi64(_mm256_add_epi64(even, nudge), 31);
    odd = _mm256_slli_epi64(_mm256_add_epi64(odd, nudge), 1);
    return _mm256_blend_epi32(even, odd, 0xAA);
}

static inline __m256i rounding_shift_right(__m256i a, __m256i shift, __m256i mask)
{
    __m256i remainder = _mm256_and_si256(a, mask);
    __m256i threshold = _mm256_sub_epi32(_mm256_srli_epi32(mask, 1), _mm256_srai_epi32(a, 31));
    return _mm256_sub_epi32(_mm256_srav_epi32(a, shift), _mm256_cmpgt_epi32(remainder, threshold));
}

/* a + z with a limit at int32's ends: both stay far from them once a is clamped to the codes' reach. */
static inline __m256i clamped_sum(__m256i a, int32_t zero_point, int32_t qmin, int32_t qmax)
{
    a = _mm256_max_epi32(a, _mm256_set1_epi32(qmin - zero_point));
    a = _mm256_min_epi32(a, _mm256_set1_epi32(qmax - zero_point));
    return _mm256_add_epi32(a, _mm256_set1_epi32(zero_point));
}

void ql_requantize_fixed_s32_x8__avx2(const int32_t *acc, size_t acc_stride, size_t rows, size_t cols,
                                      const int32_t *mantissa, const int32_t *exponent, int32_t zero_point,
                                      int32_t qmin, int32_t qmax, uint8_t *codes, size_t codes_stride)
{
    const __m256i zero = _mm256_setzero_si256();
    for (size_t j = 0; j < cols; j += LANES) {
        __m256i lanes = lane_mask(cols - j);
        __m256i q = _mm256_maskload_epi32(mantissa + j, lanes), e = _mm256_maskload_epi32(exponent + j, lanes);
        __m256i left = _mm256_max_epi32(e, zero), right = _mm256_max_epi32(_mm256_sub_epi32(zero, e), zero);
        __m256i mask = _mm256_sub_epi32(_mm256_sllv_epi32(_mm256_set1_epi32(1), right), _mm256_set1_epi32(1));
        for (size_t i = 0; i < rows; i++) {
            __m256i v = _mm256_sllv_epi32(_mm256_maskload_epi32(acc + i * acc_stride + j, lanes), left);
            v = rounding_shift_right(doubling_high_multiply(v, q), right, mask);
            store_bytes(codes + i * codes_stride + j, clamped_sum(v, zero_point, qmin, qmax), cols - j);
        }
    }
}

void ql_scale_s32_f32__avx2(const int32_t *acc, size_t acc_stride, size_t rows, size_t cols, const float *row_scale,
                            const float *scale, const float *offset, float low, float high, float *y, size_t y_stride)
{
    const __m256 least = _mm256_set1_ps(low), greatest = _mm256_set1_ps(high);
    for (size_t j = 0; j < cols; j += LANES) {
        __m256i mask = lane_mask(cols - j);
        __m256 s = _mm256_maskload_ps(scale + j, mask), o = _mm256_maskload_ps(offset + j, mask);
        for (size_t i = 0; i < rows; i++) {
            __m256 v = _mm256_cvtepi32_ps(_mm256_maskload_epi32(acc + i * acc_stride + j, mask));
            v = _mm256_mul_ps(_mm256_mul_ps(v, _mm256_set1_ps(row_scale[i])), s);
            v = _mm256_min_ps(greatest, _mm256_max_ps(least, _mm256_add_ps(v, o)));
            _mm256_maskstore_ps(y + i * y_stride + j, mask, v);
        }
    }
}

void ql_add_outer_s32__avx2(int32_t *acc, size_t acc_stride, size_t rows, size_t cols, const int32_t *row,
                            const int32_t *col)
{
    for (size_t j = 0; j < cols; j += LANES) {
        __m256i mask = lane_mask(cols - j);
        __m256i c = _mm256_maskload_epi32(col + j, mask);
        for (size_t i = 0; i < rows; i++) {
            int32_t *p = acc + i * acc_stride + j;
            __m256i product = _mm256_mullo_epi32(_mm256_set1_epi32(row[i]), c);
            _mm256_maskstore_epi32(p, mask, _mm256_add_epi32(_mm256_maskload_epi32(p, mask), product));
        }
    }
}
