#include "core/images/phases.h"

static size_t taps_of(const ql_expansion *shape, int axis, size_t result)
{
    const size_t first = (result + shape->before[axis]) % shape->stride[axis];
    return first < shape->kernel[axis] ? (shape->kernel[axis] - first - 1) / shape->stride[axis] + 1 : 0;
}

ql_phase_windows ql_phase_windows_of(const ql_expansion *shape, int axis)
{
    size_t before = 0, last = 0;
    for (size_t x = 0; x < ql_phase_count(shape, axis); x++) {
        const size_t pixel = (x + shape->before[axis]) / shape->stride[axis], count = taps_of(shape, axis, x);
        if (count == 0)
            continue;
        if (count > pixel + 1 && count - 1 - pixel > before)
            before = count - 1 - pixel;
        last = pixel > last ? pixel : last;
    }
    return (ql_phase_windows){before, before + last + 1};
}

ql_stretch ql_phase_stretch(const ql_expansion *shape, int axis, const ql_phase_windows *windows, size_t result)
{
    const size_t pixel = (result + shape->before[axis]) / shape->stride[axis], count = taps_of(shape, axis, result);
    return count ? (ql_stretch){windows->before + pixel + 1 - count, count} : (ql_stretch){0, 1};
}

bool ql_phase_of_tap(const ql_expansion *shape, int axis, const ql_phase_windows *windows, size_t tap, size_t *result,
                     size_t *pixel)
{
    const size_t stride = shape->stride[axis], before = shape->before[axis];
    *result = (tap + stride - before % stride) % stride;
    *pixel = (*result + before + windows->before * stride - tap) / stride;
    return *result < shape->out[axis];
}
