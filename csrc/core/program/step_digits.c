/* Steps around products of 16-bit codes, which are two exact products of 8-bit ones:
 *
 *   quantize_digits   code = clamp(rint(x / scale), -32639, 32639) = 256 * high + low, digits of -128 to 127; both with
 *                     128 added are the bytes of code + 32896. A sample's high digits lie before its low ones.
 *   join_digits       y = activation(float32((256 * high + low) * (s_a * s_w[j]) + bias[j])) of the sums of both: these
 *                     are exact, below 2^40, and so in double; each operation is rounded there, and once to float.
 *
 * Why not vpmaddwd on 16-bit codes: weights would take twice the memory, and a pair of products of 16 by 8 bits has
 * room for no more than 2^8 of them in int32, where the two products of bytes have room for 2^16. */
#include "core/base/memory.h"
#include "core/program/step.h"

enum { INPUTS, OUTPUT, INPUT_SCALE, WEIGHT_SCALE, BIAS, ACTIVATION };
enum { BASE = 256, SHIFT = 128 * 256 + 128, GREATEST = 127 * 256 + 127 };

/* ---- quantize_digits ---------------------------------------------------------------------------- */

static const ql_field fields[] = {{"inputs", QL_VALUE_BUFFERS}, {"output", QL_VALUE_BUFFER}, {NULL, 0}};

/* Returns whether a buffer has the shape of another with a first axis of two before it. */
static bool is_pair_of(const ql_buffer *pair, const ql_buffer *one)
{
    return one->rank > 0 && pair->rank == one->rank + 1 && pair->shape[0] == 2 &&
           memcmp(pair->shape + 1, one->shape, one->rank * sizeof *one->shape) == 0;
}

static ql_status prepare_quantize(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    (void)v;
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    const bool fits = step->input_count == 1 && in->type == QL_F32 && out->type == QL_U8 && is_pair_of(out, in) &&
                      !ql_has_row_scale(out) && out->zero_point == 128 && out->bits == 8;
    return fits ? QL_OK : QL_EINVAL;
}

/* Returns whether all are finite. NaN counts as the lowest code. */
static bool split(const float *x, size_t n, float scale, uint8_t *high, uint8_t *low)
{
    const float rounding = 12582912.0f; /* 1.5 * 2^23: adding it leaves no fraction, half to even */
    bool is_finite = true;
    for (size_t i = 0; i < n; i++) {
        float q = x[i] / scale;
        q = q > -(float)GREATEST ? q : -(float)GREATEST;
        q = q < (float)GREATEST ? q : (float)GREATEST;
        const uint32_t code = (uint32_t)((int32_t)((q + rounding) - rounding) + SHIFT);
        high[i] = (uint8_t)(code >> 8);
        low[i] = (uint8_t)code;
        is_finite &= x[i] >= -FLT_MAX && x[i] <= FLT_MAX;
    }
    return is_finite;
}

static void run_quantize(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const float *x = block->data[step->inputs[0]];
    uint8_t *y = block->data[step->output];
    const size_t n = ql_sample_size(buffers + step->inputs[0]);
    bool is_finite = true;
    for (size_t s = 0; s < block->samples; s++)
        is_finite &= split(x + s * n, n, buffers[step->output].scale, y + 2 * s * n, y + (2 * s + 1) * n);
    *block->nonfinite = !is_finite;
}

const ql_op ql_op_quantize_digits = {.kind = "quantize_digits",
                                     .fields = fields,
                                     .prepare = prepare_quantize,
                                     .run = run_quantize,
                                     .checks_finite = true};

/* ---- join_digits -------------------------------------------------------------------------------- */

static const ql_field join_fields[] = {
    {"inputs", QL_VALUE_BUFFERS},
    {"output", QL_VALUE_BUFFER},
    {"input_scale", QL_VALUE_FLOAT},
    {"weight_scale", QL_VALUE_ARRAY},
    {"bias", QL_VALUE_ARRAY | QL_VALUE_NONE},
    {"activation", QL_VALUE_TEXT | QL_VALUE_NONE},
    {NULL, 0},
};

typedef struct join_state {
    double *scale, *bias; /* [n] */
    ql_clamps clamps;
} join_state;

static void destroy(void *state)
{
    join_state *s = state;
    free(s->scale);
    free(s->bias);
    free(s);
}

static ql_status check(const ql_buffer *buffers, const ql_value *v, const ql_step *step)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    const float input_scale = (float)v[INPUT_SCALE].real;
    ql_activation activation;
    if (step->input_count != 1 || in->type != QL_S32 || out->type != QL_F32 || !is_pair_of(in, out))
        return QL_EINVAL;
    const size_t n = ql_row_length(out);
    const bool fits = ql_scales_are_valid(&input_scale, 1) && ql_are_scales(&v[WEIGHT_SCALE], n) &&
                      ql_is_vector(&v[BIAS], QL_F32, n) &&
                      ql_activation_from_name(ql_text(&v[ACTIVATION]), &activation);
    return fits ? QL_OK : QL_EINVAL;
}

static void update(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    join_state *s = step->state;
    const float *scale = ql_data(&v[WEIGHT_SCALE]), *bias = ql_data(&v[BIAS]);
    ql_activation activation;
    (void)ql_activation_from_name(ql_text(&v[ACTIVATION]), &activation);
    s->clamps = ql_activation_clamps(activation);
    for (size_t j = 0; j < ql_row_length(buffers + step->output); j++) {
        s->scale[j] = (double)(float)v[INPUT_SCALE].real * (double)scale[j];
        s->bias[j] = bias ? (double)bias[j] : 0.0;
    }
}

static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    if (check(buffers, v, step) != QL_OK)
        return QL_EINVAL;
    const size_t n = ql_row_length(buffers + step->output);
    join_state *s = calloc(1, sizeof *s);
    if (!s)
        return QL_ENOMEM;
    s->scale = ql_alloc(n, sizeof *s->scale);
    s->bias = ql_alloc(n, sizeof *s->bias);
    if (!s->scale || !s->bias) {
        destroy(s);
        return QL_ENOMEM;
    }
    step->state = s;
    update(buffers, v, step);
    return QL_OK;
}

static void join(const join_state *s, const int32_t *high, const int32_t *low, size_t n, float *y)
{
    for (size_t j = 0; j < n; j++) {
        const double sum = (double)high[j] * BASE + (double)low[j];
        float v = (float)(sum * s->scale[j] + s->bias[j]);
        v = v < s->clamps.low ? s->clamps.low : v;
        y[j] = v > s->clamps.high ? s->clamps.high : v;
    }
}

static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const ql_buffer *out = buffers + step->output;
    const int32_t *x = block->data[step->inputs[0]];
    float *y = block->data[step->output];
    const size_t n = ql_row_length(out), size = ql_sample_size(out);
    for (size_t s = 0; s < block->samples; s++, x += 2 * size, y += size) {
        for (size_t i = 0; i < size; i += n)
            join(step->state, x + i, x + size + i, n, y + i);
    }
}

const ql_op ql_op_join_digits = {.kind = "join_digits",
                                 .fields = join_fields,
                                 .prepare = prepare,
                                 .run = run,
                                 .check = check,
                                 .update = update,
                                 .destroy = destroy};
