/* The product of two values that are both computed: matrices (m, k) by (k, n), or by (n, k) if b is transposed, for
 * each of the leading axes, which are equal.
 *
 *   float32   one fused multiply-add per k, k ascending, from 0
 *   codes     exact sums of (a - za)(b - zb), then codes by rule A ("float") or B ("fixed"); "fixed32": by rule B with
 *             the scales multiplied in float32
 *
 * With `heads`, (rows, heads * n) stands for so many matrices (rows, n) side by side, as a layer of rows gives them; b
 * is of that form, and so is either a, and then the result is (heads, m, n), or the result, and then a is (heads, m,
 * k). Nothing is moved for it: rows of a and of the result lie a stride apart, and b is packed anyway, for each matrix
 * as it comes. Packing costs 1 / m of the product.
 *
 * Matrices are items of work; each has its own part of the workspace. */
#include "core/base/memory.h"
#include "core/base/parallel.h"
#include "core/gemm/gemm.h"
#include "core/program/sums.h"

enum { INPUTS, OUTPUT, TRANSPOSE_B, HEADS, REQUANT };

static const ql_field fields[] = {
    {"inputs", QL_VALUE_BUFFERS}, {"output", QL_VALUE_BUFFER}, {"transpose_b", QL_VALUE_INT},
    {"heads", QL_VALUE_INT},      {"requant", QL_VALUE_TEXT},  {NULL, 0},
};

/* DEEPEST: sums of as many products of codes stay in int32. */
enum { FLOAT_PRODUCTS_PER_NS = 16, CODE_PRODUCTS_PER_NS = 64, DEEPEST = INT32_MAX / (255 * 255) };

/* The scales of both inputs over that of the result are below this. */
#define MULTIPLIER_LIMIT 0x1p29

/* Where the matrices of a value lie: rows, and matrices of a sample, so many elements apart. */
typedef struct place {
    size_t row, matrix;
} place;

typedef struct matmul_state {
    const ql_kernels *kernels;
    size_t count, m, k, n; /* matrices of a sample */
    place a, b, y;
    bool is_transposed, has_product; /* has_product: the sums have one scale, float32(sa * sb) */
    ql_store store;
} matmul_state;

static bool is_matrix(const ql_buffer *b)
{
    return b->rank >= 2;
}

static size_t axis_from_end(const ql_buffer *b, size_t i)
{
    return b->shape[b->rank - i];
}

/* Fills in matrices for each of equal leading axes. */
static bool find_leading(const ql_buffer *a, const ql_buffer *b, const ql_buffer *y, matmul_state *s)
{
    if (a->rank != b->rank || a->rank != y->rank || memcmp(a->shape, b->shape, (a->rank - 2) * sizeof *a->shape) != 0 ||
        memcmp(a->shape, y->shape, (a->rank - 2) * sizeof *a->shape) != 0)
        return false;
    s->count = ql_volume(a, 0, a->rank - 2);
    s->m = axis_from_end(a, 2);
    s->k = axis_from_end(a, 1);
    s->n = axis_from_end(b, s->is_transposed ? 2 : 1);
    s->a = (place){s->k, s->m * s->k};
    s->b = (place){axis_from_end(b, 1), s->k * s->n};
    s->y = (place){s->n, s->m * s->n};
    return axis_from_end(b, s->is_transposed ? 1 : 2) == s->k && axis_from_end(y, 2) == s->m &&
           axis_from_end(y, 1) == s->n;
}

/* Fills in matrices side by side in b and in one of the others, of which the third is (heads, rows, columns). */
static bool find_heads(const ql_buffer *a, const ql_buffer *b, const ql_buffer *y, size_t heads, matmul_state *s)
{
    const bool splits_a = a->rank == 2 && y->rank == 3;
    const ql_buffer *wide = splits_a ? a : y, *deep = splits_a ? y : a;
    if (b->rank != 2 || wide->rank != 2 || deep->rank != 3 || deep->shape[0] != heads || wide->shape[1] % heads != 0 ||
        b->shape[1] % heads != 0)
        return false;
    const size_t columns = b->shape[1] / heads;
    s->count = heads;
    s->m = wide->shape[0];
    s->k = splits_a ? a->shape[1] / heads : deep->shape[2];
    s->n = s->is_transposed ? b->shape[0] : columns;
    const place of_wide = {wide->shape[1], wide->shape[1] / heads}, of_deep = {deep->shape[2], s->m * deep->shape[2]};
    s->a = splits_a ? of_wide : of_deep;
    s->b = (place){b->shape[1], columns};
    s->y = splits_a ? of_deep : of_wide;
    return deep->shape[1] == s->m && (s->is_transposed ? columns : b->shape[0]) == s->k &&
           (splits_a ? deep->shape[2] : wide->shape[1] / heads) == s->n;
}

static ql_status prepare(const ql_buffer *buffers, const ql_value *v, ql_step *step)
{
    if (step->input_count != 2)
        return QL_EINVAL;
    const ql_buffer *a = buffers + step->inputs[0], *b = buffers + step->inputs[1], *y = buffers + step->output;
    const int64_t heads = v[HEADS].integer;
    const bool has_product = strcmp(v[REQUANT].text, "fixed32") == 0;
    matmul_state found = {
        .kernels = ql_kernels_active(), .is_transposed = v[TRANSPOSE_B].integer != 0, .has_product = has_product};
    if (a->type != y->type || b->type != y->type || (y->type != QL_F32 && !ql_is_x8(y)) || ql_has_row_scale(a) ||
        ql_has_row_scale(b) || ql_has_row_scale(y) || !is_matrix(a) || !is_matrix(b) || !is_matrix(y) || heads < 0 ||
        !ql_rule_from_name(has_product ? "fixed" : v[REQUANT].text, &found.store))
        return QL_EINVAL;
    if (heads ? !find_heads(a, b, y, (size_t)heads, &found) : !find_leading(a, b, y, &found))
        return QL_EINVAL;
    if (y->type != QL_F32 && found.k > DEEPEST)
        return QL_EOVERFLOW;
    if (y->type != QL_F32 && !((double)a->scale * (double)b->scale / (double)y->scale < MULTIPLIER_LIMIT))
        return QL_EINVAL;
    matmul_state *s = malloc(sizeof *s);
    if (!s)
        return QL_ENOMEM;
    *s = found;
    step->state = s;
    return QL_OK;
}

/* ---- floats ------------------------------------------------------------------------------------- */

static size_t float_bytes(const matmul_state *s)
{
    const size_t nr = s->kernels->gemm_f32f32f32->nr;
    return ql_round_up(ql_round_up(s->n, nr) * s->k * sizeof(float), QL_ALIGNMENT);
}

/* Columns first..first + cols of b as [k][nr], with zeros beside them. */
static void pack_floats(const matmul_state *s, const float *b, size_t first, size_t cols, size_t nr, float *panel)
{
    if (cols < nr)
        memset(panel, 0, s->k * nr * sizeof *panel);
    if (s->is_transposed) {
        s->kernels->transpose(b + first * s->b.row, (ptrdiff_t)(s->b.row * sizeof *b), cols, s->k, sizeof *b, panel,
                              (ptrdiff_t)(nr * sizeof *panel));
        return;
    }
    for (size_t p = 0; p < s->k; p++)
        memcpy(panel + p * nr, b + p * s->b.row + first, cols * sizeof *b);
}

/* The tiles of a panel: whole ones in place. */
static void multiply_panel(const matmul_state *s, const float *a, const float *panel, size_t cols, float *y)
{
    const ql_gemm_f32_add_kernels *gemm = s->kernels->gemm_f32f32f32;
    const size_t nr = gemm->nr;
    float tile[QL_MAX_MR * QL_MAX_NR];
    for (size_t i = 0; i < s->m; i += gemm->mr) {
        const size_t rows = ql_least(gemm->mr, s->m - i);
        const ql_float_rows x = {a + i * s->a.row, s->a.row, 1, s->k, 1, &(size_t){0}};
        float *to = cols == nr ? y + i * s->y.row : tile;
        const size_t stride = cols == nr ? s->y.row : nr;
        for (size_t r = 0; r < rows; r++)
            memset(to + r * stride, 0, nr * sizeof *to);
        gemm->ukernel[rows](&x, panel, nr, to, stride);
        for (size_t r = 0; to == tile && r < rows; r++)
            memcpy(y + (i + r) * s->y.row, tile + r * nr, cols * sizeof *y);
    }
}

static void multiply_floats(const matmul_state *s, const float *a, const float *b, float *y, float *panels)
{
    const size_t nr = s->kernels->gemm_f32f32f32->nr;
    for (size_t first = 0; first < s->n; first += nr) {
        const size_t cols = ql_least(nr, s->n - first);
        float *panel = panels + first * s->k;
        pack_floats(s, b, first, cols, nr, panel);
        multiply_panel(s, a, panel, cols, y + first);
    }
}

/* ---- codes -------------------------------------------------------------------------------------- */

/* The parts of an item's workspace. */
typedef struct code_memory {
    uint8_t *gathered;             /* [k * n]: b without gaps between its rows */
    void *packed, *columns, *gemm; /* of ql_packed_in, of the epilogue, of ql_gemm_run */
    int32_t *init, *zero_point;    /* [n_padded], [n] */
    float *scale;                  /* [n] */
    size_t bytes;
} code_memory;

/* Cuts an item's workspace; `memory` may be NULL, for its size. */
static code_memory cut(const matmul_state *s, char *memory)
{
    ql_packed packed;
    const size_t packed_bytes = ql_packed_in(s->kernels, s->k, s->n, NULL, &packed);
    const size_t sizes[] = {s->k * s->n,
                            packed_bytes,
                            ql_epilogue_bytes(s->n),
                            ql_gemm_workspace(&packed, s->m, 0),
                            packed.n_padded * sizeof(int32_t),
                            s->n * sizeof(int32_t),
                            s->n * sizeof(float)};
    enum { PARTS = sizeof sizes / sizeof *sizes };
    char *part[PARTS];
    size_t bytes = 0;
    for (size_t i = 0; i < PARTS; i++) {
        part[i] = memory ? memory + bytes : NULL;
        bytes += ql_round_up(sizes[i], QL_ALIGNMENT);
    }
    return (code_memory){.gathered = (uint8_t *)part[0],
                         .packed = part[1],
                         .columns = part[2],
                         .gemm = part[3],
                         .init = (int32_t *)part[4],
                         .zero_point = (int32_t *)part[5],
                         .scale = (float *)part[6],
                         .bytes = bytes};
}

/* The grids of a run. */
typedef struct grids {
    const ql_buffer *a, *b, *y;
} grids;

/* Returns b with its rows one after the other. */
static const uint8_t *gather(const matmul_state *s, const uint8_t *b, uint8_t *gathered)
{
    const size_t rows = s->is_transposed ? s->n : s->k, length = s->is_transposed ? s->k : s->n;
    if (s->b.row == length)
        return b;
    for (size_t i = 0; i < rows; i++)
        memcpy(gathered + i * length, b + i * s->b.row, length);
    return gathered;
}

/* Multipliers that only an update can have brought, which nobody checks, count as the limit. */
static ql_epilogue epilogue_of(const matmul_state *s, const grids *g, const code_memory *memory)
{
    ql_output output = {.store = s->store, .input_scale = g->a->scale, .weight_scale = memory->scale};
    if (s->has_product)
        output.input_scale *= g->b->scale;
    ql_output_on_grid(g->y, &output);
    const float least = g->a->scale * g->b->scale / 0x1p29f;
    output.scale = output.scale > least ? output.scale : least;
    ql_epilogue epilogue;
    (void)ql_epilogue_fill(&output, s->n, memory->columns, &epilogue);
    epilogue.zero_point += ql_flip(g->y);
    epilogue.qmin += ql_flip(g->y);
    epilogue.qmax += ql_flip(g->y);
    return epilogue;
}

static void multiply_codes(const matmul_state *s, const grids *g, const uint8_t *a, const uint8_t *b, uint8_t *y,
                           char *workspace)
{
    const code_memory memory = cut(s, workspace);
    for (size_t j = 0; j < s->n; j++) {
        memory.zero_point[j] = ql_zero_point_u8(g->b);
        memory.scale[j] = s->has_product ? 1.0f : g->b->scale;
    }
    const ql_code_matrix matrix = {.data = gather(s, b, memory.gathered),
                                   .by_columns = s->is_transposed,
                                   .k = s->k,
                                   .n = s->n,
                                   .zero_point = memory.zero_point};
    ql_packed packed;
    (void)ql_packed_in(s->kernels, s->k, s->n, memory.packed, &packed);
    ql_repack(&packed, &matrix);
    ql_gemm_init(&packed, NULL, ql_zero_point_u8(g->a), memory.init);
    const ql_epilogue epilogue = epilogue_of(s, g, &memory);
    const ql_gemm_job job = {.b = &packed,
                             .a = a,
                             .m = s->m,
                             .a_stride = s->a.row,
                             .init = memory.init,
                             .epilogue = &epilogue,
                             .c = y,
                             .c_stride = s->y.row};
    ql_gemm_run(&job, memory.gemm);
}

/* ---- the step ----------------------------------------------------------------------------------- */

typedef struct products {
    const matmul_state *s;
    grids grids;
    const char *a, *b;
    char *y, *workspace;
    size_t item_bytes;
} products;

/* Element of a value at which matrix `item`, counted over all samples, begins. */
static size_t start_of(const ql_buffer *value, place at, const matmul_state *s, size_t item)
{
    return item / s->count * ql_sample_size(value) + item % s->count * at.matrix;
}

static void multiply(void *context, size_t item)
{
    const products *p = context;
    const matmul_state *s = p->s;
    const grids *g = &p->grids;
    const size_t a = start_of(g->a, s->a, s, item), b = start_of(g->b, s->b, s, item),
                 y = start_of(g->y, s->y, s, item);
    char *workspace = p->workspace + item * p->item_bytes;
    if (g->y->type == QL_F32)
        multiply_floats(s, (const float *)p->a + a, (const float *)p->b + b, (float *)p->y + y, (float *)workspace);
    else
        multiply_codes(s, g, (const uint8_t *)p->a + a, (const uint8_t *)p->b + b, (uint8_t *)p->y + y, workspace);
}

static size_t item_bytes(const matmul_state *s, const ql_buffer *y)
{
    return y->type == QL_F32 ? float_bytes(s) : cut(s, NULL).bytes;
}

static uint64_t cost_ns(const matmul_state *s, const ql_buffer *y, size_t samples)
{
    const double count = (double)(samples * s->count) * (double)s->m * (double)s->k * (double)s->n;
    return (uint64_t)(count / (y->type == QL_F32 ? FLOAT_PRODUCTS_PER_NS : CODE_PRODUCTS_PER_NS));
}

static ql_cost measure(const ql_step *step, const ql_buffer *buffers, size_t samples)
{
    const matmul_state *s = step->state;
    const ql_buffer *y = buffers + step->output;
    return (ql_cost){.workspace = samples * s->count * item_bytes(s, y), .ns = cost_ns(s, y, samples)};
}

static void run(const ql_step *step, const ql_buffer *buffers, const ql_block *block)
{
    const matmul_state *s = step->state;
    const grids g = {buffers + step->inputs[0], buffers + step->inputs[1], buffers + step->output};
    products p = {.s = s,
                  .grids = g,
                  .a = block->data[step->inputs[0]],
                  .b = block->data[step->inputs[1]],
                  .y = block->data[step->output],
                  .workspace = block->workspace,
                  .item_bytes = item_bytes(s, g.y)};
    ql_parallel(block->samples * s->count, cost_ns(s, g.y, block->samples), multiply, &p);
}

const ql_op ql_op_matmul = {
    .kind = "matmul", .fields = fields, .prepare = prepare, .run = run, .measure = measure, .destroy = free};
