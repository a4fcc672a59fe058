/* Prefix sums of mass, first and second moment. */
#ifndef QL_MOMENTS_H
#define QL_MOMENTS_H

#include <stddef.h>

typedef struct ql_moments {
    double m0, m1, m2; /* sum w, sum w u, sum w u^2 */
} ql_moments;

static inline ql_moments ql_moments_plus(ql_moments a, ql_moments b)
{
    return (ql_moments){a.m0 + b.m0, a.m1 + b.m1, a.m2 + b.m2};
}

static inline ql_moments ql_moments_minus(ql_moments a, ql_moments b)
{
    return (ql_moments){a.m0 - b.m0, a.m1 - b.m1, a.m2 - b.m2};
}

/* prefix[i], i = 0..parts: the sum of part(of, 0..i-1), minus the same at the anchor. It is summed outwards from there,
 * as if in twice the precision. */
void ql_moments_prefix(ql_moments *prefix, size_t parts, size_t anchor, ql_moments (*part)(const void *of, size_t i),
                       const void *of);

#endif
