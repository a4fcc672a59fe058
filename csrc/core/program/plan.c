/* A plan runs an integer program in one call: all steps on a block of rows, then the next block, so that what one step
 * writes is still in L2 when the next one reads it. Several blocks run on several threads; where there are fewer blocks
 * than threads, the steps themselves may.
 *
 * A workspace holds every buffer of one block and the steps' own scratch. The plan keeps a few for the next call;
 * threads that find none make their own, and leave them behind where there is room.
 *
 * Whether a float input is finite, the step that reads it finds out on the way: a pass over the input before would cost
 * a network of 784 inputs 6 % of its time. */
#include <float.h>
#include <stdatomic.h>
#include <string.h>

#include "core/base/finite.h"
#include "core/base/memory.h"
#include "core/base/parallel.h"
#include "core/program/step.h"

enum { SPARES = 16 };

#define ADDRESS(kind) &ql_op_##kind,
static const ql_op *const ops[] = {QL_STEP_KINDS(ADDRESS)};
#undef ADDRESS

struct ql_plan {
    const ql_kernels *kernels;
    size_t buffer_count, input, output, step_count;
    ql_buffer *buffers;
    bool *is_written; /* [buffer_count]: the input, and outputs of steps so far, with their row buffers */
    size_t *offset;   /* [buffer_count]: of the buffer in the workspace */
    size_t buffer_bytes, step_bytes;
    ql_step *steps;
    uint64_t cost_ns; /* of a block */
    _Atomic(void *) spares[SPARES];
};

static const ql_op *find_op(const char *kind)
{
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        if (strcmp(ops[i]->kind, kind) == 0)
            return ops[i];
    }
    return NULL;
}

const ql_field *ql_step_fields(const char *kind)
{
    const ql_op *op = find_op(kind);
    return op ? op->fields : NULL;
}

size_t ql_type_size(ql_type type)
{
    return type == QL_U8 || type == QL_S8 ? 1 : 4;
}

static bool is_row_buffer(const ql_buffer *buffers, size_t count, size_t i, ql_type type)
{
    return i < count && buffers[i].type == type && buffers[i].width == 1;
}

static bool buffer_is_valid(const ql_buffer *buffers, size_t count, const ql_buffer *b)
{
    if (b->width == 0 || b->width > PTRDIFF_MAX / (4 * QL_BLOCK_ROWS) / (count + 1))
        return false;
    if (!ql_is_x8(b))
        return b->type == QL_F32 || b->type == QL_S32;
    if (ql_has_row_scale(b))
        return is_row_buffer(buffers, count, b->row_scale, QL_F32) &&
               is_row_buffer(buffers, count, b->row_zero_point, QL_S32);
    const int32_t lowest = b->type == QL_S8 ? -128 : 0;
    return b->scale >= FLT_MIN && b->scale <= FLT_MAX && b->zero_point >= lowest && b->zero_point <= lowest + 255;
}

ql_status ql_plan_new(const ql_buffer *buffers, size_t count, size_t input, size_t output, ql_plan **plan)
{
    if (count == 0 || input >= count || output >= count || input == output)
        return QL_EINVAL;
    for (size_t i = 0; i < count; i++) {
        if (!buffer_is_valid(buffers, count, buffers + i))
            return QL_EINVAL;
    }
    ql_plan *p = calloc(1, sizeof *p);
    if (!p)
        return QL_ENOMEM;
    p->kernels = ql_kernels_active();
    p->buffer_count = count;
    p->input = input;
    p->output = output;
    p->buffers = ql_alloc(count, sizeof *p->buffers);
    p->is_written = calloc(count, sizeof *p->is_written);
    p->offset = ql_alloc(count, sizeof *p->offset);
    if (!p->buffers || !p->is_written || !p->offset) {
        ql_plan_free(p);
        return QL_ENOMEM;
    }
    memcpy(p->buffers, buffers, count * sizeof *buffers);
    p->is_written[input] = true;
    for (size_t i = 0; i < count; i++) {
        p->offset[i] = p->buffer_bytes;
        p->buffer_bytes += ql_round_up(buffers[i].width * ql_type_size(buffers[i].type) * QL_BLOCK_ROWS, QL_ALIGNMENT);
    }
    *plan = p;
    return QL_OK;
}

static bool is_readable(const ql_plan *plan, size_t i)
{
    const ql_buffer *b = plan->buffers + i;
    bool rows = !ql_has_row_scale(b) || (plan->is_written[b->row_scale] && plan->is_written[b->row_zero_point]);
    return plan->is_written[i] && rows;
}

static bool is_writable(const ql_plan *plan, size_t i)
{
    const ql_buffer *b = plan->buffers + i;
    bool rows = !ql_has_row_scale(b) || !(plan->is_written[b->row_scale] || plan->is_written[b->row_zero_point]);
    return !plan->is_written[i] && rows;
}

static void mark_written(ql_plan *plan, size_t i)
{
    const ql_buffer *b = plan->buffers + i;
    plan->is_written[i] = true;
    if (ql_has_row_scale(b)) {
        plan->is_written[b->row_scale] = true;
        plan->is_written[b->row_zero_point] = true;
    }
}

static void drop_spares(ql_plan *plan)
{
    for (size_t i = 0; i < SPARES; i++)
        free(atomic_exchange(plan->spares + i, NULL));
}

ql_status ql_plan_add(ql_plan *plan, const char *kind, const ql_value *values)
{
    const ql_op *op = find_op(kind);
    size_t input = values[0].integer, output = values[1].integer;
    if (!op || input >= plan->buffer_count || output >= plan->buffer_count)
        return QL_EINVAL;
    if (!is_readable(plan, input) || !is_writable(plan, output))
        return QL_EINVAL;

    ql_step *steps = realloc(plan->steps, (plan->step_count + 1) * sizeof *steps);
    if (!steps)
        return QL_ENOMEM;
    plan->steps = steps;
    ql_step *step = steps + plan->step_count;
    *step = (ql_step){.op = op, .input = input, .output = output};
    ql_status status = op->prepare(plan->buffers, values, step);
    if (status != QL_OK)
        return status;
    plan->step_count++;
    plan->cost_ns += step->cost_ns;
    size_t step_bytes = ql_round_up(step->workspace, QL_ALIGNMENT);
    plan->step_bytes = step_bytes > plan->step_bytes ? step_bytes : plan->step_bytes;
    mark_written(plan, output);
    drop_spares(plan);
    return QL_OK;
}

void ql_plan_free(ql_plan *plan)
{
    if (!plan)
        return;
    for (size_t i = 0; i < plan->step_count; i++) {
        if (plan->steps[i].op->destroy)
            plan->steps[i].op->destroy(plan->steps[i].state);
    }
    drop_spares(plan);
    free(plan->steps);
    free(plan->offset);
    free(plan->is_written);
    free(plan->buffers);
    free(plan);
}

static void copy_flipped(uint8_t *to, const uint8_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = from[i] ^ 0x80;
}

static char *take_workspace(ql_plan *plan)
{
    for (size_t i = 0; i < SPARES; i++) {
        if (atomic_load_explicit(plan->spares + i, memory_order_relaxed)) {
            char *spare = atomic_exchange(plan->spares + i, NULL);
            if (spare)
                return spare;
        }
    }
    return ql_alloc(1, plan->buffer_bytes + plan->step_bytes + plan->buffer_count * sizeof(void *));
}

static void leave_workspace(ql_plan *plan, char *workspace)
{
    for (size_t i = 0; i < SPARES; i++) {
        void *none = NULL;
        if (atomic_compare_exchange_strong(plan->spares + i, &none, workspace))
            return;
    }
    free(workspace);
}

/* A call of the plan. */
typedef struct call {
    ql_plan *plan;
    void *const *external;
    size_t rows;
    atomic_bool nonfinite, no_memory;
} call;

/* Signed codes live in the workspace, flipped, even where the caller gave memory for them. Returns whether the input
 * holds NaN or infinity. */
static bool run_rows(const call *c, size_t first, size_t rows, void **data, char *workspace)
{
    const ql_plan *plan = c->plan;
    for (size_t i = 0; i < plan->buffer_count; i++) {
        const ql_buffer *b = plan->buffers + i;
        char *own = workspace + plan->offset[i];
        char *given = c->external[i] ? (char *)c->external[i] + first * b->width * ql_type_size(b->type) : NULL;
        data[i] = given && b->type != QL_S8 ? given : own;
        if (i == plan->input && b->type == QL_S8)
            copy_flipped(data[i], (uint8_t *)given, rows * b->width);
    }
    bool nonfinite = false, ignored;
    const ql_buffer *in = plan->buffers + plan->input;
    if (in->type == QL_F32 && !plan->steps->op->looks)
        nonfinite = !ql_all_finite(plan->kernels, data[plan->input], rows * in->width);
    ql_block block = {plan->kernels, rows, data, workspace + plan->buffer_bytes, NULL};
    for (size_t i = 0; i < plan->step_count && !nonfinite; i++) {
        block.nonfinite = i == 0 ? &nonfinite : &ignored;
        plan->steps[i].op->run(plan->steps + i, plan->buffers, &block);
    }
    for (size_t i = 0; i < plan->buffer_count; i++) {
        const ql_buffer *b = plan->buffers + i;
        if (i != plan->input && c->external[i] && b->type == QL_S8)
            copy_flipped((uint8_t *)c->external[i] + first * b->width, data[i], rows * b->width);
    }
    return nonfinite;
}

static void run_block(void *context, size_t item)
{
    call *c = context;
    const size_t first = item * QL_BLOCK_ROWS, left = c->rows - first;
    char *workspace = take_workspace(c->plan);
    if (!workspace) {
        atomic_store(&c->no_memory, true);
        return;
    }
    void **data = (void **)(workspace + c->plan->buffer_bytes + c->plan->step_bytes);
    if (run_rows(c, first, left < QL_BLOCK_ROWS ? left : QL_BLOCK_ROWS, data, workspace))
        atomic_store(&c->nonfinite, true);
    leave_workspace(c->plan, workspace);
}

ql_status ql_plan_run(ql_plan *plan, void *const *buffers, size_t rows)
{
    if (!plan->is_written[plan->output] || !buffers[plan->input] || !buffers[plan->output])
        return QL_EINVAL;
    call c = {.plan = plan, .external = buffers, .rows = rows};
    const size_t blocks = rows / QL_BLOCK_ROWS + (rows % QL_BLOCK_ROWS != 0);
    uint64_t cost;
    if (__builtin_mul_overflow(plan->cost_ns, blocks, &cost))
        cost = UINT64_MAX;
    const bool in_parallel = blocks > 1 && blocks >= ql_threads_for(cost);
    ql_parallel(blocks, in_parallel ? cost : 0, run_block, &c);
    return c.no_memory ? QL_ENOMEM : c.nonfinite ? QL_ENONFINITE : QL_OK;
}
