/* Allocation: aligned for the widest vectors, sizes that cannot wrap. */
#ifndef QL_MEMORY_H
#define QL_MEMORY_H

#include <stdint.h>
#include <stdlib.h>

enum { QL_ALIGNMENT = 64 };

static inline size_t ql_round_up(size_t n, size_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

/* count * size bytes, or NULL. Free with free(). */
static inline void *ql_alloc(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > PTRDIFF_MAX - QL_ALIGNMENT)
        return NULL;
    return aligned_alloc(QL_ALIGNMENT, ql_round_up(bytes ? bytes : 1, QL_ALIGNMENT));
}

#endif
