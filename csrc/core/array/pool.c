/* Pooling: an output row at a time. Its windows are cut where they reach into the padding; those in the middle, which
 * are whole from left to right, go to the kernel together. */
#include "core/array/pool.h"

#include "core/base/parallel.h"
#include "core/base/sizes.h"

enum { CODES_PER_NS = 8 };

typedef struct pooling {
    ql_pool_kernel *kernel;
    const ql_pool *shape;
    const uint8_t *x;
    uint8_t *y;
    ql_byte_form form;
} pooling;

/* Pools one output row, counted over all images. */
static void pool_row(void *context, size_t row)
{
    const pooling *p = context;
    const ql_pool *s = p->shape;
    const size_t pixel = s->channels, image = row / s->out_h;
    const ql_extent rows = ql_inside(row % s->out_h, s->stride_h, s->top, s->kernel_h, s->in_h);
    const uint8_t *x = p->x + (image * s->in_h + rows.first) * s->in_w * pixel;
    uint8_t *y = p->y + row * s->out_w * pixel;
    for (size_t j = 0; j < s->out_w;) {
        const ql_extent cols = ql_inside(j, s->stride_w, s->left, s->kernel_w, s->in_w);
        const size_t width = cols.end - cols.first;
        const size_t whole = width == s->kernel_w ? (s->in_w - cols.end) / s->stride_w : 0;
        const size_t n = ql_least(1 + whole, s->out_w - j);
        const ql_windows windows = {n, s->stride_w * pixel, s->in_w * pixel, rows.end - rows.first, width, pixel};
        p->kernel(x + cols.first * pixel, &windows, p->form, y + j * pixel);
        j += n;
    }
}

bool ql_pool_sums_fit(const ql_pool *s)
{
    const size_t rows = ql_least(s->kernel_h, s->in_h), cols = ql_least(s->kernel_w, s->in_w);
    return cols == 0 || rows <= (QL_MAX_AVG_POOL - 1) / cols;
}

uint64_t ql_pool_cost_ns(const ql_pool *s)
{
    const uint64_t outputs = (uint64_t)s->images * s->out_h * s->out_w * s->channels;
    return outputs * ql_least(s->kernel_h, s->in_h) * ql_least(s->kernel_w, s->in_w) / CODES_PER_NS;
}

void ql_pool_run(ql_pool_kernel *kernel, const uint8_t *x, const ql_pool *shape, ql_byte_form form, uint8_t *y)
{
    pooling p = {kernel, shape, x, y, form};
    ql_parallel(shape->images * shape->out_h, ql_pool_cost_ns(shape), pool_row, &p);
}

static ql_status pool(ql_pool_kernel *kernel, const uint8_t *x, const ql_pool *s, bool is_signed, uint8_t *y)
{
    if (s->images == 0 || s->channels == 0)
        return QL_OK;
    if (!ql_pool_is_valid(s))
        return QL_EINVAL;
    ql_pool_run(kernel, x, s, is_signed ? QL_BYTES_S8 : QL_BYTES_U8, y);
    return QL_OK;
}

ql_status ql_max_pool_x8(const uint8_t *x, const ql_pool *shape, bool is_signed, uint8_t *y)
{
    return pool(ql_kernels_active()->max_pool_x8, x, shape, is_signed, y);
}

ql_status ql_avg_pool_x8(const uint8_t *x, const ql_pool *shape, bool is_signed, uint8_t *y)
{
    return ql_pool_sums_fit(shape) ? pool(ql_kernels_active()->avg_pool_x8, x, shape, is_signed, y) : QL_EOVERFLOW;
}
