#include "kernels/portable/portable.h"

void QL_KERNEL(ql_lookup_x8)(const uint8_t *x, size_t n, const uint8_t *table, uint8_t *y)
{
    for (size_t i = 0; i < n; i++)
        y[i] = table[x[i]];
}
