/* The adding and the subtracting step: float32, rounded once, or codes by one of two rules, on grids of their own. In
 * both a difference from a zero point is all that is seen of a code, so that it does not matter that a plan holds codes
 * as u8. What is subtracted has its factor, or its scaled value, negated.
 *
 *   float: both scales over that of the result as integers of 21 bits, a product each, one shift. (XNNPACK's.)
 *   fixed: each code << 20 by rule B with its scale over twice the greater one; their sum by rule B once more.
 *          (TensorFlow Lite's reference, TensorFlow Lite Micro.)
 *
 * The factors are found at every run: a step that keeps nothing of a grid needs no update when one changes. */
#include <math.h>
#include <stdlib.h>

#include "core/array/multiplier.h"
#include "core/base/sizes.h"
#include "core/program/binary.h"

/* The greater scale over that of the result is below this: a shift by one is left then. */
#define RATIO_LIMIT 0x1p20f

/* FIXED_BITS: shift to the left before codes are scaled. BLOCK: codes whose sums lie on the stack. */
enum { FACTOR_BITS = 20, MOST_SHIFT = 31, FIXED_BITS = 20, BLOCK = 256 };

static float greatest_ratio(const ql_buffer *const in[2], const ql_buffer *out)
{
    return fmaxf(in[0]->scale, in[1]->scale) / out->scale;
}

static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step, bool is_negative)
{
    ql_binary binary = {.is_negative = is_negative};
    if (!ql_binary_from_values(buffers, v, step, v[QL_BINARY_REQUANT].text, &binary))
        return QL_EINVAL;
    const ql_buffer *const in[] = {buffers + step->inputs[0], buffers + step->inputs[1]}, *out = buffers + step->output;
    if (out->type != QL_F32 && !(greatest_ratio(in, out) < RATIO_LIMIT))
        return QL_EINVAL;
    return ql_binary_keep(&binary, step);
}

static ql_status prepare_add(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    return prepare(buffers, v, step, false);
}

static ql_status prepare_subtract(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    return prepare(buffers, v, step, true);
}

/* ---- floats ------------------------------------------------------------------------------------- */

static void add_floats(const ql_kernels *kernels, const void *a, const void *b, size_t n, const void *context, void *y)
{
    (void)kernels;
    const ql_clamps *clamps = context;
    const float low = clamps->low, high = clamps->high, *first = a, *second = b;
    float *sums = y;
    for (size_t i = 0; i < n; i++) {
        float sum = first[i] + second[i];
        sum = sum < low ? low : sum;
        sums[i] = sum > high ? high : sum;
    }
}

static void subtract_floats(const ql_kernels *kernels, const void *a, const void *b, size_t n, const void *context,
                            void *y)
{
    (void)kernels;
    const ql_clamps *clamps = context;
    const float low = clamps->low, high = clamps->high, *first = a, *second = b;
    float *differences = y;
    for (size_t i = 0; i < n; i++) {
        float difference = first[i] - second[i];
        difference = difference < low ? low : difference;
        differences[i] = difference > high ? high : difference;
    }
}

/* ---- codes -------------------------------------------------------------------------------------- */

/* Factors of the rule "float", at most 2^21: 255 of each and half of 2^MOST_SHIFT fit int32. Ratios that only an update
 * can have brought, which nobody checks here, count as the limit. */
static ql_addition addition_of(const ql_buffer *const in[2], const ql_buffer *out, ql_code_clamps clamps,
                               bool is_negative)
{
    int exponent;
    (void)frexpf(fminf(greatest_ratio(in, out), 0x1p19f), &exponent);
    const int shift = FACTOR_BITS + 1 - exponent;
    ql_addition p = {.shift = shift < MOST_SHIFT ? shift : MOST_SHIFT,
                     .zero_point = ql_zero_point_u8(out),
                     .qmin = clamps.qmin,
                     .qmax = clamps.qmax};
    p.start = INT32_C(1) << (p.shift - 1);
    for (int i = 0; i < 2; i++) {
        const float ratio = fminf(in[i]->scale / out->scale, RATIO_LIMIT);
        p.factor[i] = (int32_t)rint(ldexp((double)ratio, p.shift));
        p.factor[i] = i == 1 && is_negative ? -p.factor[i] : p.factor[i];
        p.start -= ql_zero_point_u8(in[i]) * p.factor[i];
    }
    return p;
}

static void add_codes(const ql_kernels *kernels, const void *a, const void *b, size_t n, const void *context, void *y)
{
    kernels->add_u8(a, b, n, context, y);
}

/* The rule "fixed": both terms, and what becomes of their sums, the same for all of a block. */
typedef struct fixed_rule {
    ql_fixed_terms terms;
    int32_t mantissa[BLOCK], exponent[BLOCK];
    int32_t zero_point;
    ql_code_clamps clamps;
} fixed_rule;

static void fill_fixed(const ql_buffer *const in[2], const ql_buffer *out, ql_code_clamps clamps, bool is_negative,
                       fixed_rule *rule)
{
    const double both = 2.0 * (double)fmaxf(in[0]->scale, in[1]->scale);
    rule->zero_point = ql_zero_point_u8(out);
    rule->clamps = clamps;
    rule->terms.is_negative = is_negative;
    for (int i = 0; i < 2; i++) {
        rule->terms.zero_point[i] = ql_zero_point_u8(in[i]);
        (void)ql_split_multiplier((double)in[i]->scale / both, rule->terms.mantissa + i, rule->terms.exponent + i);
    }
    const double last = fmin(both / ((1 << FIXED_BITS) * (double)out->scale), 2.0);
    (void)ql_split_multiplier(last, rule->mantissa, rule->exponent);
    for (size_t i = 1; i < BLOCK; i++) {
        rule->mantissa[i] = *rule->mantissa;
        rule->exponent[i] = *rule->exponent;
    }
}

static void add_fixed(const ql_kernels *kernels, const void *a, const void *b, size_t n, const void *context, void *y)
{
    const fixed_rule *rule = context;
    const uint8_t *first = a, *second = b;
    uint8_t *codes = y;
    int32_t sum[BLOCK];
    for (size_t i = 0; i < n; i += BLOCK) {
        const size_t count = ql_least(n - i, BLOCK);
        kernels->add_fixed_u8_s32(first + i, second + i, count, &rule->terms, sum);
        kernels->requantize_fixed_s32_x8(sum, count, 1, count, rule->mantissa, rule->exponent, rule->zero_point,
                                         rule->clamps.qmin, rule->clamps.qmax, codes + i, count);
    }
}

static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const ql_binary *s = step->state;
    const ql_buffer *const in[] = {buffers + step->inputs[0], buffers + step->inputs[1]}, *out = buffers + step->output;
    if (out->type == QL_F32) {
        const ql_clamps clamps = ql_activation_clamps(s->activation);
        ql_for_pairs(step, buffers, block, s->is_negative ? subtract_floats : add_floats, &clamps);
        return;
    }
    const ql_code_clamps clamps = ql_binary_clamps(s, out);
    if (s->store == QL_STORE_X8_FIXED) {
        fixed_rule rule;
        fill_fixed(in, out, clamps, s->is_negative, &rule);
        ql_for_pairs(step, buffers, block, add_fixed, &rule);
        return;
    }
    const ql_addition addition = addition_of(in, out, clamps, s->is_negative);
    ql_for_pairs(step, buffers, block, add_codes, &addition);
}

const ql_op ql_op_add = {.kind = "add",
                         .fields = ql_binary_fields,
                         .prepare = prepare_add,
                         .run = run,
                         .destroy = free,
                         .sharing = QL_OVER_INPUT};
const ql_op ql_op_subtract = {.kind = "subtract",
                              .fields = ql_binary_fields,
                              .prepare = prepare_subtract,
                              .run = run,
                              .destroy = free,
                              .sharing = QL_OVER_INPUT};
