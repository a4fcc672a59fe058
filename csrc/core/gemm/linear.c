/* Dynamic linear: the rows' ranges first, which also tells whether all is finite; then rows are quantized and
 * multiplied block by block, while they are in L2. */
#include "core/gemm/linear.h"

#include <string.h>

#include "core/base/finite.h"
#include "core/base/memory.h"
#include "core/base/parallel.h"
#include "core/gemm/gemm.h"

enum { VALUES_PER_NS = 8, GRAIN = 16 /* rows of one task */ };

typedef struct rows {
    const ql_kernels *kernels;
    const float *x;
    size_t m, k;
    float *low, *high; /* [m] */
    float *scale;
    int32_t *zero_point;
    uint8_t *codes;
} rows;

static void find_ranges(void *context, size_t item)
{
    const rows *r = context;
    for (size_t i = item * GRAIN; i < (item + 1) * GRAIN && i < r->m; i++) {
        r->low[i] = INFINITY, r->high[i] = -INFINITY;
        if (r->kernels->minmax_f32(r->x + i * r->k, r->k, r->k, r->low + i, r->high + i))
            r->low[i] = r->high[i] = NAN;
    }
}

static void quantize(void *context, size_t item)
{
    const rows *r = context;
    for (size_t i = item * GRAIN; i < (item + 1) * GRAIN && i < r->m; i++)
        r->kernels->quantize_f32_x8(r->x + i * r->k, r->k, r->scale + i, r->zero_point + i, r->k, 0, 255,
                                    r->codes + i * r->k);
}

static void for_rows(const rows *r, void (*task)(void *context, size_t i))
{
    ql_parallel((r->m + GRAIN - 1) / GRAIN, (uint64_t)r->m * r->k / VALUES_PER_NS, task, (void *)r);
}

bool ql_quantize_rows(const ql_kernels *kernels, const float *x, size_t m, size_t k, float *scale, int32_t *zero_point,
                      uint8_t *codes)
{
    bool nonfinite = false;
    for (size_t i = 0; i < m; i++) {
        float min = INFINITY, max = -INFINITY;
        kernels->minmax_f32(x + i * k, k, k, &min, &max);
        min = min > -FLT_MAX ? min : -FLT_MAX;
        max = max < FLT_MAX ? max : FLT_MAX;
        ql_range_qparams(min, max, 0, 255, false, scale + i, zero_point + i);
        nonfinite |= kernels->quantize_f32_x8(x + i * k, k, scale + i, zero_point + i, k, 0, 255, codes + i * k);
    }
    return nonfinite;
}

/* Scales and zero points from the ranges; false if a value is not finite. */
static bool choose_scales(const rows *r, bool per_tensor)
{
    float low = INFINITY, high = -INFINITY;
    for (size_t i = 0; i < r->m; i++) {
        if (r->k && !(r->low[i] >= -FLT_MAX && r->high[i] <= FLT_MAX))
            return false;
        low = r->low[i] < low ? r->low[i] : low;
        high = r->high[i] > high ? r->high[i] : high;
    }
    for (size_t i = 0; i < r->m; i++) {
        float min = per_tensor ? low : r->low[i], max = per_tensor ? high : r->high[i];
        ql_range_qparams(r->k ? min : 0, r->k ? max : 0, 0, 255, false, r->scale + i, r->zero_point + i);
    }
    return true;
}

/* One allocation for all of it: parts that are aligned each. */
typedef struct parts {
    size_t scale, zero_point, low, high, init, offset, codes, workspace, end;
} parts;

static parts plan_parts(size_t m, size_t step, const ql_packed *b)
{
    const size_t column = ql_round_up(m * sizeof(float), QL_ALIGNMENT);
    const size_t row = ql_round_up(b->n_padded * sizeof(float), QL_ALIGNMENT);
    parts p = {.zero_point = column, .low = 2 * column, .high = 3 * column, .init = 4 * column};
    p.offset = p.init + row;
    p.codes = p.offset + row;
    p.workspace = p.codes + ql_round_up(step * b->k, QL_ALIGNMENT);
    p.end = p.workspace + ql_gemm_workspace(b, step, 0);
    return p;
}

ql_status ql_linear(const float *x, size_t m, const ql_packed *b, const ql_linear_options *options, float *y)
{
    if (b->purpose != QL_PACK_INTEGER)
        return QL_EINVAL;
    if (!ql_gemm_fits(b, 255, NULL))
        return QL_EOVERFLOW;
    if (b->k == 0 && b->n == 0)
        return QL_OK; /* of rows that take no memory there may be too many to plan for */
    const size_t block = ql_gemm_block_rows(b, m), threads = ql_threads_for(ql_gemm_cost_ns(b, m));
    const size_t most = threads > 1 ? 4 * threads * block : block, step = m < most ? m : most;
    const parts p = plan_parts(m, step, b);
    char *memory = ql_alloc(1, p.end);
    if (!memory)
        return QL_ENOMEM;
    rows all = {.kernels = b->kernels,
                .x = x,
                .m = m,
                .k = b->k,
                .low = (float *)(memory + p.low),
                .high = (float *)(memory + p.high),
                .scale = (float *)(memory + p.scale),
                .zero_point = (int32_t *)(memory + p.zero_point),
                .codes = (uint8_t *)(memory + p.codes)};
    for_rows(&all, find_ranges);
    if (!choose_scales(&all, options->per_tensor)) {
        free(memory);
        return QL_ENONFINITE;
    }
    float *zeros = (float *)(memory + p.offset);
    memset(zeros, 0, b->n * sizeof *zeros);
    int32_t *init = (int32_t *)(memory + p.init);
    ql_gemm_init(b, NULL, options->per_tensor && m ? *all.zero_point : 0, init);
    const ql_clamps clamps = ql_activation_clamps(options->activation, 0.0f, 0, 0, 0);
    const ql_epilogue epilogue = {.store = QL_STORE_F32,
                                  .scale = options->scale,
                                  .offset = options->offset ? options->offset : zeros,
                                  .low = clamps.low,
                                  .high = clamps.high};
    for (size_t i = 0; i < m; i += step) {
        rows some = all;
        some.m = m - i < step ? m - i : step;
        some.x += i * b->k;
        some.scale += i;
        some.zero_point += i;
        for_rows(&some, quantize);
        ql_gemm_job job = {.b = b,
                           .a = some.codes,
                           .m = some.m,
                           .a_stride = b->k,
                           .init = init,
                           .row_zero_point = options->per_tensor ? NULL : some.zero_point,
                           .row_scale = some.scale,
                           .epilogue = &epilogue,
                           .c = y + i * b->n,
                           .c_stride = b->n};
        ql_gemm_run(&job, memory + p.workspace);
    }
    free(memory);
    return QL_OK;
}
