/* Pooling of floats and its gradients: a row of windows at a time, and on the way back an image or, for averages, a row
 * of one. */
#include <string.h>

#include "core/array/pool.h"
#include "core/base/parallel.h"
#include "core/base/sizes.h"
#include "kernels/kernels.h"

enum { FLOATS_PER_NS = 2 };

typedef struct work {
    const ql_kernels *kernels;
    const ql_pool *shape;
    const float *from;
    float *to;
    const int32_t *index;
    int32_t *new_index;
    bool is_max;
} work;

/* Pools one row of windows, counted over all images. Those in the middle, whole from left to right, go together. */
static void pool_row(void *context, size_t row)
{
    const work *p = context;
    const ql_pool *s = p->shape;
    const size_t channels = s->channels, image = row / s->out_h;
    const ql_extent rows = ql_inside(row % s->out_h, s->stride_h, s->top, s->kernel_h, s->in_h);
    const float *x = p->from + (image * s->in_h + rows.first) * s->in_w * channels;
    for (size_t j = 0; j < s->out_w;) {
        const ql_extent cols = ql_inside(j, s->stride_w, s->left, s->kernel_w, s->in_w);
        const size_t width = cols.end - cols.first, to = (row * s->out_w + j) * channels;
        const size_t whole = width == s->kernel_w ? (s->in_w - cols.end) / s->stride_w : 0;
        const size_t n = ql_least(1 + whole, s->out_w - j);
        const ql_windows windows = {n,       s->stride_w * channels, s->in_w * channels, rows.end - rows.first, width,
                                    channels};
        if (p->is_max)
            p->kernels->max_pool_f32(x + cols.first * channels, &windows, (int32_t)(rows.first * s->in_w + cols.first),
                                     p->to + to, p->new_index ? p->new_index + to : NULL);
        else
            p->kernels->average_windows_f32(x + cols.first * channels, &windows, (double)(windows.rows * width),
                                            p->to + to);
        j += n;
    }
}

static size_t image_size(const ql_pool *s)
{
    return s->in_h * s->in_w * s->channels;
}

static void return_greatest(void *context, size_t image)
{
    const work *p = context;
    const size_t channels = p->shape->channels, windows = p->shape->out_h * p->shape->out_w;
    const float *gradient = p->from + image * windows * channels;
    const int32_t *index = p->index + image * windows * channels;
    float *to = p->to + image * image_size(p->shape);
    memset(to, 0, image_size(p->shape) * sizeof *to);
    for (size_t i = 0; i < windows; i++, gradient += channels, index += channels) {
        for (size_t c = 0; c < channels; c++)
            to[(size_t)index[c] * channels + c] += gradient[c];
    }
}

static void add_share(float *restrict to, const float *restrict gradient, float count, size_t channels)
{
    for (size_t c = 0; c < channels; c++)
        to[c] += gradient[c] / count;
}

/* Computes the gradient of one row of an image, counted over all images. */
static void return_means(void *context, size_t row)
{
    const work *p = context;
    const ql_pool *s = p->shape;
    const size_t channels = s->channels, pixel = row % s->in_h, image = row / s->in_h;
    float *to = p->to + row * s->in_w * channels;
    memset(to, 0, s->in_w * channels * sizeof *to);
    const size_t place = pixel + s->top, past = place / s->stride_h + 1;
    const size_t first = place < s->kernel_h ? 0 : (place - s->kernel_h) / s->stride_h + 1;
    for (size_t i = first; i < ql_least(past, s->out_h); i++) {
        const ql_extent rows = ql_inside(i, s->stride_h, s->top, s->kernel_h, s->in_h);
        const float *gradient = p->from + (image * s->out_h + i) * s->out_w * channels;
        for (size_t j = 0; j < s->out_w; j++, gradient += channels) {
            const ql_extent cols = ql_inside(j, s->stride_w, s->left, s->kernel_w, s->in_w);
            const float count = (float)((rows.end - rows.first) * (cols.end - cols.first));
            for (size_t v = cols.first; v < cols.end; v++)
                add_share(to + v * channels, gradient, count, channels);
        }
    }
}

static uint64_t cost_ns(const ql_pool *s)
{
    const size_t window = ql_least(s->kernel_h, s->in_h) * ql_least(s->kernel_w, s->in_w);
    return (uint64_t)s->images * s->out_h * s->out_w * s->channels * window / FLOATS_PER_NS;
}

static ql_status pool(work *p)
{
    const ql_pool *s = p->shape;
    if (s->images == 0 || s->channels == 0)
        return QL_OK;
    if (!ql_pool_is_valid(s) || s->in_h > (size_t)INT32_MAX / s->in_w)
        return QL_EINVAL;
    p->kernels = ql_kernels_active();
    ql_parallel(s->images * s->out_h, cost_ns(s), pool_row, p);
    return QL_OK;
}

ql_status ql_max_pool_f32(const float *x, const ql_pool *shape, float *y, int32_t *index)
{
    return pool(&(work){.shape = shape, .from = x, .to = y, .new_index = index, .is_max = true});
}

ql_status ql_average_pool_f32(const float *x, const ql_pool *shape, float *y)
{
    return pool(&(work){.shape = shape, .from = x, .to = y});
}

static bool are_pixels(const int32_t *index, size_t n, size_t pixels)
{
    bool are = true;
    for (size_t i = 0; i < n; i++)
        are &= index[i] >= 0 && (size_t)index[i] < pixels;
    return are;
}

ql_status ql_max_pool_gradient_f32(const float *gradient, const int32_t *index, const ql_pool *shape, float *x_gradient)
{
    if (!are_pixels(index, shape->images * shape->out_h * shape->out_w * shape->channels, shape->in_h * shape->in_w))
        return QL_EINVAL;
    work p = {.shape = shape, .from = gradient, .to = x_gradient, .index = index};
    ql_parallel(shape->images, cost_ns(shape), return_greatest, &p);
    return QL_OK;
}

ql_status ql_average_pool_gradient_f32(const float *gradient, const ql_pool *shape, float *x_gradient)
{
    if (shape->images == 0 || shape->channels == 0)
        return QL_OK;
    if (!ql_pool_is_valid(shape))
        return QL_EINVAL;
    work p = {.shape = shape, .from = gradient, .to = x_gradient};
    ql_parallel(shape->images * shape->in_h, cost_ns(shape), return_means, &p);
    return QL_OK;
}
