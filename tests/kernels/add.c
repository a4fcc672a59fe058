/* Sums and products of codes on grids of their own. */
#include <math.h>
#include <stdlib.h>

#include "harness.h"

/* Where y lies: apart, or over a or b. */
static results add(const ql_kernels *kernels, size_t n, size_t group)
{
    const parameters p = any_parameters(1, 8);
    const int32_t flip = p.qmin < 0 ? 128 : 0;
    ql_addition sum = {.shift = between(1, 31), .zero_point = *p.zero_point + flip};
    sum.qmin = p.qmin + flip;
    sum.qmax = p.qmax + flip;
    sum.start = INT32_C(1) << (sum.shift - 1);
    for (int i = 0; i < 2; i++) {
        sum.factor[i] = i == 1 ? between(-(1 << 21), 1 << 21) : between(0, 1 << 21);
        sum.start -= between(0, 255) * sum.factor[i];
    }
    uint8_t *a = any_codes(group % 3 == 1 ? RESULT : 2, n), *b = any_codes(group % 3 == 2 ? RESULT : 3, n);
    uint8_t *y = array(RESULT, n);
    kernels->add_u8(a, b, n, &sum, y);
    return (results){y, n, false};
}

static results add_fixed(const ql_kernels *kernels, size_t n, size_t group)
{
    (void)group;
    ql_fixed_terms terms = {.is_negative = between(0, 1)};
    for (int i = 0; i < 2; i++) {
        terms.zero_point[i] = between(0, 255);
        const double value = (double)bits() + 1;
        if (ql_quantize_multiplier(ldexp(value, between(-68, -33)), terms.mantissa + i, terms.exponent + i) != QL_OK)
            exit(2);
    }
    uint8_t *a = any_codes(2, n), *b = any_codes(3, n);
    int32_t *sum = array(RESULT, n * sizeof *sum);
    kernels->add_fixed_u8_s32(a, b, n, &terms, sum);
    return (results){sum, n * sizeof *sum, false};
}

static ql_multiplication any_multiplication(void)
{
    const parameters p = any_parameters(1, 8);
    const int32_t flip = p.qmin < 0 ? 128 : 0, first = between(0, 255), second = between(0, 255);
    const float digits = (float)between(1, 1 << 24);
    return (ql_multiplication){.input_zero_point = {first, second},
                               .factor = ldexpf(digits, between(-44, -9)),
                               .zero_point = *p.zero_point + flip,
                               .qmin = p.qmin + flip,
                               .qmax = p.qmax + flip};
}

static results multiply(const ql_kernels *kernels, size_t n, size_t group)
{
    const ql_multiplication grids = any_multiplication();
    uint8_t *a = any_codes(group % 3 == 1 ? RESULT : 2, n), *b = any_codes(group % 3 == 2 ? RESULT : 3, n);
    uint8_t *y = array(RESULT, n);
    kernels->multiply_u8(a, b, n, &grids, y);
    return (results){y, n, false};
}

static results multiply_s32(const ql_kernels *kernels, size_t n, size_t group)
{
    (void)group;
    const ql_multiplication grids = any_multiplication();
    uint8_t *a = any_codes(2, n), *b = any_codes(3, n);
    int32_t *product = array(RESULT, n * sizeof *product);
    kernels->multiply_u8_s32(a, b, n, &grids, product);
    return (results){product, n * sizeof *product, false};
}

const subject add_subjects[] = {
    {"add_u8", add}, {"add_fixed_u8_s32", add_fixed}, {"multiply_u8", multiply}, {"multiply_u8_s32", multiply_s32}, {0},
};
