/* Data with scales over it, cut into runs that a kernel takes in one call: either every element of a run has the same
 * scale (step 0), or each has its own and the scales stand side by side (step 1). */
#ifndef QL_LAYOUT_H
#define QL_LAYOUT_H

#include "qlite.h"

typedef struct ql_run {
    size_t offset, length; /* in elements */
    size_t channel;        /* of the first element */
    size_t step;
} ql_run;

/* Whether [qmin, qmax] are codes of 8 bits, signed or unsigned. */
static inline bool ql_code_range_is_valid(int32_t qmin, int32_t qmax)
{
    return qmin <= qmax && ((qmin >= -128 && qmax <= 127) || (qmin >= 0 && qmax <= 255));
}

static inline size_t ql_layout_size(ql_layout l)
{
    return l.outer * l.channels * l.inner;
}

static inline size_t ql_run_count(ql_layout l)
{
    return l.channels == 1 ? 1 : l.inner == 1 ? l.outer : l.outer * l.channels;
}

static inline ql_run ql_run_at(ql_layout l, size_t i)
{
    if (l.channels == 1)
        return (ql_run){0, l.outer * l.inner, 0, 0};
    if (l.inner == 1)
        return (ql_run){i * l.channels, l.channels, 0, 1};
    return (ql_run){i * l.inner, l.inner, i % l.channels, 0};
}

#endif
