/* The integer fully connected step: rows of 8-bit activations by 8-bit weights, exact sums, perhaps with a residual,
 * one of the results of sums.h, kept to what the activation lets through. Activations with scales of their own have one
 * for each row. */
#include "core/base/memory.h"
#include "core/gemm/gemm.h"
#include "core/program/sums.h"

static const ql_field fields[] = {QL_SUMS_FIELDS, {NULL, 0}};

typedef struct gemm_state {
    ql_packed *weight;
    int32_t *init;                /* [n_padded] */
    void *columns, *next_columns; /* the arrays of the epilogue and of the residual */
    ql_epilogue epilogue, next;
    ql_residual_columns next_residual;
    ql_residual residual;
} gemm_state;

static void destroy(void *state)
{
    gemm_state *s = state;
    ql_packed_free(s->weight);
    free(s->init);
    free(s->columns);
    free(s->next_columns);
    free(s);
}

static bool values_fit(const ql_step *step, const ql_buffer *buffers, const ql_value *v)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    const size_t shape[] = {ql_row_length(in), ql_row_length(out)};
    return ql_sums_fit_buffers(step, buffers, v) && ql_have_same_rows(in, out) &&
           (!ql_has_row_scale(in) || ql_scale_count(buffers, in) == ql_row_count(in)) && ql_are_weights(v, 2, shape);
}

/* Returns whether all sums stay in int32: with the greatest weights that there can be, as with most layers, or with
 * these, which takes a pass over them. */
static bool sums_fit(const ql_buffer *in, const ql_value *v, const int32_t *bias)
{
    enum { FARTHEST = 255 };
    const ql_code_matrix w = ql_weight_matrix(v);
    const int32_t reach = ql_sums_reach(in);
    return (w.k <= INT32_MAX && ql_reach_fits((int64_t)w.k * FARTHEST, reach, bias, w.n)) ||
           ql_reach_fits(ql_weight_reach(&w), reach, bias, w.n);
}

/* Fills the columns, the epilogue and the residual that come next, where values fit; nothing else changes. */
static ql_status check(const ql_buffer *buffers, const ql_value *v, const ql_step *step)
{
    gemm_state *s = step->state;
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    const size_t n = ql_row_length(out);
    if (!values_fit(step, buffers, v))
        return QL_EINVAL;
    s->next_residual = (ql_residual_columns){.most = ql_sums_bias(in, v)};
    void *memory = (char *)s->next_columns + ql_epilogue_bytes(n);
    if (step->input_count == 2 && !ql_sums_residual(in, buffers + step->inputs[1], v, n, 1, memory, &s->next_residual))
        return QL_EOVERFLOW;
    if (!sums_fit(in, v, s->next_residual.most))
        return QL_EOVERFLOW;
    return ql_sums_epilogue(in, out, v, s->next_columns, &s->next);
}

/* Takes what comes next, for the weights that are packed. */
static void adopt(const ql_buffer *in, const ql_value *v, gemm_state *s)
{
    void *columns = s->columns;
    s->columns = s->next_columns;
    s->next_columns = columns;
    s->epilogue = s->next;
    s->residual = s->next_residual.residual;
    const int32_t *bias = s->residual.factor ? s->next_residual.bias : ql_sums_bias(in, v);
    ql_gemm_init(s->weight, bias, ql_has_row_scale(in) ? 0 : ql_zero_point_u8(in), s->init);
}

static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    const size_t n = ql_row_length(buffers + step->output);
    const size_t bytes = ql_epilogue_bytes(n) + (step->input_count == 2 ? ql_residual_bytes(n) : 0);
    gemm_state *s = calloc(1, sizeof *s);
    if (!s)
        return QL_ENOMEM;
    step->state = s;
    s->columns = ql_alloc(1, bytes);
    s->next_columns = ql_alloc(1, bytes);
    ql_status status = s->columns && s->next_columns ? check(buffers, v, step) : QL_ENOMEM;
    if (status == QL_OK) {
        const ql_code_matrix w = ql_weight_matrix(v);
        status = ql_pack(QL_PACK_INTEGER, &w, &s->weight);
    }
    if (status == QL_OK && !(s->init = ql_alloc(s->weight->n_padded, sizeof *s->init)))
        status = QL_ENOMEM;
    if (status != QL_OK) {
        destroy(s);
        return status;
    }
    adopt(buffers + step->inputs[0], v, s);
    step->weight_bytes = ql_packed_describe(s->weight).nbytes;
    return QL_OK;
}

static void update(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    gemm_state *s = step->state;
    const ql_code_matrix w = ql_weight_matrix(v);
    ql_repack(s->weight, &w);
    adopt(buffers + step->inputs[0], v, s);
}

static ql_cost measure(const ql_step *step, const ql_buffer *buffers, size_t samples)
{
    const gemm_state *s = step->state;
    const size_t rows = samples * ql_row_count(buffers + step->output);
    return (ql_cost){.workspace = ql_gemm_workspace(s->weight, rows, 0), .ns = ql_gemm_cost_ns(s->weight, rows)};
}

static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const gemm_state *s = step->state;
    const ql_buffer *in = buffers + step->inputs[0];
    const bool is_dynamic = ql_has_row_scale(in);
    ql_residual residual = s->residual;
    if (step->input_count == 2)
        residual.codes = block->data[step->inputs[1]];
    const ql_gemm_job job = {.b = s->weight,
                             .a = block->data[step->inputs[0]],
                             .m = block->samples * ql_row_count(in),
                             .a_stride = s->weight->k,
                             .init = s->init,
                             .row_zero_point = is_dynamic ? block->data[in->row_zero_point] : NULL,
                             .row_scale = is_dynamic ? block->data[in->row_scale] : NULL,
                             .residual = residual,
                             .epilogue = &s->epilogue,
                             .c = block->data[step->output],
                             .c_stride = s->weight->n};
    ql_gemm_run(&job, block->workspace);
}

const ql_op ql_op_gemm = {.kind = "gemm",
                          .fields = fields,
                          .prepare = prepare,
                          .run = run,
                          .check = check,
                          .update = update,
                          .measure = measure,
                          .destroy = destroy};
