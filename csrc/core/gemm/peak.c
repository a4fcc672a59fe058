/* The speed of the instruction that integer products are made of. */
#include "kernels/kernels.h"
#include "qlite.h"

uint64_t ql_peak_u8s8s32(size_t rounds, uint8_t a, int8_t b, int32_t *sum)
{
    if (ql_kernels_active()->gemm_u8s8s32->ranges)
        ql_tiles_permission(); /* without it another table serves from now on */
    *sum = ql_kernels_active()->peak_u8s8s32(rounds, a, b);
    return (uint64_t)rounds * QL_PEAK_ROUND;
}
