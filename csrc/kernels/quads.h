/* Rows of bytes, read four at a time. */
#ifndef QL_QUADS_H
#define QL_QUADS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The next four bytes of a row, or the one to three that are left of it with zeros behind: never beyond the row. */
static inline int32_t ql_next_quad(const uint8_t *a, size_t left)
{
    uint32_t quad;
    if (left >= sizeof quad) {
        memcpy(&quad, a, sizeof quad);
    } else {
        quad = a[0];
        quad |= left > 1 ? (uint32_t)a[1] << 8 : 0;
        quad |= left > 2 ? (uint32_t)a[2] << 16 : 0;
    }
    return (int32_t)quad;
}

#endif
