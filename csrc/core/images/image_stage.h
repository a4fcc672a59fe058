/* Stages of a convolution of floats: some rows of windows of some images, and what they are computed from, a padded
 * copy or the images themselves. */
#ifndef QL_IMAGE_STAGE_H
#define QL_IMAGE_STAGE_H

#include "core/images/image_windows.h"

/* Strides are in floats. */
typedef struct ql_image_stage {
    ql_image_windows shape;
    const float *x;
    float *copy;                  /* NULL: x is read in place */
    size_t repeats, padded_width; /* of a channel in the copy; pixels of its rows */
    size_t images, rows;          /* of a whole stage */
    size_t pixel, row, image;     /* strides of what is read */
    const float *base;            /* what is read: the first window */
    size_t first_image, count;    /* of this stage; count is 0 before the first one */
    size_t first_row, row_count;
} ql_image_stage;

/* Images under windows of one pixel, one for each, as a single row of pixels; others as they are. */
ql_image_windows ql_flat_windows(const ql_image_windows *shape);

/* Chooses what is copied and how much at once, for images whose channels count `repeats` times. Returns false where
 * size_t does not hold the bytes of the copy, which the caller brings; there is none for 0. */
bool ql_image_stage_plan(const ql_image_windows *shape, size_t repeats, ql_image_stage *s, size_t *copy_bytes);

/* Goes on to the next stage, if there is one, and copies what it reads. cost_ns is about that of a stage's products. */
bool ql_image_stage_next(ql_image_stage *s, uint64_t cost_ns);

/* Rows of windows of the stage; the first window of row r, and the number of its result over all images. */
static inline size_t ql_image_stage_rows(const ql_image_stage *s)
{
    return s->count * s->row_count;
}

static inline const float *ql_image_stage_windows(const ql_image_stage *s, size_t r)
{
    return s->base + r / s->row_count * s->image + r % s->row_count * s->shape.window.stride[0] * s->row;
}

static inline size_t ql_image_stage_result(const ql_image_stage *s, size_t r)
{
    const ql_window *w = &s->shape.window;
    return ((s->first_image + r / s->row_count) * w->out[0] + s->first_row + r % s->row_count) * w->out[1];
}

/* A window as segments of neighbouring floats: rows of it, or pixels where there are groups or gaps. */
typedef struct ql_segments {
    size_t count, length;
    size_t *offset; /* [kernel_h * kernel_w] */
} ql_segments;

/* Finds the segments of a kernel, which may be smaller than that of the windows. */
void ql_image_stage_segments(const ql_image_stage *s, size_t groups, const size_t kernel[2], ql_segments *segments);

#endif
