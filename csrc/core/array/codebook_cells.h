/* Cells of a codebook: which values are nearest to which entry. */
#ifndef QL_CODEBOOK_CELLS_H
#define QL_CODEBOOK_CELLS_H

#include "qlite.h"

/* Values that are nearest to one entry, from low to high; entries that are equal share a cell. */
typedef struct ql_cell {
    float value, low, high, sub_bins_per_unit;
} ql_cell;

typedef struct ql_codebook_cells {
    size_t entries;
    ql_cell *cells; /* [codebooks][entries], ascending */
    int16_t *rank;  /* [codebooks][entries]: cell of a code; -1 for NaN */
    size_t *size;   /* [codebooks]: number of cells */
} ql_codebook_cells;

/* Makes the cells of all codebooks of q. QL_EINVAL: an entry is infinite, or all are NaN. The caller frees them, also
 * on failure. */
ql_status ql_codebook_cells_make(const ql_coded *q, ql_codebook_cells *books);
void ql_codebook_cells_free(ql_codebook_cells *books);

/* Returns the cell of a value t that lies outside of its own code's cell, and the mark: QL_CLIPPED or QL_MOVED. */
size_t ql_find_cell(const ql_cell *cells, size_t size, float t, int32_t *mark);

#endif
