/* Reductions over axes of a sample, as windows for the kernels that pool. */
#ifndef QL_REDUCE_H
#define QL_REDUCE_H

#include "core/program/step.h"

/* Neighbouring axes that are reduced, or kept, are one. From the last on they are then: kept (the channels of a pixel,
 * 1 if the last axis is reduced), reduced (a row of a window), kept (windows), reduced (rows of a window), kept (places
 * that windows begin at, `step` elements apart). Lengths that there are not are 1. */
typedef struct ql_reduction {
    ql_windows windows;
    size_t places, step;
    size_t count; /* elements that become one */
} ql_reduction;

/* Fills it from the values `axes` and `keepdims`; returns whether these are ascending axes of the input,
 * and whether the output has the shape that they leave. */
bool ql_take_reduction(const ql_buffer *in, const ql_buffer *out, const ql_value *axes, const ql_value *keepdims,
                       ql_reduction *reduction);

/* How often a kernel is called for some samples. */
static inline size_t ql_reduction_calls(const ql_reduction *r, size_t samples)
{
    return r->windows.rows == 1 && r->places == 1 ? 1 : samples * r->places;
}

/* The windows of one of so many calls. */
static inline ql_windows ql_reduction_windows(const ql_reduction *r, size_t samples, size_t calls)
{
    ql_windows w = r->windows;
    w.n *= calls == 1 ? samples : 1;
    return w;
}

#endif
