/* Packed grouped weights, seen from inside the core. */
#ifndef QL_GROUPED_H
#define QL_GROUPED_H

#include "kernels/kernels.h"
#include "qlite.h"

/* The 8-bit table of a codebook: its length, and the greatest magnitude of an entry. */
enum { QL_TABLE_ENTRIES = 16, QL_TABLE_REACH = 127 };

struct ql_grouped {
    ql_pack_for purpose;
    const ql_kernels *kernels; /* those that it was packed for */
    ql_weight_form form;
    size_t k, n, nr, panels, panel_bytes;
    size_t k_padded, group, groups; /* multiples of 8 */
    uint8_t *data;                  /* [panels][panel_bytes]: ql_grouped_panel in kernels.h */
    bool has_zero_point;
    int32_t zero_point;             /* shared by all groups without their own; shifted as the kernel wants it */
    int32_t reach;                  /* the greatest |weight - zero point| that there can be */
    int8_t table[QL_TABLE_ENTRIES]; /* QL_WEIGHTS_TABLE: the weight of a code */
    /* QL_PACK_FLOAT with a codebook: value = scale * values[code], [entries] or [groups][panels * nr][entries], and
     * QL_MAX_ENTRIES more: whatever somebody makes of the codes while they are packed, there is a value for it */
    float *values;
    size_t entries, values_count;
    bool is_own;
};

/* Returns the bytes of a panel's codes for a depth of k, a multiple of 8. */
static inline size_t ql_grouped_code_bytes(const ql_grouped *w, size_t k)
{
    return k * w->nr / (w->form == QL_WEIGHTS_S8 ? 1 : 2);
}

/* Returns the bytes of a panel's scales and zero points for one group. */
static inline size_t ql_grouped_scale_bytes(const ql_grouped *w)
{
    return w->nr * (sizeof(float) + (w->has_zero_point ? sizeof(int16_t) : 0));
}

/* Returns the depth of a group, of which the last may be shorter. */
static inline size_t ql_grouped_length(const ql_grouped *w, size_t group)
{
    size_t left = w->k_padded - group * w->group;
    return left < w->group ? left : w->group;
}

/* Rows to multiply with: floats, which become codes on grids of their own, or codes as u8, all of one scale, that are
 * multiplied with 128 taken off. The lowest code is for weights of up to 4 bits alone. */
typedef struct ql_grouped_input {
    const float *x; /* [m][k]; NULL: codes */
    const uint8_t *codes;
    float scale;
    size_t m;
} ql_grouped_input;

/* Returns whether the sums of all groups stay in int32, for codes of rows of at most this magnitude. */
bool ql_grouped_fits(const ql_grouped *w, int32_t code_reach);

/* Returns the bytes that a product of m rows needs, aligned to QL_ALIGNMENT. */
size_t ql_grouped_workspace(const ql_grouped *w, size_t m);

/* Finds the grids of the rows. Returns whether they are finite; infinities count as the greatest floats. */
bool ql_grouped_begin(const ql_grouped *w, const ql_grouped_input *a, void *workspace);

/* Multiplies as ql_linear_grouped, after ql_grouped_begin. NaN counts as 0. */
void ql_grouped_run(const ql_grouped *w, const ql_grouped_input *a, const ql_grouped_options *options, float *y,
                    void *workspace);

/* Fills the 8-bit table of a codebook and returns the step of its entries (ql_pack_grouped in qlite.h). */
float ql_codebook_s8(const float *codebook, size_t entries, int8_t *table);

#endif
