/* Few rows by weights that are not packed: row by row of the weights, whose products are added to all columns, or
 * column by column. */
#include "kernels/portable/portable.h"

void QL_KERNEL(ql_multiply_few_s16x8s32)(const int16_t *a, size_t a_stride, size_t m, const uint8_t *restrict b,
                                         size_t b_stride, uint8_t flip, const int16_t *restrict zero_point, size_t k,
                                         size_t n, int32_t *restrict c, size_t c_stride)
{
    for (size_t i = 0; i < m; i++) {
        int32_t *restrict sum = c + i * c_stride;
        for (size_t p = 0; p < k; p++) {
            const uint8_t *restrict row = b + p * b_stride;
            const int32_t factor = a[i * a_stride + p];
            if (!zero_point) {
                for (size_t j = 0; j < n; j++)
                    sum[j] = (int32_t)((uint32_t)sum[j] + (uint32_t)(factor * (int8_t)(row[j] ^ flip)));
                continue;
            }
            for (size_t j = 0; j < n; j++)
                sum[j] = (int32_t)((uint32_t)sum[j] + (uint32_t)(factor * ((int8_t)(row[j] ^ flip) - zero_point[j])));
        }
    }
}

void QL_KERNEL(ql_dot_few_s16x8s32)(const int16_t *a, size_t a_stride, size_t m, const uint8_t *b, size_t b_stride,
                                    uint8_t flip, size_t k, size_t n, int32_t *c, size_t c_stride)
{
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            const int16_t *restrict row = a + i * a_stride;
            const uint8_t *restrict column = b + j * b_stride;
            uint32_t sum = 0;
            for (size_t p = 0; p < k; p++)
                sum += (uint32_t)(row[p] * (int8_t)(column[p] ^ flip));
            c[i * c_stride + j] = (int32_t)sum;
        }
    }
}
