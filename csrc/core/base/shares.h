/* Data cut into shares of about QL_SHARE elements, which threads can take on in any order: several whole runs, or a
 * part of a long one. */
#ifndef QL_SHARES_H
#define QL_SHARES_H

#include "core/base/layout.h"

enum {
    QL_SHARE = 65536, /* some microseconds of the quickest kernels */
    QL_TILE = 512,    /* elements of joined runs that are given to a kernel at once */

    /* Longest runs that are joined whatever their groups. Rows of 4 columns with a scale each are then quantized at 2.9
     * Ge/s, not 0.15, rows of 128 at 3.4, not 2.2 (AMD Zen 3). */
    QL_SHORT_RUN = 128,
};

typedef struct ql_shares {
    const ql_layout *layout;
    size_t count;
    size_t parts; /* shares that a run makes, 1 unless it is longer than a share */
    size_t runs;  /* runs that a share holds */
} ql_shares;

ql_shares ql_shares_of(const ql_layout *layout);

/* Takes a run or a part of one; with count > 1, the first of that many runs, which follow each other and have the same
 * parameters: short ones, or long ones whose elements have their own. */
typedef void ql_visit(void *context, const ql_run *run, size_t count);

/* Visits the runs of share i in order. */
void ql_share_visit(const ql_shares *shares, size_t i, ql_visit *visit, void *context);

#endif
