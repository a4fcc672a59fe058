/* Dynamic linear: the rows' grids first, which also tells whether all is finite, and the first rows' codes with them;
 * then rows are quantized and multiplied block by block, while they are in L2. */
#include <string.h>

#include "core/base/memory.h"
#include "core/base/parallel.h"
#include "core/base/sizes.h"
#include "core/gemm/gemm.h"
#include "core/gemm/quantize_rows.h"

/* Offsets of the parts of one allocation, each aligned. */
typedef struct parts {
    size_t scale, zero_point, init, zeros, codes, workspace, end;
} parts;

static parts plan_parts(size_t m, size_t step, const ql_packed *b)
{
    const size_t row = ql_round_up(m * sizeof(float), QL_ALIGNMENT);
    const size_t column = ql_round_up(b->n_padded * sizeof(float), QL_ALIGNMENT);
    parts p = {.zero_point = row, .init = 2 * row};
    p.zeros = p.init + column;
    p.codes = p.zeros + column;
    p.workspace = p.codes + ql_round_up(ql_gemm_room(b, step) * ql_gemm_stride(b), QL_ALIGNMENT);
    p.end = p.workspace + ql_gemm_workspace_laid_out(b, step);
    return p;
}

/* Returns how many rows are quantized before they are multiplied: a block, or several for each thread; if rows have
 * grids of their own, at least EARLY_BYTES of codes, which the pass that finds grids makes while a row is in L1: 1024
 * rows of 1024 values are read once instead of twice, 5 % of a product with 256 columns (AVX2, Zen 3). */
static size_t rows_at_once(const ql_packed *b, size_t m, bool per_tensor)
{
    enum { EARLY_BYTES = 4 * 1024 * 1024 };
    const size_t block = ql_gemm_block_rows(b, m), threads = ql_threads_for(ql_gemm_cost_ns(b, m));
    const size_t blocks = threads > 1 ? 4 * threads * block : block,
                 early = per_tensor ? 0 : EARLY_BYTES / (ql_gemm_stride(b) + 1);
    return ql_least(m, early > blocks ? early : blocks);
}

/* Quantizes and multiplies rows whose grids are known, `step` at a time, the early ones as they are. rows and job move
 * on with them: copies of structures that were only just filled cost 0.04 us, 6 % of a product of one row. */
static void multiply(ql_rows *rows, size_t step, ql_gemm_job *job, void *workspace)
{
    for (size_t left = rows->m; left > 0; left -= rows->m) {
        rows->m = job->m = ql_least(step, left);
        if (!rows->early)
            ql_rows_quantize(rows);
        rows->early = 0;
        ql_gemm_run(job, workspace);
        rows->x += rows->m * rows->k;
        rows->scale += rows->m;
        rows->zero_point += rows->m;
        job->row_scale = rows->scale;
        job->row_zero_point = job->row_zero_point ? rows->zero_point : NULL;
        job->c = (float *)job->c + rows->m * job->c_stride;
    }
}

ql_status ql_linear(const float *x, size_t m, const ql_packed *b, const ql_linear_options *options, float *y)
{
    if (b->purpose != QL_PACK_INTEGER)
        return QL_EINVAL;
    if (!ql_gemm_fits(b, 255, NULL))
        return QL_EOVERFLOW;
    if (m == 0 || (b->k == 0 && b->n == 0))
        return QL_OK; /* rows of no memory may be more than can be planned for */
    const size_t step = rows_at_once(b, m, options->per_tensor);
    const parts p = plan_parts(m, step, b);
    char *memory = ql_alloc(1, p.end);
    if (!memory)
        return QL_ENOMEM;
    ql_rows rows = {.kernels = b->kernels,
                    .x = x,
                    .m = m,
                    .k = b->k,
                    .scale = (float *)(memory + p.scale),
                    .zero_point = (int32_t *)(memory + p.zero_point),
                    .codes = (uint8_t *)(memory + p.codes),
                    .stride = ql_gemm_stride(b),
                    .early = options->per_tensor ? 0 : step};
    if (!ql_rows_find_grids(&rows, options->per_tensor)) {
        free(memory);
        return QL_ENONFINITE;
    }
    float *zeros = memset(memory + p.zeros, 0, b->n * sizeof *zeros);
    int32_t *init = (int32_t *)(memory + p.init);
    ql_gemm_init(b, NULL, options->per_tensor ? *rows.zero_point : 0, init);
    const ql_clamps clamps = ql_activation_clamps(options->activation);
    const ql_epilogue epilogue = {.store = QL_STORE_F32,
                                  .scale = options->scale,
                                  .offset = options->offset ? options->offset : zeros,
                                  .low = clamps.low,
                                  .high = clamps.high};
    ql_gemm_job job = {.b = b,
                       .a = rows.codes,
                       .a_stride = rows.stride,
                       .is_laid_out = true,
                       .init = init,
                       .row_zero_point = options->per_tensor ? NULL : rows.zero_point,
                       .row_scale = rows.scale,
                       .epilogue = &epilogue,
                       .c = y,
                       .c_stride = b->n};
    multiply(&rows, step, &job, memory + p.workspace);
    free(memory);
    return QL_OK;
}
