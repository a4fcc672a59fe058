/* vpdpbusd alone: 24 sums, as many as the largest tile of the product has. In assembly for the
 * reason that lanes_avx512vnni.h gives. */
#include <immintrin.h>

#include "kernels/avx512vnni/avx512vnni.h"

enum { SUMS = 24 };
_Static_assert(SUMS * 64 == QL_PEAK_ROUND, "each instruction makes 64 products");

int32_t ql_peak_u8s8s32__avx512vnni(size_t rounds, uint8_t a, int8_t b)
{
    const __m512i a_u8 = _mm512_set1_epi8((char)a), b_s8 = _mm512_set1_epi8(b);
    __m512i sum[SUMS];
#pragma GCC unroll 24
    for (int i = 0; i < SUMS; i++)
        sum[i] = _mm512_setzero_si512();
    for (; rounds; rounds--) {
#pragma GCC unroll 24
        for (int i = 0; i < SUMS; i++)
            __asm__("vpdpbusd %2, %1, %0" : "+v"(sum[i]) : "v"(a_u8), "v"(b_s8));
    }
#pragma GCC unroll 24
    for (int i = 1; i < SUMS; i++)
        sum[0] = _mm512_add_epi32(sum[0], sum[i]);
    return _mm512_reduce_add_epi32(sum[0]);
}
