/* Eight values at a time; the last n % 8 go through the same instructions by masked loads and a small buffer, so that
 * tails cannot round differently.
 *
 * x / scale is a true division: with a reciprocal ties fall differently. Beyond L3 it costs nothing. */
#include <immintrin.h>
#include <string.h>

#include "kernels/avx2/avx2.h"

enum { LANES = 8 };

static inline __m256i lane_mask(size_t n)
{
    static const int32_t ones[2 * LANES] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return _mm256_loadu_si256((const __m256i *)(ones + LANES - n));
}

typedef struct grid {
    __m256 scale, low, high;
    __m256i zero_point;
} grid;

static inline grid make_grid(__m256 scale, __m256i zero_point, int32_t qmin, int32_t qmax)
{
    grid g = {.scale = scale, .zero_point = zero_point};
    g.low = _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_set1_epi32(qmin), zero_point));
    g.high = _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_set1_epi32(qmax), zero_point));
    return g;
}

static inline grid shared_grid(const float *scale, const int32_t *zero_point, int32_t qmin, int32_t qmax)
{
    return make_grid(_mm256_set1_ps(*scale), _mm256_set1_epi32(*zero_point), qmin, qmax);
}

/* Lanes past the end divide by 1. */
static inline grid own_grid(const float *scale, const int32_t *zero_point, __m256i mask, int32_t qmin, int32_t qmax)
{
    __m256 s = _mm256_maskload_ps(scale, mask);
    s = _mm256_blendv_ps(_mm256_set1_ps(1.0f), s, _mm256_castsi256_ps(mask));
    return make_grid(s, _mm256_maskload_epi32(zero_point, mask), qmin, qmax);
}

/* The comparison with itself makes NaN a zero before the clamps see it. */
static inline __m256i quantized(__m256 x, const grid *g)
{
    __m256 r = _mm256_round_ps(_mm256_div_ps(x, g->scale), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    r = _mm256_and_ps(r, _mm256_cmp_ps(r, r, _CMP_ORD_Q));
    return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(r, g->low), g->high));
}

static inline uint64_t low_bytes(__m256i v)
{
    const __m256i gather = _mm256_set1_epi32(0x0c080400);
    __m256i bytes = _mm256_shuffle_epi8(v, gather);
    uint64_t low = (uint32_t)_mm256_extract_epi32(bytes, 0), high = (uint32_t)_mm256_extract_epi32(bytes, 4);
    return low | high << 32;
}

static inline void store_codes(uint8_t *codes, __m256i r, const grid *g, size_t n)
{
    uint64_t bytes = low_bytes(_mm256_add_epi32(r, g->zero_point));
    memcpy(codes, &bytes, n);
}

static inline void quantize_lanes(const float *x, size_t n, __m256i mask, const grid *g, uint8_t *codes)
{
    store_codes(codes, quantized(_mm256_maskload_ps(x, mask), g), g, n);
}

static void quantize_shared(const float *x, size_t n, const grid *g, uint8_t *codes)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        store_codes(codes + i, quantized(_mm256_loadu_ps(x + i), g), g, LANES);
    if (i < n)
        quantize_lanes(x + i, n - i, lane_mask(n - i), g, codes + i);
}

void ql_quantize_f32_x8__avx2(const float *x, size_t n, const float *scale, const int32_t *zero_point, size_t group,
                              int32_t qmin, int32_t qmax, uint8_t *codes)
{
    if (group == 1) {
        for (size_t i = 0; i < n; i += LANES) {
            size_t lanes = n - i < LANES ? n - i : LANES;
            __m256i mask = lane_mask(lanes);
            grid g = own_grid(scale + i, zero_point + i, mask, qmin, qmax);
            quantize_lanes(x + i, lanes, mask, &g, codes + i);
        }
        return;
    }
    for (size_t i = 0; i < n; i += group, scale++, zero_point++) {
        grid g = shared_grid(scale, zero_point, qmin, qmax);
        quantize_shared(x + i, n - i < group ? n - i : group, &g, codes + i);
    }
}

static inline __m256 fake_quantized(__m256 x, const grid *g)
{
    return _mm256_mul_ps(_mm256_cvtepi32_ps(quantized(x, g)), g->scale);
}

static void fake_quantize_shared(const float *x, size_t n, const grid *g, float *y)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        _mm256_storeu_ps(y + i, fake_quantized(_mm256_loadu_ps(x + i), g));
    if (i < n) {
        __m256i mask = lane_mask(n - i);
        _mm256_maskstore_ps(y + i, mask, fake_quantized(_mm256_maskload_ps(x + i, mask), g));
    }
}

void ql_fake_quantize_f32__avx2(const float *x, size_t n, const float *scale, const int32_t *zero_point, size_t group,
                                int32_t qmin, int32_t qmax, float *y)
{
    if (group == 1) {
        for (size_t i = 0; i < n; i += LANES) {
            __m256i mask = lane_mask(n - i < LANES ? n - i : LANES);
            grid g = own_grid(scale + i, zero_point + i, mask, qmin, qmax);
            _mm256_maskstore_ps(y + i, mask, fake_quantized(_mm256_maskload_ps(x + i, mask), &g));
        }
        return;
    }
    for (size_t i = 0; i < n; i += group, scale++, zero_point++) {
        grid g = shared_grid(scale, zero_point, qmin, qmax);
        fake_quantize_shared(x + i, n - i < group ? n - i : group, &g, y + i);
    }
}

static inline __m256 dequantized(__m128i bytes, bool is_signed, __m256 scale, __m256i zero_point)
{
    __m256i code = is_signed ? _mm256_cvtepi8_epi32(bytes) : _mm256_cvtepu8_epi32(bytes);
    return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(code, zero_point)), scale);
}

static inline void dequantize_lanes(const uint8_t *codes, size_t n, bool is_signed, __m256 scale, __m256i zero_point,
                                    float *x)
{
    uint64_t bytes = 0;
    memcpy(&bytes, codes, n);
    _mm256_maskstore_ps(x, lane_mask(n), dequantized(_mm_cvtsi64_si128((int64_t)bytes), is_signed, scale, zero_point));
}

static void dequantize_shared(const uint8_t *codes, size_t n, bool is_signed, __m256 scale, __m256i zero_point,
                              float *x)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        __m128i bytes = _mm_loadl_epi64((const __m128i *)(codes + i));
        _mm256_storeu_ps(x + i, dequantized(bytes, is_signed, scale, zero_point));
    }
    if (i < n)
        dequantize_lanes(codes + i, n - i, is_signed, scale, zero_point, x + i);
}

void ql_dequantize_x8_f32__avx2(const uint8_t *codes, size_t n, bool is_signed, const float *scale,
                                const int32_t *zero_point, size_t group, float *x)
{
    if (group == 1) {
        for (size_t i = 0; i < n; i += LANES) {
            size_t lanes = n - i < LANES ? n - i : LANES;
            __m256i mask = lane_mask(lanes), z = _mm256_maskload_epi32(zero_point + i, mask);
            dequantize_lanes(codes + i, lanes, is_signed, _mm256_maskload_ps(scale + i, mask), z, x + i);
        }
        return;
    }
    for (size_t i = 0; i < n; i += group, scale++, zero_point++)
        dequantize_shared(codes + i, n - i < group ? n - i : group, is_signed, _mm256_set1_ps(*scale),
                          _mm256_set1_epi32(*zero_point), x + i);
}

/* min_ps and max_ps give their second operand when one is NaN: the running value stands there. */
static inline __m256 nan_lanes(__m256 x)
{
    return _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
}

static bool minmax_own(const float *x, size_t n, float *min, float *max)
{
    __m256 nan = _mm256_setzero_ps();
    for (size_t i = 0; i < n; i += LANES) {
        __m256i mask = lane_mask(n - i < LANES ? n - i : LANES);
        __m256 v = _mm256_maskload_ps(x + i, mask);
        nan = _mm256_or_ps(nan, nan_lanes(v));
        _mm256_maskstore_ps(min + i, mask, _mm256_min_ps(v, _mm256_maskload_ps(min + i, mask)));
        _mm256_maskstore_ps(max + i, mask, _mm256_max_ps(v, _mm256_maskload_ps(max + i, mask)));
    }
    return _mm256_movemask_ps(nan) != 0;
}

static bool minmax_shared(const float *x, size_t n, float *min, float *max)
{
    enum { UNROLL = 4 };
    __m256 least[UNROLL], greatest[UNROLL], nan = _mm256_setzero_ps();
    for (int u = 0; u < UNROLL; u++) {
        least[u] = _mm256_set1_ps(*min);
        greatest[u] = _mm256_set1_ps(*max);
    }
    size_t i = 0;
    for (; i + UNROLL * LANES <= n; i += UNROLL * LANES) {
        for (int u = 0; u < UNROLL; u++) {
            __m256 v = _mm256_loadu_ps(x + i + u * LANES);
            nan = _mm256_or_ps(nan, nan_lanes(v));
            least[u] = _mm256_min_ps(v, least[u]);
            greatest[u] = _mm256_max_ps(v, greatest[u]);
        }
    }
    for (; i < n; i += LANES) {
        __m256i mask = lane_mask(n - i < LANES ? n - i : LANES);
        __m256 v = _mm256_maskload_ps(x + i, mask);
        nan = _mm256_or_ps(nan, nan_lanes(v));
        v = _mm256_blendv_ps(least[0], v, _mm256_castsi256_ps(mask));
        least[0] = _mm256_min_ps(v, least[0]);
        v = _mm256_blendv_ps(greatest[0], v, _mm256_castsi256_ps(mask));
        greatest[0] = _mm256_max_ps(v, greatest[0]);
    }
    float lows[LANES], highs[LANES];
    _mm256_storeu_ps(lows, _mm256_min_ps(_mm256_min_ps(least[0], least[1]), _mm256_min_ps(least[2], least[3])));
    _mm256_storeu_ps(highs,
                     _mm256_max_ps(_mm256_max_ps(greatest[0], greatest[1]), _mm256_max_ps(greatest[2], greatest[3])));
    for (int lane = 0; lane < LANES; lane++) {
        *min = lows[lane] < *min ? lows[lane] : *min;
        *max = highs[lane] > *max ? highs[lane] : *max;
    }
    return _mm256_movemask_ps(nan) != 0;
}

bool ql_minmax_f32__avx2(const float *x, size_t n, size_t group, float *min, float *max)
{
    if (group == 1)
        return minmax_own(x, n, min, max);
    bool has_nan = false;
    for (size_t i = 0; i < n; i += group)
        has_nan |= minmax_shared(x + i, n - i < group ? n - i : group, min++, max++);
    return has_nan;
}
