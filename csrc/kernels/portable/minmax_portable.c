/* Least and greatest: the specification, one value at a time. */
#include <math.h>

#include "kernels/portable/portable.h"

bool QL_KERNEL(ql_minmax_f32)(const float *x, size_t n, size_t group, float *min, float *max)
{
    bool has_nan = false;
    for (size_t i = 0; i < n; i++) {
        float *least = min + i / group, *greatest = max + i / group;
        has_nan |= isnan(x[i]);
        *least = x[i] < *least ? x[i] : *least;
        *greatest = x[i] > *greatest ? x[i] : *greatest;
    }
    return has_nan;
}

bool QL_KERNEL(ql_minmax_rows_f32)(const float *x, size_t rows, size_t n, float *min, float *max)
{
    bool has_nan = false;
    for (size_t r = 0; r < rows; r++)
        has_nan |= QL_KERNEL(ql_minmax_f32)(x + r * n, n, 1, min, max);
    return has_nan;
}
