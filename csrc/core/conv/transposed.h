/* Transposed convolution of codes by phases (core/images/phases.h), each a product that writes every stride-th pixel.
 */
#ifndef QL_TRANSPOSED_H
#define QL_TRANSPOSED_H

#include "core/conv/conv.h"
#include "core/images/phases.h"

/* Results that lie alike. */
typedef struct ql_phase {
    ql_filter *filter;                /* [taps_h][taps_w][in][repeats * channels], back to front */
    size_t from[2];                   /* row and pixel of a window where the taps begin */
    size_t to[2];                     /* row and pixel of the first result */
    size_t width;                     /* windows of a row */
    size_t first_start, first_offset; /* of its terms */
} ql_phase;

typedef struct ql_transposed {
    ql_expansion shape;
    ql_phase_windows windows[2];
    bool is_apart;  /* each phase along the width is a product of its own; else those of `blocks` are one together */
    size_t blocks;  /* by which windows move along the width */
    size_t repeats; /* neighbouring pixels that are columns of one product */
    size_t count;
    ql_phase *phases;
    ql_geometry geometry;
} ql_transposed;

/* Weights [kernel_h][kernel_w][in][channels], with a zero point for each channel or NULL for zeros. On failure nothing
 * is kept. */
ql_status ql_transposed_pack(const uint8_t *w, bool is_signed, const int32_t *zero_point, const ql_expansion *shape,
                             ql_transposed *t);
void ql_transposed_free(ql_transposed *t);
size_t ql_transposed_bytes(const ql_transposed *t);

/* Tells whether |sum + bias| stays in int32 for every image whose codes are at most `reach` from their zero point. */
bool ql_transposed_fits(const ql_transposed *t, int32_t reach, const int32_t *bias);

/* As ql_terms_bytes and ql_terms_fill; bias and epilogue are of `channels`. */
size_t ql_transposed_terms_bytes(const ql_transposed *t);
void ql_transposed_terms_fill(const ql_transposed *t, const int32_t *bias, int32_t zero_point,
                              const ql_epilogue *epilogue, void *memory, ql_terms *terms);

/* As those of ql_conv: the cost is ql_conv_cost_ns of the geometry, the workspace without scales
 * ql_stages_workspace. */
void ql_transposed_run(const ql_transposed *t, const ql_terms *terms, const uint8_t *x, size_t images, void *y,
                       void *workspace);
size_t ql_transposed_scaled_workspace(const ql_transposed *t);
void ql_transposed_run_scaled(const ql_transposed *t, const ql_terms *terms, const uint8_t *x, size_t images,
                              const float *scale, const int32_t *zero_point, void *y, void *workspace);

#endif
