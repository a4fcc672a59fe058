#include "kernels/avx512vnni/lanes_avx512vnni.h"

enum { SIZES = 4 };

/* Folds both at once, the greatest as the least of the negatives, in half of the steps. */
static inline void fold(floats least, floats greatest, float *min, float *max)
{
    enum { LOW_HALVES = 0x44, HIGH_HALVES = 0xEE, SWAP_PAIRS = 0x4E, SWAP_NEIGHBOURS = 0xB1 };
    const floats negative = -greatest;
    floats v =
        min_f32(_mm512_shuffle_f32x4(least, negative, LOW_HALVES), _mm512_shuffle_f32x4(least, negative, HIGH_HALVES));
    v = min_f32(v, _mm512_shuffle_f32x4(v, v, SWAP_NEIGHBOURS));
    v = min_f32(v, _mm512_permute_ps(v, SWAP_PAIRS));
    v = min_f32(v, _mm512_permute_ps(v, SWAP_NEIGHBOURS));
    *min = _mm512_cvtss_f32(v);
    *max = -_mm256_cvtss_f32(_mm512_extractf32x8_ps(v, 1));
}

#include "kernels/x86/minmax_x86.h"
