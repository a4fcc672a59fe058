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

/* Codes of a grid: four vectors of steps from the zero point become 32 bytes together. Signed codes are unsigned ones
 * with another zero point until the last step. */
enum { VECTORS_OF_CODES = 4, CLAMPS_CODES = true };

typedef struct code_rule {
    __m256i zero_point, low, high, flip;
} code_rule;

static inline code_rule code_rule_of(const ql_epilogue *e)
{
    const int32_t flip = e->qmin < 0 ? 128 : 0;
    return (code_rule){_mm256_set1_epi16((int16_t)(e->zero_point + flip)), _mm256_set1_epi8((char)(e->qmin + flip)),
                       _mm256_set1_epi8((char)(e->qmax + flip)), _mm256_set1_epi8((char)flip)};
}

/* Stores the codes of steps: of up to VECTORS_OF_CODES vectors in all. */
static inline __attribute__((always_inline)) void store_codes(uint8_t *codes, size_t stride,
                                                              __m256i steps[][MAX_VECTORS], const int rows,
                                                              const int vectors, const code_rule *r)
{
    __m256i words[2];
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        const int first = 2 * h % (rows * vectors), second = (first + 1) % (rows * vectors);
        words[h] = _mm256_adds_epi16(
            _mm256_packs_epi32(steps[first / vectors][first % vectors], steps[second / vectors][second % vectors]),
            r->zero_point);
    }
    const __m256i bytes = min_u8(max_u8(_mm256_packus_epi16(words[0], words[1]), r->low), r->high);
    const __m256i ordered = in_order(_mm256_xor_si256(bytes, r->flip));
    const __m128i half[] = {_mm256_castsi256_si128(ordered), _mm256_extracti128_si256(ordered, 1)};
    if (vectors == 4) {
        _mm256_storeu_si256((__m256i *)codes, ordered);
        return;
    }
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++) {
        uint8_t *to = codes + (size_t)i * stride;
        if (vectors == 2)
            _mm_storeu_si128((__m128i *)to, half[i]);
        else if (i % 2 == 0)
            _mm_storel_epi64((__m128i *)to, half[i / 2]);
        else
            _mm_storeh_pd((double *)to, _mm_castsi128_pd(half[i / 2]));
    }
}

#include "kernels/x86/tile_x86.h"

/* Of four sums of 64 bits, modulo 2^32. */
static inline uint32_t total(__m256i sums)
{
    const __m128i pair = _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    return (uint32_t)_mm_cvtsi128_si32(pair) + (uint32_t)_mm_extract_epi32(pair, 2);
}

#endif
