/* Transposed convolution of floats by phases (phases.h): one fused multiply-add per pixel and channel that reach a
 * result, (i, j, c) ascending, from 0; then the bias is added and the result clamped. Pixels outside the image are
 * zeros, and multiplied. */
#ifndef QL_TRANSPOSED_F32_H
#define QL_TRANSPOSED_F32_H

#include "core/images/conv_f32.h"
#include "core/images/phases.h"

/* One for each result of a block, that of row y / width and pixel y % width. */
typedef struct ql_transposed_f32 {
    ql_expansion shape;
    ql_phase_windows windows[2];
    size_t count;
    ql_filter_f32 *phases;
} ql_transposed_f32;

/* Makes room for weights. QL_ENOMEM: nothing is kept. */
ql_status ql_transposed_f32_init(const ql_expansion *shape, ql_transposed_f32 *t);
void ql_transposed_f32_free(ql_transposed_f32 *t);
size_t ql_transposed_f32_bytes(const ql_transposed_f32 *t);

/* Takes a bias, or NULL; packs row (u, v, c) of the weights, [channels], which is number p, in order. */
void ql_transposed_f32_clear(ql_transposed_f32 *t, const float *bias, ql_clamps clamps);
void ql_transposed_f32_put(ql_transposed_f32 *t, size_t p, const float *row);

/* As those of ql_conv_f32. */
bool ql_transposed_f32_workspace(const ql_transposed_f32 *t, size_t images, size_t *bytes);
uint64_t ql_transposed_f32_cost_ns(const ql_transposed_f32 *t, size_t images);
void ql_transposed_f32_run(const ql_transposed_f32 *t, const float *x, size_t images, float *y, void *workspace);

#endif
