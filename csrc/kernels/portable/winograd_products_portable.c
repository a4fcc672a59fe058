#include "kernels/portable/portable.h"

enum { NR = QL_WINOGRAD_COLUMNS };

void QL_KERNEL(ql_winograd_products_s16_s32)(const int16_t *a, size_t stride, size_t rows, size_t depth,
                                             const int16_t *b, int32_t *sums)
{
    for (size_t i = 0; i < rows; i++, a += stride, sums += NR) {
        uint32_t sum[NR] = {0};
        for (size_t p = 0; p < depth; p += 2) {
            for (size_t j = 0; j < NR; j++) {
                const int16_t *weight = b + p * NR + 2 * j;
                sum[j] += (uint32_t)(a[p] * weight[0] + a[p + 1] * weight[1]);
            }
        }
        for (size_t j = 0; j < NR; j++)
            sums[j] = (int32_t)sum[j];
    }
}
