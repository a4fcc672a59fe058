/* A plan: the steps of an integer program, each prepared once for the buffers that it reads and writes. memory_plan.c
 * says where the buffers lie, run.c runs the steps. */
#include "core/program/plan.h"

#include <assert.h>
#include <string.h>

#include "core/base/memory.h"

#define ADDRESS(kind) &ql_op_##kind,
static const ql_op *const ops[] = {QL_STEP_KINDS(ADDRESS)};
#undef ADDRESS

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
    switch (type) {
    case QL_S8:
    case QL_U8:
        return 1;
    case QL_S16:
        return 2;
    default:
        return 4;
    }
}

/* ---- buffers ------------------------------------------------------------------------------------ */

/* Returns whether the sizes of `count` such buffers, for as many samples as ever go at once, can be added. */
static bool shape_is_valid(const ql_buffer *b, size_t count)
{
    size_t left = PTRDIFF_MAX / (4 * QL_MOST_SAMPLES) / (count + 1);
    if (b->rank > QL_MAX_RANK)
        return false;
    for (size_t i = 0; i < b->rank; i++) {
        if (b->shape[i] == 0 || b->shape[i] > left)
            return false;
        left /= b->shape[i];
    }
    return true;
}

/* Returns whether buffer i can hold one value of this type for each row of the codes, or for each sample. */
static bool is_of_rows(const ql_buffer *buffers, size_t count, size_t i, ql_type type, const ql_buffer *codes)
{
    return i < count && buffers[i].type == type && ql_row_length(buffers + i) == 1 && codes->rank > 0 &&
           buffers[i].rank == codes->rank && (ql_have_same_rows(buffers + i, codes) || ql_row_count(buffers + i) == 1);
}

static bool grid_is_valid(const ql_buffer *b)
{
    const int32_t half = b->type == QL_S16 ? 1 << 15 : 1 << (b->bits - 1);
    const int32_t lowest = b->type == QL_U8 ? 0 : -half, highest = lowest + 2 * half - 1;
    return b->scale >= FLT_MIN && b->scale <= FLT_MAX && b->zero_point >= lowest && b->zero_point <= highest;
}

/* Buffers whose shapes are valid. */
static bool buffer_is_valid(const ql_buffer *buffers, size_t count, const ql_buffer *b)
{
    const bool has_rows = ql_has_row_scale(b) || b->row_zero_point != QL_NO_BUFFER;
    if (b->bits != 8 && (b->bits < 1 || b->bits > 8 || has_rows || !ql_is_x8(b)))
        return false;
    if (b->type == QL_F32 || b->type == QL_S32)
        return !has_rows;
    if (!has_rows)
        return grid_is_valid(b);
    return is_of_rows(buffers, count, b->row_scale, QL_F32, b) &&
           is_of_rows(buffers, count, b->row_zero_point, QL_S32, b) &&
           ql_have_same_shape(buffers + b->row_scale, buffers + b->row_zero_point);
}

static bool selection_is_valid(ql_selection selection, size_t count)
{
    for (size_t i = 0; i < selection.count; i++) {
        if (selection.buffers[i] >= count)
            return false;
        for (size_t j = 0; j < i; j++) {
            if (selection.buffers[i] == selection.buffers[j])
                return false;
        }
    }
    return selection.count > 0;
}

/* Whether codes have scales or zero points of their rows in a buffer that other codes before them have. */
static bool shares_rows(const ql_buffer *buffers, size_t i)
{
    for (size_t j = 0; ql_has_row_scale(buffers + i) && j < i; j++) {
        if (ql_has_row_scale(buffers + j) &&
            (buffers[j].row_scale == buffers[i].row_scale || buffers[j].row_zero_point == buffers[i].row_zero_point))
            return true;
    }
    return false;
}

ql_status ql_plan_new(const ql_buffer *buffers, size_t count, ql_selection inputs, ql_selection outputs, ql_plan **plan)
{
    for (size_t i = 0; i < count; i++) {
        if (!shape_is_valid(buffers + i, count))
            return QL_EINVAL;
    }
    for (size_t i = 0; i < count; i++) {
        if (!buffer_is_valid(buffers, count, buffers + i) || shares_rows(buffers, i))
            return QL_EINVAL;
    }
    if (!selection_is_valid(inputs, count) || !selection_is_valid(outputs, count))
        return QL_EINVAL;
    ql_plan *p = calloc(1, sizeof *p);
    if (!p)
        return QL_ENOMEM;
    p->kernels = ql_kernels_active();
    p->buffer_count = count;
    p->buffers = ql_alloc(count, sizeof *p->buffers);
    p->is_written = calloc(count, sizeof *p->is_written);
    size_t *selected = ql_alloc(inputs.count + outputs.count, sizeof *selected);
    p->inputs = (ql_selection){inputs.count, selected};
    if (!p->buffers || !p->is_written || !selected) {
        ql_plan_free(p);
        return QL_ENOMEM;
    }
    p->outputs = (ql_selection){outputs.count, selected + inputs.count};
    memcpy(selected, inputs.buffers, inputs.count * sizeof *selected);
    memcpy(selected + inputs.count, outputs.buffers, outputs.count * sizeof *selected);
    memcpy(p->buffers, buffers, count * sizeof *buffers);
    for (size_t i = 0; i < inputs.count; i++)
        p->is_written[inputs.buffers[i]] = true;
    *plan = p;
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
    ql_schedule_free(plan->whole);
    ql_schedule_free(plan->part);
    free(plan->steps);
    free((size_t *)plan->inputs.buffers);
    free(plan->is_written);
    free(plan->buffers);
    free(plan);
}

/* ---- steps -------------------------------------------------------------------------------------- */

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

/* Returns whether every value is of a kind that its field wants, and the first two are buffers of the plan. */
static bool kinds_fit(const ql_plan *plan, const ql_op *op, const ql_value *values)
{
    for (size_t i = 0; op->fields[i].name; i++) {
        if (((int)values[i].kind & op->fields[i].kinds) == 0)
            return false;
    }
    const size_t count = values[0].buffers.count;
    bool are_buffers =
        (count == 0) == op->reads_nothing && count <= QL_MAX_INPUTS && values[1].buffer < plan->buffer_count;
    for (size_t i = 0; are_buffers && i < count; i++)
        are_buffers = values[0].buffers.items[i] < plan->buffer_count;
    return are_buffers;
}

ql_status ql_plan_add(ql_plan *plan, const char *kind, const ql_value *values)
{
    const ql_op *op = find_op(kind);
    if (!op || plan->whole || !kinds_fit(plan, op, values) || !is_writable(plan, values[1].buffer))
        return QL_EINVAL;
    for (size_t i = 0; i < values[0].buffers.count; i++) {
        if (!is_readable(plan, values[0].buffers.items[i]))
            return QL_EINVAL;
    }
    ql_step *steps = realloc(plan->steps, (plan->step_count + 1) * sizeof *steps);
    if (!steps)
        return QL_ENOMEM;
    plan->steps = steps;
    ql_step *step = steps + plan->step_count;
    *step = (ql_step){.op = op, .input_count = values[0].buffers.count, .output = values[1].buffer};
    memcpy(step->inputs, values[0].buffers.items, sizeof step->inputs);
    const ql_status status = op->prepare(plan->buffers, values, step);
    if (status != QL_OK)
        return status;
    plan->step_count++;
    mark_written(plan, step->output);
    return QL_OK;
}

ql_status ql_plan_finish(ql_plan *plan, size_t *at_fault)
{
    if (plan->whole)
        return QL_OK;
    const ql_part all = {.last = plan->step_count, .given = plan->inputs, .wanted = plan->outputs};
    return ql_schedule_new(plan, &all, &plan->whole, at_fault);
}

/* ---- update ------------------------------------------------------------------------------------- */

/* Gives some buffers of a plan other grids, in a table of their own. */
static bool regrid(const ql_plan *plan, const ql_regrid *grids, size_t count, ql_buffer *buffers)
{
    memcpy(buffers, plan->buffers, plan->buffer_count * sizeof *buffers);
    for (size_t i = 0; i < count; i++) {
        if (grids[i].buffer >= plan->buffer_count)
            return false;
        ql_buffer *b = buffers + grids[i].buffer;
        b->scale = grids[i].scale;
        b->zero_point = grids[i].zero_point;
        if (b->type == QL_F32 || b->type == QL_S32 || ql_has_row_scale(b) || !grid_is_valid(b))
            return false;
    }
    return true;
}

static bool touches(const ql_step *step, size_t buffer)
{
    bool does = step->output == buffer;
    for (size_t i = 0; i < step->input_count; i++)
        does |= step->inputs[i] == buffer;
    return does;
}

/* Returns the first step that would keep something of an old grid, or the number of steps. */
static size_t find_forgotten(const ql_plan *plan, const ql_regrid *grids, size_t grid_count, const ql_revalue *steps,
                             size_t step_count)
{
    for (size_t i = 0; i < plan->step_count; i++) {
        bool is_updated = !plan->steps[i].op->update;
        for (size_t j = 0; j < step_count; j++)
            is_updated |= steps[j].step == i;
        for (size_t j = 0; !is_updated && j < grid_count; j++) {
            if (touches(plan->steps + i, grids[j].buffer))
                return i;
        }
    }
    return plan->step_count;
}

/* Checks the values of steps[i], none of which may come twice: an update uses up what its check computed. */
static ql_status check_values(const ql_plan *plan, const ql_buffer *buffers, const ql_revalue *steps, size_t i)
{
    const ql_revalue *change = steps + i;
    if (change->step >= plan->step_count)
        return QL_EINVAL;
    for (size_t j = 0; j < i; j++) {
        if (steps[j].step == change->step)
            return QL_EINVAL;
    }
    const ql_step *s = plan->steps + change->step;
    const ql_value *values = change->values;
    if (!s->op->update || !kinds_fit(plan, s->op, values) || values[1].buffer != s->output ||
        values[0].buffers.count != s->input_count ||
        memcmp(values[0].buffers.items, s->inputs, s->input_count * sizeof *s->inputs) != 0)
        return QL_EINVAL;
    return s->op->check(buffers, values, s);
}

ql_status ql_plan_update(ql_plan *plan, const ql_regrid *grids, size_t grid_count, const ql_revalue *steps,
                         size_t step_count, size_t *at_fault)
{
    *at_fault = plan->step_count;
    ql_buffer *buffers = ql_alloc(plan->buffer_count, sizeof *buffers);
    if (!buffers)
        return QL_ENOMEM;
    ql_status status = regrid(plan, grids, grid_count, buffers) ? QL_OK : QL_EINVAL;
    for (size_t i = 0; status == QL_OK && i < step_count; i++) {
        *at_fault = steps[i].step;
        status = check_values(plan, buffers, steps, i);
    }
    if (status == QL_OK) {
        *at_fault = find_forgotten(plan, grids, grid_count, steps, step_count);
        status = *at_fault == plan->step_count ? QL_OK : QL_EINVAL;
    }
    if (status == QL_OK) {
        memcpy(plan->buffers, buffers, plan->buffer_count * sizeof *buffers);
        for (size_t i = 0; i < step_count; i++) {
            ql_step *s = plan->steps + steps[i].step;
            s->op->update(plan->buffers, steps[i].values, s);
        }
    }
    free(buffers);
    return status;
}

/* ---- properties --------------------------------------------------------------------------------- */

size_t ql_plan_step_count(const ql_plan *plan)
{
    return plan->step_count;
}

const char *ql_plan_step_kind(const ql_plan *plan, size_t i)
{
    return i < plan->step_count ? plan->steps[i].op->kind : NULL;
}

size_t ql_plan_buffer_count(const ql_plan *plan)
{
    return plan->buffer_count;
}

const ql_buffer *ql_plan_buffer(const ql_plan *plan, size_t i)
{
    assert(i < plan->buffer_count);
    return plan->buffers + i;
}

ql_selection ql_plan_inputs(const ql_plan *plan)
{
    return plan->inputs;
}

ql_selection ql_plan_outputs(const ql_plan *plan)
{
    return plan->outputs;
}

size_t ql_plan_samples(const ql_plan *plan)
{
    return plan->whole ? plan->whole->samples : 0;
}

size_t ql_plan_workspace_bytes(const ql_plan *plan)
{
    return plan->whole ? plan->whole->buffer_bytes : 0;
}
