/* Tables of 256 codes. */
#include "harness.h"

static results lookup(const ql_kernels *kernels, size_t n, size_t group)
{
    uint8_t *table = any_codes(3, 256);
    if (group % 2) { /* in place */
        uint8_t *codes = any_codes(RESULT, n);
        kernels->lookup_x8(codes, n, table, codes);
        return (results){codes, n, false};
    }
    uint8_t *codes = any_codes(2, n), *y = array(RESULT, n);
    kernels->lookup_x8(codes, n, table, y);
    return (results){y, n, false};
}

const subject lookup_subjects[] = {
    {"lookup_x8", lookup},
    {0},
};
