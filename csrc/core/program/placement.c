/* Placement by lifetimes: one resident after the other, the largest first, each at the lowest offset where it overlaps
 * none before it that is needed at the same time. The usual networks then take the least that there is, the sum of what
 * is needed at the worst moment: a chain of equal layers two buffers, residuals three.
 *
 * Where it takes more, what lies on top came too late: it moves to the front, and all are placed again, until the least
 * is reached or TRIES have passed. 1620 random graphs of 20 to 200 steps take 0.3 % more than the least in the mean, 16
 * % at most; the first try alone 1.5 % and 29 %. Why not a second order, by what is needed at the worst moment of each
 * life: 1.2 % and 28 %, the better of two.
 */
#include "core/program/placement.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { TRIES = 32 };

static int largest_first(const void *a, const void *b)
{
    const ql_resident *x = a, *y = b;
    if (x->size != y->size)
        return x->size < y->size ? 1 : -1;
    return x->id < y->id ? -1 : 1;
}

/* Returns the bytes that are needed at the worst moment, which is one when something begins. */
static size_t least_bytes(const ql_resident *residents, size_t count)
{
    size_t least = 0;
    for (size_t i = 0; i < count; i++) {
        const size_t now = residents[i].begin;
        size_t bytes = 0;
        for (size_t j = 0; j < count; j++) {
            if (residents[j].begin <= now && now <= residents[j].end)
                bytes += residents[j].size;
        }
        least = bytes > least ? bytes : least;
    }
    return least;
}

static bool collide(const ql_resident *a, const ql_resident *b)
{
    return a->begin <= b->end && b->begin <= a->end && a->trial < b->trial + b->size && b->trial < a->trial + a->size;
}

/* Places the residents in their order; returns the one that lies on top. */
static size_t place_in_order(ql_resident *residents, size_t count)
{
    size_t top = 0;
    for (size_t i = 0; i < count; i++) {
        ql_resident *own = residents + i;
        own->trial = 0;
        for (size_t j = 0; j < i;) {
            const ql_resident *other = residents + j++;
            if (collide(own, other)) {
                own->trial = other->trial + other->size;
                j = 0;
            }
        }
        if (own->trial + own->size > residents[top].trial + residents[top].size)
            top = i;
    }
    return top;
}

static void move_to_front(ql_resident *residents, size_t i)
{
    const ql_resident moved = residents[i];
    memmove(residents + 1, residents, i * sizeof *residents);
    residents[0] = moved;
}

size_t ql_place(ql_resident *residents, size_t count)
{
    if (count == 0)
        return 0;
    const size_t least = least_bytes(residents, count);
    size_t bytes = SIZE_MAX;
    qsort(residents, count, sizeof *residents, largest_first);
    for (int i = 0; i < TRIES && bytes > least; i++) {
        const size_t top = place_in_order(residents, count), tried = residents[top].trial + residents[top].size;
        if (tried < bytes) {
            bytes = tried;
            for (size_t j = 0; j < count; j++)
                residents[j].offset = residents[j].trial;
        }
        move_to_front(residents, top);
    }
    return bytes;
}
