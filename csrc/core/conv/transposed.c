/* Transposed convolution by phases.
 *
 * All phases read the same padded copy of a stage, whose windows are what the results of a block are made of.
 *
 * Neighbours along the width are columns of one product where that is less work, taps of 0, idle lanes and what does
 * not fill registers included: 2 x 2 taps with stride 2 are one product per row, written without gaps, and a mask of
 * one channel is computed eight pixels at a time.
 *
 * Why not a product of every pixel with the whole kernel whose results are added up: kernel * channels sums of four
 * bytes are written and read for each pixel. */
#include "core/conv/transposed.h"

#include <string.h>

#include "core/base/listen.h"
#include "core/gemm/gemm.h"

/* ---- weights ------------------------------------------------------------------------------------ */

/* Codes as they come. */
typedef struct codes {
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
        status = ql_filter_pack(gathered, c->is_signed, sizes, zero_point, 1, false, &p->filter);
    }
    free(gathered);
    free(zero_point);
    return status;
}

enum {
    /* Multiply-adds of a lane that take as long as to finish its sum, and as to do so by way of a buffer, which is what
     * columns that do not fill registers need (AVX2, Zen 3) */
    FINISHING = 12,
    BUFFERING = 100,
    MOST_BLOCKS = 16
};

/* About how many multiply-adds of lanes a row of `columns` takes, each of so many taps. */
static double cost_of(const ql_expansion *shape, size_t taps, size_t columns)
{
    const ql_gemm_kernels *gemm = ql_kernels_active()->gemm_u8s8s32;
    const size_t half = gemm->half_ukernel ? gemm->nr / 2 : gemm->nr, rest = columns % half;
    return (double)(taps * shape->in + FINISHING) * (double)ql_round_up(columns, half) +
           (double)(rest ? BUFFERING * half : 0);
}

/* Chooses what is one product along the width: each phase, or all of some blocks. */
static void choose_columns(ql_transposed *t)
{
    const ql_expansion *shape = &t->shape;
    const ql_phase_windows *windows = t->windows + 1;
    const size_t stride = shape->stride[1], channels = shape->channels;
    double least = 0;
    t->is_apart = true;
    t->blocks = t->repeats = 1;
    for (size_t x = 0; x < ql_phase_count(shape, 1); x++)
        least += cost_of(shape, ql_phase_stretch(shape, 1, windows, x).count, channels);
    for (size_t blocks = 1; blocks <= MOST_BLOCKS; blocks++) {
        const double cost = cost_of(shape, windows->size + blocks - 1, blocks * stride * channels) / (double)blocks;
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
    const codes c = {w, is_signed, zero_point};
    *t = (ql_transposed){.shape = *shape, .windows = {high, wide}};
    choose_columns(t);
    const size_t size[] = {high.size, wide.size + t->blocks - 1};
    const ql_window window = {.stride = {1, t->blocks},
                              .dilation = {1, 1},
                              .before = {high.before, wide.before},
                              .out = {ql_phase_blocks(shape, 0, 0), ql_phase_blocks(shape, 1, 0) / t->blocks}};
    ql_status status = pack_phases(t, &c);
    if (status == QL_OK)
        status = ql_geometry_over(t->phases->filter, size, &x, &window, &t->geometry);
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

/* ---- terms -------------------------------------------------------------------------------------- */

static const ql_phase *last_phase(const ql_transposed *t)
{
    return t->phases + t->count - 1;
}

static size_t start_bytes(const ql_transposed *t)
{
    return last_phase(t)->first_start * sizeof(int32_t) + ql_start_bytes(last_phase(t)->filter);
}

static size_t offset_bytes(const ql_transposed *t)
{
    const size_t count = last_phase(t)->first_offset + ql_filter_segments(last_phase(t)->filter);
    return ql_round_up(count * sizeof(size_t), QL_ALIGNMENT);
}

static size_t columns_bytes(const ql_transposed *t)
{
    return ql_round_up(ql_repeated_bytes(t->repeats * t->shape.channels), QL_ALIGNMENT);
}

size_t ql_transposed_terms_bytes(const ql_transposed *t)
{
    return start_bytes(t) + offset_bytes(t) + columns_bytes(t);
}

/* columns: memory for the bias of all columns. */
static void fill_starts(const ql_transposed *t, const int32_t *bias, int32_t zero_point, int32_t *columns,
                        int32_t *start)
{
    const size_t channels = t->shape.channels;
    for (size_t x = 0; bias && x < t->repeats; x++)
        memcpy(columns + x * channels, bias, channels * sizeof *bias);
    for (size_t i = 0; i < t->count; i++)
        ql_fill_start(t->phases[i].filter, bias ? columns : NULL, zero_point, start + t->phases[i].first_start);
}

void ql_transposed_terms_fill(const ql_transposed *t, const int32_t *bias, int32_t zero_point,
                              const ql_epilogue *epilogue, void *memory, ql_terms *terms)
{
    const size_t columns = t->repeats * t->shape.channels;
    char *rest = (char *)memory + start_bytes(t);
    *terms = (ql_terms){.zero_point = zero_point, .start = memory, .offset = (size_t *)rest};
    rest += offset_bytes(t);
    fill_starts(t, bias, zero_point, (int32_t *)rest, terms->start); /* then it is the epilogue's */
    ql_repeat_columns(epilogue, t->shape.channels, t->repeats, columns, rest, &terms->epilogue);
    for (size_t i = 0; i < t->count; i++) {
        const ql_filter *w = t->phases[i].filter;
        for (size_t s = 0; s < ql_filter_segments(w); s++)
            terms->offset[t->phases[i].first_offset + s] = s % w->shape[0] * t->geometry.row_stride;
    }
}

/* ---- running ------------------------------------------------------------------------------------ */

/* The results of a phase in the stage's row r of blocks; NULL where it has none. */
static char *results(const ql_stage *s, const ql_transposed *t, const ql_phase *p, size_t r)
{
    const ql_expansion *shape = &t->shape;
    const size_t row = (s->first_row + r % s->rows) * shape->stride[0] + p->to[0];
    const size_t pixel = ((s->first_image + r / s->rows) * shape->out[0] + row) * shape->out[1] + p->to[1];
    return row < shape->out[0] ? s->y + pixel * shape->channels * s->c_size : NULL;
}

static void multiply(const ql_stage *s, const ql_transposed *t, const ql_phase *p, size_t begin, size_t end)
{
    const ql_geometry *g = s->g;
    const ql_packed *b = p->filter->packed[0];
    const size_t step = p->width <= b->gemm->wide_mr ? 2 * b->nr : b->nr;
    ql_gemm_args args = {.a_stride = g->window.stride[1] * g->pixel_stride,
                         .k = ql_stage_depth(s, b, p->filter->shape[1] * p->filter->shape[2]),
                         .segments = ql_filter_segments(p->filter),
                         .offset = s->terms->offset + p->first_offset,
                         .b = b->panels,
                         .panel_stride = b->panel_bytes,
                         .start = s->terms->start + p->first_start,
                         .row_scale = s->terms->row_scale,
                         .epilogue = &s->terms->epilogue,
                         .c_stride = t->blocks * t->shape.stride[1] * t->shape.channels};
    for (size_t j = 0; j < b->n; j += step) {
        for (size_t r = begin; r < end; r++) {
            args.a = ql_stage_windows(s, r) + p->from[0] * g->row_stride + p->from[1] * g->pixel_stride;
            args.c = results(s, t, p, r);
            if (args.c)
                ql_gemm_tiles(&args, b, 0, p->width, j, ql_least(step, b->n - j));
        }
    }
}

static void compute(const ql_stage *s, size_t begin, size_t end, size_t first, size_t last)
{
    const ql_transposed *t = s->weights;
    for (size_t i = first; i < last; i++)
        multiply(s, t, t->phases + i, begin, end);
}

void ql_transposed_run(const ql_transposed *t, const ql_terms *terms, const uint8_t *x, size_t images, void *y,
                       void *workspace)
{
    ql_stage s = {.g = &t->geometry,
                  .terms = terms,
                  .compute = compute,
                  .pieces = t->count,
                  .weights = t,
                  .x = x,
                  .y = y,
                  .c_size = ql_result_bytes(terms->epilogue.store),
                  .copy = t->geometry.is_in_place ? NULL : workspace};
    ql_stages_run(&s, images);
}

/* The workspace of an image, after its start values and its scale for each row. */
size_t ql_transposed_scaled_workspace(const ql_transposed *t)
{
    const size_t scales = ql_round_up(t->geometry.window.out[1] * sizeof(float), QL_ALIGNMENT);
    return start_bytes(t) + scales + ql_stages_workspace(&t->geometry, 1);
}

void ql_transposed_run_scaled(const ql_transposed *t, const ql_terms *terms, const uint8_t *x, size_t images,
                              const float *scale, const int32_t *zero_point, void *y, void *workspace)
{
    const ql_expansion *shape = &t->shape;
    const size_t rows = t->geometry.window.out[1], size = shape->height * shape->width * shape->in;
    const size_t bytes = shape->out[0] * shape->out[1] * shape->channels * sizeof(float);
    float *row_scale = (float *)((char *)workspace + start_bytes(t));
    void *rest = (char *)row_scale + ql_round_up(rows * sizeof(float), QL_ALIGNMENT);
    ql_terms own = *terms;
    own.start = workspace;
    own.row_scale = row_scale;
    for (size_t i = 0; i < images && !ql_is_stopped(); i++) {
        own.zero_point = zero_point[i];
        fill_starts(t, NULL, zero_point[i], NULL, own.start);
        for (size_t r = 0; r < rows; r++)
            row_scale[r] = scale[i];
        ql_transposed_run(t, &own, x + i * size, 1, (char *)y + i * bytes, rest);
    }
}
