/* Weights of up to 8 bits in the values of steps that multiply by them. */
#ifndef QL_WEIGHTS_H
#define QL_WEIGHTS_H

#include "core/program/step.h"

/* The fields that such steps begin with. */
enum {
    QL_FIELD_INPUTS,
    QL_FIELD_OUTPUT,
    QL_FIELD_WEIGHT,
    QL_FIELD_WEIGHT_SCALE,
    QL_FIELD_WEIGHT_ZERO_POINT,
    QL_FIELD_BIAS,
    QL_FIELD_ACTIVATION,
    QL_WEIGHT_FIELD_COUNT
};

#define QL_WEIGHT_FIELDS                                                                         \
    {"inputs", QL_VALUE_BUFFERS}, {"output", QL_VALUE_BUFFER}, {"weight", QL_VALUE_ARRAY},       \
        {"weight_scale", QL_VALUE_ARRAY}, {"weight_zero_point", QL_VALUE_ARRAY | QL_VALUE_NONE}, \
        {"bias", QL_VALUE_ARRAY | QL_VALUE_NONE},                                                \
    {                                                                                            \
        "activation", QL_VALUE_TEXT | QL_VALUE_NONE                                              \
    }

/* Returns whether there are weights of this shape, whose last length is that of the outputs, with a scale and, perhaps,
 * a zero point for each output, and an activation that there is. */
static inline bool ql_are_weights(const ql_value *v, size_t rank, const size_t *shape)
{
    const ql_array *w = &v[QL_FIELD_WEIGHT].array;
    const size_t out = shape[rank - 1];
    ql_activation activation;
    if ((w->type != QL_S8 && w->type != QL_U8) || w->rank != rank || memcmp(w->shape, shape, rank * sizeof *shape) != 0)
        return false;
    if (!ql_are_scales(&v[QL_FIELD_WEIGHT_SCALE], out) || !ql_is_vector(&v[QL_FIELD_WEIGHT_ZERO_POINT], QL_S32, out) ||
        !ql_activation_from_name(ql_text(&v[QL_FIELD_ACTIVATION]), &activation))
        return false;
    const int32_t *codes = ql_data(&v[QL_FIELD_WEIGHT_ZERO_POINT]), lowest = w->type == QL_S8 ? -128 : 0;
    bool are_codes = true;
    for (size_t j = 0; codes && j < out; j++)
        are_codes &= codes[j] >= lowest && codes[j] <= lowest + 255;
    return are_codes;
}

/* Returns such weights as products take them: those of an output in a column. */
static inline ql_code_matrix ql_weight_matrix(const ql_value *v)
{
    const ql_array *w = &v[QL_FIELD_WEIGHT].array;
    size_t rows = 1;
    for (size_t i = 0; i + 1 < w->rank; i++)
        rows *= w->shape[i];
    return (ql_code_matrix){.data = w->data,
                            .is_signed = w->type == QL_S8,
                            .k = rows,
                            .n = w->shape[w->rank - 1],
                            .zero_point = ql_data(&v[QL_FIELD_WEIGHT_ZERO_POINT])};
}

#endif
