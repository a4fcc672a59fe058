/* Convolution of floats without columns: tiles of products read the pixels of their windows where they are, a segment
 * after the other (core/conv/windows.c does the same with codes).
 *
 * Padding is copied, some rows or some images at a time, into memory that stays in a core's cache; where there is none
 * the images themselves are read. A window of one pixel makes all pixels one row. Depthwise products have a kernel of
 * their own; a channel with several results is copied as often.
 *
 * Why not columns and a product of matrices: for 16 channels they take longer to write than to multiply. */
#include "core/images/conv_f32.h"

#include <math.h>
#include <string.h>

#include "core/base/memory.h"
#include "core/base/parallel.h"

enum {
    STAGE_BYTES = 512 * 1024, /* of a copy */
    ITEM_PIXELS = 48,         /* results of an item of work, by a panel's columns: at least about so many */
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

/* ---- stages ------------------------------------------------------------------------------------- */

/* Some rows of windows of some images, and what they are computed from. Strides are in floats. */
typedef struct stage {
    ql_image_windows shape;
    const ql_filter_f32 *f;
    const float *x;
    float *y, *copy; /* NULL: x is read in place */
    size_t *offset;  /* of the segments of a window */
    size_t segments, segment;
    size_t repeats;            /* of a channel in the copy */
    size_t padded_width;       /* pixels of a row of the copy */
    size_t pixel, row, image;  /* strides of what is read */
    size_t images, rows;       /* of a whole stage */
    size_t first_image, count; /* of this one */
    size_t first_row, row_count;
    const float *base; /* the first window */
    size_t together;   /* rows of windows of an item, where they are short */
    size_t pieces;     /* of a row, where it is long */
} stage;

static size_t extent(const stage *s, int axis, size_t windows)
{
    const ql_window *w = &s->shape.window;
    return (windows - 1) * w->stride[axis] + (s->shape.kernel[axis] - 1) * w->dilation[axis] + 1;
}

static bool is_pixel(const ql_image_windows *s)
{
    const ql_window *w = &s->window;
    return s->kernel[0] == 1 && s->kernel[1] == 1 && w->stride[0] == 1 && w->stride[1] == 1 && w->before[0] == 0 &&
           w->before[1] == 0 && w->out[0] == s->height && w->out[1] == s->width;
}

/* Chooses what is copied, and how much at once; returns false where size_t does not hold it. */
static bool plan(const ql_image_windows *shape, const ql_filter_f32 *f, stage *s, size_t *copy_bytes)
{
    *s = (stage){.shape = *shape, .f = f, .repeats = f->is_depthwise ? f->out / f->groups : 1};
    if (is_pixel(shape) && s->repeats == 1) {
        const size_t pixels = shape->count * shape->height * shape->width;
        s->shape.count = s->shape.height = s->shape.window.out[0] = 1;
        s->shape.width = s->shape.window.out[1] = pixels;
    }
    const ql_window *w = &s->shape.window;
    const size_t all_rows = extent(s, 0, w->out[0]);
    size_t bytes;
    s->padded_width = extent(s, 1, w->out[1]);
    s->pixel = s->shape.channels * s->repeats;
    const bool in_place = s->repeats == 1 && w->before[0] == 0 && w->before[1] == 0 && all_rows <= s->shape.height &&
                          s->padded_width <= s->shape.width;
    s->row = (in_place ? s->shape.width : s->padded_width) * s->pixel;
    s->images = s->shape.count;
    s->rows = w->out[0];
    *copy_bytes = 0;
    if (in_place) {
        s->image = s->shape.height * s->row;
        return true;
    }
    if (__builtin_mul_overflow(s->row * sizeof(float), all_rows, &bytes))
        return false;
    if (bytes <= STAGE_BYTES) {
        s->images = ql_least(s->images, STAGE_BYTES / bytes);
    } else {
        const size_t fitting = STAGE_BYTES / (s->row * sizeof(float)), one = extent(s, 0, 1);
        const size_t rows = fitting > one ? (fitting - one) / w->stride[0] + 1 : 1;
        s->images = 1;
        s->rows = ql_divided_up(w->out[0], ql_divided_up(w->out[0], rows));
    }
    s->image = extent(s, 0, s->rows) * s->row;
    return !__builtin_mul_overflow(s->images * s->image, sizeof(float), copy_bytes);
}

static void fill_segments(stage *s)
{
    const ql_filter_f32 *f = s->f;
    const ql_window *w = &s->shape.window;
    const bool by_row = f->groups == 1 && (w->dilation[1] == 1 || f->kernel[1] == 1);
    const size_t taps = by_row ? 1 : f->kernel[1];
    s->segments = f->kernel[0] * taps;
    s->segment = by_row ? f->kernel[1] * f->in : f->in;
    for (size_t t = 0; t < s->segments; t++)
        s->offset[t] = t / taps * w->dilation[0] * s->row + t % taps * w->dilation[1] * s->pixel;
}

static void repeat(const float *restrict from, size_t n, size_t times, float *restrict to)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t r = 0; r < times; r++)
            *to++ = from[i];
    }
}

/* Copies one row of the stage's images, with its padding. */
static void copy_row(void *context, size_t item)
{
    const stage *s = context;
    const ql_image_windows *shape = &s->shape;
    const ql_window *w = &shape->window;
    const size_t rows = extent(s, 0, s->row_count), r = item % rows, image = item / rows;
    const size_t place = s->first_row * w->stride[0] + r, left = ql_least(w->before[1], s->padded_width);
    const size_t width = ql_least(shape->width, s->padded_width - left), right = s->padded_width - left - width;
    float *to = s->copy + image * s->image + r * s->row;
    if (place < w->before[0] || place - w->before[0] >= shape->height) {
        memset(to, 0, s->row * sizeof *to);
        return;
    }
    const float *from =
        s->x + ((s->first_image + image) * shape->height + place - w->before[0]) * shape->width * shape->channels;
    memset(to, 0, left * s->pixel * sizeof *to);
    to += left * s->pixel;
    if (s->repeats == 1)
        memcpy(to, from, width * s->pixel * sizeof *to);
    else
        repeat(from, width * shape->channels, s->repeats, to);
    memset(to + width * s->pixel, 0, right * s->pixel * sizeof *to);
}

/* ---- products ----------------------------------------------------------------------------------- */

/* First pixel of row r of the stage's windows, and of its results. */
static const float *windows_at(const stage *s, size_t r)
{
    return s->base + r / s->row_count * s->image + r % s->row_count * s->shape.window.stride[0] * s->row;
}

static float *results_at(const stage *s, size_t r)
{
    const ql_window *w = &s->shape.window;
    const size_t row = (s->first_image + r / s->row_count) * w->out[0] + s->first_row + r % s->row_count;
    return s->y + row * w->out[1] * s->f->out;
}

/* Some windows of a row by a panel. */
static void multiply_windows(const stage *s, const float *x, const float *panel, size_t first, size_t cols, size_t n,
                             float *y)
{
    const ql_filter_f32 *f = s->f;
    const ql_gemm_f32_add_kernels *gemm = f->kernels->gemm_f32f32f32;
    const size_t step = s->shape.window.stride[1] * s->pixel, nr = gemm->nr;
    const size_t tile_rows = ql_divided_up(n, ql_divided_up(n, gemm->mr));
    float tile[QL_MAX_MR * QL_MAX_NR];
    for (size_t i = 0; i < n; i += tile_rows) {
        const size_t rows = ql_least(tile_rows, n - i);
        const ql_float_rows windows = {x + i * step, step, s->segment, s->segments, s->offset};
        memset(tile, 0, rows * nr * sizeof *tile);
        gemm->ukernel[rows](&windows, panel, nr, tile, nr);
        f->kernels->add_bias_f32(tile, nr, rows, cols, f->bias + first, f->clamps.low, f->clamps.high,
                                 y + i * f->out + first, f->out);
    }
}

/* Some rows of windows, or a piece of one, by a panel of columns. */
static void multiply(void *context, size_t item)
{
    const stage *s = context;
    const ql_filter_f32 *f = s->f;
    const size_t nr = f->kernels->gemm_f32f32f32->nr, own = f->out / f->groups, panels = f->groups * f->panels;
    const size_t panel = item % panels, part = item / panels, group = panel / f->panels, j = panel % f->panels * nr;
    const size_t width = s->shape.window.out[1], length = ql_divided_up(width, s->pieces);
    const size_t begin = part % s->pieces * length, first = part / s->pieces * s->together;
    const size_t step = s->shape.window.stride[1] * s->pixel;
    if (begin >= width)
        return;
    for (size_t r = first; r < ql_least(first + s->together, s->count * s->row_count); r++)
        multiply_windows(s, windows_at(s, r) + begin * step + group * f->in,
                         f->weight + panel * ql_filter_f32_rows(f) * nr, group * own + j, ql_least(nr, own - j),
                         ql_least(length, width - begin), results_at(s, r) + begin * f->out);
}

/* Some rows of windows, or a piece of one, channel by channel. */
static void multiply_lanes(void *context, size_t item)
{
    const stage *s = context;
    const ql_filter_f32 *f = s->f;
    const size_t width = s->shape.window.out[1], length = ql_divided_up(width, s->pieces);
    const size_t begin = item % s->pieces * length, first = item / s->pieces * s->together;
    const size_t step = s->shape.window.stride[1] * s->pixel;
    if (begin >= width)
        return;
    for (size_t r = first; r < ql_least(first + s->together, s->count * s->row_count); r++) {
        const ql_depthwise_row row = {.x = windows_at(s, r) + begin * step,
                                      .x_step = step,
                                      .n = ql_least(length, width - begin),
                                      .channels = f->out,
                                      .taps = s->segments,
                                      .offset = s->offset,
                                      .w = f->weight,
                                      .bias = f->bias,
                                      .low = f->clamps.low,
                                      .high = f->clamps.high,
                                      .y = results_at(s, r) + begin * f->out};
        f->kernels->depthwise_row_f32(&row);
    }
}

static void run_stage(stage *s, uint64_t cost_ns)
{
    const ql_filter_f32 *f = s->f;
    const size_t width = s->shape.window.out[1], rows = s->count * s->row_count;
    if (s->copy) {
        ql_parallel(s->count * extent(s, 0, s->row_count), cost_ns / 8, copy_row, s);
        s->base = s->copy;
    } else {
        s->base = s->x;
    }
    s->together = width < ITEM_PIXELS ? ITEM_PIXELS / width : 1;
    s->pieces = ql_divided_up(width, 2 * ITEM_PIXELS);
    const size_t parts = ql_divided_up(rows, s->together) * s->pieces;
    ql_parallel(f->is_depthwise ? parts : parts * f->groups * f->panels, cost_ns,
                f->is_depthwise ? multiply_lanes : multiply, s);
}

static size_t offsets_bytes(const ql_filter_f32 *f)
{
    return ql_round_up(f->kernel[0] * f->kernel[1] * sizeof(size_t), QL_ALIGNMENT);
}

bool ql_conv_f32_workspace(const ql_image_windows *shape, const ql_filter_f32 *f, size_t *bytes)
{
    stage s;
    size_t copy;
    return plan(shape, f, &s, &copy) && !__builtin_add_overflow(copy, offsets_bytes(f), bytes);
}

uint64_t ql_conv_f32_cost_ns(const ql_image_windows *s, const ql_filter_f32 *f)
{
    return (uint64_t)s->count * s->window.out[0] * s->window.out[1] * f->out * ql_filter_f32_rows(f) /
           (f->is_depthwise ? DEPTHWISE_PER_NS : PRODUCTS_PER_NS);
}

void ql_conv_f32_run(const float *x, const ql_image_windows *shape, const ql_filter_f32 *f, float *y, void *workspace)
{
    stage s;
    size_t copy_bytes;
    if (shape->count == 0 || !plan(shape, f, &s, &copy_bytes))
        return;
    s.x = x;
    s.y = y;
    s.offset = workspace;
    s.copy = copy_bytes ? (float *)((char *)workspace + offsets_bytes(f)) : NULL;
    fill_segments(&s);
    const size_t stages = ql_divided_up(s.shape.count, s.images) * ql_divided_up(s.shape.window.out[0], s.rows);
    const uint64_t cost_ns = ql_conv_f32_cost_ns(shape, f) / stages;
    for (s.first_image = 0; s.first_image < s.shape.count; s.first_image += s.images) {
        s.count = ql_least(s.images, s.shape.count - s.first_image);
        for (s.first_row = 0; s.first_row < s.shape.window.out[0]; s.first_row += s.rows) {
            s.row_count = ql_least(s.rows, s.shape.window.out[0] - s.first_row);
            run_stage(&s, cost_ns);
        }
    }
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
