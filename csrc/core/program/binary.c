/* Broadcasting for steps of two inputs. Neighbouring axes along which each input either varies or does not are one
 * axis, samples among them, so that most shapes become a plane: all pixels and all channels, say. What does not vary
 * along its rows is repeated in a block for several rows at once, and so is what does not vary along its columns: the
 * functions see runs of neighbours alone, long ones even where there are few channels.
 *
 * Why not strides of 0 in the kernels: rows of 16 or 24 channels leave most of a vector empty. */
#include "core/program/binary.h"

#include <stdlib.h>

#include "core/base/memory.h"
#include "core/base/sizes.h"

/* MOST_AXES: those of a sample, and that of samples. BLOCK_BYTES: what is repeated at once, in L1. */
enum { MOST_AXES = QL_MAX_RANK + 1, BLOCK_BYTES = 2048 };

const ql_field ql_binary_fields[] = {
    {"inputs", QL_VALUE_BUFFERS},
    {"output", QL_VALUE_BUFFER},
    {"activation", QL_VALUE_TEXT | QL_VALUE_NONE},
    {"requant", QL_VALUE_TEXT},
    {NULL, 0},
};

/* ---- checks ------------------------------------------------------------------------------------- */

/* The length of the axis that lies `back` axes before the last, counted from 0. */
static size_t length_from_end(const ql_buffer *b, size_t back)
{
    return back < b->rank ? b->shape[b->rank - 1 - back] : 1;
}

static bool is_broadcast(const ql_buffer *a, const ql_buffer *b, const ql_buffer *out)
{
    bool is = out->rank == (a->rank > b->rank ? a->rank : b->rank);
    for (size_t i = 0; is && i < out->rank; i++) {
        const size_t x = length_from_end(a, i), y = length_from_end(b, i);
        is = (x == y || x == 1 || y == 1) && length_from_end(out, i) == (x == 1 ? y : x);
    }
    return is;
}

bool ql_binary_from_values(const ql_buffer *buffers, const ql_value *v, const ql_step *step, const char *requant,
                           ql_binary *binary)
{
    if (step->input_count != 2)
        return false;
    const ql_buffer *a = buffers + step->inputs[0], *b = buffers + step->inputs[1], *out = buffers + step->output;
    if (!is_broadcast(a, b, out) || a->type != out->type || b->type != out->type ||
        !ql_activation_from_name(ql_text(&v[QL_BINARY_ACTIVATION]), &binary->activation) ||
        !ql_rule_from_name(requant, &binary->store))
        return false;
    return out->type == QL_F32 ||
           (ql_is_x8(out) && !ql_has_row_scale(a) && !ql_has_row_scale(b) && !ql_has_row_scale(out));
}

ql_status ql_binary_keep(const ql_binary *binary, ql_step *step)
{
    ql_binary *own = malloc(sizeof *own);
    if (!own)
        return QL_ENOMEM;
    *own = *binary;
    step->state = own;
    return QL_OK;
}

ql_code_clamps ql_binary_clamps(const ql_binary *binary, const ql_buffer *out)
{
    ql_output output = {.store = binary->store, .activation = binary->activation};
    ql_output_on_grid(out, &output);
    ql_code_clamps clamps = ql_output_clamps(&output);
    clamps.qmin += ql_flip(out);
    clamps.qmax += ql_flip(out);
    return clamps;
}

/* ---- runs --------------------------------------------------------------------------------------- */

/* The axes of a block of results, the last first. */
typedef struct axes {
    size_t count, length[MOST_AXES];
    bool varies[2][MOST_AXES];
} axes;

static void add_axis(axes *all, size_t length, bool first, bool second)
{
    if (length == 1)
        return;
    const size_t i = all->count;
    if (i > 0 && all->varies[0][i - 1] == first && all->varies[1][i - 1] == second) {
        all->length[i - 1] *= length;
        return;
    }
    all->length[i] = length;
    all->varies[0][i] = first;
    all->varies[1][i] = second;
    all->count++;
}

static axes axes_of(const ql_buffer *a, const ql_buffer *b, const ql_buffer *out, size_t samples)
{
    axes all = {0};
    for (size_t i = 0; i < out->rank; i++)
        add_axis(&all, length_from_end(out, i), length_from_end(a, i) > 1, length_from_end(b, i) > 1);
    add_axis(&all, samples, true, true);
    return all;
}

/* One input of a plane. */
typedef struct operand {
    const uint8_t *x;
    bool has_rows, has_cols; /* varies along */
    uint8_t *block;          /* BLOCK_BYTES, and a word that may be written over */
} operand;

/* Repeats the first n bytes until there are `bytes`. */
static void repeat(uint8_t *block, size_t n, size_t bytes)
{
    for (; n < bytes; n *= 2)
        memcpy(block + n, block, ql_least(n, bytes - n));
}

/* `count` elements, each of them `times` times, by words, the last of which reaches further. */
static void spread(const uint8_t *x, size_t size, size_t count, size_t times, uint8_t *block)
{
    for (size_t i = 0; i < count; i++, x += size, block += times * size) {
        uint64_t both = *x * UINT64_C(0x0101010101010101);
        if (size > 1) {
            uint32_t element;
            memcpy(&element, x, sizeof element);
            both = element | (uint64_t)element << 32;
        }
        for (size_t j = 0; j < times * size; j += sizeof both)
            memcpy(block + j, &both, sizeof both);
    }
}

/* Sees that `rows` rows of `cols` elements can be read, but for what each row has of its own. */
static void begin_plane(operand *o, size_t size, size_t rows, size_t cols)
{
    if (o->has_rows)
        return;
    if (!o->has_cols) {
        spread(o->x, size, 1, rows * cols, o->block);
    } else if (rows > 1) {
        memcpy(o->block, o->x, cols * size);
        repeat(o->block, cols * size, rows * cols * size);
    }
}

/* Returns elements from a row and a column on, `rows` rows of `cols` elements of rows of `stride`. */
static const uint8_t *take(const operand *o, size_t size, size_t row, size_t col, size_t rows, size_t cols,
                           size_t stride, bool is_repeated)
{
    if (!o->has_cols) {
        if (o->has_rows && col == 0)
            spread(o->x + row * size, size, rows, cols, o->block);
        return o->block;
    }
    if (o->has_rows)
        return o->x + (row * stride + col) * size;
    return is_repeated ? o->block : o->x + col * size;
}

/* A plane of rows x cols results. */
static void run_plane(operand in[2], size_t size, size_t rows, size_t cols, const ql_kernels *kernels,
                      ql_pair_function *function, const void *context, uint8_t *y)
{
    const size_t most = BLOCK_BYTES / size;
    const bool has_both_cols = in[0].has_cols && in[1].has_cols;
    const size_t at_once = cols <= most ? ql_least(most / cols, rows) : 1;
    const size_t width = has_both_cols ? cols : ql_least(cols, most);
    for (int i = 0; i < 2; i++)
        begin_plane(in + i, size, at_once, width);
    for (size_t row = 0; row < rows; row += at_once) {
        const size_t count = ql_least(at_once, rows - row);
        for (size_t col = 0; col < cols; col += width) {
            const size_t length = ql_least(width, cols - col);
            const uint8_t *x[2];
            for (int i = 0; i < 2; i++)
                x[i] = take(in + i, size, row, col, count, length, cols, at_once > 1);
            function(kernels, x[0], x[1], count * length, context, y);
            y += count * length * size;
        }
    }
}

void ql_for_pairs(const ql_step *step, const ql_buffer *buffers, const ql_block *block, ql_pair_function *function,
                  const void *context)
{
    const ql_buffer *a = buffers + step->inputs[0], *b = buffers + step->inputs[1], *out = buffers + step->output;
    const axes all = axes_of(a, b, out, block->samples);
    const size_t size = out->type == QL_F32 ? sizeof(float) : 1;
    const size_t cols = all.count > 0 ? all.length[0] : 1, rows = all.count > 1 ? all.length[1] : 1;
    if (all.count < 2 && (all.count == 0 || (all.varies[0][0] && all.varies[1][0]))) {
        function(block->kernels, block->data[step->inputs[0]], block->data[step->inputs[1]], cols, context,
                 block->data[step->output]);
        return;
    }
    _Alignas(QL_ALIGNMENT) uint8_t blocks[2][BLOCK_BYTES + QL_ALIGNMENT];
    operand in[2];
    size_t plane[2], index[MOST_AXES] = {0};
    for (int i = 0; i < 2; i++) {
        const bool has_rows = all.count > 1 && all.varies[i][1];
        in[i] = (operand){block->data[step->inputs[i]], has_rows, all.varies[i][0], blocks[i]};
        plane[i] = (all.varies[i][0] ? cols : 1) * (has_rows ? rows : 1) * size;
    }
    uint8_t *y = block->data[step->output];
    const uint8_t *const first[2] = {in[0].x, in[1].x};
    for (size_t axis = 0; axis < all.count; y += rows * cols * size) {
        run_plane(in, size, rows, cols, block->kernels, function, context, y);
        for (axis = 2; axis < all.count && ++index[axis] == all.length[axis]; axis++)
            index[axis] = 0;
        for (int i = 0; i < 2; i++) {
            size_t offset = 0, stride = plane[i];
            for (size_t j = 2; j < all.count; j++) {
                offset += all.varies[i][j] ? index[j] * stride : 0;
                stride *= all.varies[i][j] ? all.length[j] : 1;
            }
            in[i].x = first[i] + offset;
        }
    }
}
