/* Dynamic linear with grouped weights: rows are quantized, then multiplied in tiles.
 *
 * Order: rows in chunks that bound the workspace, and in these first all codes, then row blocks that stay in L2, panels
 * of weights, tiles of the block. Each step is a list of items that do not depend on each other. */
#include <string.h>

#include "core/base/memory.h"
#include "core/base/parallel.h"
#include "core/base/sizes.h"
#include "core/gemm/grouped.h"
#include "core/gemm/quantize_rows.h"

enum {
    CHUNK_ROWS = 384,         /* bounds the workspace: rows whose codes are held at a time */
    BLOCK_BYTES = 640 * 1024, /* codes of a row block; 256 KB are 8 % slower at 128 x 4096 */
    PANELS_PER_ITEM = 8,
    PRODUCTS_PER_NS = 200,
};

typedef struct grouped_job {
    const ql_grouped *w;
    ql_rows rows; /* a chunk; behind the codes of a row are the start values of its groups */
    ql_clamps clamps;
    float *y;
    size_t block_rows, tile_rows, column_items;
    int32_t factor;      /* start value of a group = factor * sum of its codes */
    const float *offset; /* [panels * nr] */
} grouped_job;

static void quantize(void *context, size_t item)
{
    const grouped_job *job = context;
    const ql_grouped *w = job->w;
    const size_t begin = item * QL_ROWS_PER_ITEM, end = ql_least(job->rows.m, begin + QL_ROWS_PER_ITEM);
    for (size_t i = begin; i < end; i++) {
        uint8_t *row = job->rows.codes + i * job->rows.stride;
        ql_rows_quantize_one(&job->rows, i);
        memset(row + w->k, 0, w->k_padded - w->k);
        w->kernels->sum_groups_s8_s32((int8_t *)row, w->k_padded, w->group, job->factor,
                                      (int32_t *)(row + w->k_padded));
    }
}

static void run_tile(const grouped_job *job, const ql_grouped_panel *panel, size_t i, size_t rows, size_t j)
{
    const ql_grouped *w = job->w;
    const size_t cols = w->n - j < w->nr ? w->n - j : w->nr;
    const bool whole = cols == w->nr;
    const uint8_t *row = job->rows.codes + i * job->rows.stride;
    const ql_grouped_rows a = {.codes = (const int8_t *)row,
                               .term = (const int32_t *)(row + w->k_padded),
                               .stride = job->rows.stride,
                               .scale = job->rows.scale + i};
    float tile[QL_MAX_MR * QL_MAX_NR], *y = job->y + i * w->n + j;
    const ql_grouped_result c = {.offset = job->offset + j,
                                 .low = job->clamps.low,
                                 .high = job->clamps.high,
                                 .y = whole ? y : tile,
                                 .y_stride = whole ? w->n : w->nr};
    w->kernels->gemm_s8s4f32->ukernel[w->form][rows](panel, &a, &c);
    for (size_t r = 0; !whole && r < rows; r++)
        memcpy(y + r * w->n, tile + r * w->nr, cols * sizeof *tile);
}

static void multiply(void *context, size_t item)
{
    const grouped_job *job = context;
    const ql_grouped *w = job->w;
    const size_t first_row = item / job->column_items * job->block_rows;
    const size_t end_row = ql_least(job->rows.m, first_row + job->block_rows);
    const size_t first = item % job->column_items * PANELS_PER_ITEM;
    const size_t end = ql_least(w->panels, first + PANELS_PER_ITEM);
    ql_grouped_panel panel = {
        .k = w->k_padded, .group = w->group, .has_zero_point = w->has_zero_point, .table = w->table};
    for (size_t p = first; p < end; p++) {
        panel.data = w->data + p * w->panel_bytes;
        for (size_t i = first_row; i < end_row; i += job->tile_rows) {
            run_tile(job, &panel, i, ql_least(job->tile_rows, end_row - i), p * w->nr);
        }
    }
}

static void run_chunk(grouped_job *job)
{
    const ql_grouped *w = job->w;
    const size_t mr = w->kernels->gemm_s8s4f32->mr, fitting = BLOCK_BYTES / (w->k_padded + 1) / mr * mr;
    const size_t most = fitting > mr ? fitting : mr, m = job->rows.m, blocks = ql_divided_up(m, most);
    job->block_rows = ql_round_up(ql_divided_up(m, blocks), blocks > 1 ? mr : 1);
    job->tile_rows = ql_divided_up(job->block_rows, ql_divided_up(job->block_rows, mr));
    job->column_items = ql_divided_up(w->panels, PANELS_PER_ITEM);
    ql_rows_parallel(&job->rows, quantize, job);
    ql_parallel(ql_divided_up(m, job->block_rows) * job->column_items, (uint64_t)m * w->k * w->n / PRODUCTS_PER_NS,
                multiply, job);
}

/* Fills the product of no depth, which has no groups and so no scales. */
static void fill_with_offset(size_t m, size_t n, const ql_grouped_options *options, float *y)
{
    const ql_clamps clamps = ql_activation_clamps(options->activation, 0.0f, 0, 0, 0);
    for (size_t i = 0; i < m * n; i++) {
        float v = 0.0f + (options->offset ? options->offset[i % n] : 0.0f);
        v = v < clamps.low ? clamps.low : v;
        y[i] = v > clamps.high ? clamps.high : v;
    }
}

ql_status ql_linear_grouped(const float *x, size_t m, const ql_grouped *w, const ql_grouped_options *options, float *y)
{
    int32_t greatest;
    if (w->purpose != QL_PACK_INTEGER)
        return QL_EINVAL;
    if (__builtin_mul_overflow(w->k < w->group ? w->k : w->group, (size_t)(w->reach * QL_ROW_REACH), &greatest))
        return QL_EOVERFLOW;
    if (w->k == 0 || m == 0 || w->n == 0) {
        fill_with_offset(m, w->n, options, y);
        return QL_OK;
    }

    const size_t chunk = ql_least(m, CHUNK_ROWS), columns = w->panels * w->nr;
    const size_t stride = ql_round_up(w->k_padded + w->groups * sizeof(int32_t), QL_ALIGNMENT);
    char *memory = ql_alloc(1, chunk * stride + sizeof(float) * (m + columns));
    if (!memory)
        return QL_ENOMEM;
    float *const scale = (float *)(memory + chunk * stride), *const offset = scale + m;
    const ql_rows all = {
        .kernels = w->kernels, .x = x, .m = m, .k = w->k, .scale = scale, .codes = (uint8_t *)memory, .stride = stride};
    const bool is_finite = ql_rows_find_grids(&all, false);
    memset(offset, 0, columns * sizeof *offset);
    if (options->offset)
        memcpy(offset, options->offset, w->n * sizeof *offset);
    for (size_t i = 0; is_finite && i < m; i += chunk) {
        grouped_job job = {.w = w,
                           .rows = all,
                           .clamps = ql_activation_clamps(options->activation, 0.0f, 0, 0, 0),
                           .y = y + i * w->n,
                           .factor = w->has_zero_point ? -1 : -w->zero_point,
                           .offset = offset};
        job.rows.m = ql_least(chunk, m - i);
        job.rows.x += i * w->k;
        job.rows.scale += i;
        run_chunk(&job);
    }
    free(memory);
    return is_finite ? QL_OK : QL_ENONFINITE;
}
