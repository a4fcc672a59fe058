/* Steps that resize images (height, width, channels) of codes or of float32.
 *
 * An axis is a table of taps: for each place of the result the two neighbours that it lies between, and how near the
 * second one is. Codes have weights that are integers, by one of two rules:
 *
 *   float: positions in float32, weights of 11 bits, one rounding at the end, ties up. (XNNPACK's.)
 *   fixed: positions and weights of 10 bits in integers, ties away from zero. (TensorFlow Lite's reference, TensorFlow
 *          Lite Micro.)
 *
 * Both are exact sums, so that neither the order of the axes matters nor that a plan holds codes as u8, but for ties.
 * Each row of the input is stretched once, and two such rows make each of the result. Where all weights of an axis are
 * multiples of a power of two that one is left out: the weights of images twice or four times as large leave sums of 16
 * bits. Why not sums of 32 bits alone: 4.1 against 12 GB/s of results (64 x 64 x 32 to twice the size, AMD Zen 3). */
#include <math.h>

#include "core/base/memory.h"
#include "core/base/runs.h"
#include "core/program/images.h"
#include "core/program/sums.h"

enum { INPUTS, OUTPUT, SIZE, ALIGN_CORNERS, HALF_PIXEL_CENTERS, REQUANT };

#define RESIZE_FIELDS                                                                   \
    {"inputs", QL_VALUE_BUFFERS}, {"output", QL_VALUE_BUFFER}, {"size", QL_VALUE_INTS}, \
        {"align_corners", QL_VALUE_INT},                                                \
    {                                                                                   \
        "half_pixel_centers", QL_VALUE_INT                                              \
    }

static const ql_field nearest_fields[] = {RESIZE_FIELDS, {NULL, 0}};
static const ql_field bilinear_fields[] = {RESIZE_FIELDS, {"requant", QL_VALUE_TEXT}, {NULL, 0}};

/* FLOAT_BITS, FIXED_BITS: of weights. NARROW_BITS: of the weights of both axes whose sums fit 16 bits. */
enum { FLOAT_BITS = 11, FIXED_BITS = 10, NARROW_BITS = 8, BYTES_PER_NS = 4 };

typedef struct resize_state {
    size_t from[2], to[2], channels, width; /* width: bytes of an element */
    int bits[2];                            /* of the weights of codes */
    int32_t middle;                         /* the sum below which ties are rounded down */
    ql_tap *taps[2];
    float *weights[2]; /* of float32 */
} resize_state;

static void destroy(void *state)
{
    resize_state *s = state;
    for (int i = 0; s && i < 2; i++) {
        free(s->taps[i]);
        free(s->weights[i]);
    }
    free(s);
}

/* Steps in the input from place to place of the result. */
static float scale_of(size_t from, size_t to, bool align_corners)
{
    const size_t less = align_corners && to > 1;
    return (float)(from - less) / (float)(to - less);
}

static void find_nearest(size_t from, size_t to, bool align_corners, bool half_pixel_centers, ql_tap *taps)
{
    const float scale = scale_of(from, to, align_corners);
    for (size_t i = 0; i < to; i++) {
        const float place = ((float)i + (half_pixel_centers ? 0.5f : 0.0f)) * scale;
        const size_t near = (size_t)(align_corners ? roundf(place) : floorf(place));
        taps[i] = (ql_tap){.first = (uint32_t)ql_least(near, from - 1)};
    }
}

/* weights: those of float32, and in the taps as integers. */
static void find_places(size_t from, size_t to, bool align_corners, bool half_pixel_centers, ql_tap *taps,
                        float *weights)
{
    const float scale = scale_of(from, to, align_corners);
    for (size_t i = 0; i < to; i++) {
        float place = (float)i * scale;
        if (half_pixel_centers)
            place = fmaxf(place + (0.5f * scale - 0.5f), 0.0f);
        place = fminf(place, (float)(from - 1));
        const size_t first = ql_least((size_t)place, from - 1);
        weights[i] = place - (float)first;
        taps[i] = (ql_tap){.first = (uint32_t)first,
                           .second = (uint32_t)ql_least(first + 1, from - 1),
                           .weight = (uint32_t)rintf(weights[i] * (1 << FLOAT_BITS))};
    }
}

static void find_fixed_places(size_t from, size_t to, bool align_corners, bool half_pixel_centers, ql_tap *taps)
{
    const int64_t one = 1 << FIXED_BITS, less = align_corners && to > 1, last = (int64_t)from - 1;
    const int64_t spaces = (int64_t)to - less;
    const int64_t scale = (one * ((int64_t)from - less) + spaces / 2) / spaces;
    for (size_t i = 0; i < to; i++) {
        int64_t place = (int64_t)i * scale + (half_pixel_centers ? scale / 2 - one / 2 : 0);
        place = place < 0 ? 0 : place > last * one ? last * one : place;
        const int64_t first = place / one, second = (place + one - 1) / one;
        taps[i] = (ql_tap){.first = (uint32_t)first, .second = (uint32_t)second, .weight = (uint32_t)(place % one)};
    }
}

/* Leaves out the low bits that no weight has; returns how many are left. */
static int reduce_weights(ql_tap *taps, size_t n, int bits)
{
    uint32_t any = UINT32_C(1) << bits;
    for (size_t i = 0; i < n; i++)
        any |= taps[i].weight;
    const int idle = __builtin_ctz(any);
    for (size_t i = 0; i < n; i++)
        taps[i].weight >>= idle;
    return bits - idle;
}

/* Makes places of columns those of their first elements. */
static void scale_columns(ql_tap *taps, size_t n, size_t channels)
{
    for (size_t i = 0; i < n; i++) {
        taps[i].first *= (uint32_t)channels;
        taps[i].second *= (uint32_t)channels;
    }
}

static bool buffers_fit(const ql_buffer *in, const ql_buffer *out, const ql_value *v)
{
    const bool is_known = in->type == QL_F32 || (ql_is_x8(in) && !ql_has_row_scale(in) && !ql_has_row_scale(out));
    size_t size[2];
    if (!is_known || in->type != out->type || in->bits != out->bits || in->rank != 3 || out->rank != 3 ||
        in->shape[2] != out->shape[2] || !ql_take_lengths(&v[SIZE], 2, 1, size))
        return false;
    return out->shape[0] == size[0] && out->shape[1] == size[1];
}

static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step, bool is_bilinear)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    const bool align_corners = v[ALIGN_CORNERS].integer, half_pixel_centers = v[HALF_PIXEL_CENTERS].integer;
    ql_store rule = QL_STORE_X8;
    if (step->input_count != 1 || !buffers_fit(in, out, v) || (align_corners && half_pixel_centers) ||
        (is_bilinear && !ql_rule_from_name(v[REQUANT].text, &rule)))
        return QL_EINVAL;
    resize_state *s = calloc(1, sizeof *s);
    if (!s)
        return QL_ENOMEM;
    const bool is_fixed = rule == QL_STORE_X8_FIXED && in->type != QL_F32;
    s->channels = in->shape[2];
    s->width = ql_type_size(in->type);
    for (size_t i = 0; i < 2; i++) {
        const size_t from = s->from[i] = in->shape[i], to = s->to[i] = out->shape[i];
        ql_tap *taps = s->taps[i] = ql_alloc(to, sizeof *taps);
        float *weights = s->weights[i] = ql_alloc(to, sizeof *weights);
        if (!taps || !weights) {
            destroy(s);
            return QL_ENOMEM;
        }
        if (!is_bilinear)
            find_nearest(from, to, align_corners, half_pixel_centers, taps);
        else if (is_fixed)
            find_fixed_places(from, to, align_corners, half_pixel_centers, taps);
        else
            find_places(from, to, align_corners, half_pixel_centers, taps, weights);
        s->bits[i] = is_bilinear ? reduce_weights(taps, to, is_fixed ? FIXED_BITS : FLOAT_BITS) : 0;
    }
    scale_columns(s->taps[1], s->to[1], s->channels);
    const int bits = s->bits[0] + s->bits[1];
    s->middle = is_fixed && bits > 0 ? ql_flip(in) << bits : 0;
    step->state = s;
    return QL_OK;
}

static ql_status prepare_nearest(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    return prepare(buffers, v, step, false);
}

static ql_status prepare_bilinear(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    return prepare(buffers, v, step, true);
}

/* ---- nearest -------------------------------------------------------------------------------------- */

static void gather(const uint8_t *line, const resize_state *s, size_t pixel, uint8_t *restrict y)
{
    for (size_t j = 0; j < s->to[1]; j++)
        ql_copy_run(y + j * pixel, line + s->taps[1][j].first * s->width, pixel);
}

static void run_nearest(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    (void)buffers;
    const resize_state *s = step->state;
    const size_t pixel = s->channels * s->width, line = s->from[1] * pixel, row = s->to[1] * pixel;
    const uint8_t *x = block->data[step->inputs[0]];
    uint8_t *y = block->data[step->output];
    for (size_t k = 0; k < block->samples; k++, x += s->from[0] * line) {
        for (size_t i = 0; i < s->to[0]; i++, y += row) {
            if (i > 0 && s->taps[0][i].first == s->taps[0][i - 1].first)
                memcpy(y, y - row, row);
            else
                gather(x + s->taps[0][i].first * line, s, pixel, y);
        }
    }
}

/* ---- bilinear ------------------------------------------------------------------------------------- */

/* Rows of one image of the input, stretched: the two that were last asked for. */
typedef struct stretched {
    const ql_block *block;
    const resize_state *state;
    const uint8_t *image;
    uint8_t *lines[2];
    size_t rows[2]; /* SIZE_MAX: none */
} stretched;

static bool is_narrow(const resize_state *s)
{
    return s->bits[0] + s->bits[1] <= NARROW_BITS;
}

static size_t line_bytes(const resize_state *s)
{
    const size_t each = s->width == 1 && is_narrow(s) ? sizeof(uint16_t) : sizeof(int32_t);
    return ql_round_up(s->to[1] * s->channels * each, QL_ALIGNMENT);
}

static void stretch_floats(const float *x, const resize_state *s, float *line)
{
    const size_t channels = s->channels;
    for (size_t j = 0; j < s->to[1]; j++, line += channels) {
        const float *a = x + s->taps[1][j].first, *b = x + s->taps[1][j].second, weight = s->weights[1][j];
        for (size_t c = 0; c < channels; c++)
            line[c] = a[c] + (b[c] - a[c]) * weight;
    }
}

static void mix_floats(const float *a, const float *b, size_t n, float weight, float *restrict y)
{
    for (size_t i = 0; i < n; i++)
        y[i] = a[i] + (b[i] - a[i]) * weight;
}

/* Returns row `row` of the image, stretched; that of `other` stays what it is. */
static const void *line_of(stretched *l, size_t row, size_t other)
{
    const resize_state *s = l->state;
    if (l->rows[0] == row || l->rows[1] == row)
        return l->lines[l->rows[1] == row];
    const int place = l->rows[0] == other;
    const uint8_t *x = l->image + row * s->from[1] * s->channels * s->width;
    void *line = l->lines[place];
    l->rows[place] = row;
    if (s->width > 1)
        stretch_floats((const float *)x, s, line);
    else if (is_narrow(s))
        l->block->kernels->stretch_pixels_u8_u16(x, s->taps[1], s->to[1], s->channels, s->bits[1], line);
    else
        l->block->kernels->stretch_pixels_u8_s32(x, s->taps[1], s->to[1], s->channels, s->bits[1], line);
    return line;
}

static void run_bilinear(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    (void)buffers;
    const resize_state *s = step->state;
    const size_t row = s->to[1] * s->channels, image = s->from[0] * s->from[1] * s->channels * s->width;
    uint8_t *workspace = block->workspace, *y = block->data[step->output];
    stretched l = {block, s, block->data[step->inputs[0]], {workspace, workspace + line_bytes(s)}, {0}};
    for (size_t k = 0; k < block->samples; k++, l.image += image) {
        l.rows[0] = l.rows[1] = SIZE_MAX;
        for (size_t i = 0; i < s->to[0]; i++, y += row * s->width) {
            const ql_tap tap = s->taps[0][i];
            const void *a = line_of(&l, tap.first, tap.second), *b = line_of(&l, tap.second, tap.first);
            const ql_mix mix = {tap.weight, s->bits[0], s->bits[0] + s->bits[1], s->middle};
            if (s->width > 1)
                mix_floats(a, b, row, s->weights[0][i], (float *)y);
            else if (is_narrow(s))
                block->kernels->mix_rows_u16_u8(a, b, row, &mix, y);
            else
                block->kernels->mix_rows_s32_u8(a, b, row, &mix, y);
        }
    }
}

static ql_cost measure_nearest(const ql_step *step, const ql_buffer *buffers, size_t samples)
{
    const ql_buffer *out = buffers + step->output;
    return (ql_cost){.ns = samples * ql_sample_size(out) * ql_type_size(out->type) / BYTES_PER_NS};
}

/* Two stretched rows. */
static ql_cost measure_bilinear(const ql_step *step, const ql_buffer *buffers, size_t samples)
{
    ql_cost cost = measure_nearest(step, buffers, samples);
    cost.workspace = 2 * line_bytes(step->state);
    return cost;
}

const ql_op ql_op_resize_nearest = {.kind = "resize_nearest",
                                    .fields = nearest_fields,
                                    .prepare = prepare_nearest,
                                    .run = run_nearest,
                                    .measure = measure_nearest,
                                    .destroy = destroy};
const ql_op ql_op_resize_bilinear = {.kind = "resize_bilinear",
                                     .fields = bilinear_fields,
                                     .prepare = prepare_bilinear,
                                     .run = run_bilinear,
                                     .measure = measure_bilinear,
                                     .destroy = destroy};
