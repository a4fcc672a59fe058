/* Tiles of integer products in registers of eight sums, up to 6 rows by 16 columns. Kernels differ in how they
 * multiply: AVX2 in two ways, AVX-VNNI in a third. */
#ifndef QL_TILE_AVX2_H
#define QL_TILE_AVX2_H

#include "kernels/avx2/lanes_avx2.h"
#include "kernels/finish.h"
#include "kernels/tiles.h"

/* VECTORS of eight columns: 2 for whole panels, 1 for their first eight, 4 for two panels. */
enum { NR = 16, MAX_MR = 6, MAX_VECTORS = 4 };

static const ql_finishers finishers = {ql_add_outer_s32__avx2, ql_scale_s32_f32__avx2, ql_requantize_s32_x8__avx2,
                                       ql_requantize_fixed_s32_x8__avx2};

#include "kernels/x86/tile_x86.h"

/* Brings the next panel to L2 at the pace at which this one is used: 6 % more speed where b is larger than L3, the same
 * elsewhere. */
static inline void prefetch_panel(const ql_gemm_args *g, const int8_t *b)
{
    _mm_prefetch((const char *)((uintptr_t)b + g->panel_stride), _MM_HINT_T1);
}

/* Of four sums of 64 bits, modulo 2^32. */
static inline uint32_t total(__m256i sums)
{
    const __m128i pair = _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    return (uint32_t)_mm_cvtsi128_si32(pair) + (uint32_t)_mm_extract_epi32(pair, 2);
}

#endif
