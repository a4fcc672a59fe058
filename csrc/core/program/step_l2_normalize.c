/* The step that divides rows by their lengths: y = x / sqrt(sum of x^2), along the last axis.
 *
 *   float32: the sum in double, in order; y = float(x * (1 / max(sqrt(sum), LEAST))), in double.
 *   codes:   TensorFlow Lite's rule for int8. 1 / sqrt of the integer sum of (x - z)^2 by five steps of Newton's in
 *            fixed point, as a multiplier of rule B for (x - z). The result's grid is 1/128 with the zero in the
 * middle.
 *
 * Rows of few channels, or of one pixel in hundreds of layers: plain C, in no kernel. */
#include <math.h>

#include "core/program/step.h"

enum { INPUTS, OUTPUT };

/* LEAST: TensorFlow's, the root of its 1e-12. MOST: sums of as many squares fit int32. */
#define LEAST 1e-6
enum { COLUMNS = 64, MOST = 33025, FRACTION = 7, CODES_PER_NS = 1 };

static const ql_field fields[] = {
    {"inputs", QL_VALUE_BUFFERS},
    {"output", QL_VALUE_BUFFER},
    {NULL, 0},
};

static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    (void)v;
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    if (step->input_count != 1 || in->type != out->type || !ql_have_same_shape(in, out) || in->rank == 0)
        return QL_EINVAL;
    if (in->type == QL_F32)
        return QL_OK;
    const bool is_on_grid = out->scale == 0x1p-7f && out->bits == 8 && ql_zero_point_u8(out) == 128;
    return ql_is_x8(in) && !ql_has_row_scale(in) && !ql_has_row_scale(out) && is_on_grid && ql_row_length(in) <= MOST
               ? QL_OK
               : QL_EINVAL;
}

static void normalize_floats(const float *x, size_t n, float *y)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    const double length = sqrt(sum), inverse = 1 / (length < LEAST ? LEAST : length);
    for (size_t i = 0; i < n; i++)
        y[i] = (float)((double)x[i] * inverse);
}

/* Returns a * b / 2^31, rounded half up for positive products and half down for others; not of two -2^31. */
static int32_t times(int32_t a, int32_t b)
{
    const int64_t product = (int64_t)a * b;
    return (int32_t)((product + (product >= 0 ? INT64_C(1) << 30 : 1 - (INT64_C(1) << 30))) / (INT64_C(1) << 31));
}

/* Returns x * 2^bits, saturated. */
static int32_t raised(int32_t x, int bits)
{
    const int64_t value = (int64_t)x * (INT64_C(1) << bits);
    return value > INT32_MAX ? INT32_MAX : value < INT32_MIN ? INT32_MIN : (int32_t)value;
}

/* mantissa * 2^(exponent - 31) is about 1 / sqrt(sum). Numbers of three integer bits are raw / 2^28; Newton's step is
 * x * 3/2 - x^3 * a/2, of which 402653184 is 3/2. The last product is by sqrt(1/2). */
static void inverse_root(int32_t sum, int32_t *mantissa, int32_t *exponent)
{
    if (sum <= 1) {
        *mantissa = INT32_MAX;
        *exponent = 0;
        return;
    }
    int shift = 11;
    for (; sum >= 1 << 29; shift++)
        sum /= 4;
    const int pairs = (__builtin_clz((unsigned)sum) - 1) / 2 - 1;
    shift -= pairs;
    const int32_t half = ((sum << (2 * pairs) >> 1) + 1) >> 1;
    int32_t x = 1 << 28;
    for (int i = 0; i < 5; i++) {
        const int32_t cube = raised(times(times(x, x), x), 6);
        const int64_t step = (int64_t)times(402653184, x) - times(half, cube);
        x = raised((int32_t)step, 3);
    }
    x = times(x, 1518500250);
    *mantissa = shift < 0 ? x << -shift : x;
    *exponent = shift < 0 ? 0 : -shift;
}

static void normalize_codes(const ql_kernels *kernels, const uint8_t *x, size_t n, int32_t zero_point, uint8_t *y)
{
    int32_t sum = 0, difference[COLUMNS], mantissa[COLUMNS], exponent[COLUMNS];
    for (size_t i = 0; i < n; i++)
        sum += (x[i] - zero_point) * (x[i] - zero_point);
    inverse_root(sum, mantissa, exponent);
    *exponent += FRACTION;
    for (size_t j = 1; j < COLUMNS; j++) {
        mantissa[j] = *mantissa;
        exponent[j] = *exponent;
    }
    for (size_t i = 0; i < n; i += COLUMNS) {
        const size_t width = n - i < COLUMNS ? n - i : COLUMNS;
        for (size_t j = 0; j < width; j++)
            difference[j] = x[i + j] - zero_point;
        kernels->requantize_fixed_s32_x8(difference, COLUMNS, 1, width, mantissa, exponent, 128, 0, 255, y + i,
                                         COLUMNS);
    }
}

static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const ql_buffer *in = buffers + step->inputs[0];
    const size_t n = ql_row_length(in), rows = block->samples * ql_row_count(in);
    for (size_t i = 0; i < rows; i++) {
        if (in->type == QL_F32)
            normalize_floats((const float *)block->data[step->inputs[0]] + i * n, n,
                             (float *)block->data[step->output] + i * n);
        else
            normalize_codes(block->kernels, (const uint8_t *)block->data[step->inputs[0]] + i * n, n,
                            ql_zero_point_u8(in), (uint8_t *)block->data[step->output] + i * n);
    }
}

static ql_cost measure(const ql_step *step, const ql_buffer *buffers, size_t samples)
{
    return (ql_cost){.ns = samples * ql_sample_size(buffers + step->inputs[0]) / CODES_PER_NS};
}

const ql_op ql_op_l2_normalize = {.kind = "l2_normalize",
                                  .fields = fields,
                                  .prepare = prepare,
                                  .run = run,
                                  .measure = measure,
                                  .sharing = QL_OVER_INPUT};
