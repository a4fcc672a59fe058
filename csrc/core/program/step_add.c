/* The adding step: float32, rounded once, or codes by one of two rules, on grids of their own. In both a difference
 * from a zero point is all that is seen of a code, so that it does not matter that a plan holds codes as u8.
 *
 *   float: both scales over that of the result as integers of 21 bits, a product each, one shift. (XNNPACK's.)
 *   fixed: each code << 20 by rule B with its scale over twice the greater one; their sum by rule B once more.
 *          (TensorFlow Lite's reference, TensorFlow Lite Micro.)
 *
 * The factors are found at every run: a step that keeps nothing of a grid needs no update when one changes. */
#include <math.h>

#include "core/array/multiplier.h"
#include "core/base/memory.h"
#include "core/program/sums.h"

enum { INPUTS, OUTPUT, ACTIVATION, REQUANT };

/* The greater scale over that of the result is below this: a shift by one is left then. */
#define RATIO_LIMIT 0x1p20f

/* FIXED_BITS: shift to the left before codes are scaled. BLOCK: codes whose sums lie on the stack. */
enum { FACTOR_BITS = 20, MOST_SHIFT = 31, FIXED_BITS = 20, BLOCK = 256 };

static const ql_field fields[] = {
    {"inputs", QL_VALUE_BUFFERS},
    {"output", QL_VALUE_BUFFER},
    {"activation", QL_VALUE_TEXT | QL_VALUE_NONE},
    {"requant", QL_VALUE_TEXT},
    {NULL, 0},
};

typedef struct add_state {
    ql_activation activation;
    ql_store store; /* of codes */
} add_state;

static float greatest_ratio(const ql_buffer *const in[2], const ql_buffer *out)
{
    return fmaxf(in[0]->scale, in[1]->scale) / out->scale;
}

static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    if (step->input_count != 2)
        return QL_EINVAL;
    const ql_buffer *const in[] = {buffers + step->inputs[0], buffers + step->inputs[1]}, *out = buffers + step->output;
    ql_activation activation;
    ql_store store;
    if (!ql_have_same_shape(in[0], in[1]) || !ql_have_same_shape(in[0], out) || in[0]->type != out->type ||
        in[1]->type != out->type || !ql_activation_from_name(ql_text(&v[ACTIVATION]), &activation) ||
        !ql_rule_from_name(v[REQUANT].text, &store))
        return QL_EINVAL;
    if (out->type != QL_F32) {
        const bool has_rows = ql_has_row_scale(in[0]) || ql_has_row_scale(in[1]) || ql_has_row_scale(out);
        if (!ql_is_x8(out) || has_rows || !(greatest_ratio(in, out) < RATIO_LIMIT))
            return QL_EINVAL;
    }
    add_state *s = malloc(sizeof *s);
    if (!s)
        return QL_ENOMEM;
    *s = (add_state){activation, store};
    step->state = s;
    return QL_OK;
}

static void add_floats(const float *a, const float *b, size_t n, ql_clamps clamps, float *y)
{
    const float low = clamps.low, high = clamps.high;
    for (size_t i = 0; i < n; i++) {
        float sum = a[i] + b[i];
        sum = sum < low ? low : sum;
        y[i] = sum > high ? high : sum;
    }
}

/* Factors of the rule "float", at most 2^21: 255 of each and half of 2^MOST_SHIFT fit int32. Ratios that only an update
 * can have brought, which nobody checks here, count as the limit. */
static ql_addition addition_of(const ql_buffer *const in[2], const ql_buffer *out, ql_code_clamps clamps)
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
        p.start -= ql_zero_point_u8(in[i]) * p.factor[i];
    }
    return p;
}

static void add_fixed(const ql_block *block, const ql_step *step, const ql_buffer *const in[2], const ql_buffer *out,
                      ql_code_clamps clamps)
{
    const size_t n = block->samples * ql_sample_size(out);
    const uint8_t *a = block->data[step->inputs[0]], *b = block->data[step->inputs[1]];
    const double both = 2.0 * (double)fmaxf(in[0]->scale, in[1]->scale);
    ql_fixed_terms terms;
    for (int i = 0; i < 2; i++) {
        terms.zero_point[i] = ql_zero_point_u8(in[i]);
        (void)ql_split_multiplier((double)in[i]->scale / both, terms.mantissa + i, terms.exponent + i);
    }
    int32_t mantissa[BLOCK], exponent[BLOCK], sum[BLOCK];
    (void)ql_split_multiplier(fmin(both / ((1 << FIXED_BITS) * (double)out->scale), 2.0), mantissa, exponent);
    for (size_t i = 1; i < ql_least(BLOCK, n); i++) {
        mantissa[i] = *mantissa;
        exponent[i] = *exponent;
    }
    uint8_t *y = block->data[step->output];
    for (size_t i = 0; i < n; i += BLOCK) {
        const size_t count = ql_least(n - i, BLOCK);
        block->kernels->add_fixed_u8_s32(a + i, b + i, count, &terms, sum);
        block->kernels->requantize_fixed_s32_x8(sum, count, 1, count, mantissa, exponent, ql_zero_point_u8(out),
                                                clamps.qmin, clamps.qmax, y + i, count);
    }
}

static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const add_state *s = step->state;
    const ql_buffer *const in[] = {buffers + step->inputs[0], buffers + step->inputs[1]}, *out = buffers + step->output;
    const size_t n = block->samples * ql_sample_size(out);
    const void *a = block->data[step->inputs[0]], *b = block->data[step->inputs[1]];
    if (out->type == QL_F32) {
        add_floats(a, b, n, ql_activation_clamps(s->activation), block->data[step->output]);
        return;
    }
    ql_output output = {.store = s->store, .activation = s->activation};
    ql_output_on_grid(out, &output);
    ql_code_clamps clamps = ql_output_clamps(&output);
    clamps.qmin += ql_flip(out);
    clamps.qmax += ql_flip(out);
    if (s->store == QL_STORE_X8_FIXED) {
        add_fixed(block, step, in, out, clamps);
        return;
    }
    const ql_addition addition = addition_of(in, out, clamps);
    block->kernels->add_u8(a, b, n, &addition, block->data[step->output]);
}

static void destroy(void *state)
{
    free(state);
}

const ql_op ql_op_add = {
    .kind = "add", .fields = fields, .prepare = prepare, .run = run, .destroy = destroy, .sharing = QL_OVER_INPUT};
