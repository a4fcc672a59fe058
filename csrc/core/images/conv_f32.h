/* Convolution of floats, seen from inside the core: one fused multiply-add per element of a window, (u, v, c)
 * ascending, from 0; then the bias is added and the result clamped. Pixels outside the image are zeros, and multiplied.
 */
#ifndef QL_CONV_F32_H
#define QL_CONV_F32_H

#include "core/images/image_stage.h"
#include "kernels/kernels.h"

/* Weights [kernel_h][kernel_w][in][out] as they are multiplied: where there are groups of one channel in their own
 * order, else those of each group in panels [kernel_h * kernel_w * in][nr], filled up with zeros. */
typedef struct ql_filter_f32 {
    const ql_kernels *kernels;
    size_t kernel[2], in, out, groups;
    bool is_depthwise;
    size_t panels; /* of a group */
    float *weight; /* [ql_filter_f32_size], aligned to QL_ALIGNMENT */
    float *bias;   /* [out], zeros where there is none */
    ql_clamps clamps;
} ql_filter_f32;

/* Returns how many rows of weights there are: elements of a window of a group. */
static inline size_t ql_filter_f32_rows(const ql_filter_f32 *f)
{
    return f->kernel[0] * f->kernel[1] * f->in;
}

/* Fills in all but weight and bias; floats of the weight, for which the caller brings memory. */
void ql_filter_f32_begin(ql_filter_f32 *filter, const size_t shape[4], size_t groups);
size_t ql_filter_f32_size(const ql_filter_f32 *filter);

/* Clears weights and takes a bias, or NULL; packs row (u, v, c) of the weights, [out], which is number p. */
void ql_filter_f32_clear(ql_filter_f32 *filter, const float *bias);
void ql_filter_f32_put(ql_filter_f32 *filter, size_t p, const float *row);

/* Products of windows of a stage, which read so many floats behind where these begin, with a filter: those of `out`
 * windows of each image have results, which are so many floats apart. */
typedef struct ql_products_f32 {
    const ql_image_stage *stage;
    ql_segments segments;
    const ql_filter_f32 *f;
    size_t from, out[2];
    float *y;
    size_t image, row, pixel;
} ql_products_f32;

void ql_products_f32_run(const ql_products_f32 *products, uint64_t cost_ns);

/* Bytes that ql_conv_f32_run works with, aligned to QL_ALIGNMENT; false where size_t does not hold them. */
bool ql_conv_f32_workspace(const ql_image_windows *shape, const ql_filter_f32 *filter, size_t *bytes);

uint64_t ql_conv_f32_cost_ns(const ql_image_windows *shape, const ql_filter_f32 *filter);

/* Windows are valid, of the filter's kernel, and there are groups * in channels. */
void ql_conv_f32_run(const float *x, const ql_image_windows *shape, const ql_filter_f32 *filter, float *y,
                     void *workspace);

#endif
