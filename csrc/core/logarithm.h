/* The natural logarithm, the same bits on every machine: that of libm differs between them. */
#ifndef QL_LOGARITHM_H
#define QL_LOGARITHM_H

#include <math.h>

/* Of a positive, finite x = m * 2^e with m in [sqrt(1/2), sqrt(2)): log m = 2 artanh(s), s = (m - 1) / (m + 1), by its
 * series, s^2 < 0.03. Within two units of the last place; log 1 is 0. */
static inline double ql_log(double x)
{
    const double ln2 = 0x1.62e42fefa39efp-1, sqrt_half = 0x1.6a09e667f3bcdp-1;
    enum { TERMS = 11 };
    int e;
    double m = frexp(x, &e);
    if (m < sqrt_half) {
        m *= 2;
        e--;
    }
    const double s = (m - 1) / (m + 1), square = s * s;
    double sum = 1.0 / (2 * TERMS - 1);
    for (int k = TERMS - 1; k > 0; k--)
        sum = sum * square + 1.0 / (2 * k - 1);
    return e * ln2 + 2 * s * sum;
}

#endif
