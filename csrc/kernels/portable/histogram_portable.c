/* Bins of values, in float32: x times a power of two is exact there unless it underflows; a negative x that does so
 * belongs to bin -1. Products out of reach are brought to where they still miss the bins, whatever the origin, and fit
 * an int32. Truncation and a comparison make the floor: floor() would be a call.
 *
 * Masks, not branches: signs and zeros of data cannot be predicted. */
#include <string.h>

#include "kernels/portable/portable.h"

static inline uint32_t chosen(bool condition, uint32_t if_true, uint32_t if_false)
{
    const uint32_t mask = 0u - condition;
    return (if_true & mask) | (if_false & ~mask);
}

static inline uint32_t slot(float x, float inverse_width, int32_t origin, uint32_t bins)
{
    const uint32_t far = 0x4C000000; /* the bits of 2^25 */
    float t = x * inverse_width;
    const int32_t underflow = (x < 0) & (t == 0);
    uint32_t bits;
    memcpy(&bits, &t, sizeof bits);
    bits = chosen((bits & INT32_MAX) < far, bits, far);
    memcpy(&t, &bits, sizeof t);
    int32_t bin = (int32_t)t;
    bin -= ((float)bin > t) | underflow;
    const uint32_t inside = (uint32_t)(bin - origin);
    return chosen(x == 0, bins, chosen(inside < bins, inside, bins + 1));
}

void QL_KERNEL(ql_histogram_slots_f32)(const float *x, size_t n, const float *inverse_width, const int32_t *origin,
                                       size_t group, uint32_t bins, uint32_t *slots)
{
    for (size_t i = 0; i < n; i += group, inverse_width++, origin++) {
        const float inverse = *inverse_width;
        const int32_t first = *origin;
        const size_t length = n - i < group ? n - i : group;
        const float *restrict from = x + i;
        uint32_t *restrict to = slots + i;
        for (size_t j = 0; j < length; j++)
            to[j] = slot(from[j], inverse, first, bins);
    }
}
