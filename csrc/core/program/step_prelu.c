/* The step x >= 0 ? x : x * slope with a slope for each channel, of the last axis: float32, or codes by rule B (the
 * rule of TensorFlow Lite), whose multipliers are float32 by "float" and double by "fixed".
 *
 * A code has 256 values, so a channel is a table of 256. It is made when the step is, and a line is looked for that
 * gives the same codes below the zero point, ((start + code * factor) >> shift): nearly always there is one, and so it
 * goes at 12 Gcodes/s where tables go at 1.6 (32 channels, AVX2, AMD Zen 3). Where a channel has none, all keep tables.
 */
#include <math.h>

#include "core/array/multiplier.h"
#include "core/base/memory.h"
#include "core/program/sums.h"

enum { INPUTS, OUTPUT, SLOPE, SLOPE_SCALE, SLOPE_ZERO_POINT, REQUANT };

/* FACTOR_BITS: 255 products with such factors, a zero point and what a start is moved by fit int32. TRIES: factors that
 * are tried on either side of the nearest. LEAST_WIDTH: columns that are worth a call. */
enum { CODES = 256, FACTOR_BITS = 21, TRIES = 4, LEAST_WIDTH = 256, MOST_WIDTH = 2048 };

/* A scale over that of the result is below this. */
#define RATIO_LIMIT 0x1p20

/* Steps of the result to a step of the codes beyond which everything saturates. */
#define STEEPEST 512.0

static const ql_field fields[] = {
    {"inputs", QL_VALUE_BUFFERS},
    {"output", QL_VALUE_BUFFER},
    {"slope", QL_VALUE_ARRAY},
    {"slope_scale", QL_VALUE_FLOAT | QL_VALUE_NONE},
    {"slope_zero_point", QL_VALUE_INT | QL_VALUE_NONE},
    {"requant", QL_VALUE_TEXT},
    {NULL, 0},
};

/* Channels on some grids: lines, repeated to `width` columns, or a table for each channel. */
typedef struct channels {
    ql_bend bend;
    size_t width;
    int32_t *lines;  /* factors, then starts */
    uint8_t *tables; /* [n][CODES], where has_tables */
    bool has_tables;
} channels;

typedef struct prelu_state {
    float *slopes; /* of floats; NULL for codes */
    channels now, next;
} prelu_state;

static void destroy(void *state)
{
    prelu_state *s = state;
    free(s->slopes);
    free(s->now.lines);
    free(s->now.tables);
    free(s->next.lines);
    free(s->next.tables);
    free(s);
}

/* ---- lines -------------------------------------------------------------------------------------- */

/* Finds a factor and a start with which codes first..end - 1 get those of a table; returns false where there is none.
 * slope: steps of the result to one of the code. */
static bool find_line(const uint8_t *table, int32_t first, int32_t end, double slope, const ql_bend *b, int32_t zero,
                      int32_t *factor, int32_t *start)
{
    const double scaled = rint(ldexp(fmax(-STEEPEST, fmin(slope, STEEPEST)), b->shift));
    for (int i = 0; i <= 2 * TRIES; i++) {
        const int64_t m = (int64_t)scaled + (i % 2 ? (i + 1) / 2 : -i / 2);
        int64_t low = INT64_MIN, high = INT64_MAX;
        for (int32_t x = first; x < end; x++) {
            const int64_t least = ((int64_t)table[x] << b->shift) - x * m;
            if (table[x] > b->qmin && least > low)
                low = least;
            if (table[x] < b->qmax && least + (INT64_C(1) << b->shift) - 1 < high)
                high = least + (INT64_C(1) << b->shift) - 1;
        }
        if (low > high)
            continue;
        const int64_t ideal = ((int64_t)zero << b->shift) + ((INT64_C(1) << b->shift) >> 1) - b->zero_point * m;
        *factor = (int32_t)m;
        *start = (int32_t)(ideal < low ? low : ideal > high ? high : ideal);
        return true;
    }
    return false;
}

/* ---- tables ------------------------------------------------------------------------------------- */

typedef struct rule {
    double above, below; /* real multipliers: of a code, and of its product with a slope's code */
    int32_t mantissa[CODES], exponent[CODES];
} rule;

static bool make_rule(const ql_buffer *in, const ql_buffer *out, float slope_scale, bool is_double, rule *r)
{
    const float above = in->scale / out->scale, below = in->scale * slope_scale / out->scale;
    r->above = is_double ? (double)in->scale / (double)out->scale : (double)above;
    r->below = is_double ? (double)in->scale * (double)slope_scale / (double)out->scale : (double)below;
    if (!(r->above < RATIO_LIMIT) || !(r->below < RATIO_LIMIT))
        return false;
    for (int32_t x = 0; x < CODES; x++)
        (void)ql_split_multiplier(x >= ql_zero_point_u8(in) ? r->above : r->below, r->mantissa + x, r->exponent + x);
    return true;
}

static void fill_table(const ql_kernels *kernels, const rule *r, const ql_bend *b, int32_t slope, int32_t zero,
                       uint8_t *table)
{
    int32_t product[CODES];
    for (int32_t x = 0; x < CODES; x++)
        product[x] = (x - b->zero_point) * (x >= b->zero_point ? 1 : slope);
    kernels->requantize_fixed_s32_x8(product, CODES, 1, CODES, r->mantissa, r->exponent, zero, b->qmin, b->qmax, table,
                                     CODES);
}

/* ---- the step ----------------------------------------------------------------------------------- */

/* Columns of whole vectors that n channels fill, if they are not too many. */
static size_t width_of(size_t n)
{
    size_t common = n;
    while (common % 32 && common < MOST_WIDTH)
        common += n;
    if (common % 32)
        return n;
    return common * ql_divided_up(LEAST_WIDTH, common);
}

static ql_status fill_channels(const ql_buffer *buffers, const ql_value *v, const ql_step *step, channels *c)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    const ql_kernels *kernels = ql_kernels_active();
    const int8_t *slope = v[SLOPE].array.data;
    const int32_t slope_zero = (int32_t)v[SLOPE_ZERO_POINT].integer, zero = ql_zero_point_u8(out);
    const size_t n = ql_row_length(out);
    rule r;
    if (!make_rule(in, out, (float)v[SLOPE_SCALE].real, strcmp(v[REQUANT].text, "fixed") == 0, &r))
        return QL_EINVAL;
    int32_t farthest = 0; /* of the slopes' codes from their zero point */
    for (size_t j = 0; j < n; j++) {
        const int32_t distance = slope[j] < slope_zero ? slope_zero - slope[j] : slope[j] - slope_zero;
        farthest = distance > farthest ? distance : farthest;
    }
    int exponent;
    (void)frexp(fmin(fmax(r.above, r.below * farthest), STEEPEST), &exponent);
    c->bend = (ql_bend){.zero_point = ql_zero_point_u8(in),
                        .factor = c->lines,
                        .start = c->lines + c->width,
                        .shift = FACTOR_BITS - (exponent > 0 ? exponent : 0),
                        .qmin = ql_qmin_u8(out),
                        .qmax = ql_qmax_u8(out)};
    c->has_tables = false;
    for (size_t j = 0; j < n; j++) {
        uint8_t *table = c->tables + j * CODES;
        fill_table(kernels, &r, &c->bend, slope[j] - slope_zero, zero, table);
        c->has_tables |= !find_line(table, 0, c->bend.zero_point, r.below * (slope[j] - slope_zero), &c->bend, zero,
                                    c->lines + j, c->lines + c->width + j);
    }
    c->has_tables |= !find_line(c->tables, c->bend.zero_point, CODES, r.above, &c->bend, zero, &c->bend.above_factor,
                                &c->bend.above_start);
    for (size_t j = n; j < c->width; j++) {
        c->lines[j] = c->lines[j - n];
        c->lines[c->width + j] = c->lines[c->width + j - n];
    }
    return QL_OK;
}

static ql_status check(const ql_buffer *buffers, const ql_value *v, const ql_step *step)
{
    prelu_state *s = step->state;
    const ql_buffer *in = buffers + step->inputs[0];
    const size_t n = ql_row_length(in);
    const ql_array *slope = &v[SLOPE].array;
    const bool is_float = in->type == QL_F32;
    const int kind = is_float ? QL_VALUE_NONE : QL_VALUE_FLOAT, zero_kind = is_float ? QL_VALUE_NONE : QL_VALUE_INT;
    const float scale = (float)v[SLOPE_SCALE].real;
    ql_store store;
    if (!ql_is_vector(&v[SLOPE], is_float ? QL_F32 : QL_S8, n) || slope->rank != 1 ||
        (int)v[SLOPE_SCALE].kind != kind || (int)v[SLOPE_ZERO_POINT].kind != zero_kind ||
        !ql_rule_from_name(v[REQUANT].text, &store))
        return QL_EINVAL;
    if (is_float)
        return QL_OK;
    const int64_t zero_point = v[SLOPE_ZERO_POINT].integer;
    if (!ql_scales_are_valid(&scale, 1) || zero_point < INT8_MIN || zero_point > INT8_MAX)
        return QL_EINVAL;
    return fill_channels(buffers, v, step, &s->next);
}

static void update(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    prelu_state *s = step->state;
    if (s->slopes) {
        memcpy(s->slopes, v[SLOPE].array.data, ql_row_length(buffers + step->output) * sizeof *s->slopes);
        return;
    }
    const channels before = s->now;
    s->now = s->next;
    s->next = before;
}

static bool allocate(channels *c, size_t n)
{
    c->width = width_of(n);
    c->lines = ql_alloc(2 * c->width, sizeof *c->lines);
    c->tables = ql_alloc(n, CODES);
    return c->lines && c->tables;
}

static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    const bool is_x8 = ql_is_x8(in) && !ql_has_row_scale(in) && !ql_has_row_scale(out);
    if (step->input_count != 1 || in->rank == 0 || (in->type != QL_F32 && !is_x8) || in->type != out->type ||
        !ql_have_same_shape(in, out))
        return QL_EINVAL;
    prelu_state *s = calloc(1, sizeof *s);
    if (!s)
        return QL_ENOMEM;
    step->state = s;
    const size_t n = ql_row_length(in);
    bool has_memory;
    if (in->type == QL_F32)
        has_memory = (s->slopes = ql_alloc(n, sizeof *s->slopes)) != NULL;
    else
        has_memory = allocate(&s->now, n) & allocate(&s->next, n);
    const ql_status status = has_memory ? check(buffers, v, step) : QL_ENOMEM;
    if (status != QL_OK) {
        destroy(s);
        return status;
    }
    update(buffers, v, step);
    return QL_OK;
}

static void apply_slopes(const float *x, size_t rows, size_t n, const float *restrict slope, float *y)
{
    for (size_t i = 0; i < rows; i++, x += n, y += n) {
        for (size_t j = 0; j < n; j++)
            y[j] = x[j] * (x[j] < 0 ? slope[j] : 1.0f);
    }
}

static void apply_tables(const uint8_t *x, size_t rows, size_t n, const uint8_t *tables, uint8_t *y)
{
    for (size_t i = 0; i < rows; i++, x += n, y += n) {
        for (size_t j = 0; j < n; j++)
            y[j] = tables[j * CODES + x[j]];
    }
}

static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const prelu_state *s = step->state;
    const ql_buffer *in = buffers + step->inputs[0];
    const size_t rows = block->samples * ql_row_count(in), n = ql_row_length(in);
    const channels *c = &s->now;
    const uint8_t *x = block->data[step->inputs[0]];
    uint8_t *y = block->data[step->output];
    if (s->slopes) {
        apply_slopes(block->data[step->inputs[0]], rows, n, s->slopes, block->data[step->output]);
    } else if (c->has_tables) {
        apply_tables(x, rows, n, c->tables, y);
    } else {
        const size_t whole = rows * n / c->width, rest = rows * n % c->width, done = whole * c->width;
        block->kernels->bend_u8(x, whole, c->width, &c->bend, y);
        block->kernels->bend_u8(x + done, 1, rest, &c->bend, y + done);
    }
}

const ql_op ql_op_prelu = {.kind = "prelu",
                           .fields = fields,
                           .prepare = prepare,
                           .run = run,
                           .check = check,
                           .update = update,
                           .destroy = destroy,
                           .sharing = QL_OVER_INPUT};
