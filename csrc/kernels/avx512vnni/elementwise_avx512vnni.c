/* Sixteen values at a time; tails are the same instructions under a mask.
 *
 * x / scale is a true division: with a reciprocal ties fall differently. Beyond L3 it costs nothing, inside L2 about
 * half of the speed. */
#include <immintrin.h>

#include "kernels/avx512vnni/avx512vnni.h"

enum { LANES = 16 };

static inline __mmask16 lane_mask(size_t left)
{
    return left >= LANES ? (__mmask16)0xFFFF : (__mmask16)((1u << left) - 1);
}

typedef struct grid {
    __m512 scale, low, high;
    __m512i zero_point;
} grid;

static inline grid make_grid(__m512 scale, __m512i zero_point, int32_t qmin, int32_t qmax)
{
    grid g = {.scale = scale, .zero_point = zero_point};
    g.low = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_set1_epi32(qmin), zero_point));
    g.high = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_set1_epi32(qmax), zero_point));
    return g;
}

static inline grid shared_grid(const float *scale, const int32_t *zero_point, int32_t qmin, int32_t qmax)
{
    return make_grid(_mm512_set1_ps(*scale), _mm512_set1_epi32(*zero_point), qmin, qmax);
}

/* Lanes past the end divide by 1. */
static inline grid own_grid(const float *scale, const int32_t *zero_point, __mmask16 mask, int32_t qmin, int32_t qmax)
{
    __m512 s = _mm512_mask_loadu_ps(_mm512_set1_ps(1.0f), mask, scale);
    return make_grid(s, _mm512_maskz_loadu_epi32(mask, zero_point), qmin, qmax);
}

/* NaN is zeroed before the clamps see it. */
static inline __m512i quantized(__m512 x, const grid *g)
{
    __m512 r = _mm512_roundscale_ps(_mm512_div_ps(x, g->scale), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    r = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(r, r, _CMP_ORD_Q), r);
    return _mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(r, g->low), g->high));
}

/* What a kernel does to the lanes of a mask. Called with all lanes in the main loop, where the compiler drops the mask,
 * and with fewer at the end. */
static const __mmask16 ALL = 0xFFFF;

static inline void quantize_lanes(const float *x, __mmask16 mask, const grid *g, uint8_t *codes)
{
    __m512i code = _mm512_add_epi32(quantized(_mm512_maskz_loadu_ps(mask, x), g), g->zero_point);
    if (mask == ALL)
        _mm_storeu_si128((__m128i *)codes, _mm512_cvtepi32_epi8(code));
    else
        _mm512_mask_cvtepi32_storeu_epi8(codes, mask, code);
}

static void quantize_shared(const float *x, size_t n, const grid *g, uint8_t *codes)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        quantize_lanes(x + i, ALL, g, codes + i);
    if (i < n)
        quantize_lanes(x + i, lane_mask(n - i), g, codes + i);
}

void ql_quantize_f32_x8__avx512vnni(const float *x, size_t n, const float *scale, const int32_t *zero_point,
                                    size_t group, int32_t qmin, int32_t qmax, uint8_t *codes)
{
    if (group == 1) {
        for (size_t i = 0; i < n; i += LANES) {
            __mmask16 mask = lane_mask(n - i);
            grid g = own_grid(scale + i, zero_point + i, mask, qmin, qmax);
            quantize_lanes(x + i, mask, &g, codes + i);
        }
        return;
    }
    for (size_t i = 0; i < n; i += group, scale++, zero_point++) {
        grid g = shared_grid(scale, zero_point, qmin, qmax);
        quantize_shared(x + i, n - i < group ? n - i : group, &g, codes + i);
    }
}

static inline void fake_quantize_lanes(const float *x, __mmask16 mask, const grid *g, float *y)
{
    __m512 r = _mm512_cvtepi32_ps(quantized(_mm512_maskz_loadu_ps(mask, x), g));
    _mm512_mask_storeu_ps(y, mask, _mm512_mul_ps(r, g->scale));
}

static void fake_quantize_shared(const float *x, size_t n, const grid *g, float *y)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        fake_quantize_lanes(x + i, ALL, g, y + i);
    if (i < n)
        fake_quantize_lanes(x + i, lane_mask(n - i), g, y + i);
}

void ql_fake_quantize_f32__avx512vnni(const float *x, size_t n, const float *scale, const int32_t *zero_point,
                                      size_t group, int32_t qmin, int32_t qmax, float *y)
{
    if (group == 1) {
        for (size_t i = 0; i < n; i += LANES) {
            __mmask16 mask = lane_mask(n - i);
            grid g = own_grid(scale + i, zero_point + i, mask, qmin, qmax);
            fake_quantize_lanes(x + i, mask, &g, y + i);
        }
        return;
    }
    for (size_t i = 0; i < n; i += group, scale++, zero_point++) {
        grid g = shared_grid(scale, zero_point, qmin, qmax);
        fake_quantize_shared(x + i, n - i < group ? n - i : group, &g, y + i);
    }
}

static inline void dequantize_lanes(const uint8_t *codes, __mmask16 mask, bool is_signed, __m512 scale,
                                    __m512i zero_point, float *x)
{
    __m128i bytes = _mm_maskz_loadu_epi8(mask, codes);
    __m512i code = is_signed ? _mm512_cvtepi8_epi32(bytes) : _mm512_cvtepu8_epi32(bytes);
    __m512 r = _mm512_cvtepi32_ps(_mm512_sub_epi32(code, zero_point));
    _mm512_mask_storeu_ps(x, mask, _mm512_mul_ps(r, scale));
}

static void dequantize_shared(const uint8_t *codes, size_t n, bool is_signed, __m512 scale, __m512i zero_point,
                              float *x)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        dequantize_lanes(codes + i, ALL, is_signed, scale, zero_point, x + i);
    if (i < n)
        dequantize_lanes(codes + i, lane_mask(n - i), is_signed, scale, zero_point, x + i);
}

void ql_dequantize_x8_f32__avx512vnni(const uint8_t *codes, size_t n, bool is_signed, const float *scale,
                                      const int32_t *zero_point, size_t group, float *x)
{
    if (group == 1) {
        for (size_t i = 0; i < n; i += LANES) {
            __mmask16 mask = lane_mask(n - i);
            __m512i z = _mm512_maskz_loadu_epi32(mask, zero_point + i);
            dequantize_lanes(codes + i, mask, is_signed, _mm512_maskz_loadu_ps(mask, scale + i), z, x + i);
        }
        return;
    }
    for (size_t i = 0; i < n; i += group, scale++, zero_point++)
        dequantize_shared(codes + i, n - i < group ? n - i : group, is_signed, _mm512_set1_ps(*scale),
                          _mm512_set1_epi32(*zero_point), x + i);
}

/* min_ps and max_ps give their second operand when one is NaN: the running value stands there. */
static bool minmax_own(const float *x, size_t n, float *min, float *max)
{
    __mmask16 nan = 0;
    for (size_t i = 0; i < n; i += LANES) {
        __mmask16 mask = lane_mask(n - i);
        __m512 v = _mm512_maskz_loadu_ps(mask, x + i);
        nan |= _mm512_mask_cmp_ps_mask(mask, v, v, _CMP_UNORD_Q);
        _mm512_mask_storeu_ps(min + i, mask, _mm512_min_ps(v, _mm512_maskz_loadu_ps(mask, min + i)));
        _mm512_mask_storeu_ps(max + i, mask, _mm512_max_ps(v, _mm512_maskz_loadu_ps(mask, max + i)));
    }
    return nan != 0;
}

static bool minmax_shared(const float *x, size_t n, float *min, float *max)
{
    enum { UNROLL = 4 };
    __m512 least[UNROLL], greatest[UNROLL];
    __mmask16 nan = 0;
    for (int u = 0; u < UNROLL; u++) {
        least[u] = _mm512_set1_ps(*min);
        greatest[u] = _mm512_set1_ps(*max);
    }
    size_t i = 0;
    for (; i + UNROLL * LANES <= n; i += UNROLL * LANES) {
#pragma GCC unroll 4
        for (int u = 0; u < UNROLL; u++) {
            __m512 v = _mm512_loadu_ps(x + i + u * LANES);
            nan |= _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
            least[u] = _mm512_min_ps(v, least[u]);
            greatest[u] = _mm512_max_ps(v, greatest[u]);
        }
    }
    for (; i < n; i += LANES) {
        __mmask16 mask = lane_mask(n - i);
        __m512 v = _mm512_maskz_loadu_ps(mask, x + i);
        nan |= _mm512_mask_cmp_ps_mask(mask, v, v, _CMP_UNORD_Q);
        least[0] = _mm512_mask_min_ps(least[0], mask, v, least[0]);
        greatest[0] = _mm512_mask_max_ps(greatest[0], mask, v, greatest[0]);
    }
    *min = _mm512_reduce_min_ps(_mm512_min_ps(_mm512_min_ps(least[0], least[1]), _mm512_min_ps(least[2], least[3])));
    *max = _mm512_reduce_max_ps(
        _mm512_max_ps(_mm512_max_ps(greatest[0], greatest[1]), _mm512_max_ps(greatest[2], greatest[3])));
    return nan != 0;
}

bool ql_minmax_f32__avx512vnni(const float *x, size_t n, size_t group, float *min, float *max)
{
    if (group == 1)
        return minmax_own(x, n, min, max);
    bool has_nan = false;
    for (size_t i = 0; i < n; i += group)
        has_nan |= minmax_shared(x + i, n - i < group ? n - i : group, min++, max++);
    return has_nan;
}
