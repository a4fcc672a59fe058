/* The weight-only product around its kernels: rows in blocks that stay in L2, then panels of columns, then tiles. A
 * block and a panel are an item of work. The last, narrow panel is computed whole beside the result, with parameters
 * padded by zeros, and its columns are copied. */
#include <math.h>
#include <string.h>

#include "core/base/parallel.h"
#include "core/gemm/packed.h"

enum { BLOCK_BYTES = 256 * 1024, MACS_PER_NS = 64 };

typedef struct product {
    const ql_packed *b;
    const float *x;
    size_t m, block; /* all rows; those of an item */
    const float *scale, *offset;
    ql_clamps clamps;
    float *y;
} product;

/* A panel's columns and their parameters. */
typedef struct panel {
    const int8_t *b;
    const int32_t *zero_point;
    const float *scale, *offset;
    size_t first, cols;
} panel;

static size_t block_rows(const ql_packed *b, size_t m)
{
    const size_t mr = b->kernels->gemm_f32s8f32->mr;
    size_t rows = BLOCK_BYTES / ((b->k + 1) * sizeof(float)) / mr * mr;
    rows = rows > mr ? rows : mr;
    return rows < m ? rows : m;
}

/* The kernels know the lower bound alone: of the activations only relu6 has another. */
static void keep_below(float *y, size_t y_stride, size_t rows, size_t cols, float high)
{
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < cols; j++)
            y[i * y_stride + j] = y[i * y_stride + j] > high ? high : y[i * y_stride + j];
    }
}

static void multiply_rows(const product *p, const panel *columns, size_t begin, size_t end)
{
    const ql_gemm_f32_kernels *gemm = p->b->kernels->gemm_f32s8f32;
    const size_t k = p->b->k, n = p->b->n;
    const bool is_whole = columns->cols == gemm->nr;
    float tile[QL_MAX_MR * QL_MAX_NR];
    for (size_t i = begin; i < end; i += gemm->mr) {
        size_t rows = end - i < gemm->mr ? end - i : gemm->mr;
        float *y = p->y + i * n + columns->first, *result = is_whole ? y : tile;
        const size_t stride = is_whole ? n : gemm->nr;
        gemm->ukernel[rows](k, p->x + i * k, k, columns->b, columns->zero_point, columns->scale, columns->offset,
                            p->clamps.low, result, stride);
        if (p->clamps.high < INFINITY)
            keep_below(result, stride, rows, columns->cols, p->clamps.high);
        for (size_t r = 0; !is_whole && r < rows; r++)
            memcpy(y + r * n, tile + r * gemm->nr, columns->cols * sizeof *tile);
    }
}

static void multiply_item(void *context, size_t item)
{
    static const float zeros[QL_MAX_NR];
    const product *p = context;
    const ql_packed *b = p->b;
    const size_t panels = b->n_padded / b->nr, j = item % panels * b->nr, begin = item / panels * p->block;
    panel columns = {ql_packed_panel(b, j),
                     b->zero_point + j,
                     p->scale + j,
                     p->offset ? p->offset + j : zeros,
                     j,
                     b->n - j < b->nr ? b->n - j : b->nr};
    float last_scale[QL_MAX_NR] = {0}, last_offset[QL_MAX_NR] = {0};
    if (columns.cols < b->nr) {
        memcpy(last_scale, columns.scale, columns.cols * sizeof *last_scale);
        memcpy(last_offset, columns.offset, columns.cols * sizeof *last_offset);
        columns.scale = last_scale;
        columns.offset = last_offset;
    }
    multiply_rows(p, &columns, begin, begin + p->block < p->m ? begin + p->block : p->m);
}

ql_status ql_gemm_f32(const float *x, size_t m, const ql_packed *b, const float *scale, const float *offset,
                      ql_activation activation, float *y)
{
    if (b->purpose != QL_PACK_FLOAT)
        return QL_EINVAL;
    if (m == 0 || b->n == 0)
        return QL_OK;
    product p = {.b = b,
                 .x = x,
                 .m = m,
                 .block = block_rows(b, m),
                 .scale = scale,
                 .offset = offset,
                 .clamps = ql_activation_clamps(activation),
                 .y = y};
    const double cost = (double)m * (double)b->k * (double)b->n / MACS_PER_NS;
    const size_t blocks = m / p.block + (m % p.block != 0);
    ql_parallel(blocks * (b->n_padded / b->nr), cost < 1e18 ? (uint64_t)cost : (uint64_t)1e18, multiply_item, &p);
    return QL_OK;
}
