/* Columns of windows, as products of matrices give them, added to images: rows of these are each one thread's, and
 * their windows ascend, whatever the cut. */
#include "core/base/parallel.h"
#include "core/images/image_windows.h"

enum { FLOATS_PER_NS = 4 };

typedef struct work {
    const ql_image_windows *shape;
    const ql_window_rows *rows;
    const float *from;
    float *to;
    size_t first_row; /* of the image, counted over all images */
} work;

static void add(float *restrict to, const float *restrict from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] += from[i];
}

/* Adds the part of each window in one row of the image. */
static void add_row(const ql_image_windows *s, size_t taken, const float *from, size_t stride, float *row)
{
    const ql_window *w = &s->window;
    for (size_t j = 0; j < w->out[1]; j++, from += stride) {
        for (size_t v = 0; v < s->kernel[1]; v++) {
            const size_t place = j * w->stride[1] + v * w->dilation[1], left = w->before[1];
            if (place >= left && place - left < s->width)
                add(row + (place - left) * s->channels, from + v * taken, taken);
        }
    }
}

/* Adds what windows hold of one row of the image. */
static void add_windows(void *context, size_t item)
{
    const work *p = context;
    const ql_image_windows *s = p->shape;
    const size_t row = p->first_row + item, pixel = row % s->height, image = row / s->height;
    const size_t out = s->window.out[0], length = s->kernel[1] * p->rows->taken, stride = s->kernel[0] * length;
    float *to = p->to + row * s->width * s->channels + p->rows->channel;
    const ql_span windows = ql_windows_over(s, 0, pixel);
    for (size_t i = windows.first; i < windows.end; i++) {
        size_t u;
        const size_t number = image * out + i;
        if (number < p->rows->first || number >= p->rows->last || !ql_window_tap(s, 0, i, pixel, &u))
            continue;
        const float *from = p->from + (number - p->rows->first) * s->window.out[1] * stride + u * length;
        add_row(s, p->rows->taken, from, stride, to);
    }
}

static bool is_valid(const ql_image_windows *s, const ql_window_rows *rows)
{
    return ql_image_windows_are_valid(s) && rows->first <= rows->last && rows->last <= s->count * s->window.out[0] &&
           rows->taken >= 1 && rows->channel < s->channels && rows->taken <= s->channels - rows->channel;
}

static uint64_t cost_ns(const ql_image_windows *s, const ql_window_rows *rows)
{
    return (uint64_t)(rows->last - rows->first) * s->window.out[1] * s->kernel[0] * s->kernel[1] * rows->taken /
           FLOATS_PER_NS;
}

ql_status ql_image_add_columns(const float *columns, const ql_image_windows *shape, const ql_window_rows *rows,
                               float *x)
{
    if (!is_valid(shape, rows))
        return QL_EINVAL;
    if (rows->first == rows->last)
        return QL_OK;
    const size_t first = rows->first / shape->window.out[0], last = (rows->last - 1) / shape->window.out[0];
    work p = {shape, rows, columns, x, first * shape->height};
    ql_parallel((last + 1 - first) * shape->height, cost_ns(shape, rows), add_windows, &p);
    return QL_OK;
}
