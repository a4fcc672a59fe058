/* Steps between float and 8-bit buffers: quantize, quantize_dynamic, dequantize. They need no state: the grid belongs
 * to the 8-bit buffer. */
#include "core/gemm/quantize_rows.h"
#include "core/program/step.h"

static const ql_field fields[] = {{"input", QL_FIELD_BUFFER}, {"output", QL_FIELD_BUFFER}, {NULL, 0}};

static ql_status prepare_quantize(const ql_buffer *buffers, const ql_value *values, ql_step *step)
{
    (void)values;
    const ql_buffer *x = buffers + step->input, *q = buffers + step->output;
    return x->type == QL_F32 && ql_is_x8(q) && !ql_has_row_scale(q) && x->width == q->width ? QL_OK : QL_EINVAL;
}

static void run_quantize(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const ql_buffer *q = buffers + step->output;
    int32_t zero_point = ql_zero_point_u8(q);
    size_t n = block->rows * q->width;
    *block->nonfinite = block->kernels->quantize_f32_x8(block->data[step->input], n, &q->scale, &zero_point, n, 0, 255,
                                                        block->data[step->output]);
}

static ql_status prepare_dynamic(const ql_buffer *buffers, const ql_value *values, ql_step *step)
{
    (void)values;
    const ql_buffer *x = buffers + step->input, *q = buffers + step->output;
    return x->type == QL_F32 && q->type == QL_U8 && ql_has_row_scale(q) && x->width == q->width ? QL_OK : QL_EINVAL;
}

static void run_dynamic(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const ql_buffer *q = buffers + step->output;
    *block->nonfinite =
        ql_quantize_rows(block->kernels, block->data[step->input], block->rows, q->width, block->data[q->row_scale],
                         block->data[q->row_zero_point], block->data[step->output]);
}

static ql_status prepare_dequantize(const ql_buffer *buffers, const ql_value *values, ql_step *step)
{
    (void)values;
    const ql_buffer *q = buffers + step->input, *x = buffers + step->output;
    return x->type == QL_F32 && ql_is_x8(q) && !ql_has_row_scale(q) && x->width == q->width ? QL_OK : QL_EINVAL;
}

static void run_dequantize(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const ql_buffer *q = buffers + step->input;
    int32_t zero_point = ql_zero_point_u8(q);
    size_t n = block->rows * q->width;
    block->kernels->dequantize_x8_f32(block->data[step->input], n, false, &q->scale, &zero_point, n,
                                      block->data[step->output]);
}

const ql_op ql_op_quantize = {
    .kind = "quantize", .fields = fields, .prepare = prepare_quantize, .run = run_quantize, .looks = true};
const ql_op ql_op_quantize_dynamic = {
    .kind = "quantize_dynamic", .fields = fields, .prepare = prepare_dynamic, .run = run_dynamic, .looks = true};
const ql_op ql_op_dequantize = {
    .kind = "dequantize", .fields = fields, .prepare = prepare_dequantize, .run = run_dequantize};
