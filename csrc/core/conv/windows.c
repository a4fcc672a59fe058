/* Convolution without im2col: the product's rows are windows, read where they lie in the image.
 *
 * A window's row is one stretch of kernel_w * in elements, and the next pixel's begins a pixel further on, so tiles run
 * along an output row with their rows stride * channels apart. What has to be padded, or be converted for the tiles, is
 * copied once: a copy of the image costs 1 % of a 3 x 3 convolution of 64 channels, the nine copies of im2col cost 8 %.
 * (Why tiles do not run over the end of an output row: rows of 7 leave a tile of 12 half empty, but the load ports
 * still keep up with 14 accumulators.)
 *
 * Work goes in stages: as many images, or rows of one, as have a copy that stays in L2. A stage is copied, then its
 * output rows are computed panel by panel of the weights.
 *
 * Windows of one pixel are a plain product. */
#include <string.h>

#include "core/base/listen.h"
#include "core/base/parallel.h"
#include "core/conv/conv.h"
#include "core/gemm/gemm.h"

enum { STAGE_BYTES = 256 * 1024, SLACK = 64, ITEMS_PER_THREAD = 4 };
enum { MACS_PER_NS = 256, LANES_PER_NS = 64, COPIED_PER_NS = 16 };

static size_t element_bytes(const ql_filter *w)
{
    return w->packed ? w->packed[0]->gemm->a_size : 1;
}

static size_t result_bytes(ql_store store)
{
    return store == QL_STORE_S32 || store == QL_STORE_F32 ? 4 : 1;
}

static uint64_t cost_of(const ql_filter *w, double pixels)
{
    const size_t *shape = w->shape;
    const double weights = (double)(shape[0] * shape[1] * shape[2]) * (double)shape[3];
    const double cost = pixels * weights / (w->packed ? MACS_PER_NS : LANES_PER_NS);
    return cost < 1e18 ? (uint64_t)cost : (uint64_t)1e18;
}

uint64_t ql_conv_cost_ns(const ql_geometry *g, size_t images)
{
    return cost_of(g->w, (double)images * (double)g->window.out[0] * (double)g->window.out[1]);
}

/* ---- copying ------------------------------------------------------------------------------------ */

static void fill(char *out, uint8_t value, size_t elements, size_t a_size)
{
    int16_t *wide = (int16_t *)out;
    if (a_size == 1)
        memset(out, value, elements);
    else
        for (size_t p = 0; p < elements; p++)
            wide[p] = value;
}

static void copy_row(void *context, size_t item)
{
    const ql_stage *s = context;
    const ql_geometry *g = s->g;
    const size_t image = s->first_image + item / s->padded_rows, a_size = element_bytes(g->w);
    const size_t row = s->first_row * g->window.stride[0] + item % s->padded_rows, above = g->window.before[0];
    const size_t left = ql_least(g->window.before[1], g->padded_width);
    const bool is_outside = row < above || row - above >= g->height;
    const size_t count = is_outside ? 0 : ql_least(g->width, g->padded_width - left);
    const size_t right = g->padded_width - left - count, elements = g->pixel_stride / a_size;
    const uint8_t zero = (uint8_t)s->terms->zero_point;
    char *out = s->copy + item * g->row_stride, *inside = out + left * g->pixel_stride;
    fill(out, zero, left * elements, a_size);
    fill(inside + count * g->pixel_stride, zero, right * elements, a_size);
    if (count == 0)
        return;
    const uint8_t *pixels = s->x + (image * g->height + row - above) * g->width * g->channels;
    if (g->w->packed)
        g->w->packed[0]->gemm->row(pixels, count * elements, g->flip, count * elements, inside);
    else
        ql_taps_convert(g->w, pixels, count, g->flip, (uint8_t *)inside);
}

/* ---- computing ---------------------------------------------------------------------------------- */

/* Computes columns first..last - 1 of a group's product, for output rows begin..end - 1. */
static void multiply(const ql_stage *s, size_t group, size_t first, size_t last, size_t begin, size_t end)
{
    const ql_filter *w = s->g->w;
    const ql_packed *b = w->packed[group];
    const size_t width = s->g->window.out[1], step = width <= b->gemm->wide_mr ? 2 * b->nr : b->nr;
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
            ql_gemm_tiles(&args, b, 0, width, j, ql_least(step, last - j));
        }
    }
}

/* Computes a block of rows by a chunk of columns: pairs of panels of the only group, or some groups. */
static void compute_item(void *context, size_t item)
{
    const ql_stage *s = context;
    const ql_filter *w = s->g->w;
    const size_t total = s->images * s->rows;
    const size_t begin = item / s->chunks * s->block, end = ql_least(total, begin + s->block);
    const size_t first = item % s->chunks * s->chunk;
    if (!w->packed) {
        ql_taps_rows(s, begin, end);
    } else if (w->groups == 1) {
        const size_t pair = 2 * w->packed[0]->nr;
        multiply(s, 0, first * pair, ql_least(w->shape[3], (first + s->chunk) * pair), begin, end);
    } else {
        for (size_t g = first; g < ql_least(w->groups, first + s->chunk); g++)
            multiply(s, g, 0, w->packed[g]->n, begin, end);
    }
}

/* Cuts the stage in items that give every thread several, or in one for a single thread. */
static void cut(ql_stage *s, uint64_t cost)
{
    const ql_filter *w = s->g->w;
    const size_t threads = ql_threads_for(cost);
    const size_t items = threads > 1 ? ITEMS_PER_THREAD * threads : 1, rows = s->images * s->rows;
    const size_t pieces = !w->packed ? 1 : w->groups > 1 ? w->groups : ql_divided_up(w->shape[3], 2 * w->packed[0]->nr);
    s->block = ql_divided_up(rows, items);
    s->blocks = ql_divided_up(rows, s->block);
    s->chunk = ql_divided_up(pieces, ql_divided_up(items, s->blocks));
    s->chunks = ql_divided_up(pieces, s->chunk);
}

static void run_stage(ql_stage *s)
{
    const ql_geometry *g = s->g;
    const uint64_t cost = cost_of(g->w, (double)(s->images * s->rows) * (double)g->window.out[1]);
    if (s->copy) {
        const size_t count = s->images * s->padded_rows;
        s->base = s->copy;
        s->image_stride = s->padded_rows * g->row_stride;
        memset(s->copy + count * g->row_stride, 0, SLACK);
        ql_parallel(count, count * g->row_stride / COPIED_PER_NS, copy_row, s);
    } else {
        const size_t row = s->first_image * g->height + s->first_row * g->window.stride[0];
        s->base = (const char *)s->x + row * g->row_stride;
        s->image_stride = g->height * g->row_stride;
    }
    cut(s, cost);
    ql_parallel(s->blocks * s->chunks, cost, compute_item, s);
}

/* ---- stages ------------------------------------------------------------------------------------- */

/* Images and output rows of a stage, and rows of its copy. */
typedef struct portion {
    size_t images, rows, padded_rows;
} portion;

/* Chooses as much as has a copy in the caches of so many threads, at least a row. */
static portion choose_portion(const ql_geometry *g, size_t images, size_t threads)
{
    const size_t most = STAGE_BYTES * threads, bytes = g->all_rows * g->row_stride;
    if (bytes <= most)
        return (portion){ql_least(images, most / bytes), g->window.out[0], g->all_rows};
    const size_t fitting = most / g->row_stride, stride = g->window.stride[0];
    const size_t rows = fitting > g->one_row ? (fitting - g->one_row) / stride + 1 : 1;
    const size_t even = ql_divided_up(g->window.out[0], ql_divided_up(g->window.out[0], rows));
    return (portion){1, even, g->one_row + (even - 1) * stride};
}

/* Threads beyond those of ql_geometry_init get no memory: their number may have grown since. */
static size_t threads_of(const ql_geometry *g, size_t threads)
{
    return ql_least(threads, g->threads);
}

static size_t copy_bytes(const ql_geometry *g, size_t images)
{
    size_t bytes;
    if (g->is_in_place || images == 0)
        return 0;
    const size_t threads = threads_of(g, (size_t)(ql_conv_cost_ns(g, images) / QL_THREAD_NS));
    const portion most = choose_portion(g, images, threads ? threads : 1);
    if (__builtin_mul_overflow(most.images * most.padded_rows, g->row_stride, &bytes) || bytes > PTRDIFF_MAX - SLACK)
        return SIZE_MAX / 2;
    return ql_round_up(bytes + SLACK, QL_ALIGNMENT);
}

static void fill_args(ql_stage *s)
{
    const ql_geometry *g = s->g;
    const ql_filter *w = g->w;
    const size_t k = w->shape[2] * (w->by_row ? w->shape[1] : 1);
    s->args = (ql_gemm_args){.a_stride = g->window.stride[1] * g->pixel_stride,
                             /* what follows a segment in the copy meets weights of 0 */
                             .k = s->copy ? ql_round_up(k, w->packed[0]->kr) : k,
                             .segments = ql_filter_segments(w),
                             .offset = s->terms->offset,
                             .row_scale = s->terms->row_scale,
                             .c_stride = w->shape[3]};
}

static void run_stages(ql_stage *s, size_t images)
{
    const ql_geometry *g = s->g;
    const size_t threads = threads_of(g, ql_threads_for(ql_conv_cost_ns(g, images)));
    const portion most = choose_portion(g, images, threads);
    if (g->w->packed)
        fill_args(s);
    for (s->first_image = 0; s->first_image < images; s->first_image += most.images) {
        s->images = ql_least(most.images, images - s->first_image);
        for (s->first_row = 0; s->first_row < g->window.out[0]; s->first_row += most.rows) {
            s->rows = ql_least(most.rows, g->window.out[0] - s->first_row);
            s->padded_rows = g->one_row + (s->rows - 1) * g->window.stride[0];
            run_stage(s);
        }
    }
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
                                 .epilogue = &epilogue,
                                 .c = y + i * b->n * result_bytes(epilogue.store),
                                 .c_stride = w->shape[3]};
        ql_gemm_run(&job, workspace);
    }
}

/* ---- the entries -------------------------------------------------------------------------------- */

size_t ql_conv_workspace(const ql_geometry *g, size_t images)
{
    const size_t copy = copy_bytes(g, images);
    if (!g->is_product)
        return copy;
    const size_t product = ql_gemm_workspace(g->w->packed[0], images * g->height * g->width, g->flip);
    return product > copy ? product : copy;
}

void ql_conv_run(const ql_geometry *g, const ql_terms *terms, const uint8_t *x, size_t images, void *y, void *workspace)
{
    if (g->is_product) {
        multiply_pixels(g, terms, x, images, y, workspace);
        return;
    }
    ql_stage s = {.g = g,
                  .terms = terms,
                  .x = x,
                  .y = y,
                  .c_size = result_bytes(terms->epilogue.store),
                  .copy = g->is_in_place ? NULL : workspace};
    run_stages(&s, images);
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
