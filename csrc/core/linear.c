/* Dynamic linear: a block of rows is measured, quantized and multiplied while it is in L2. */
#include "core/linear.h"

#include <string.h>

#include "core/finite.h"
#include "core/gemm.h"
#include "core/memory.h"

void ql_quantize_rows(const ql_kernels *kernels, const float *x, size_t m, size_t k, float *scale, int32_t *zero_point,
                      uint8_t *codes)
{
    for (size_t i = 0; i < m; i++) {
        float min = INFINITY, max = -INFINITY;
        kernels->minmax_f32(x + i * k, k, k, &min, &max);
        min = min > -FLT_MAX ? min : -FLT_MAX;
        max = max < FLT_MAX ? max : FLT_MAX;
        ql_range_qparams(min, max, 0, 255, false, scale + i, zero_point + i);
        kernels->quantize_f32_x8(x + i * k, k, scale + i, zero_point + i, k, 0, 255, codes + i * k);
    }
}

ql_status ql_linear(const float *x, size_t m, const ql_packed *b, const float *scale, const float *offset, bool relu,
                    float *y)
{
    if (b->purpose != QL_PACK_INTEGER)
        return QL_EINVAL;
    if (!ql_gemm_fits(b, 255, NULL))
        return QL_EOVERFLOW;
    if (!ql_all_finite(b->kernels, x, m * b->k))
        return QL_ENONFINITE;

    ql_status status = QL_ENOMEM;
    size_t block = m < QL_BLOCK_ROWS ? m : QL_BLOCK_ROWS;
    float row_scale[QL_BLOCK_ROWS];
    int32_t row_zero_point[QL_BLOCK_ROWS];
    uint8_t *codes = ql_alloc(block, b->k);
    int32_t *init = ql_alloc(b->n_padded, sizeof *init);
    float *zeros = ql_alloc(b->n, sizeof *zeros);
    void *workspace = ql_alloc(1, ql_gemm_workspace(b, block, 0));
    if (!codes || !init || !zeros || !workspace)
        goto done;
    memset(zeros, 0, b->n * sizeof *zeros);
    ql_gemm_init(b, NULL, 0, init);
    ql_epilogue epilogue = {
        .store = QL_STORE_F32, .row_scale = row_scale, .scale = scale, .offset = offset ? offset : zeros, .relu = relu};
    for (size_t i = 0; i < m; i += block) {
        size_t rows = m - i < block ? m - i : block;
        ql_quantize_rows(b->kernels, x + i * b->k, rows, b->k, row_scale, row_zero_point, codes);
        ql_gemm_job job = {.b = b,
                           .a = codes,
                           .m = rows,
                           .a_stride = b->k,
                           .init = init,
                           .row_zero_point = row_zero_point,
                           .epilogue = &epilogue,
                           .c = y + i * b->n,
                           .c_stride = b->n};
        ql_gemm_run(&job, workspace);
    }
    status = QL_OK;
done:
    free(workspace);
    free(zeros);
    free(init);
    free(codes);
    return status;
}
