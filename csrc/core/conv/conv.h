/* Convolution, seen from inside the core: what is known ahead is computed ahead. */
#ifndef QL_CONV_H
#define QL_CONV_H

#include "core/base/memory.h"
#include "core/gemm/packed.h"

/* ---- weights ------------------------------------------------------------------------------------ */

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

/* Weights [panels][points][depth / 2][QL_WINOGRAD_COLUMNS][2] for tiles of side x side results: a panel has so many
 * columns, a point is one of (side + 2)^2, and depth are the channels in, padded to an even number. */
typedef struct ql_winograd {
    size_t side; /* 0: there are none */
    size_t points, depth, panel_bytes;
    int16_t *weights;
} ql_winograd;

/* Weights are kept as int8 distances from their zero points. Those that do not fit are split in `parts` terms, each
 * multiplied with the same codes. */
struct ql_filter {
    const ql_kernels *kernels;
    size_t shape[4]; /* kernel_h, kernel_w, in, out */
    size_t groups, parts;
    bool is_dilated;
    bool are_distances; /* the codes themselves */
    bool by_row;        /* a segment is a row of a window, kernel_w * in elements; else one tap, in elements */
    ql_packed **packed; /* [groups], of parts * kernel_h [* kernel_w] segments; NULL: depthwise */
    ql_taps taps;
    ql_winograd winograd; /* instead of the panels of packed[0] */
};

/* Returns how many segments a window has, each for all parts. */
static inline size_t ql_filter_segments(const ql_filter *w)
{
    return w->parts * w->shape[0] * (w->by_row ? 1 : w->shape[1]);
}

/* Tells whether |sum + bias| stays in int32 for every image whose codes are at most `reach` from their zero point. */
bool ql_filter_fits(const ql_filter *w, int32_t reach, const int32_t *bias);

/* Packs terms [parts][kernel_h * kernel_w][out] into w->taps. On QL_ENOMEM ql_filter_free frees what is there. */
ql_status ql_taps_pack(ql_filter *w, const int8_t *terms);

/* Packs like ql_filter_pack for these kernels. */
ql_status ql_filter_pack_with(const ql_kernels *kernels, const uint8_t *w, bool is_signed, const size_t shape[4],
                              const int32_t *zero_point, size_t groups, bool is_dilated, ql_filter **filter);

/* Returns how many neighbouring pixels of a row are best computed as one unit, with the results of all; 1 unless a tile
 * has columns for them. The filter is of one group and without gaps. */
size_t ql_unit_of(const ql_gemm_kernels *gemm, const size_t shape[4], const ql_window *window);

/* Packs a filter of such units [kernel_h][kernel_w + (unit - 1) * stride][in][unit * out]: windows of a unit begin
 * unit * stride pixels apart. */
ql_status ql_filter_pack_unit(const uint8_t *w, bool is_signed, const size_t shape[4], const int32_t *zero_point,
                              size_t stride, size_t unit, ql_filter **filter);

/* Fills in n values several times. */
void ql_repeat_s32(const int32_t *values, size_t n, size_t times, int32_t *repeated);

/* ---- convolutions ------------------------------------------------------------------------------- */

/* Images of one size under windows: what does not depend on their number. Strides are in bytes. */
typedef struct ql_geometry {
    const ql_filter *w;
    ql_window window;
    size_t height, width, channels; /* of an image */
    uint8_t flip;                   /* 128: codes are s8 */
    bool is_product;                /* pixels are the rows of a product: windows are single pixels, and all of them */
    bool is_in_place;               /* windows are read in the images; else in a padded copy */
    double window_ns;               /* of one thread, about */
    size_t threads;                 /* that have a stage in their caches, at most */
    size_t one_row, all_rows;       /* rows of the copy: under one row of windows, and under all */
    size_t padded_width;            /* pixels of a row of the copy */
    size_t pixel_stride, row_stride;
} ql_geometry;

/* What is added to the sums of products, and what becomes of them. */
typedef struct ql_terms {
    int32_t zero_point;     /* of the images, as u8 */
    size_t *offset;         /* of segments or taps */
    int32_t *start;         /* of columns or lanes */
    const float *row_scale; /* a factor of the sums for QL_STORE_F32, ql_geometry_rows of them; NULL: ones */
    ql_residual residual;   /* as large as the result; not of depthwise ones */
    ql_epilogue epilogue;
} ql_terms;

/* Returns whether images can be multiplied with panels in place. What serves in the place of ranges goes from one
 * segment of a panel to the next by its k. A filter of one segment has several with other weights, for which the same
 * memory has to do. */
bool ql_has_whole_segments(const ql_packed *b);

/* QL_ENOMEM: sizes that size_t does not hold. */
ql_status ql_geometry_init(const ql_filter *w, const ql_images *x, const ql_window *window, ql_geometry *geometry);

/* Does the same for windows of another size, on which filters like w work, all of them in place if w can. */
ql_status ql_geometry_over(const ql_filter *w, const size_t size[2], const ql_images *x, const ql_window *window,
                           ql_geometry *geometry);

enum { QL_MACS_PER_NS = 256, QL_LANES_PER_NS = 64 };

/* Rows of a product, or pixels of an output row: what a tile's rows are. */
static inline size_t ql_geometry_rows(const ql_geometry *g)
{
    return g->is_product ? g->height * g->width : g->window.out[1];
}

/* Returns the bytes of one start value per column or lane, aligned to QL_ALIGNMENT; fills them in:
 * bias - zero_point * column_sum, for a zero point as u8. bias may be NULL. */
size_t ql_start_bytes(const ql_filter *w);
void ql_fill_start(const ql_filter *w, const int32_t *bias, int32_t zero_point, int32_t *start);

/* Returns the bytes of the arrays of terms, a multiple of QL_ALIGNMENT; fills the terms in, with their arrays in
 * `memory`, which is aligned to it. Depthwise ones have a copy of the epilogue's arrays, others point to these. */
size_t ql_terms_bytes(const ql_filter *w);
void ql_terms_fill(const ql_geometry *g, const int32_t *bias, int32_t zero_point, const ql_epilogue *epilogue,
                   void *memory, ql_terms *terms);

/* Returns the bytes of an epilogue's arrays for so many columns; fills them in with those of n columns several times,
 * zeros behind, and makes *own of them. */
size_t ql_repeated_bytes(size_t columns);
void ql_repeat_columns(const ql_epilogue *epilogue, size_t n, size_t times, size_t columns, void *memory,
                       ql_epilogue *own);

/* Returns about how long one thread convolves so many images, with weights of one part. */
uint64_t ql_conv_cost_ns(const ql_geometry *g, size_t images);

/* Returns the bytes that ql_conv_run needs for up to so many images, also with other weights of the same shape whose
 * geometry is no product unless this one is; more than PTRDIFF_MAX: there cannot be as many. */
size_t ql_conv_workspace(const ql_geometry *g, size_t images);

/* Convolves. workspace is aligned to QL_ALIGNMENT. */
void ql_conv_run(const ql_geometry *g, const ql_terms *terms, const uint8_t *x, size_t images, void *y,
                 void *workspace);

/* The same for images with a scale, and a zero point as u8, of their own: y = clamp((float32(sum) * scale[i]) *
 * epilogue.scale + epilogue.offset). The terms' own zero point and start do not count. */
size_t ql_conv_scaled_workspace(const ql_geometry *g);
void ql_conv_run_scaled(const ql_geometry *g, const ql_terms *terms, const uint8_t *x, size_t images,
                        const float *scale, const int32_t *zero_point, void *y, void *workspace);

/* ---- stages ------------------------------------------------------------------------------------- */

/* Some output rows of some images, and what they are computed from, a padded copy or the images themselves. */
typedef struct ql_stage ql_stage;

struct ql_stage {
    const ql_geometry *g;
    const ql_terms *terms;
    /* Computes rows begin..end - 1, in pieces first..last - 1 of the results. */
    void (*compute)(const ql_stage *s, size_t begin, size_t end, size_t first, size_t last);
    size_t pieces;
    const void *weights; /* for `compute`, where g does not have them */
    const uint8_t *x;
    char *y;
    size_t c_size;                       /* bytes per element of y */
    char *copy;                          /* NULL: x is read in place */
    size_t first_image, images;          /* images of the stage */
    size_t first_row, rows, padded_rows; /* output rows of each image; rows of the copy */
    const char *base;                    /* the first window */
    size_t image_stride;
    size_t block, blocks, chunk, chunks; /* items of work: output rows by pieces */
    ql_gemm_args args;
};

static inline size_t ql_result_bytes(ql_store store)
{
    return store == QL_STORE_S32 || store == QL_STORE_F32 ? 4 : 1;
}

/* Returns how many elements tiles read of segments of k: what follows one in the copy meets weights of 0. */
static inline size_t ql_stage_depth(const ql_stage *s, const ql_packed *b, size_t k)
{
    return s->copy ? ql_round_up(k, b->depth) : k;
}

/* Returns the bytes of the copies of stages. */
size_t ql_stages_workspace(const ql_geometry *g, size_t images);

/* Computes all stages, one after the other. The first fields are filled, up to `copy`. */
void ql_stages_run(ql_stage *s, size_t images);

/* Returns the first window of output row r of the stage, and the first of its results. */
static inline const char *ql_stage_windows(const ql_stage *s, size_t r)
{
    return s->base + r / s->rows * s->image_stride + r % s->rows * s->g->window.stride[0] * s->g->row_stride;
}

static inline char *ql_stage_results(const ql_stage *s, size_t r)
{
    const ql_window *window = &s->g->window;
    const size_t row = (s->first_image + r / s->rows) * window->out[0] + s->first_row + r % s->rows;
    return s->y + row * window->out[1] * s->g->w->shape[3] * s->c_size;
}

/* ---- depthwise ---------------------------------------------------------------------------------- */

/* Converts pixels to what ql_taps_rows reads: codes ^ flip, each channel as often as it has results. */
void ql_taps_convert(const ql_filter *w, const uint8_t *pixels, size_t count, uint8_t flip, uint8_t *out);

/* Fills the start values of all lanes of a unit. */
void ql_taps_fill_start(const ql_filter *w, const int32_t *bias, int32_t zero_point, int32_t *start);

/* Returns how many offsets of taps there are; fills them in. */
size_t ql_taps_offsets(const ql_filter *w);
void ql_taps_fill_offsets(const ql_geometry *g, size_t *offset);

/* Computes output rows begin..end - 1 of the stage. */
void ql_taps_rows(const ql_stage *s, size_t begin, size_t end);

#endif
