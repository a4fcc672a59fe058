/* Buffers as images, and windows over them, for the steps that have windows. */
#ifndef QL_IMAGES_H
#define QL_IMAGES_H

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

#endif
