/* The exact integer product of the ARM baseline: both sides as 16-bit numbers through smlal, which adds four products
 * to four 32-bit sums.
 *
 * Why not smull of bytes with sadalp, as many products per instruction: it wants both sides signed or both unsigned, so
 * one of them would have to be shifted by 128 and the sums corrected.
 *
 * Tile 6 x 16: 24 accumulators, 2 registers of b, 1 of a. b is widened while it is loaded. */
#include "kernels/neon/tile_neon.h"

enum { NR = 16, MAX_MR = 6, VECTORS = NR / LANES };

static inline __attribute__((always_inline)) void gemm(const int mr, const ql_gemm_args *g, size_t i0, size_t j,
                                                       size_t cols)
{
    const char *rows = (const char *)g->a + i0 * g->a_stride;
    const int8_t *b = g->b + j / NR * g->panel_stride;
    int32x4_t sum[MAX_MR][VECTORS];
#pragma GCC unroll 6
    for (int i = 0; i < mr; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++)
            sum[i][v] = vld1q_s32(g->start + j + LANES * v);
    }
    for (size_t t = 0; t < g->segments; t++) {
        const char *a = rows + g->offset[t];
        for (size_t p = 0; p < g->k; p++, b += NR) {
            const int8x16_t columns = vld1q_s8(b);
            const int16x8_t low = vmovl_s8(vget_low_s8(columns)), high = vmovl_high_s8(columns);
#pragma GCC unroll 6
            for (int i = 0; i < mr; i++) {
                int16_t one;
                memcpy(&one, a + (size_t)i * g->a_stride + p * sizeof one, sizeof one);
                sum[i][0] = vmlal_n_s16(sum[i][0], vget_low_s16(low), one);
                sum[i][1] = vmlal_high_n_s16(sum[i][1], low, one);
                sum[i][2] = vmlal_n_s16(sum[i][2], vget_low_s16(high), one);
                sum[i][3] = vmlal_high_n_s16(sum[i][3], high, one);
            }
        }
    }
    int32_t sums[MAX_MR * NR];
#pragma GCC unroll 6
    for (int i = 0; i < mr; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++)
            vst1q_s32(sums + i * NR + LANES * v, sum[i][v]);
    }
    ql_finish_tile(&finishers, g, sums, NR, i0, (size_t)mr, j, cols);
}

static uint32_t row(const uint8_t *a, size_t k, uint8_t flip, size_t padded, void *out)
{
    int16_t *codes = out;
    uint32_t sum = 0;
    for (size_t p = 0; p < k; p++)
        sum += (uint8_t)(a[p] ^ flip);
    if (!codes)
        return sum;
    for (size_t p = 0; p < k; p++)
        codes[p] = a[p] ^ flip;
    memset(codes + k, 0, (padded - k) * sizeof *codes);
    return sum;
}

#define NAME(MR, TYPES) ql_gemm_##TYPES##_##MR##x16c1__neon
#define TILE(MR, TYPES)                                                                               \
    static void NAME(MR, TYPES)(const ql_gemm_args *g, size_t i, size_t tiles, size_t j, size_t cols) \
    {                                                                                                 \
        for (; tiles > 0; tiles--, i += MR)                                                           \
            gemm(MR, g, i, j, cols);                                                                  \
    }
#define ENTRY(MR, TYPES) NAME(MR, TYPES),

QL_ROWS_6(TILE, u8s8s32)

static ql_gemm_ukernel *const ukernels[] = {NULL, QL_ROWS_6(ENTRY, u8s8s32)};

const ql_gemm_kernels ql_gemm_u8s8s32__neon = {
    .mr = MAX_MR, .nr = NR, .kr = 1, .depth = 1, .a_size = 2, .row = row, .ukernel = ukernels};
