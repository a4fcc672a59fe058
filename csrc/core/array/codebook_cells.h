/* Where a value lies among the entries of a codebook. */
#ifndef QL_CELLS_H
#define QL_CELLS_H

#include "qlite.h"

/* The values that are nearest to an entry of a codebook; entries that are equal share a cell. */
typedef struct ql_cell {
    float value, low, high, sub_bins_per_unit;
} ql_cell;

typedef struct ql_codebooks {
    size_t entries;
    ql_cell *cells; /* [codebooks][entries], ascending */
    int16_t *rank;  /* [codebooks][entries]: a code's cell; -1 for NaN */
    size_t *size;   /* [codebooks]: how many cells */
} ql_codebooks;

/* QL_EINVAL if an entry is infinite or all are NaN; QL_ENOMEM. Whatever comes of it, it is to be freed. */
ql_status ql_prepare_books(const ql_coded *q, ql_codebooks *books);
void ql_codebooks_free(ql_codebooks *books);

/* The cell of a value that its own code's does not hold, and what is wrong with it: QL_CLIPPED or QL_MOVED. */
size_t ql_find_cell(const ql_cell *cells, size_t size, float t, int32_t *fault);

#endif
