/* The exact integer product on sdot: four s8 x s8 products per 32-bit lane, summed exactly.
 *
 * The instruction wants both sides signed, so a is taken as a - 128, and 128 * sum_k b comes back as one more row of
 * products, the same for all rows of the tile: an eighth more of them at 8 rows. Codes of seven bits are signed as they
 * are and go without.
 *
 * Tile 8 x 8: 16 accumulators, 2 for the columns, 8 registers of a, 2 of b. a is read in place, 16 bytes at a time,
 * then four, then one by one: never beyond a segment. */
#include "kernels/neon/tile_neon.h"
#include "kernels/neondot/neondot.h"
#include "kernels/quads.h"

enum { NR = 8, MAX_MR = 8, KR = 4, VECTORS = NR / LANES, BLOCK = 16 };

/* The lane has to be a literal. */
static inline __attribute__((always_inline)) int32x4_t dot4(int32x4_t sum, int8x16_t b, int8x16_t a, const size_t lane)
{
    switch (lane) {
    case 0:
        return vdotq_laneq_s32(sum, b, a, 0);
    case 1:
        return vdotq_laneq_s32(sum, b, a, 1);
    case 2:
        return vdotq_laneq_s32(sum, b, a, 2);
    default:
        return vdotq_laneq_s32(sum, b, a, 3);
    }
}

static inline __attribute__((always_inline)) int8x16_t as_signed(uint8x16_t a, const bool is_u7)
{
    return vreinterpretq_s8_u8(is_u7 ? a : veorq_u8(a, vdupq_n_u8(128)));
}

/* ql_next_quad in every lane. */
static inline uint8x16_t quad_of(const uint8_t *a, size_t left)
{
    return vreinterpretq_u8_s32(vdupq_n_s32(ql_next_quad(a, left)));
}

static inline __attribute__((always_inline)) void gemm(const int mr, const bool is_u7, const ql_gemm_args *g, size_t i0,
                                                       size_t j, size_t cols)
{
    const int8x16_t lowest = vdupq_n_s8(-128);
    const uint8_t *rows = (const uint8_t *)g->a + i0 * g->a_stride;
    const int8_t *b = g->b + j / NR * g->panel_stride;
    int32x4_t columns[VECTORS] = {vdupq_n_s32(0), vdupq_n_s32(0)}, sum[MAX_MR][VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < mr; i++) {
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++)
            sum[i][v] = vld1q_s32(g->start + j + LANES * v);
    }
    for (size_t t = 0; t < g->segments; t++) {
        const uint8_t *a = rows + g->offset[t];
        size_t p = 0;
        for (; p + BLOCK <= g->k; p += BLOCK) {
            int8x16_t block[MAX_MR];
#pragma GCC unroll 8
            for (int i = 0; i < mr; i++)
                block[i] = as_signed(vld1q_u8(a + (size_t)i * g->a_stride + p), is_u7);
#pragma GCC unroll 4
            for (size_t group = 0; group < BLOCK / KR; group++) {
#pragma GCC unroll 2
                for (int v = 0; v < VECTORS; v++, b += 16) {
                    const int8x16_t b_four = vld1q_s8(b);
                    if (!is_u7)
                        columns[v] = vdotq_s32(columns[v], b_four, lowest);
#pragma GCC unroll 8
                    for (int i = 0; i < mr; i++)
                        sum[i][v] = dot4(sum[i][v], b_four, block[i], group);
                }
            }
        }
        for (; p < g->k; p += KR, b += KR * NR) {
            const int8x16_t low = vld1q_s8(b), high = vld1q_s8(b + 16);
            if (!is_u7) {
                columns[0] = vdotq_s32(columns[0], low, lowest);
                columns[1] = vdotq_s32(columns[1], high, lowest);
            }
#pragma GCC unroll 8
            for (int i = 0; i < mr; i++) {
                const int8x16_t a_four = as_signed(quad_of(a + (size_t)i * g->a_stride + p, g->k - p), is_u7);
                sum[i][0] = vdotq_s32(sum[i][0], low, a_four);
                sum[i][1] = vdotq_s32(sum[i][1], high, a_four);
            }
        }
    }
    int32_t sums[MAX_MR * NR];
#pragma GCC unroll 8
    for (int i = 0; i < mr; i++) {
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++)
            vst1q_s32(sums + i * NR + LANES * v, vsubq_s32(sum[i][v], columns[v]));
    }
    ql_finish_tile(&finishers, g, sums, NR, i0, (size_t)mr, j, cols);
}

#define NAME(MR, TYPES) ql_gemm_##TYPES##_##MR##x8c4__neondot
#define TILE(MR, TYPES, IS_U7)                                                                        \
    static void NAME(MR, TYPES)(const ql_gemm_args *g, size_t i, size_t tiles, size_t j, size_t cols) \
    {                                                                                                 \
        for (; tiles > 0; tiles--, i += MR)                                                           \
            gemm(MR, IS_U7, g, i, j, cols);                                                           \
    }
#define ENTRY(MR, TYPES) NAME(MR, TYPES),

QL_ROWS_8(TILE, u8s8s32, false)
QL_ROWS_8(TILE, u7s8s32, true)

static ql_gemm_ukernel *const ukernels[] = {NULL, QL_ROWS_8(ENTRY, u8s8s32)};
static ql_gemm_ukernel *const ukernels_u7[] = {NULL, QL_ROWS_8(ENTRY, u7s8s32)};

const ql_gemm_kernels ql_gemm_u8s8s32__neondot = {
    .mr = MAX_MR, .nr = NR, .kr = KR, .depth = KR, .a_size = 1, .row = row_of_bytes, .ukernel = ukernels};

const ql_gemm_kernels ql_gemm_u7s8s32__neondot = {
    .mr = MAX_MR, .nr = NR, .kr = KR, .depth = KR, .a_size = 1, .row = row_of_bytes, .ukernel = ukernels_u7};
