/* Rows of floats as codes, each on a grid that is found at run time: what dynamic products multiply. */
#ifndef QL_QUANTIZE_ROWS_H
#define QL_QUANTIZE_ROWS_H

#include "kernels/kernels.h"
#include "qlite.h"

enum { QL_ROW_REACH = 127 /* of codes on symmetric grids */ };

/* Row i of x[m][k] and the grid that ql_range_qparams makes of its range: codes are 0..255 or, on symmetric grids,
 * -127..127. */
typedef struct ql_rows {
    const ql_kernels *kernels;
    const float *x;
    size_t m, k;
    float *scale;        /* [m] */
    int32_t *zero_point; /* [m]; NULL: grids are symmetric */
    uint8_t *codes;
    size_t stride; /* bytes from one row of codes to the next */
    size_t early;  /* so many rows become codes as soon as their own grids are known, while they are in L1 */
} ql_rows;

/* Fills scale and zero_point; per_tensor: with one grid for all, of the range of all. Returns whether x is finite;
 * infinities count as the greatest floats, NaN does not count. `early` is for grids of rows. */
bool ql_rows_find_grids(const ql_rows *rows, bool per_tensor);

/* Quantizes one row, or all; after ql_rows_find_grids. NaN becomes the zero point. */
void ql_rows_quantize_one(const ql_rows *rows, size_t row);
void ql_rows_quantize(const ql_rows *rows);

/* Runs task(context, i) for items i of QL_ROWS_PER_ITEM rows each, the last perhaps of fewer, that look at each value
 * once, on several threads. */
enum { QL_ROWS_PER_ITEM = 16 };
void ql_rows_parallel(const ql_rows *rows, void (*task)(void *context, size_t item), void *context);

/* Does both on the calling thread, row by row: scale, zero_point and codes[m][k]. Returns whether x holds NaN or
 * infinity. */
bool ql_quantize_rows(const ql_kernels *kernels, const float *x, size_t m, size_t k, float *scale, int32_t *zero_point,
                      uint8_t *codes);

#endif
