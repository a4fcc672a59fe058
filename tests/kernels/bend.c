/* Lines from codes to codes that bend at a zero point. */
#include "harness.h"

/* Factors of up to 21 bits, and starts near the zero points that they are for. y lies apart, or over x. */
static results bend(const ql_kernels *kernels, size_t n, size_t group)
{
    const parameters p = any_parameters(1, 8);
    const int32_t flip = p.qmin < 0 ? 128 : 0, zero = between(0, 255), reach = between(0, 21);
    const size_t rows = group % 5, columns = n / (rows ? rows : 1), count = rows * columns;
    int32_t *factor = array(2, columns * sizeof *factor), *start = array(3, columns * sizeof *start);
    ql_bend b = {.zero_point = zero, .factor = factor, .start = start, .shift = between(8, 21)};
    b.qmin = p.qmin + flip;
    b.qmax = p.qmax + flip;
    for (size_t j = 0; j <= columns; j++) {
        const int32_t m = between(-(1 << reach), 1 << reach), at = between(0, 255);
        const int32_t s = at * (1 << b.shift) - zero * m;
        *(j < columns ? factor + j : &b.above_factor) = m;
        *(j < columns ? start + j : &b.above_start) = s;
    }
    uint8_t *x = any_codes(group % 2 ? RESULT : 4, count), *y = array(RESULT, count);
    kernels->bend_u8(x, rows, columns, &b, y);
    return (results){y, count, false};
}

const subject bend_subjects[] = {
    {"bend_u8", bend},
    {0},
};
