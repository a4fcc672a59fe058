/* The step that takes the mean of each channel over all pixels of a sample: float32, or codes by one of two rules.
 *
 *   float: f = scale / result's scale * (1 / n), code = rint(sum * f + (z - float(n * zero point) * f)), in float32.
 *          (XNNPACK's.) It sees the codes themselves, so that the sums and the end are those of s8 where a plan holds
 *          them as u8.
 *   fixed: 1 / n is part of rule B's multiplier. (TensorFlow Lite's reference, TensorFlow Lite Micro.)
 *
 * Sums of all samples come first. Then kernels requantize them together, which take a parameter for each column:
 * COLUMNS equal ones. As in step_add.c nothing is kept of a grid. */
#include <math.h>

#include "core/array/multiplier.h"
#include "core/base/memory.h"
#include "core/program/sums.h"

enum { INPUTS, OUTPUT, REQUANT };

/* MOST_PIXELS: sums of as many codes could leave int32. */
enum { COLUMNS = 64, MOST_PIXELS = 1 << 23, CODES_PER_NS = 16 };

/* The input's scale over that of the result is below this. */
#define RATIO_LIMIT 0x1p20f

static const ql_field fields[] = {
    {"inputs", QL_VALUE_BUFFERS},
    {"output", QL_VALUE_BUFFER},
    {"requant", QL_VALUE_TEXT},
    {NULL, 0},
};

/* The state is not NULL where the rule is the fixed one. */
static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    ql_store store;
    if (step->input_count != 1 || in->type != out->type || in->rank == 0 || out->rank != 1 ||
        ql_row_length(in) != ql_row_length(out) || !ql_rule_from_name(v[REQUANT].text, &store))
        return QL_EINVAL;
    if (in->type != QL_F32 && (!ql_is_x8(in) || ql_has_row_scale(in) || ql_has_row_scale(out) ||
                               ql_row_count(in) >= MOST_PIXELS || !(in->scale / out->scale < RATIO_LIMIT)))
        return QL_EINVAL;
    step->state = store == QL_STORE_X8_FIXED ? (void *)&ql_op_mean : NULL;
    return QL_OK;
}

static void mean_of_floats(const float *x, size_t pixels, size_t channels, float *y)
{
    for (size_t first = 0; first < channels; first += COLUMNS) {
        const size_t width = ql_least(channels - first, COLUMNS);
        double sum[COLUMNS] = {0};
        for (size_t p = 0; p < pixels; p++) {
            for (size_t c = 0; c < width; c++)
                sum[c] += (double)x[p * channels + first + c];
        }
        for (size_t c = 0; c < width; c++)
            y[first + c] = (float)(sum[c] / (double)pixels);
    }
}

static void finish_float(const ql_kernels *kernels, const ql_buffer *in, const ql_buffer *out, const int32_t *sum,
                         size_t n, float *values, uint8_t *y)
{
    const float pixels = (float)ql_row_count(in), one = 1.0f;
    const float factor = in->scale / out->scale * (one / pixels);
    const float offset = (float)out->zero_point - (float)((int64_t)ql_row_count(in) * in->zero_point) * factor;
    const int32_t flip = out->type == QL_S8 ? 128 : 0; /* added after the rounding */
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

static void finish_fixed(const ql_kernels *kernels, const ql_buffer *in, const ql_buffer *out, const int32_t *sum,
                         size_t n, uint8_t *y)
{
    const uint64_t pixels = ql_row_count(in);
    int32_t mantissa[COLUMNS], exponent[COLUMNS];
    (void)ql_split_multiplier(fmin((double)in->scale / (double)out->scale, 0x1p20), mantissa, exponent);
    int shift = 63 - __builtin_clzll(pixels);
    shift = shift < 31 + *exponent ? shift : 31 + *exponent;
    *mantissa = (int32_t)(((uint64_t)*mantissa << shift) / pixels);
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
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    const size_t pixels = ql_row_count(in), channels = ql_row_length(in), n = block->samples * channels;
    if (in->type == QL_F32) {
        const float *x = block->data[step->inputs[0]];
        float *y = block->data[step->output];
        for (size_t i = 0; i < block->samples; i++)
            mean_of_floats(x + i * pixels * channels, pixels, channels, y + i * channels);
        return;
    }
    const bool is_fixed = step->state != NULL;
    const int64_t each = is_fixed ? -ql_zero_point_u8(in) : in->type == QL_S8 ? -128 : 0;
    const uint8_t *x = block->data[step->inputs[0]];
    int32_t *sum = block->workspace;
    for (size_t i = 0; i < block->samples; i++)
        block->kernels->sum_pixels_u8_s32(x + i * pixels * channels, pixels, channels,
                                          (int32_t)(each * (int64_t)pixels), sum + i * channels);
    if (is_fixed)
        finish_fixed(block->kernels, in, out, sum, n, block->data[step->output]);
    else
        finish_float(block->kernels, in, out, sum, n, (float *)(sum + n), block->data[step->output]);
}

/* Of codes: a sum and a float for each result. */
static ql_cost measure(const ql_step *step, const ql_buffer *buffers, size_t samples)
{
    const ql_buffer *in = buffers + step->inputs[0];
    const size_t results = in->type == QL_F32 ? 0 : samples * ql_row_length(in);
    return (ql_cost){.workspace = results * (sizeof(int32_t) + sizeof(float)),
                     .ns = samples * ql_sample_size(in) / CODES_PER_NS};
}

const ql_op ql_op_mean = {.kind = "mean", .fields = fields, .prepare = prepare, .run = run, .measure = measure};
