/* Products of codes on grids of their own, by blocks of results that lie apart from what is read: see add_portable.c.
 */
#include <math.h>
#include <string.h>

#include "kernels/portable/portable.h"

enum { BLOCK = 64 };

static inline void multiply_codes(const uint8_t *a, const uint8_t *b, size_t n, const ql_multiplication *grids,
                                  uint8_t *restrict y)
{
    const int32_t first = grids->input_zero_point[0], second = grids->input_zero_point[1];
    const int32_t zero_point = grids->zero_point;
    const float factor = grids->factor;
    const float low = (float)(grids->qmin - zero_point), high = (float)(grids->qmax - zero_point);
#pragma GCC unroll 1
    for (size_t i = 0; i < n; i++) {
        float r = (float)((a[i] - first) * (b[i] - second)) * factor;
        r = r > low ? r : low;
        r = r < high ? r : high;
        y[i] = (uint8_t)((int32_t)rintf(r) + zero_point);
    }
}

void QL_KERNEL(ql_multiply_u8)(const uint8_t *a, const uint8_t *b, size_t n, const ql_multiplication *grids, uint8_t *y)
{
    uint8_t block[BLOCK];
    size_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK) {
        multiply_codes(a + i, b + i, BLOCK, grids, block);
        memcpy(y + i, block, BLOCK);
    }
    multiply_codes(a + i, b + i, n - i, grids, block);
    memcpy(y + i, block, n - i);
}

void QL_KERNEL(ql_multiply_u8_s32)(const uint8_t *a, const uint8_t *b, size_t n, const ql_multiplication *grids,
                                   int32_t *restrict product)
{
    const int32_t first = grids->input_zero_point[0], second = grids->input_zero_point[1];
    for (size_t i = 0; i < n; i++)
        product[i] = (a[i] - first) * (b[i] - second);
}
