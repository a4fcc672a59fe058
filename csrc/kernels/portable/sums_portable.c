/* Sums of codes. */
#include "kernels/portable/portable.h"

void QL_KERNEL(ql_sum_groups_s8_s32)(const int8_t *restrict codes, size_t n, size_t group, int32_t factor,
                                     int32_t *restrict sum)
{
    for (size_t first = 0; first < n; first += group, sum++) {
        const size_t end = n - first < group ? n : first + group;
        int32_t total = 0;
        for (size_t p = first; p < end; p++)
            total += codes[p];
        *sum = (int32_t)((uint32_t)factor * (uint32_t)total);
    }
}
