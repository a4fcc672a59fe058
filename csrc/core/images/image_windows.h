/* Windows over float images: which of them reach a pixel, and which of their pixels lie inside. */
#ifndef QL_IMAGE_WINDOWS_H
#define QL_IMAGE_WINDOWS_H

#include "core/base/sizes.h"
#include "qlite.h"

/* Numbers first..end - 1. */
typedef struct ql_span {
    size_t first, end;
} ql_span;

/* Windows along an axis (0: height, 1: width) whose pixel number `tap` lies inside an image of this length. */
static inline ql_span ql_windows_inside(const ql_window *w, int axis, size_t tap, size_t length)
{
    const size_t stride = w->stride[axis], shift = tap * w->dilation[axis], before = w->before[axis];
    const size_t first = before > shift ? ql_divided_up(before - shift, stride) : 0;
    const size_t end = length + before > shift ? (length + before - shift - 1) / stride + 1 : 0;
    return (ql_span){first, ql_least(end, w->out[axis]) > first ? ql_least(end, w->out[axis]) : first};
}

/* Pixel of a window along an axis, which lies inside. */
static inline size_t ql_window_pixel(const ql_window *w, int axis, size_t window, size_t tap)
{
    return window * w->stride[axis] + tap * w->dilation[axis] - w->before[axis];
}

/* Windows along an axis that may hold a pixel: all that do, and with dilation some that do not. */
static inline ql_span ql_windows_over(const ql_image_windows *s, int axis, size_t pixel)
{
    const ql_window *w = &s->window;
    const size_t reach = (s->kernel[axis] - 1) * w->dilation[axis], place = pixel + w->before[axis];
    const size_t first = place > reach ? ql_divided_up(place - reach, w->stride[axis]) : 0;
    const size_t end = ql_least(place / w->stride[axis] + 1, w->out[axis]);
    return (ql_span){first < end ? first : end, end};
}

/* Finds the number of a pixel in a window that ql_windows_over names; returns whether it has one. */
static inline bool ql_window_tap(const ql_image_windows *s, int axis, size_t window, size_t pixel, size_t *tap)
{
    const ql_window *w = &s->window;
    const size_t distance = pixel + w->before[axis] - window * w->stride[axis];
    *tap = distance / w->dilation[axis];
    return distance % w->dilation[axis] == 0 && *tap < s->kernel[axis];
}

/* Returns whether sizes are at least 1 and no place leaves ptrdiff_t. */
bool ql_image_windows_are_valid(const ql_image_windows *s);

#endif
