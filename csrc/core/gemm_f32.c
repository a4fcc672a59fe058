/* The weight-only product around its kernels: tiles of rows inside panels of columns. The last, narrow panel is
 * computed whole beside the result, with parameters padded by zeros, and its columns are copied. */
#include <math.h>
#include <string.h>

#include "core/packed.h"

static const float zeros[QL_MAX_NR];

typedef struct panel {
    const int8_t *b;
    const int32_t *zero_point;
    const float *scale, *offset;
} panel;

static void run_panel(const ql_gemm_f32_kernels *gemm, size_t k, const float *x, size_t m, const panel *p, float low,
                      float *y, size_t y_stride, size_t cols)
{
    float tile[QL_MAX_MR * QL_MAX_NR];
    for (size_t i = 0; i < m; i += gemm->mr) {
        size_t rows = m - i < gemm->mr ? m - i : gemm->mr;
        bool whole = cols == gemm->nr;
        float *out = whole ? y + i * y_stride : tile;
        gemm->ukernel[rows](k, x + i * k, k, p->b, p->zero_point, p->scale, p->offset, low, out,
                            whole ? y_stride : gemm->nr);
        for (size_t r = 0; !whole && r < rows; r++)
            memcpy(y + (i + r) * y_stride, tile + r * gemm->nr, cols * sizeof *tile);
    }
}

ql_status ql_gemm_f32(const float *x, size_t m, const ql_packed *b, const float *scale, const float *offset, bool relu,
                      float *y)
{
    if (b->purpose != QL_PACK_FLOAT)
        return QL_EINVAL;
    const ql_gemm_f32_kernels *gemm = b->kernels->gemm_f32s8f32;
    const float low = relu ? 0.0f : -INFINITY;
    float last_scale[QL_MAX_NR] = {0}, last_offset[QL_MAX_NR] = {0};
    for (size_t j = 0; j < b->n; j += b->nr) {
        size_t cols = b->n - j < b->nr ? b->n - j : b->nr;
        panel p = {ql_packed_panel(b, j), b->zero_point + j, scale + j, offset ? offset + j : zeros};
        if (cols < b->nr) {
            memcpy(last_scale, p.scale, cols * sizeof *scale);
            memcpy(last_offset, p.offset, cols * sizeof *scale);
            p.scale = last_scale;
            p.offset = last_offset;
        }
        run_panel(gemm, b->k, x, m, &p, low, y + j, b->n, cols);
    }
    return QL_OK;
}
