/* Least and greatest of sixteen values at a time, or of four times sixteen. */
#include "kernels/avx512vnni/lanes_avx512vnni.h"

/* min_ps and max_ps give their second operand when one is NaN: the running value stands there. */
static inline __mmask16 minmax_own_lanes(const float *x, __mmask16 mask, float *min, float *max)
{
    __m512 v = _mm512_maskz_loadu_ps(mask, x);
    _mm512_mask_storeu_ps(min, mask, _mm512_min_ps(v, _mm512_maskz_loadu_ps(mask, min)));
    _mm512_mask_storeu_ps(max, mask, _mm512_max_ps(v, _mm512_maskz_loadu_ps(mask, max)));
    return _mm512_mask_cmp_ps_mask(mask, v, v, _CMP_UNORD_Q);
}

static bool minmax_own(const float *x, size_t n, float *min, float *max)
{
    __mmask16 nan = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        prefetch(x + i, LANES * sizeof *x);
        nan |= minmax_own_lanes(x + i, ALL, min + i, max + i);
    }
    if (i < n)
        nan |= minmax_own_lanes(x + i, lane_mask(n - i), min + i, max + i);
    return nan != 0;
}

/* Folds both at once, the greatest as the least of the negatives, in half of the steps. */
static inline void fold(__m512 least, __m512 greatest, float *min, float *max)
{
    enum { LOW_HALVES = 0x44, HIGH_HALVES = 0xEE, SWAP_PAIRS = 0x4E, SWAP_NEIGHBOURS = 0xB1 };
    __m512 negative = _mm512_xor_ps(greatest, _mm512_set1_ps(-0.0f));
    __m512 v = _mm512_min_ps(_mm512_shuffle_f32x4(least, negative, LOW_HALVES),
                             _mm512_shuffle_f32x4(least, negative, HIGH_HALVES));
    v = _mm512_min_ps(v, _mm512_shuffle_f32x4(v, v, SWAP_NEIGHBOURS));
    v = _mm512_min_ps(v, _mm512_permute_ps(v, SWAP_PAIRS));
    v = _mm512_min_ps(v, _mm512_permute_ps(v, SWAP_NEIGHBOURS));
    *min = _mm512_cvtss_f32(v);
    *max = -_mm256_cvtss_f32(_mm512_extractf32x8_ps(v, 1));
}

/* Without their sign, as integers, NaN are the greatest floats: they are found beside the comparisons of floats, which
 * have the use of half of the ports only. */
static inline __m512i without_sign(__m512 x)
{
    return _mm512_add_epi32(_mm512_castps_si512(x), _mm512_castps_si512(x));
}

enum { INFINITE = -0x01000000 }; /* the bits of an infinity without its sign */

static inline bool minmax_shared(const float *x, size_t n, float *min, float *max)
{
    __m512 least = _mm512_set1_ps(*min), greatest = _mm512_set1_ps(*max);
    __mmask16 nan = 0;
    size_t i = 0;
    if (n >= BLOCK) {
        block low = {{least, least, least, least}}, high = {{greatest, greatest, greatest, greatest}};
        __m512i size[4] = {_mm512_setzero_si512()};
        for (; i + BLOCK <= n; i += BLOCK) {
            block b = load_block(x + i);
            prefetch(x + i, sizeof b);
#pragma GCC unroll 4
            for (int u = 0; u < 4; u++) {
                size[u] = _mm512_max_epu32(size[u], without_sign(b.v[u]));
                low.v[u] = _mm512_min_ps(b.v[u], low.v[u]);
                high.v[u] = _mm512_max_ps(b.v[u], high.v[u]);
            }
        }
        size[0] = _mm512_max_epu32(_mm512_max_epu32(size[0], size[1]), _mm512_max_epu32(size[2], size[3]));
        nan |= _mm512_cmpgt_epu32_mask(size[0], _mm512_set1_epi32(INFINITE));
        least = _mm512_min_ps(_mm512_min_ps(low.v[0], low.v[1]), _mm512_min_ps(low.v[2], low.v[3]));
        greatest = _mm512_max_ps(_mm512_max_ps(high.v[0], high.v[1]), _mm512_max_ps(high.v[2], high.v[3]));
    }
    for (; i + LANES <= n; i += LANES) {
        __m512 v = _mm512_loadu_ps(x + i);
        nan |= _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
        least = _mm512_min_ps(v, least);
        greatest = _mm512_max_ps(v, greatest);
    }
    if (i < n) {
        __mmask16 mask = lane_mask(n - i);
        __m512 v = _mm512_maskz_loadu_ps(mask, x + i);
        nan |= _mm512_mask_cmp_ps_mask(mask, v, v, _CMP_UNORD_Q);
        least = _mm512_mask_min_ps(least, mask, v, least);
        greatest = _mm512_mask_max_ps(greatest, mask, v, greatest);
    }
    fold(least, greatest, min, max);
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
