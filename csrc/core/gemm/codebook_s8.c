/* Codebooks in 8 bits, for integer products. */
#include <float.h>
#include <math.h>

#include "core/gemm/grouped.h"

/* Exponent of the lowest bit that is set in x, which is finite and not 0. */
static int lowest_bit(float x)
{
    int exponent;
    long mantissa = (long)ldexpf(frexpf(x, &exponent), FLT_MANT_DIG);
    return exponent - FLT_MANT_DIG + __builtin_ctzl((unsigned long)mantissa);
}

float ql_codebook_levels(const float *codebook, size_t entries, int8_t *levels)
{
    float greatest = 0.0f;
    int lowest = FLT_MAX_EXP;
    for (size_t e = 0; e < entries; e++) {
        float size = fabsf(codebook[e]);
        if (!(size > 0.0f && size <= FLT_MAX))
            continue;
        greatest = size > greatest ? size : greatest;
        lowest = lowest_bit(size) < lowest ? lowest_bit(size) : lowest;
    }
    float step = greatest > 0.0f ? ldexpf(1.0f, lowest) : 1.0f;
    if (greatest / step > QL_ROW_REACH)
        step = greatest / QL_ROW_REACH;
    for (size_t e = 0; e < entries; e++) {
        float level = fabsf(codebook[e]) <= FLT_MAX ? rintf(codebook[e] / step) : 0.0f;
        levels[e] = (int8_t)fmaxf(-QL_ROW_REACH, fminf(level, QL_ROW_REACH)); /* a subnormal step is a rough one */
    }
    return step;
}
