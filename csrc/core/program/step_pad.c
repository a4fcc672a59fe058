/* The padding step: zeros before and after along each axis. A sample is written from its first byte to its last, but
 * for the short runs of padded channels: these are copied into zeros. (64 x 64 pixels of 24 bytes that become 28: 8 us,
 * where a copy and zeros for each pixel took 46; AVX2, AMD Zen 3.)
 */
#include "core/base/memory.h"
#include "core/base/runs.h"
#include "core/program/step.h"

enum { INPUTS, OUTPUT, PADDING };

/* Bytes of a run up to which zeros behind it are worth writing twice. */
enum { SHORT = 128 };

static const ql_field fields[] = {
    {"inputs", QL_VALUE_BUFFERS},
    {"output", QL_VALUE_BUFFER},
    {"padding", QL_VALUE_INTS},
    {NULL, 0},
};

/* An axis: how many runs of what lies behind it, and the bytes before the first and after the last. */
typedef struct pad_axis {
    size_t length, before, after;
} pad_axis;

/* The axes down to the last one that is padded. There and behind it a run of the input is copied at once. */
typedef struct pad_state {
    size_t rank, run; /* run: bytes */
    pad_axis axes[QL_MAX_RANK];
} pad_state;

static bool shapes_fit(const ql_buffer *in, const ql_buffer *out, const ql_value *padding)
{
    bool fit = in->rank == out->rank && padding->integers.count == 2 * in->rank;
    for (size_t i = 0; fit && i < in->rank; i++) {
        const int64_t before = padding->integers.items[2 * i], after = padding->integers.items[2 * i + 1];
        fit = before >= 0 && after >= 0 && before <= INT32_MAX && after <= INT32_MAX &&
              in->shape[i] + (size_t)before + (size_t)after == out->shape[i];
    }
    return fit;
}

static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    const bool is_known = in->type == QL_F32 || (ql_is_x8(in) && !ql_has_row_scale(in) && !ql_has_row_scale(out));
    if (step->input_count != 1 || !is_known || in->type != out->type || in->bits != out->bits ||
        !shapes_fit(in, out, &v[PADDING]))
        return QL_EINVAL;
    pad_state *s = calloc(1, sizeof *s);
    if (!s)
        return QL_ENOMEM;
    const int64_t *lengths = v[PADDING].integers.items;
    const size_t width = ql_type_size(in->type);
    s->rank = in->rank;
    while (s->rank > 0 && lengths[2 * s->rank - 2] + lengths[2 * s->rank - 1] == 0)
        s->rank--;
    for (size_t i = 0; i < s->rank; i++) {
        const size_t behind = ql_volume(out, i + 1, out->rank) * width;
        s->axes[i] = (pad_axis){.length = i + 1 < s->rank ? in->shape[i] : 1,
                                .before = (size_t)lengths[2 * i] * behind,
                                .after = (size_t)lengths[2 * i + 1] * behind};
    }
    s->run = ql_volume(in, s->rank ? s->rank - 1 : 0, in->rank) * width;
    step->state = s;
    return QL_OK;
}

/* What a sample is read from, where it goes, and the byte that pads it. */
typedef struct padding {
    const pad_state *state;
    const uint8_t *from;
    uint8_t *to;
    uint8_t zero;
} padding;

static void fill(padding *p, size_t n)
{
    memset(p->to, p->zero, n);
    p->to += n;
}

/* Writes `count` runs of the input, each with what pads it along the last axis that is padded. */
static void pad_runs(padding *p, size_t count)
{
    const pad_state *s = p->state;
    const pad_axis *axis = s->axes + (s->rank ? s->rank - 1 : 0);
    const size_t width = axis->before + s->run + axis->after;
    if (s->run <= SHORT)
        memset(p->to, p->zero, count * width);
    for (size_t i = 0; i < count; i++, p->to += width, p->from += s->run) {
        if (s->run <= SHORT) {
            ql_copy_run(p->to + axis->before, p->from, s->run);
        } else {
            memset(p->to, p->zero, axis->before);
            memcpy(p->to + axis->before, p->from, s->run);
            memset(p->to + axis->before + s->run, p->zero, axis->after);
        }
    }
}

/* Writes what lies behind axis i - 1. */
static void pad(padding *p, size_t i)
{
    const pad_axis *axis = p->state->axes + i;
    if (i + 1 >= p->state->rank) {
        pad_runs(p, 1);
        return;
    }
    fill(p, axis->before);
    if (i + 2 == p->state->rank)
        pad_runs(p, axis->length);
    else
        for (size_t j = 0; j < axis->length; j++)
            pad(p, i + 1);
    fill(p, axis->after);
}

static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const ql_buffer *in = buffers + step->inputs[0];
    padding p = {.state = step->state,
                 .from = block->data[step->inputs[0]],
                 .to = block->data[step->output],
                 .zero = in->type == QL_F32 ? 0 : (uint8_t)ql_zero_point_u8(in)};
    for (size_t i = 0; i < block->samples; i++)
        pad(&p, 0);
}

static void destroy(void *state)
{
    free(state);
}

const ql_op ql_op_pad = {.kind = "pad", .fields = fields, .prepare = prepare, .run = run, .destroy = destroy};
