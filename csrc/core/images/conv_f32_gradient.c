/* Gradient of the weights of a convolution of floats: sums, over windows, of pixels times gradients. Tiles of rows of
 * the weights by a panel of outputs are products like those of the convolution itself, whose rows are neighbouring
 * floats of a window and whose depth is the windows, some rows of them at a time.
 *
 * Gradients are packed by panels for some windows that stay in L1, whose sums, begun at 0, are then added to the
 * result: the error grows with their number, not with that of all windows. */
#include <string.h>

#include "core/base/memory.h"
#include "core/base/parallel.h"
#include "core/images/image_stage.h"
#include "kernels/kernels.h"

enum {
    WINDOWS = 128,   /* of a block */
    ITEM_TILES = 12, /* of a panel */
    PRODUCTS_PER_NS = 16,
};

typedef struct work {
    const ql_gemm_f32_add_kernels *gemm;
    ql_image_stage stage;
    ql_segments segments;
    const float *gradient;
    float *to;
    size_t in, out, groups, panels, tiles, segment_tiles, chunks;
} work;

/* Windows of a block: rows of them, or a piece of one row. */
typedef struct block {
    size_t rows, length, offset[WINDOWS];
    const float *x;
    float gradient[WINDOWS * QL_MAX_NR];
} block;

static void pack_gradient(const work *w, size_t r, size_t begin, size_t first, size_t cols, block *b)
{
    const size_t nr = w->gemm->nr;
    float *to = b->gradient;
    for (size_t i = 0; i < b->rows; i++) {
        const float *from = w->gradient + (ql_image_stage_result(&w->stage, r + i) + begin) * w->out + first;
        for (size_t j = 0; j < b->length; j++, to += nr, from += w->out) {
            memcpy(to, from, cols * sizeof *to);
            memset(to + cols, 0, (nr - cols) * sizeof *to);
        }
    }
}

static void add_tile(const float *tile, size_t nr, size_t rows, size_t cols, float *to, size_t stride)
{
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < cols; j++)
            to[i * stride + j] += tile[i * nr + j];
    }
}

/* Adds a tile's sums over a block to the result. */
static void add_block(const work *w, const block *b, size_t tile, size_t group, size_t first, size_t cols)
{
    const size_t nr = w->gemm->nr, step = w->stage.shape.window.stride[1] * w->stage.pixel;
    const size_t segment = tile / w->segment_tiles, length = w->segments.length;
    const size_t tile_rows = ql_divided_up(length, w->segment_tiles), row = tile % w->segment_tiles * tile_rows;
    if (row >= length)
        return;
    const size_t rows = ql_least(tile_rows, length - row);
    float sums[QL_MAX_MR * QL_MAX_NR];
    const ql_float_rows pixels = {
        b->x + w->segments.offset[segment] + group * w->in + row, 1, step, b->length, b->rows, b->offset};
    memset(sums, 0, rows * nr * sizeof *sums);
    w->gemm->ukernel[rows](&pixels, b->gradient, nr, sums, nr);
    add_tile(sums, nr, rows, cols, w->to + (segment * length + row) * w->out + first, w->out);
}

/* Adds what a stage holds to some tiles of a panel. */
static void add_stage(void *context, size_t item)
{
    const work *w = context;
    const ql_image_stage *s = &w->stage;
    const size_t nr = w->gemm->nr, own = w->out / w->groups, chunk = item % w->chunks, panel = item / w->chunks;
    const size_t group = panel / w->panels, j = panel % w->panels * nr, first = group * own + j;
    const size_t cols = ql_least(nr, own - j), width = s->shape.window.out[1];
    const size_t together = width < WINDOWS ? WINDOWS / width : 1, step = s->shape.window.stride[1];
    const size_t begin_tile = chunk * ITEM_TILES, end_tile = ql_least(w->tiles, begin_tile + ITEM_TILES);
    block b;
    for (size_t r = 0; r < ql_image_stage_rows(s); r += b.rows) {
        b.rows = ql_least(together, ql_image_stage_rows(s) - r);
        const float *x = ql_image_stage_windows(s, r);
        for (size_t i = 0; i < b.rows; i++)
            b.offset[i] = (size_t)(ql_image_stage_windows(s, r + i) - x);
        for (size_t begin = 0; begin < width; begin += b.length) {
            b.length = ql_least(WINDOWS, width - begin);
            b.x = x + begin * step * s->pixel;
            pack_gradient(w, r, begin, first, cols, &b);
            for (size_t tile = begin_tile; tile < end_tile; tile++)
                add_block(w, &b, tile, group, first, cols);
        }
    }
}

static void add_stages(work *w, const float *x)
{
    ql_image_stage *s = &w->stage;
    s->x = x;
    ql_image_stage_segments(s, w->groups, s->shape.kernel, &w->segments);
    w->segment_tiles = ql_divided_up(w->segments.length, w->gemm->mr);
    w->tiles = w->segments.count * w->segment_tiles;
    w->chunks = ql_divided_up(w->tiles, ITEM_TILES);
    const uint64_t row_ns =
        (uint64_t)s->shape.window.out[1] * w->segments.count * w->segments.length * w->out / PRODUCTS_PER_NS;
    while (ql_image_stage_next(s, row_ns * s->images * s->rows))
        ql_parallel(w->groups * w->panels * w->chunks, row_ns * ql_image_stage_rows(s), add_stage, w);
}

ql_status ql_conv_weight_gradient_f32(const float *x, const ql_image_windows *shape, const float *gradient, size_t out,
                                      size_t groups, float *weight_gradient)
{
    if (!ql_image_windows_are_valid(shape) || groups == 0 || shape->channels % groups != 0 || out % groups != 0 ||
        out == 0)
        return QL_EINVAL;
    const ql_gemm_f32_add_kernels *gemm = ql_kernels_active()->gemm_f32f32f32;
    const size_t taps = shape->kernel[0] * shape->kernel[1], in = shape->channels / groups;
    memset(weight_gradient, 0, taps * in * out * sizeof *weight_gradient);
    if (shape->count == 0)
        return QL_OK;
    work w = {.gemm = gemm,
              .gradient = gradient,
              .to = weight_gradient,
              .in = in,
              .out = out,
              .groups = groups,
              .panels = ql_divided_up(out / groups, gemm->nr)};
    const ql_image_windows windows = ql_flat_windows(shape);
    size_t copy_bytes;
    if (!ql_image_stage_plan(&windows, 1, &w.stage, &copy_bytes))
        return QL_ENOMEM;
    w.segments.offset = ql_alloc(taps, sizeof *w.segments.offset);
    w.stage.copy = copy_bytes ? ql_alloc(1, copy_bytes) : NULL;
    const bool is_there = w.segments.offset && (w.stage.copy || !copy_bytes);
    if (is_there)
        add_stages(&w, x);
    free(w.stage.copy);
    free(w.segments.offset);
    return is_there ? QL_OK : QL_ENOMEM;
}
