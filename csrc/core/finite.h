/* Whether data may be computed with. */
#ifndef QL_FINITE_H
#define QL_FINITE_H

#include <float.h>
#include <math.h>

#include "kernels/kernels.h"

static inline bool ql_all_finite(const ql_kernels *kernels, const float *x, size_t n)
{
    float min = INFINITY, max = -INFINITY;
    bool has_nan = kernels->minmax_f32(x, n, n, &min, &max);
    return n == 0 || (!has_nan && min >= -FLT_MAX && max <= FLT_MAX);
}

#endif
