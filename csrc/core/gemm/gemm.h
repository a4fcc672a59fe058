/* The integer product, seen from inside the core: what is known ahead is computed ahead. */
#ifndef QL_GEMM_H
#define QL_GEMM_H

#include "core/gemm/packed.h"

typedef struct ql_gemm_job {
    const ql_packed *b;
    const uint8_t *a;
    size_t m, a_stride;
    bool is_laid_out;              /* a lies as ql_gemm_stride and ql_gemm_room say; not with flip */
    uint8_t flip;                  /* 128: a is s8 and multiplied as u8 with 128 added; 0: a is u8, or below 128 */
    const int32_t *init;           /* [n_padded], from ql_gemm_init */
    const int32_t *row_zero_point; /* [m], of a as u8; NULL: the same for all rows and part of init */
    const float *row_scale;        /* [m], a factor of the sums for QL_STORE_F32; NULL: ones */
    ql_residual residual;          /* whose codes lie as the results do */
    const ql_epilogue *epilogue;
    void *c;
    size_t c_stride;
} ql_gemm_job;

/* Returns the epilogue of the columns from `first` on. */
ql_epilogue ql_epilogue_from(const ql_epilogue *epilogue, size_t first);

/* init[j] = bias[j] - zero_point * column_sum[j], modulo 2^32; zero_point is that of a as u8. bias may be NULL. */
void ql_gemm_init(const ql_packed *b, const int32_t *bias, int32_t zero_point, int32_t *init);

/* Returns how far a code can be from its zero point, both as u8. */
static inline int32_t ql_code_reach(int32_t zero_point)
{
    return zero_point > 127 ? zero_point : 255 - zero_point;
}

/* Tells whether |acc + bias| stays in int32 for every a whose zero points, as u8, lie in [0, 255] and whose distance to
 * its zero point is at most a_reach. */
bool ql_gemm_fits(const ql_packed *b, int32_t a_reach, const int32_t *bias);

/* Tells the same of n columns whose sums of |b - zero_point| are at most column_reach. */
bool ql_reach_fits(int64_t column_reach, int32_t a_reach, const int32_t *bias, size_t n);

/* Returns how many rows of a stay in L2 while they are multiplied with all of b, at most m. */
size_t ql_gemm_block_rows(const ql_packed *b, size_t m);

/* Returns about how long one thread multiplies m rows. */
uint64_t ql_gemm_cost_ns(const ql_packed *b, size_t m);

/* Chooses who multiplies an item of work of so many rows and columns, on the thread that does it: ranges, or tiles.
 * ql_gemm_end comes after it. */
const ql_gemm_kernels *ql_gemm_begin(const ql_packed *b, size_t rows, size_t cols);
void ql_gemm_end(const ql_gemm_kernels *gemm);

/* Returns how many columns, from one that begins a panel, so many rows are best multiplied with at once. */
size_t ql_gemm_columns(const ql_gemm_kernels *gemm, size_t rows);

/* Multiplies rows begin..end - 1 with `cols` columns from j on, which begins a panel: at most as many as
 * ql_gemm_columns says. */
void ql_gemm_tiles(const ql_gemm_args *args, const ql_gemm_kernels *gemm, size_t begin, size_t end, size_t j,
                   size_t cols);

/* How codes lie best that are made for a product: aligned to QL_ALIGNMENT, the first bytes of rows ql_gemm_stride
 * apart, with room for ql_gemm_room rows. What lies behind codes and rows is read, and changes no result. */
size_t ql_gemm_stride(const ql_packed *b);
size_t ql_gemm_room(const ql_packed *b, size_t rows);

/* Returns the bytes that ql_gemm_run needs for m rows or fewer; flip as in the job. The second is for rows that are
 * laid out. */
size_t ql_gemm_workspace(const ql_packed *b, size_t m, uint8_t flip);
size_t ql_gemm_workspace_laid_out(const ql_packed *b, size_t m);

/* Multiplies; workspace is aligned to QL_ALIGNMENT. */
void ql_gemm_run(const ql_gemm_job *job, void *workspace);

#endif
