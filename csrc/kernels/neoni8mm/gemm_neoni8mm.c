/* The exact integer product on usmmla: a 2 x 8 block of u8 by an 8 x 2 block of s8, added to a 2 x 2 block of sums.
 *
 * Tile 8 x 8: 16 blocks of sums, 4 registers of a, each two rows of 8 bytes, 4 of b, each two columns. The second row
 * of an odd last pair is the first once more, and thrown away. a is read in place; the 1 to 7 bytes past the last group
 * of eight are copied first, so that nothing is read beyond the segment. */
#include "kernels/neon/tile_neon.h"
#include "kernels/neoni8mm/neoni8mm.h"

enum { NR = 8, MAX_MR = 8, KR = 8, PAIRS = NR / 2, MAX_ROW_PAIRS = MAX_MR / 2 };

/* The next eight bytes of a row, or those that are left of it with zeros behind. */
static inline uint8x8_t group_of(const uint8_t *a, size_t left)
{
    uint8_t last[KR] = {0};
    if (left >= KR)
        return vld1_u8(a);
    memcpy(last, a, left);
    return vld1_u8(last);
}

typedef int32x4_t tile_sums[MAX_ROW_PAIRS][PAIRS];

/* The next eight bytes of each row, or the last `left`. */
static inline __attribute__((always_inline)) void add_group(const int mr, const uint8_t *a, size_t a_stride,
                                                            size_t left, const int8_t *b, tile_sums sum)
{
    int8x16_t columns[PAIRS];
#pragma GCC unroll 4
    for (int v = 0; v < PAIRS; v++)
        columns[v] = vld1q_s8(b + 16 * v);
#pragma GCC unroll 4
    for (int i = 0; i < (mr + 1) / 2; i++) {
        const uint8_t *first = a + (size_t)(2 * i) * a_stride, *second = 2 * i + 1 < mr ? first + a_stride : first;
        const uint8x16_t pair = vcombine_u8(group_of(first, left), group_of(second, left));
#pragma GCC unroll 4
        for (int v = 0; v < PAIRS; v++)
            sum[i][v] = vusmmlaq_s32(sum[i][v], pair, columns[v]);
    }
}

static inline __attribute__((always_inline)) void gemm(const int mr, const ql_gemm_args *g, size_t i0, size_t j,
                                                       size_t cols)
{
    const uint8_t *rows = (const uint8_t *)g->a + i0 * g->a_stride;
    const int8_t *b = g->b + j / NR * g->panel_stride;
    const int row_pairs = (mr + 1) / 2;
    tile_sums sum;
#pragma GCC unroll 4
    for (int i = 0; i < row_pairs; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < PAIRS; v++) {
            const int32x2_t start = vld1_s32(g->start + j + 2 * v);
            sum[i][v] = vcombine_s32(start, start);
        }
    }
    for (size_t t = 0; t < g->segments; t++) {
        const uint8_t *a = rows + g->offset[t];
        size_t p = 0;
        for (; p + KR <= g->k; p += KR, b += NR * KR)
            add_group(mr, a + p, g->a_stride, KR, b, sum);
        if (p < g->k) {
            add_group(mr, a + p, g->a_stride, g->k - p, b, sum);
            b += NR * KR;
        }
    }
    int32_t sums[MAX_MR * NR];
#pragma GCC unroll 4
    for (int i = 0; i < row_pairs; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < PAIRS; v++) {
            vst1_s32(sums + 2 * i * NR + 2 * v, vget_low_s32(sum[i][v]));
            vst1_s32(sums + (2 * i + 1) * NR + 2 * v, vget_high_s32(sum[i][v]));
        }
    }
    ql_finish_tile(&finishers, g, sums, NR, i0, (size_t)mr, j, cols);
}

#define NAME(MR, TYPES) ql_gemm_##TYPES##_##MR##x8c8__neoni8mm
#define TILE(MR, TYPES)                                                                               \
    static void NAME(MR, TYPES)(const ql_gemm_args *g, size_t i, size_t tiles, size_t j, size_t cols) \
    {                                                                                                 \
        for (; tiles > 0; tiles--, i += MR)                                                           \
            gemm(MR, g, i, j, cols);                                                                  \
    }
#define ENTRY(MR, TYPES) NAME(MR, TYPES),

QL_ROWS_8(TILE, u8s8s32)

static ql_gemm_ukernel *const ukernels[] = {NULL, QL_ROWS_8(ENTRY, u8s8s32)};

const ql_gemm_kernels ql_gemm_u8s8s32__neoni8mm = {
    .mr = MAX_MR, .nr = NR, .kr = KR, .depth = KR, .a_size = 1, .row = row_of_bytes, .ukernel = ukernels};
