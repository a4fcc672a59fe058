/* Convolutions of 3 x 3 by way of fewer products.
 *
 * Results of a tile of m x m pixels are polynomials in their (m + 2)^2 pixels and the weights, and can be had from as
 * many products instead of 9 m^2: 4 for a result with m = 2, 2.25 with m = 4 (Winograd 1980; for networks Lavin and
 * Gray, Fast Algorithms for Convolutional Neural Networks, 2016). Here the transforms have no fractions, all is modulo
 * 2^32, and the quotient at the end is exact as long as the result is far enough from leaving int32 (reach_fits): the
 * sums are those of the products that are left out, bit by bit.
 *
 * Transformed numbers need 16 bits, which costs nothing where tiles multiply numbers of 16 bits anyway. With AVX2 on
 * Zen 3 a convolution of 28 x 28 pixels, 128 channels to 128, takes 0.49 ms instead of 1.54.
 *
 * Neighbouring tiles make a chunk, whose transformed pixels stay in L2 while they meet all weights. */
#include "core/conv/winograd.h"

#include <stdatomic.h>
#include <string.h>

#include "core/base/listen.h"
#include "core/base/parallel.h"
#include "core/gemm/gemm.h"
#include "kernels/finish.h"

enum { COLUMNS = QL_WINOGRAD_COLUMNS, MOST_SIDE = 6, ROWS = 6, MOST_TILES = 24, CHUNK_BYTES = 320 * 1024 };

static size_t points_of(size_t side)
{
    return (side + 2) * (side + 2);
}

static size_t depth_of(const ql_filter *w)
{
    return ql_round_up(w->shape[2], 2);
}

/* ---- which way is faster ------------------------------------------------------------------------ */

/* Tells whether weights of this shape can be transformed, and it may pay. */
static bool is_possible(const ql_geometry *g)
{
    const ql_filter *w = g->w;
    const ql_window *window = &g->window;
    return w->packed && w->groups == 1 && !g->is_product && w->shape[0] == 3 && w->shape[1] == 3 &&
           window->stride[0] == 1 && window->stride[1] == 1 && window->dilation[0] == 1 && window->dilation[1] == 1 &&
           w->packed[0]->gemm->is_as_wide && w->packed[0]->nr % COLUMNS == 0;
}

/* Tells whether quotients are exact: the sums' multiples that are divided at the end, by 4 or by 576 = 64 * 9, stay in
 * int32 but for the factor of 9, which has an inverse modulo 2^32. Codes are u8 here. */
static bool reach_fits(const ql_filter *w, size_t side)
{
    return w->packed[0]->column_reach <= (side == 2 ? INT32_MAX / 4 : INT32_MAX / 64) / 255;
}

/* Nanoseconds, about, as measured with AVX2 on Zen 3: products, transforms of a tile for each channel in or out, and
 * bytes of weights, which may come from far. */
static const double macs_per_ns = 72, bytes_per_ns = 60, transform_ns[] = {[2] = 2, [4] = 8};

static double cost_of(const ql_geometry *g, size_t side)
{
    const double in = (double)depth_of(g->w), out = (double)ql_round_up(g->w->shape[3], COLUMNS);
    const double high = (double)g->window.out[0], wide = (double)g->window.out[1];
    if (side == 0)
        return high * wide * 9 * in * out / macs_per_ns;
    const double tiles = (double)(ql_divided_up(g->window.out[0], side) * ql_divided_up(g->window.out[1], side));
    const double weights = (double)points_of(side) * in * out;
    return tiles * (weights / macs_per_ns + (in + out) * transform_ns[side]) + weights * 2 / bytes_per_ns;
}

/* Weights take 4 or 8 times the bytes: what wins a tenth is not worth them, nor is what wins more where they are many.
 */
static const double least_gain = 1.15;

static bool is_worth(const ql_geometry *g, size_t side, size_t other)
{
    enum { MOST_BYTES = 9 * 1024 * 1024 };
    const double bytes = (double)points_of(side) * (double)depth_of(g->w) * (double)g->w->shape[3] * sizeof(int16_t);
    return bytes <= MOST_BYTES && cost_of(g, side) * least_gain < cost_of(g, other);
}

size_t ql_winograd_side(const ql_geometry *g)
{
    const ql_filter *w = g->w;
    size_t best = 0;
    if (!is_possible(g) || !w->are_distances)
        return 0;
    for (size_t side = 2; side <= 4; side += 2) {
        if (reach_fits(w, side) && is_worth(g, side, best))
            best = side;
    }
    return best;
}

double ql_winograd_window_ns(const ql_geometry *g)
{
    return cost_of(g, g->w->winograd.side) / ((double)g->window.out[0] * (double)g->window.out[1]);
}

/* ---- weights ------------------------------------------------------------------------------------ */

/* What a result's weights are multiplied with; the fractions of the usual ones are in the transform of the sums. */
static const int8_t factors_2[][3] = {{1, 0, 0}, {1, 1, 1}, {1, -1, 1}, {0, 0, 1}};
static const int8_t factors_4[][3] = {{1, 0, 0}, {-1, -1, -1}, {-1, 1, -1}, {1, 2, 4}, {1, -2, 4}, {0, 0, 1}};

/* Transforms the weights of a channel for the columns of a panel. Taps lie `tap` weights apart, points `step` numbers,
 * columns two. */
static void transform_channel(const int8_t *w, size_t tap, size_t cols, size_t side, int16_t *to, size_t step)
{
    const int8_t (*factors)[3] = side == 2 ? factors_2 : factors_4;
    for (size_t i = 0; i < side + 2; i++) {
        int16_t rows[3][COLUMNS];
        for (size_t v = 0; v < 3; v++) {
            for (size_t j = 0; j < cols; j++)
                rows[v][j] = (int16_t)(factors[i][0] * w[v * tap + j] + factors[i][1] * w[(3 + v) * tap + j] +
                                       factors[i][2] * w[(6 + v) * tap + j]);
        }
        for (size_t l = 0; l < side + 2; l++, to += step) {
            for (size_t j = 0; j < cols; j++)
                to[2 * j] =
                    (int16_t)(factors[l][0] * rows[0][j] + factors[l][1] * rows[1][j] + factors[l][2] * rows[2][j]);
        }
    }
}

ql_status ql_filter_transform(ql_filter *w, const int8_t *weights, size_t side)
{
    const size_t in = w->shape[2], out = w->shape[3], depth = depth_of(w), panels = ql_divided_up(out, COLUMNS);
    const size_t point = depth * COLUMNS, panel = points_of(side) * point;
    int16_t *transformed = ql_alloc(panels, panel * sizeof *transformed);
    if (!transformed)
        return QL_ENOMEM;
    memset(transformed, 0, panels * panel * sizeof *transformed);
    for (size_t c = 0; c < in; c++) {
        for (size_t j = 0; j < out; j += COLUMNS)
            transform_channel(weights + c * out + j, in * out, ql_least(COLUMNS, out - j), side,
                              transformed + j / COLUMNS * panel + c / 2 * 2 * COLUMNS + c % 2, point);
    }
    w->winograd = (ql_winograd){.side = side,
                                .points = points_of(side),
                                .depth = depth,
                                .panel_bytes = panel * sizeof *transformed,
                                .weights = transformed};
    ql_packed_drop_panels(w->packed[0]);
    return QL_OK;
}

/* ---- chunks of tiles ---------------------------------------------------------------------------- */

/* Tiles that a thread has at a time, and its memory: their pixels, [points][tiles][depth], the sums of a panel,
 * [points][tiles][COLUMNS], and the results, [side][tiles * side][COLUMNS]. */
typedef struct chunk {
    size_t tiles, pixels_bytes, sums_bytes, bytes;
} chunk;

static chunk chunk_of(const ql_filter *w, size_t side)
{
    const size_t tile = points_of(side) * depth_of(w) * sizeof(int16_t), fitting = CHUNK_BYTES / tile;
    chunk c = {.tiles = fitting < ROWS ? ROWS : ql_least(fitting, MOST_TILES)};
    c.pixels_bytes = ql_round_up(c.tiles * tile, QL_ALIGNMENT);
    c.sums_bytes = c.tiles * points_of(side) * COLUMNS * sizeof(int32_t);
    c.bytes = c.pixels_bytes + c.sums_bytes + c.tiles * side * side * COLUMNS * sizeof(int32_t);
    return c;
}

/* A pixel of zero points comes first. */
size_t ql_winograd_workspace(const ql_geometry *g)
{
    if (!is_possible(g))
        return 0;
    const size_t bytes[] = {chunk_of(g->w, 2).bytes, chunk_of(g->w, 4).bytes};
    return ql_round_up(g->channels, QL_ALIGNMENT) + g->threads * (bytes[0] > bytes[1] ? bytes[0] : bytes[1]);
}

/* A convolution on the way. */
typedef struct job {
    const ql_geometry *g;
    const ql_terms *terms;
    const ql_finishers *finishers;
    const uint8_t *x, *border;
    char *y, *memory;
    chunk chunk;
    size_t wide, high, tiles; /* of a row of tiles, of an image, of all */
    atomic_size_t workers, next;
} job;

/* Where a tile begins. */
typedef struct place {
    size_t image, top, left;
} place;

static place place_of(const job *s, size_t tile)
{
    const size_t side = s->g->w->winograd.side, in_image = tile % (s->wide * s->high);
    return (place){tile / (s->wide * s->high), in_image / s->wide * side, in_image % s->wide * side};
}

/* Transforms the pixels of a tile. Behind an odd number of channels stays what was there, which meets weights of 0. */
static void transform_pixels(const job *s, size_t tile, int16_t *to)
{
    const ql_geometry *g = s->g;
    const ql_winograd *w = &g->w->winograd;
    const place at = place_of(s, tile);
    const uint8_t *pixels[MOST_SIDE * MOST_SIDE];
    size_t p = 0;
    for (size_t i = 0; i < w->side + 2; i++) {
        const size_t row = at.top + i - g->window.before[0]; /* wraps above the image */
        const size_t first = (at.image * g->height + row) * g->width;
        for (size_t j = 0; j < w->side + 2; j++, p++) {
            const size_t col = at.left + j - g->window.before[1];
            const bool is_inside = row < g->height && col < g->width;
            pixels[p] = is_inside ? s->x + (first + col) * g->channels : s->border;
        }
    }
    g->w->kernels->winograd_pixels_u8_s16(w->side, pixels, g->channels, g->flip, to, s->chunk.tiles * w->depth);
}

/* Finishes the results of neighbouring tiles of a row from column j on. */
static void finish(const job *s, size_t tile, size_t count, int32_t *results, size_t j)
{
    const ql_filter *w = s->g->w;
    const ql_window *window = &s->g->window;
    const place at = place_of(s, tile);
    const size_t side = w->winograd.side, out = w->shape[3], stride = s->chunk.tiles * side * COLUMNS;
    const size_t width = ql_least(count * side, window->out[1] - at.left);
    ql_gemm_args args = {.row_scale = s->terms->row_scale, .epilogue = &s->terms->epilogue, .c_stride = out};
    for (size_t r = 0; r < side && at.top + r < window->out[0]; r++) {
        const size_t pixel = (at.image * window->out[0] + at.top + r) * window->out[1] + at.left;
        args.c = s->y + pixel * out * ql_result_bytes(s->terms->epilogue.store);
        args.residual = ql_residual_from(&s->terms->residual, pixel * out, 0);
        for (size_t i = 0; i < width; i += QL_MAX_MR)
            ql_finish_tile(s->finishers, &args, results + r * stride + i * COLUMNS, COLUMNS, i,
                           ql_least(QL_MAX_MR, width - i), j, ql_least(COLUMNS, out - j));
    }
}

/* Computes columns of a panel of `count` tiles whose pixels are transformed. */
static void compute_panel(const job *s, size_t first, size_t count, const int16_t *pixels, int32_t *sums, size_t j)
{
    const ql_filter *w = s->g->w;
    const ql_winograd *f = &w->winograd;
    const size_t tiles = s->chunk.tiles, point = tiles * COLUMNS;
    const int16_t *weights = f->weights + j / COLUMNS * (f->panel_bytes / sizeof *weights);
    int32_t *results = sums + f->points * point;
    for (size_t p = 0; p < f->points; p++)
        w->kernels->winograd_products_s16_s32(pixels + p * tiles * f->depth, f->depth, count, f->depth,
                                              weights + p * f->depth * COLUMNS, sums + p * point);
    for (size_t t = 0; t < count; t++)
        w->kernels->winograd_sums_s32(f->side, sums + t * COLUMNS, point, s->terms->start + j,
                                      results + t * f->side * COLUMNS, tiles * f->side * COLUMNS);
    for (size_t t = 0, in_row; t < count; t += in_row) {
        in_row = ql_least(count - t, s->wide - (first + t) % s->wide);
        finish(s, first + t, in_row, results + t * f->side * COLUMNS, j);
    }
}

/* Takes one chunk after the other, in memory of its own. */
static void work(void *context, size_t item)
{
    (void)item;
    job *s = context;
    const ql_filter *w = s->g->w;
    char *memory = s->memory + atomic_fetch_add(&s->workers, 1) * s->chunk.bytes;
    int16_t *pixels = (int16_t *)memory;
    for (size_t first; (first = atomic_fetch_add(&s->next, s->chunk.tiles)) < s->tiles && !ql_stop_wanted();) {
        const size_t count = ql_least(s->chunk.tiles, s->tiles - first);
        for (size_t t = 0; t < count; t++)
            transform_pixels(s, first + t, pixels + t * w->winograd.depth);
        for (size_t j = 0; j < w->shape[3]; j += COLUMNS)
            compute_panel(s, first, count, pixels, (int32_t *)(memory + s->chunk.pixels_bytes), j);
    }
}

void ql_winograd_run(const ql_geometry *g, const ql_terms *terms, const uint8_t *x, size_t images, void *y,
                     void *workspace)
{
    const ql_kernels *k = g->w->kernels;
    const ql_finishers finishers = {k->add_outer_s32,     k->add_residual_u8_s32,     k->scale_s32_f32,
                                    k->requantize_s32_x8, k->requantize_fixed_s32_x8, k->curve_s32_x8};
    const size_t side = g->w->winograd.side, border = ql_round_up(g->channels, QL_ALIGNMENT);
    const uint64_t cost_ns = ql_conv_cost_ns(g, images);
    const size_t threads = ql_least(ql_threads_for(cost_ns), g->threads);
    job s = {.g = g,
             .terms = terms,
             .finishers = &finishers,
             .x = x,
             .border = workspace,
             .y = y,
             .memory = (char *)workspace + border,
             .chunk = chunk_of(g->w, side),
             .wide = ql_divided_up(g->window.out[1], side),
             .high = ql_divided_up(g->window.out[0], side)};
    s.tiles = images * s.wide * s.high;
    memset(workspace, terms->zero_point ^ g->flip, g->channels);
    ql_parallel(threads, cost_ns, work, &s);
}
