/* Depthwise convolution: every channel by itself. A row of the result is an array of lanes, pixel after pixel, and a
 * tap adds the same lanes of the padded copy, so many bytes further on, times a weight per channel. Where windows move
 * by one pixel, neighbouring pixels make one unit that fills blocks of lanes, whatever the number of channels: two
 * pixels of 32 channels, 11 pixels of 17. Channels with several results stand in the copy several times. */
#include <string.h>

#include "core/base/memory.h"
#include "core/conv/conv.h"

/* Limit of idle lanes, the rest of a unit's last block: one in so many. */
enum { IDLE = 16 };

static size_t unit_of(size_t out, size_t lanes)
{
    size_t unit = 1;
    while ((ql_round_up(unit * out, lanes) - unit * out) * IDLE > unit * out)
        unit++;
    return unit;
}

/* Returns the index of the weight of a lane and a tap in its block (ql_depthwise_kernel). */
static size_t weight_index(const ql_depthwise_kernels *kernels, size_t outputs, size_t output, size_t lane, size_t tap)
{
    const size_t v = lane / 4 % 4, l = lane / 16, i = lane % 4, quads = kernels->lanes / 16;
    const size_t group = tap / kernels->kr * outputs + output;
    return (((group * 4 + v) * quads + l) * 4 + i) * kernels->kr + tap % kernels->kr;
}

/* Fills in the weights of one row of taps, [kernel_w][out], for one of the output rows. */
static void fill_row(const ql_filter *w, ql_tap_set *set, const int8_t *terms, size_t output, size_t first_tap)
{
    const ql_depthwise_kernels *kernels = w->kernels->depthwise_u8s8s32;
    const size_t out = w->shape[3];
    for (size_t v = 0; v < w->shape[1]; v++, terms += out) {
        for (size_t lane = 0; lane < out * w->taps.unit; lane++) {
            int8_t *block = set->blocks + lane / kernels->lanes * set->block_bytes;
            const size_t i = weight_index(kernels, set->outputs, output, lane % kernels->lanes, first_tap + v);
            if (kernels->b_size == 1)
                block[i] = terms[lane % out];
            else
                ((int16_t *)block)[i] = terms[lane % out];
        }
    }
}

/* Fills a set for one or two output rows: row p meets row u of the kernel in row u + p of the taps. */
static ql_status fill_set(const ql_filter *w, ql_tap_set *set, const int8_t *terms, size_t outputs)
{
    const ql_depthwise_kernels *kernels = w->kernels->depthwise_u8s8s32;
    const size_t kh = w->shape[0], kw = w->shape[1], out = w->shape[3], rows = kh + outputs - 1;
    size_t weights;
    set->outputs = outputs;
    if (__builtin_mul_overflow(w->parts * rows, kw, &set->count) ||
        __builtin_mul_overflow(ql_round_up(set->count, kernels->kr) * outputs, kernels->lanes * kernels->b_size,
                               &weights))
        return QL_ENOMEM;
    set->count = ql_round_up(set->count, kernels->kr);
    set->block_bytes = ql_round_up(weights, QL_ALIGNMENT);
    set->blocks = ql_alloc(w->taps.lanes / kernels->lanes, set->block_bytes);
    if (!set->blocks)
        return QL_ENOMEM;
    memset(set->blocks, 0, w->taps.lanes / kernels->lanes * set->block_bytes);
    for (size_t part = 0; part < w->parts; part++) {
        for (size_t u = 0; u < kh; u++) {
            for (size_t p = 0; p < outputs; p++)
                fill_row(w, set, terms + (part * kh + u) * kw * out, p, (part * rows + u + p) * kw);
        }
    }
    return QL_OK;
}

static ql_status sum_columns(ql_filter *w, const int8_t *terms)
{
    const size_t out = w->shape[3], count = w->parts * w->shape[0] * w->shape[1];
    w->taps.column_sum = calloc(out, sizeof *w->taps.column_sum);
    if (!w->taps.column_sum)
        return QL_ENOMEM;
    for (size_t j = 0; j < out; j++) {
        int64_t reach = 0;
        for (size_t t = 0; t < count; t++) {
            const int8_t term = terms[t * out + j];
            w->taps.column_sum[j] = (int32_t)((uint32_t)w->taps.column_sum[j] + (uint32_t)(int32_t)term);
            reach += term < 0 ? -(int64_t)term : term;
        }
        w->taps.column_reach = reach > w->taps.column_reach ? reach : w->taps.column_reach;
    }
    return QL_OK;
}

ql_status ql_taps_pack(ql_filter *w, const int8_t *terms)
{
    const ql_depthwise_kernels *kernels = w->kernels->depthwise_u8s8s32;
    ql_taps *taps = &w->taps;
    const size_t out = w->shape[3];
    taps->unit = unit_of(out, kernels->lanes);
    taps->lanes = ql_round_up(out * taps->unit, kernels->lanes);
    ql_status status = sum_columns(w, terms);
    for (size_t p = 0; p < kernels->outputs && status == QL_OK; p++)
        status = fill_set(w, taps->set + p, terms, p + 1);
    return status;
}

void ql_taps_convert(const ql_filter *w, const uint8_t *pixels, size_t count, uint8_t flip, uint8_t *out)
{
    const size_t times = w->shape[3] / w->groups, channels = count * w->groups;
    if (times == 1 && !flip) {
        memcpy(out, pixels, channels);
    } else if (times == 1) {
        for (size_t p = 0; p < channels; p++)
            out[p] = pixels[p] ^ flip;
    } else {
        for (size_t p = 0; p < channels; p++, out += times)
            memset(out, pixels[p] ^ flip, times);
    }
}

void ql_taps_fill_start(const ql_filter *w, const int32_t *bias, int32_t zero_point, int32_t *start)
{
    const size_t out = w->shape[3];
    memset(start, 0, w->taps.lanes * sizeof *start);
    for (size_t lane = 0; lane < out * w->taps.unit; lane++) {
        const size_t j = lane % out;
        const uint32_t from_bias = bias ? (uint32_t)bias[j] : 0;
        start[lane] = (int32_t)(from_bias - (uint32_t)zero_point * (uint32_t)w->taps.column_sum[j]);
    }
}

size_t ql_taps_offsets(const ql_filter *w)
{
    return w->taps.set[0].count + w->taps.set[1].count;
}

void ql_taps_fill_offsets(const ql_geometry *g, size_t *offset)
{
    const ql_filter *w = g->w;
    const size_t kw = w->shape[1];
    for (int p = 0; p < 2; p++) {
        const ql_tap_set *set = w->taps.set + p;
        const size_t rows = w->shape[0] + set->outputs - 1, taps = rows * kw;
        for (size_t t = 0; t < set->count; t++) {
            const size_t u = t % taps / kw, v = t % kw;
            *offset++ = t < w->parts * taps
                            ? u * g->window.dilation[0] * g->row_stride + v * g->window.dilation[1] * g->pixel_stride
                            : 0; /* a tap of weight 0 */
        }
    }
}

/* Computes output rows of one image from r on, each line of them one or two. */
static void compute(const ql_stage *s, size_t r, size_t lines, const ql_tap_set *set)
{
    const ql_geometry *g = s->g;
    const ql_filter *w = g->w;
    const size_t out = w->shape[3], width = g->window.out[1];
    const size_t unit = g->window.stride[1] == 1 ? w->taps.unit : 1, whole = width / unit, rest = width % unit;
    ql_depthwise_kernel *const kernel = w->kernels->depthwise_u8s8s32->kernel;
    ql_gemm_args args = {.a = ql_stage_windows(s, r),
                         .a_stride = unit * g->window.stride[1] * g->pixel_stride,
                         .segments = set->count,
                         .offset = s->terms->offset + (set->outputs == 1 ? 0 : w->taps.set[0].count),
                         .b = set->blocks,
                         .panel_stride = set->block_bytes,
                         .start = s->terms->start,
                         .row_scale = s->terms->row_scale,
                         .epilogue = &s->terms->epilogue,
                         .c = ql_stage_results(s, r),
                         .c_stride = unit * out};
    ql_depthwise_size size = {.lines = lines,
                              .rows = whole,
                              .cols = unit * out,
                              .a_line = set->outputs * g->window.stride[0] * g->row_stride,
                              .c_line = set->outputs * width * out * s->c_size,
                              .outputs = set->outputs,
                              .output_stride = width * out};
    kernel(&args, &size);
    if (rest == 0)
        return;
    args.a = (const char *)args.a + whole * args.a_stride;
    args.c = (char *)args.c + whole * args.c_stride * s->c_size;
    size.rows = 1;
    size.cols = rest * out;
    kernel(&args, &size);
}

void ql_taps_rows(const ql_stage *s, size_t begin, size_t end)
{
    const ql_geometry *g = s->g;
    const ql_tap_set *one = g->w->taps.set, *two = g->w->taps.set + 1;
    const bool in_pairs = two->outputs == 2 && g->window.stride[0] == 1 && g->window.dilation[0] == 1;
    while (begin < end) {
        const size_t rows = ql_least(end - begin, s->rows - begin % s->rows), pairs = in_pairs ? rows / 2 : 0;
        if (pairs > 0)
            compute(s, begin, pairs, two);
        if (rows > 2 * pairs)
            compute(s, begin + 2 * pairs, rows - 2 * pairs, one);
        begin += rows;
    }
}
