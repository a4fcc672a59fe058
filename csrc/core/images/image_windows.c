#include "core/images/image_windows.h"

static bool axis_is_valid(const ql_image_windows *s, int axis, size_t length)
{
    const ql_window *w = &s->window;
    const size_t most = PTRDIFF_MAX / 4;
    size_t reach, last;
    return length >= 1 && length <= most && s->kernel[axis] >= 1 && w->dilation[axis] >= 1 && w->stride[axis] >= 1 &&
           w->out[axis] >= 1 && w->before[axis] <= most &&
           !__builtin_mul_overflow(s->kernel[axis] - 1, w->dilation[axis], &reach) && reach <= most &&
           !__builtin_mul_overflow(w->out[axis] - 1, w->stride[axis], &last) && last <= most;
}

bool ql_image_windows_are_valid(const ql_image_windows *s)
{
    return s->channels >= 1 && axis_is_valid(s, 0, s->height) && axis_is_valid(s, 1, s->width);
}
