/* Arithmetic of sizes. */
#ifndef QL_SIZES_H
#define QL_SIZES_H

#include <stddef.h>

static inline size_t ql_least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Returns ceil(n / by), without a sum that could wrap. */
static inline size_t ql_divided_up(size_t n, size_t by)
{
    return n / by + (n % by != 0);
}

static inline size_t ql_round_up(size_t n, size_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

#endif
