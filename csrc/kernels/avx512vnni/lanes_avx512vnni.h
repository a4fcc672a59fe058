/* What the kernels for AVX-512 share. Not part of avx512vnni.h, which is read without the flags for these instructions.
 */
#ifndef QL_LANES_AVX512VNNI_H
#define QL_LANES_AVX512VNNI_H

#include <immintrin.h>

#include "kernels/avx512vnni/avx512vnni.h"

enum { LANES = 16, BLOCK = 4 * LANES };

/* What a kernel does to the lanes of a mask is called with all of them in main loops, where the compiler drops the mask
 * (a masked store to new memory costs the double of another), and with fewer at the end. */
static const __mmask16 ALL = 0xFFFF;

/* The first `left` lanes, or all. */
static inline __mmask16 lane_mask(size_t left)
{
    return left >= LANES ? (__mmask16)0xFFFF : (__mmask16)((1u << left) - 1);
}

/* Reads ahead of what the processor sees coming by itself: 12 % more speed from L3, 20 % from memory. */
static inline void prefetch(const void *p, size_t bytes)
{
    enum { LINE = 64, AHEAD = 8192 };
    for (size_t line = 0; line < bytes; line += LINE)
        _mm_prefetch((const char *)((uintptr_t)p + AHEAD + line), _MM_HINT_T0);
}

/* Four u8 x s8 products per lane, summed exactly. In assembly, because after the intrinsic gcc 12 copies the
 * accumulator and spills as soon as the accumulators are used after the loop, which halves the speed. */
static inline __attribute__((always_inline)) __m512i dot4(__m512i sum, __m512i a_u8, __m512i b_s8)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a_u8), "v"(b_s8));
    return sum;
}

typedef struct block {
    __m512 v[4];
} block;

static inline block load_block(const float *x)
{
    block b;
    for (int u = 0; u < 4; u++)
        b.v[u] = _mm512_loadu_ps(x + u * LANES);
    return b;
}

#endif
