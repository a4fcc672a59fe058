/* Transposed convolutions: every pixel of an image adds its product with a kernel of weights to a neighbourhood of the
 * result, from pixel (i * stride - before) on. Seen from the result: along an axis, result x of a block of `stride`
 * lies at place X = x + before of the whole result, and gets pixel j times tap X - j * stride of the kernel where there
 * is one. So windows over the image move by one pixel from block to block, and each result of a block reads a stretch
 * of the window, its taps back to front. Results that lie alike are a phase, an ordinary convolution. */
#ifndef QL_PHASES_H
#define QL_PHASES_H

#include <stdbool.h>

#include "core/base/sizes.h"

/* Images of one size, kernels over the result, and what is cut off it at the top and left, less than a kernel. */
typedef struct ql_expansion {
    size_t height, width;           /* of an image */
    size_t kernel[2], in, channels; /* channels: of a result */
    size_t stride[2], before[2], out[2];
} ql_expansion;

/* Windows along an axis: pixels that one begins before its block, and its pixels. */
typedef struct ql_phase_windows {
    size_t before, size;
} ql_phase_windows;

ql_phase_windows ql_phase_windows_of(const ql_expansion *shape, int axis);

/* Pixels of a window that a result of a block reads. Where it has no tap: one, whose weights are zeros. */
typedef struct ql_stretch {
    size_t first, count;
} ql_stretch;

ql_stretch ql_phase_stretch(const ql_expansion *shape, int axis, const ql_phase_windows *windows, size_t result);

/* Finds the result of a block that has a tap of the kernel, and which pixel of the window it multiplies by it. Returns
 * false where that result is never inside. */
bool ql_phase_of_tap(const ql_expansion *shape, int axis, const ql_phase_windows *windows, size_t tap, size_t *result,
                     size_t *pixel);

/* Phases along an axis, blocks, and the blocks whose result of a phase is inside. */
static inline size_t ql_phase_count(const ql_expansion *shape, int axis)
{
    return ql_least(shape->stride[axis], shape->out[axis]);
}

static inline size_t ql_phase_blocks(const ql_expansion *shape, int axis, size_t phase)
{
    return (shape->out[axis] - phase - 1) / shape->stride[axis] + 1;
}

#endif
