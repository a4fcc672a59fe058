/* A product of floats on top of what is there. fmaf() rounds once on every CPU, in hardware or in software. */
#include <math.h>

#include "kernels/portable/portable.h"
#include "kernels/tiles.h"

enum { NR = 8 };

static inline void gemm(const int mr, const ql_float_rows *rows, const float *restrict w, size_t w_stride,
                        float *restrict y, size_t y_stride)
{
    float sum[4][NR];
    for (int i = 0; i < mr; i++) {
        for (size_t j = 0; j < NR; j++)
            sum[i][j] = y[(size_t)i * y_stride + j];
    }
    for (size_t t = 0; t < rows->segments; t++) {
        const float *x = rows->x + rows->offset[t];
        for (size_t p = 0; p < rows->k; p++, x += rows->step, w += w_stride) {
            for (int i = 0; i < mr; i++) {
                const float xi = x[(size_t)i * rows->stride];
                for (size_t j = 0; j < NR; j++)
                    sum[i][j] = fmaf(xi, w[j], sum[i][j]);
            }
        }
    }
    for (int i = 0; i < mr; i++) {
        for (size_t j = 0; j < NR; j++)
            y[(size_t)i * y_stride + j] = sum[i][j];
    }
}

#define NAME(MR, TYPES) QL_KERNEL(ql_gemm_##TYPES##_##MR##x8)
#define TILE(MR, TYPES)                                                                                             \
    static void NAME(MR, TYPES)(const ql_float_rows *x, const float *w, size_t w_stride, float *y, size_t y_stride) \
    {                                                                                                               \
        gemm(MR, x, w, w_stride, y, y_stride);                                                                      \
    }
#define ENTRY(MR, TYPES) NAME(MR, TYPES),

QL_ROWS_4(TILE, f32f32f32)

static ql_gemm_f32_add_ukernel *const ukernels[] = {NULL, QL_ROWS_4(ENTRY, f32f32f32)};

const ql_gemm_f32_add_kernels QL_KERNEL(ql_gemm_f32f32f32) = {.mr = 4, .nr = NR, .ukernel = ukernels};
