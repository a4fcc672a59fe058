/* Sums of mass, first and second moment, and their prefix sums. */
#ifndef QL_PREFIX_SUMS_H
#define QL_PREFIX_SUMS_H

#include <stddef.h>

typedef struct ql_sums {
    double m0, m1, m2; /* sum w, sum w u, sum w u^2 */
} ql_sums;

static inline ql_sums ql_sums_plus(ql_sums a, ql_sums b)
{
    return (ql_sums){a.m0 + b.m0, a.m1 + b.m1, a.m2 + b.m2};
}

static inline ql_sums ql_sums_minus(ql_sums a, ql_sums b)
{
    return (ql_sums){a.m0 - b.m0, a.m1 - b.m1, a.m2 - b.m2};
}

/* prefix[i], i = 0..parts, is the sum of part(of, k) over k < i minus that over k < anchor. The sums run outwards from
 * the anchor, as if in twice the precision. */
void ql_prefix_sums(ql_sums *prefix, size_t parts, size_t anchor, ql_sums (*part)(const void *of, size_t i),
                    const void *of);

#endif
