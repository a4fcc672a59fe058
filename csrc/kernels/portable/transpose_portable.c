/* Transposed copies, element by element: one loop for each size of an element. */
#include "kernels/portable/portable.h"

#include <string.h>

static inline __attribute__((always_inline)) void transpose(const char *from, ptrdiff_t from_stride, size_t rows,
                                                            size_t cols, const size_t size, char *to,
                                                            ptrdiff_t to_stride)
{
    for (size_t j = 0; j < cols; j++) {
        char *row = to + (ptrdiff_t)j * to_stride;
        for (size_t i = 0; i < rows; i++)
            memcpy(row + i * size, from + (ptrdiff_t)i * from_stride + j * size, size);
    }
}

void QL_KERNEL(ql_transpose)(const void *from, ptrdiff_t from_stride, size_t rows, size_t cols, size_t size, void *to,
                             ptrdiff_t to_stride)
{
    if (size == 1)
        transpose(from, from_stride, rows, cols, 1, to, to_stride);
    else if (size == 2)
        transpose(from, from_stride, rows, cols, 2, to, to_stride);
    else if (size == 4)
        transpose(from, from_stride, rows, cols, 4, to, to_stride);
    else
        transpose(from, from_stride, rows, cols, 8, to, to_stride);
}
