/* Packed weights, seen from inside the core. */
#ifndef QL_PACKED_H
#define QL_PACKED_H

#include "kernels/kernels.h"
#include "qlite.h"

/* Codes are kept as s8: unsigned ones have 128 taken off, and so have their zero points. Columns are padded with zeros
 * to n_padded; column arrays have that length. */
struct ql_packed {
    ql_pack_for purpose;
    const ql_kernels *kernels;   /* those that it was packed for */
    const ql_gemm_kernels *gemm; /* NULL for QL_PACK_FLOAT */
    size_t k, n, n_padded, nr, kr, depth;
    size_t segments; /* k is cut in so many of one length, each padded to a multiple of depth */
    size_t panel_bytes;
    int8_t *panels;       /* [n_padded / nr] panels of [segments][padded k / segments / kr][nr][kr] */
    int32_t *zero_point;  /* [n_padded] */
    int32_t *column_sum;  /* [n_padded]: sum_k b - k * zero_point */
    bool has_zero_point;  /* one of them is not 0 */
    int64_t column_reach; /* max_j sum_k |b - zero_point| */
};

/* Packs like ql_pack for these kernels, with the depth cut in segments, whose number divides k. What is packed in parts
 * that go together names them once: where tiles are refused, others are active from then on. */
ql_status ql_pack_segments(const ql_kernels *kernels, ql_pack_for purpose, const ql_code_matrix *b, size_t segments,
                           ql_packed **packed);

/* Describes integer weights of this shape whose arrays lie in `memory`, aligned to QL_ALIGNMENT, until ql_repack fills
 * them; returns the bytes that they take. memory may be NULL, for these alone. */
size_t ql_packed_in(const ql_kernels *kernels, size_t k, size_t n, void *memory, ql_packed *packed);

/* Packs other codes of the same shape, whose zero points are codes, into the same memory. */
void ql_repack(ql_packed *packed, const ql_code_matrix *b);

/* Frees the panels of weights that ql_pack_segments gave: what is known of the columns stays. */
void ql_packed_drop_panels(ql_packed *packed);

/* max_j sum_k |b - zero_point|, of codes by rows. */
int64_t ql_weight_reach(const ql_code_matrix *b);

static inline const int8_t *ql_packed_panel(const ql_packed *packed, size_t column)
{
    return packed->panels + column / packed->nr * packed->panel_bytes;
}

#endif
