/* Products with grouped weights: rows are quantized, or given as codes, then multiplied in tiles.
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
    ql_rows rows;         /* a chunk; behind the codes of a row are the start values of its groups */
    const uint8_t *given; /* its codes as u8; NULL: made of floats */
    ql_clamps clamps;
    float *y;
    size_t block_rows, column_items;
    int32_t factor;      /* start value of a group = factor * sum of its codes */
    const float *offset; /* [panels * nr] */
} grouped_job;

static void flip(const uint8_t *codes, size_t n, uint8_t *to)
{
    for (size_t i = 0; i < n; i++)
        to[i] = codes[i] ^ 0x80;
}

static void prepare_rows(void *context, size_t item)
{
    const grouped_job *job = context;
    const ql_grouped *w = job->w;
    const size_t begin = item * QL_ROWS_PER_ITEM, end = ql_least(job->rows.m, begin + QL_ROWS_PER_ITEM);
    for (size_t i = begin; i < end; i++) {
        uint8_t *row = job->rows.codes + i * job->rows.stride;
        if (job->given)
            flip(job->given + i * w->k, w->k, row);
        else
            ql_rows_quantize_one(&job->rows, i);
        memset(row + w->k, 0, w->k_padded - w->k);
        w->kernels->sum_groups_s8_s32((int8_t *)row, w->k_padded, w->group, job->factor,
                                      (int32_t *)(row + w->k_padded));
    }
}

/* A panel, and its columns of the result. */
typedef struct columns {
    ql_grouped_panel panel;
    size_t first, count;
} columns;

/* Rows from i on by all columns of a panel: as many as a tile has, or any number for ranges. */
static void run(const grouped_job *job, const ql_gemm_grouped_kernels *gemm, const columns *b, size_t i, size_t rows)
{
    const ql_grouped *w = job->w;
    const uint8_t *row = job->rows.codes + i * job->rows.stride;
    const ql_grouped_rows a = {.codes = (const int8_t *)row,
                               .term = (const int32_t *)(row + w->k_padded),
                               .stride = job->rows.stride,
                               .scale = job->rows.scale + i};
    float tile[QL_MAX_MR * QL_MAX_NR], *y = job->y + i * w->n + b->first;
    const bool is_direct = gemm->ranges || b->count == w->nr;
    const ql_grouped_result c = {.offset = job->offset + b->first,
                                 .low = job->clamps.low,
                                 .high = job->clamps.high,
                                 .y = is_direct ? y : tile,
                                 .y_stride = is_direct ? w->n : w->nr};
    if (gemm->ranges) {
        gemm->ranges->run(&b->panel, &a, rows, b->count, &c);
        return;
    }
    gemm->ukernel[w->form][rows](&b->panel, &a, &c);
    for (size_t r = 0; !is_direct && r < rows; r++)
        memcpy(y + r * w->n, tile + r * w->nr, b->count * sizeof *tile);
}

/* Chooses who multiplies an item of work, on the thread that does it: ranges, or tiles. */
static const ql_gemm_grouped_kernels *begin_item(const ql_grouped *w, const ql_grouped_panel *panel, size_t rows,
                                                 size_t cols)
{
    const ql_gemm_grouped_kernels *gemm = w->kernels->gemm_s8s4f32;
    if (!gemm->ranges)
        return gemm;
    if (!gemm->ranges->is_worth(panel, rows, (uint64_t)rows * cols * w->k) || !ql_tiles_permission())
        return gemm->lower;
    gemm->ranges->begin(panel);
    return gemm;
}

static void multiply(void *context, size_t item)
{
    const grouped_job *job = context;
    const ql_grouped *w = job->w;
    const size_t first_row = item / job->column_items * job->block_rows;
    const size_t end_row = ql_least(job->rows.m, first_row + job->block_rows), rows = end_row - first_row;
    const size_t first = item % job->column_items * PANELS_PER_ITEM;
    const size_t end = ql_least(w->panels, first + PANELS_PER_ITEM);
    columns b = {.panel = {.form = w->form,
                           .k = w->k_padded,
                           .group = w->group,
                           .has_zero_point = w->has_zero_point,
                           .shared_zero_point = w->zero_point,
                           .table = w->table}};
    const ql_gemm_grouped_kernels *gemm = begin_item(w, &b.panel, rows, ql_least(w->n, end * w->nr) - first * w->nr);
    const size_t step = gemm->ranges ? rows : ql_divided_up(rows, ql_divided_up(rows, gemm->mr));
    for (size_t p = first; p < end; p++) {
        b.panel.data = w->data + p * w->panel_bytes;
        b.first = p * w->nr;
        b.count = ql_least(w->nr, w->n - b.first);
        for (size_t i = first_row; i < end_row; i += step)
            run(job, gemm, &b, i, ql_least(step, end_row - i));
    }
    if (gemm->ranges)
        gemm->ranges->end();
}

static void run_chunk(grouped_job *job)
{
    const ql_grouped *w = job->w;
    const size_t mr = w->kernels->gemm_s8s4f32->mr, fitting = BLOCK_BYTES / (w->k_padded + 1) / mr * mr;
    const size_t most = fitting > mr ? fitting : mr, m = job->rows.m, blocks = ql_divided_up(m, most);
    job->block_rows = ql_round_up(ql_divided_up(m, blocks), blocks > 1 ? mr : 1);
    job->column_items = ql_divided_up(w->panels, PANELS_PER_ITEM);
    ql_rows_parallel(&job->rows, prepare_rows, job);
    ql_parallel(ql_divided_up(m, job->block_rows) * job->column_items, (uint64_t)m * w->k * w->n / PRODUCTS_PER_NS,
                multiply, job);
}

/* Fills the product of no depth, which has no groups and so no scales. */
static void fill_with_offset(size_t m, size_t n, const ql_grouped_options *options, float *y)
{
    const ql_clamps clamps = ql_activation_clamps(options->activation);
    for (size_t i = 0; i < m * n; i++) {
        float v = 0.0f + (options->offset ? options->offset[i % n] : 0.0f);
        v = v < clamps.low ? clamps.low : v;
        y[i] = v > clamps.high ? clamps.high : v;
    }
}

bool ql_grouped_fits(const ql_grouped *w, int32_t code_reach)
{
    int32_t greatest;
    return !__builtin_mul_overflow(w->k < w->group ? w->k : w->group, (size_t)(w->reach * code_reach), &greatest);
}

/* Returns the rows of a chunk, and those behind them that ranges may read. */
static size_t chunk_rows(const ql_grouped *w, size_t m)
{
    const ql_gemm_grouped_ranges *ranges = w->kernels->gemm_s8s4f32->ranges;
    return ql_round_up(ql_least(m, CHUNK_ROWS), ranges ? ranges->rows : 1);
}

/* The parts of a workspace: codes of a chunk of rows and their start values, scales of all rows, offsets. */
typedef struct parts {
    size_t stride, scale, offset, end;
} parts;

static parts parts_of(const ql_grouped *w, size_t m)
{
    parts p = {.stride = ql_round_up(w->k_padded + w->groups * sizeof(int32_t), QL_ALIGNMENT)};
    p.scale = chunk_rows(w, m) * p.stride;
    p.offset = p.scale + m * sizeof(float);
    p.end = p.offset + w->panels * w->nr * sizeof(float);
    return p;
}

size_t ql_grouped_workspace(const ql_grouped *w, size_t m)
{
    return parts_of(w, m).end;
}

static ql_rows rows_of(const ql_grouped *w, const ql_grouped_input *a, char *workspace)
{
    const parts p = parts_of(w, a->m);
    return (ql_rows){.kernels = w->kernels,
                     .x = a->x,
                     .m = a->m,
                     .k = w->k,
                     .scale = (float *)(workspace + p.scale),
                     .codes = (uint8_t *)workspace,
                     .stride = p.stride};
}

bool ql_grouped_begin(const ql_grouped *w, const ql_grouped_input *a, void *workspace)
{
    const ql_rows rows = rows_of(w, a, workspace);
    if (a->x)
        return ql_rows_find_grids(&rows, false);
    for (size_t i = 0; i < a->m; i++)
        rows.scale[i] = a->scale;
    return true;
}

void ql_grouped_run(const ql_grouped *w, const ql_grouped_input *a, const ql_grouped_options *options, float *y,
                    void *workspace)
{
    const ql_rows all = rows_of(w, a, workspace);
    float *offset = (float *)((char *)workspace + parts_of(w, a->m).offset);
    memset(offset, 0, w->panels * w->nr * sizeof *offset);
    if (options->offset)
        memcpy(offset, options->offset, w->n * sizeof *offset);
    for (size_t i = 0; i < a->m; i += CHUNK_ROWS) {
        grouped_job job = {.w = w,
                           .rows = all,
                           .given = a->x ? NULL : a->codes + i * w->k,
                           .clamps = ql_activation_clamps(options->activation),
                           .y = y + i * w->n,
                           .factor = w->has_zero_point ? -1 : -w->zero_point,
                           .offset = offset};
        job.rows.m = ql_least(CHUNK_ROWS, a->m - i);
        job.rows.x = a->x ? a->x + i * w->k : NULL;
        job.rows.scale += i;
        run_chunk(&job);
    }
}

ql_status ql_linear_grouped(const float *x, size_t m, const ql_grouped *w, const ql_grouped_options *options, float *y)
{
    if (w->purpose != QL_PACK_INTEGER)
        return QL_EINVAL;
    if (!ql_grouped_fits(w, QL_ROW_REACH))
        return QL_EOVERFLOW;
    if (w->k == 0 || m == 0 || w->n == 0) {
        fill_with_offset(m, w->n, options, y);
        return QL_OK;
    }
    const ql_grouped_input a = {.x = x, .m = m};
    void *workspace = ql_alloc(1, ql_grouped_workspace(w, m));
    if (!workspace)
        return QL_ENOMEM;
    const bool is_finite = ql_grouped_begin(w, &a, workspace);
    if (is_finite)
        ql_grouped_run(w, &a, options, y, workspace);
    free(workspace);
    return is_finite ? QL_OK : QL_ENONFINITE;
}
