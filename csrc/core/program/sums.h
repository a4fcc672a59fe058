/* What a product makes of its sums, for the steps that do so: at the scale input_scale * weight_scale[j] they become
 * codes on the grid of a buffer, by rule A ("float") or B ("fixed"), or float32. */
#ifndef QL_SUMS_H
#define QL_SUMS_H

#include "core/program/step.h"

/* Returns whether there is a rule of that name, and as what it stores. */
static inline bool ql_rule_from_name(const char *requant, ql_store *store)
{
    *store = strcmp(requant, "fixed") == 0 ? QL_STORE_X8_FIXED : QL_STORE_X8;
    return *store == QL_STORE_X8_FIXED || strcmp(requant, "float") == 0;
}

/* Fills the epilogue, with its arrays in `columns`, from values that were found to be a vector of scales, and names
 * that there are. QL_EINVAL: a multiplier that is too great. */
static inline ql_status ql_fill_epilogue(float input_scale, const ql_value *weight_scale, const ql_value *activation,
                                         const ql_value *requant, const ql_buffer *out, void *columns,
                                         ql_epilogue *epilogue)
{
    ql_output output = {.store = QL_STORE_F32, .input_scale = input_scale, .weight_scale = ql_data(weight_scale)};
    (void)ql_activation_from_name(ql_text(activation), &output.activation);
    if (ql_is_x8(out)) {
        (void)ql_rule_from_name(requant->text, &output.store);
        output.scale = out->scale;
        output.zero_point = ql_zero_point_u8(out);
        output.qmin = ql_qmin_u8(out);
        output.qmax = ql_qmax_u8(out);
    }
    return ql_epilogue_fill(&output, ql_row_length(out), columns, epilogue);
}

#endif
