/* exp() without the C library's: its last bits differ from one library to the next. */
#ifndef QL_EXPONENTIAL_H
#define QL_EXPONENTIAL_H

#include <stdint.h>
#include <string.h>

/* e^x for x <= 0, to within 2 units in the last place, or 0 below -708: 2^k e^r with |r| <= log(2) / 2 and 14 terms of
 * the series. x - k log(2) is exact but for its last step, because the first part of log(2) ends in 21 zeros. */
static inline double ql_exp(double x)
{
    const double high = 0x1.62e42feep-1, low = 0x1.a39ef35793c76p-33, log2_e = 0x1.71547652b82fep+0;
    if (x < -708)
        return 0;
    const int k = (int)(x * log2_e - 0.5);
    const double r = (x - k * high) - k * low;
    double sum = 1.0 / 6227020800;
    sum = sum * r + 1.0 / 479001600;
    sum = sum * r + 1.0 / 39916800;
    sum = sum * r + 1.0 / 3628800;
    sum = sum * r + 1.0 / 362880;
    sum = sum * r + 1.0 / 40320;
    sum = sum * r + 1.0 / 5040;
    sum = sum * r + 1.0 / 720;
    sum = sum * r + 1.0 / 120;
    sum = sum * r + 1.0 / 24;
    sum = sum * r + 1.0 / 6;
    sum = sum * r + 1.0 / 2;
    sum = sum * r + 1;
    sum = sum * r + 1;
    const uint64_t bits = (uint64_t)(k + 1023) << 52;
    double power;
    memcpy(&power, &bits, sizeof power);
    return sum * power;
}

#endif
