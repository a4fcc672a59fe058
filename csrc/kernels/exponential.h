/* exp() without the C library's: its last bits differ from one library to the next. */
#ifndef QL_EXPONENTIAL_H
#define QL_EXPONENTIAL_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* is ? a : b, of bits: GCC 12 makes a branch of `?:` where one of the two is a constant or needs arithmetic, and then
 * leaves the loop around it as it is. */
static inline double ql_where(bool is, double a, double b)
{
    const uint64_t mask = -(uint64_t)is;
    uint64_t a_bits, b_bits;
    memcpy(&a_bits, &a, sizeof a);
    memcpy(&b_bits, &b, sizeof b);
    a_bits = (a_bits & mask) | (b_bits & ~mask);
    memcpy(&a, &a_bits, sizeof a);
    return a;
}

/* e^x for x <= 0, to within 2 units in the last place of normal results, 0 from -709 on, NaN for NaN: 2^k e^r with
 * |r| <= log(2) / 2 and 14 terms of the series. x - k log(2) is exact but for its last step, because the first part of
 * log(2) ends in 21 zeros. Adding 3 * 2^51 rounds to an integer, which then stands in the low bits; at -709 that is
 * -1023, and 2^k has the bits of 0. Terms are added in pairs, not one after the other, so that a core has more to do at
 * once: 16,384 sigmoids take 38 us, not 52 (AMD Zen 3). */
static inline double ql_exp(double x)
{
    const double high = 0x1.62e42feep-1, low = 0x1.a39ef35793c76p-33, log2_e = 0x1.71547652b82fep+0, shift = 0x1.8p52;
    const double inside = ql_where(x < -709, -709, x), shifted = inside * log2_e + shift, k = shifted - shift;
    const double r = (inside - k * high) - k * low;
    const double r2 = r * r, r4 = r2 * r2, r8 = r4 * r4;
    const double low_half = (1 + r + r2 * (1.0 / 2 + r * (1.0 / 6))) +
                            r4 * (1.0 / 24 + r * (1.0 / 120) + r2 * (1.0 / 720 + r * (1.0 / 5040)));
    const double high_half = 1.0 / 40320 + r * (1.0 / 362880) + r2 * (1.0 / 3628800 + r * (1.0 / 39916800)) +
                             r4 * (1.0 / 479001600 + r * (1.0 / 6227020800));
    const double sum = low_half + r8 * high_half;
    uint64_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 1023) << 52;
    double power;
    memcpy(&power, &bits, sizeof power);
    return sum * power;
}

/* The same of 32 bits. */
static inline float ql_where_f32(bool is, float a, float b)
{
    const uint32_t mask = -(uint32_t)is;
    uint32_t a_bits, b_bits;
    memcpy(&a_bits, &a, sizeof a);
    memcpy(&b_bits, &b, sizeof b);
    a_bits = (a_bits & mask) | (b_bits & ~mask);
    memcpy(&a, &a_bits, sizeof a);
    return a;
}

/* e^(x + rest) in float for -88 <= x <= 0 and a rest that is small beside it, to within 2 units in the last place of
 * normal results, 0 where 2^k would not be normal: as above. fmaf() rounds once on every CPU, and halves what a core
 * has to do. */
static inline float ql_exp_sum_f32(float x, float rest)
{
    const float high = 0x1.62e43p-1f, low = -0x1.05c61p-29f, log2_e = 0x1.715476p+0f, shift = 0x1.8p23f + 127;
    const float shifted = fmaf(x, log2_e, shift), k = shifted - shift;
    const float r = fmaf(-k, high, x) + fmaf(-k, low, rest), r2 = r * r;
    const float high_half = fmaf(r2, 0.00138144672f, fmaf(r, 0.00836878084f, 0.0416683927f));
    const float sum = fmaf(r2, fmaf(r2, high_half, fmaf(r, 0.166665196f, 0.499999940f)), 1 + r);
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits <<= 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return sum * power;
}

/* e^x in float for x <= 0; NaN for NaN. */
static inline float ql_exp_f32(float x)
{
    return ql_exp_sum_f32(ql_where_f32(x < -88, -88, x), 0);
}

#endif
