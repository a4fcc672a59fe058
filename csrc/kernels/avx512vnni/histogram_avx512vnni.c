/* Bins of values, sixteen at a time, in float32: x times a power of two is exact there unless it underflows, and a
 * negative x that does so belongs to bin -1, where -FLT_MIN leads as well. Products that are too great for an int32
 * convert to INT32_MIN, which misses the bins whatever the origin. */
#include <float.h>

#include "kernels/avx512vnni/lanes_avx512vnni.h"

static inline __m512i slots_of(__m512 x, __m512 inverse_width, __m512i origin, __m512i bins)
{
    const __m512 zero = _mm512_setzero_ps();
    __m512 t = _mm512_mul_ps(x, inverse_width);
    t = _mm512_mask_min_ps(t, _mm512_cmp_ps_mask(x, zero, _CMP_LT_OQ), t, _mm512_set1_ps(-FLT_MIN));
    __m512i bin = _mm512_cvt_roundps_epi32(t, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    bin = _mm512_sub_epi32(bin, origin);
    __m512i slot = _mm512_add_epi32(bins, _mm512_set1_epi32(1));
    slot = _mm512_mask_mov_epi32(slot, _mm512_cmplt_epu32_mask(bin, bins), bin);
    return _mm512_mask_mov_epi32(slot, _mm512_cmp_ps_mask(x, zero, _CMP_EQ_OQ), bins);
}

static inline void slots_shared(const float *x, size_t n, __m512 inverse_width, __m512i origin, __m512i bins,
                                uint32_t *slots)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        _mm512_storeu_si512(slots + i, slots_of(_mm512_loadu_ps(x + i), inverse_width, origin, bins));
    if (i < n) {
        __mmask16 mask = lane_mask(n - i);
        __m512i slot = slots_of(_mm512_maskz_loadu_ps(mask, x + i), inverse_width, origin, bins);
        _mm512_mask_storeu_epi32(slots + i, mask, slot);
    }
}

void ql_histogram_slots_f32__avx512vnni(const float *x, size_t n, const float *inverse_width, const int32_t *origin,
                                        size_t group, uint32_t bins, uint32_t *slots)
{
    const __m512i limit = _mm512_set1_epi32((int32_t)bins);
    if (group == 1) {
        for (size_t i = 0; i < n; i += LANES) {
            __mmask16 mask = lane_mask(n - i);
            __m512i slot = slots_of(_mm512_maskz_loadu_ps(mask, x + i), _mm512_maskz_loadu_ps(mask, inverse_width + i),
                                    _mm512_maskz_loadu_epi32(mask, origin + i), limit);
            _mm512_mask_storeu_epi32(slots + i, mask, slot);
        }
        return;
    }
    for (size_t i = 0; i < n; i += group, inverse_width++, origin++)
        slots_shared(x + i, n - i < group ? n - i : group, _mm512_set1_ps(*inverse_width), _mm512_set1_epi32(*origin),
                     limit, slots + i);
}
