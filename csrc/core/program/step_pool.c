/* Pooling steps: the greatest or the mean of each channel in windows over an image (height, width, channels), of codes
 * or of float32. */
#include "core/array/pool.h"
#include "core/base/memory.h"
#include "core/program/images.h"

enum { INPUTS, OUTPUT, SIZE, STRIDE, PADDING };

static const ql_field fields[] = {
    {"inputs", QL_VALUE_BUFFERS}, {"output", QL_VALUE_BUFFER}, {"size", QL_VALUE_INTS},
    {"stride", QL_VALUE_INTS},    {"padding", QL_VALUE_INTS},  {NULL, 0},
};

/* Takes windows that fit the buffers, none of which lies outside of the image. */
static bool take_windows(const ql_buffer *in, const ql_buffer *out, const ql_value *v, ql_pool *s)
{
    ql_step_window w = {.dilation = {1, 1}};
    if (!ql_take_lengths(&v[SIZE], 2, 1, w.size) || !ql_take_lengths(&v[STRIDE], 2, 1, w.stride) ||
        !ql_take_lengths(&v[PADDING], 4, 0, w.padding) || !ql_windows_fit(in, out, &w))
        return false;
    for (int i = 0; i < 4; i++) {
        if (w.padding[i] >= w.size[i / 2])
            return false;
    }
    size_t from[2], to[2];
    ql_image_lengths(in, from);
    ql_image_lengths(out, to);
    *s = (ql_pool){.images = 1,
                   .in_h = from[0],
                   .in_w = from[1],
                   .channels = ql_row_length(in),
                   .kernel_h = w.size[0],
                   .kernel_w = w.size[1],
                   .stride_h = w.stride[0],
                   .stride_w = w.stride[1],
                   .top = w.padding[0],
                   .left = w.padding[2],
                   .out_h = to[0],
                   .out_w = to[1]};
    return ql_pool_is_valid(s);
}

/* The state: the windows, of one image. */
static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step, bool is_mean)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    const bool is_known = in->type == QL_F32 || (ql_is_x8(in) && !ql_has_row_scale(in) && !ql_has_row_scale(out));
    ql_pool shape;
    if (step->input_count != 1 || !is_known || in->type != out->type || in->bits != out->bits ||
        ql_row_length(in) != ql_row_length(out) || !take_windows(in, out, v, &shape))
        return QL_EINVAL;
    if (is_mean && in->type != QL_F32 && !ql_pool_sums_fit(&shape))
        return QL_EOVERFLOW;
    ql_pool *state = malloc(sizeof *state);
    if (!state)
        return QL_ENOMEM;
    *state = shape;
    step->state = state;
    return QL_OK;
}

static ql_status prepare_max(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    return prepare(buffers, v, step, false);
}

static ql_status prepare_average(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    return prepare(buffers, v, step, true);
}

static ql_pool images_of(const ql_step *step, size_t samples)
{
    ql_pool shape = *(const ql_pool *)step->state;
    shape.images = samples;
    return shape;
}

static void run_max(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const ql_pool shape = images_of(step, block->samples);
    const void *x = block->data[step->inputs[0]];
    void *y = block->data[step->output];
    if (buffers[step->output].type == QL_F32)
        (void)ql_max_pool_f32(x, &shape, y, NULL);
    else
        ql_pool_run(block->kernels->max_pool_x8, x, &shape, QL_BYTES_U8, y);
}

static void run_average(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const ql_pool shape = images_of(step, block->samples);
    const ql_type type = buffers[step->output].type;
    const void *x = block->data[step->inputs[0]];
    void *y = block->data[step->output];
    if (type == QL_F32)
        (void)ql_average_pool_f32(x, &shape, y);
    else
        ql_pool_run(block->kernels->avg_pool_x8, x, &shape, type == QL_S8 ? QL_BYTES_S8_FLIPPED : QL_BYTES_U8, y);
}

static ql_cost measure(const ql_step *step, const ql_buffer *buffers, size_t samples)
{
    (void)buffers;
    const ql_pool shape = images_of(step, samples);
    return (ql_cost){.ns = ql_pool_cost_ns(&shape)};
}

static void destroy(void *state)
{
    free(state);
}

const ql_op ql_op_max_pool = {.kind = "max_pool",
                              .fields = fields,
                              .prepare = prepare_max,
                              .run = run_max,
                              .measure = measure,
                              .destroy = destroy};
const ql_op ql_op_average_pool = {.kind = "average_pool",
                                  .fields = fields,
                                  .prepare = prepare_average,
                                  .run = run_average,
                                  .measure = measure,
                                  .destroy = destroy};
