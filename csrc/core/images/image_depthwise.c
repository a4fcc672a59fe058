/* Gradients of the depthwise convolution of floats: rows that lie in L1, and the pixels of one number in all windows
 * of a row at a time. */
#include <string.h>

#include "core/base/memory.h"
#include "core/base/parallel.h"
#include "core/images/image_windows.h"
#include "kernels/kernels.h"

enum {
    PRODUCTS_PER_NS = 4,
    STRETCH_PIXELS = 512, /* windows whose products are added in float32, about */
    MOST_STRETCHES = 128,
};

typedef struct work {
    const ql_kernels *kernels;
    const ql_image_windows *shape;
    const float *x, *weight, *gradient;
    float *to;
    size_t stretch; /* rows of windows */
} work;

static size_t image_row(const ql_image_windows *s)
{
    return s->width * s->channels;
}

static size_t result_row(const ql_image_windows *s)
{
    return s->window.out[1] * s->channels;
}

/* Computes the gradient of one row of the image, counted over all images. */
static void return_row(void *context, size_t row)
{
    const work *p = context;
    const ql_image_windows *s = p->shape;
    const ql_window *w = &s->window;
    const size_t channels = s->channels, pixel = row % s->height, image = row / s->height;
    float *to = p->to + row * image_row(s);
    memset(to, 0, image_row(s) * sizeof *to);
    const ql_span windows = ql_windows_over(s, 0, pixel);
    for (size_t i = windows.first; i < windows.end; i++) {
        size_t u;
        if (!ql_window_tap(s, 0, i, pixel, &u))
            continue;
        const float *gradient = p->gradient + (image * w->out[0] + i) * result_row(s);
        for (size_t v = s->kernel[1]; v-- > 0;) {
            const ql_span inside = ql_windows_inside(w, 1, v, s->width);
            if (inside.first < inside.end)
                p->kernels->add_products_f32(gradient + inside.first * channels, channels,
                                             p->weight + (u * s->kernel[1] + v) * channels, inside.end - inside.first,
                                             channels, to + ql_window_pixel(w, 1, inside.first, v) * channels,
                                             w->stride[1] * channels);
        }
    }
}

/* Adds the products of one row of windows to those of its stretch. */
static void add_row(const work *p, size_t row, float *sums)
{
    const ql_image_windows *s = p->shape;
    const ql_window *w = &s->window;
    const size_t channels = s->channels, i = row % w->out[0];
    const float *image = p->x + row / w->out[0] * s->height * image_row(s);
    const float *gradient = p->gradient + row * result_row(s);
    for (size_t u = 0; u < s->kernel[0]; u++) {
        const size_t place = i * w->stride[0] + u * w->dilation[0];
        const bool is_inside = place >= w->before[0] && place - w->before[0] < s->height;
        for (size_t v = 0; v < s->kernel[1]; v++, sums += channels) {
            const ql_span inside = ql_windows_inside(w, 1, v, s->width);
            if (!is_inside || inside.first >= inside.end)
                continue;
            const float *x =
                image + (place - w->before[0]) * image_row(s) + ql_window_pixel(w, 1, inside.first, v) * channels;
            p->kernels->add_dots_f32(x, w->stride[1] * channels, gradient + inside.first * channels,
                                     inside.end - inside.first, channels, sums);
        }
    }
}

static size_t weight_size(const ql_image_windows *s)
{
    return s->kernel[0] * s->kernel[1] * s->channels;
}

static void add_stretch(void *context, size_t item)
{
    const work *p = context;
    const size_t rows = p->shape->count * p->shape->window.out[0], size = weight_size(p->shape);
    float *sums = p->to + item * size;
    memset(sums, 0, size * sizeof *sums);
    for (size_t row = item * p->stretch; row < ql_least(rows, (item + 1) * p->stretch); row++)
        add_row(p, row, sums);
}

static uint64_t cost_ns(const ql_image_windows *s)
{
    return (uint64_t)s->count * s->window.out[0] * result_row(s) * s->kernel[0] * s->kernel[1] / PRODUCTS_PER_NS;
}

ql_status ql_depthwise_input_gradient_f32(const float *gradient, const ql_image_windows *shape, const float *weight,
                                          float *x_gradient)
{
    if (!ql_image_windows_are_valid(shape))
        return QL_EINVAL;
    work p = {.kernels = ql_kernels_active(), .shape = shape, .gradient = gradient, .weight = weight, .to = x_gradient};
    ql_parallel(shape->count * shape->height, cost_ns(shape), return_row, &p);
    return QL_OK;
}

size_t ql_depthwise_stretch(const ql_image_windows *shape)
{
    const size_t rows = shape->count * shape->window.out[0], few = ql_divided_up(STRETCH_PIXELS, shape->window.out[1]);
    const size_t least = ql_divided_up(rows, MOST_STRETCHES);
    return few > least ? few : least;
}

ql_status ql_depthwise_weight_gradient_f32(const float *x, const ql_image_windows *shape, const float *gradient,
                                           float *weight_gradient)
{
    if (!ql_image_windows_are_valid(shape))
        return QL_EINVAL;
    const size_t size = weight_size(shape), stretch = ql_depthwise_stretch(shape);
    const size_t stretches = ql_divided_up(shape->count * shape->window.out[0], stretch);
    float *sums = ql_alloc(stretches * size, sizeof *sums);
    if (!sums)
        return QL_ENOMEM;
    work p = {
        .kernels = ql_kernels_active(), .shape = shape, .x = x, .gradient = gradient, .to = sums, .stretch = stretch};
    ql_parallel(stretches, cost_ns(shape), add_stretch, &p);
    for (size_t i = 0; i < size; i++) {
        double sum = 0;
        for (size_t t = 0; t < stretches; t++)
            sum += (double)sums[t * size + i];
        weight_gradient[i] = (float)sum;
    }
    free(sums);
    return QL_OK;
}
