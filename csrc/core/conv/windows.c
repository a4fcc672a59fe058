/* Convolution without im2col: the product's rows are windows, read where they lie in the image.
 *
 * A window's row is one stretch of kernel_w * in elements, and the next pixel's begins a pixel further on, so tiles run
 * along an output row with their rows stride * channels apart. What has to be padded, or be converted for the tiles, is
 * copied once: a copy of the image costs 1 % of a 3 x 3 convolution of 64 channels, the nine copies of im2col cost 8 %.
 * (Why tiles do not run over the end of an output row: rows of 7 leave a tile of 12 half empty, but the load ports
 * still keep up with 14 accumulators.)
 *
 * Work goes in stages (stages.c), whose output rows are computed panel by panel of the weights.
 *
 * Windows of one pixel are a plain product; some of 3 x 3 take fewer products (winograd.c). */
#include "core/base/listen.h"
#include "core/conv/winograd.h"
#include "core/gemm/gemm.h"

/* Computes columns first..last - 1 of a group's product, for output rows begin..end - 1. */
static void multiply(const ql_stage *s, size_t group, size_t first, size_t last, size_t begin, size_t end)
{
    const ql_filter *w = s->g->w;
    const ql_packed *b = w->packed[group];
    const size_t width = s->g->window.out[1];
    const ql_gemm_kernels *gemm = ql_gemm_begin(b, (end - begin) * width, last - first);
    const size_t step = ql_least(ql_gemm_columns(gemm, width), last - first);
    const ql_epilogue epilogue = ql_epilogue_from(&s->terms->epilogue, group * b->n);
    ql_gemm_args args = s->args;
    args.b = b->panels;
    args.panel_stride = b->panel_bytes;
    args.start = s->terms->start + group * b->n_padded;
    args.epilogue = &epilogue;
    for (size_t j = first; j < last; j += step) {
        for (size_t r = begin; r < end; r++) {
            args.a = ql_stage_windows(s, r) + group * w->shape[2] * b->gemm->a_size;
            args.c = ql_stage_results(s, r) + group * b->n * s->c_size;
            args.residual =
                ql_residual_from(&s->terms->residual, (size_t)((char *)args.c - s->y) / s->c_size, group * b->n);
            ql_gemm_tiles(&args, gemm, 0, width, j, ql_least(step, last - j));
        }
    }
    ql_gemm_end(gemm);
}

/* Pieces are pairs of panels of the only group, or groups. */
static size_t pieces_of(const ql_filter *w)
{
    return !w->packed ? 1 : w->groups > 1 ? w->groups : ql_divided_up(w->shape[3], 2 * w->packed[0]->nr);
}

static void compute(const ql_stage *s, size_t begin, size_t end, size_t first, size_t last)
{
    const ql_filter *w = s->g->w;
    if (!w->packed) {
        ql_taps_rows(s, begin, end);
    } else if (w->groups == 1) {
        const size_t pair = 2 * w->packed[0]->nr;
        multiply(s, 0, first * pair, ql_least(w->shape[3], last * pair), begin, end);
    } else {
        for (size_t g = first; g < last; g++)
            multiply(s, g, 0, w->packed[g]->n, begin, end);
    }
}

static void fill_args(ql_stage *s)
{
    const ql_geometry *g = s->g;
    const ql_filter *w = g->w;
    const size_t k = w->shape[2] * (w->by_row ? w->shape[1] : 1);
    s->args = (ql_gemm_args){.a_stride = g->window.stride[1] * g->pixel_stride,
                             .k = ql_stage_depth(s, w->packed[0], k),
                             .segments = ql_filter_segments(w),
                             .offset = s->terms->offset,
                             .row_scale = s->terms->row_scale,
                             .c_stride = w->shape[3],
                             .a_rows = g->window.out[1]};
}

/* ---- products ----------------------------------------------------------------------------------- */

/* Multiplies all pixels at once. Tiles are full where rows are short: 1.03 to 1.05 times as fast as in stages at 7 x 7
 * (AVX2, Zen 3), the same from 14 x 14 on. */
static void multiply_pixels(const ql_geometry *g, const ql_terms *terms, const uint8_t *x, size_t images, char *y,
                            void *workspace)
{
    const ql_filter *w = g->w;
    for (size_t i = 0; i < w->groups; i++) {
        const ql_packed *b = w->packed[i];
        const ql_epilogue epilogue = ql_epilogue_from(&terms->epilogue, i * b->n);
        const ql_gemm_job job = {.b = b,
                                 .a = x + i * w->shape[2],
                                 .m = images * g->height * g->width,
                                 .a_stride = g->channels,
                                 .flip = g->flip,
                                 .init = terms->start + i * b->n_padded,
                                 .row_scale = terms->row_scale,
                                 .residual = ql_residual_from(&terms->residual, i * b->n, i * b->n),
                                 .epilogue = &epilogue,
                                 .c = y + i * b->n * ql_result_bytes(epilogue.store),
                                 .c_stride = w->shape[3]};
        ql_gemm_run(&job, workspace);
    }
}

/* ---- the entries -------------------------------------------------------------------------------- */

size_t ql_conv_workspace(const ql_geometry *g, size_t images)
{
    const size_t copy = ql_stages_workspace(g, images), tiles = ql_winograd_workspace(g);
    if (!g->is_product)
        return copy > tiles ? copy : tiles;
    const size_t product = ql_gemm_workspace(g->w->packed[0], images * g->height * g->width, g->flip);
    return product > copy ? product : copy;
}

void ql_conv_run(const ql_geometry *g, const ql_terms *terms, const uint8_t *x, size_t images, void *y, void *workspace)
{
    if (g->is_product) {
        multiply_pixels(g, terms, x, images, y, workspace);
        return;
    }
    if (g->w->winograd.side) {
        ql_winograd_run(g, terms, x, images, y, workspace);
        return;
    }
    ql_stage s = {.g = g,
                  .terms = terms,
                  .x = x,
                  .y = y,
                  .c_size = ql_result_bytes(terms->epilogue.store),
                  .copy = g->is_in_place ? NULL : workspace,
                  .compute = compute,
                  .pieces = pieces_of(g->w)};
    if (g->w->packed)
        fill_args(&s);
    ql_stages_run(&s, images);
}

/* The workspace of an image, after its start values and its scale for each row. */
size_t ql_conv_scaled_workspace(const ql_geometry *g)
{
    const size_t scales = ql_round_up(ql_geometry_rows(g) * sizeof(float), QL_ALIGNMENT);
    return ql_start_bytes(g->w) + scales + ql_conv_workspace(g, 1);
}

void ql_conv_run_scaled(const ql_geometry *g, const ql_terms *terms, const uint8_t *x, size_t images,
                        const float *scale, const int32_t *zero_point, void *y, void *workspace)
{
    const size_t rows = ql_geometry_rows(g), size = g->height * g->width * g->channels;
    const size_t bytes = g->window.out[0] * g->window.out[1] * g->w->shape[3] * sizeof(float);
    float *row_scale = (float *)((char *)workspace + ql_start_bytes(g->w));
    void *rest = (char *)row_scale + ql_round_up(rows * sizeof(float), QL_ALIGNMENT);
    ql_terms own = *terms;
    own.start = workspace;
    own.row_scale = row_scale;
    for (size_t i = 0; i < images && !ql_is_stopped(); i++) {
        own.zero_point = zero_point[i];
        ql_fill_start(g->w, NULL, zero_point[i], own.start);
        for (size_t r = 0; r < rows; r++)
            row_scale[r] = scale[i];
        ql_conv_run(g, &own, x + i * size, 1, (char *)y + i * bytes, rest);
    }
}
