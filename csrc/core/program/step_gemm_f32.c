/* The weight-only fully connected step: rows of floats by 8-bit weights. */
#include "core/base/memory.h"
#include "core/gemm/gemm.h"
#include "core/program/weights.h"

static const ql_field fields[] = {QL_WEIGHT_FIELDS, {NULL, 0}};

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

static bool values_fit(const ql_step *step, const ql_buffer *buffers, const ql_value *v)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    const size_t shape[] = {ql_row_length(in), ql_row_length(out)};
    return step->input_count == 1 && in->type == QL_F32 && out->type == QL_F32 && ql_have_same_rows(in, out) &&
           ql_are_weights(v, 2, shape) && ql_is_vector(&v[QL_FIELD_BIAS], QL_F32, shape[1]);
}

/* Takes everything but the weights. */
static void fill(gemm_f32_state *s, const ql_value *v, size_t n)
{
    const float *bias = ql_data(&v[QL_FIELD_BIAS]);
    memcpy(s->scale, ql_data(&v[QL_FIELD_WEIGHT_SCALE]), n * sizeof *s->scale);
    memset(s->offset, 0, n * sizeof *s->offset);
    if (bias)
        memcpy(s->offset, bias, n * sizeof *s->offset);
    (void)ql_activation_from_name(ql_text(&v[QL_FIELD_ACTIVATION]), &s->activation);
}

static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    if (!values_fit(step, buffers, v))
        return QL_EINVAL;
    const ql_code_matrix w = ql_weight_matrix(v);
    const size_t n = w.n;
    gemm_f32_state *s = calloc(1, sizeof *s);
    if (!s)
        return QL_ENOMEM;
    ql_status status = ql_pack(QL_PACK_FLOAT, &w, &s->weight);
    s->scale = ql_alloc(n, sizeof *s->scale);
    s->offset = ql_alloc(n, sizeof *s->offset);
    if (status == QL_OK && !(s->scale && s->offset))
        status = QL_ENOMEM;
    if (status != QL_OK) {
        destroy(s);
        return status;
    }
    fill(s, v, n);
    step->state = s;
    step->weight_bytes = ql_packed_describe(s->weight).nbytes;
    return QL_OK;
}

static ql_status check(const ql_buffer *buffers, const ql_value *v, const ql_step *step)
{
    return values_fit(step, buffers, v) ? QL_OK : QL_EINVAL;
}

static void update(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    (void)buffers;
    gemm_f32_state *s = step->state;
    const ql_code_matrix w = ql_weight_matrix(v);
    ql_repack(s->weight, &w);
    fill(s, v, w.n);
}

static ql_cost measure(const ql_step *step, const ql_buffer *buffers, size_t samples)
{
    const gemm_f32_state *s = step->state;
    return (ql_cost){.ns = 4 * ql_gemm_cost_ns(s->weight, samples * ql_row_count(buffers + step->output))};
}

/* The product cannot fail: the weights were packed for it. */
static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const gemm_f32_state *s = step->state;
    (void)ql_gemm_f32(block->data[step->inputs[0]], block->samples * ql_row_count(buffers + step->output), s->weight,
                      s->scale, s->offset, s->activation, block->data[step->output]);
}

const ql_op ql_op_gemm_f32 = {.kind = "gemm_f32",
                              .fields = fields,
                              .prepare = prepare,
                              .run = run,
                              .check = check,
                              .update = update,
                              .measure = measure,
                              .destroy = destroy};
