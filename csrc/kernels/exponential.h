/* exp() without the C library's: its last bits differ from one library to the next. */
#ifndef QL_EXPONENTIAL_H
#define QL_EXPONENTIAL_H

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

/* e^(x + rest) in float for x <= 0 and a rest that is small beside it, to within 2 units in the last place of normal
 * results, 0 where 2^k would not be normal, NaN for NaN: as above, with 8 terms of the series. */
static inline float ql_exp_f32(float x, float rest)
{
    const float high = 0x1.62e4p-1f, low = 0x1.7f7d1cp-20f, log2_e = 0x1.715476p+0f, shift = 0x1.8p23f;
    const float inside = ql_where_f32(x < -88, -88, x), shifted = inside * log2_e + shift, k = shifted - shift;
    const float r = (inside - k * high) - k * low + rest, r2 = r * r;
    const float sum = (1 + r) + r2 * ((1.0f / 2 + r * (1.0f / 6)) +
                                      r2 * ((1.0f / 24 + r * (1.0f / 120)) + r2 * (1.0f / 720 + r * (1.0f / 5040))));
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return sum * power;
}

#endif
