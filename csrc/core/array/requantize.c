/* Requantization of arrays, and the arithmetic of multipliers. */
#include "core/array/multiplier.h"
#include "core/base/layout.h"
#include "core/base/memory.h"
#include "kernels/kernels.h"

ql_status ql_quantize_multiplier(double value, int32_t *mantissa, int32_t *exponent)
{
    int32_t q, e;
    if (!ql_split_multiplier(value, &q, &e))
        return QL_EINVAL;
    *mantissa = q;
    *exponent = e;
    return QL_OK;
}

/* Multipliers in all their forms, one per column, as the kernels take them. Where a run shares one, a short row of
 * COPIES stands in for it. */
enum { COPIES = 256 };

typedef struct columns {
    float *multiplier;
    int32_t *mantissa, *exponent;
} columns;

typedef struct requantizer {
    const ql_kernels *kernels;
    bool fixed;
    int32_t zero_point, qmin, qmax;
} requantizer;

static void requantize(const requantizer *r, columns p, const int32_t *acc, size_t rows, size_t cols, uint8_t *codes)
{
    if (r->fixed)
        r->kernels->requantize_fixed_s32_x8(acc, cols, rows, cols, p.mantissa, p.exponent, r->zero_point, r->qmin,
                                            r->qmax, codes, cols);
    else
        r->kernels->requantize_s32_x8(acc, cols, rows, cols, p.multiplier, r->zero_point, r->qmin, r->qmax, codes,
                                      cols);
}

/* Requantizes n sums that share parameter c. */
static void requantize_group(const requantizer *r, columns p, size_t c, const int32_t *acc, size_t n, uint8_t *codes)
{
    float multiplier[COPIES];
    int32_t mantissa[COPIES], exponent[COPIES];
    for (size_t j = 0; j < COPIES && j < n; j++) {
        multiplier[j] = p.multiplier[c];
        mantissa[j] = p.mantissa[c];
        exponent[j] = p.exponent[c];
    }
    columns copies = {multiplier, mantissa, exponent};
    size_t rows = n / COPIES, done = rows * COPIES;
    requantize(r, copies, acc, rows, COPIES, codes);
    requantize(r, copies, acc + done, 1, n - done, codes + done);
}

static void requantize_run(const requantizer *r, columns p, const ql_run *run, const int32_t *acc, uint8_t *codes)
{
    if (run->group == 1) {
        columns own = {p.multiplier + run->parameter, p.mantissa + run->parameter, p.exponent + run->parameter};
        requantize(r, own, acc, 1, run->length, codes);
        return;
    }
    for (size_t first = 0; first < run->length; first += run->group) {
        requantize_group(r, p, run->parameter + first / run->group, acc + first,
                         ql_least(run->length - first, run->group), codes + first);
    }
}

static ql_status fill(columns p, const double *multiplier, size_t n)
{
    for (size_t c = 0; c < n; c++) {
        p.multiplier[c] = (float)multiplier[c];
        if (ql_quantize_multiplier(multiplier[c], p.mantissa + c, p.exponent + c) != QL_OK || !(p.multiplier[c] > 0))
            return QL_EINVAL;
    }
    return QL_OK;
}

ql_status ql_requantize_s32_x8(const int32_t *acc, const ql_layout *layout, const double *multiplier, bool fixed,
                               int32_t zero_point, int32_t qmin, int32_t qmax, uint8_t *codes)
{
    const requantizer r = {ql_kernels_active(), fixed, zero_point, qmin, qmax};
    if (ql_code_size(qmin, qmax) != 1 || zero_point < -128 || zero_point > 255)
        return QL_EINVAL;
    if (ql_layout_size(layout) == 0)
        return QL_OK;
    const size_t n = ql_layout_parameters(layout);
    columns p = {ql_alloc(n, sizeof *p.multiplier), ql_alloc(n, sizeof *p.mantissa), ql_alloc(n, sizeof *p.exponent)};
    ql_status status = p.multiplier && p.mantissa && p.exponent ? fill(p, multiplier, n) : QL_ENOMEM;
    if (status != QL_OK)
        goto done;
    for (size_t i = 0; i < ql_run_count(layout); i++) {
        ql_run run = ql_run_at(layout, i);
        requantize_run(&r, p, &run, acc + run.offset, codes + run.offset);
    }
done:
    free(p.exponent);
    free(p.mantissa);
    free(p.multiplier);
    return status;
}
