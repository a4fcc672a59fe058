/* Schedules: where buffers lie while some of a plan's steps run, and how many samples go through these together.
 *
 * Memory: a buffer lives from the step that writes it to the last one that reads it, a step's scratch during the step,
 * and afterwards their bytes are used again (placement.c); the buffers that hold its rows' scales and zero points live
 * as long as it does. What the caller gives or wants lies in the caller's memory, with what shares its place (lives.c).
 *
 * Samples at once: as many as keep the buffers in BLOCK_BYTES of L2, so that what one step writes is still there when
 * the next one reads it; but where a step has more weights than that, as many as keep the buffers no larger than these,
 * which come from L3 or memory once for every block. Three layers of 4096 x 4096, which make it 96, take 4 % longer
 * with 32, 8 % with 16, 75 % with 4 (AMD Zen 3). Elsewhere it is flat: from 16 on for layers of 1024 x 1024, and from
 * one on for images: MobileNetV1 0.25, ResNet-8, DS-CNN and a small network take 3 % more at most with any of 1 to 48,
 * and one at a time takes the least memory. */
#include "core/base/memory.h"
#include "core/base/sizes.h"
#include "core/program/lives.h"
#include "core/program/placement.h"

enum { BLOCK_BYTES = 256 * 1024 };

/* ---- externals and turns ------------------------------------------------------------------------ */

static size_t find_external(const ql_schedule *s, size_t buffer, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++) {
        if (s->externals[i].buffer == buffer)
            return i;
    }
    return QL_NONE;
}

/* Returns the buffer of the codes whose rows have these zero points, or QL_NONE. */
static size_t codes_of(const ql_plan *plan, size_t zero_points)
{
    for (size_t i = 0; i < plan->buffer_count; i++) {
        if (ql_has_row_scale(plan->buffers + i) && plan->buffers[i].row_zero_point == zero_points)
            return i;
    }
    return QL_NONE;
}

static void fill_externals(const ql_plan *plan, const ql_part *part, const ql_life *lives, ql_schedule *s)
{
    for (size_t i = 0; i < s->external_count; i++) {
        const bool is_given = i < s->given_count;
        const size_t number = is_given ? part->given.buffers[i] : part->wanted.buffers[i - s->given_count];
        const ql_buffer *b = plan->buffers + number;
        const bool is_read = is_given && lives[number].end > 0;
        s->externals[i] = (ql_external){.buffer = number,
                                        .sample_bytes = ql_sample_size(b) * ql_type_size(b->type),
                                        .is_flipped = b->type == QL_S8,
                                        .is_read = is_read,
                                        .is_unchecked = is_read && b->type == QL_F32,
                                        .codes = is_read ? codes_of(plan, number) : QL_NONE};
    }
}

/* A step that checks a buffer which lies in a given one's place checks that: the bytes are the same. */
static void fill_turns(const ql_plan *plan, const ql_life *lives, const ql_place_life *places, ql_schedule *s)
{
    for (size_t i = 0; i < s->turn_count; i++) {
        const ql_step *step = plan->steps + s->first + i;
        s->turns[i] = (ql_turn){.step = step, .checked = QL_NONE, .copied = QL_NONE};
        const size_t read = places[lives[step->inputs[0]].place].keeper;
        const size_t given = find_external(s, read, 0, s->given_count);
        if (step->op->checks_finite && given != QL_NONE && s->externals[given].is_unchecked) {
            s->externals[given].is_unchecked = false;
            s->turns[i].checked = given;
        }
        if (plan->buffers[step->output].type == QL_S8)
            s->turns[i].copied = find_external(s, step->output, s->given_count, s->external_count);
    }
}

/* Lists the buffers that lie in another one's memory, the caller's. */
static void fill_guests(const ql_plan *plan, const ql_life *lives, const ql_place_life *places, ql_schedule *s)
{
    for (size_t i = 0; i < plan->buffer_count; i++) {
        const size_t host = places[lives[i].place].keeper;
        if (host != QL_NONE && host != i)
            s->guests[s->guest_count++] = (ql_guest){i, host};
    }
}

/* ---- memory ------------------------------------------------------------------------------------- */

/* Lists the places of the workspace, or those that a block passes through: these and the ones in the caller's memory
 * that several steps write to. Returns how many. */
static size_t find_residents(const ql_plan *plan, const ql_place_life *places, bool in_workspace, size_t samples,
                             ql_resident *residents)
{
    size_t count = 0;
    for (size_t i = 0; i < plan->buffer_count; i++) {
        const ql_buffer *b = plan->buffers + i;
        const ql_place_life *p = places + i;
        const bool is_used = p->count > 0 && p->begin != QL_NONE && (p->begin > 0 || p->end > 0);
        if (is_used && (p->keeper == QL_NONE || (!in_workspace && p->count > 1 && p->begin > 0)))
            residents[count++] = (ql_resident){
                .id = i,
                .size = ql_round_up(samples * ql_sample_size(b) * ql_type_size(b->type), QL_ALIGNMENT),
                .begin = p->begin,
                .end = p->end,
            };
    }
    return count;
}

static void choose_samples(const ql_plan *plan, size_t sample_bytes, ql_schedule *s)
{
    const size_t mr = plan->kernels->gemm_u8s8s32->mr;
    size_t room = BLOCK_BYTES;
    for (size_t i = 0; i < s->turn_count; i++)
        room = s->turns[i].step->weight_bytes > room ? s->turns[i].step->weight_bytes : room;
    const size_t fitting = ql_least(sample_bytes ? room / sample_bytes : QL_MOST_SAMPLES, QL_MOST_SAMPLES);
    s->is_light = room == BLOCK_BYTES;
    s->samples = fitting == QL_MOST_SAMPLES ? fitting : fitting > mr ? fitting / mr * mr : fitting ? fitting : 1;
}

/* Measures the steps, and appends their scratch. Returns how many residents there are. */
static size_t add_scratch(const ql_plan *plan, ql_schedule *s, ql_resident *residents, size_t count)
{
    for (size_t i = 0; i < s->turn_count; i++) {
        const ql_step *step = s->turns[i].step;
        if (!step->op->measure)
            continue;
        const ql_cost cost = step->op->measure(step, plan->buffers, s->samples);
        s->cost_ns += cost.ns;
        if (cost.workspace > 0)
            residents[count++] = (ql_resident){.id = plan->buffer_count + i,
                                               .size = ql_round_up(cost.workspace, QL_ALIGNMENT),
                                               .begin = i + 1,
                                               .end = i + 1};
    }
    return count;
}

/* residents: room for every buffer and step. */
static void plan_memory(const ql_plan *plan, const ql_life *lives, const ql_place_life *places, ql_resident *residents,
                        ql_schedule *s)
{
    const size_t passed = find_residents(plan, places, false, 1, residents);
    choose_samples(plan, ql_place(residents, passed), s);
    const size_t count = add_scratch(plan, s, residents, find_residents(plan, places, true, s->samples, residents));
    s->buffer_bytes = ql_place(residents, count);
    s->workspace_bytes = s->buffer_bytes + plan->buffer_count * sizeof(void *);
    for (size_t i = 0; i < plan->buffer_count; i++)
        s->offset[i] = QL_NONE;
    for (size_t i = 0; i < count; i++) {
        if (residents[i].id < plan->buffer_count)
            s->offset[residents[i].id] = residents[i].offset;
        else
            s->turns[residents[i].id - plan->buffer_count].scratch = residents[i].offset;
    }
    for (size_t i = 0; i < plan->buffer_count; i++)
        s->offset[i] = s->offset[lives[i].place];
}

/* ---- the schedule ------------------------------------------------------------------------------- */

static ql_schedule *allocate(const ql_plan *plan, const ql_part *part)
{
    ql_schedule *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->first = part->first;
    s->turn_count = part->last - part->first;
    s->given_count = part->given.count;
    s->external_count = part->given.count + part->wanted.count;
    s->turns = ql_alloc(s->turn_count, sizeof *s->turns);
    s->externals = ql_alloc(s->external_count, sizeof *s->externals);
    s->offset = ql_alloc(plan->buffer_count, sizeof *s->offset);
    s->guests = ql_alloc(plan->buffer_count, sizeof *s->guests);
    if (s->turns && s->externals && s->offset && s->guests)
        return s;
    ql_schedule_free(s);
    return NULL;
}

ql_status ql_schedule_new(const ql_plan *plan, const ql_part *part, ql_schedule **schedule, size_t *at_fault)
{
    ql_schedule *s = NULL;
    ql_life *lives = ql_alloc(plan->buffer_count, sizeof *lives);
    ql_place_life *places = ql_alloc(plan->buffer_count, sizeof *places);
    ql_resident *residents = ql_alloc(plan->buffer_count + plan->step_count, sizeof *residents);
    ql_status status = lives && places && residents ? QL_OK : QL_ENOMEM;
    if (status == QL_OK && !ql_find_lives(plan, part, lives, at_fault))
        status = QL_EINVAL;
    if (status != QL_OK)
        goto done;
    s = allocate(plan, part);
    if (!s) {
        status = QL_ENOMEM;
        goto done;
    }
    ql_share_places(plan, part, lives, places);
    fill_externals(plan, part, lives, s);
    fill_turns(plan, lives, places, s);
    fill_guests(plan, lives, places, s);
    plan_memory(plan, lives, places, residents, s);
    *schedule = s;
done:
    free(residents);
    free(places);
    free(lives);
    return status;
}

static bool selects(const ql_external *externals, ql_selection selection)
{
    for (size_t i = 0; i < selection.count; i++) {
        if (externals[i].buffer != selection.buffers[i])
            return false;
    }
    return true;
}

bool ql_schedule_is_of(const ql_schedule *s, const ql_part *part)
{
    return s->first == part->first && s->turn_count == part->last - part->first &&
           s->given_count == part->given.count && s->external_count == part->given.count + part->wanted.count &&
           selects(s->externals, part->given) && selects(s->externals + s->given_count, part->wanted);
}

void ql_schedule_free(ql_schedule *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < QL_SPARES; i++)
        free(atomic_exchange(s->spares + i, NULL));
    free(s->turns);
    free(s->externals);
    free(s->offset);
    free(s->guests);
    free(s);
}
