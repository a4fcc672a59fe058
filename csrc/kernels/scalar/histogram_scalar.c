/* Bins of values, in double: there x * inverse_width is exact, and no underflow can hide a sign. */
#include <math.h>

#include "kernels/scalar/scalar.h"

static uint32_t slot(float x, float inverse_width, int32_t origin, uint32_t bins)
{
    double bin = floor((double)x * (double)inverse_width) - (double)origin;
    if (x == 0)
        return bins;
    return bin >= 0 && bin < (double)bins ? (uint32_t)bin : bins + 1;
}

void ql_histogram_slots_f32__scalar(const float *x, size_t n, const float *inverse_width, const int32_t *origin,
                                    size_t group, uint32_t bins, uint32_t *slots)
{
    for (size_t i = 0; i < n; i += group, inverse_width++, origin++) {
        const size_t end = n - i < group ? n : i + group;
        for (size_t j = i; j < end; j++)
            slots[j] = slot(x[j], *inverse_width, *origin, bins);
    }
}
