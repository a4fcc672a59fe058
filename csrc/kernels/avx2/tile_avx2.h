/* Tiles of integer products in registers of eight sums, up to 6 rows by 16 columns. Kernels differ in how they
 * multiply: AVX2 in two ways, AVX-VNNI in a third. */
#ifndef QL_TILE_AVX2_H
#define QL_TILE_AVX2_H

#include "kernels/avx2/lanes_avx2.h"
#include "kernels/finish.h"
#include "kernels/tiles.h"

/* VECTORS of eight columns: 2 for whole panels, 1 for their first eight, 4 for two panels. */
enum { NR = 16, MAX_MR = 6, MAX_VECTORS = 4 };

static const ql_finishers finishers = {ql_add_outer_s32__avx2,           ql_add_residual_u8_s32__avx2,
                                       ql_scale_s32_f32__avx2,           ql_requantize_s32_x8__avx2,
                                       ql_requantize_fixed_s32_x8__avx2, ql_curve_s32_x8__avx2};

/* Codes of a grid: two vectors of steps from the zero point become bytes together. Signed codes are unsigned ones with
 * another zero point until the last step. */
typedef struct code_rule {
    __m256i zero_point, low, flip;
} code_rule;

static inline code_rule code_rule_of(const ql_epilogue *e)
{
    const int32_t flip = e->qmin < 0 ? 128 : 0;
    return (code_rule){_mm256_set1_epi16((int16_t)(e->zero_point + flip)), _mm256_set1_epi8((char)(e->qmin + flip)),
                       _mm256_set1_epi8((char)flip)};
}

/* Stores the codes of vectors of steps, which are at most qmax - zero_point. */
static inline __attribute__((always_inline)) void store_codes(uint8_t *codes, const __m256i *steps, const int vectors,
                                                              const code_rule *r)
{
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v += 2) {
        const __m256i both = _mm256_packs_epi32(steps[v], steps[vectors > 1 ? v + 1 : v]);
        const __m256i words = _mm256_adds_epi16(both, r->zero_point);
        const __m256i bytes = _mm256_max_epu8(_mm256_packus_epi16(words, words), r->low);
        const __m128i ordered = _mm256_castsi256_si128(in_order(_mm256_xor_si256(bytes, r->flip)));
        if (vectors > 1)
            _mm_storeu_si128((__m128i *)(codes + LANES * v), ordered);
        else
            _mm_storel_epi64((__m128i *)codes, ordered);
    }
}

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
