/* The step that pads with what lies inside, as in a mirror at each end of an axis: "reflect" leaves out the outermost
 * place itself, "symmetric" has it as well. A sample is written from its first byte to its last. */
#include "core/base/memory.h"
#include "core/base/runs.h"
#include "core/program/images.h"

enum { INPUTS, OUTPUT, PADDING, MODE };

static const ql_field fields[] = {
    {"inputs", QL_VALUE_BUFFERS},
    {"output", QL_VALUE_BUFFER},
    {"padding", QL_VALUE_INTS},
    {"mode", QL_VALUE_TEXT},
    {NULL, 0},
};

/* An axis: places of the input, and before and after them; bytes from place to place of the input. */
typedef struct mirror_axis {
    size_t length, before, after, stride;
} mirror_axis;

/* The axes down to the last one that is padded, whose places are runs of bytes. */
typedef struct mirror_state {
    size_t rank, sample; /* sample: bytes of the input */
    bool is_symmetric;
    mirror_axis axes[QL_MAX_RANK];
} mirror_state;

static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    const bool is_known = in->type == QL_F32 || (ql_is_x8(in) && !ql_has_row_scale(in) && !ql_has_row_scale(out));
    const bool is_symmetric = strcmp(v[MODE].text, "symmetric") == 0;
    size_t sides[2 * QL_MAX_RANK];
    if (step->input_count != 1 || !is_known || in->type != out->type || in->bits != out->bits ||
        in->rank != out->rank || !ql_take_lengths(&v[PADDING], 2 * in->rank, 0, sides) ||
        (!is_symmetric && strcmp(v[MODE].text, "reflect") != 0))
        return QL_EINVAL;
    const size_t width = ql_type_size(in->type);
    mirror_state s = {.sample = ql_sample_size(in) * width, .is_symmetric = is_symmetric};
    for (size_t i = 0; i < in->rank; i++) {
        const size_t length = in->shape[i], before = sides[2 * i], after = sides[2 * i + 1];
        const size_t most = is_symmetric ? length : length - 1;
        if (before > most || after > most || length + before + after != out->shape[i])
            return QL_EINVAL;
        s.axes[i] = (mirror_axis){length, before, after, ql_volume(in, i + 1, in->rank) * width};
        if (before + after > 0)
            s.rank = i + 1;
    }
    mirror_state *state = malloc(sizeof *state);
    if (!state)
        return QL_ENOMEM;
    *state = s;
    step->state = state;
    return QL_OK;
}

/* Writes all places of axis i and of those behind it; returns where the next byte goes. */
static uint8_t *mirror(const mirror_state *s, size_t i, const uint8_t *from, uint8_t *to)
{
    const mirror_axis *axis = s->axes + i;
    const bool is_last = i + 1 == s->rank;
    const size_t first = s->is_symmetric ? 0 : 1, total = axis->before + axis->length + axis->after;
    for (size_t j = 0; j < total; j++) {
        size_t place = j - axis->before;
        if (j < axis->before) {
            place = axis->before - j - 1 + first;
        } else if (place >= axis->length) {
            place = 2 * axis->length - place - 1 - first;
        } else if (is_last) {
            memcpy(to, from, axis->length * axis->stride);
            to += axis->length * axis->stride;
            j += axis->length - 1;
            continue;
        }
        if (is_last) {
            ql_copy_run(to, from + place * axis->stride, axis->stride);
            to += axis->stride;
        } else {
            to = mirror(s, i + 1, from + place * axis->stride, to);
        }
    }
    return to;
}

static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    (void)buffers;
    const mirror_state *s = step->state;
    const uint8_t *from = block->data[step->inputs[0]];
    uint8_t *to = block->data[step->output];
    if (s->rank == 0)
        memcpy(to, from, block->samples * s->sample);
    for (size_t k = 0; s->rank > 0 && k < block->samples; k++)
        to = mirror(s, 0, from + k * s->sample, to);
}

static void destroy(void *state)
{
    free(state);
}

const ql_op ql_op_mirror_pad = {
    .kind = "mirror_pad", .fields = fields, .prepare = prepare, .run = run, .destroy = destroy};
