/* Steps that give a sample's values other places, all of them one copy between strides: transpose, slice,
 * depth_to_space, space_to_depth. */
#include "core/base/memory.h"
#include "core/program/images.h"

enum { INPUTS, OUTPUT, OPTIONS };

#define MOVE_FIELDS               \
    {"inputs", QL_VALUE_BUFFERS}, \
    {                             \
        "output", QL_VALUE_BUFFER \
    }

static const ql_field transpose_fields[] = {MOVE_FIELDS, {"axes", QL_VALUE_INTS}, {NULL, 0}};
static const ql_field slice_fields[] = {
    MOVE_FIELDS, {"begin", QL_VALUE_INTS}, {"end", QL_VALUE_INTS}, {"stride", QL_VALUE_INTS}, {NULL, 0},
};
static const ql_field block_fields[] = {MOVE_FIELDS, {"block", QL_VALUE_INT}, {NULL, 0}};

/* MOST_AXES: of an image whose height and width are cut into blocks. */
enum { MOST_AXES = 5, BYTES_PER_NS = 4 };

/* The result's axes from the outermost in, and what a step along each is in the input, where its first element lies at
 * `first`. */
typedef struct move_state {
    size_t rank, length[MOST_AXES], first, size; /* size: bytes of an element */
    ptrdiff_t stride[MOST_AXES];
} move_state;

static void add_axis(move_state *s, size_t length, size_t stride)
{
    s->length[s->rank] = length;
    s->stride[s->rank++] = (ptrdiff_t)stride;
}

static bool buffers_fit(const ql_step *step, const ql_buffer *in, const ql_buffer *out)
{
    const bool is_known = in->type == QL_F32 || (ql_is_x8(in) && !ql_has_row_scale(in) && !ql_has_row_scale(out));
    return step->input_count == 1 && is_known && in->type == out->type && in->bits == out->bits &&
           in->rank == out->rank;
}

/* Keeps what was found in elements, in bytes: neighbours that stay neighbours are one element, where there are such of
 * their size. */
static ql_status keep(move_state *s, const ql_buffer *in, ql_step *step)
{
    s->size = ql_type_size(in->type);
    s->first *= s->size;
    for (size_t i = 0; i < s->rank; i++)
        s->stride[i] *= (ptrdiff_t)s->size;
    if (s->rank > 0 && s->stride[s->rank - 1] == (ptrdiff_t)s->size) {
        const size_t bytes = s->size * s->length[s->rank - 1];
        if (bytes == 2 || bytes == 4 || bytes == 8) {
            s->size = bytes;
            s->rank--;
        }
    }
    move_state *state = malloc(sizeof *state);
    if (!state)
        return QL_ENOMEM;
    *state = *s;
    step->state = state;
    return QL_OK;
}

static ql_status prepare_transpose(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    size_t axes[QL_MAX_RANK];
    if (!buffers_fit(step, in, out) || !ql_take_lengths(&v[OPTIONS], in->rank, 0, axes))
        return QL_EINVAL;
    move_state s = {0};
    unsigned taken = 0;
    for (size_t i = 0; i < in->rank; i++) {
        if (axes[i] >= in->rank || (taken & 1u << axes[i]) || out->shape[i] != in->shape[axes[i]])
            return QL_EINVAL;
        taken |= 1u << axes[i];
        add_axis(&s, out->shape[i], ql_volume(in, axes[i] + 1, in->rank));
    }
    return keep(&s, in, step);
}

/* Returns how many places there are from `begin` to before `end`, and 0 where one lies outside of the axis. */
static size_t places(int64_t begin, int64_t end, int64_t stride, size_t length)
{
    const int64_t most = INT32_MAX;
    const bool is_plain = begin >= 0 && begin < (int64_t)length && stride >= -most && stride <= most && stride != 0;
    if (!is_plain || end < -1 || end > (int64_t)length)
        return 0;
    const int64_t way = stride > 0 ? end - begin : begin - end, each = stride > 0 ? stride : -stride;
    return way > 0 ? (size_t)((way + each - 1) / each) : 0;
}

static ql_status prepare_slice(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    if (!buffers_fit(step, in, out))
        return QL_EINVAL;
    for (size_t k = 0; k < 3; k++) {
        if (v[OPTIONS + k].integers.count != in->rank)
            return QL_EINVAL;
    }
    const int64_t *begin = v[OPTIONS].integers.items, *end = v[OPTIONS + 1].integers.items;
    const int64_t *stride = v[OPTIONS + 2].integers.items;
    move_state s = {0};
    for (size_t i = 0; i < in->rank; i++) {
        const size_t each = ql_volume(in, i + 1, in->rank);
        if (places(begin[i], end[i], stride[i], in->shape[i]) != out->shape[i])
            return QL_EINVAL;
        s.first += (size_t)begin[i] * each;
        add_axis(&s, out->shape[i], each);
        s.stride[i] *= (ptrdiff_t)stride[i];
    }
    return keep(&s, in, step);
}

/* Returns whether a space of `block` times as many rows and columns has the depth's values. */
static bool blocks_fit(const ql_buffer *depth, const ql_buffer *space, int64_t block)
{
    if (depth->rank != 3 || block < 1 || block > INT32_MAX)
        return false;
    const size_t b = (size_t)block;
    return space->shape[0] == depth->shape[0] * b && space->shape[1] == depth->shape[1] * b &&
           ql_sample_size(space) == ql_sample_size(depth);
}

static ql_status prepare_depth_to_space(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    if (!buffers_fit(step, in, out) || !blocks_fit(in, out, v[OPTIONS].integer))
        return QL_EINVAL;
    const size_t block = (size_t)v[OPTIONS].integer, channels = in->shape[2], run = block * out->shape[2];
    move_state s = {0};
    add_axis(&s, in->shape[0], in->shape[1] * channels);
    add_axis(&s, block, run);
    add_axis(&s, in->shape[1], channels);
    add_axis(&s, run, 1);
    return keep(&s, in, step);
}

static ql_status prepare_space_to_depth(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    if (!buffers_fit(step, in, out) || !blocks_fit(out, in, v[OPTIONS].integer))
        return QL_EINVAL;
    const size_t block = (size_t)v[OPTIONS].integer, run = block * in->shape[2], row = in->shape[1] * in->shape[2];
    move_state s = {0};
    add_axis(&s, out->shape[0], block * row);
    add_axis(&s, out->shape[1], run);
    add_axis(&s, block, row);
    add_axis(&s, run, 1);
    return keep(&s, in, step);
}

static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const ql_buffer *in = buffers + step->inputs[0], *out = buffers + step->output;
    const move_state *s = step->state;
    const size_t width = ql_type_size(in->type);
    ql_copy copy = {.size = s->size,
                    .ndim = s->rank + 1,
                    .length = {block->samples},
                    .from = (const char *)block->data[step->inputs[0]] + s->first,
                    .from_stride = {(ptrdiff_t)(ql_sample_size(in) * width)},
                    .to = block->data[step->output],
                    .to_stride = {(ptrdiff_t)(ql_sample_size(out) * width)}};
    ptrdiff_t to = (ptrdiff_t)s->size;
    for (size_t i = s->rank; i > 0; i--) {
        copy.length[i] = s->length[i - 1];
        copy.from_stride[i] = s->stride[i - 1];
        copy.to_stride[i] = to;
        to *= (ptrdiff_t)s->length[i - 1];
    }
    ql_copy_strided(&copy);
}

static ql_cost measure(const ql_step *step, const ql_buffer *buffers, size_t samples)
{
    const ql_buffer *out = buffers + step->output;
    return (ql_cost){.ns = samples * ql_sample_size(out) * ql_type_size(out->type) / BYTES_PER_NS};
}

static void destroy(void *state)
{
    free(state);
}

#define MOVE_OP(name, its_fields)                          \
    const ql_op ql_op_##name = {.kind = #name,             \
                                .fields = its_fields,      \
                                .prepare = prepare_##name, \
                                .run = run,                \
                                .measure = measure,        \
                                .destroy = destroy}

MOVE_OP(transpose, transpose_fields);
MOVE_OP(slice, slice_fields);
MOVE_OP(depth_to_space, block_fields);
MOVE_OP(space_to_depth, block_fields);
