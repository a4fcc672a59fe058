/* Quantization of rows at run time. Ranges first, because they tell whether all is finite before anything is written;
 * then codes, a stretch of rows at a time, which the product reads while they are in the cache. */
#include "core/gemm/quantize_rows.h"

#include <float.h>
#include <math.h>
#include <stdatomic.h>

#include "core/base/parallel.h"
#include "core/base/sizes.h"

enum { VALUES_PER_NS = 8 };

static float nearest_finite(float v)
{
    return v < -FLT_MAX ? -FLT_MAX : v > FLT_MAX ? FLT_MAX : v;
}

/* The grid of a row's range; low > high where there are no numbers. */
static void choose_grid(const ql_rows *rows, size_t i, float low, float high)
{
    const bool is_symmetric = !rows->zero_point, is_empty = low > high;
    int32_t zero;
    ql_range_qparams(is_empty ? 0 : nearest_finite(low), is_empty ? 0 : nearest_finite(high),
                     is_symmetric ? -QL_ROW_REACH : 0, is_symmetric ? QL_ROW_REACH : 255, is_symmetric, rows->scale + i,
                     is_symmetric ? &zero : rows->zero_point + i);
}

/* Returns whether the row is finite. */
static bool find_grid(const ql_rows *rows, size_t i)
{
    float low = INFINITY, high = -INFINITY;
    const bool has_nan = rows->kernels->minmax_f32(rows->x + i * rows->k, rows->k, rows->k, &low, &high);
    choose_grid(rows, i, low, high);
    return !has_nan && low >= -FLT_MAX && high <= FLT_MAX;
}

/* Returns whether all rows are finite. */
static bool share_grid(const ql_rows *rows)
{
    const ql_layout all = {.ndim = 1, .length = {rows->m * rows->k}, .group = {rows->m * rows->k}};
    float low = 0, high = 0;
    const bool is_finite = rows->k == 0 || ql_minmax_f32(rows->x, &all, &low, &high);
    for (size_t i = 0; i < rows->m; i++)
        choose_grid(rows, i, low, high);
    return is_finite;
}

typedef struct search {
    const ql_rows *rows;
    atomic_bool is_nonfinite;
} search;

static void find_grids(void *context, size_t item)
{
    search *s = context;
    const size_t begin = item * QL_ROWS_PER_ITEM, end = ql_least(s->rows->m, begin + QL_ROWS_PER_ITEM);
    bool is_finite = true;
    for (size_t i = begin; i < end; i++) {
        is_finite &= find_grid(s->rows, i);
        if (i < s->rows->early)
            ql_rows_quantize_one(s->rows, i);
    }
    if (!is_finite)
        atomic_store_explicit(&s->is_nonfinite, true, memory_order_relaxed);
}

bool ql_rows_find_grids(const ql_rows *rows, bool per_tensor)
{
    if (rows->m == 0)
        return true;
    if (per_tensor)
        return share_grid(rows);
    search s = {.rows = rows};
    ql_rows_parallel(rows, find_grids, &s);
    return !atomic_load(&s.is_nonfinite);
}

void ql_rows_quantize_one(const ql_rows *rows, size_t row)
{
    static const int32_t zero = 0;
    const bool is_symmetric = !rows->zero_point;
    rows->kernels->quantize_f32_x8(
        rows->x + row * rows->k, rows->k, rows->scale + row, is_symmetric ? &zero : rows->zero_point + row, rows->k,
        is_symmetric ? -QL_ROW_REACH : 0, is_symmetric ? QL_ROW_REACH : 255, rows->codes + row * rows->stride);
}

static void quantize(void *context, size_t item)
{
    const ql_rows *rows = context;
    const size_t begin = item * QL_ROWS_PER_ITEM, end = ql_least(rows->m, begin + QL_ROWS_PER_ITEM);
    for (size_t i = begin; i < end; i++)
        ql_rows_quantize_one(rows, i);
}

void ql_rows_quantize(const ql_rows *rows)
{
    ql_rows_parallel(rows, quantize, (void *)rows);
}

void ql_rows_parallel(const ql_rows *rows, void (*task)(void *context, size_t item), void *context)
{
    ql_parallel(ql_divided_up(rows->m, QL_ROWS_PER_ITEM), (uint64_t)rows->m * rows->k / VALUES_PER_NS, task, context);
}

bool ql_quantize_rows(const ql_kernels *kernels, const float *x, size_t m, size_t k, float *scale, int32_t *zero_point,
                      uint8_t *codes)
{
    const ql_rows rows = {kernels, x, m, k, scale, zero_point, codes, k, 0};
    bool is_finite = true;
    for (size_t i = 0; i < m; i++) {
        is_finite &= find_grid(&rows, i);
        ql_rows_quantize_one(&rows, i);
    }
    return !is_finite;
}
