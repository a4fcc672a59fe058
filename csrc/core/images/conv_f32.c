/* Convolution of floats without columns: tiles of products read the pixels of their windows where they are, a segment
 * after the other (core/conv/windows.c does the same with codes). Depthwise products have a kernel of their own; a
 * channel with several results is copied as often.
 *
 * Why not columns and a product of matrices: for 16 channels they take longer to write than to multiply. */
#include "core/images/conv_f32.h"

#include <math.h>
#include <string.h>

#include "core/base/memory.h"
#include "core/base/parallel.h"
#include "core/images/image_stage.h"

enum {
    ITEM_PIXELS = 48, /* results of an item of work, by a panel's columns: at least about so many */
    PRODUCTS_PER_NS = 16,
    DEPTHWISE_PER_NS = 8,
};

/* ---- weights ------------------------------------------------------------------------------------ */

void ql_filter_f32_begin(ql_filter_f32 *f, const size_t shape[4], size_t groups)
{
    const ql_kernels *kernels = ql_kernels_active();
    *f = (ql_filter_f32){.kernels = kernels,
                         .kernel = {shape[0], shape[1]},
                         .in = shape[2],
                         .out = shape[3],
                         .groups = groups,
                         .is_depthwise = shape[2] == 1 && groups > 1,
                         .panels = ql_divided_up(shape[3] / groups, kernels->gemm_f32f32f32->nr),
                         .clamps = {-INFINITY, INFINITY}};
}

size_t ql_filter_f32_size(const ql_filter_f32 *f)
{
    return ql_filter_f32_rows(f) * (f->is_depthwise ? f->out : f->groups * f->panels * f->kernels->gemm_f32f32f32->nr);
}

void ql_filter_f32_clear(ql_filter_f32 *f, const float *bias)
{
    memset(f->weight, 0, ql_filter_f32_size(f) * sizeof *f->weight);
    for (size_t j = 0; j < f->out; j++)
        f->bias[j] = bias ? bias[j] : 0.0f;
}

void ql_filter_f32_put(ql_filter_f32 *f, size_t p, const float *row)
{
    const size_t nr = f->kernels->gemm_f32f32f32->nr, rows = ql_filter_f32_rows(f), own = f->out / f->groups;
    if (f->is_depthwise) {
        memcpy(f->weight + p * f->out, row, f->out * sizeof *row);
        return;
    }
    for (size_t g = 0; g < f->groups; g++, row += own) {
        for (size_t j = 0; j < own; j += nr)
            memcpy(f->weight + ((g * f->panels + j / nr) * rows + p) * nr, row + j,
                   ql_least(nr, own - j) * sizeof *row);
    }
}

/* ---- products ----------------------------------------------------------------------------------- */

/* Products of a stage, cut in items of work. */
typedef struct products {
    const ql_products_f32 *of;
    size_t together; /* rows of windows of an item, where they are short */
    size_t pieces;   /* of a row, where it is long */
} products;

/* Some windows of some rows. */
typedef struct part {
    size_t begin, n, first, end;
} part;

static part part_of(const products *p, size_t item)
{
    const size_t width = p->of->out[1], length = ql_divided_up(width, p->pieces);
    const size_t begin = ql_least(item % p->pieces * length, width), first = item / p->pieces * p->together;
    return (part){begin, ql_least(length, width - begin), first,
                  ql_least(first + p->together, ql_image_stage_rows(p->of->stage))};
}

static size_t step(const ql_products_f32 *p)
{
    return p->stage->shape.window.stride[1] * p->stage->pixel;
}

/* What the windows of row r read, from the first one on, and where their results lie; NULL where they have none. */
static const float *windows_of(const ql_products_f32 *p, size_t r)
{
    return ql_image_stage_windows(p->stage, r) + p->from;
}

static float *results_of(const ql_products_f32 *p, size_t r)
{
    const ql_image_stage *s = p->stage;
    const size_t image = s->first_image + r / s->row_count, row = s->first_row + r % s->row_count;
    return row < p->out[0] ? p->y + image * p->image + row * p->row : NULL;
}

/* Some windows of a row by a panel. */
static void multiply_windows(const ql_products_f32 *p, const float *x, const float *panel, size_t first, size_t cols,
                             size_t n, float *y)
{
    const ql_filter_f32 *f = p->f;
    const ql_gemm_f32_add_kernels *gemm = f->kernels->gemm_f32f32f32;
    const ql_segments *segments = &p->segments;
    const size_t nr = gemm->nr, tile_rows = ql_divided_up(n, ql_divided_up(n, gemm->mr));
    float tile[QL_MAX_MR * QL_MAX_NR];
    for (size_t i = 0; i < n; i += tile_rows) {
        const size_t rows = ql_least(tile_rows, n - i);
        const ql_float_rows windows = {x + i * step(p),  step(p),         1,
                                       segments->length, segments->count, segments->offset};
        memset(tile, 0, rows * nr * sizeof *tile);
        gemm->ukernel[rows](&windows, panel, nr, tile, nr);
        f->kernels->add_bias_f32(tile, nr, rows, cols, f->bias + first, f->clamps.low, f->clamps.high,
                                 y + i * p->pixel + first, p->pixel);
    }
}

/* A part by a panel of columns. */
static void multiply(void *context, size_t item)
{
    const products *items = context;
    const ql_products_f32 *p = items->of;
    const ql_filter_f32 *f = p->f;
    const size_t nr = f->kernels->gemm_f32f32f32->nr, own = f->out / f->groups, panels = f->groups * f->panels;
    const size_t panel = item % panels, group = panel / f->panels, j = panel % f->panels * nr;
    const part windows = part_of(items, item / panels);
    for (size_t r = windows.first; windows.n && r < windows.end; r++) {
        float *y = results_of(p, r);
        if (y)
            multiply_windows(p, windows_of(p, r) + windows.begin * step(p) + group * f->in,
                             f->weight + panel * ql_filter_f32_rows(f) * nr, group * own + j, ql_least(nr, own - j),
                             windows.n, y + windows.begin * p->pixel);
    }
}

/* A part, channel by channel. */
static void multiply_lanes(void *context, size_t item)
{
    const products *items = context;
    const ql_products_f32 *p = items->of;
    const ql_filter_f32 *f = p->f;
    const part windows = part_of(items, item);
    for (size_t r = windows.first; r < windows.end; r++) {
        const ql_depthwise_row row = {.x = windows_of(p, r) + windows.begin * step(p),
                                      .x_step = step(p),
                                      .n = windows.n,
                                      .channels = f->out,
                                      .taps = p->segments.count,
                                      .offset = p->segments.offset,
                                      .w = f->weight,
                                      .bias = f->bias,
                                      .low = f->clamps.low,
                                      .high = f->clamps.high,
                                      .y = results_of(p, r) + windows.begin * f->out};
        f->kernels->depthwise_row_f32(&row);
    }
}

void ql_products_f32_run(const ql_products_f32 *p, uint64_t cost_ns)
{
    const ql_filter_f32 *f = p->f;
    const size_t width = p->out[1];
    products items = {.of = p,
                      .together = width < ITEM_PIXELS ? ITEM_PIXELS / width : 1,
                      .pieces = ql_divided_up(width, 2 * ITEM_PIXELS)};
    const size_t parts = ql_divided_up(ql_image_stage_rows(p->stage), items.together) * items.pieces;
    if (f->is_depthwise)
        ql_parallel(parts, cost_ns, multiply_lanes, &items);
    else
        ql_parallel(parts * f->groups * f->panels, cost_ns, multiply, &items);
}

static size_t repeats(const ql_filter_f32 *f)
{
    return f->is_depthwise ? f->out / f->groups : 1;
}

/* Single pixels are a plain product, unless their channels are copied several times. */
static ql_image_windows windows_for(const ql_image_windows *shape, const ql_filter_f32 *f)
{
    return repeats(f) == 1 ? ql_flat_windows(shape) : *shape;
}

static size_t offsets_bytes(const ql_filter_f32 *f)
{
    return ql_round_up(f->kernel[0] * f->kernel[1] * sizeof(size_t), QL_ALIGNMENT);
}

bool ql_conv_f32_workspace(const ql_image_windows *shape, const ql_filter_f32 *f, size_t *bytes)
{
    const ql_image_windows windows = windows_for(shape, f);
    ql_image_stage s;
    size_t copy;
    return ql_image_stage_plan(&windows, repeats(f), &s, &copy) &&
           !__builtin_add_overflow(copy, offsets_bytes(f), bytes);
}

uint64_t ql_conv_f32_cost_ns(const ql_image_windows *s, const ql_filter_f32 *f)
{
    return (uint64_t)s->count * s->window.out[0] * s->window.out[1] * f->out * ql_filter_f32_rows(f) /
           (f->is_depthwise ? DEPTHWISE_PER_NS : PRODUCTS_PER_NS);
}

void ql_conv_f32_run(const float *x, const ql_image_windows *shape, const ql_filter_f32 *f, float *y, void *workspace)
{
    const ql_image_windows windows = windows_for(shape, f);
    ql_image_stage s;
    size_t copy_bytes;
    if (shape->count == 0 || !ql_image_stage_plan(&windows, repeats(f), &s, &copy_bytes))
        return;
    s.x = x;
    s.copy = copy_bytes ? (float *)((char *)workspace + offsets_bytes(f)) : NULL;
    const size_t *out = s.shape.window.out;
    ql_products_f32 p = {.stage = &s,
                         .segments = {.offset = workspace},
                         .f = f,
                         .out = {out[0], out[1]},
                         .y = y,
                         .image = out[0] * out[1] * f->out,
                         .row = out[1] * f->out,
                         .pixel = f->out};
    ql_image_stage_segments(&s, f->groups, f->kernel, &p.segments);
    const uint64_t all_ns = ql_conv_f32_cost_ns(shape, f), rows = s.shape.count * out[0];
    while (ql_image_stage_next(&s, all_ns * ql_least(rows, s.images * s.rows) / rows))
        ql_products_f32_run(&p, all_ns * ql_image_stage_rows(&s) / rows);
}

ql_status ql_conv_f32(const float *x, const ql_image_windows *shape, const float *weight, size_t out, size_t groups,
                      float *y)
{
    if (!ql_image_windows_are_valid(shape) || groups == 0 || shape->channels % groups != 0 || out % groups != 0 ||
        out == 0)
        return QL_EINVAL;
    ql_filter_f32 f;
    const size_t sizes[] = {shape->kernel[0], shape->kernel[1], shape->channels / groups, out};
    size_t workspace_bytes;
    ql_filter_f32_begin(&f, sizes, groups);
    if (!ql_conv_f32_workspace(shape, &f, &workspace_bytes))
        return QL_ENOMEM;
    f.weight = ql_alloc(ql_filter_f32_size(&f), sizeof *f.weight);
    f.bias = ql_alloc(out, sizeof *f.bias);
    void *workspace = ql_alloc(1, workspace_bytes);
    const bool is_there = f.weight && f.bias && workspace;
    if (is_there) {
        ql_filter_f32_clear(&f, NULL);
        for (size_t p = 0; p < ql_filter_f32_rows(&f); p++)
            ql_filter_f32_put(&f, p, weight + p * out);
        ql_conv_f32_run(x, shape, &f, y, workspace);
    }
    free(workspace);
    free(f.bias);
    free(f.weight);
    return is_there ? QL_OK : QL_ENOMEM;
}
