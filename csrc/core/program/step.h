/* A kind of step of the integer program: which fields it has, how it is prepared once, how it runs on a block of rows.
 * A new kind is a file step_<kind>.c and a row in QL_STEP_KINDS.
 *
 * Inside a plan every 8-bit buffer holds u8: s8 codes have their sign bit flipped and their zero points are 128 higher
 * (ql_zero_point_u8), because kernels multiply u8 by s8. plan.c flips what crosses the plan's border. */
#ifndef QL_STEP_H
#define QL_STEP_H

#include "core/base/finite.h"
#include "core/gemm/gemm.h"

typedef struct ql_block {
    const ql_kernels *kernels;
    size_t rows;
    void *const *data; /* [buffers] */
    void *workspace;   /* as many bytes as the step asked for, aligned to QL_ALIGNMENT */
    bool *nonfinite;   /* set by steps that look: their float input holds NaN or infinity */
} ql_block;

typedef struct ql_step {
    const struct ql_op *op;
    size_t input, output; /* buffers */
    void *state;
    size_t workspace; /* bytes it needs for a block of QL_BLOCK_ROWS rows */
    uint64_t cost_ns; /* about how long such a block takes one thread, if that is much longer than to read it */
} ql_step;

typedef struct ql_op {
    const char *kind;
    const ql_field *fields; /* the first two are the buffers input and output */
    /* Checks the values against the buffers and fills step->state and step->workspace. Nothing is kept on failure. */
    ql_status (*prepare)(const ql_buffer *buffers, const ql_value *values, ql_step *step);
    void (*run)(const ql_step *step, const ql_buffer *buffers, const ql_block *block);
    void (*destroy)(void *state); /* NULL if there is none */
    bool looks;                   /* run says whether its float input is finite, so that nobody else has to */
} ql_op;

#define QL_STEP_KINDS(EACH) \
    EACH(normalize)         \
    EACH(quantize)          \
    EACH(quantize_dynamic)  \
    EACH(gemm)              \
    EACH(gemm_f32)          \
    EACH(dequantize)

#define QL_DECLARE_OP(kind) extern const ql_op ql_op_##kind;
QL_STEP_KINDS(QL_DECLARE_OP)
#undef QL_DECLARE_OP

static inline bool ql_is_x8(const ql_buffer *buffer)
{
    return buffer->type == QL_U8 || buffer->type == QL_S8;
}

static inline bool ql_has_row_scale(const ql_buffer *buffer)
{
    return buffer->row_scale != QL_NO_BUFFER;
}

static inline int32_t ql_zero_point_u8(const ql_buffer *buffer)
{
    return buffer->zero_point + (buffer->type == QL_S8 ? 128 : 0);
}

/* An optional vector of n elements of a type; floats are finite. */
static inline bool ql_is_vector(const ql_array *array, ql_type type, size_t n)
{
    if (!array->data)
        return true;
    if (array->type != type || array->ndim != 1 || array->shape[0] != n)
        return false;
    const float *values = array->data;
    for (size_t i = 0; type == QL_F32 && i < n; i++) {
        if (!(values[i] >= -FLT_MAX && values[i] <= FLT_MAX))
            return false;
    }
    return true;
}

/* A vector of n scales: normal and positive. */
static inline bool ql_are_scales(const ql_array *array, size_t n)
{
    return array->data && ql_is_vector(array, QL_F32, n) && ql_scales_are_valid(array->data, n);
}

/* 8-bit weights [in][out] with a scale and, perhaps, a zero point for each output. */
static inline bool ql_are_weights(const ql_array *weight, const ql_array *scale, const ql_array *zero_point, size_t in,
                                  size_t out)
{
    if (!weight->data || (weight->type != QL_S8 && weight->type != QL_U8) || weight->ndim != 2)
        return false;
    if (weight->shape[0] != in || weight->shape[1] != out)
        return false;
    return ql_are_scales(scale, out) && ql_is_vector(zero_point, QL_S32, out);
}

#endif
