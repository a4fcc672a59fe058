/* The steps that take the mean or the sum of elements along axes: of float32, or of codes by one of two rules.
 *
 *   float: f = scale / result's scale, for a mean times (1 / n), code = rint(sum * f + (z - float(n * zero point) *
 * f)), in float32. (XNNPACK's.) It sees the codes themselves, so that the sums and the end are those of s8 where a plan
 * holds them as u8. fixed: rule B, in whose multiplier 1 / n is. (TensorFlow Lite's reference, TensorFlow Lite Micro.)
 *
 * Sums of all samples come first. Then kernels requantize them together, which take a parameter for each column:
 * COLUMNS equal ones. As in step_add.c nothing is kept of a grid. */
#include <math.h>

#include "core/array/multiplier.h"
#include "core/base/memory.h"
#include "core/program/reduce.h"
#include "core/program/sums.h"

enum { INPUTS, OUTPUT, AXES, KEEPDIMS, REQUANT };

/* MOST_ELEMENTS: sums of as many codes could leave int32. */
enum { COLUMNS = 64, MOST_ELEMENTS = 1 << 23, CODES_PER_NS = 16 };

/* The input's scale over that of the result is below this. */
#define RATIO_LIMIT 0x1p20f

static const ql_field fields[] = {
    {"inputs", QL_VALUE_BUFFERS}, {"output", QL_VALUE_BUFFER}, {"axes", QL_VALUE_INTS},
    {"keepdims", QL_VALUE_INT},   {"requant", QL_VALUE_TEXT},  {NULL, 0},
};

typedef struct sum_state {
    ql_reduction reduction;
    bool is_mean, is_fixed;
} sum_state;

static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step, bool is_mean)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    sum_state s = {.is_mean = is_mean};
    ql_store store;
    if (step->input_count != 1 || in->type != out->type || !ql_rule_from_name(v[REQUANT].text, &store) ||
        !ql_take_reduction(in, out, &v[AXES], &v[KEEPDIMS], &s.reduction))
        return QL_EINVAL;
    if (in->type != QL_F32 && (!ql_is_x8(in) || ql_has_row_scale(in) || ql_has_row_scale(out) ||
                               s.reduction.count >= MOST_ELEMENTS || !(in->scale / out->scale < RATIO_LIMIT)))
        return QL_EINVAL;
    s.is_fixed = store == QL_STORE_X8_FIXED;
    sum_state *state = malloc(sizeof *state);
    if (!state)
        return QL_ENOMEM;
    *state = s;
    step->state = state;
    return QL_OK;
}

static ql_status prepare_mean(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    return prepare(buffers, v, step, true);
}

static ql_status prepare_sum(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    return prepare(buffers, v, step, false);
}

static void finish_float(const ql_kernels *kernels, const sum_state *s, const ql_buffer *in, const ql_buffer *out,
                         const int32_t *sum, size_t n, float *values, uint8_t *y)
{
    const float one = 1.0f, ratio = in->scale / out->scale;
    const float factor = s->is_mean ? ratio * (one / (float)s->reduction.count) : ratio;
    const float offset = (float)out->zero_point - (float)((int64_t)s->reduction.count * in->zero_point) * factor;
    const int32_t flip = ql_flip(out); /* added after the rounding */
    float factors[COLUMNS], offsets[COLUMNS];
    for (size_t j = 0; j < COLUMNS; j++) {
        factors[j] = factor;
        offsets[j] = offset;
    }
    for (size_t i = 0; i < n; i += COLUMNS)
        kernels->scale_s32_f32(sum + i, COLUMNS, 1, ql_least(n - i, COLUMNS), &one, factors, offsets, -INFINITY,
                               INFINITY, values + i, COLUMNS);
    (void)kernels->quantize_f32_x8(values, n, &one, &flip, n, ql_qmin_u8(out), ql_qmax_u8(out), y);
}

static void finish_fixed(const ql_kernels *kernels, const sum_state *s, const ql_buffer *in, const ql_buffer *out,
                         const int32_t *sum, size_t n, uint8_t *y)
{
    const uint64_t count = s->is_mean ? s->reduction.count : 1;
    int32_t mantissa[COLUMNS], exponent[COLUMNS];
    (void)ql_split_multiplier(fmin((double)in->scale / (double)out->scale, 0x1p20), mantissa, exponent);
    int shift = 63 - __builtin_clzll(count);
    shift = shift < 31 + *exponent ? shift : 31 + *exponent;
    *mantissa = (int32_t)(((uint64_t)*mantissa << shift) / count);
    *exponent -= shift;
    for (size_t j = 1; j < COLUMNS; j++) {
        mantissa[j] = *mantissa;
        exponent[j] = *exponent;
    }
    for (size_t i = 0; i < n; i += COLUMNS)
        kernels->requantize_fixed_s32_x8(sum + i, COLUMNS, 1, ql_least(n - i, COLUMNS), mantissa, exponent,
                                         ql_zero_point_u8(out), ql_qmin_u8(out), ql_qmax_u8(out), y + i, COLUMNS);
}

static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const sum_state *s = step->state;
    const ql_reduction *r = &s->reduction;
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    const size_t calls = ql_reduction_calls(r, block->samples), n = block->samples * ql_sample_size(out);
    const ql_windows w = ql_reduction_windows(r, block->samples, calls);
    const size_t results = w.n * w.channels;
    if (in->type == QL_F32) {
        const float *x = block->data[step->inputs[0]];
        float *y = block->data[step->output];
        for (size_t i = 0; i < calls; i++)
            block->kernels->average_windows_f32(x + i * r->step, &w, s->is_mean ? (double)r->count : 1.0,
                                                y + i * results);
        return;
    }
    const int64_t each = s->is_fixed ? -ql_zero_point_u8(in) : -ql_flip(in);
    const uint8_t *x = block->data[step->inputs[0]];
    int32_t *sum = block->workspace;
    for (size_t i = 0; i < calls; i++)
        block->kernels->sum_windows_u8_s32(x + i * r->step, &w, (int32_t)(each * (int64_t)r->count), sum + i * results);
    if (s->is_fixed)
        finish_fixed(block->kernels, s, in, out, sum, n, block->data[step->output]);
    else
        finish_float(block->kernels, s, in, out, sum, n, (float *)(sum + n), block->data[step->output]);
}

/* Of codes: a sum and a float for each result. */
static ql_cost measure(const ql_step *step, const ql_buffer *buffers, size_t samples)
{
    const ql_buffer *in = buffers + step->inputs[0];
    const size_t results = in->type == QL_F32 ? 0 : samples * ql_sample_size(buffers + step->output);
    return (ql_cost){.workspace = results * (sizeof(int32_t) + sizeof(float)),
                     .ns = samples * ql_sample_size(in) / CODES_PER_NS};
}

static void destroy(void *state)
{
    free(state);
}

const ql_op ql_op_mean = {
    .kind = "mean", .fields = fields, .prepare = prepare_mean, .run = run, .measure = measure, .destroy = destroy};
const ql_op ql_op_sum = {
    .kind = "sum", .fields = fields, .prepare = prepare_sum, .run = run, .measure = measure, .destroy = destroy};
