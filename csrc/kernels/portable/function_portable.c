/* Functions of floats, in place, and their slopes. Exponentials are in double and the result is rounded once, so that
 * it is within a unit of its last place, but for those in float, which say what they are within. A value takes 0.5 to
 * 3 ns, little next to the product before it. */
#include <math.h>

#include "kernels/exponential.h"
#include "kernels/portable/portable.h"

typedef float function_of(float x, float slope);
typedef float gradient_of(float gradient, float x, float slope);

/* ---- the normal distribution -------------------------------------------------------------------- */

/* erfc(a) exp(a^2) / 2 for a >= 0, to within 2e-9 of it: t P(2 t - 1) with t = 1 / (1 + 0.4 a), the polynomial that
 * interpolates at 13 Chebyshev nodes. */
static inline double scaled_tail(double a)
{
    const double t = 1 / (1 + 0.4 * a), u = 2 * t - 1;
    const double u2 = u * u, u4 = u2 * u2, u8 = u4 * u4;
    const double low_half =
        (0.21080636406114373 + u * 0.16093037156225332 + u2 * (0.09078282451151808 + u * 0.03425018158922338)) +
        u4 * (0.005672276807451531 - u * 0.0016782174964307375 +
              u2 * (-0.0009634888568860306 + u * 8.642208560726597e-05));
    const double high_half = 0.00013960338891581006 - u * 9.038697891051426e-06 +
                             u2 * (-2.0915876571909594e-05 + u * 1.3226970850345532e-06) + u4 * 2.2944000114536244e-06;
    return t * (low_half + u8 * high_half);
}

/* Share of the standard normal distribution below x, given exp(-x^2 / 2). */
static inline double share_below(double x, double exponential)
{
    const double tail = exponential * scaled_tail(fabs(x) * 0x1.6a09e667f3bcdp-1); /* / sqrt(2) */
    return ql_where(x < 0, tail, 1 - tail);
}

/* ---- functions ---------------------------------------------------------------------------------- */

static inline float identity(float x, float slope)
{
    (void)slope;
    return x;
}

static inline float relu(float x, float slope)
{
    (void)slope;
    return x < 0 ? 0 : x;
}

static inline float relu6(float x, float slope)
{
    (void)slope;
    return x < 0 ? 0 : x > 6 ? 6 : x;
}

static inline float leaky_relu(float x, float slope)
{
    return x * (float)ql_where(x < 0, slope, 1);
}

/* 1 / (1 + exp(-x)), with e = exp(-|x|). */
static inline double logistic(double x, double e)
{
    return ql_where(x < 0, e, 1) / (1 + e);
}

/* In float, to within 4 units in the last place: gates and maps of masks have many. 65,536 values take 35 us instead of
 * 158 (AMD Zen 3). */
static inline float sigmoid(float x, float slope)
{
    (void)slope;
    const float e = ql_exp_f32(-fabsf(x));
    return ql_where_f32(x < 0, e, 1) / (1 + e);
}

/* (1 - e) / (1 + e) with e = exp(-2 |x|) loses digits near 0, where the series takes over. */
static inline float hyperbolic_tangent(float x, float slope)
{
    (void)slope;
    const double a = fabs((double)x), e = ql_exp(-2 * a);
    const double t = ql_where(a < 0x1p-12, a - a * a * a / 3, (1 - e) / (1 + e));
    return copysignf((float)t, x);
}

/* The lesser of |x| and the limit; the limit for NaN. Bits of magnitudes are in their order. */
static inline float limited(float x, float limit)
{
    uint32_t bits, most;
    memcpy(&bits, &x, sizeof bits);
    memcpy(&most, &limit, sizeof most);
    bits &= INT32_MAX;
    bits = bits < most ? bits : most;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* x times the share of the standard normal distribution below x, in float, to within 6 units in the last place:
 * max(x, 0) - a tail(a) with a = |x|. What exp(-a^2 / 2) gets is the square and what its rounding lost. The tail over
 * that is a polynomial of t - 1 / 4, t = 1 / (1 + 0.335 a), with the least greatest error, 8e-9 of it; beyond 13.25 it
 * is 0. A value takes 0.76 ns, not 1.5 as with products and sums that are rounded apart (AMD Zen 3). */
static inline float gelu(float x, float slope)
{
    const float a = limited(x, 13.25f), half = -0.5f * a, square = half * a;
    const float exponential = ql_exp_sum_f32(square, fmaf(half, a, -square));
    const float t = 1 / fmaf(a, 0.335f, 1) - 0.25f, t2 = t * t, t4 = t2 * t2;
    const float low_half = fmaf(t2, fmaf(t, 0.236614916f, 0.263453661f), fmaf(t, 0.229214902f, 0.0440126464f));
    const float high_half =
        fmaf(t4, fmaf(t, -0.0278989018f, 0.0907787364f),
             fmaf(t2, fmaf(t, -0.0733836535f, -0.0540754094f), fmaf(t, 0.0164414152f, 0.140915038f)));
    const float tail = fmaf(t4, high_half, low_half);
    return fmaf(-exponential, a * tail, relu(x, slope));
}

static inline float silu(float x, float slope)
{
    (void)slope;
    return (float)(x * logistic(x, ql_exp(-fabs((double)x))));
}

static inline float hard_swish(float x, float slope)
{
    return x * relu6(x + 3, slope) / 6;
}

/* exp(x) - 1 loses digits near 0, where the series takes over. */
static inline float elu(float x, float slope)
{
    (void)slope;
    const double a = ql_where(x < 0, x, 0), e = ql_exp(a);
    return (float)ql_where(x < 0, ql_where(a > -0x1p-12, a + a * a * 0.5 + a * a * a / 6, e - 1), x);
}

static inline float hard_sigmoid(float x, float slope)
{
    return relu6(x + 3, slope) / 6;
}

/* log(1 + e) for 0 <= e <= 1, to within 2^-48 of it: 2 (z + z^3 / 3 + z^5 / 5 + ...) with z = e / (2 + e). */
static inline double log_of_one_and(double e)
{
    const double z = e / (2 + e), z2 = z * z, z4 = z2 * z2, z8 = z4 * z4;
    const double low_half = (1 + z2 * (1.0 / 3) + z4 * (1.0 / 5 + z2 * (1.0 / 7))) +
                            z8 * (1.0 / 9 + z2 * (1.0 / 11) + z4 * (1.0 / 13 + z2 * (1.0 / 15)));
    const double high_half =
        (1.0 / 17 + z2 * (1.0 / 19) + z4 * (1.0 / 21 + z2 * (1.0 / 23))) + z8 * (1.0 / 25 + z2 * (1.0 / 27));
    return 2 * z * (low_half + z8 * z8 * high_half);
}

static inline float softplus(float x, float slope)
{
    (void)slope;
    return (float)(ql_where(x < 0, 0, x) + log_of_one_and(ql_exp(-fabs((double)x))));
}

static inline __attribute__((always_inline)) void each(function_of *function, const float *restrict bias, size_t n,
                                                       float slope, float *restrict y)
{
    if (!bias) {
        for (size_t i = 0; i < n; i++)
            y[i] = function(y[i], slope);
        return;
    }
    for (size_t i = 0; i < n; i++)
        y[i] = function(y[i] + bias[i], slope);
}

void QL_KERNEL(ql_apply_f32)(const float *bias, size_t n, ql_function function, float *y)
{
    switch (function.kind) {
    case QL_RELU:
        each(relu, bias, n, 0, y);
        break;
    case QL_RELU6:
        each(relu6, bias, n, 0, y);
        break;
    case QL_LEAKY_RELU:
        each(leaky_relu, bias, n, function.slope, y);
        break;
    case QL_SIGMOID:
        each(sigmoid, bias, n, 0, y);
        break;
    case QL_TANH:
        each(hyperbolic_tangent, bias, n, 0, y);
        break;
    case QL_GELU:
        each(gelu, bias, n, 0, y);
        break;
    case QL_SILU:
        each(silu, bias, n, 0, y);
        break;
    case QL_HARD_SWISH:
        each(hard_swish, bias, n, 0, y);
        break;
    case QL_ELU:
        each(elu, bias, n, 0, y);
        break;
    case QL_HARD_SIGMOID:
        each(hard_sigmoid, bias, n, 0, y);
        break;
    case QL_SOFTPLUS:
        each(softplus, bias, n, 0, y);
        break;
    default:
        each(identity, bias, n, 0, y);
    }
}

/* ---- gradients ---------------------------------------------------------------------------------- */

static inline float through_relu(float g, float z, float slope)
{
    (void)slope;
    return z > 0 ? g : 0;
}

static inline float through_relu6(float g, float z, float slope)
{
    (void)slope;
    return (z > 0) & (z < 6) ? g : 0;
}

static inline float through_leaky_relu(float g, float z, float slope)
{
    return g * (float)ql_where(z > 0, 1, slope);
}

static inline float through_sigmoid(float g, float z, float slope)
{
    (void)slope;
    const double e = ql_exp(-fabs((double)z)), sum = 1 + e;
    return g * (float)(e / (sum * sum));
}

static inline float through_tanh(float g, float z, float slope)
{
    (void)slope;
    const double e = ql_exp(-2 * fabs((double)z)), sum = 1 + e;
    return g * (float)(4 * e / (sum * sum));
}

static inline float through_gelu(float g, float z, float slope)
{
    (void)slope;
    const double density = 0.3989422804014327, x = z, exponential = ql_exp(-0.5 * x * x);
    return g * (float)(share_below(x, exponential) + x * (density * exponential));
}

static inline float through_silu(float g, float z, float slope)
{
    (void)slope;
    const double s = logistic(z, ql_exp(-fabs((double)z)));
    return g * (float)(s * (1 + z * (1 - s)));
}

static inline float through_hard_swish(float g, float z, float slope)
{
    (void)slope;
    return g * (float)ql_where((z > -3) & (z < 3), z / 3 + 0.5f, z < 3 ? 0 : 1);
}

static inline float through_elu(float g, float z, float slope)
{
    (void)slope;
    return g * (float)ql_exp(ql_where(z < 0, z, 0));
}

static inline float through_hard_sigmoid(float g, float z, float slope)
{
    (void)slope;
    return g * (float)ql_where((z > -3) & (z < 3), 1.0 / 6, 0);
}

static inline float through_softplus(float g, float z, float slope)
{
    (void)slope;
    return g * (float)logistic(z, ql_exp(-fabs((double)z)));
}

static inline __attribute__((always_inline)) void each_row(gradient_of *through, const float *restrict z, size_t rows,
                                                           size_t n, size_t stride, float slope,
                                                           float *restrict gradient, float *restrict sums)
{
    for (size_t j = 0; j < n; j++)
        sums[j] = 0;
    for (size_t i = 0; i < rows; i++, z += stride, gradient += stride) {
        for (size_t j = 0; j < n; j++) {
            const float g = through(gradient[j], z[j], slope);
            gradient[j] = g;
            sums[j] += g;
        }
    }
}

static void sum_rows(size_t rows, size_t n, size_t stride, const float *restrict gradient, float *restrict sums)
{
    for (size_t j = 0; j < n; j++)
        sums[j] = 0;
    for (size_t i = 0; i < rows; i++, gradient += stride) {
        for (size_t j = 0; j < n; j++)
            sums[j] += gradient[j];
    }
}

void QL_KERNEL(ql_function_gradient_f32)(const float *z, size_t rows, size_t n, size_t stride, ql_function function,
                                         float *gradient, float *sums)
{
    switch (function.kind) {
    case QL_RELU:
        each_row(through_relu, z, rows, n, stride, 0, gradient, sums);
        break;
    case QL_RELU6:
        each_row(through_relu6, z, rows, n, stride, 0, gradient, sums);
        break;
    case QL_LEAKY_RELU:
        each_row(through_leaky_relu, z, rows, n, stride, function.slope, gradient, sums);
        break;
    case QL_SIGMOID:
        each_row(through_sigmoid, z, rows, n, stride, 0, gradient, sums);
        break;
    case QL_TANH:
        each_row(through_tanh, z, rows, n, stride, 0, gradient, sums);
        break;
    case QL_GELU:
        each_row(through_gelu, z, rows, n, stride, 0, gradient, sums);
        break;
    case QL_SILU:
        each_row(through_silu, z, rows, n, stride, 0, gradient, sums);
        break;
    case QL_HARD_SWISH:
        each_row(through_hard_swish, z, rows, n, stride, 0, gradient, sums);
        break;
    case QL_ELU:
        each_row(through_elu, z, rows, n, stride, 0, gradient, sums);
        break;
    case QL_HARD_SIGMOID:
        each_row(through_hard_sigmoid, z, rows, n, stride, 0, gradient, sums);
        break;
    case QL_SOFTPLUS:
        each_row(through_softplus, z, rows, n, stride, 0, gradient, sums);
        break;
    default:
        sum_rows(rows, n, stride, gradient, sums);
    }
}
