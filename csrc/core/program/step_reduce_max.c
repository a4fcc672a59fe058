/* The steps that take the greatest or the least of elements along axes, of float32 or of codes, which stay on their
 * grid. */
#include "core/base/memory.h"
#include "core/program/reduce.h"

enum { INPUTS, OUTPUT, AXES, KEEPDIMS };

enum { BYTES_PER_NS = 8 };

static const ql_field fields[] = {
    {"inputs", QL_VALUE_BUFFERS},
    {"output", QL_VALUE_BUFFER},
    {"axes", QL_VALUE_INTS},
    {"keepdims", QL_VALUE_INT},
    {NULL, 0},
};

static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    const bool is_known = in->type == QL_F32 || (ql_is_x8(in) && !ql_has_row_scale(in) && !ql_has_row_scale(out));
    ql_reduction reduction;
    if (step->input_count != 1 || !is_known || in->type != out->type || in->bits != out->bits ||
        !ql_take_reduction(in, out, &v[AXES], &v[KEEPDIMS], &reduction))
        return QL_EINVAL;
    ql_reduction *state = malloc(sizeof *state);
    if (!state)
        return QL_ENOMEM;
    *state = reduction;
    step->state = state;
    return QL_OK;
}

static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block, bool is_max)
{
    const ql_reduction *r = step->state;
    const size_t calls = ql_reduction_calls(r, block->samples);
    const ql_windows w = ql_reduction_windows(r, block->samples, calls);
    const bool is_float = buffers[step->output].type == QL_F32;
    const size_t results = w.n * w.channels;
    for (size_t i = 0; i < calls; i++) {
        const float *x = (const float *)block->data[step->inputs[0]] + i * r->step;
        float *y = (float *)block->data[step->output] + i * results;
        const uint8_t *codes = (const uint8_t *)block->data[step->inputs[0]] + i * r->step;
        uint8_t *to = (uint8_t *)block->data[step->output] + i * results;
        if (!is_float)
            block->kernels->max_pool_x8(codes, &w, is_max ? QL_BYTES_U8 : QL_BYTES_DOWNWARD, to);
        else if (is_max)
            block->kernels->max_pool_f32(x, &w, 0, y, NULL);
        else
            block->kernels->min_windows_f32(x, &w, y);
    }
}

static void run_max(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    run(step, buffers, block, true);
}

static void run_min(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    run(step, buffers, block, false);
}

static ql_cost measure(const ql_step *step, const ql_buffer *buffers, size_t samples)
{
    const ql_buffer *in = buffers + step->inputs[0];
    return (ql_cost){.ns = samples * ql_sample_size(in) * ql_type_size(in->type) / BYTES_PER_NS};
}

static void destroy(void *state)
{
    free(state);
}

const ql_op ql_op_reduce_max = {
    .kind = "reduce_max", .fields = fields, .prepare = prepare, .run = run_max, .measure = measure, .destroy = destroy};
const ql_op ql_op_reduce_min = {
    .kind = "reduce_min", .fields = fields, .prepare = prepare, .run = run_min, .measure = measure, .destroy = destroy};
