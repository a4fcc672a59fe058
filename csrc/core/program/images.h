/* Buffers as images, and windows over them, for the steps that have windows. */
#ifndef QL_STEP_IMAGES_H
#define QL_STEP_IMAGES_H

#include "core/images/phases.h"
#include "core/program/step.h"

/* Windows over images: height and width of their size, steps and gaps; padding at the top, bottom, left and right. */
typedef struct ql_step_window {
    size_t size[2], stride[2], dilation[2], padding[4];
} ql_step_window;

/* Takes the lengths out of a value; returns whether it is so many integers from `least` on that int32 holds. */
static inline bool ql_take_lengths(const ql_value *value, size_t count, int64_t least, size_t *lengths)
{
    if (value->integers.count != count)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (value->integers.items[i] < least || value->integers.items[i] > INT32_MAX)
            return false;
        lengths[i] = (size_t)value->integers.items[i];
    }
    return true;
}

/* Returns what a step with windows takes a buffer for: one of the images of samples of rank 4, or the sample. */
static inline ql_buffer ql_one_image(const ql_buffer *buffer)
{
    ql_buffer image = *buffer;
    if (image.rank == QL_MAX_RANK) {
        image.rank--;
        memmove(image.shape, buffer->shape + 1, image.rank * sizeof *image.shape);
    }
    return image;
}

/* Images of a sample. */
static inline size_t ql_image_count(const ql_buffer *buffer)
{
    return buffer->rank == QL_MAX_RANK ? buffer->shape[0] : 1;
}

/* Returns whether two buffers hold as many images, and those of several have one scale for all samples. */
static inline bool ql_have_same_images(const ql_buffer *in, const ql_buffer *out)
{
    return (in->rank == QL_MAX_RANK) == (out->rank == QL_MAX_RANK) && ql_image_count(in) == ql_image_count(out) &&
           !(in->rank == QL_MAX_RANK && ql_has_row_scale(in));
}

/* Height and width of the image that a sample of rank 1 to 3 is: (channels), (width, channels) or (height, width,
 * channels). */
static inline void ql_image_lengths(const ql_buffer *buffer, size_t lengths[2])
{
    lengths[0] = buffer->rank > 2 ? buffer->shape[buffer->rank - 3] : 1;
    lengths[1] = buffer->rank > 1 ? buffer->shape[buffer->rank - 2] : 1;
}

/* Returns whether windows over the input's images have as many places as the output's have pixels, at least one of
 * each. */
static inline bool ql_windows_fit(const ql_buffer *in, const ql_buffer *out, const ql_step_window *window)
{
    size_t from[2], to[2], span;
    if (in->rank == 0 || in->rank > 3 || out->rank != in->rank)
        return false;
    ql_image_lengths(in, from);
    ql_image_lengths(out, to);
    for (int i = 0; i < 2; i++) {
        const size_t padded = from[i] + window->padding[2 * i] + window->padding[2 * i + 1];
        if (__builtin_mul_overflow(window->size[i] - 1, window->dilation[i], &span) || span >= padded ||
            (padded - span - 1) / window->stride[i] + 1 != to[i])
            return false;
    }
    return true;
}

/* Takes the windows of a convolution out of its values, `options` on: groups, stride, dilation, padding. Fills in the
 * shape of weights that fit; returns whether windows and groups fit the buffers, and the weight has such a shape. */
static inline bool ql_take_convolution(const ql_buffer *in, const ql_buffer *out, const ql_array *weight,
                                       const ql_value *options, ql_step_window *window, size_t shape[4])
{
    const int64_t groups = options[0].integer;
    if (weight->rank != 4 || weight->shape[0] == 0 || weight->shape[1] == 0 ||
        !ql_take_lengths(&options[1], 2, 1, window->stride) || !ql_take_lengths(&options[2], 2, 1, window->dilation) ||
        !ql_take_lengths(&options[3], 4, 0, window->padding))
        return false;
    const size_t channels = ql_row_length(in), outputs = ql_row_length(out);
    if (groups < 1 || (uint64_t)groups > channels || channels % (size_t)groups != 0 || outputs % (size_t)groups != 0)
        return false;
    memcpy(window->size, weight->shape, sizeof window->size);
    memcpy(shape, (const size_t[]){weight->shape[0], weight->shape[1], channels / (size_t)groups, outputs},
           4 * sizeof *shape);
    return memcmp(weight->shape, shape, 4 * sizeof *shape) == 0 && ql_windows_fit(in, out, window);
}

/* Most results of a block of a transposed convolution. */
enum { QL_MAX_PHASES = 4096 };

/* Takes a transposed convolution out of its values, `options` on: stride, padding, output padding. Returns whether they
 * and the weight's shape fit the buffers. */
static inline bool ql_take_expansion(const ql_buffer *in, const ql_buffer *out, const ql_array *weight,
                                     const ql_value *options, ql_expansion *e)
{
    size_t padding[4], more[2];
    if (in->rank != 3 || out->rank != 3 || weight->rank != 4 || weight->shape[2] != in->shape[2] ||
        weight->shape[3] != out->shape[2] || in->shape[2] == 0 || out->shape[2] == 0 ||
        !ql_take_lengths(&options[0], 2, 1, e->stride) || !ql_take_lengths(&options[1], 4, 0, padding) ||
        !ql_take_lengths(&options[2], 2, 0, more) || e->stride[0] * e->stride[1] > QL_MAX_PHASES)
        return false;
    for (int i = 0; i < 2; i++) {
        const size_t before = padding[2 * i], after = padding[2 * i + 1], kernel = weight->shape[i];
        size_t whole;
        if (before >= kernel || after >= kernel || in->shape[i] == 0 || out->shape[i] == 0 ||
            __builtin_mul_overflow(in->shape[i] - 1, e->stride[i], &whole) ||
            __builtin_add_overflow(whole, kernel + more[i], &whole) || whole != out->shape[i] + before + after)
            return false;
        e->kernel[i] = kernel;
        e->before[i] = before;
        e->out[i] = out->shape[i];
    }
    e->height = in->shape[0];
    e->width = in->shape[1];
    e->in = in->shape[2];
    e->channels = out->shape[2];
    return true;
}

#endif
