/* What a convolution computes before it sees an image: how images lie under windows, and the arrays of sums' terms. */
#include <string.h>

#include "core/conv/conv.h"
#include "core/gemm/gemm.h"

/* ---- geometry ----------------------------------------------------------------------------------- */

static bool is_plain_product(const ql_images *x, const ql_filter *w, const ql_window *window)
{
    return w->packed && ql_filter_segments(w) == 1 && w->shape[1] == 1 && window->stride[0] == 1 &&
           window->stride[1] == 1 && window->before[0] == 0 && window->before[1] == 0 && window->out[0] == x->height &&
           window->out[1] == x->width;
}

/* Computes the rows or columns that `count` neighbouring windows cover. Returns whether size_t holds them. */
static bool extent(const size_t size[2], const ql_window *window, int axis, size_t count, size_t *length)
{
    size_t gaps, steps;
    if (__builtin_mul_overflow(size[axis] - 1, window->dilation[axis], &gaps) ||
        __builtin_mul_overflow(count - 1, window->stride[axis], &steps))
        return false;
    return !__builtin_add_overflow(gaps, steps, length) && !__builtin_add_overflow(*length, (size_t)1, length);
}

bool ql_has_whole_segments(const ql_packed *b)
{
    return !b->gemm->ranges || b->k / b->segments % b->depth == 0;
}

/* Depthwise kernels read whole blocks of lanes, which go beyond the last pixel unless it fills them. */
static bool is_in_place(const ql_geometry *g, size_t channels, size_t element_bytes)
{
    const bool is_whole =
        g->w->packed ? ql_has_whole_segments(g->w->packed[0]) : channels % g->w->kernels->depthwise_u8s8s32->lanes == 0;
    return is_whole && element_bytes == 1 && !g->flip && channels == g->channels && g->window.before[0] == 0 &&
           g->window.before[1] == 0 && g->all_rows <= g->height && g->padded_width <= g->width;
}

ql_status ql_geometry_over(const ql_filter *w, const size_t size[2], const ql_images *x, const ql_window *window,
                           ql_geometry *g)
{
    const size_t element_bytes = w->packed ? w->packed[0]->gemm->a_size : 1;
    const size_t channels = w->packed ? x->channels : w->shape[3]; /* depthwise ones as often as they have results */
    size_t all_bytes;
    *g = (ql_geometry){.w = w,
                       .window = *window,
                       .height = x->height,
                       .width = x->width,
                       .channels = x->channels,
                       .flip = x->is_signed ? 128 : 0,
                       .threads = ql_num_threads(),
                       .pixel_stride = channels * element_bytes};
    if (!extent(size, window, 0, window->out[0], &g->all_rows) || !extent(size, window, 0, 1, &g->one_row) ||
        !extent(size, window, 1, window->out[1], &g->padded_width))
        return QL_ENOMEM;
    g->is_in_place = is_in_place(g, channels, element_bytes);
    const size_t width = g->is_in_place ? g->width : g->padded_width;
    if (__builtin_mul_overflow(width, g->pixel_stride, &g->row_stride) ||
        __builtin_mul_overflow(g->all_rows, g->row_stride, &all_bytes))
        return QL_ENOMEM;
    return QL_OK;
}

ql_status ql_geometry_init(const ql_filter *w, const ql_images *x, const ql_window *window, ql_geometry *g)
{
    const ql_status status = ql_geometry_over(w, w->shape, x, window, g);
    const double macs = (double)(w->shape[0] * w->shape[1] * w->shape[2]) * (double)w->shape[3];
    g->is_product = is_plain_product(x, w, window);
    g->window_ns = macs / (w->packed ? QL_MACS_PER_NS : QL_LANES_PER_NS);
    return status;
}

/* ---- terms -------------------------------------------------------------------------------------- */

size_t ql_start_bytes(const ql_filter *w)
{
    const size_t columns = w->packed ? w->groups * w->packed[0]->n_padded : w->taps.lanes;
    return ql_round_up(columns * sizeof(int32_t), QL_ALIGNMENT);
}

void ql_fill_start(const ql_filter *w, const int32_t *bias, int32_t zero_point, int32_t *start)
{
    if (!w->packed) {
        ql_taps_fill_start(w, bias, zero_point, start);
        return;
    }
    for (size_t g = 0; g < w->groups; g++) {
        const ql_packed *b = w->packed[g];
        ql_gemm_init(b, bias ? bias + g * b->n : NULL, zero_point, start + g * b->n_padded);
    }
}

size_t ql_repeated_bytes(size_t padded)
{
    return 2 * padded * sizeof(float);
}

/* Repeats n values of four bytes, with zeros up to `padded`. */
static void repeat(const void *values, size_t n, size_t times, size_t padded, void *to)
{
    const size_t bytes = n * sizeof(int32_t);
    for (size_t i = 0; i < times; i++)
        memcpy((char *)to + i * bytes, values, bytes);
    memset((char *)to + times * bytes, 0, (padded - times * n) * sizeof(int32_t));
}

void ql_repeat_columns(const ql_epilogue *epilogue, size_t n, size_t times, size_t padded, void *columns,
                       ql_epilogue *own)
{
    float *first = columns, *second = first + padded;
    *own = *epilogue;
    own->scale = own->multiplier = first;
    own->offset = own->below = second;
    own->mantissa = (int32_t *)columns;
    own->exponent = own->mantissa + padded;
    if (epilogue->store == QL_STORE_F32) {
        repeat(epilogue->scale, n, times, padded, first);
        repeat(epilogue->offset, n, times, padded, second);
    } else if (epilogue->store == QL_STORE_X8) {
        repeat(epilogue->multiplier, n, times, padded, first);
        if (epilogue->curve == QL_CURVE_PRELU)
            repeat(epilogue->below, n, times, padded, second);
    } else if (epilogue->store == QL_STORE_X8_FIXED) {
        repeat(epilogue->mantissa, n, times, padded, first);
        repeat(epilogue->exponent, n, times, padded, second);
    }
}

static size_t offset_bytes(const ql_filter *w)
{
    const size_t count = w->packed ? ql_filter_segments(w) : ql_taps_offsets(w);
    return ql_round_up(count * sizeof(size_t), QL_ALIGNMENT);
}

/* Fills the offsets of all segments, again for every part of the weights. */
static void fill_offsets(const ql_geometry *g, size_t *offset)
{
    const ql_filter *w = g->w;
    const size_t kh = w->shape[0], kw = w->by_row ? 1 : w->shape[1], taps = kh * kw;
    for (size_t t = 0; t < ql_filter_segments(w); t++) {
        const size_t u = t % taps / kw, v = t % kw;
        offset[t] = u * g->window.dilation[0] * g->row_stride + v * g->window.dilation[1] * g->pixel_stride;
    }
}

size_t ql_terms_bytes(const ql_filter *w)
{
    const size_t columns = w->packed ? 0 : ql_round_up(ql_repeated_bytes(w->taps.lanes), QL_ALIGNMENT);
    return ql_start_bytes(w) + offset_bytes(w) + columns;
}

void ql_terms_fill(const ql_geometry *g, const int32_t *bias, int32_t zero_point, const ql_epilogue *epilogue,
                   void *memory, ql_terms *terms)
{
    const ql_filter *w = g->w;
    const size_t starts = ql_start_bytes(w);
    *terms = (ql_terms){.zero_point = zero_point,
                        .start = memory,
                        .offset = (size_t *)((char *)memory + starts),
                        .epilogue = *epilogue};
    ql_fill_start(w, bias, zero_point, terms->start);
    if (w->packed) {
        fill_offsets(g, terms->offset);
    } else {
        ql_taps_fill_offsets(g, terms->offset);
        ql_repeat_columns(epilogue, w->shape[3], w->taps.unit, w->taps.lanes, (char *)memory + starts + offset_bytes(w),
                          &terms->epilogue);
    }
}
