/* What serves in the place of emulated tiles: the same panels in plain C. */
#ifdef QL_EMULATE_AMX
#include "lower_emulated.h"
#include "kernels/finish.h"
#include "kernels/scalar/scalar.h"

enum { NR = 32, KR = 4 };

static const ql_finishers finishers = {ql_add_outer_s32__scalar,           ql_add_residual_u8_s32__scalar,
                                       ql_scale_s32_f32__scalar,           ql_requantize_s32_x8__scalar,
                                       ql_requantize_fixed_s32_x8__scalar, ql_curve_s32_x8__scalar};

/* Reads and writes what was copied for it, which sanitizers have seen. */
__attribute__((no_sanitize("address", "undefined"))) static void
add_products(const uint8_t four[KR], const int8_t weights[NR * KR], uint32_t sum[NR])
{
    for (size_t c = 0; c < NR; c++) {
        for (size_t q = 0; q < KR; q++)
            sum[c] += (uint32_t)(four[q] * weights[c * KR + q]);
    }
}

static void one_row(const ql_gemm_args *g, size_t i, size_t j, size_t cols)
{
    const uint8_t *row = (const uint8_t *)g->a + i * g->a_stride;
    const int8_t *b = g->b + j / NR * g->panel_stride;
    uint32_t sum[NR];
    memcpy(sum, g->start + j, sizeof sum);
    for (size_t t = 0; t < g->segments; t++) {
        for (size_t p = 0; p < g->k; p += KR, b += NR * KR) {
            uint8_t four[KR] = {0};
            int8_t weights[NR * KR];
            memcpy(four, row + g->offset[t] + p, g->k - p < KR ? g->k - p : KR);
            memcpy(weights, b, sizeof weights);
            add_products(four, weights, sum);
        }
    }
    int32_t sums[NR];
    memcpy(sums, sum, sizeof sums);
    ql_finish_tile(&finishers, g, sums, NR, i, 1, j, cols);
}

static uint32_t row(const uint8_t *a, size_t k, uint8_t flip, size_t padded, void *out)
{
    return ql_gemm_u8s8s32__scalar.row(a, k, flip, padded, out);
}

static void rows_in_turn(const ql_gemm_args *g, size_t i, size_t tiles, size_t j, size_t cols)
{
    for (; tiles > 0; tiles--, i++)
        one_row(g, i, j, cols);
}

static ql_gemm_ukernel *const ukernels[] = {NULL, rows_in_turn};

const ql_gemm_kernels ql_gemm_u8s8s32__emulated = {
    .mr = 1, .nr = NR, .kr = KR, .depth = KR, .a_size = 1, .row = row, .ukernel = ukernels};
#else
typedef int nothing; /* a source has to hold something */
#endif
