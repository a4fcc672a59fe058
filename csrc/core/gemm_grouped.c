/* Dynamic linear with grouped weights: rows are measured and quantized, then multiplied in tiles.
 *
 * Order: rows in chunks that bound the workspace, and in these first all codes, then row blocks that stay in L2, panels
 * of weights, tiles of the block. Each step is a list of items that do not depend on each other. */
#include <math.h>
#include <string.h>

#include "core/finite.h"
#include "core/grouped.h"
#include "core/memory.h"

enum {
    CHUNK_ROWS = 384,         /* rows whose codes are held at a time */
    BLOCK_BYTES = 256 * 1024, /* of codes that are multiplied with one panel after the other */
    PANELS_PER_ITEM = 8,
    ROWS_PER_ITEM = 8,
};

typedef struct grouped_job {
    const ql_grouped *w;
    const float *x;
    float low, *y;
    size_t m; /* of the chunk, as x and y */
    size_t block_rows, tile_rows, column_items;
    /* workspace */
    int8_t *codes;
    int32_t *sum;
    const float *scale;
    const float *offset; /* [panels * nr] */
} grouped_job;

static size_t ceil_div(size_t n, size_t d)
{
    return n / d + (n % d != 0);
}

static void quantize_rows(void *context, size_t item)
{
    const grouped_job *job = context;
    const ql_grouped *w = job->w;
    const int32_t zero = 0;
    const size_t first = item * ROWS_PER_ITEM, left = job->m - first;
    for (size_t i = first; i < first + (left < ROWS_PER_ITEM ? left : ROWS_PER_ITEM); i++) {
        int8_t *codes = job->codes + i * w->k_padded;
        w->kernels->quantize_f32_x8(job->x + i * w->k, w->k, job->scale + i, &zero, w->k, -QL_ROW_REACH, QL_ROW_REACH,
                                    (uint8_t *)codes);
        memset(codes + w->k, 0, w->k_padded - w->k);
        w->kernels->sum_groups_s8_s32(codes, w->k_padded, w->group, job->sum + i * w->groups);
    }
}

static void run_tile(const grouped_job *job, const ql_grouped_panel *panel, size_t i, size_t rows, size_t j)
{
    const ql_grouped *w = job->w;
    const size_t cols = w->n - j < w->nr ? w->n - j : w->nr;
    const bool whole = cols == w->nr;
    const ql_grouped_rows a = {.codes = job->codes + i * w->k_padded,
                               .stride = w->k_padded,
                               .sum = job->sum + i * w->groups,
                               .sum_stride = w->groups,
                               .scale = job->scale + i};
    float tile[QL_MAX_MR * QL_MAX_NR], *y = job->y + i * w->n + j;
    w->kernels->gemm_s8s4f32->ukernel[w->form][rows](panel, &a, job->offset + j, job->low, whole ? y : tile,
                                                     whole ? w->n : w->nr);
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
    ql_grouped_panel panel = {.k = w->k_padded,
                              .group = w->group,
                              .has_zero_point = w->has_zero_point,
                              .zero_point = w->zero_point,
                              .levels = w->levels};
    for (size_t p = first; p < end; p++) {
        panel.data = w->data + p * w->panel_bytes;
        for (size_t i = first_row; i < end_row; i += job->tile_rows) {
            size_t rows = end_row - i < job->tile_rows ? end_row - i : job->tile_rows;
            run_tile(job, &panel, i, rows, p * w->nr);
        }
    }
}

/* The scale of every row; false if x holds NaN or an infinity. low and high: m each; scale may be low. */
static bool row_scales(const ql_grouped *w, const float *x, size_t m, float *low, float *high, float *scale)
{
    int32_t zero_point;
    for (size_t i = 0; i < m; i++) {
        low[i] = INFINITY;
        high[i] = -INFINITY;
    }
    if (w->kernels->minmax_f32(x, m * w->k, w->k, low, high))
        return false;
    for (size_t i = 0; i < m; i++) {
        if (!(low[i] >= -FLT_MAX && high[i] <= FLT_MAX))
            return false;
        ql_range_qparams(low[i], high[i], -QL_ROW_REACH, QL_ROW_REACH, true, scale + i, &zero_point);
    }
    return true;
}

static void run_chunk(grouped_job *job)
{
    const ql_grouped *w = job->w;
    const size_t mr = w->kernels->gemm_s8s4f32->mr, fitting = BLOCK_BYTES / (w->k_padded + 1) / mr * mr;
    const size_t most = fitting > mr ? fitting : mr, blocks = ceil_div(job->m, most);
    job->block_rows = ql_round_up(ceil_div(job->m, blocks), blocks > 1 ? mr : 1);
    job->tile_rows = ceil_div(job->block_rows, ceil_div(job->block_rows, mr));
    job->column_items = ceil_div(w->panels, PANELS_PER_ITEM);
    for (size_t item = 0; item < ceil_div(job->m, ROWS_PER_ITEM); item++)
        quantize_rows(job, item);
    for (size_t item = 0; item < ceil_div(job->m, job->block_rows) * job->column_items; item++)
        multiply(job, item);
}

/* A product of no depth: no group, no scale. */
static void fill_with_offset(const ql_grouped *w, size_t m, const float *offset, float low, float *y)
{
    for (size_t i = 0; i < m * w->n; i++) {
        float v = 0.0f + (offset ? offset[i % w->n] : 0.0f);
        y[i] = v < low ? low : v;
    }
}

ql_status ql_linear_grouped(const float *x, size_t m, const ql_grouped *w, const float *offset, bool relu, float *y)
{
    const float low = relu ? 0.0f : -INFINITY;
    int32_t greatest;
    if (w->purpose != QL_PACK_INTEGER)
        return QL_EINVAL;
    if (__builtin_mul_overflow(w->k < w->group ? w->k : w->group, (size_t)(w->reach * QL_ROW_REACH), &greatest))
        return QL_EOVERFLOW;
    if (w->k == 0 || m == 0 || w->n == 0) {
        fill_with_offset(w, w->n ? m : 0, offset, low, y);
        return QL_OK;
    }

    const size_t chunk = m < CHUNK_ROWS ? m : CHUNK_ROWS;
    const size_t code_bytes = ql_round_up(chunk * w->k_padded, QL_ALIGNMENT), sums = chunk * w->groups;
    const size_t columns = w->panels * w->nr;
    char *workspace = ql_alloc(1, code_bytes + sizeof(float) * (sums + 2 * m + columns));
    if (!workspace)
        return QL_ENOMEM;
    grouped_job job = {.w = w, .low = low, .codes = (int8_t *)workspace, .sum = (int32_t *)(workspace + code_bytes)};
    float *scale = (float *)(job.sum + sums), *high = scale + m, *offsets = high + m;
    if (!row_scales(w, x, m, scale, high, scale)) {
        free(workspace);
        return QL_ENONFINITE;
    }
    memset(offsets, 0, columns * sizeof *offsets);
    if (offset)
        memcpy(offsets, offset, w->n * sizeof *offsets);
    job.offset = offsets;
    for (size_t i = 0; i < m; i += chunk) {
        job.m = m - i < chunk ? m - i : chunk;
        job.x = x + i * w->k;
        job.y = y + i * w->n;
        job.scale = scale + i;
        run_chunk(&job);
    }
    free(workspace);
    return QL_OK;
}
