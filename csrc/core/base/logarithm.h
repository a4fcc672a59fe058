/* log() without the C library's: its last bits differ from one library to the next. */
#ifndef QL_LOGARITHM_H
#define QL_LOGARITHM_H

#include <stdint.h>
#include <string.h>

/* The natural logarithm of a finite normal x > 0, to within 2 units in the last place: with x = 2^e m, m in
 * [0.71, 1.42), and z = (m - 1) / (m + 1), log x = e log 2 + 2 (z + z^3 / 3 + z^5 / 5 + ...), |z| < 0.172. */
static inline double ql_log(double x)
{
    const uint64_t half_root = UINT64_C(0x3FE6A09E667F3BCD); /* sqrt(1/2) */
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    const int64_t exponent = (int64_t)(bits - half_root) >> 52;
    bits -= (uint64_t)exponent << 52;
    double m;
    memcpy(&m, &bits, sizeof m);
    const double z = (m - 1) / (m + 1), z2 = z * z, z4 = z2 * z2;
    const double even = 1.0 / 3 + z4 * (1.0 / 7 + z4 * (1.0 / 11 + z4 * (1.0 / 15 + z4 * (1.0 / 19))));
    const double odd = 1.0 / 5 + z4 * (1.0 / 9 + z4 * (1.0 / 13 + z4 * (1.0 / 17 + z4 * (1.0 / 21))));
    const double log2 = 0.6931471805599453;
    return (double)exponent * log2 + 2 * (z + z * z2 * (even + z2 * odd));
}

#endif
