/* Lives, and places that are shared.
 *
 * A step that leaves the bytes of its input as they are has its output lie there: the place lives as long as both. A
 * step that works element by element writes over an input that nobody reads afterwards. What the caller gave is never
 * written over, what it wants not after its step; of two buffers in the caller's memory none can lie in the other's
 * place, and the step copies. */
#include "core/program/lives.h"

#include <assert.h>

/* ---- lives -------------------------------------------------------------------------------------- */

/* Lists a buffer and those that hold its rows' scales and zero points; returns how many. */
static size_t with_rows(const ql_plan *plan, size_t i, size_t buffers[3])
{
    const ql_buffer *b = plan->buffers + i;
    buffers[0] = i;
    buffers[1] = b->row_scale;
    buffers[2] = b->row_zero_point;
    return ql_has_row_scale(b) ? 3 : 1;
}

static bool begin_life(const ql_plan *plan, ql_life *lives, size_t i, size_t time, size_t *at_fault)
{
    size_t buffers[3] = {i};
    const size_t count = time ? with_rows(plan, i, buffers) : 1;
    for (size_t j = 0; j < count; j++) {
        ql_life *l = lives + (*at_fault = buffers[j]);
        if (l->begin != QL_NONE)
            return false;
        l->begin = l->end = time;
    }
    return true;
}

static bool lengthen_life(const ql_plan *plan, ql_life *lives, size_t i, size_t time, size_t *at_fault)
{
    size_t buffers[3];
    const size_t count = with_rows(plan, i, buffers);
    for (size_t j = 0; j < count; j++) {
        ql_life *l = lives + (*at_fault = buffers[j]);
        if (l->begin == QL_NONE)
            return false;
        l->end = time;
    }
    return true;
}

bool ql_find_lives(const ql_plan *plan, const ql_part *part, ql_life *lives, size_t *at_fault)
{
    for (size_t i = 0; i < plan->buffer_count; i++)
        lives[i] = (ql_life){.begin = QL_NONE, .place = i};
    for (size_t i = 0; i < part->given.count; i++) {
        if (!begin_life(plan, lives, part->given.buffers[i], 0, at_fault))
            return false;
    }
    for (size_t i = part->first; i < part->last; i++) {
        const ql_step *step = plan->steps + i;
        const size_t time = i - part->first + 1;
        for (size_t j = 0; j < step->input_count; j++) {
            if (!lengthen_life(plan, lives, step->inputs[j], time, at_fault))
                return false;
        }
        if (!begin_life(plan, lives, step->output, time, at_fault))
            return false;
    }
    for (size_t i = 0; i < part->wanted.count; i++) {
        const ql_life *l = lives + (*at_fault = part->wanted.buffers[i]);
        if (l->begin == QL_NONE || l->begin == 0)
            return false;
    }
    return true;
}

/* ---- places ------------------------------------------------------------------------------------- */

static size_t sample_bytes(const ql_plan *plan, size_t i)
{
    return ql_sample_size(plan->buffers + i) * ql_type_size(plan->buffers[i].type);
}

/* Buffers in the caller's memory keep their place; of signed codes the workspace holds a copy. */
static void find_keepers(const ql_plan *plan, ql_selection selection, ql_place_life *places)
{
    for (size_t i = 0; i < selection.count; i++) {
        const size_t buffer = selection.buffers[i];
        if (plan->buffers[buffer].type != QL_S8)
            places[buffer].keeper = buffer;
    }
}

/* Returns whether a step at this time may write where such a buffer lies. */
static bool may_share(const ql_step *step, size_t time, const ql_place_life *from, const ql_place_life *output)
{
    const bool is_kept = from->keeper != QL_NONE;
    if (step->op->sharing == QL_SAME_BYTES)
        return !is_kept || output->keeper == QL_NONE;
    return step->op->sharing == QL_OVER_INPUT && !is_kept && from->end == time;
}

static void join(ql_life *lives, ql_place_life *places, size_t input, size_t output)
{
    ql_place_life *to = places + lives[input].place, *from = places + output;
    to->end = from->end > to->end ? from->end : to->end;
    to->keeper = to->keeper == QL_NONE ? from->keeper : to->keeper;
    to->count++;
    from->count = 0;
    lives[output].place = lives[input].place;
}

void ql_share_places(const ql_plan *plan, const ql_part *part, ql_life *lives, ql_place_life *places)
{
    for (size_t i = 0; i < plan->buffer_count; i++)
        places[i] = (ql_place_life){lives[i].begin, lives[i].end, 1, QL_NONE};
    find_keepers(plan, part->given, places);
    find_keepers(plan, part->wanted, places);
    for (size_t i = part->first; i < part->last; i++) {
        const ql_step *step = plan->steps + i;
        const size_t y = step->output;
        assert(lives[y].place == y);
        for (size_t j = 0; j < step->input_count && lives[y].place == y; j++) {
            const size_t x = step->inputs[j];
            if (sample_bytes(plan, x) == sample_bytes(plan, y) &&
                may_share(step, i - part->first + 1, places + lives[x].place, places + y))
                join(lives, places, x, y);
        }
    }
}
