/* The multiplying step: float32, rounded once, or codes of the product p of what two codes differ from their zero
 * points by: by rule A ("float") with f = float32(float32(s_a * s_b) / s_y), as floor(p * f + 1 / 2), exactly, with the
 * same f ("aarch64"), or by rule B ("fixed") with s_a * s_b / s_y in double. The factors are found at every run: see
 * step_add.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/array/multiplier.h"
#include "core/base/sizes.h"
#include "core/program/binary.h"

/* The product of the scales over that of the result is below this. */
#define RATIO_LIMIT 0x1p20f

/* From here on every product but 0 is clamped. */
#define MOST_FACTOR_AARCH64 0x1p10f

enum { BLOCK = 256 }; /* codes whose products lie on the stack */

static float ratio_of(const ql_buffer *const in[2], const ql_buffer *out)
{
    return in[0]->scale * in[1]->scale / out->scale;
}

static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    const bool is_aarch64 = strcmp(v[QL_BINARY_REQUANT].text, "aarch64") == 0;
    ql_binary binary = {0};
    if (!ql_binary_from_values(buffers, v, step, is_aarch64 ? "float" : v[QL_BINARY_REQUANT].text, &binary))
        return QL_EINVAL;
    binary.is_aarch64 = is_aarch64;
    const ql_buffer *const in[] = {buffers + step->inputs[0], buffers + step->inputs[1]}, *out = buffers + step->output;
    if (out->type != QL_F32 && !(ratio_of(in, out) < RATIO_LIMIT))
        return QL_EINVAL;
    return ql_binary_keep(&binary, step);
}

static void multiply_floats(const ql_kernels *kernels, const void *a, const void *b, size_t n, const void *context,
                            void *y)
{
    (void)kernels;
    const ql_clamps *clamps = context;
    const float low = clamps->low, high = clamps->high, *first = a, *second = b;
    float *products = y;
    for (size_t i = 0; i < n; i++) {
        float product = first[i] * second[i];
        product = product < low ? low : product;
        products[i] = product > high ? high : product;
    }
}

static void multiply_codes(const ql_kernels *kernels, const void *a, const void *b, size_t n, const void *context,
                           void *y)
{
    kernels->multiply_u8(a, b, n, context, y);
}

/* The rule "fixed", the same for all of a block. */
typedef struct fixed_rule {
    ql_multiplication grids;
    int32_t mantissa[BLOCK], exponent[BLOCK];
} fixed_rule;

static void fill_fixed(double ratio, fixed_rule *rule)
{
    (void)ql_split_multiplier(fmin(ratio, 0x1p20), rule->mantissa, rule->exponent);
    for (size_t i = 1; i < BLOCK; i++) {
        rule->mantissa[i] = *rule->mantissa;
        rule->exponent[i] = *rule->exponent;
    }
}

static void multiply_fixed(const ql_kernels *kernels, const void *a, const void *b, size_t n, const void *context,
                           void *y)
{
    const fixed_rule *rule = context;
    const ql_multiplication *grids = &rule->grids;
    const uint8_t *first = a, *second = b;
    uint8_t *codes = y;
    int32_t product[BLOCK];
    for (size_t i = 0; i < n; i += BLOCK) {
        const size_t count = ql_least(n - i, BLOCK);
        kernels->multiply_u8_s32(first + i, second + i, count, grids, product);
        kernels->requantize_fixed_s32_x8(product, count, 1, count, rule->mantissa, rule->exponent, grids->zero_point,
                                         grids->qmin, grids->qmax, codes + i, count);
    }
}

/* The rule "aarch64": f = (high * 2**12 + low) * 2**-(12 + shift), so that int32 holds every term. */
typedef struct aarch64_rule {
    ql_multiplication grids;
    int32_t high, low, shift; /* 12 bits each; 1..31 */
} aarch64_rule;

/* A factor below 2**-19, which makes 0 of every product, may have another exponent than its own. */
static void fill_aarch64(float factor, aarch64_rule *rule)
{
    int exponent;
    const int32_t mantissa = (int32_t)ldexpf(frexpf(fminf(factor, MOST_FACTOR_AARCH64), &exponent), 24);
    rule->high = mantissa >> 12;
    rule->low = mantissa & 0xFFF;
    rule->shift = 12 - exponent < 31 ? 12 - exponent : 31;
}

static void round_up(const int32_t *product, size_t n, const aarch64_rule *rule, uint8_t *restrict y)
{
    const int32_t high = rule->high, low = rule->low, shift = rule->shift, half = (int32_t)1 << (shift - 1);
    const int32_t zero_point = rule->grids.zero_point, qmin = rule->grids.qmin, qmax = rule->grids.qmax;
    for (size_t i = 0; i < n; i++) {
        int32_t r = ((product[i] * high + (product[i] * low >> 12) + half) >> shift) + zero_point;
        r = r > qmin ? r : qmin;
        y[i] = (uint8_t)(r < qmax ? r : qmax);
    }
}

static void multiply_aarch64(const ql_kernels *kernels, const void *a, const void *b, size_t n, const void *context,
                             void *y)
{
    const aarch64_rule *rule = context;
    const uint8_t *first = a, *second = b;
    uint8_t *codes = y;
    int32_t product[BLOCK];
    for (size_t i = 0; i < n; i += BLOCK) {
        const size_t count = ql_least(n - i, BLOCK);
        kernels->multiply_u8_s32(first + i, second + i, count, &rule->grids, product);
        round_up(product, count, rule, codes + i);
    }
}

static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const ql_binary *s = step->state;
    const ql_buffer *const in[] = {buffers + step->inputs[0], buffers + step->inputs[1]}, *out = buffers + step->output;
    if (out->type == QL_F32) {
        const ql_clamps clamps = ql_activation_clamps(s->activation);
        ql_for_pairs(step, buffers, block, multiply_floats, &clamps);
        return;
    }
    const ql_code_clamps clamps = ql_binary_clamps(s, out);
    const ql_multiplication grids = {.input_zero_point = {ql_zero_point_u8(in[0]), ql_zero_point_u8(in[1])},
                                     .factor = fminf(ratio_of(in, out), QL_MOST_FACTOR),
                                     .zero_point = ql_zero_point_u8(out),
                                     .qmin = clamps.qmin,
                                     .qmax = clamps.qmax};
    if (s->store == QL_STORE_X8_FIXED) {
        fixed_rule rule = {.grids = grids};
        fill_fixed((double)in[0]->scale * (double)in[1]->scale / (double)out->scale, &rule);
        ql_for_pairs(step, buffers, block, multiply_fixed, &rule);
        return;
    }
    if (s->is_aarch64) {
        aarch64_rule rule = {.grids = grids};
        fill_aarch64(grids.factor, &rule);
        ql_for_pairs(step, buffers, block, multiply_aarch64, &rule);
        return;
    }
    ql_for_pairs(step, buffers, block, multiply_codes, &grids);
}

const ql_op ql_op_multiply = {.kind = "multiply",
                              .fields = ql_binary_fields,
                              .prepare = prepare,
                              .run = run,
                              .destroy = free,
                              .sharing = QL_OVER_INPUT};
