/* Codebooks of floats as tables of 8-bit integers, for integer products. */
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

float ql_codebook_s8(const float *codebook, size_t entries, int8_t *table)
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
    if (greatest / step > QL_TABLE_REACH)
        step = greatest / QL_TABLE_REACH;
    for (size_t e = 0; e < entries; e++) {
        float steps = fabsf(codebook[e]) <= FLT_MAX ? rintf(codebook[e] / step) : 0.0f;
        table[e] =
            (int8_t)fmaxf(-QL_TABLE_REACH, fminf(steps, QL_TABLE_REACH)); /* clamped: a subnormal step is inexact */
    }
    return step;
}
