/* The integer product, one row at a time, eight columns side by side. */
#include "kernels/portable/portable.h"

enum { NR = 8 };

static void QL_KERNEL(ql_gemm_u8s8s32_1x8c1)(size_t k, const void *a, size_t a_stride, const int8_t *b,
                                             const int32_t *init, int32_t *c, size_t c_stride)
{
    (void)a_stride, (void)c_stride;
    const uint8_t *row = a;
    uint32_t sum[NR];
    for (size_t j = 0; j < NR; j++)
        sum[j] = (uint32_t)init[j];
    for (size_t p = 0; p < k; p++) {
        for (size_t j = 0; j < NR; j++)
            sum[j] += (uint32_t)(row[p] * b[p * NR + j]);
    }
    for (size_t j = 0; j < NR; j++)
        c[j] = (int32_t)sum[j];
}

static ql_gemm_ukernel *const ukernels[] = {NULL, QL_KERNEL(ql_gemm_u8s8s32_1x8c1)};

const ql_gemm_kernels QL_KERNEL(ql_gemm_u8s8s32) = {.mr = 1, .nr = NR, .kr = 1, .a_size = 1, .ukernel = ukernels};
