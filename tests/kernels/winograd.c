/* Winograd's transforms, and the products between them. */
#include <string.h>

#include "harness.h"

enum { MOST_POINTS = 36, COLUMNS = QL_WINOGRAD_COLUMNS };

static results pixels(const ql_kernels *kernels, size_t n, size_t group)
{
    const size_t side = group % 2 ? 2 : 4, points = (side + 2) * (side + 2), stride = n + bits() % 3;
    const uint8_t *codes = any_codes(0, points * n), flip = bits() % 2 ? 128 : 0;
    const uint8_t *pixels[MOST_POINTS];
    for (size_t p = 0; p < points; p++)
        pixels[p] = codes + bits() % points * n; /* some more than once, as a border is */
    const size_t bytes = ((points - 1) * stride + n) * sizeof(int16_t);
    int16_t *to = array(RESULT, bytes);
    memset(to, 0, bytes);
    kernels->winograd_pixels_u8_s16(side, pixels, n, flip, to, stride);
    return (results){to, bytes, false};
}

/* Numbers of 15 bits: no pair of products leaves int32. */
static int16_t *any_numbers(int slot, size_t n)
{
    int16_t *numbers = array(slot, n * sizeof *numbers);
    for (size_t i = 0; i < n; i++)
        numbers[i] = (int16_t)between(-16384, 16383);
    return numbers;
}

static results products(const ql_kernels *kernels, size_t n, size_t group)
{
    const size_t rows = 1 + group % 16, depth = 2 * (1 + n / 2), stride = depth + bits() % 3;
    const int16_t *a = any_numbers(0, (rows - 1) * stride + depth), *b = any_numbers(1, depth / 2 * 64);
    int32_t *sums = array(RESULT, rows * COLUMNS * sizeof *sums);
    kernels->winograd_products_s16_s32(a, stride, rows, depth, b, sums);
    return (results){sums, rows * COLUMNS * sizeof *sums, false};
}

static results sums(const ql_kernels *kernels, size_t n, size_t group)
{
    const size_t side = group % 2 ? 2 : 4, points = (side + 2) * (side + 2), stride = COLUMNS + n % 40;
    const size_t y_stride = side * COLUMNS + n % 7, size = (side - 1) * y_stride + side * COLUMNS;
    const int32_t *from = any_sums(0, (points - 1) * stride + COLUMNS), *start = any_sums(1, COLUMNS);
    int32_t *y = array(RESULT, size * sizeof *y);
    memset(y, 0, size * sizeof *y);
    kernels->winograd_sums_s32(side, from, stride, start, y, y_stride);
    return (results){y, size * sizeof *y, false};
}

const subject winograd_subjects[] = {
    {"winograd_pixels_u8_s16", pixels},
    {"winograd_products_s16_s32", products},
    {"winograd_sums_s32", sums},
    {0},
};
