/* Weights of transposed convolutions, in phases.
 *
 * Neighbours along the width are columns of one product where that is less work, taps of 0, idle lanes and what does
 * not fill registers included: 2 x 2 taps with stride 2 are one product per row, written without gaps, and a mask of
 * one channel is computed eight pixels at a time. */
#include <string.h>

#include "core/conv/transposed.h"
#include "core/gemm/gemm.h"

/* Codes as they come, and what they are packed for. */
typedef struct codes {
    const ql_kernels *kernels;
    const uint8_t *data;
    bool is_signed;
    const int32_t *zero_point;
} codes;

/* Fills in the codes of a phase, [taps_h][taps_w][in][repeats * channels], and their zero points, which are the codes
 * of taps that are not there. */
static void gather(const ql_transposed *t, const codes *c, const ql_phase *p, const size_t count[2], uint8_t *out,
                   int32_t *zero_point)
{
    const ql_expansion *shape = &t->shape;
    const size_t in = shape->in, channels = shape->channels, columns = t->repeats * channels;
    for (size_t j = 0; j < columns; j++)
        zero_point[j] = c->zero_point ? c->zero_point[j % channels] : 0;
    for (size_t row = 0; row < count[0] * count[1] * in; row++) {
        for (size_t j = 0; j < columns; j++)
            out[row * columns + j] = (uint8_t)zero_point[j];
    }
    for (size_t tap = 0; tap < shape->kernel[0] * shape->kernel[1]; tap++) {
        size_t y, x, i, j;
        if (!ql_phase_of_tap(shape, 0, t->windows, tap / shape->kernel[1], &y, &i) ||
            !ql_phase_of_tap(shape, 1, t->windows + 1, tap % shape->kernel[1], &x, &j) || y != p->to[0] ||
            (t->is_apart && x != p->to[1]))
            continue;
        const uint8_t *from = c->data + tap * in * channels;
        uint8_t *to = out + ((i - p->from[0]) * count[1] + j - p->from[1]) * in * columns + (x - p->to[1]) * channels;
        for (size_t k = 0; k < t->blocks * in; k++) {
            const size_t block = k / in, column = block * shape->stride[1] * channels;
            memcpy(to + (block * in + k % in) * columns + column, from + k % in * channels, channels);
        }
    }
}

static ql_status pack_phase(const ql_transposed *t, const codes *c, const size_t count[2], ql_phase *p)
{
    const size_t columns = t->repeats * t->shape.channels, sizes[] = {count[0], count[1], t->shape.in, columns};
    uint8_t *gathered = ql_alloc(count[0] * count[1] * t->shape.in, columns);
    int32_t *zero_point = ql_alloc(columns, sizeof *zero_point);
    ql_status status = QL_ENOMEM;
    if (gathered && zero_point) {
        gather(t, c, p, count, gathered, zero_point);
        status = ql_filter_pack_with(c->kernels, gathered, c->is_signed, sizes, zero_point, 1, false, &p->filter);
    }
    free(gathered);
    free(zero_point);
    return status;
}

enum {
    /* Multiply-adds of a lane that take as long as to finish its sum, and as to do so by way of a buffer, which is what
     * columns that do not fill registers need (AVX2, Zen 3). */
    FINISHING = 12,
    BUFFERING = 100,
    MOST_BLOCKS = 16
};

/* About how many multiply-adds of lanes a row of `columns` takes, each of so many taps. */
static double cost_of(const ql_gemm_kernels *gemm, const ql_expansion *shape, size_t taps, size_t columns)
{
    const size_t half = gemm->half_ukernel ? gemm->nr / 2 : gemm->nr, rest = columns % half;
    return (double)(taps * shape->in + FINISHING) * (double)ql_round_up(columns, half) +
           (double)(rest ? BUFFERING * half : 0);
}

/* Chooses what is one product along the width: each phase, or all of some blocks. */
static void choose_columns(const ql_gemm_kernels *gemm, ql_transposed *t)
{
    const ql_expansion *shape = &t->shape;
    const ql_phase_windows *windows = t->windows + 1;
    const size_t stride = shape->stride[1], channels = shape->channels;
    double least = 0;
    t->is_apart = true;
    t->blocks = t->repeats = 1;
    for (size_t x = 0; x < ql_phase_count(shape, 1); x++)
        least += cost_of(gemm, shape, ql_phase_stretch(shape, 1, windows, x).count, channels);
    for (size_t blocks = 1; blocks <= MOST_BLOCKS; blocks++) {
        const double cost =
            cost_of(gemm, shape, windows->size + blocks - 1, blocks * stride * channels) / (double)blocks;
        if (shape->out[1] % (blocks * stride) == 0 && cost <= least) {
            t->is_apart = false;
            t->blocks = blocks;
            t->repeats = blocks * stride;
            least = cost;
        }
    }
}

static ql_status pack_phases(ql_transposed *t, const codes *c)
{
    const size_t rows = ql_phase_count(&t->shape, 0), pixels = t->is_apart ? ql_phase_count(&t->shape, 1) : 1;
    t->phases = calloc(rows * pixels, sizeof *t->phases);
    if (!t->phases)
        return QL_ENOMEM;
    for (t->count = 0; t->count < rows * pixels; t->count++) {
        ql_phase *p = t->phases + t->count;
        p->to[0] = t->count / pixels;
        p->to[1] = t->count % pixels;
        const ql_stretch high = ql_phase_stretch(&t->shape, 0, t->windows, p->to[0]);
        const ql_stretch wide = t->is_apart ? ql_phase_stretch(&t->shape, 1, t->windows + 1, p->to[1])
                                            : (ql_stretch){0, t->windows[1].size + t->blocks - 1};
        const size_t count[] = {high.count, wide.count};
        p->from[0] = high.first;
        p->from[1] = wide.first;
        p->width = ql_phase_blocks(&t->shape, 1, p->to[1]) / t->blocks;
        const ql_status status = pack_phase(t, c, count, p);
        if (status != QL_OK)
            return status;
    }
    return QL_OK;
}

/* Returns a filter that cannot work in place, if there is one: short phases may, beside long ones. */
static const ql_filter *strictest(const ql_transposed *t)
{
    for (size_t i = 0; i < t->count; i++) {
        if (!ql_has_whole_segments(t->phases[i].filter->packed[0]))
            return t->phases[i].filter;
    }
    return t->phases->filter;
}

static double macs_of_window(const ql_transposed *t)
{
    double macs = 0;
    for (size_t i = 0; i < t->count; i++) {
        const size_t *shape = t->phases[i].filter->shape;
        macs += (double)(shape[0] * shape[1] * shape[2]) * (double)shape[3];
    }
    return macs;
}

/* Numbers the terms of the phases. */
static void number_terms(ql_transposed *t)
{
    size_t starts = 0, offsets = 0;
    for (size_t i = 0; i < t->count; i++) {
        t->phases[i].first_start = starts;
        t->phases[i].first_offset = offsets;
        starts += ql_start_bytes(t->phases[i].filter) / sizeof(int32_t);
        offsets += ql_filter_segments(t->phases[i].filter);
    }
}

ql_status ql_transposed_pack(const uint8_t *w, bool is_signed, const int32_t *zero_point, const ql_expansion *shape,
                             ql_transposed *t)
{
    const ql_phase_windows high = ql_phase_windows_of(shape, 0), wide = ql_phase_windows_of(shape, 1);
    const ql_images x = {.height = shape->height, .width = shape->width, .channels = shape->in};
    const codes c = {ql_kernels_active(), w, is_signed, zero_point};
    *t = (ql_transposed){.shape = *shape, .windows = {high, wide}};
    choose_columns(c.kernels->gemm_u8s8s32, t);
    const size_t size[] = {high.size, wide.size + t->blocks - 1};
    const ql_window window = {.stride = {1, t->blocks},
                              .dilation = {1, 1},
                              .before = {high.before, wide.before},
                              .out = {ql_phase_blocks(shape, 0, 0), ql_phase_blocks(shape, 1, 0) / t->blocks}};
    ql_status status = pack_phases(t, &c);
    if (status == QL_OK)
        status = ql_geometry_over(strictest(t), size, &x, &window, &t->geometry);
    if (status != QL_OK) {
        ql_transposed_free(t);
        return status;
    }
    t->geometry.window_ns = macs_of_window(t) / QL_MACS_PER_NS;
    number_terms(t);
    return QL_OK;
}

void ql_transposed_free(ql_transposed *t)
{
    for (size_t i = 0; t->phases && i < t->count; i++)
        ql_filter_free(t->phases[i].filter);
    free(t->phases);
    *t = (ql_transposed){.phases = NULL};
}

size_t ql_transposed_bytes(const ql_transposed *t)
{
    size_t bytes = t->count * sizeof *t->phases;
    for (size_t i = 0; i < t->count; i++)
        bytes += ql_filter_describe(t->phases[i].filter).nbytes;
    return bytes;
}

bool ql_transposed_fits(const ql_transposed *t, int32_t reach, const int32_t *bias)
{
    bool fits = true;
    for (size_t i = 0; i < t->count; i++)
        fits &= ql_reach_fits(t->phases[i].filter->packed[0]->column_reach, reach, bias, t->shape.channels);
    return fits;
}
