#include "kernels/avx2/lanes_avx2.h"

enum { SIZES = 2 }; /* four would not stay in registers */

/* Folds both at once, the greatest as the least of the negatives, in half of the steps. */
static inline void fold(floats least, floats greatest, float *min, float *max)
{
    enum { LOW_HALVES = 0x20, HIGH_HALVES = 0x31, SWAP_PAIRS = 0x4E, SWAP_NEIGHBOURS = 0xB1 };
    const floats negative = -greatest;
    floats v = min_f32(_mm256_permute2f128_ps(least, negative, LOW_HALVES),
                       _mm256_permute2f128_ps(least, negative, HIGH_HALVES));
    v = min_f32(v, _mm256_permute_ps(v, SWAP_PAIRS));
    v = min_f32(v, _mm256_permute_ps(v, SWAP_NEIGHBOURS));
    *min = _mm256_cvtss_f32(v);
    *max = -_mm_cvtss_f32(_mm256_extractf128_ps(v, 1));
}

#include "kernels/x86/minmax_x86.h"
