/* Rule B's form of a multiplier, by the bits of the double: frexp and floor would take a static product of 512 columns
 * longer than its codes do. */
#ifndef QL_MULTIPLIER_H
#define QL_MULTIPLIER_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Does ql_quantize_multiplier's work; returns false for a value that is not in its range. A double is m * 2^(e - 53)
 * with m in [2^52, 2^53), but for those so small that they vanish, and m is rounded to 31 bits, half up. */
static inline bool ql_split_multiplier(double value, int32_t *mantissa, int32_t *exponent)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint64_t m = (bits & ((UINT64_C(1) << 52) - 1)) | UINT64_C(1) << 52;
    const uint32_t q = (uint32_t)((m + (1 << 21)) >> 22), carry = q >> 31;
    const int32_t e = (int32_t)(bits >> 52) - 1022 + (int32_t)carry, is_seen = e >= -31;
    *mantissa = is_seen ? (int32_t)(q >> carry) : 0;
    *exponent = is_seen ? e : 0;
    return (value > 0) & (e <= 30);
}

#endif
