/* Gradients through grids. */
#include <math.h>
#include <string.h>

#include "harness.h"

static float *zeros(int slot, size_t n)
{
    float *x = array(slot, n * sizeof *x);
    memset(x, 0, n * sizeof *x);
    return x;
}

static results together(size_t size, const float *gradient, size_t n, const float *sums)
{
    float *out = array(RESULT, (size + n) * sizeof *out);
    memcpy(out, gradient, size * sizeof *out);
    memcpy(out + size, sums, n * sizeof *out);
    return floats(out, size + n, false);
}

static results quantize(const ql_kernels *kernels, size_t n, size_t group)
{
    const float unit = 1.0f;
    const size_t rows = (size_t)between(1, 5), size = rows * n;
    parameters p = any_parameters(n, 8);
    float *x = array(2, size * sizeof *x);
    for (size_t i = 0; i < size; i++)
        x[i] = any_value(p.scale[i % n]);
    float *gradient = any_values(3, size, &unit, size + 1), *scale_gradient = zeros(4, n);
    kernels->quantize_gradient_f32(x, rows, n, p.scale, p.zero_point, p.qmin, p.qmax, group % 2, gradient,
                                   scale_gradient);
    return together(size, gradient, n, scale_gradient);
}

static results requantize(const ql_kernels *kernels, size_t n, size_t group)
{
    const float unit = 1.0f;
    const size_t rows = (size_t)between(1, 5), size = rows * n;
    const ql_steps_range range = {(float)between(-255, 0), (float)between(0, 255), bits() % 2 ? 0.0f : -INFINITY,
                                  bits() % 2 ? 6.0f : INFINITY};
    int32_t *sums = any_sums(2, size);
    float *multiplier = array(3, n * sizeof *multiplier);
    for (size_t j = 0; j < n; j++)
        multiplier[j] = between_powers(90, 140);
    float *gradient = any_values(4, size, &unit, size + 1), *column_sum = zeros(5, 2 * n);
    kernels->requantize_gradient_s32(sums, rows, n, multiplier, &range, group % 2, gradient, column_sum,
                                     column_sum + n);
    return together(size, gradient, 2 * n, column_sum);
}

const subject gradients_subjects[] = {
    {"quantize_gradient_f32", quantize},
    {"requantize_gradient_s32", requantize},
    {0},
};
