/* What a tile does with sums that it does not finish in registers: it leaves them in a small buffer, and the kernels
 * for finished sums take them from there. For column counts and results that are rare or cheap beside the product. */
#ifndef QL_FINISH_H
#define QL_FINISH_H

#include <string.h>

#include "kernels/kernels.h"

typedef struct ql_finishers {
    ql_add_outer_kernel *add_outer;
    ql_add_residual_kernel *add_residual;
    ql_scale_kernel *scale;
    ql_requantize_kernel *requantize;
    ql_requantize_fixed_kernel *requantize_fixed;
    ql_curve_kernel *curve;
} ql_finishers;

/* sums: rows x cols of the tile at (i, j), stride elements apart; changed on the way. */
static inline void ql_finish_tile(const ql_finishers *f, const ql_gemm_args *g, int32_t *sums, size_t stride, size_t i,
                                  size_t rows, size_t j, size_t cols)
{
    static const float ones[QL_MAX_MR] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    const ql_epilogue *e = g->epilogue;
    const size_t at = i * g->c_stride + j;
    for (int u = 0; u < 2; u++) {
        if (g->row_term[u])
            f->add_outer(sums, stride, rows, cols, g->row_term[u] + i, g->col_term[u] + j);
    }
    if (g->residual.codes) {
        const ql_residual own = ql_residual_from(&g->residual, at, j);
        f->add_residual(sums, stride, rows, cols, &own, g->c_stride);
    }
    switch (e->store) {
    case QL_STORE_S32:
        for (size_t r = 0; r < rows; r++)
            memcpy((int32_t *)g->c + at + r * g->c_stride, sums + r * stride, cols * sizeof *sums);
        break;
    case QL_STORE_F32:
        f->scale(sums, stride, rows, cols, g->row_scale ? g->row_scale + i : ones, e->scale + j, e->offset + j, e->low,
                 e->high, (float *)g->c + at, g->c_stride);
        break;
    case QL_STORE_X8:
        if (e->curve != QL_CURVE_NONE) {
            f->curve(sums, stride, rows, cols, e, j, (uint8_t *)g->c + at, g->c_stride);
            break;
        }
        f->requantize(sums, stride, rows, cols, e->multiplier + j, e->zero_point, e->qmin, e->qmax,
                      (uint8_t *)g->c + at, g->c_stride);
        break;
    case QL_STORE_X8_FIXED:
        f->requantize_fixed(sums, stride, rows, cols, e->mantissa + j, e->exponent + j, e->zero_point, e->qmin, e->qmax,
                            (uint8_t *)g->c + at, g->c_stride);
        break;
    }
}

#endif
