/* The normalizing step: y = (x - mean) / scale along the last axis, a subtraction and a division, each rounded to
 * float32.
 *
 * Why not fold it into the first layer's weights (W / scale): features of different ranges would then share one grid,
 * and those of small range would all become the same code. Why not multiply by 1 / scale: the bits would differ from
 * those of NumPy. It is one pass over the input, next to a product of the same width.
 *
 * Rows of few elements, such as the channels of an image, go several together, past mean and scale that are repeated:
 * 39 us in place of 140 for 224 x 224 x 3 (AMD Zen 3). */
#include <string.h>

#include "core/base/memory.h"
#include "core/program/step.h"

enum { INPUTS, OUTPUT, MEAN, SCALE, LEAST = 64 /* elements that go together */ };

static const ql_field fields[] = {
    {"inputs", QL_VALUE_BUFFERS},
    {"output", QL_VALUE_BUFFER},
    {"mean", QL_VALUE_ARRAY},
    {"scale", QL_VALUE_ARRAY},
    {NULL, 0},
};

static ql_status check(const ql_buffer *buffers, const ql_value *v, const ql_step *step)
{
    const size_t n = ql_row_length(buffers + step->output);
    return ql_is_vector(&v[MEAN], QL_F32, n) && ql_are_scales(&v[SCALE], n) ? QL_OK : QL_EINVAL;
}

/* Elements of whole rows of n. */
static size_t together(size_t n)
{
    return n * ((LEAST + n - 1) / n);
}

/* The state: means, then scales, each repeated to as many elements as go together. */
static void update(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    const size_t n = ql_row_length(buffers + step->output), width = together(n);
    float *mean = step->state, *scale = mean + width;
    for (size_t i = 0; i < width; i += n) {
        memcpy(mean + i, ql_data(&v[MEAN]), n * sizeof *mean);
        memcpy(scale + i, ql_data(&v[SCALE]), n * sizeof *scale);
    }
}

static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    if (step->input_count != 1 || in->type != QL_F32 || out->type != QL_F32 || !ql_have_same_shape(in, out) ||
        in->rank == 0 || check(buffers, v, step) != QL_OK)
        return QL_EINVAL;
    step->state = ql_alloc(2 * together(ql_row_length(in)), sizeof(float));
    if (!step->state)
        return QL_ENOMEM;
    update(buffers, v, step);
    return QL_OK;
}

static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const ql_buffer *in = buffers + step->inputs[0];
    const size_t n = block->samples * ql_sample_size(in), width = together(ql_row_length(in));
    const float *x = block->data[step->inputs[0]], *mean = step->state, *scale = mean + width;
    float *y = block->data[step->output];
    for (size_t i = 0; i < n; i += width) {
        const size_t count = n - i < width ? n - i : width;
        for (size_t j = 0; j < count; j++)
            y[i + j] = (x[i + j] - mean[j]) / scale[j];
    }
}

static void destroy(void *state)
{
    free(state);
}

const ql_op ql_op_normalize = {.kind = "normalize",
                               .fields = fields,
                               .prepare = prepare,
                               .run = run,
                               .sharing = QL_OVER_INPUT,
                               .check = check,
                               .update = update,
                               .destroy = destroy};
