/* From a range of values to a grid. */
#include <float.h>
#include <math.h>

#include "qlite.h"

static float usable_scale(float scale)
{
    return scale > FLT_MIN ? scale : FLT_MIN;
}

/* 127 * (FLT_MAX / 127) rounds to infinity. reach is the end's distance from the zero point, in codes. */
static float finite_scale(float end, int32_t reach, float scale)
{
    const float code = fminf(rintf(end / scale), (float)reach);
    while (code * scale > FLT_MAX)
        scale = nextafterf(scale, 0);
    return scale;
}

static int32_t clamped_round(float value, int32_t qmin, int32_t qmax)
{
    const float r = rintf(value), low = (float)qmin, high = (float)qmax;
    return r < low ? qmin : r > high ? qmax : (int32_t)r;
}

void ql_range_qparams(float low, float high, int32_t qmin, int32_t qmax, bool symmetric, float *scale,
                      int32_t *zero_point)
{
    const bool is_constant = low == high;
    const float constant = fabsf(low);
    const int32_t middle = (qmin + qmax + 1) / 2;
    low = low < 0 ? low : 0;
    high = high > 0 ? high : 0;

    if (symmetric) {
        float below = -low / (float)(middle - qmin), above = high / (float)(qmax - middle);
        *scale = usable_scale(below > above ? below : above);
        *zero_point = middle;
    } else {
        float range = high - low, levels = (float)(qmax - qmin);
        *scale = usable_scale(range <= FLT_MAX ? range / levels : high / levels - low / levels);
        *zero_point = clamped_round((float)qmin - low / *scale, qmin, qmax);
    }
    if (is_constant)
        *scale = constant > 0 ? usable_scale(constant) : 1.0f;
    *scale = finite_scale(-low, *zero_point - qmin, *scale);
    *scale = finite_scale(high, qmax - *zero_point, *scale);
}

ql_status ql_ranges_qparams(const float *low, const float *high, size_t n, int32_t qmin, int32_t qmax, bool symmetric,
                            float *scale, int32_t *zero_point)
{
    if (qmin >= qmax)
        return QL_EINVAL;
    for (size_t i = 0; i < n; i++) {
        if (!(low[i] >= -FLT_MAX && low[i] <= high[i] && high[i] <= FLT_MAX))
            return QL_EINVAL;
    }
    for (size_t i = 0; i < n; i++)
        ql_range_qparams(low[i], high[i], qmin, qmax, symmetric, scale + i, zero_point + i);
    return QL_OK;
}
