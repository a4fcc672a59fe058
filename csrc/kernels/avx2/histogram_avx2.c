/* Bins of values, eight at a time, in float32: x times a power of two is exact there unless it underflows, and a
 * negative x that does so belongs to bin -1, where -FLT_MIN leads as well. Products that are too great for an int32
 * convert to INT32_MIN, which misses the bins whatever the origin. */
#include <float.h>

#include "kernels/avx2/lanes_avx2.h"

static inline __m256i slots_of(__m256 x, __m256 inverse_width, __m256i origin, __m256i bins)
{
    const __m256 zero = _mm256_setzero_ps();
    const __m256i one = _mm256_set1_epi32(1);
    __m256 t = _mm256_mul_ps(x, inverse_width), below = _mm256_cmp_ps(x, zero, _CMP_LT_OQ);
    t = _mm256_blendv_ps(t, _mm256_min_ps(t, _mm256_set1_ps(-FLT_MIN)), below);
    __m256i bin = _mm256_sub_epi32(_mm256_cvtps_epi32(_mm256_floor_ps(t)), origin);
    __m256i inside = _mm256_cmpeq_epi32(_mm256_min_epu32(bin, _mm256_sub_epi32(bins, one)), bin);
    __m256i slot = _mm256_blendv_epi8(_mm256_add_epi32(bins, one), bin, inside);
    return _mm256_blendv_epi8(slot, bins, _mm256_castps_si256(_mm256_cmp_ps(x, zero, _CMP_EQ_OQ)));
}

static inline void slots_shared(const float *x, size_t n, __m256 inverse_width, __m256i origin, __m256i bins,
                                uint32_t *slots)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        _mm256_storeu_si256((__m256i *)(slots + i), slots_of(_mm256_loadu_ps(x + i), inverse_width, origin, bins));
    if (i < n) {
        __m256i mask = lane_mask(n - i);
        __m256i slot = slots_of(_mm256_maskload_ps(x + i, mask), inverse_width, origin, bins);
        _mm256_maskstore_epi32((int *)(slots + i), mask, slot);
    }
}

void ql_histogram_slots_f32__avx2(const float *x, size_t n, const float *inverse_width, const int32_t *origin,
                                  size_t group, uint32_t bins, uint32_t *slots)
{
    const __m256i limit = _mm256_set1_epi32((int32_t)bins);
    if (group == 1) {
        for (size_t i = 0; i < n; i += LANES) {
            __m256i mask = lane_mask(n - i);
            __m256i slot = slots_of(_mm256_maskload_ps(x + i, mask), _mm256_maskload_ps(inverse_width + i, mask),
                                    _mm256_maskload_epi32(origin + i, mask), limit);
            _mm256_maskstore_epi32((int *)(slots + i), mask, slot);
        }
        return;
    }
    for (size_t i = 0; i < n; i += group, inverse_width++, origin++)
        slots_shared(x + i, n - i < group ? n - i : group, _mm256_set1_ps(*inverse_width), _mm256_set1_epi32(*origin),
                     limit, slots + i);
}
