/* Transposed convolution by phases.
 *
 * All phases read the same padded copy of a stage, whose windows are what the results of a block are made of.
 *
 * Why not a product of every pixel with the whole kernel whose results are added up: kernel * channels sums of four
 * bytes are written and read for each pixel. */
#include "core/conv/transposed.h"

#include <string.h>

#include "core/base/listen.h"
#include "core/gemm/gemm.h"

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
    const ql_gemm_kernels *gemm = ql_gemm_begin(b, (end - begin) * p->width, b->n);
    const size_t step = ql_least(ql_gemm_columns(gemm, p->width), b->n);
    ql_gemm_args args = {.a_stride = g->window.stride[1] * g->pixel_stride,
                         .k = ql_stage_depth(s, b, p->filter->shape[1] * p->filter->shape[2]),
                         .segments = ql_filter_segments(p->filter),
                         .offset = s->terms->offset + p->first_offset,
                         .b = b->panels,
                         .panel_stride = b->panel_bytes,
                         .start = s->terms->start + p->first_start,
                         .row_scale = s->terms->row_scale,
                         .epilogue = &s->terms->epilogue,
                         .c_stride = t->blocks * t->shape.stride[1] * t->shape.channels,
                         .a_rows = p->width};
    for (size_t j = 0; j < b->n; j += step) {
        for (size_t r = begin; r < end; r++) {
            args.a = ql_stage_windows(s, r) + p->from[0] * g->row_stride + p->from[1] * g->pixel_stride;
            args.c = results(s, t, p, r);
            if (args.c)
                ql_gemm_tiles(&args, gemm, 0, p->width, j, ql_least(step, b->n - j));
        }
    }
    ql_gemm_end(gemm);
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
