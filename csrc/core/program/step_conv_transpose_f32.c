/* The transposed convolution of floats by floats, or by weights of up to 8 bits, which become floats when they are
 * packed: one fused multiply-add per pixel and channel, in order, so that the bits are the same everywhere. */
#include "core/base/memory.h"
#include "core/images/transposed_f32.h"
#include "core/program/float_weights.h"
#include "core/program/images.h"

enum { STRIDE = QL_WEIGHT_FIELD_COUNT };

static const ql_field fields[] = {
    QL_FLOAT_WEIGHT_FIELDS,
    {"stride", QL_VALUE_INTS},
    {"padding", QL_VALUE_INTS},
    {"output_padding", QL_VALUE_INTS},
    {NULL, 0},
};

typedef struct conv_state {
    ql_transposed_f32 weights;
    float *row; /* [channels] */
} conv_state;

static void destroy(void *state)
{
    conv_state *s = state;
    ql_transposed_f32_free(&s->weights);
    free(s->row);
    free(s);
}

static bool take_shape(const ql_step *step, const ql_buffer *buffers, const ql_value *v, ql_expansion *shape)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    const ql_array *weight = &v[QL_FIELD_WEIGHT].array;
    return step->input_count == 1 && in->type == QL_F32 && out->type == QL_F32 &&
           ql_take_expansion(in, out, weight, v + STRIDE, shape) && ql_are_float_weights(v, 4, weight->shape);
}

static ql_status check(const ql_buffer *buffers, const ql_value *v, const ql_step *step)
{
    ql_expansion shape;
    return take_shape(step, buffers, v, &shape) ? QL_OK : QL_EINVAL;
}

static void update(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    (void)buffers;
    conv_state *s = step->state;
    const size_t *shape = v[QL_FIELD_WEIGHT].array.shape;
    ql_activation activation;
    (void)ql_activation_from_name(ql_text(&v[QL_FIELD_ACTIVATION]), &activation);
    ql_transposed_f32_clear(&s->weights, ql_data(&v[QL_FIELD_BIAS]), ql_activation_clamps(activation));
    for (size_t p = 0; p < shape[0] * shape[1] * shape[2]; p++)
        ql_transposed_f32_put(&s->weights, p, ql_float_row(v, p, s->row));
}

static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    ql_expansion shape;
    size_t workspace;
    if (!take_shape(step, buffers, v, &shape))
        return QL_EINVAL;
    conv_state *s = calloc(1, sizeof *s);
    if (!s)
        return QL_ENOMEM;
    step->state = s;
    s->row = ql_alloc(shape.channels, sizeof *s->row);
    if (!s->row || ql_transposed_f32_init(&shape, &s->weights) != QL_OK ||
        !ql_transposed_f32_workspace(&s->weights, 1, &workspace)) {
        destroy(s);
        return QL_ENOMEM;
    }
    step->weight_bytes = ql_transposed_f32_bytes(&s->weights);
    update(buffers, v, step);
    return QL_OK;
}

/* The workspace is known: it does not grow with the samples beyond what is copied at once. */
static ql_cost measure(const ql_step *step, const ql_buffer *buffers, size_t samples)
{
    (void)buffers;
    const ql_transposed_f32 *t = &((const conv_state *)step->state)->weights;
    ql_cost cost = {.ns = ql_transposed_f32_cost_ns(t, samples)};
    (void)ql_transposed_f32_workspace(t, samples, &cost.workspace);
    return cost;
}

static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    (void)buffers;
    const ql_transposed_f32 *t = &((const conv_state *)step->state)->weights;
    ql_transposed_f32_run(t, block->data[step->inputs[0]], block->samples, block->data[step->output], block->workspace);
}

const ql_op ql_op_conv_transpose_f32 = {.kind = "conv_transpose_f32",
                                        .fields = fields,
                                        .prepare = prepare,
                                        .run = run,
                                        .check = check,
                                        .update = update,
                                        .measure = measure,
                                        .destroy = destroy};
