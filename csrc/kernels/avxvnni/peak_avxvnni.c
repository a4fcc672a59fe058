/* vpdpbusd of 256 bits alone: 12 sums, as many as the largest tile of the product has. In assembly for the reason given
 * there. */
#include <immintrin.h>

#include "kernels/avxvnni/avxvnni.h"

enum { SUMS = 12, STEPS = 4 };
_Static_assert(STEPS * SUMS * 32 == QL_PEAK_ROUND, "each instruction makes 32 products");

int32_t ql_peak_u8s8s32__avxvnni(size_t rounds, uint8_t a, int8_t b)
{
    const __m256i a_u8 = _mm256_set1_epi8((char)a), b_s8 = _mm256_set1_epi8(b);
    __m256i sum[SUMS];
#pragma GCC unroll 12
    for (int i = 0; i < SUMS; i++)
        sum[i] = _mm256_setzero_si256();
    for (size_t step = 0; step < rounds * STEPS; step++) {
#pragma GCC unroll 12
        for (int i = 0; i < SUMS; i++)
            __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum[i]) : "x"(a_u8), "x"(b_s8));
    }
    int32_t lanes[8], total = 0;
#pragma GCC unroll 12
    for (int i = 1; i < SUMS; i++)
        sum[0] = _mm256_add_epi32(sum[0], sum[i]);
    _mm256_storeu_si256((__m256i *)lanes, sum[0]);
    for (int i = 0; i < 8; i++)
        total = (int32_t)((uint32_t)total + (uint32_t)lanes[i]);
    return total;
}
