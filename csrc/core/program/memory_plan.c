/* Schedules: where buffers lie while some of a plan's steps run, and how many samples go through these together.
 *
 * Memory: a buffer lives from the step that writes it to the last one that reads it, and afterwards its bytes are used
 * again; the buffers that hold its rows' scales and zero points live as long as it does. What the caller gives or wants
 * lies in the caller's memory. Buffers are placed the largest first, each at the lowest offset where it overlaps none
 * that lives at the same time: a chain of equal layers takes two.
 *
 * Samples at once: as many as keep the buffers in BLOCK_BYTES of L2, so that what one step writes is still there when
 * the next one reads it; but where a step has more weights than that, as many as keep the buffers no larger than these,
 * which come from L3 or memory once for every block. Three layers of 4096 x 4096, which make it 96, take 4 % longer
 * with 32, 8 % with 16, 75 % with 4 (AMD Zen 3). Elsewhere it is flat: from 16 on for layers of 1024 x 1024, and from
 * one on for maps of 112 x 112 x 32, of which one at a time takes the least memory. */
#include "core/program/plan.h"

#include "core/base/memory.h"
#include "core/base/sizes.h"

enum { BLOCK_BYTES = 256 * 1024 };

/* The lifetime of a buffer: it begins at 0 where it is given, at i + 1 where the i-th of the steps writes it, and ends
 * at i + 1 where that step is the last to read it. */
typedef struct life {
    size_t begin, end; /* begin QL_NONE: it never lives */
} life;

/* A buffer of the workspace. */
typedef struct resident {
    size_t buffer, sample_bytes, size, offset;
    life life;
} resident;

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

static bool begin_life(const ql_plan *plan, life *lives, size_t i, size_t time, size_t *at_fault)
{
    size_t buffers[3] = {i};
    const size_t count = time ? with_rows(plan, i, buffers) : 1;
    for (size_t j = 0; j < count; j++) {
        life *l = lives + (*at_fault = buffers[j]);
        if (l->begin != QL_NONE)
            return false;
        *l = (life){time, time};
    }
    return true;
}

static bool lengthen_life(const ql_plan *plan, life *lives, size_t i, size_t time, size_t *at_fault)
{
    size_t buffers[3];
    const size_t count = with_rows(plan, i, buffers);
    for (size_t j = 0; j < count; j++) {
        life *l = lives + (*at_fault = buffers[j]);
        if (l->begin == QL_NONE)
            return false;
        l->end = time;
    }
    return true;
}

static bool find_lives(const ql_plan *plan, const ql_part *part, life *lives, size_t *at_fault)
{
    for (size_t i = 0; i < plan->buffer_count; i++)
        lives[i].begin = QL_NONE;
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
        const life *l = lives + (*at_fault = part->wanted.buffers[i]);
        if (l->begin == QL_NONE || l->begin == 0)
            return false;
    }
    return true;
}

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

static void fill_externals(const ql_plan *plan, const ql_part *part, const life *lives, ql_schedule *s)
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

static void fill_turns(const ql_plan *plan, ql_schedule *s)
{
    for (size_t i = 0; i < s->turn_count; i++) {
        const ql_step *step = plan->steps + s->first + i;
        s->turns[i] = (ql_turn){.step = step, .checked = QL_NONE, .copied = QL_NONE};
        const size_t given = find_external(s, step->inputs[0], 0, s->given_count);
        if (step->op->checks_finite && given != QL_NONE && s->externals[given].is_unchecked) {
            s->externals[given].is_unchecked = false;
            s->turns[i].checked = given;
        }
        if (plan->buffers[step->output].type == QL_S8)
            s->turns[i].copied = find_external(s, step->output, s->given_count, s->external_count);
    }
}

/* ---- memory ------------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
    const resident *x = a, *y = b;
    if (x->sample_bytes != y->sample_bytes)
        return x->sample_bytes < y->sample_bytes ? 1 : -1;
    return x->buffer < y->buffer ? -1 : 1;
}

/* Lists the buffers that need a place in the workspace, the largest first; returns how many. */
static size_t find_residents(const ql_plan *plan, const life *lives, const ql_schedule *s, resident *residents)
{
    size_t count = 0;
    for (size_t i = 0; i < plan->buffer_count; i++) {
        const ql_buffer *b = plan->buffers + i;
        const size_t external = find_external(s, i, 0, s->external_count);
        const bool is_copied = b->type == QL_S8 && (lives[i].begin > 0 || lives[i].end > 0);
        if (lives[i].begin != QL_NONE && (external == QL_NONE || is_copied))
            residents[count++] =
                (resident){.buffer = i, .sample_bytes = ql_sample_size(b) * ql_type_size(b->type), .life = lives[i]};
    }
    qsort(residents, count, sizeof *residents, by_size);
    return count;
}

static bool collide(const resident *a, const resident *b)
{
    return a->life.begin <= b->life.end && b->life.begin <= a->life.end && a->offset < b->offset + b->size &&
           b->offset < a->offset + a->size;
}

/* Gives each resident the lowest place that those before it leave; returns the bytes of all. */
static size_t place(resident *residents, size_t count, size_t samples)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        resident *own = residents + i;
        own->size = ql_round_up(samples * own->sample_bytes, QL_ALIGNMENT);
        own->offset = 0;
        for (size_t j = 0; j < i;) {
            const resident *other = residents + j++;
            if (collide(own, other)) {
                own->offset = other->offset + other->size;
                j = 0;
            }
        }
        bytes = own->offset + own->size > bytes ? own->offset + own->size : bytes;
    }
    return bytes;
}

static size_t choose_samples(const ql_plan *plan, const ql_schedule *s, size_t sample_bytes)
{
    const size_t mr = plan->kernels->gemm_u8s8s32->mr;
    size_t room = BLOCK_BYTES;
    for (size_t i = 0; i < s->turn_count; i++)
        room = s->turns[i].step->weight_bytes > room ? s->turns[i].step->weight_bytes : room;
    const size_t fitting = sample_bytes ? room / sample_bytes : QL_MOST_SAMPLES;
    if (fitting >= QL_MOST_SAMPLES)
        return QL_MOST_SAMPLES;
    return fitting > mr ? fitting / mr * mr : fitting ? fitting : 1;
}

static void plan_memory(const ql_plan *plan, const life *lives, resident *residents, ql_schedule *s)
{
    const size_t count = find_residents(plan, lives, s, residents);
    s->samples = choose_samples(plan, s, place(residents, count, 1));
    s->buffer_bytes = place(residents, count, s->samples);
    for (size_t i = 0; i < plan->buffer_count; i++)
        s->offset[i] = QL_NONE;
    for (size_t i = 0; i < count; i++)
        s->offset[residents[i].buffer] = residents[i].offset;
    for (size_t i = 0; i < s->turn_count; i++) {
        const ql_step *step = s->turns[i].step;
        if (!step->op->measure)
            continue;
        const ql_cost cost = step->op->measure(step, plan->buffers, s->samples);
        const size_t bytes = ql_round_up(cost.workspace, QL_ALIGNMENT);
        s->scratch_bytes = bytes > s->scratch_bytes ? bytes : s->scratch_bytes;
        s->cost_ns += cost.ns;
    }
    s->workspace_bytes = s->buffer_bytes + s->scratch_bytes + plan->buffer_count * sizeof(void *);
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
    if (s->turns && s->externals && s->offset)
        return s;
    ql_schedule_free(s);
    return NULL;
}

ql_status ql_schedule_new(const ql_plan *plan, const ql_part *part, ql_schedule **schedule, size_t *at_fault)
{
    ql_schedule *s = NULL;
    life *lives = ql_alloc(plan->buffer_count, sizeof *lives);
    resident *residents = ql_alloc(plan->buffer_count, sizeof *residents);
    ql_status status = lives && residents ? QL_OK : QL_ENOMEM;
    if (status == QL_OK && !find_lives(plan, part, lives, at_fault))
        status = QL_EINVAL;
    if (status != QL_OK)
        goto done;
    s = allocate(plan, part);
    if (!s) {
        status = QL_ENOMEM;
        goto done;
    }
    fill_externals(plan, part, lives, s);
    fill_turns(plan, s);
    plan_memory(plan, lives, residents, s);
    *schedule = s;
done:
    free(residents);
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
    free(s);
}
