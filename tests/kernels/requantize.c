/* What becomes of sums. */
#include <math.h>
#include <stdlib.h>

#include "harness.h"

/* A tile of a few rows; in rows that are further apart than wide the neighbours must stay as they are. */
typedef struct tile {
    size_t rows, stride, size;
} tile;

static tile any_tile(size_t cols)
{
    tile t = {.rows = (size_t)between(1, 5)};
    t.stride = cols + bits() % 3;
    t.size = (t.rows - 1) * t.stride + cols;
    return t;
}

static results requantize(const ql_kernels *kernels, size_t n, size_t group)
{
    (void)group;
    tile in = any_tile(n), out = in;
    out.stride += 3;
    out.size = (out.rows - 1) * out.stride + n;
    parameters p = any_parameters(1, 8);
    int32_t *acc = any_sums(2, in.size);
    float *multiplier = array(3, n * sizeof *multiplier);
    for (size_t j = 0; j < n; j++)
        multiplier[j] = between_powers(70, 156);
    uint8_t *codes = any_codes(RESULT, out.size);
    kernels->requantize_s32_x8(acc, in.stride, in.rows, n, multiplier, *p.zero_point, p.qmin, p.qmax, codes,
                               out.stride);
    return (results){codes, out.size, false};
}

static results curve(const ql_kernels *kernels, size_t n, size_t group)
{
    tile in = any_tile(n), out = in;
    out.stride += 3;
    out.size = (out.rows - 1) * out.stride + n;
    const size_t first = group % 3;
    int32_t *acc = any_sums(2, in.size);
    ql_epilogue e = any_epilogue(first + n);
    e.store = QL_STORE_X8;
    if (e.curve == QL_CURVE_NONE)
        e.curve = QL_CURVE_PRELU;
    uint8_t *codes = any_codes(RESULT, out.size);
    kernels->curve_s32_x8(acc, in.stride, in.rows, n, &e, first, codes, out.stride);
    return (results){codes, out.size, false};
}

static results requantize_fixed(const ql_kernels *kernels, size_t n, size_t group)
{
    (void)group;
    tile in = any_tile(n), out = in;
    out.stride += 3;
    out.size = (out.rows - 1) * out.stride + n;
    parameters p = any_parameters(1, 8);
    int32_t *acc = any_sums(2, in.size);
    int32_t *mantissa = array(3, n * sizeof *mantissa), *exponent = array(4, n * sizeof *exponent);
    for (size_t j = 0; j < n; j++) {
        double value = (double)bits() + 1;
        if (ql_quantize_multiplier(ldexp(value, between(-68, -3)), mantissa + j, exponent + j) != QL_OK)
            exit(2);
    }
    uint8_t *codes = any_codes(RESULT, out.size);
    kernels->requantize_fixed_s32_x8(acc, in.stride, in.rows, n, mantissa, exponent, *p.zero_point, p.qmin, p.qmax,
                                     codes, out.stride);
    return (results){codes, out.size, false};
}

static results scale(const ql_kernels *kernels, size_t n, size_t group)
{
    (void)group;
    tile t = any_tile(n);
    const float unit = 1.0f;
    int32_t *acc = any_sums(2, t.size);
    float *row_scale = any_values(3, t.rows, &unit, t.rows), *col_scale = any_values(4, n, &unit, n + 1);
    float *offset = any_values(5, n, &unit, n + 1), *y = any_values(RESULT, t.size, &unit, t.size + 1);
    float low = bits() % 2 ? 0.0f : -INFINITY, high = bits() % 2 ? 6.0f : INFINITY;
    kernels->scale_s32_f32(acc, t.stride, t.rows, n, row_scale, col_scale, offset, low, high, y, t.stride);
    return floats(y, t.size, false);
}

static results add_residual(const ql_kernels *kernels, size_t n, size_t group)
{
    (void)group;
    tile t = any_tile(n), codes = t;
    codes.stride += 3;
    codes.size = (codes.rows - 1) * codes.stride + n;
    const ql_residual residual = any_residual(2, codes.size, n);
    int32_t *acc = any_sums(RESULT, t.size);
    kernels->add_residual_u8_s32(acc, t.stride, t.rows, n, &residual, codes.stride);
    return (results){acc, t.size * sizeof *acc, false};
}

static results add_outer(const ql_kernels *kernels, size_t n, size_t group)
{
    (void)group;
    tile t = any_tile(n);
    int32_t *row = any_sums(2, t.rows), *col = any_sums(3, n), *acc = any_sums(RESULT, t.size);
    kernels->add_outer_s32(acc, t.stride, t.rows, n, row, col);
    return (results){acc, t.size * sizeof *acc, false};
}

const subject requantize_subjects[] = {
    {"requantize_s32_x8", requantize},
    {"requantize_fixed_s32_x8", requantize_fixed},
    {"curve_s32_x8", curve},
    {"scale_s32_f32", scale},
    {"add_outer_s32", add_outer},
    {"add_residual_u8_s32", add_residual},
    {0},
};
