/* The weight-only fully connected step: float activations by 8-bit weights. */
#include <string.h>

#include "core/base/memory.h"
#include "core/gemm/packed.h"
#include "core/program/step.h"

enum { INPUT, OUTPUT, WEIGHT, WEIGHT_SCALE, WEIGHT_ZERO_POINT, BIAS, RELU };

static const ql_field fields[] = {
    {"input", QL_FIELD_BUFFER},
    {"output", QL_FIELD_BUFFER},
    {"weight", QL_FIELD_ARRAY},
    {"weight_scale", QL_FIELD_ARRAY},
    {"weight_zero_point", QL_FIELD_ARRAY},
    {"bias", QL_FIELD_ARRAY},
    {"relu", QL_FIELD_FLAG},
    {NULL, 0},
};

typedef struct gemm_f32_state {
    ql_packed *weight;
    float *scale, *offset; /* [n] */
    ql_activation activation;
} gemm_f32_state;

static void destroy(void *state)
{
    gemm_f32_state *s = state;
    ql_packed_free(s->weight);
    free(s->scale);
    free(s->offset);
    free(s);
}

static bool values_fit(const ql_buffer *in, const ql_buffer *out, const ql_value *v)
{
    return in->type == QL_F32 && out->type == QL_F32 &&
           ql_are_weights(&v[WEIGHT].array, &v[WEIGHT_SCALE].array, &v[WEIGHT_ZERO_POINT].array, in->width,
                          out->width) &&
           ql_is_vector(&v[BIAS].array, QL_F32, out->width);
}

static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    const ql_buffer *in = buffers + step->input, *out = buffers + step->output;
    const ql_array *w = &v[WEIGHT].array;
    const size_t n = out->width;
    if (!values_fit(in, out, v))
        return QL_EINVAL;
    gemm_f32_state *s = calloc(1, sizeof *s);
    if (!s)
        return QL_ENOMEM;
    ql_status status =
        ql_pack(QL_PACK_FLOAT, w->data, w->type == QL_S8, w->shape[0], n, v[WEIGHT_ZERO_POINT].array.data, &s->weight);
    s->scale = ql_alloc(n, sizeof *s->scale);
    s->offset = ql_alloc(n, sizeof *s->offset);
    if (status == QL_OK && !(s->scale && s->offset))
        status = QL_ENOMEM;
    if (status != QL_OK) {
        destroy(s);
        return status;
    }
    memcpy(s->scale, v[WEIGHT_SCALE].array.data, n * sizeof *s->scale);
    memset(s->offset, 0, n * sizeof *s->offset);
    if (v[BIAS].array.data)
        memcpy(s->offset, v[BIAS].array.data, n * sizeof *s->offset);
    s->activation = v[RELU].integer ? QL_ACTIVATION_RELU : QL_ACTIVATION_NONE;
    step->state = s;
    step->cost_ns = 4 * ql_gemm_cost_ns(s->weight, QL_BLOCK_ROWS);
    return QL_OK;
}

/* Cannot fail: the weights were packed for this product. */
static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    (void)buffers;
    const gemm_f32_state *s = step->state;
    (void)ql_gemm_f32(block->data[step->input], block->rows, s->weight, s->scale, s->offset, s->activation,
                      block->data[step->output]);
}

const ql_op ql_op_gemm_f32 = {.kind = "gemm_f32", .fields = fields, .prepare = prepare, .run = run, .destroy = destroy};
