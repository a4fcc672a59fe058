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

void ql_quantize_f32_x8__avx2(const float *x, size_t n, const float *scale, const int32_t *zero_point, size_t step,
                              int32_t qmin, int32_t qmax, uint8_t *codes)
{
    const __m256i all = _mm256_set1_epi32(-1);
    grid g = n ? shared_grid(scale, zero_point, qmin, qmax) : (grid){0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        if (step)
            g = own_grid(scale + i, zero_point + i, all, qmin, qmax);
        store_codes(codes + i, quantized(_mm256_loadu_ps(x + i), &g), &g, LANES);
    }
    if (i < n) {
        __m256i mask = lane_mask(n - i);
        if (step)
            g = own_grid(scale + i, zero_point + i, mask, qmin, qmax);
        store_codes(codes + i, quantized(_mm256_maskload_ps(x + i, mask), &g), &g, n - i);
    }
}

void ql_fake_quantize_f32__avx2(const float *x, size_t n, const float *scale, const int32_t *zero_point, size_t step,
                                int32_t qmin, int32_t qmax, float *y)
{
    const __m256i all = _mm256_set1_epi32(-1);
    grid g = n ? shared_grid(scale, zero_point, qmin, qmax) : (grid){0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        if (step)
            g = own_grid(scale + i, zero_point + i, all, qmin, qmax);
        __m256 r = _mm256_cvtepi32_ps(quantized(_mm256_loadu_ps(x + i), &g));
        _mm256_storeu_ps(y + i, _mm256_mul_ps(r, g.scale));
    }
    if (i < n) {
        __m256i mask = lane_mask(n - i);
        if (step)
            g = own_grid(scale + i, zero_point + i, mask, qmin, qmax);
        __m256 r = _mm256_cvtepi32_ps(quantized(_mm256_maskload_ps(x + i, mask), &g));
        _mm256_maskstore_ps(y + i, mask, _mm256_mul_ps(r, g.scale));
    }
}

static inline __m256 dequantized(__m128i bytes, bool is_signed, __m256 scale, __m256i zero_point)
{
    __m256i code = is_signed ? _mm256_cvtepi8_epi32(bytes) : _mm256_cvtepu8_epi32(bytes);
    return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(code, zero_point)), scale);
}

void ql_dequantize_x8_f32__avx2(const uint8_t *codes, size_t n, bool is_signed, const float *scale,
                                const int32_t *zero_point, size_t step, float *x)
{
    __m256 s = n ? _mm256_set1_ps(*scale) : _mm256_setzero_ps();
    __m256i z = n ? _mm256_set1_epi32(*zero_point) : _mm256_setzero_si256();
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        if (step) {
            s = _mm256_loadu_ps(scale + i);
            z = _mm256_loadu_si256((const __m256i *)(zero_point + i));
        }
        _mm256_storeu_ps(x + i, dequantized(_mm_loadl_epi64((const __m128i *)(codes + i)), is_signed, s, z));
    }
    if (i < n) {
        __m256i mask = lane_mask(n - i);
        if (step) {
            s = _mm256_maskload_ps(scale + i, mask);
            z = _mm256_maskload_epi32(zero_point + i, mask);
        }
        uint64_t bytes = 0;
        memcpy(&bytes, codes + i, n - i);
        _mm256_maskstore_ps(x + i, mask, dequantized(_mm_cvtsi64_si128((int64_t)bytes), is_signed, s, z));
    }
}

/* min_ps and max_ps give their second operand when one is NaN: the running value stands there. */
static inline __m256 nan_lanes(__m256 x)
{
    return _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
}

bool ql_minmax_f32__avx2(const float *x, size_t n, float *min, float *max)
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

bool ql_minmax_channels_f32__avx2(const float *x, size_t n, float *min, float *max)
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
