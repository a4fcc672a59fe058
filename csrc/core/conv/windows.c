/* Convolution without im2col: the product's rows are windows, read where they lie in the image.
 *
 * A window's row is one stretch of kernel_w * in elements, and the next pixel's begins a pixel further on, so tiles run
 * along an output row with their rows stride * channels apart. What has to be padded, or be converted for the tiles, is
 * copied once: a copy of the image costs 1 % of a 3 x 3 convolution of 64 channels, the nine copies of im2col cost 8 %.
 * (Why tiles do not run over the end of an output row: rows of 7 leave a tile of 12 half empty, but the load ports
 * still keep up with 14 accumulators.)
 *
 * Work goes in stages: as many images, or rows of one, as have a copy that stays in L2. A stage is copied, then its
 * output rows are computed panel by panel of the weights. */
#include <string.h>

#include "core/base/memory.h"
#include "core/base/parallel.h"
#include "core/base/sizes.h"
#include "core/conv/conv.h"
#include "core/gemm/gemm.h"

enum { STAGE_BYTES = 256 * 1024, SLACK = 64, ITEMS_PER_THREAD = 4 };
enum { MACS_PER_NS = 256, LANES_PER_NS = 64, COPIED_PER_NS = 16 };

/* Computes the rows or columns that `count` neighbouring windows cover. Returns whether size_t holds them. */
static bool extent(const ql_filter *w, const ql_window *window, int axis, size_t count, size_t *length)
{
    size_t gaps, steps;
    if (__builtin_mul_overflow(w->shape[axis] - 1, window->dilation[axis], &gaps) ||
        __builtin_mul_overflow(count - 1, window->stride[axis], &steps))
        return false;
    return !__builtin_add_overflow(gaps, steps, length) && !__builtin_add_overflow(*length, (size_t)1, length);
}

static size_t element_bytes(const ql_filter *w)
{
    return w->packed ? w->packed[0]->gemm->a_size : 1;
}

/* Returns the channels of the copy, where depthwise ones stand as often as they have results. */
static size_t copied_channels(const ql_stage *s)
{
    return s->w->packed ? s->x->channels : s->w->shape[3];
}

static bool is_in_place(const ql_stage *s, size_t rows, size_t width)
{
    return element_bytes(s->w) == 1 && !s->x->is_signed && copied_channels(s) == s->x->channels &&
           s->window->before[0] == 0 && s->window->before[1] == 0 && rows <= s->x->height && width <= s->x->width;
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
    const ql_images *x = s->x;
    const size_t image = s->first_image + item / s->padded_rows, channels = copied_channels(s);
    const size_t row = s->first_row * s->window->stride[0] + item % s->padded_rows, above = s->window->before[0];
    const size_t left = ql_least(s->window->before[1], s->padded_width), a_size = element_bytes(s->w);
    const bool is_outside = row < above || row - above >= x->height;
    const size_t count = is_outside ? 0 : ql_least(x->width, s->padded_width - left);
    const size_t right = s->padded_width - left - count;
    const uint8_t flip = x->is_signed ? 128 : 0, zero = (uint8_t)(x->zero_point + flip);
    char *out = s->copy + item * s->row_stride, *inside = out + left * s->pixel_stride;
    fill(out, zero, left * channels, a_size);
    fill(inside + count * s->pixel_stride, zero, right * channels, a_size);
    if (count == 0)
        return;
    const uint8_t *pixels = x->data + (image * x->height + row - above) * x->width * x->channels;
    if (s->w->packed)
        s->w->packed[0]->gemm->row(pixels, count * channels, flip, count * channels, inside);
    else
        ql_taps_convert(s->w, pixels, count, flip, (uint8_t *)inside);
}

/* ---- computing ---------------------------------------------------------------------------------- */

/* Computes columns first..last - 1 of a group's product, for output rows begin..end - 1. */
static void multiply(const ql_stage *s, size_t group, size_t first, size_t last, size_t begin, size_t end)
{
    const ql_filter *w = s->w;
    const ql_packed *b = w->packed[group];
    const size_t width = s->window->out[1], step = width <= b->gemm->wide_mr ? 2 * b->nr : b->nr;
    const ql_epilogue epilogue = ql_epilogue_from(s->epilogue, group * b->n);
    ql_gemm_args args = s->args;
    args.b = b->panels;
    args.panel_stride = b->panel_bytes;
    args.start = s->start + group * b->n_padded;
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
    const size_t total = s->images * s->rows;
    const size_t begin = item / s->chunks * s->block, end = ql_least(total, begin + s->block);
    const size_t first = item % s->chunks * s->chunk;
    if (!s->w->packed) {
        ql_taps_rows(s, begin, end);
    } else if (s->w->groups == 1) {
        const size_t pair = 2 * s->w->packed[0]->nr;
        multiply(s, 0, first * pair, ql_least(s->w->shape[3], (first + s->chunk) * pair), begin, end);
    } else {
        for (size_t g = first; g < ql_least(s->w->groups, first + s->chunk); g++)
            multiply(s, g, 0, s->w->packed[g]->n, begin, end);
    }
}

static uint64_t compute_ns(const ql_stage *s)
{
    const size_t *shape = s->w->shape;
    const double results = (double)(s->images * s->rows) * (double)s->window->out[1] * (double)shape[3];
    const double depth = (double)s->w->parts * (double)(shape[0] * shape[1] * shape[2]);
    const double cost = results * depth / (s->w->packed ? MACS_PER_NS : LANES_PER_NS);
    return cost < 1e18 ? (uint64_t)cost : (uint64_t)1e18;
}

/* Cuts the stage in items that give every thread several, or in one for a single thread. */
static void cut(ql_stage *s, uint64_t cost)
{
    const size_t threads = ql_threads_for(cost);
    const size_t items = threads > 1 ? ITEMS_PER_THREAD * threads : 1, rows = s->images * s->rows;
    const size_t pieces = !s->w->packed      ? 1
                          : s->w->groups > 1 ? s->w->groups
                                             : ql_divided_up(s->w->shape[3], 2 * s->w->packed[0]->nr);
    s->block = ql_divided_up(rows, items);
    s->blocks = ql_divided_up(rows, s->block);
    s->chunk = ql_divided_up(pieces, ql_divided_up(items, s->blocks));
    s->chunks = ql_divided_up(pieces, s->chunk);
}

static void run_stage(ql_stage *s)
{
    const ql_images *x = s->x;
    const uint64_t cost = compute_ns(s);
    if (s->copy) {
        const size_t count = s->images * s->padded_rows;
        s->base = s->copy;
        s->image_stride = s->padded_rows * s->row_stride;
        memset(s->copy + count * s->row_stride, 0, SLACK);
        ql_parallel(count, count * s->row_stride / COPIED_PER_NS, copy_row, s);
    } else {
        const size_t row = s->first_image * x->height + s->first_row * s->window->stride[0];
        s->base = (const char *)x->data + row * s->row_stride;
        s->image_stride = x->height * s->row_stride;
    }
    cut(s, cost);
    ql_parallel(s->blocks * s->chunks, cost, compute_item, s);
}

/* ---- planning ----------------------------------------------------------------------------------- */

/* Fills the offsets of all segments, again for every part of the weights. */
static void fill_offsets(const ql_stage *s)
{
    if (!s->w->packed) {
        ql_taps_fill_offsets(s, s->offset);
        return;
    }
    const size_t kh = s->w->shape[0], kw = s->w->by_row ? 1 : s->w->shape[1], taps = kh * kw;
    for (size_t t = 0; t < ql_filter_segments(s->w); t++) {
        const size_t u = t % taps / kw, v = t % kw;
        s->offset[t] = u * s->window->dilation[0] * s->row_stride + v * s->window->dilation[1] * s->pixel_stride;
    }
}

static void fill_args(ql_stage *s)
{
    const ql_filter *w = s->w;
    const size_t k = w->shape[2] * (w->by_row ? w->shape[1] : 1);
    s->args = (ql_gemm_args){.a_stride = s->window->stride[1] * s->pixel_stride,
                             /* what follows a segment in the copy meets weights of 0 */
                             .k = s->copy ? ql_round_up(k, w->packed[0]->kr) : k,
                             .segments = ql_filter_segments(w),
                             .offset = s->offset,
                             .c_stride = w->shape[3]};
}

static void fill_start(ql_stage *s, const int32_t *bias, ql_epilogue *own)
{
    const ql_filter *w = s->w;
    const int32_t zero_point = s->x->zero_point + (s->x->is_signed ? 128 : 0);
    if (!w->packed) {
        ql_taps_fill(w, bias, zero_point, s->epilogue, s->columns, own, s->start);
        s->epilogue = own;
        return;
    }
    for (size_t g = 0; g < w->groups; g++) {
        const ql_packed *b = w->packed[g];
        ql_gemm_init(b, bias ? bias + g * b->n : NULL, zero_point, s->start + g * b->n_padded);
    }
}

/* Chooses the images or rows of a stage, and its strides. */
static ql_status plan(ql_stage *s, size_t *copy_bytes)
{
    const ql_images *x = s->x;
    const ql_window *window = s->window;
    const size_t channels = copied_channels(s);
    size_t all_rows, one_row, row_bytes, bytes;
    if (!extent(s->w, window, 0, window->out[0], &all_rows) || !extent(s->w, window, 0, 1, &one_row) ||
        !extent(s->w, window, 1, window->out[1], &s->padded_width))
        return QL_ENOMEM;
    const bool in_place = is_in_place(s, all_rows, s->padded_width);
    s->pixel_stride = channels * element_bytes(s->w);
    if (__builtin_mul_overflow(in_place ? x->width : s->padded_width, s->pixel_stride, &row_bytes) ||
        __builtin_mul_overflow(all_rows, row_bytes, &bytes))
        return QL_ENOMEM;
    s->row_stride = row_bytes;
    s->images = x->count, s->rows = window->out[0];
    const size_t most = STAGE_BYTES * ql_threads_for(compute_ns(s));
    if (bytes <= most) {
        s->images = ql_least(x->count, most / bytes);
    } else {
        const size_t fitting = most / row_bytes;
        const size_t rows = fitting > one_row ? (fitting - one_row) / window->stride[0] + 1 : 1;
        s->images = 1;
        s->rows = ql_divided_up(window->out[0], ql_divided_up(window->out[0], rows));
    }
    extent(s->w, window, 0, s->rows, &s->padded_rows);
    if (__builtin_mul_overflow(s->images * s->padded_rows, row_bytes, &bytes) || bytes > PTRDIFF_MAX - SLACK)
        return QL_ENOMEM;
    *copy_bytes = in_place ? 0 : bytes + SLACK;
    return QL_OK;
}

static void run_stages(ql_stage *s)
{
    const size_t images = s->images, rows = s->rows;
    for (s->first_image = 0; s->first_image < s->x->count; s->first_image += images) {
        s->images = ql_least(images, s->x->count - s->first_image);
        for (s->first_row = 0; s->first_row < s->window->out[0]; s->first_row += rows) {
            s->rows = ql_least(rows, s->window->out[0] - s->first_row);
            extent(s->w, s->window, 0, s->rows, &s->padded_rows);
            run_stage(s);
        }
    }
}

ql_status ql_conv_in_stages(ql_stage *s, const int32_t *bias)
{
    const ql_filter *w = s->w;
    const size_t count = w->packed ? ql_filter_segments(w) : ql_taps_offsets(w);
    const size_t starts = ql_filter_start_bytes(w), offsets = ql_round_up(count * sizeof(size_t), QL_ALIGNMENT);
    const size_t columns = w->packed ? 0 : ql_round_up(ql_taps_columns_bytes(w), QL_ALIGNMENT);
    size_t copy_bytes, bytes;
    const ql_status status = plan(s, &copy_bytes);
    if (status != QL_OK)
        return status;
    if (__builtin_add_overflow(starts + offsets + columns, copy_bytes, &bytes))
        return QL_ENOMEM;
    char *memory = ql_alloc(1, bytes);
    if (!memory)
        return QL_ENOMEM;
    ql_epilogue own;
    s->start = (int32_t *)memory;
    s->offset = (size_t *)(memory + starts);
    s->columns = memory + starts + offsets;
    s->copy = copy_bytes ? memory + starts + offsets + columns : NULL;
    fill_start(s, bias, &own);
    fill_offsets(s);
    if (w->packed)
        fill_args(s);
    run_stages(s);
    free(memory);
    return QL_OK;
}
