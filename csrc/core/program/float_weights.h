/* Weights of float32, or of up to 8 bits that stand for float32(code - zero point) * scale, in the values of steps that
 * multiply floats by them. */
#ifndef QL_FLOAT_WEIGHTS_H
#define QL_FLOAT_WEIGHTS_H

#include "core/program/weights.h"

/* Fields of steps with weights that may be floats, which have no scale: the same otherwise as QL_WEIGHT_FIELDS. */
#define QL_FLOAT_WEIGHT_FIELDS                                                                                   \
    {"inputs", QL_VALUE_BUFFERS}, {"output", QL_VALUE_BUFFER}, {"weight", QL_VALUE_ARRAY},                       \
        {"weight_scale", QL_VALUE_ARRAY | QL_VALUE_NONE}, {"weight_zero_point", QL_VALUE_ARRAY | QL_VALUE_NONE}, \
        {"bias", QL_VALUE_ARRAY | QL_VALUE_NONE},                                                                \
    {                                                                                                            \
        "activation", QL_VALUE_TEXT | QL_VALUE_NONE                                                              \
    }

/* Returns whether there are weights of this shape, whose last length is that of the outputs, a bias for each output or
 * none, and an activation that there is. */
static inline bool ql_are_float_weights(const ql_value *v, size_t rank, const size_t *shape)
{
    const ql_array *w = &v[QL_FIELD_WEIGHT].array;
    ql_activation activation;
    if (!ql_is_vector(&v[QL_FIELD_BIAS], QL_F32, shape[rank - 1]) ||
        !ql_activation_from_name(ql_text(&v[QL_FIELD_ACTIVATION]), &activation))
        return false;
    if (w->type != QL_F32)
        return ql_are_weights(v, rank, shape);
    size_t size = 1;
    for (size_t i = 0; i < rank; i++)
        size *= shape[i];
    return w->rank == rank && memcmp(w->shape, shape, rank * sizeof *shape) == 0 &&
           v[QL_FIELD_WEIGHT_SCALE].kind == QL_VALUE_NONE && v[QL_FIELD_WEIGHT_ZERO_POINT].kind == QL_VALUE_NONE &&
           ql_all_finite(ql_kernels_active(), w->data, size);
}

/* Returns row p of the weights as floats, in `row` if they are codes. */
static inline const float *ql_float_row(const ql_value *v, size_t p, float *row)
{
    const ql_array *w = &v[QL_FIELD_WEIGHT].array;
    const size_t n = w->shape[w->rank - 1];
    if (w->type == QL_F32)
        return (const float *)w->data + p * n;
    const float *scale = ql_data(&v[QL_FIELD_WEIGHT_SCALE]);
    const int32_t *zero_point = ql_data(&v[QL_FIELD_WEIGHT_ZERO_POINT]);
    const uint8_t *codes = (const uint8_t *)w->data + p * n;
    for (size_t j = 0; j < n; j++) {
        const int32_t code = w->type == QL_S8 ? (int8_t)codes[j] : codes[j];
        row[j] = (float)(code - (zero_point ? zero_point[j] : 0)) * scale[j];
    }
    return row;
}

#endif
