/* Quantization by any rounding to codes of any width, its way back, and the mask of what a grid reaches: in plain C,
 * without branches and without calls, so that compilers make vectors of it.
 *
 * t = x / scale is clamped before it is rounded: the ends are integers, so that it makes no difference, and whatever
 * follows fits an int32 and even the 22 bits that `nearest` needs. */
#include <float.h>
#include <math.h>

#include "kernels/portable/portable.h"

/* Half to even: beyond 2^23 floats are integers, and the sum is rounded to one. */
static inline int32_t nearest(float t)
{
    const float shift = 0x1.8p23f;
    return (int32_t)((t + shift) - shift);
}

static inline int32_t away(float t)
{
    int32_t whole = (int32_t)t;
    float rest = t - (float)whole;
    return whole + (rest >= 0.5f) - (rest <= -0.5f);
}

static inline int32_t stochastic(float t, float u)
{
    int32_t whole = (int32_t)t;
    whole -= t < (float)whole;
    return whole + (u < t - (float)whole);
}

/* 24 random bits of an element, in [0, 1): the formula stands in qlite.h. */
static inline float uniform(uint64_t key, uint32_t low, uint32_t high)
{
    uint32_t h = low ^ (uint32_t)key;
    h = (h ^ h >> 17) * 0xed5ad4bbu;
    h = (h ^ h >> 11) + (uint32_t)(key >> 32) + high * 0x9e3779b9u;
    h *= 0xac4c1b51u;
    h = (h ^ h >> 15) * 0x31848babu;
    h ^= h >> 14;
    return (float)(int32_t)(h >> 8) * 0x1p-24f;
}

typedef struct rule {
    ql_rounding rounding;
    int32_t qmin, qmax;
    uint64_t key;
} rule;

static inline bool quantize(const float *restrict x, size_t n, const float *restrict scale,
                            const int32_t *restrict zero_point, bool is_own, rule r, uint64_t first,
                            int32_t *restrict codes)
{
    const float shared_scale = *scale;
    const int32_t shared_zero_point = *zero_point;
    const uint32_t first_low = (uint32_t)first, first_high = (uint32_t)(first >> 32);
    int32_t nonfinite = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t z = is_own ? zero_point[i] : shared_zero_point;
        float low = (float)(r.qmin - z), high = (float)(r.qmax - z);
        float t = x[i] / (is_own ? scale[i] : shared_scale);
        nonfinite |= !(fabsf(x[i]) <= FLT_MAX);
        t = t == t ? t : 0.0f;
        t = t > low ? t : low;
        t = t < high ? t : high;
        if (r.rounding == QL_ROUND_EVEN) {
            codes[i] = nearest(t) + z;
        } else if (r.rounding == QL_ROUND_AWAY) {
            codes[i] = away(t) + z;
        } else {
            uint32_t index = first_low + (uint32_t)i;
            codes[i] = stochastic(t, uniform(r.key, index, first_high + (index < first_low))) + z;
        }
    }
    return nonfinite;
}

static inline bool quantize_groups(const float *x, size_t n, const float *scale, const int32_t *zero_point,
                                   size_t group, rule r, uint64_t first, int32_t *codes)
{
    if (n == 0)
        return false;
    if (group == 1)
        return quantize(x, n, scale, zero_point, true, r, first, codes);
    bool nonfinite = false;
    for (size_t i = 0; i < n; i += group)
        nonfinite |=
            quantize(x + i, n - i < group ? n - i : group, scale++, zero_point++, false, r, first + i, codes + i);
    return nonfinite;
}

/* Each call with a constant is a copy of the loop with this rounding alone in it. */
bool QL_KERNEL(ql_quantize_f32_s32)(const float *x, size_t n, const float *scale, const int32_t *zero_point,
                                    size_t group, int32_t qmin, int32_t qmax, ql_rounding rounding, uint64_t key,
                                    uint64_t first, int32_t *codes)
{
    rule r = {.qmin = qmin, .qmax = qmax, .key = key};
    switch (rounding) {
    case QL_ROUND_EVEN:
        r.rounding = QL_ROUND_EVEN;
        return quantize_groups(x, n, scale, zero_point, group, r, first, codes);
    case QL_ROUND_AWAY:
        r.rounding = QL_ROUND_AWAY;
        return quantize_groups(x, n, scale, zero_point, group, r, first, codes);
    default:
        r.rounding = QL_ROUND_STOCHASTIC;
        return quantize_groups(x, n, scale, zero_point, group, r, first, codes);
    }
}

static inline void dequantize(const int32_t *restrict codes, size_t n, const float *restrict scale,
                              const int32_t *restrict zero_point, bool is_own, float *restrict x)
{
    const float shared_scale = *scale;
    const int32_t shared_zero_point = *zero_point;
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(codes[i] - (is_own ? zero_point[i] : shared_zero_point)) * (is_own ? scale[i] : shared_scale);
}

void QL_KERNEL(ql_dequantize_s32_f32)(const int32_t *codes, size_t n, const float *scale, const int32_t *zero_point,
                                      size_t group, float *x)
{
    if (n > 0 && group == 1) {
        dequantize(codes, n, scale, zero_point, true, x);
        return;
    }
    for (size_t i = 0; i < n; i += group)
        dequantize(codes + i, n - i < group ? n - i : group, scale++, zero_point++, false, x + i);
}

/* One step beyond the ends is far enough to tell what is not inside; NaN is sent there. */
static inline void in_range(const float *restrict x, size_t n, const float *restrict scale,
                            const int32_t *restrict zero_point, bool is_own, int32_t qmin, int32_t qmax,
                            bool *restrict inside)
{
    const float shared_scale = *scale;
    const int32_t shared_zero_point = *zero_point;
    for (size_t i = 0; i < n; i++) {
        int32_t z = is_own ? zero_point[i] : shared_zero_point;
        float below = (float)(qmin - z - 1), above = (float)(qmax - z + 1);
        float t = x[i] / (is_own ? scale[i] : shared_scale);
        t = t > below ? t : below;
        t = t < above ? t : above;
        int32_t code = nearest(t) + z;
        inside[i] = (code >= qmin) & (code <= qmax);
    }
}

void QL_KERNEL(ql_in_range_f32)(const float *x, size_t n, const float *scale, const int32_t *zero_point, size_t group,
                                int32_t qmin, int32_t qmax, bool *inside)
{
    if (n > 0 && group == 1) {
        in_range(x, n, scale, zero_point, true, qmin, qmax, inside);
        return;
    }
    for (size_t i = 0; i < n; i += group)
        in_range(x + i, n - i < group ? n - i : group, scale++, zero_point++, false, qmin, qmax, inside + i);
}
