#include "core/images/image_stage.h"

#include <string.h>

#include "core/base/parallel.h"

enum { STAGE_BYTES = 512 * 1024 /* of a copy: it stays in a core's cache */ };

static size_t extent(const ql_image_stage *s, int axis, size_t windows)
{
    const ql_window *w = &s->shape.window;
    return (windows - 1) * w->stride[axis] + (s->shape.kernel[axis] - 1) * w->dilation[axis] + 1;
}

static bool is_pixel(const ql_image_windows *s)
{
    const ql_window *w = &s->window;
    return s->kernel[0] == 1 && s->kernel[1] == 1 && w->stride[0] == 1 && w->stride[1] == 1 && w->before[0] == 0 &&
           w->before[1] == 0 && w->out[0] == s->height && w->out[1] == s->width;
}

static bool is_in_place(const ql_image_stage *s)
{
    const ql_window *w = &s->shape.window;
    return s->repeats == 1 && w->before[0] == 0 && w->before[1] == 0 && extent(s, 0, w->out[0]) <= s->shape.height &&
           s->padded_width <= s->shape.width;
}

ql_image_windows ql_flat_windows(const ql_image_windows *shape)
{
    ql_image_windows flat = *shape;
    if (is_pixel(shape) && shape->count > 0) {
        flat.width = flat.window.out[1] = shape->count * shape->height * shape->width;
        flat.count = flat.height = flat.window.out[0] = 1;
    }
    return flat;
}

bool ql_image_stage_plan(const ql_image_windows *shape, size_t repeats, ql_image_stage *s, size_t *copy_bytes)
{
    *s = (ql_image_stage){.shape = *shape, .repeats = repeats, .pixel = shape->channels * repeats};
    const ql_window *w = &s->shape.window;
    size_t bytes;
    s->padded_width = extent(s, 1, w->out[1]);
    s->images = s->shape.count;
    s->rows = w->out[0];
    *copy_bytes = 0;
    if (is_in_place(s)) {
        s->row = s->shape.width * s->pixel;
        s->image = s->shape.height * s->row;
        return true;
    }
    s->row = s->padded_width * s->pixel;
    if (__builtin_mul_overflow(s->row * sizeof(float), extent(s, 0, w->out[0]), &bytes))
        return false;
    if (bytes <= STAGE_BYTES) {
        s->images = ql_least(s->images, STAGE_BYTES / bytes);
    } else {
        const size_t fitting = STAGE_BYTES / (s->row * sizeof(float)), one = extent(s, 0, 1);
        const size_t rows = fitting > one ? (fitting - one) / w->stride[0] + 1 : 1;
        s->images = 1;
        s->rows = ql_divided_up(w->out[0], ql_divided_up(w->out[0], rows));
    }
    s->image = extent(s, 0, s->rows) * s->row;
    return !__builtin_mul_overflow(s->images * s->image, sizeof(float), copy_bytes);
}

static void repeat(const float *restrict from, size_t n, size_t times, float *restrict to)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t r = 0; r < times; r++)
            *to++ = from[i];
    }
}

/* Copies one row of the stage's images, with its padding. */
static void copy_row(void *context, size_t item)
{
    const ql_image_stage *s = context;
    const ql_image_windows *shape = &s->shape;
    const ql_window *w = &shape->window;
    const size_t rows = extent(s, 0, s->row_count), r = item % rows, image = item / rows;
    const size_t place = s->first_row * w->stride[0] + r, left = ql_least(w->before[1], s->padded_width);
    const size_t width = ql_least(shape->width, s->padded_width - left), right = s->padded_width - left - width;
    float *to = s->copy + image * s->image + r * s->row;
    if (place < w->before[0] || place - w->before[0] >= shape->height) {
        memset(to, 0, s->row * sizeof *to);
        return;
    }
    const float *from =
        s->x + ((s->first_image + image) * shape->height + place - w->before[0]) * shape->width * shape->channels;
    memset(to, 0, left * s->pixel * sizeof *to);
    to += left * s->pixel;
    if (s->repeats == 1)
        memcpy(to, from, width * s->pixel * sizeof *to);
    else
        repeat(from, width * shape->channels, s->repeats, to);
    memset(to + width * s->pixel, 0, right * s->pixel * sizeof *to);
}

bool ql_image_stage_next(ql_image_stage *s, uint64_t cost_ns)
{
    const size_t out_h = s->shape.window.out[0];
    s->first_row += s->row_count;
    if (s->first_row >= out_h) {
        s->first_row = 0;
        s->first_image += s->count;
    }
    if (s->first_image >= s->shape.count)
        return false;
    s->count = ql_least(s->images, s->shape.count - s->first_image);
    s->row_count = ql_least(s->rows, out_h - s->first_row);
    s->base = s->copy ? s->copy : s->x;
    if (s->copy)
        ql_parallel(s->count * extent(s, 0, s->row_count), cost_ns / 8, copy_row, s);
    return true;
}

void ql_image_stage_segments(const ql_image_stage *s, size_t groups, const size_t kernel[2], ql_segments *segments)
{
    const ql_window *w = &s->shape.window;
    const bool by_row = groups == 1 && (w->dilation[1] == 1 || kernel[1] == 1);
    const size_t taps = by_row ? 1 : kernel[1], channels = s->shape.channels / groups;
    segments->count = kernel[0] * taps;
    segments->length = by_row ? kernel[1] * channels : channels;
    for (size_t t = 0; t < segments->count; t++)
        segments->offset[t] = t / taps * w->dilation[0] * s->row + t % taps * w->dilation[1] * s->pixel;
}
