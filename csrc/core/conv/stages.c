/* Stages of a convolution: as many images, or rows of one, as have a copy that stays in L2. A stage is copied, with its
 * padding and as the tiles read it, then its rows of windows are computed. */
#include <string.h>

#include "core/base/parallel.h"
#include "core/conv/conv.h"

enum { STAGE_BYTES = 256 * 1024, SLACK = 64, ITEMS_PER_THREAD = 4, COPIED_PER_NS = 16 };

static size_t element_bytes(const ql_filter *w)
{
    return w->packed ? w->packed[0]->gemm->a_size : 1;
}

static uint64_t cost_of(const ql_geometry *g, double windows)
{
    const double cost = windows * g->window_ns;
    return cost < 1e18 ? (uint64_t)cost : (uint64_t)1e18;
}

uint64_t ql_conv_cost_ns(const ql_geometry *g, size_t images)
{
    return cost_of(g, (double)images * (double)g->window.out[0] * (double)g->window.out[1]);
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

/* ---- computing ----------------------------------------------------------------------------------- */

/* Computes a block of rows by a chunk of pieces. */
static void compute_item(void *context, size_t item)
{
    const ql_stage *s = context;
    const size_t begin = item / s->chunks * s->block, first = item % s->chunks * s->chunk;
    s->compute(s, begin, ql_least(s->images * s->rows, begin + s->block), first, ql_least(s->pieces, first + s->chunk));
}

/* Cuts the stage in items that give every thread several, or in one for a single thread. */
static void cut(ql_stage *s, uint64_t cost)
{
    const size_t threads = ql_threads_for(cost);
    const size_t items = threads > 1 ? ITEMS_PER_THREAD * threads : 1, rows = s->images * s->rows;
    s->block = ql_divided_up(rows, items);
    s->blocks = ql_divided_up(rows, s->block);
    s->chunk = ql_divided_up(s->pieces, ql_divided_up(items, s->blocks));
    s->chunks = ql_divided_up(s->pieces, s->chunk);
}

static void run_stage(ql_stage *s)
{
    const ql_geometry *g = s->g;
    const uint64_t cost = cost_of(g, (double)(s->images * s->rows) * (double)g->window.out[1]);
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

size_t ql_stages_workspace(const ql_geometry *g, size_t images)
{
    size_t bytes;
    if (g->is_in_place || images == 0)
        return 0;
    size_t threads = threads_of(g, (size_t)(ql_conv_cost_ns(g, images) / QL_THREAD_NS));
    if (g->w->winograd.side) /* weights that an update brings may take all products, so more threads */
        threads = g->threads;
    const portion most = choose_portion(g, images, threads ? threads : 1);
    if (__builtin_mul_overflow(most.images * most.padded_rows, g->row_stride, &bytes) || bytes > PTRDIFF_MAX - SLACK)
        return SIZE_MAX / 2;
    return ql_round_up(bytes + SLACK, QL_ALIGNMENT);
}

void ql_stages_run(ql_stage *s, size_t images)
{
    const ql_geometry *g = s->g;
    const size_t threads = threads_of(g, ql_threads_for(ql_conv_cost_ns(g, images)));
    const portion most = choose_portion(g, images, threads);
    for (s->first_image = 0; s->first_image < images; s->first_image += most.images) {
        s->images = ql_least(most.images, images - s->first_image);
        for (s->first_row = 0; s->first_row < g->window.out[0]; s->first_row += most.rows) {
            s->rows = ql_least(most.rows, g->window.out[0] - s->first_row);
            s->padded_rows = g->one_row + (s->rows - 1) * g->window.stride[0];
            run_stage(s);
        }
    }
}
