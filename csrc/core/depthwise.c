/* Depthwise convolution: every channel by itself. A row of the result is an array of lanes, pixel after pixel, and a
 * tap adds the same lanes of the padded copy, so many bytes further on, times a weight per channel. Where windows move
 * by one pixel, neighbouring pixels make one unit of whole blocks of lanes, whatever the number of channels: two pixels
 * of 32 channels, 64 pixels of 3. Channels with several results stand in the copy several times. */
#include <string.h>

#include "core/conv.h"
#include "core/memory.h"

/* More than that is not worth it: a block that is not full wastes little there. */
enum { MAX_UNIT_LANES = 2048 };

static size_t common_divisor(size_t a, size_t b)
{
    while (b) {
        const size_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Where the weight of a lane and a tap stands among those of its block (ql_depthwise_kernel). */
static size_t place_of(const ql_depthwise_kernels *kernels, size_t lane, size_t tap)
{
    const size_t v = lane / 4 % 4, l = lane / 16, i = lane % 4, quads = kernels->lanes / 16;
    return (((tap / kernels->kr * 4 + v) * quads + l) * 4 + i) * kernels->kr + tap % kernels->kr;
}

static void fill(const ql_filter *w, const int8_t *terms, size_t taps, int64_t *reach)
{
    const ql_depthwise_kernels *kernels = w->kernels->depthwise_u8s8s32;
    const size_t out = w->shape[3];
    for (size_t t = 0; t < taps; t++, terms += out) {
        for (size_t j = 0; j < out; j++) {
            w->taps.column_sum[j] = (int32_t)((uint32_t)w->taps.column_sum[j] + (uint32_t)(int32_t)terms[j]);
            reach[j] += terms[j] < 0 ? -(int64_t)terms[j] : terms[j];
        }
        for (size_t lane = 0; lane < out * w->taps.unit; lane++)
            w->taps.blocks[lane / kernels->lanes * w->taps.block_bytes + place_of(kernels, lane % kernels->lanes, t)] =
                terms[lane % out];
    }
}

ql_status ql_taps_pack(ql_filter *w, const int8_t *terms)
{
    const ql_depthwise_kernels *kernels = w->kernels->depthwise_u8s8s32;
    ql_taps *taps = &w->taps;
    const size_t out = w->shape[3], count = w->parts * w->shape[0] * w->shape[1];
    const size_t unit = kernels->lanes / common_divisor(out, kernels->lanes);
    taps->unit = unit * out <= MAX_UNIT_LANES ? unit : 1;
    taps->count = ql_round_up(count, kernels->kr);
    taps->lanes = ql_round_up(out * taps->unit, kernels->lanes);
    if (__builtin_mul_overflow(taps->count, kernels->lanes, &taps->block_bytes))
        return QL_ENOMEM;
    taps->block_bytes = ql_round_up(taps->block_bytes, QL_ALIGNMENT);
    taps->blocks = ql_alloc(taps->lanes / kernels->lanes, taps->block_bytes);
    taps->column_sum = calloc(out ? out : 1, sizeof *taps->column_sum);
    int64_t *reach = calloc(out ? out : 1, sizeof *reach);
    if (taps->blocks && taps->column_sum && reach) {
        memset(taps->blocks, 0, taps->lanes / kernels->lanes * taps->block_bytes);
        fill(w, terms, count, reach);
        for (size_t j = 0; j < out; j++)
            taps->column_reach = reach[j] > taps->column_reach ? reach[j] : taps->column_reach;
    }
    const bool done = taps->blocks && taps->column_sum && reach;
    free(reach);
    return done ? QL_OK : QL_ENOMEM;
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

size_t ql_taps_columns_bytes(const ql_filter *w)
{
    return 2 * w->taps.lanes * sizeof(float);
}

/* Four bytes per result, for all lanes of a unit and zeros to the end of its last block. */
static void repeat(const ql_filter *w, const void *values, void *lanes)
{
    const size_t out = w->shape[3], bytes = out * sizeof(int32_t);
    char *to = lanes;
    for (size_t u = 0; u < w->taps.unit; u++)
        memcpy(to + u * bytes, values, bytes);
    memset(to + w->taps.unit * bytes, 0, (w->taps.lanes - w->taps.unit * out) * sizeof(int32_t));
}

void ql_taps_fill(const ql_filter *w, const int32_t *bias, int32_t zero_point, const ql_epilogue *epilogue,
                  void *columns, ql_epilogue *own, int32_t *start)
{
    const size_t out = w->shape[3];
    float *first = columns, *second = first + w->taps.lanes;
    *own = *epilogue;
    own->scale = own->multiplier = first;
    own->offset = second;
    own->mantissa = (int32_t *)columns;
    own->exponent = own->mantissa + w->taps.lanes;
    if (epilogue->store == QL_STORE_F32) {
        repeat(w, epilogue->scale, first);
        repeat(w, epilogue->offset, second);
    } else if (epilogue->store == QL_STORE_X8) {
        repeat(w, epilogue->multiplier, first);
    } else if (epilogue->store == QL_STORE_X8_FIXED) {
        repeat(w, epilogue->mantissa, first);
        repeat(w, epilogue->exponent, second);
    }
    memset(start, 0, w->taps.lanes * sizeof *start);
    for (size_t lane = 0; lane < out * w->taps.unit; lane++) {
        const size_t j = lane % out;
        const uint32_t from_bias = bias ? (uint32_t)bias[j] : 0;
        start[lane] = (int32_t)(from_bias - (uint32_t)zero_point * (uint32_t)w->taps.column_sum[j]);
    }
}

void ql_taps_rows(const ql_stage *s, size_t begin, size_t end)
{
    const size_t out = s->w->shape[3], width = s->window->out[1];
    const size_t unit = s->window->stride[1] == 1 ? s->w->taps.unit : 1;
    ql_depthwise_kernel *const kernel = s->w->kernels->depthwise_u8s8s32->kernel;
    ql_gemm_args args = s->args;
    args.a_stride = unit * s->window->stride[1] * s->pixel_stride;
    args.c_stride = unit * out;
    for (size_t r = begin; r < end; r++) {
        args.a = ql_stage_windows(s, r);
        args.c = ql_stage_results(s, r);
        kernel(&args, width / unit, unit * out);
        args.a = (const char *)args.a + width / unit * args.a_stride;
        args.c = (char *)args.c + width / unit * args.c_stride * s->c_size;
        kernel(&args, width % unit > 0, width % unit * out);
    }
}
