/* Codes along lines with a bend, by blocks of results that lie apart from what is read: y may be x. */
#include <string.h>

#include "kernels/portable/portable.h"

enum { BLOCK = 64 };

static inline void bend_codes(const uint8_t *x, size_t n, const int32_t *factor, const int32_t *start, const ql_bend *b,
                              uint8_t *restrict y)
{
    const int32_t above_factor = b->above_factor, above_start = b->above_start, shift = b->shift;
    const int32_t zero_point = b->zero_point, qmin = b->qmin, qmax = b->qmax;
#pragma GCC unroll 1
    for (size_t j = 0; j < n; j++) {
        const int32_t code = x[j], below = -(code < zero_point);
        const int32_t m = (factor[j] & below) | (above_factor & ~below),
                      s = (start[j] & below) | (above_start & ~below);
        int32_t result = (s + code * m) >> shift;
        result = result > qmin ? result : qmin;
        y[j] = (uint8_t)(result < qmax ? result : qmax);
    }
}

void QL_KERNEL(ql_bend_u8)(const uint8_t *x, size_t rows, size_t n, const ql_bend *bend, uint8_t *y)
{
    uint8_t block[BLOCK];
    for (size_t i = 0; i < rows; i++, x += n, y += n) {
        for (size_t j = 0; j < n; j += BLOCK) {
            const size_t count = n - j < BLOCK ? n - j : BLOCK;
            bend_codes(x + j, count, bend->factor + j, bend->start + j, bend, block);
            memcpy(y + j, block, count);
        }
    }
}
