/* exp() without the C library's: its last bits differ from one library to the next. */
#ifndef QL_EXPONENTIAL_H
#define QL_EXPONENTIAL_H

#include <math.h>
#include <stddef.h>

/* e^x for x <= 0, to within 2 units in the last place: 2^k e^r with |r| <= log(2) / 2 and 14 terms of the series. x - k
 * log(2) is exact but for its last step, because the first part of log(2) has 21 trailing zeros. */
static inline double ql_exp(double x)
{
    static const double high = 0x1.62e42feep-1, low = 0x1.a39ef35793c76p-33, log2_e = 0x1.71547652b82fep+0;
    static const double series[] = {
        1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
        1.0 / 720,        1.0 / 120,       1.0 / 24,       1.0 / 6,       1.0 / 2,      1.0,         1.0};
    if (x < -746)
        return 0;
    const double k = floor(x * log2_e + 0.5), r = (x - k * high) - k * low;
    double sum = 0;
    for (size_t i = 0; i < sizeof series / sizeof *series; i++)
        sum = sum * r + series[i];
    return ldexp(sum, (int)k);
}

#endif
