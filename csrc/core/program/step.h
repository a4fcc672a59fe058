/* A kind of step of the integer program: which fields it has, how it is prepared once, how it runs on some samples. A
 * new kind is a file step_<kind>.c and a row in QL_STEP_KINDS.
 *
 * Inside a plan every 8-bit buffer holds u8: s8 codes have their sign bit flipped and their zero points are 128 higher
 * (ql_zero_point_u8), because kernels multiply u8 by s8. run.c flips what crosses the plan's border. */
#ifndef QL_STEP_H
#define QL_STEP_H

#include <string.h>

#include "core/base/finite.h"
#include "kernels/kernels.h"
#include "qlite.h"

/* Samples that go through a step together, and where they are. */
typedef struct ql_block {
    const ql_kernels *kernels;
    size_t samples;
    void *const *data; /* [buffers] */
    void *workspace;   /* as many bytes as the step asked for, aligned to QL_ALIGNMENT */
    bool *nonfinite;   /* set by steps that check: their float input holds NaN or infinity */
} ql_block;

typedef struct ql_step {
    const struct ql_op *op;
    size_t input_count, inputs[QL_MAX_INPUTS], output; /* buffers */
    void *state;
    size_t weight_bytes; /* that every block reads */
} ql_step;

/* The cost of a block of samples. */
typedef struct ql_cost {
    size_t workspace; /* bytes */
    uint64_t ns;      /* of one thread, about; 0 if that is not much longer than to read the block */
} ql_cost;

/* Whether a step's output may lie where an input does that has as many bytes for each sample. */
typedef enum ql_sharing {
    QL_OWN_PLACE,  /* no */
    QL_OVER_INPUT, /* where one of the inputs does, which nobody reads afterwards; the others lie elsewhere or there */
    QL_SAME_BYTES, /* where its only input does, whose bytes stay as they are: others may read them afterwards */
} ql_sharing;

typedef struct ql_op {
    const char *kind;
    const ql_field *fields; /* the first two are inputs and output */
    /* Checks the values, whose kinds are right, against the buffers, and fills step->state and step->weight_bytes.
     * Nothing is kept on failure. */
    ql_status (*prepare)(const ql_buffer *buffers, const ql_value *values, ql_step *step);
    void (*run)(const ql_step *step, const ql_buffer *buffers, const ql_block *block);
    /* Optional, NULL where there is no need for them: */
    /* ql_plan_update: whether a prepared step can take over such values, and then that it does. Between the two, only
     * other steps are checked. */
    ql_status (*check)(const ql_buffer *buffers, const ql_value *values, const ql_step *step);
    void (*update)(const ql_buffer *buffers, const ql_value *values, ql_step *step);
    ql_cost (*measure)(const ql_step *step, const ql_buffer *buffers, size_t samples);
    void (*destroy)(void *state);
    ql_sharing sharing;
    bool reads_nothing; /* it has no inputs; all others have some */
    bool checks_finite; /* run says whether its one float input is finite, so that no pass over it has to find out */
} ql_op;

#define QL_STEP_KINDS(EACH)  \
    EACH(normalize)          \
    EACH(quantize)           \
    EACH(quantize_dynamic)   \
    EACH(gemm)               \
    EACH(conv)               \
    EACH(gemm_f32)           \
    EACH(gemm_grouped)       \
    EACH(gemm_grouped_f32)   \
    EACH(dense_f32)          \
    EACH(conv_f32)           \
    EACH(matmul)             \
    EACH(layer_norm)         \
    EACH(embedding)          \
    EACH(conv_transpose)     \
    EACH(conv_transpose_f32) \
    EACH(quantize_digits)    \
    EACH(join_digits)        \
    EACH(requantize)         \
    EACH(dequantize)         \
    EACH(add)                \
    EACH(subtract)           \
    EACH(multiply)           \
    EACH(constant)           \
    EACH(prelu)              \
    EACH(concatenate)        \
    EACH(mean)               \
    EACH(sum)                \
    EACH(reduce_max)         \
    EACH(reduce_min)         \
    EACH(l2_normalize)       \
    EACH(max_pool)           \
    EACH(average_pool)       \
    EACH(pad)                \
    EACH(mirror_pad)         \
    EACH(transpose)          \
    EACH(slice)              \
    EACH(depth_to_space)     \
    EACH(space_to_depth)     \
    EACH(resize_nearest)     \
    EACH(resize_bilinear)    \
    EACH(activate)           \
    EACH(lookup)             \
    EACH(softmax)            \
    EACH(reshape)

#define QL_DECLARE_OP(kind) extern const ql_op ql_op_##kind;
QL_STEP_KINDS(QL_DECLARE_OP)
#undef QL_DECLARE_OP

/* ---- buffers ------------------------------------------------------------------------------------ */

static inline bool ql_is_x8(const ql_buffer *buffer)
{
    return buffer->type == QL_U8 || buffer->type == QL_S8;
}

static inline bool ql_has_row_scale(const ql_buffer *buffer)
{
    return buffer->row_scale != QL_NO_BUFFER;
}

/* How many scales of their own a sample's codes have: one for each row, or one. */
static inline size_t ql_scale_count(const ql_buffer *buffers, const ql_buffer *codes)
{
    size_t count = 1;
    for (size_t i = 0; i < codes->rank; i++)
        count *= buffers[codes->row_scale].shape[i];
    return count;
}

/* The code as u8 of the code 0. */
static inline int32_t ql_flip(const ql_buffer *buffer)
{
    return buffer->type == QL_S8 ? 128 : 0;
}

static inline int32_t ql_zero_point_u8(const ql_buffer *buffer)
{
    return buffer->zero_point + ql_flip(buffer);
}

/* The least and the greatest code of a buffer of 8-bit codes, as u8. */
static inline int32_t ql_qmin_u8(const ql_buffer *buffer)
{
    return buffer->type == QL_S8 ? 128 - (1 << (buffer->bits - 1)) : 0;
}

static inline int32_t ql_qmax_u8(const ql_buffer *buffer)
{
    return ql_qmin_u8(buffer) + (1 << buffer->bits) - 1;
}

/* Product of the lengths of axes first..end - 1. */
static inline size_t ql_volume(const ql_buffer *buffer, size_t first, size_t end)
{
    size_t volume = 1;
    for (size_t i = first; i < end; i++)
        volume *= buffer->shape[i];
    return volume;
}

/* Elements of a row, rows of a sample, elements of a sample. */
static inline size_t ql_row_length(const ql_buffer *buffer)
{
    return buffer->rank ? buffer->shape[buffer->rank - 1] : 1;
}

static inline size_t ql_row_count(const ql_buffer *buffer)
{
    return buffer->rank ? ql_volume(buffer, 0, buffer->rank - 1) : 1;
}

static inline size_t ql_sample_size(const ql_buffer *buffer)
{
    return ql_row_count(buffer) * ql_row_length(buffer);
}

/* Returns whether shapes of at least one axis are equal but for the last length. */
static inline bool ql_have_same_rows(const ql_buffer *a, const ql_buffer *b)
{
    return a->rank == b->rank && a->rank > 0 && memcmp(a->shape, b->shape, (a->rank - 1) * sizeof *a->shape) == 0;
}

static inline bool ql_have_same_shape(const ql_buffer *a, const ql_buffer *b)
{
    return a->rank == b->rank && memcmp(a->shape, b->shape, a->rank * sizeof *a->shape) == 0;
}

/* ---- values ------------------------------------------------------------------------------------- */

/* The content of an array, and of a text; NULL for QL_VALUE_NONE. */
static inline const void *ql_data(const ql_value *value)
{
    return value->kind == QL_VALUE_ARRAY ? value->array.data : NULL;
}

static inline const char *ql_text(const ql_value *value)
{
    return value->kind == QL_VALUE_TEXT ? value->text : NULL;
}

/* Returns whether a value is a vector of n elements of a type, finite if they are floats, or none. */
static inline bool ql_is_vector(const ql_value *value, ql_type type, size_t n)
{
    if (value->kind == QL_VALUE_NONE)
        return true;
    const ql_array *array = &value->array;
    if (array->type != type || array->rank != 1 || array->shape[0] != n)
        return false;
    const float *elements = array->data;
    for (size_t i = 0; type == QL_F32 && i < n; i++) {
        if (!(elements[i] >= -FLT_MAX && elements[i] <= FLT_MAX))
            return false;
    }
    return true;
}

/* Returns whether a value is a vector of n scales, normal and positive. */
static inline bool ql_are_scales(const ql_value *value, size_t n)
{
    return value->kind == QL_VALUE_ARRAY && ql_is_vector(value, QL_F32, n) && ql_scales_are_valid(value->array.data, n);
}

#endif
