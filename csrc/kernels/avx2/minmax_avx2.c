/* Least and greatest of eight values at a time, or of four times eight. */
#include "kernels/avx2/lanes_avx2.h"

/* min_ps and max_ps give their second operand when one is NaN: the running value stands there. */
static inline __m256 nan_lanes(__m256 x)
{
    return _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
}

static bool minmax_own(const float *x, size_t n, float *min, float *max)
{
    __m256 nan = _mm256_setzero_ps();
    for (size_t i = 0; i < n; i += LANES) {
        __m256i mask = lane_mask(n - i);
        __m256 v = _mm256_maskload_ps(x + i, mask);
        nan = _mm256_or_ps(nan, nan_lanes(v));
        _mm256_maskstore_ps(min + i, mask, _mm256_min_ps(v, _mm256_maskload_ps(min + i, mask)));
        _mm256_maskstore_ps(max + i, mask, _mm256_max_ps(v, _mm256_maskload_ps(max + i, mask)));
    }
    return _mm256_movemask_ps(nan) != 0;
}

/* Without their sign, as integers, NaN are the greatest floats: they are found beside the comparisons of floats, which
 * have the use of half of the ports only. */
static inline __m256i without_sign(__m256 x)
{
    return _mm256_add_epi32(_mm256_castps_si256(x), _mm256_castps_si256(x));
}

static inline bool is_above_infinity(__m256i size)
{
    const __m256i infinite = _mm256_set1_epi32(-0x01000000);
    __m256i is_below = _mm256_cmpeq_epi32(_mm256_max_epu32(size, infinite), infinite);
    return _mm256_movemask_epi8(is_below) != -1;
}

static inline bool minmax_shared(const float *x, size_t n, float *min, float *max)
{
    enum { UNROLL = 4 };
    __m256 least[UNROLL], greatest[UNROLL];
    __m256i size[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()}; /* four would not stay in registers */
    for (int u = 0; u < UNROLL; u++) {
        least[u] = _mm256_set1_ps(*min);
        greatest[u] = _mm256_set1_ps(*max);
    }
    size_t i = 0;
    for (; i + UNROLL * LANES <= n; i += UNROLL * LANES) {
        prefetch(x + i, UNROLL * LANES * sizeof *x);
        for (int u = 0; u < UNROLL; u++) {
            __m256 v = _mm256_loadu_ps(x + i + u * LANES);
            size[u % 2] = _mm256_max_epu32(size[u % 2], without_sign(v));
            least[u] = _mm256_min_ps(v, least[u]);
            greatest[u] = _mm256_max_ps(v, greatest[u]);
        }
    }
    for (; i < n; i += LANES) {
        __m256i mask = lane_mask(n - i);
        __m256 v = _mm256_maskload_ps(x + i, mask);
        size[0] = _mm256_max_epu32(size[0], without_sign(v));
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
    return is_above_infinity(_mm256_max_epu32(size[0], size[1]));
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
