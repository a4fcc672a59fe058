/* Whether data may be computed with, and scales divided by. */
#ifndef QL_FINITE_H
#define QL_FINITE_H

#include <float.h>
#include <math.h>

#include "kernels/kernels.h"

/* Returns whether each scale is finite, normal and > 0. The loop has no early way out, so that it becomes vectors:
 * there may be a scale for every few values. */
static inline bool ql_scales_are_valid(const float *scale, size_t n)
{
    int32_t valid = 1;
    for (size_t i = 0; i < n; i++)
        valid &= (scale[i] >= FLT_MIN) & (scale[i] <= FLT_MAX);
    return valid;
}

/* Returns whether x holds neither NaN nor an infinity. */
static inline bool ql_all_finite(const ql_kernels *kernels, const float *x, size_t n)
{
    float min = INFINITY, max = -INFINITY;
    bool has_nan = kernels->minmax_f32(x, n, n, &min, &max);
    return n == 0 || (!has_nan && min >= -FLT_MAX && max <= FLT_MAX);
}

#endif
