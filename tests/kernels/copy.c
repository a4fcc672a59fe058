/* Transposed copies. */
#include "harness.h"

static results transpose(const ql_kernels *kernels, size_t n, size_t group)
{
    const size_t size = (size_t)1 << bits() % 4, rows = n, cols = group, gap = bits() % 3;
    const size_t from_stride = cols * size + gap, to_stride = rows * size + gap;
    const size_t from_bytes = rows * from_stride - gap, to_bytes = cols * to_stride - gap;
    const bool is_upward = bits() % 2; /* the last row comes first */
    uint8_t *from = any_codes(2, from_bytes), *to = any_codes(RESULT, to_bytes);
    kernels->transpose(is_upward ? from + (rows - 1) * from_stride : from,
                       is_upward ? -(ptrdiff_t)from_stride : (ptrdiff_t)from_stride, rows, cols, size,
                       is_upward ? to + (cols - 1) * to_stride : to,
                       is_upward ? -(ptrdiff_t)to_stride : (ptrdiff_t)to_stride);
    return (results){to, to_bytes, false};
}

const subject copy_subjects[] = {
    {"transpose", transpose},
    {0},
};
