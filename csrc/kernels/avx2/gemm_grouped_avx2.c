/* The product with grouped weights, exact without VNNI.
 *
 * Codes of 4 bits times codes of rows: vpmaddubsw adds two products, at most 15 * 128 * 2, to 16 bits, and these hold
 * the eight such sums of 32 k (30,720). Then they go on in 32 bits.
 *
 * Levels and bytes: |w| times a with the sign of w, of which two products are at most 128 * 127 * 2 = 32,512; a sum of
 * two goes on in 32 bits at once.
 *
 * Tile 4 x 16: the sums in 16 bits stay in registers; those in 32 bits and the floats, which are wanted once per 32 k,
 * may lie in memory. */
#include "kernels/avx2/lanes_avx2.h"
#include "kernels/tiles.h"

enum { NR = 16, KR = 8, MAX_MR = 4, VECTORS = NR / LANES, STEPS = 4 /* of KR, that 16 bits hold */, SHIFT = 0 };

/* Eight columns: the weights of four k, the first or, if is_last, the last of the eight that lie together. */
static inline __attribute__((always_inline)) __m256i load_weights(const ql_weight_form form, const bool is_last,
                                                                  const uint8_t *codes, __m256i table)
{
    if (form == QL_WEIGHTS_S8)
        return _mm256_load_si256((const __m256i *)(codes + (is_last ? 4 * NR : 0)));
    __m256i w = _mm256_load_si256((const __m256i *)codes);
    if (is_last)
        w = _mm256_srli_epi16(w, 4);
    w = _mm256_and_si256(w, _mm256_set1_epi8(15));
    return form == QL_WEIGHTS_TABLE ? _mm256_shuffle_epi8(table, w) : w;
}

static inline __m256i broadcast4(const int8_t *a)
{
    int32_t four;
    memcpy(&four, a, sizeof four);
    return _mm256_set1_epi32(four);
}

/* Sums in 16 bits. The instruction itself: from the intrinsic gcc 12 makes copies and spills. */
static inline __m256i add_pairs(__m256i sum, __m256i pairs)
{
    __asm__("vpaddw %1, %0, %0" : "+x"(sum) : "x"(pairs));
    return sum;
}

/* Sums in 32 bits, from sums of pairs in 16. */
static inline __m256i add_widened(__m256i sum, __m256i pairs)
{
    const __m256i wide = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    __asm__("vpaddd %1, %0, %0" : "+x"(sum) : "x"(wide));
    return sum;
}

/* Up to 32 k of codes of 4 bits. */
static inline __attribute__((always_inline)) void add_codes(const int mr, size_t steps, const uint8_t *codes,
                                                            const int8_t *row, size_t stride,
                                                            __m256i sum[MAX_MR][VECTORS])
{
    __m256i pairs[MAX_MR][VECTORS];
#pragma GCC unroll 4
    for (int i = 0; i < mr; i++) {
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++)
            pairs[i][v] = _mm256_setzero_si256();
    }
#pragma GCC unroll 1
    for (size_t t = 0; t < steps; t++, codes += 4 * NR, row += KR) {
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++) {
            __m256i w[VECTORS];
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++)
                w[v] = load_weights(QL_WEIGHTS_U4, half, codes + 32 * v, _mm256_setzero_si256());
#pragma GCC unroll 4
            for (int i = 0; i < mr; i++) {
                const __m256i a = broadcast4(row + (size_t)i * stride + 4 * half);
#pragma GCC unroll 2
                for (int v = 0; v < VECTORS; v++)
                    pairs[i][v] = add_pairs(pairs[i][v], _mm256_maddubs_epi16(w[v], a));
            }
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < mr; i++) {
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++)
            sum[i][v] = add_widened(sum[i][v], pairs[i][v]);
    }
}

/* Eight k of signed weights. */
static inline __attribute__((always_inline)) void add_signed(const int mr, const ql_weight_form form,
                                                             const uint8_t *codes, __m256i table, const int8_t *row,
                                                             size_t stride, __m256i sum[MAX_MR][VECTORS])
{
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++) {
        __m256i w[VECTORS], size[VECTORS];
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++) {
            w[v] = load_weights(form, half, codes + 32 * v, table);
            size[v] = _mm256_abs_epi8(w[v]);
        }
#pragma GCC unroll 4
        for (int i = 0; i < mr; i++) {
            const __m256i a = broadcast4(row + (size_t)i * stride + 4 * half);
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++)
                sum[i][v] = add_widened(sum[i][v], _mm256_maddubs_epi16(size[v], _mm256_sign_epi8(a, w[v])));
        }
    }
}

static inline __attribute__((always_inline)) void add_group(const int mr, const ql_weight_form form, size_t steps,
                                                            const uint8_t *codes, __m256i table, const int8_t *row,
                                                            size_t stride, __m256i sum[MAX_MR][VECTORS])
{
    if (form == QL_WEIGHTS_U4) {
        for (size_t t = 0; t < steps; t += STEPS)
            add_codes(mr, steps - t < STEPS ? steps - t : STEPS, codes + t * 4 * NR, row + t * KR, stride, sum);
    } else {
        for (size_t t = 0; t < steps; t++, codes += form == QL_WEIGHTS_S8 ? 8 * NR : 4 * NR, row += KR)
            add_signed(mr, form, codes, table, row, stride, sum);
    }
}

static inline __m256i table_of(const ql_grouped_panel *b)
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)b->table));
}

#define NAME(MR, TYPES) ql_gemm_##TYPES##_##MR##x16c8__avx2
#define ROWS QL_ROWS_4

#include "kernels/x86/gemm_grouped_x86.h"
