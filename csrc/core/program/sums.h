/* What a product makes of its sums, for the steps that do so. A residual r, uint8, first adds to them
 *
 *     ((r * factor[j]) >> shift[j]) - ((z_r * factor[j]) >> shift[j])
 *
 * where factor / 2^shift is the ratio float32(s_r / float32(s_a * s_w[j])), below 2^23: shift is what makes factor one
 * of 23 bits, at most 31. At the scale input_scale * weight_scale[j] they become codes on the grid of a buffer, by rule
 * A ("float") or B ("fixed"), or float32; or they stay.
 *
 *   8-bit output   bias int32; a curve (ql_curve in qlite.h), or rule B, or rule A with
 *                  f = float32(float32(s_a * s_w) / s_out)
 *   int32 output   bias int32; the sums themselves, without an activation
 *   float output   bias int32; y = float32(acc + bias) * float32(s_a * s_w)
 *   float output of activations with scales of their own, s_own
 *                  bias float32; y = (float32(acc) * s_own) * s_w + bias */
#ifndef QL_SUMS_H
#define QL_SUMS_H

#include "core/program/weights.h"

/* The fields that follow those of the weights; `slope` is float32 [n], for the curve "prelu" alone. */
enum { QL_FIELD_REQUANT = QL_WEIGHT_FIELD_COUNT, QL_FIELD_CURVE, QL_FIELD_SLOPE, QL_SUMS_FIELD_COUNT };

#define QL_SUMS_FIELDS                                                                      \
    QL_WEIGHT_FIELDS, {"requant", QL_VALUE_TEXT}, {"curve", QL_VALUE_TEXT | QL_VALUE_NONE}, \
    {                                                                                       \
        "slope", QL_VALUE_ARRAY | QL_VALUE_NONE                                             \
    }

/* Returns whether there is a rule of that name, and as what it stores. */
bool ql_rule_from_name(const char *requant, ql_store *store);

/* Fills in what an output of 8-bit codes has of its buffer's grid, the codes as they are, not as u8. */
void ql_output_on_grid(const ql_buffer *out, ql_output *output);

/* Fills the epilogue, with its arrays in `columns`, from values that were found to be a vector of scales, and names
 * that there are. QL_EINVAL: a multiplier that is too great. */
ql_status ql_fill_epilogue(float input_scale, const ql_value *weight_scale, const ql_value *activation,
                           const ql_value *requant, const ql_buffer *out, void *columns, ql_epilogue *epilogue);

/* Returns whether the buffers are what such a step reads and writes, and bias and rule are right for them. Shapes and
 * weights are the step's own matter. A second input is a residual: uint8 of the result's shape, for rule A and float32.
 */
bool ql_sums_fit_buffers(const ql_step *step, const ql_buffer *buffers, const ql_value *v);

/* The bias that is added to the sums; NULL where it is added to floats. */
const int32_t *ql_sums_bias(const ql_buffer *in, const ql_value *v);

/* Returns the greatest distance of a code from the zero point. */
int32_t ql_sums_reach(const ql_buffer *in);

/* What a residual needs for each column, and what it is without its codes. */
typedef struct ql_residual_columns {
    ql_residual residual;
    const int32_t *bias; /* with what its zero point stands for taken off */
    const int32_t *most; /* how far bias and residual lead together: what fits with such a bias fits with both */
} ql_residual_columns;

/* Returns the bytes of the arrays of n columns; fills them in for n columns, `times` times. Returns false where int32
 * does not hold what is added to the sums. */
size_t ql_residual_bytes(size_t n);
bool ql_sums_residual(const ql_buffer *in, const ql_buffer *residual, const ql_value *v, size_t n, size_t times,
                      void *memory, ql_residual_columns *columns);

/* Fills the epilogue of values that fit; the scales of activations that have their own are the step's row_scale. */
ql_status ql_sums_epilogue(const ql_buffer *in, const ql_buffer *out, const ql_value *v, void *columns,
                           ql_epilogue *epilogue);

#endif
