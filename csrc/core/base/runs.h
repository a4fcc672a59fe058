/* Copies of short runs of bytes, channels of a pixel, that are not worth a call each. */
#ifndef QL_RUNS_H
#define QL_RUNS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Copies n bytes, at least `width` of them, `width` at a time; the last ones may come twice. */
static inline void ql_copy_by(uint8_t *restrict to, const uint8_t *restrict from, size_t n, size_t width)
{
    for (size_t i = 0; i + width < n; i += width)
        memcpy(to + i, from + i, width);
    memcpy(to + n - width, from + n - width, width);
}

/* Copies n bytes, at least one. */
static inline void ql_copy_run(uint8_t *restrict to, const uint8_t *restrict from, size_t n)
{
    enum { SHORT = 128 };
    if (n > SHORT)
        memcpy(to, from, n);
    else if (n >= 16)
        ql_copy_by(to, from, n, 16);
    else if (n >= 4)
        ql_copy_by(to, from, n, 4);
    else
        ql_copy_by(to, from, n, 1);
}

#endif
