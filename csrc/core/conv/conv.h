/* Convolution, seen from inside the core. */
#ifndef QL_CONV_H
#define QL_CONV_H

#include "core/base/memory.h"
#include "core/gemm/packed.h"

/* Weights of all taps for one output row, or for two, one above the other, at the same time. */
typedef struct ql_tap_set {
    size_t outputs;     /* rows; 0: the set is empty */
    size_t count;       /* taps, padded to a multiple of the kernel's */
    size_t block_bytes; /* of a block of lanes */
    int8_t *blocks;
} ql_tap_set;

/* Weights of one channel per group, for ql_depthwise_kernel. A unit is as many neighbouring pixels as fill blocks
 * of lanes; windows that move by one pixel are computed a unit at a time, others a pixel. */
typedef struct ql_taps {
    ql_tap_set set[2];   /* for one output row; for two */
    size_t unit;         /* pixels of a unit */
    size_t lanes;        /* lanes of a unit, padded to whole blocks */
    int32_t *column_sum; /* [out] */
    int64_t column_reach;
} ql_taps;

/* Weights are kept as int8 distances from their zero points. Those that do not fit are split in `parts` terms, each
 * multiplied with the same codes. */
struct ql_filter {
    const ql_kernels *kernels;
    size_t shape[4]; /* kernel_h, kernel_w, in, out */
    size_t groups, parts;
    bool is_dilated;
    bool by_row;        /* a segment is a row of a window, kernel_w * in elements; else one tap, in elements */
    ql_packed **packed; /* [groups], of parts * kernel_h [* kernel_w] segments; NULL: depthwise */
    ql_taps taps;
};

/* Returns how many segments a window has, each for all parts. */
static inline size_t ql_filter_segments(const ql_filter *w)
{
    return w->parts * w->shape[0] * (w->by_row ? 1 : w->shape[1]);
}

/* Returns the bytes of one start value per column or lane, aligned to QL_ALIGNMENT. */
static inline size_t ql_filter_start_bytes(const ql_filter *w)
{
    const size_t columns = w->packed ? w->groups * w->packed[0]->n_padded : w->taps.lanes;
    return ql_round_up(columns * sizeof(int32_t), QL_ALIGNMENT);
}

/* Packs terms [parts][kernel_h * kernel_w][out] into w->taps. On QL_ENOMEM ql_filter_free frees what is there. */
ql_status ql_taps_pack(ql_filter *w, const int8_t *terms);

/* Stage of a convolution: some output rows of some images, and what they are computed from, a padded copy or the images
 * themselves. Strides are in bytes. */
typedef struct ql_stage {
    const ql_images *x;
    const ql_filter *w;
    const ql_window *window;
    const ql_epilogue *epilogue;
    char *y;
    size_t c_size;                    /* bytes per element of y */
    size_t first_image, images;       /* images of the stage */
    size_t first_row, rows;           /* output rows of each image */
    size_t padded_width, padded_rows; /* pixels of the copy */
    char *copy;                       /* NULL: x is read in place */
    const char *base;                 /* the first window */
    size_t pixel_stride, row_stride, image_stride;
    size_t block, blocks, chunk, chunks; /* items of work: output rows by pieces of the columns */
    size_t *offset;                      /* [segments] */
    int32_t *start;
    void *columns; /* memory for ql_taps_fill */
    ql_gemm_args args;
} ql_stage;

/* Convolves stage by stage, where x, w, window, epilogue, y and c_size are given and no length of the result is 0. */
ql_status ql_conv_in_stages(ql_stage *s, const int32_t *bias);

/* Returns the first window of output row r of the stage, and the first of its results. */
static inline const char *ql_stage_windows(const ql_stage *s, size_t r)
{
    return s->base + r / s->rows * s->image_stride + r % s->rows * s->window->stride[0] * s->row_stride;
}

static inline char *ql_stage_results(const ql_stage *s, size_t r)
{
    const size_t row = (s->first_image + r / s->rows) * s->window->out[0] + s->first_row + r % s->rows;
    return s->y + row * s->window->out[1] * s->w->shape[3] * s->c_size;
}

/* Converts pixels to what ql_taps_rows reads: codes ^ flip, each channel as often as it has results. */
void ql_taps_convert(const ql_filter *w, const uint8_t *pixels, size_t count, uint8_t flip, uint8_t *out);

/* Returns the bytes of `columns` of ql_taps_fill, which is aligned to QL_ALIGNMENT. */
size_t ql_taps_columns_bytes(const ql_filter *w);

/* Fills start[lane] = bias - zero_point * column_sum, and *own with the epilogue's arrays in `columns`, for all lanes
 * of a unit. */
void ql_taps_fill(const ql_filter *w, const int32_t *bias, int32_t zero_point, const ql_epilogue *epilogue,
                  void *columns, ql_epilogue *own, int32_t *start);

/* Returns how many offsets of taps there are; fills them in. */
size_t ql_taps_offsets(const ql_filter *w);
void ql_taps_fill_offsets(const ql_stage *s, size_t *offset);

/* Computes output rows begin..end - 1 of the stage. */
void ql_taps_rows(const ql_stage *s, size_t begin, size_t end);

#endif
