/* Pooling, seen from inside the core: windows, and what of them lies inside the image. */
#ifndef QL_POOL_H
#define QL_POOL_H

#include "kernels/kernels.h"

/* Part of a window that lies inside along one axis: [first, end). */
typedef struct ql_extent {
    size_t first, end;
} ql_extent;

static inline ql_extent ql_inside(size_t i, size_t stride, size_t before, size_t kernel, size_t length)
{
    const size_t first = i * stride, end = first + kernel;
    return (ql_extent){first > before ? first - before : 0, end - before < length ? end - before : length};
}

/* Returns whether each window holds an element: the first begins at -before, the last at (out - 1) * stride - before.
 */
static inline bool ql_pool_axis_is_valid(size_t in, size_t kernel, size_t stride, size_t before, size_t out)
{
    const size_t most = PTRDIFF_MAX / 2;
    if (in < 1 || in > most || kernel < 1 || kernel > most || stride < 1 || before >= kernel || out < 1)
        return false;
    return out - 1 <= most / stride && (out - 1) * stride < in + before;
}

static inline bool ql_pool_is_valid(const ql_pool *s)
{
    return ql_pool_axis_is_valid(s->in_h, s->kernel_h, s->stride_h, s->top, s->out_h) &&
           ql_pool_axis_is_valid(s->in_w, s->kernel_w, s->stride_w, s->left, s->out_w);
}

/* Returns whether windows are so small that no sum of their codes can leave int32. */
bool ql_pool_sums_fit(const ql_pool *shape);

/* Returns about how long one thread takes for codes. */
uint64_t ql_pool_cost_ns(const ql_pool *shape);

/* One of the two kernels that pool codes. */
typedef ql_max_pool_kernel ql_pool_kernel;

/* Pools codes by a kernel, on several threads; the shape is valid. */
void ql_pool_run(ql_pool_kernel *kernel, const uint8_t *x, const ql_pool *shape, ql_byte_form form, uint8_t *y);

#endif
