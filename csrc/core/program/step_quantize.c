/* Steps between float and 8-bit buffers: quantize, quantize_dynamic, dequantize. They need no state: the grid belongs
 * to the 8-bit buffer, or is found for each row or each sample of it. */
#include "core/gemm/quantize_rows.h"
#include "core/program/step.h"

static const ql_field fields[] = {{"inputs", QL_VALUE_BUFFERS}, {"output", QL_VALUE_BUFFER}, {NULL, 0}};

/* Returns whether a step has one input, and its buffers are floats and 8-bit codes of one shape. */
static bool is_between(const ql_buffer *buffers, const ql_step *step, size_t real, size_t codes)
{
    const ql_buffer *x = buffers + real, *q = buffers + codes;
    return step->input_count == 1 && x->type == QL_F32 && ql_is_x8(q) && ql_have_same_shape(x, q);
}

static ql_status prepare_quantize(const ql_buffer *buffers, const ql_value *values, ql_step *step)
{
    (void)values;
    return is_between(buffers, step, step->inputs[0], step->output) && !ql_has_row_scale(buffers + step->output)
               ? QL_OK
               : QL_EINVAL;
}

static void run_quantize(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const ql_buffer *q = buffers + step->output;
    const int32_t zero_point = ql_zero_point_u8(q);
    const size_t n = block->samples * ql_sample_size(q);
    *block->nonfinite = block->kernels->quantize_f32_x8(block->data[step->inputs[0]], n, &q->scale, &zero_point, n,
                                                        ql_qmin_u8(q), ql_qmax_u8(q), block->data[step->output]);
}

static ql_status prepare_dynamic(const ql_buffer *buffers, const ql_value *values, ql_step *step)
{
    (void)values;
    const ql_buffer *q = buffers + step->output;
    return is_between(buffers, step, step->inputs[0], step->output) && q->type == QL_U8 && ql_has_row_scale(q)
               ? QL_OK
               : QL_EINVAL;
}

static void run_dynamic(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const ql_buffer *q = buffers + step->output;
    const size_t count = ql_scale_count(buffers, q);
    *block->nonfinite = ql_quantize_rows(block->kernels, block->data[step->inputs[0]], block->samples * count,
                                         ql_sample_size(q) / count, block->data[q->row_scale],
                                         block->data[q->row_zero_point], block->data[step->output]);
}

static ql_status prepare_dequantize(const ql_buffer *buffers, const ql_value *values, ql_step *step)
{
    (void)values;
    return is_between(buffers, step, step->output, step->inputs[0]) && !ql_has_row_scale(buffers + step->inputs[0])
               ? QL_OK
               : QL_EINVAL;
}

static void run_dequantize(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const ql_buffer *q = buffers + step->inputs[0];
    const int32_t zero_point = ql_zero_point_u8(q);
    const size_t n = block->samples * ql_sample_size(q);
    block->kernels->dequantize_x8_f32(block->data[step->inputs[0]], n, false, &q->scale, &zero_point, n,
                                      block->data[step->output]);
}

const ql_op ql_op_quantize = {
    .kind = "quantize", .fields = fields, .prepare = prepare_quantize, .run = run_quantize, .checks_finite = true};
const ql_op ql_op_quantize_dynamic = {.kind = "quantize_dynamic",
                                      .fields = fields,
                                      .prepare = prepare_dynamic,
                                      .run = run_dynamic,
                                      .checks_finite = true};
const ql_op ql_op_dequantize = {
    .kind = "dequantize", .fields = fields, .prepare = prepare_dequantize, .run = run_dequantize};
