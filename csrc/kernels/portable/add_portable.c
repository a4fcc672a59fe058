/* Sums of codes on grids of their own, by blocks of results that lie apart from what is read: y may be a or b, and
 * compilers make vectors of a loop only if no store can reach what it reads. */
#include <string.h>

#include "kernels/portable/portable.h"

enum { BLOCK = 64 };

static inline void add_codes(const uint8_t *a, const uint8_t *b, size_t n, const ql_addition *p, uint8_t *restrict y)
{
    const int32_t first = p->factor[0], second = p->factor[1], start = p->start, shift = p->shift;
    const int32_t zero_point = p->zero_point, qmin = p->qmin, qmax = p->qmax;
#pragma GCC unroll 1
    for (size_t i = 0; i < n; i++) {
        int32_t code = ((start + a[i] * first + b[i] * second) >> shift) + zero_point;
        code = code > qmin ? code : qmin;
        y[i] = (uint8_t)(code < qmax ? code : qmax);
    }
}

void QL_KERNEL(ql_add_u8)(const uint8_t *a, const uint8_t *b, size_t n, const ql_addition *addition, uint8_t *y)
{
    uint8_t block[BLOCK];
    size_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK) {
        add_codes(a + i, b + i, BLOCK, addition, block);
        memcpy(y + i, block, BLOCK);
    }
    add_codes(a + i, b + i, n - i, addition, block);
    memcpy(y + i, block, n - i);
}

/* rdbpot(srdhm(x << 20, high * 2^11 + low), right) in 32 bits: (x * mantissa + 2^10) >> 11 in two parts, of which the
 * greater one has no bits to lose. */
static inline int32_t fixed_term(int32_t x, int32_t high, int32_t low, int32_t right, int32_t mask)
{
    const int32_t v = x * high + ((x * low + (1 << 10)) >> 11);
    return (v >> right) + ((v & mask) > (mask >> 1) + (v < 0));
}

void QL_KERNEL(ql_add_fixed_u8_s32)(const uint8_t *a, const uint8_t *b, size_t n, const ql_fixed_terms *terms,
                                    int32_t *restrict sum)
{
    int32_t zero_point[2], high[2], low[2], right[2], mask[2];
    for (int i = 0; i < 2; i++) {
        zero_point[i] = terms->zero_point[i];
        high[i] = terms->mantissa[i] >> 11;
        low[i] = terms->mantissa[i] & ((1 << 11) - 1);
        right[i] = -terms->exponent[i];
        mask[i] = (int32_t)((UINT32_C(1) << right[i]) - 1);
    }
    const int32_t sign = terms->is_negative ? -1 : 1;
    for (size_t i = 0; i < n; i++)
        sum[i] = fixed_term(a[i] - zero_point[0], high[0], low[0], right[0], mask[0]) +
                 fixed_term(b[i] - zero_point[1], high[1], low[1], right[1], mask[1]) * sign;
}
