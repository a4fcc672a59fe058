/* Insertion sort: most codebooks ascend already. */
#include "core/array/codebook_order.h"

#include <math.h>

size_t ql_sort_codes(const float *values, size_t entries, uint8_t *codes)
{
    size_t count = 0;
    for (size_t code = 0; code < entries; code++) {
        if (!isfinite(values[code]))
            continue;
        size_t at = count++;
        for (; at > 0 && values[codes[at - 1]] > values[code]; at--)
            codes[at] = codes[at - 1];
        codes[at] = (uint8_t)code;
    }
    return count;
}
