/* The convolution of floats by floats, or by weights of up to 8 bits, which become float32(code - zero point) * scale
 * when they are packed: one fused multiply-add per element of a window, in order, so that the bits are the same
 * everywhere. */
#include "core/base/memory.h"
#include "core/images/conv_f32.h"
#include "core/program/float_weights.h"
#include "core/program/images.h"

enum { GROUPS = QL_WEIGHT_FIELD_COUNT, STRIDE, DILATION, PADDING };

static const ql_field fields[] = {
    QL_FLOAT_WEIGHT_FIELDS,      {"groups", QL_VALUE_INT},   {"stride", QL_VALUE_INTS},
    {"dilation", QL_VALUE_INTS}, {"padding", QL_VALUE_INTS}, {NULL, 0},
};

typedef struct conv_state {
    ql_filter_f32 filter;
    ql_image_windows shape;
    float *row; /* [out] */
} conv_state;

static void destroy(void *state)
{
    conv_state *s = state;
    free(s->filter.weight);
    free(s->filter.bias);
    free(s->row);
    free(s);
}

/* Takes the windows; returns whether everything fits the buffers. */
static bool take_window(const ql_step *step, const ql_buffer *buffers, const ql_value *v, ql_step_window *window)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    size_t shape[4];
    return step->input_count == 1 && in->type == QL_F32 && out->type == QL_F32 &&
           ql_take_convolution(in, out, &v[QL_FIELD_WEIGHT].array, v + GROUPS, window, shape) &&
           ql_are_float_weights(v, 4, shape);
}

static ql_status check(const ql_buffer *buffers, const ql_value *v, const ql_step *step)
{
    ql_step_window window;
    return take_window(step, buffers, v, &window) ? QL_OK : QL_EINVAL;
}

static void update(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    (void)buffers;
    conv_state *s = step->state;
    ql_activation activation;
    (void)ql_activation_from_name(ql_text(&v[QL_FIELD_ACTIVATION]), &activation);
    s->filter.clamps = ql_activation_clamps(activation);
    ql_filter_f32_clear(&s->filter, ql_data(&v[QL_FIELD_BIAS]));
    for (size_t p = 0; p < ql_filter_f32_rows(&s->filter); p++)
        ql_filter_f32_put(&s->filter, p, ql_float_row(v, p, s->row));
}

static ql_image_windows images_of(const ql_buffer *in, const ql_buffer *out, const ql_step_window *window)
{
    size_t from[2], to[2];
    ql_image_lengths(in, from);
    ql_image_lengths(out, to);
    return (ql_image_windows){.count = 1,
                              .height = from[0],
                              .width = from[1],
                              .channels = ql_row_length(in),
                              .kernel = {window->size[0], window->size[1]},
                              .window = {.stride = {window->stride[0], window->stride[1]},
                                         .dilation = {window->dilation[0], window->dilation[1]},
                                         .before = {window->padding[0], window->padding[2]},
                                         .out = {to[0], to[1]}}};
}

static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    ql_step_window window;
    size_t workspace;
    if (!take_window(step, buffers, v, &window))
        return QL_EINVAL;
    conv_state *s = calloc(1, sizeof *s);
    if (!s)
        return QL_ENOMEM;
    step->state = s;
    s->shape = images_of(buffers + step->inputs[0], buffers + step->output, &window);
    ql_filter_f32_begin(&s->filter, v[QL_FIELD_WEIGHT].array.shape, (size_t)v[GROUPS].integer);
    const size_t size = ql_filter_f32_size(&s->filter);
    s->filter.weight = ql_alloc(size, sizeof *s->filter.weight);
    s->filter.bias = ql_alloc(s->filter.out, sizeof *s->filter.bias);
    s->row = ql_alloc(s->filter.out, sizeof *s->row);
    if (!s->filter.weight || !s->filter.bias || !s->row || !ql_conv_f32_workspace(&s->shape, &s->filter, &workspace)) {
        destroy(s);
        return QL_ENOMEM;
    }
    step->weight_bytes = size * sizeof *s->filter.weight;
    update(buffers, v, step);
    return QL_OK;
}

static ql_image_windows images_at_once(const ql_step *step, size_t samples)
{
    ql_image_windows shape = ((const conv_state *)step->state)->shape;
    shape.count = samples;
    return shape;
}

/* The workspace is known: it does not grow with the samples beyond what is copied at once. */
static ql_cost measure(const ql_step *step, const ql_buffer *buffers, size_t samples)
{
    (void)buffers;
    const conv_state *s = step->state;
    const ql_image_windows shape = images_at_once(step, samples);
    ql_cost cost = {.ns = ql_conv_f32_cost_ns(&shape, &s->filter)};
    (void)ql_conv_f32_workspace(&shape, &s->filter, &cost.workspace);
    return cost;
}

static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    (void)buffers;
    const conv_state *s = step->state;
    const ql_image_windows shape = images_at_once(step, block->samples);
    ql_conv_f32_run(block->data[step->inputs[0]], &shape, &s->filter, block->data[step->output], block->workspace);
}

const ql_op ql_op_conv_f32 = {.kind = "conv_f32",
                              .fields = fields,
                              .prepare = prepare,
                              .run = run,
                              .check = check,
                              .update = update,
                              .measure = measure,
                              .destroy = destroy};
