/* Scales and zero points from ranges of values, and back. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/array/codebook_order.h"
#include "core/calibrate/range.h"

#define F16_LEAST 0x1p-24f /* subnormal, as are all below F16_NORMAL */
#define F16_NORMAL 0x1p-14f
#define F16_GREATEST 65504.0f

/* Number of bits of float32's mantissa that a type does without at this scale, one more for each octave below float16's
 * normal numbers. */
static int dropped_bits(float scale, ql_scale_type type)
{
    if (type == QL_SCALE_F16)
        return 13 + (scale < F16_NORMAL ? ilogbf(F16_NORMAL) - ilogbf(scale) : 0);
    return type == QL_SCALE_E8M0 ? 23 : 0;
}

static float least_scale(ql_scale_type type)
{
    return type == QL_SCALE_F16 ? F16_LEAST : FLT_MIN;
}

static float greatest_scale(ql_scale_type type)
{
    return type == QL_SCALE_F16 ? F16_GREATEST : type == QL_SCALE_E8M0 ? 0x1p127f : FLT_MAX;
}

/* Returns a positive scale with the dropped bits of its mantissa cleared, after `bias` has been added to them; a carry
 * moves on to the exponent, as it should. */
static float shortened(float scale, int dropped, uint32_t bias)
{
    uint32_t bits;
    memcpy(&bits, &scale, sizeof bits);
    bits = (bits + bias) >> dropped << dropped;
    memcpy(&scale, &bits, sizeof bits);
    return scale;
}

float ql_scale_at_least(float scale, ql_scale_type type)
{
    if (!(scale > least_scale(type)))
        return least_scale(type);
    if (type == QL_SCALE_F32)
        return fminf(scale, FLT_MAX);
    if (scale > greatest_scale(type))
        return INFINITY;
    const int dropped = dropped_bits(scale, type);
    scale = shortened(scale, dropped, ((uint32_t)1 << dropped) - 1);
    return scale <= greatest_scale(type) ? scale : INFINITY;
}

static float scale_below(float scale, ql_scale_type type)
{
    const float below = nextafterf(scale, 0);
    return shortened(below, dropped_bits(below, type), 0);
}

float ql_nearest_scale(double scale, ql_scale_type type)
{
    if (!(scale > least_scale(type)))
        return least_scale(type);
    if (!(scale < greatest_scale(type)))
        return greatest_scale(type);
    const int dropped = dropped_bits((float)scale, type);
    const float rounded = shortened((float)scale, dropped, dropped ? (uint32_t)1 << (dropped - 1) : 0);
    return rounded <= greatest_scale(type) ? rounded : greatest_scale(type);
}

/* Returns the greatest scale up to this one that `reach` steps do not carry out of float32. */
static float scale_for_reach(float scale, float reach, ql_scale_type type)
{
    if (reach * scale <= FLT_MAX)
        return scale;
    scale = FLT_MAX / reach;
    scale = shortened(scale, dropped_bits(scale, type), 0);
    while (reach * scale > FLT_MAX)
        scale = scale_below(scale, type);
    return scale;
}

/* Lowers a scale with which the end would come back infinite, as FLT_MAX does from 127 * (FLT_MAX / 127). codes is
 * their number on the end's side of the zero point. */
static float finite_scale(float end, int32_t codes, float scale, ql_scale_type type)
{
    return scale_for_reach(scale, fminf(rintf(end / scale), (float)codes), type);
}

static int32_t clamped_round(float value, int32_t qmin, int32_t qmax)
{
    const float r = rintf(value), low = (float)qmin, high = (float)qmax;
    return r < low ? qmin : r > high ? qmax : (int32_t)r;
}

static int32_t middle_code(int32_t qmin, int32_t qmax)
{
    return (qmin + qmax + 1) / 2;
}

/* Returns end / codes, or 0 where there are no codes on that side. */
static float scale_of_side(float end, int32_t codes)
{
    return codes > 0 ? end / (float)codes : 0;
}

static bool uniform_scale(float low, float high, int32_t qmin, int32_t qmax, bool symmetric, ql_scale_type type,
                          float *scale, int32_t *zero_point)
{
    const bool is_constant = low == high;
    const float constant = fabsf(low);
    float least = 0;
    low = low < 0 ? low : 0;
    high = high > 0 ? high : 0;

    if (symmetric) {
        const int32_t middle = middle_code(qmin, qmax);
        float below = scale_of_side(-low, middle - qmin), above = scale_of_side(high, qmax - middle);
        least = below > above ? below : above;
        *scale = ql_scale_at_least(least, type);
        *zero_point = middle;
    } else {
        float range = high - low, steps = (float)(qmax - qmin);
        least = range <= FLT_MAX ? range / steps : high / steps - low / steps;
        *scale = ql_scale_at_least(least, type);
        *zero_point = clamped_round((float)qmin - low / *scale, qmin, qmax);
    }
    if (is_constant && constant == 0)
        *scale = 1;
    else if (is_constant && (type == QL_SCALE_F32 || ql_scale_at_least(constant, type) == constant))
        *scale = ql_scale_at_least(constant, type);
    if (!(*scale <= FLT_MAX))
        return false;
    *scale = finite_scale(-low, *zero_point - qmin, *scale, type);
    *scale = finite_scale(high, qmax - *zero_point, *scale, type);
    return true;
}

void ql_range_qparams(float low, float high, int32_t qmin, int32_t qmax, bool symmetric, float *scale,
                      int32_t *zero_point)
{
    (void)uniform_scale(low, high, qmin, qmax, symmetric, QL_SCALE_F32, scale, zero_point);
}

/* ---- codebooks -------------------------------------------------------------------------------------- */

size_t ql_sorted_entries(const float *codebook, size_t entries, double *sorted)
{
    uint8_t codes[QL_MAX_ENTRIES];
    const size_t finite = ql_sort_codes(codebook, entries, codes);
    size_t count = 0;
    for (size_t i = 0; i < finite; i++) {
        const double entry = codebook[codes[i]];
        if (count == 0 || entry != sorted[count - 1])
            sorted[count++] = entry;
    }
    return count;
}

static void extremes(const ql_grid *grid, float *least, float *greatest)
{
    *least = 0;
    *greatest = 0;
    for (size_t i = 0; i < grid->entries; i++) {
        *least = fminf(*least, grid->codebook[i]);
        *greatest = fmaxf(*greatest, grid->codebook[i]);
    }
}

static bool codebook_scale(float low, float high, const ql_grid *grid, float *scale)
{
    float least, greatest;
    extremes(grid, &least, &greatest);
    float below = low < 0 && least < 0 ? low / least : 0, above = high > 0 && greatest > 0 ? high / greatest : 0;
    float wanted = below > above ? below : above;
    *scale = wanted > 0 ? ql_scale_at_least(wanted, grid->scale_type) : 1;
    if (!(*scale <= FLT_MAX))
        return false;
    *scale = scale_for_reach(*scale, fmaxf(-least, greatest), grid->scale_type);
    return true;
}

/* ---- any grid --------------------------------------------------------------------------------------- */

bool ql_grid_is_valid(const ql_grid *grid)
{
    if (!grid->codebook)
        return grid->qmin < grid->qmax && grid->qmin >= INT16_MIN && grid->qmax <= UINT16_MAX;
    if (grid->entries < 1 || grid->entries > QL_MAX_ENTRIES)
        return false;
    float least, greatest;
    for (size_t i = 0; i < grid->entries; i++) {
        if (isinf(grid->codebook[i]))
            return false;
    }
    extremes(grid, &least, &greatest);
    return least < 0 || greatest > 0;
}

ql_status ql_range_scale(float low, float high, const ql_grid *grid, float *scale, int32_t *zero_point)
{
    *zero_point = 0;
    bool fits = grid->codebook ? codebook_scale(low, high, grid, scale)
                               : uniform_scale(low, high, grid->qmin, grid->qmax, grid->symmetric, grid->scale_type,
                                               scale, zero_point);
    return fits ? QL_OK : QL_EINVAL;
}

ql_status ql_ranges_qparams(const float *low, const float *high, size_t n, const ql_grid *grid, float *scale,
                            int32_t *zero_point)
{
    if (!ql_grid_is_valid(grid))
        return QL_EINVAL;
    for (size_t i = 0; i < n; i++) {
        float s;
        int32_t z;
        if (!(low[i] >= -FLT_MAX && low[i] <= high[i] && high[i] <= FLT_MAX) ||
            ql_range_scale(low[i], high[i], grid, &s, &z) != QL_OK)
            return QL_EINVAL;
    }
    for (size_t i = 0; i < n; i++)
        (void)ql_range_scale(low[i], high[i], grid, scale + i, zero_point + i);
    return QL_OK;
}

/* Returns the end of `reach` steps, rounded so that end / reach is not more than the scale. */
static float end_of(float scale, float reach)
{
    if (!(reach > 0))
        return 0;
    double end = (double)scale * reach;
    float rounded = end < FLT_MAX ? (float)end : FLT_MAX;
    while (rounded / reach > scale)
        rounded = nextafterf(rounded, 0);
    return rounded;
}

void ql_scale_range(float scale, int32_t zero_point, const ql_grid *grid, float *low, float *high)
{
    float least, greatest;
    if (grid->codebook) {
        extremes(grid, &least, &greatest);
        *low = 0 - end_of(scale, -least);
        *high = end_of(scale, greatest);
    } else if (grid->symmetric) {
        const int32_t middle = middle_code(grid->qmin, grid->qmax);
        const int32_t below = middle - grid->qmin, above = grid->qmax - middle;
        *high = end_of(scale, (float)(above == 0 || (below > 0 && below < above) ? below : above));
        *low = 0 - *high;
    } else {
        *low = 0 - end_of(scale, (float)(zero_point - grid->qmin));
        *high = end_of(scale, (float)(grid->qmax - zero_point));
        const float steps = (float)(grid->qmax - grid->qmin);
        while ((*high - *low) / steps > scale && *high - *low <= FLT_MAX) {
            *high = *high > 0 ? nextafterf(*high, 0) : *high;
            *low = *high > 0 ? *low : nextafterf(*low, 0);
        }
    }
}
