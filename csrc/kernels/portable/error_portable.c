/* Placing values on a grid, and the sums of their errors.
 *
 * Why the magic number: rintf() is a call where the instruction set has no rounding. The value is clamped to steps of
 * 16 bits, and up to 2^22 adding and taking away 1.5 * 2^23 rounds half to even.
 * Why eight partial sums: one would be a chain of additions as long as the data; eight fill the widest vectors, and the
 * order in which they are added up is the same for all. */
#include <math.h>
#include <string.h>

#include "kernels/portable/portable.h"

enum { SUMS = 6 };

bool QL_KERNEL(ql_error_slots_f32)(const float *restrict w, const float *restrict code, size_t n,
                                   const float *restrict scale, const float *restrict zero_point, int32_t qmin,
                                   int32_t qmax, float *restrict value, int32_t *restrict slot, int32_t *restrict mark)
{
    const float magic = 0x1.8p23f, least = (float)qmin, greatest = (float)qmax;
    const int32_t last = (qmax - qmin) * QL_CODE_SLOTS + QL_SUB_BINS - 1;
    int32_t any = 0;
    for (size_t i = 0; i < n; i++) {
        const float low = least - zero_point[i], high = greatest - zero_point[i];
        const float below = low - 1, above = high + 1;
        float t = w[i] / scale[i];
        t = t > below ? t : below;
        t = t < above ? t : above;
        const float nearest = (t + magic) - magic;
        const int32_t step = (int32_t)(nearest - low), bin = (int32_t)((t - nearest) * QL_SUB_BINS + QL_SUB_BINS / 2);
        int32_t at = step * QL_CODE_SLOTS + (bin < QL_SUB_BINS ? bin : QL_SUB_BINS - 1);
        at = at > 0 ? at : 0;
        slot[i] = at < last ? at : last;
        mark[i] = ((step < 0) | (step > qmax - qmin)) * QL_CLIPPED | (nearest + zero_point[i] != code[i]) * QL_MOVED;
        any |= mark[i];
        value[i] = (code[i] - zero_point[i]) * scale[i];
    }
    return any;
}

/* Element i goes into sum i of each field. */
static inline void add(const float *restrict w, const float *restrict value, const int32_t *restrict mark, size_t n,
                       double *restrict signal, double *restrict clipping, double *restrict rounding,
                       double *restrict product, double *restrict power, double *restrict greatest)
{
    for (size_t i = 0; i < n; i++) {
        const double x = (double)w[i], v = (double)value[i], e = x - v, size = fabs(e), zero = 0;
        const bool is_clipped = mark[i] & QL_CLIPPED;
        const double clipped = is_clipped ? e : zero, rounded = is_clipped ? zero : e;
        signal[i] += x * x;
        product[i] += x * v;
        power[i] += v * v;
        clipping[i] += clipped * clipped;
        rounding[i] += rounded * rounded;
        greatest[i] = size > greatest[i] ? size : greatest[i];
    }
}

void QL_KERNEL(ql_add_errors_f64)(const float *w, const float *value, const int32_t *mark, size_t n, bool fold,
                                  double *sums, size_t stride)
{
    if (!fold) {
        add(w, value, mark, n, sums, sums + stride, sums + 2 * stride, sums + 3 * stride, sums + 4 * stride,
            sums + 5 * stride);
        return;
    }
    double part[SUMS][QL_LANES];
    for (size_t f = 0; f < SUMS; f++)
        memcpy(part[f], sums + f * stride, sizeof part[f]);
    size_t i = 0;
    for (; i + QL_LANES <= n; i += QL_LANES)
        add(w + i, value + i, mark + i, QL_LANES, part[0], part[1], part[2], part[3], part[4], part[5]);
    add(w + i, value + i, mark + i, n - i, part[0], part[1], part[2], part[3], part[4], part[5]);
    for (size_t f = 0; f < SUMS; f++)
        memcpy(sums + f * stride, part[f], sizeof part[f]);
}
