/* What the kernels for AVX2 share. Not part of avx2.h, which is read without the flags for these instructions. */
#ifndef QL_LANES_AVX2_H
#define QL_LANES_AVX2_H

#include <immintrin.h>

#include "kernels/avx2/avx2.h"

enum { LANES = 8 };

/* All ones in the first `left` lanes, or in all. */
static inline __m256i lane_mask(size_t left)
{
    static const int32_t ones[2 * LANES] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return _mm256_loadu_si256((const __m256i *)(ones + LANES - (left < LANES ? left : LANES)));
}

/* The low byte of each lane, the first one lowest. */
static inline uint64_t low_bytes(__m256i v)
{
    const __m256i bytes = _mm256_shuffle_epi8(v, _mm256_set1_epi32(0x0c080400));
    const uint64_t low = (uint32_t)_mm256_extract_epi32(bytes, 0), high = (uint32_t)_mm256_extract_epi32(bytes, 4);
    return low | high << 32;
}

/* Reads ahead of what the processor sees coming by itself. */
static inline void prefetch(const void *p, size_t bytes)
{
    enum { LINE = 64, AHEAD = 8192 };
    for (size_t line = 0; line < bytes; line += LINE)
        _mm_prefetch((const char *)((uintptr_t)p + AHEAD + line), _MM_HINT_T0);
}

#endif
