/* Functions of floats, in place, and gradients through them. */
#include <string.h>

#include "harness.h"

static ql_function any_function(void)
{
    return (ql_function){(ql_function_kind)between(QL_IDENTITY, QL_SOFTPLUS), between_powers(120, 126)};
}

static results apply(const ql_kernels *kernels, size_t n, size_t group)
{
    const float scale = 4;
    const ql_function function = any_function();
    float *bias = any_values(2, n, &scale, n), *y = any_values(RESULT, n, &scale, n);
    kernels->apply_f32(group % 2 ? bias : NULL, n, function, y);
    return floats(y, n, 0);
}

/* The sums follow the gradients. */
static results function_gradient(const ql_kernels *kernels, size_t n, size_t group)
{
    const float scale = 4;
    const ql_function function = any_function();
    const size_t rows = group % 4, columns = n / (rows ? rows : 1), count = rows * columns;
    float *z = any_values(2, count, &scale, n), *gradient = any_values(3, count, &scale, n);
    float *sums = array(4, columns * sizeof *sums), *all = array(RESULT, (count + columns) * sizeof *all);
    kernels->function_gradient_f32(z, rows, columns, columns, function, gradient, sums);
    memcpy(all, gradient, count * sizeof *all);
    memcpy(all + count, sums, columns * sizeof *all);
    return floats(all, count + columns, 0);
}

static results softmax(const ql_kernels *kernels, size_t n, size_t group)
{
    const float scale = 4;
    const size_t rows = 1 + group % 3, columns = n / rows;
    float *y = any_values(RESULT, rows * columns, &scale, n);
    kernels->softmax_f32(columns ? rows : 0, columns, y);
    return floats(y, rows * columns, 0);
}

static results layer_norm(const ql_kernels *kernels, size_t n, size_t group)
{
    const float scale = 4;
    const size_t rows = 1 + group % 3, columns = n / rows, count = rows * columns;
    const float *x = any_values(2, count, &scale, n), *gamma = any_values(3, columns, &scale, n);
    const float *beta = any_values(4, columns, &scale, n);
    float *y = array(RESULT, count * sizeof *y);
    kernels->layer_norm_f32(x, rows, columns, gamma, beta, 1e-5, y);
    return floats(y, count, 0);
}

const subject function_subjects[] = {
    {"apply_f32", apply},
    {"softmax_f32", softmax},
    {"layer_norm_f32", layer_norm},
    {"function_gradient_f32", function_gradient},
    {0},
};
