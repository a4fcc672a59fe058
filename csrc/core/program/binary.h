/* Steps that make one element of two, whose shapes broadcast as NumPy's do: aligned at the last axis, a length of 1 or
 * none stands for every other. */
#ifndef QL_BINARY_H
#define QL_BINARY_H

#include "core/program/sums.h"

enum { QL_BINARY_INPUTS, QL_BINARY_OUTPUT, QL_BINARY_ACTIVATION, QL_BINARY_REQUANT };

extern const ql_field ql_binary_fields[];

typedef struct ql_binary {
    ql_activation activation;
    ql_store store; /* of codes */
    bool is_negative, is_aarch64;
} ql_binary;

/* Returns whether buffers, values and a rule are right for such a step, grids left aside, and fills what they say. */
bool ql_binary_from_values(const ql_buffer *buffers, const ql_value *v, const ql_step *step, const char *requant,
                           ql_binary *binary);

/* Keeps a copy as the state of a step, which free() ends. */
ql_status ql_binary_keep(const ql_binary *binary, ql_step *step);

/* The clamps of an output of codes, as u8. */
ql_code_clamps ql_binary_clamps(const ql_binary *binary, const ql_buffer *out);

/* y[i] of a[i] and b[i] for i < n; y may be a or b. */
typedef void ql_pair_function(const ql_kernels *kernels, const void *a, const void *b, size_t n, const void *context,
                              void *y);

/* Calls the function for runs of all elements of a block. */
void ql_for_pairs(const ql_step *step, const ql_buffer *buffers, const ql_block *block, ql_pair_function *function,
                  const void *context);

#endif
