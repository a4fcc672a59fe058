/* The step that normalizes rows of floats: layer norm along the last axis. */
#include "core/base/memory.h"
#include "core/base/parallel.h"
#include "core/program/step.h"

enum { INPUTS, OUTPUT, GAMMA, BETA, EPSILON };

static const ql_field fields[] = {
    {"inputs", QL_VALUE_BUFFERS}, {"output", QL_VALUE_BUFFER}, {"gamma", QL_VALUE_ARRAY},
    {"beta", QL_VALUE_ARRAY},     {"epsilon", QL_VALUE_FLOAT}, {NULL, 0},
};

/* GRAIN: values that one task takes, at least. */
enum { GRAIN = 4096, VALUES_PER_NS = 1 };

typedef struct norm_state {
    double epsilon;
    float *gamma, *beta;
} norm_state;

static void destroy(void *state)
{
    norm_state *s = state;
    free(s->gamma);
    free(s->beta);
    free(s);
}

static ql_status check(const ql_buffer *buffers, const ql_value *v, const ql_step *step)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    if (step->input_count != 1 || in->type != QL_F32 || out->type != QL_F32 || !ql_have_same_shape(in, out) ||
        in->rank == 0 || !ql_is_vector(&v[GAMMA], QL_F32, ql_row_length(in)) ||
        !ql_is_vector(&v[BETA], QL_F32, ql_row_length(in)) || !(v[EPSILON].real > 0 && v[EPSILON].real < 1))
        return QL_EINVAL;
    return QL_OK;
}

static void update(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    norm_state *s = step->state;
    const size_t bytes = ql_row_length(buffers + step->output) * sizeof *s->gamma;
    s->epsilon = v[EPSILON].real;
    memcpy(s->gamma, ql_data(&v[GAMMA]), bytes);
    memcpy(s->beta, ql_data(&v[BETA]), bytes);
}

static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    if (check(buffers, v, step) != QL_OK)
        return QL_EINVAL;
    const size_t n = ql_row_length(buffers + step->output);
    norm_state *s = calloc(1, sizeof *s);
    if (!s)
        return QL_ENOMEM;
    s->gamma = ql_alloc(n, sizeof *s->gamma);
    s->beta = ql_alloc(n, sizeof *s->beta);
    if (!s->gamma || !s->beta) {
        destroy(s);
        return QL_ENOMEM;
    }
    step->state = s;
    update(buffers, v, step);
    return QL_OK;
}

typedef struct rows {
    const ql_kernels *kernels;
    const norm_state *s;
    const float *x;
    float *y;
    size_t count, n, at_once;
} rows;

static void normalize(void *context, size_t task)
{
    const rows *r = context;
    const size_t begin = task * r->at_once, end = ql_least(begin + r->at_once, r->count);
    r->kernels->layer_norm_f32(r->x + begin * r->n, end - begin, r->n, r->s->gamma, r->s->beta, r->s->epsilon,
                               r->y + begin * r->n);
}

static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const ql_buffer *in = buffers + step->inputs[0];
    const size_t n = ql_row_length(in);
    rows r = {.kernels = block->kernels,
              .s = step->state,
              .x = block->data[step->inputs[0]],
              .y = block->data[step->output],
              .count = block->samples * ql_row_count(in),
              .n = n,
              .at_once = GRAIN / n + 1};
    ql_parallel(ql_divided_up(r.count, r.at_once), (uint64_t)r.count * n / VALUES_PER_NS, normalize, &r);
}

const ql_op ql_op_layer_norm = {.kind = "layer_norm",
                                .fields = fields,
                                .prepare = prepare,
                                .run = run,
                                .check = check,
                                .update = update,
                                .destroy = destroy};
