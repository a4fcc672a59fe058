/* Lookup of arrays in a table of 256 codes, on several threads. */
#include "core/base/parallel.h"
#include "core/base/sizes.h"
#include "kernels/kernels.h"

enum { GRAIN = 1 << 16, CODES_PER_NS = 16 };

typedef struct codes {
    const ql_kernels *kernels;
    const uint8_t *x, *table;
    uint8_t *y;
    size_t n;
} codes;

static void look_up(void *context, size_t i)
{
    const codes *c = context;
    const size_t first = i * GRAIN;
    c->kernels->lookup_x8(c->x + first, ql_least(c->n - first, GRAIN), c->table, c->y + first);
}

void ql_lookup_x8(const uint8_t *x, size_t n, const uint8_t *table, uint8_t *y)
{
    codes c = {ql_kernels_active(), x, table, y, n};
    ql_parallel(ql_divided_up(n, GRAIN), n / CODES_PER_NS, look_up, &c);
}
