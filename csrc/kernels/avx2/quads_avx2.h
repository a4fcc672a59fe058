/* Integer products that take k in groups of four bytes and read a in place: vpdpbusd, and what stands for it where a
 * has seven bits. The file that includes this brings the instruction.
 *
 * The 1 to 3 bytes past the last group of four are fetched one by one, never beyond the row. split: over how many sets
 * of accumulators k is dealt out. */
#ifndef QL_QUADS_AVX2_H
#define QL_QUADS_AVX2_H

#include "kernels/avx2/tile_avx2.h"
#include "kernels/quads.h"

enum { KR = 4, MAX_SPLIT = 4 };

/* sum + the products of four bytes, in each of eight columns; b: 32 bytes, aligned. */
typedef __m256i dot4_function(__m256i sum, __m256i a, const int8_t *b);

static inline __attribute__((always_inline)) void gemm_quads(dot4_function *dot4, const int mr, const int vectors,
                                                             const int split, const ql_gemm_args *g,
                                                             const tile_end *end, size_t i0, size_t j, size_t cols)
{
    const size_t a_stride = g->a_stride;
    const uint8_t *rows = (const uint8_t *)g->a + i0 * a_stride;
    const int8_t *b = g->b + j / NR * g->panel_stride;
    const size_t next_panel = vectors > 2 ? g->panel_stride : 0;
    tile_sums sum[MAX_SPLIT];
    start_tile(mr, vectors, g, j, sum[0]);
#pragma GCC unroll 4
    for (int s = 1; s < split; s++)
        start_split(mr, vectors, sum[s]);
    for (size_t t = 0; t < g->segments; t++) {
        const uint8_t *a = rows + g->offset[t];
        const size_t step = (size_t)split * KR;
        size_t p = 0;
        for (; p + step <= g->k; p += step) {
#pragma GCC unroll 4
            for (int s = 0; s < split; s++, b += NR * KR) {
#pragma GCC unroll 6
                for (int i = 0; i < mr; i++) {
                    int32_t four;
                    memcpy(&four, a + (size_t)i * a_stride + p + (size_t)s * KR, sizeof four);
                    const __m256i a_four = _mm256_set1_epi32(four);
#pragma GCC unroll 4
                    for (int v = 0; v < vectors; v++)
                        sum[s][i][v] = dot4(sum[s][i][v], a_four, b + (v < 2 ? 0 : next_panel) + 32 * (v % 2));
                }
            }
        }
        for (; p < g->k; p += KR, b += NR * KR) {
#pragma GCC unroll 6
            for (int i = 0; i < mr; i++) {
                const __m256i a_four = _mm256_set1_epi32(ql_next_quad(a + (size_t)i * a_stride + p, g->k - p));
#pragma GCC unroll 4
                for (int v = 0; v < vectors; v++)
                    sum[0][i][v] = dot4(sum[0][i][v], a_four, b + (v < 2 ? 0 : next_panel) + 32 * (v % 2));
            }
        }
    }
#pragma GCC unroll 4
    for (int s = 1; s < split; s++)
        add_split(mr, vectors, sum[0], sum[s]);
    finish_tile(mr, vectors, g, end, sum[0], i0, j, cols);
}

static inline uint32_t row_of_bytes(const uint8_t *a, size_t k, uint8_t flip, size_t padded, void *out)
{
    enum { BLOCK = 32 };
    const __m256i flips = _mm256_set1_epi8((char)flip), zero = _mm256_setzero_si256();
    uint8_t *codes = out;
    __m256i sums = zero;
    size_t p = 0;
    for (; p + BLOCK <= k; p += BLOCK) {
        const __m256i v = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(a + p)), flips);
        sums = _mm256_add_epi64(sums, _mm256_sad_epu8(v, zero));
        if (codes)
            _mm256_storeu_si256((__m256i *)(codes + p), v);
    }
    uint32_t sum = total(sums);
    for (; p < k; p++) {
        sum += (uint8_t)(a[p] ^ flip);
        if (codes)
            codes[p] = a[p] ^ flip;
    }
    if (codes)
        memset(codes + k, 0, padded - k);
    return sum;
}

#endif
