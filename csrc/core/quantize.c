/* Quantize, dequantize, fake-quantize and min-max over any layout of scales: checks, then one kernel call per run. */
#include "core/finite.h"
#include "core/layout.h"

static bool affine_is_valid(const ql_affine *p)
{
    if (!ql_code_range_is_valid(p->qmin, p->qmax))
        return false;
    if (ql_layout_size(&p->layout) == 0)
        return true;
    for (size_t c = 0; c < ql_layout_parameters(&p->layout); c++) {
        if (!(p->scale[c] >= FLT_MIN && p->scale[c] <= FLT_MAX))
            return false;
        if (p->zero_point[c] < p->qmin || p->zero_point[c] > p->qmax)
            return false;
    }
    return true;
}

static ql_status check(const float *x, const ql_affine *p, bool refuse_nonfinite)
{
    if (!affine_is_valid(p))
        return QL_EINVAL;
    if (refuse_nonfinite && !ql_all_finite(ql_kernels_active(), x, ql_layout_size(&p->layout)))
        return QL_ENONFINITE;
    return QL_OK;
}

ql_status ql_quantize_f32_x8(const float *x, const ql_affine *p, bool refuse_nonfinite, uint8_t *codes)
{
    const ql_kernels *kernels = ql_kernels_active();
    ql_status status = check(x, p, refuse_nonfinite);
    if (status != QL_OK)
        return status;
    for (size_t i = 0; i < ql_run_count(&p->layout); i++) {
        ql_run run = ql_run_at(&p->layout, i);
        kernels->quantize_f32_x8(x + run.offset, run.length, p->scale + run.parameter, p->zero_point + run.parameter,
                                 run.group, p->qmin, p->qmax, codes + run.offset);
    }
    return QL_OK;
}

ql_status ql_dequantize_x8_f32(const uint8_t *codes, const ql_affine *p, float *x)
{
    const ql_kernels *kernels = ql_kernels_active();
    if (!affine_is_valid(p))
        return QL_EINVAL;
    for (size_t i = 0; i < ql_run_count(&p->layout); i++) {
        ql_run run = ql_run_at(&p->layout, i);
        kernels->dequantize_x8_f32(codes + run.offset, run.length, p->qmin < 0, p->scale + run.parameter,
                                   p->zero_point + run.parameter, run.group, x + run.offset);
    }
    return QL_OK;
}

ql_status ql_fake_quantize_f32(const float *x, const ql_affine *p, bool refuse_nonfinite, float *y)
{
    const ql_kernels *kernels = ql_kernels_active();
    ql_status status = check(x, p, refuse_nonfinite);
    if (status != QL_OK)
        return status;
    for (size_t i = 0; i < ql_run_count(&p->layout); i++) {
        ql_run run = ql_run_at(&p->layout, i);
        kernels->fake_quantize_f32(x + run.offset, run.length, p->scale + run.parameter, p->zero_point + run.parameter,
                                   run.group, p->qmin, p->qmax, y + run.offset);
    }
    return QL_OK;
}

/* Adding +0 turns -0 into +0: which of two zeros a kernel kept is not defined. */
void ql_minmax_f32(const float *x, const ql_layout *layout, float *min, float *max, bool *has_nan)
{
    const ql_kernels *kernels = ql_kernels_active();
    const size_t count = ql_layout_parameters(layout);
    bool nan = false;
    for (size_t i = 0; i < count; i++) {
        min[i] = INFINITY;
        max[i] = -INFINITY;
    }
    for (size_t i = 0; i < ql_run_count(layout); i++) {
        ql_run run = ql_run_at(layout, i);
        nan |= kernels->minmax_f32(x + run.offset, run.length, run.group, min + run.parameter, max + run.parameter);
    }
    for (size_t i = 0; i < count; i++) {
        min[i] += 0.0f;
        max[i] += 0.0f;
    }
    *has_nan = nan;
}
