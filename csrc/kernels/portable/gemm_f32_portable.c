/* The weight-only product: fmaf() rounds once on every CPU, in hardware or in software. */
#include <math.h>

#include "kernels/portable/portable.h"

enum { NR = 8 };

static void QL_KERNEL(ql_gemm_f32s8f32_1x8)(size_t k, const float *x, size_t x_stride, const int8_t *b,
                                            const int32_t *zero_point, const float *scale, const float *offset,
                                            float low, float *y, size_t y_stride)
{
    (void)x_stride, (void)y_stride;
    float sum[NR] = {0};
    for (size_t p = 0; p < k; p++) {
        for (size_t j = 0; j < NR; j++)
            sum[j] = fmaf(x[p], (float)(b[p * NR + j] - zero_point[j]), sum[j]);
    }
    for (size_t j = 0; j < NR; j++) {
        float v = sum[j] * scale[j];
        v = v + offset[j];
        y[j] = v < low ? low : v;
    }
}

static ql_gemm_f32_ukernel *const ukernels[] = {NULL, QL_KERNEL(ql_gemm_f32s8f32_1x8)};

const ql_gemm_f32_kernels QL_KERNEL(ql_gemm_f32s8f32) = {.mr = 1, .nr = NR, .ukernel = ukernels};
