/* The integer product, one row at a time, eight columns side by side. */
#include "kernels/finish.h"
#include "kernels/portable/portable.h"

enum { NR = 8 };

static const ql_finishers finishers = {QL_KERNEL(ql_add_outer_s32),           QL_KERNEL(ql_add_residual_u8_s32),
                                       QL_KERNEL(ql_scale_s32_f32),           QL_KERNEL(ql_requantize_s32_x8),
                                       QL_KERNEL(ql_requantize_fixed_s32_x8), QL_KERNEL(ql_curve_s32_x8)};

static void one_row(const ql_gemm_args *g, size_t i, size_t j, size_t cols)
{
    const uint8_t *row = (const uint8_t *)g->a + i * g->a_stride;
    const int8_t *b = g->b + j / NR * g->panel_stride;
    uint32_t sum[NR];
    for (size_t c = 0; c < NR; c++)
        sum[c] = (uint32_t)g->start[j + c];
    for (size_t t = 0; t < g->segments; t++) {
        const uint8_t *a = row + g->offset[t];
        for (size_t p = 0; p < g->k; p++, b += NR) {
            for (size_t c = 0; c < NR; c++)
                sum[c] += (uint32_t)(a[p] * b[c]);
        }
    }
    int32_t sums[NR];
    for (size_t c = 0; c < NR; c++)
        sums[c] = (int32_t)sum[c];
    ql_finish_tile(&finishers, g, sums, NR, i, 1, j, cols);
}

static void QL_KERNEL(ql_gemm_u8s8s32_1x8c1)(const ql_gemm_args *g, size_t i, size_t tiles, size_t j, size_t cols)
{
    for (; tiles > 0; tiles--, i++)
        one_row(g, i, j, cols);
}

static uint32_t QL_KERNEL(ql_gemm_row)(const uint8_t *a, size_t k, uint8_t flip, size_t padded, void *out)
{
    uint32_t sum = 0;
    for (size_t p = 0; p < k; p++)
        sum += (uint8_t)(a[p] ^ flip);
    if (!out)
        return sum;
    uint8_t *codes = out;
    for (size_t p = 0; p < k; p++)
        codes[p] = a[p] ^ flip;
    memset(codes + k, 0, padded - k);
    return sum;
}

static ql_gemm_ukernel *const ukernels[] = {NULL, QL_KERNEL(ql_gemm_u8s8s32_1x8c1)};

const ql_gemm_kernels QL_KERNEL(ql_gemm_u8s8s32) = {
    .mr = 1, .nr = NR, .kr = 1, .depth = 1, .a_size = 1, .row = QL_KERNEL(ql_gemm_row), .ukernel = ukernels};
