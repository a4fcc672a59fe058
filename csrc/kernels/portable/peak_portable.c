/* As many multiply-adds as a compiler makes of a product of rows that lie in the first cache.
 *
 * Why one element is written again in every round: the sum would be the same, and computed only once. */
#include "kernels/portable/portable.h"

int32_t QL_KERNEL(ql_peak_u8s8s32)(size_t rounds, uint8_t a, int8_t b)
{
    uint8_t left[QL_PEAK_ROUND];
    int8_t right[QL_PEAK_ROUND];
    for (size_t i = 0; i < QL_PEAK_ROUND; i++) {
        left[i] = a;
        right[i] = b;
    }
    uint32_t sum = 0;
    for (size_t round = 0; round < rounds; round++) {
        left[round % QL_PEAK_ROUND] = a;
        for (size_t i = 0; i < QL_PEAK_ROUND; i++)
            sum += (uint32_t)(left[i] * right[i]);
    }
    return (int32_t)sum;
}
