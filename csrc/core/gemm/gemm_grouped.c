/* Dynamic linear with grouped weights: rows are measured and quantized, then multiplied in tiles.
 *
 * Order: rows in chunks that bound the workspace, and in these first all codes, then row blocks that stay in L2, panels
 * of weights, tiles of the block. Each step is a list of items that do not depend on each other. */
#include <math.h>
#include <string.h>

#include "core/base/finite.h"
#include "core/base/memory.h"
#include "core/base/parallel.h"
#include "core/base/sizes.h"
#include "core/gemm/grouped.h"

enum {
    CHUNK_ROWS = 384,         /* rows whose codes are held at a time */
    BLOCK_BYTES = 640 * 1024, /* of codes that meet one panel after the other; 256 KB: 8 % slower at 128 x 4096 */
    PANELS_PER_ITEM = 8,
    ROWS_PER_ITEM = 8,
    VALUES_PER_NS = 8, /* measured, quantized */
    PRODUCTS_PER_NS = 200,
};

typedef struct grouped_job {
    const ql_grouped *w;
    const float *x;
    ql_clamps clamps;
    float *y;
    size_t m; /* of the chunk, as x and y */
    size_t block_rows, tile_rows, column_items;
    int32_t factor; /* of the sums of a row's codes */
    /* workspace: rows of codes, and behind each what its groups begin with */
    char *rows;
    size_t stride;
    float *scale;        /* [m] */
    const float *offset; /* [panels * nr] */
} grouped_job;

static void quantize_rows(void *context, size_t item)
{
    const grouped_job *job = context;
    const ql_grouped *w = job->w;
    const int32_t zero = 0;
    for (size_t i = item * ROWS_PER_ITEM; i < (item + 1) * ROWS_PER_ITEM && i < job->m; i++) {
        char *row = job->rows + i * job->stride;
        w->kernels->quantize_f32_x8(job->x + i * w->k, w->k, job->scale + i, &zero, w->k, -QL_ROW_REACH, QL_ROW_REACH,
                                    (uint8_t *)row);
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
    const char *row = job->rows + i * job->stride;
    const ql_grouped_rows a = {.codes = (const int8_t *)row,
                               .term = (const int32_t *)(row + w->k_padded),
                               .stride = job->stride,
                               .scale = job->scale + i};
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
    const size_t end_row = job->m - first_row < job->block_rows ? job->m : first_row + job->block_rows;
    const size_t first = item % job->column_items * PANELS_PER_ITEM;
    const size_t end = w->panels - first < PANELS_PER_ITEM ? w->panels : first + PANELS_PER_ITEM;
    ql_grouped_panel panel = {
        .k = w->k_padded, .group = w->group, .has_zero_point = w->has_zero_point, .levels = w->levels};
    for (size_t p = first; p < end; p++) {
        panel.data = w->data + p * w->panel_bytes;
        for (size_t i = first_row; i < end_row; i += job->tile_rows) {
            size_t rows = end_row - i < job->tile_rows ? end_row - i : job->tile_rows;
            run_tile(job, &panel, i, rows, p * w->nr);
        }
    }
}

/* Ranges first, because they tell whether all is finite before anything is written. */
static void find_scales(void *context, size_t item)
{
    const grouped_job *job = context;
    const size_t k = job->w->k;
    for (size_t i = item * ROWS_PER_ITEM; i < (item + 1) * ROWS_PER_ITEM && i < job->m; i++) {
        float low = INFINITY, high = -INFINITY;
        int32_t zero_point;
        const bool has_nan = job->w->kernels->minmax_f32(job->x + i * k, k, k, &low, &high);
        job->scale[i] = NAN;
        if (!has_nan && low >= -FLT_MAX && high <= FLT_MAX)
            ql_range_qparams(low, high, -QL_ROW_REACH, QL_ROW_REACH, true, job->scale + i, &zero_point);
    }
}

static bool all_found(const float *scale, size_t m)
{
    bool found = true;
    for (size_t i = 0; i < m; i++)
        found &= scale[i] > 0.0f;
    return found;
}

static void for_rows(grouped_job *job, void (*task)(void *context, size_t item))
{
    ql_parallel(ql_divided_up(job->m, ROWS_PER_ITEM), (uint64_t)job->m * job->w->k / VALUES_PER_NS, task, job);
}

static void run_chunk(grouped_job *job)
{
    const ql_grouped *w = job->w;
    const size_t mr = w->kernels->gemm_s8s4f32->mr, fitting = BLOCK_BYTES / (w->k_padded + 1) / mr * mr;
    const size_t most = fitting > mr ? fitting : mr, blocks = ql_divided_up(job->m, most);
    job->block_rows = ql_round_up(ql_divided_up(job->m, blocks), blocks > 1 ? mr : 1);
    job->tile_rows = ql_divided_up(job->block_rows, ql_divided_up(job->block_rows, mr));
    job->column_items = ql_divided_up(w->panels, PANELS_PER_ITEM);
    for_rows(job, quantize_rows);
    ql_parallel(ql_divided_up(job->m, job->block_rows) * job->column_items,
                (uint64_t)job->m * w->k * w->n / PRODUCTS_PER_NS, multiply, job);
}

/* A product of no depth: no group, no scale. */
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

    const size_t chunk = m < CHUNK_ROWS ? m : CHUNK_ROWS, columns = w->panels * w->nr;
    const size_t stride = ql_round_up(w->k_padded + w->groups * sizeof(int32_t), QL_ALIGNMENT);
    char *workspace = ql_alloc(1, chunk * stride + sizeof(float) * (m + columns));
    if (!workspace)
        return QL_ENOMEM;
    grouped_job job = {.w = w,
                       .x = x,
                       .m = m,
                       .clamps = ql_activation_clamps(options->activation, 0.0f, 0, 0, 0),
                       .factor = w->has_zero_point ? -1 : -w->zero_point,
                       .rows = workspace,
                       .stride = stride};
    float *const scale = (float *)(workspace + chunk * stride), *const offset = scale + m;
    job.scale = scale;
    job.offset = offset;
    for_rows(&job, find_scales);
    const bool is_finite = all_found(scale, m);
    memset(offset, 0, columns * sizeof *offset);
    if (options->offset)
        memcpy(offset, options->offset, w->n * sizeof *offset);
    for (size_t i = 0; is_finite && i < m; i += chunk) {
        job.m = m - i < chunk ? m - i : chunk;
        job.x = x + i * w->k;
        job.y = y + i * w->n;
        job.scale = scale + i;
        run_chunk(&job);
    }
    free(workspace);
    return is_finite ? QL_OK : QL_ENONFINITE;
}
