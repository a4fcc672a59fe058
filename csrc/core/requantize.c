/* Requantization of arrays, and the arithmetic of multipliers. */
#include <float.h>
#include <math.h>

#include "core/layout.h"
#include "kernels/kernels.h"

static bool requant_is_valid(const ql_requant *p, size_t channels)
{
    bool is_s8 = p->qmin >= -128 && p->qmax <= 127, is_u8 = p->qmin >= 0 && p->qmax <= 255;
    if (!(is_s8 || is_u8) || p->qmin > p->qmax || p->zero_point < -128 || p->zero_point > 255)
        return false;
    for (size_t c = 0; c < channels; c++) {
        if (!p->fixed && !(p->multiplier[c] > 0 && p->multiplier[c] <= FLT_MAX))
            return false;
        if (p->fixed && (p->exponent[c] < -31 || p->exponent[c] > 30 || p->mantissa[c] < 0))
            return false;
    }
    return true;
}

/* The kernels take a parameter per column. Where a run shares one, a short row of copies stands in for it. */
enum { COPIES = 256 };

static void requantize(const ql_kernels *kernels, const ql_requant *p, const int32_t *acc, size_t rows, size_t cols,
                       uint8_t *codes)
{
    if (p->fixed)
        kernels->requantize_fixed_s32_x8(acc, cols, rows, cols, p->mantissa, p->exponent, p->zero_point, p->qmin,
                                         p->qmax, codes, cols);
    else
        kernels->requantize_s32_x8(acc, cols, rows, cols, p->multiplier, p->zero_point, p->qmin, p->qmax, codes, cols);
}

static void requantize_run(const ql_kernels *kernels, const ql_requant *p, size_t channel, const int32_t *acc, size_t n,
                           uint8_t *codes)
{
    float multiplier[COPIES];
    int32_t mantissa[COPIES], exponent[COPIES];
    for (size_t j = 0; j < COPIES; j++) {
        multiplier[j] = p->fixed ? 0.0f : p->multiplier[channel];
        mantissa[j] = p->fixed ? p->mantissa[channel] : 0;
        exponent[j] = p->fixed ? p->exponent[channel] : 0;
    }
    ql_requant copies = *p;
    copies.multiplier = multiplier;
    copies.mantissa = mantissa;
    copies.exponent = exponent;
    size_t rows = n / COPIES, done = rows * COPIES;
    requantize(kernels, &copies, acc, rows, COPIES, codes);
    requantize(kernels, &copies, acc + done, 1, n - done, codes + done);
}

ql_status ql_requantize_s32_x8(const int32_t *acc, ql_layout layout, const ql_requant *p, uint8_t *codes)
{
    const ql_kernels *kernels = ql_kernels_active();
    if (!requant_is_valid(p, layout.channels))
        return QL_EINVAL;
    if (ql_layout_size(layout) == 0)
        return QL_OK;
    if (layout.inner == 1 && layout.channels > 1) {
        requantize(kernels, p, acc, layout.outer, layout.channels, codes);
        return QL_OK;
    }
    for (size_t i = 0; i < ql_run_count(layout); i++) {
        ql_run run = ql_run_at(layout, i);
        requantize_run(kernels, p, run.channel, acc + run.offset, run.length, codes + run.offset);
    }
    return QL_OK;
}

ql_status ql_quantize_multiplier(double value, int32_t *mantissa, int32_t *exponent)
{
    if (!(value > 0 && value < 0x1p30))
        return QL_EINVAL;
    int e;
    int64_t q = (int64_t)floor(frexp(value, &e) * 0x1p31 + 0.5);
    if (q == INT64_C(1) << 31) {
        q >>= 1;
        e++;
    }
    if (e > 30)
        return QL_EINVAL;
    bool vanishes = e < -31;
    *mantissa = vanishes ? 0 : (int32_t)q;
    *exponent = vanishes ? 0 : e;
    return QL_OK;
}
