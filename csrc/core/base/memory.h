/* Allocation: aligned for the widest vectors, sizes that cannot wrap. */
#ifndef QL_MEMORY_H
#define QL_MEMORY_H

#include <stdint.h>
#include <stdlib.h>

#include "core/base/sizes.h"

enum { QL_ALIGNMENT = 64 };

/* Allocates count * size bytes, aligned, for free(); NULL where memory is short or the product would wrap. */
static inline void *ql_alloc(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > PTRDIFF_MAX - QL_ALIGNMENT)
        return NULL;
    return aligned_alloc(QL_ALIGNMENT, ql_round_up(bytes ? bytes : 1, QL_ALIGNMENT));
}

#endif
