/* Columns of windows, for products of matrices, and the way back.
 *
 * Adding goes by rows of the image, which are each one thread's: their windows ascend, whatever the cut. */
#include <string.h>

#include "core/base/parallel.h"
#include "core/images/image_windows.h"

enum { FLOATS_PER_NS = 4, SHORT = 32 };

typedef struct work {
    const ql_image_windows *shape;
    const ql_window_rows *rows;
    const float *from;
    float *to;
    size_t first_row; /* of the image, counted over all images */
} work;

/* A call of memcpy takes longer than a few floats. */
static void copy(float *restrict to, const float *restrict from, size_t n)
{
    if (n > SHORT) {
        memcpy(to, from, n * sizeof *to);
        return;
    }
    for (; n >= 4; n -= 4, to += 4, from += 4)
        memcpy(to, from, 4 * sizeof *to);
    for (size_t i = 0; i < n; i++)
        to[i] = from[i];
}

/* The part of a window in one row of the image, pixel by pixel. */
static void take_pixels(const ql_image_windows *s, size_t taken, const float *row, size_t window, float *to)
{
    for (size_t v = 0; v < s->kernel[1]; v++, to += taken) {
        const size_t place = window * s->window.stride[1] + v * s->window.dilation[1], left = s->window.before[1];
        if (place >= left && place - left < s->width)
            copy(to, row + (place - left) * s->channels, taken);
        else
            memset(to, 0, taken * sizeof *to);
    }
}

/* The part in one row of the image of each window of a row; at once where its pixels are neighbours. */
static void take_row(const ql_image_windows *s, size_t taken, const float *row, float *to, size_t stride)
{
    const ql_window *w = &s->window;
    const bool are_neighbours = taken == s->channels && (w->dilation[1] == 1 || s->kernel[1] == 1);
    const size_t first = ql_windows_inside(w, 1, 0, s->width).first;
    const size_t end = are_neighbours ? ql_windows_inside(w, 1, s->kernel[1] - 1, s->width).end : 0;
    for (size_t j = 0; j < w->out[1]; j++, to += stride) {
        if (j >= first && j < end)
            copy(to, row + (j * w->stride[1] - w->before[1]) * s->channels, s->kernel[1] * s->channels);
        else
            take_pixels(s, taken, row, j, to);
    }
}

static void take_windows(void *context, size_t item)
{
    const work *p = context;
    const ql_image_windows *s = p->shape;
    const ql_window *w = &s->window;
    const size_t row = p->rows->first + item, length = s->kernel[1] * p->rows->taken, stride = s->kernel[0] * length;
    const float *image = p->from + row / w->out[0] * s->height * s->width * s->channels + p->rows->channel;
    float *to = p->to + item * w->out[1] * stride;
    for (size_t u = 0; u < s->kernel[0]; u++, to += length) {
        const size_t place = row % w->out[0] * w->stride[0] + u * w->dilation[0], top = w->before[0];
        if (place >= top && place - top < s->height) {
            take_row(s, p->rows->taken, image + (place - top) * s->width * s->channels, to, stride);
            continue;
        }
        for (size_t j = 0; j < w->out[1]; j++)
            memset(to + j * stride, 0, length * sizeof *to);
    }
}

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

ql_status ql_image_columns(const float *x, const ql_image_windows *shape, const ql_window_rows *rows, float *columns)
{
    if (!is_valid(shape, rows))
        return QL_EINVAL;
    work p = {shape, rows, x, columns, 0};
    ql_parallel(rows->last - rows->first, cost_ns(shape, rows), take_windows, &p);
    return QL_OK;
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
