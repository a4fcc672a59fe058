/* Numbers to codes of uniform grids and back. */
#include "harness.h"

static results quantize(const ql_kernels *kernels, size_t n, size_t group)
{
    parameters p = any_parameters(parameter_count(n, group), 8);
    float *x = any_values(2, n, p.scale, group);
    uint8_t *codes = array(RESULT, n);
    bool nonfinite = kernels->quantize_f32_x8(x, n, p.scale, p.zero_point, group, p.qmin, p.qmax, codes);
    return (results){codes, n, nonfinite};
}

static results quantize_rows(const ql_kernels *kernels, size_t n, size_t group)
{
    const size_t rows = group % 16 + 1, cols = bits() % 8 ? n : 3 * n + 500;
    const parameters p = any_parameters(cols, 8);
    float *x = array(2, rows * cols * sizeof *x);
    for (size_t i = 0; i < rows * cols; i++)
        x[i] = any_value(p.scale[i % cols]);
    uint8_t *codes = array(RESULT, rows * cols);
    bool nonfinite = kernels->quantize_rows_f32_x8(x, rows, cols, p.scale, p.zero_point, p.qmin, p.qmax, codes);
    return (results){codes, rows * cols, nonfinite};
}

static results dequantize(const ql_kernels *kernels, size_t n, size_t group)
{
    parameters p = any_parameters(parameter_count(n, group), 8);
    uint8_t *codes = any_codes(2, n);
    float *x = array(RESULT, n * sizeof *x);
    kernels->dequantize_x8_f32(codes, n, p.qmin < 0, p.scale, p.zero_point, group, x);
    return floats(x, n, false);
}

static results fake_quantize(const ql_kernels *kernels, size_t n, size_t group)
{
    parameters p = any_parameters(parameter_count(n, group), 8);
    float *y = any_values(RESULT, n, p.scale, group);
    bool nonfinite = kernels->fake_quantize_f32(y, n, p.scale, p.zero_point, group, p.qmin, p.qmax, y);
    return floats(y, n, nonfinite);
}

static results fake_quantize_rows(const ql_kernels *kernels, size_t n, size_t group)
{
    const size_t rows = group % 16 + 1;
    parameters p = any_parameters(n, 8);
    const bool alike = bits() % 2;
    for (size_t i = 0; alike && i < n; i++)
        p.zero_point[i] = p.zero_point[0];
    float *y = array(RESULT, rows * n * sizeof *y);
    for (size_t i = 0; i < rows * n; i++)
        y[i] = any_value(p.scale[i % n]);
    bool nonfinite = kernels->fake_quantize_rows_f32(y, rows, n, p.scale, p.zero_point, p.qmin, p.qmax, y);
    return floats(y, rows * n, nonfinite);
}

static results quantize_any(const ql_kernels *kernels, size_t n, size_t group)
{
    static const ql_rounding roundings[] = {QL_ROUND_EVEN, QL_ROUND_AWAY, QL_ROUND_STOCHASTIC};
    parameters p = any_parameters(parameter_count(n, group), 16);
    float *x = any_values(2, n, p.scale, group);
    int32_t *codes = array(RESULT, n * sizeof *codes);
    ql_rounding rounding = roundings[bits() % 3];
    uint64_t key = bits() * UINT64_C(0x100000001);
    uint64_t first = UINT64_C(0x200000000) - bits() % 128;
    bool nonfinite =
        kernels->quantize_f32_s32(x, n, p.scale, p.zero_point, group, p.qmin, p.qmax, rounding, key, first, codes);
    return (results){codes, n * sizeof *codes, nonfinite};
}

static results dequantize_any(const ql_kernels *kernels, size_t n, size_t group)
{
    parameters p = any_parameters(parameter_count(n, group), 16);
    int32_t *codes = array(2, n * sizeof *codes);
    float *x = array(RESULT, n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        codes[i] = between(p.qmin, p.qmax);
    kernels->dequantize_s32_f32(codes, n, p.scale, p.zero_point, group, x);
    return floats(x, n, false);
}

static results in_range(const ql_kernels *kernels, size_t n, size_t group)
{
    parameters p = any_parameters(parameter_count(n, group), 16);
    float *x = any_values(2, n, p.scale, group);
    bool *inside = array(RESULT, n);
    kernels->in_range_f32(x, n, p.scale, p.zero_point, group, p.qmin, p.qmax, inside);
    return (results){inside, n, false};
}

const subject elementwise_subjects[] = {
    {"quantize_f32_x8", quantize},
    {"quantize_rows_f32_x8", quantize_rows},
    {"dequantize_x8_f32", dequantize},
    {"fake_quantize_f32", fake_quantize},
    {"fake_quantize_rows_f32", fake_quantize_rows},
    {"quantize_f32_s32", quantize_any},
    {"dequantize_s32_f32", dequantize_any},
    {"in_range_f32", in_range},
    {0},
};
