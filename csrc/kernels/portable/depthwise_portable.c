/* Depthwise products, one row and sixteen lanes at a time: a tap's lanes are neighbours, so every loop is vectorized.
 */
#include "kernels/finish.h"
#include "kernels/portable/portable.h"

enum { LANES = 16 };

static const ql_finishers finishers = {QL_KERNEL(ql_add_outer_s32),           QL_KERNEL(ql_add_residual_u8_s32),
                                       QL_KERNEL(ql_scale_s32_f32),           QL_KERNEL(ql_requantize_s32_x8),
                                       QL_KERNEL(ql_requantize_fixed_s32_x8), QL_KERNEL(ql_curve_s32_x8)};

static inline void sum_lanes(const ql_gemm_args *g, const uint8_t *a, const int8_t *b, size_t cols,
                             int32_t *restrict sums)
{
    for (size_t t = 0; t < g->segments; t++, b += LANES) {
        const uint8_t *tap = a + g->offset[t];
        for (size_t j = 0; j < cols; j++)
            sums[j] = (int32_t)((uint32_t)sums[j] + (uint32_t)(tap[j] * b[j]));
    }
}

static void QL_KERNEL(ql_depthwise_u8s8s32_1x16c1)(const ql_gemm_args *g, const ql_depthwise_size *size)
{
    for (size_t j = 0; j < size->cols; j += LANES) {
        const size_t cols = size->cols - j < LANES ? size->cols - j : LANES;
        const int8_t *b = g->b + j / LANES * g->panel_stride;
        ql_gemm_args own = *g;
        for (size_t line = 0; line < size->lines; line++, ql_next_line(&own, size)) {
            for (size_t i = 0; i < size->rows; i++) {
                const uint8_t *a = (const uint8_t *)own.a + i * g->a_stride + j;
                int32_t sums[LANES];
                memcpy(sums, g->start + j, sizeof sums);
                if (cols == LANES)
                    sum_lanes(g, a, b, LANES, sums);
                else
                    sum_lanes(g, a, b, cols, sums);
                ql_finish_tile(&finishers, &own, sums, LANES, i, 1, j, cols);
            }
        }
    }
}

const ql_depthwise_kernels QL_KERNEL(ql_depthwise_u8s8s32) = {
    .lanes = LANES, .kr = 1, .b_size = 1, .outputs = 1, .kernel = QL_KERNEL(ql_depthwise_u8s8s32_1x16c1)};
