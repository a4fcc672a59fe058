/* What the integer products of the ARM instruction sets share. Sums are finished by way of a buffer. */
#ifndef QL_TILE_NEON_H
#define QL_TILE_NEON_H

#include <arm_neon.h>
#include <string.h>

#include "kernels/finish.h"
#include "kernels/neon/neon.h"
#include "kernels/scalar/scalar.h"
#include "kernels/tiles.h"

enum { LANES = 4 };

static const ql_finishers finishers = {ql_add_outer_s32__scalar,         ql_add_residual_u8_s32__scalar,
                                       ql_scale_s32_f32__scalar,         ql_requantize_s32_x8__neon,
                                       ql_requantize_fixed_s32_x8__neon, ql_curve_s32_x8__scalar};

/* Rows of bytes; the loop is one that compilers vectorize. */
static inline uint32_t row_of_bytes(const uint8_t *a, size_t k, uint8_t flip, size_t padded, void *out)
{
    uint8_t *codes = out;
    uint32_t sum = 0;
    for (size_t p = 0; p < k; p++)
        sum += (uint8_t)(a[p] ^ flip);
    if (!codes)
        return sum;
    for (size_t p = 0; p < k; p++)
        codes[p] = a[p] ^ flip;
    memset(codes + k, 0, padded - k);
    return sum;
}

#endif
