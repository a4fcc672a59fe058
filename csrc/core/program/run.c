/* Running a plan: all steps on a block of samples, then the next block. Several blocks run on several threads; where
 * there are fewer blocks than threads, the steps themselves may. Weights that stay in a thread's L2 anyway cost a small
 * block no more than a large one, and then the samples are shared evenly: two of MobileNetV1 0.25 take two threads half
 * the time, eight of DS-CNN too, whose steps are too short to be shared (AMD Zen 3).
 *
 * A schedule keeps some workspaces for the next call; threads that find none make their own, and leave them behind
 * where there is room.
 *
 * Signed codes live in the workspace, flipped, even where the caller gave memory for them, and are copied out right
 * after their step, since others use their place later.
 *
 * Whether a float input is finite, the step that reads it finds out on the way, if it can: a pass over the input before
 * would cost a network of 784 inputs 6 % of its time. */
#include "core/base/clock.h"
#include "core/base/memory.h"
#include "core/base/parallel.h"
#include "core/base/sizes.h"
#include "core/program/plan.h"

typedef struct call {
    const ql_plan *plan;
    ql_schedule *schedule;
    const void *const *given;
    void *const *wanted;
    size_t samples, at_once;
    uint64_t *ns;        /* [turns], added to; or NULL */
    atomic_size_t fault; /* an external, or QL_NONE */
    atomic_bool no_memory;
} call;

static void **pointers(const ql_schedule *s, char *workspace)
{
    return (void **)(workspace + s->buffer_bytes);
}

static char *take_workspace(const ql_plan *plan, ql_schedule *s)
{
    for (size_t i = 0; i < QL_SPARES; i++) {
        if (atomic_load_explicit(s->spares + i, memory_order_relaxed)) {
            char *spare = atomic_exchange(s->spares + i, NULL);
            if (spare)
                return spare;
        }
    }
    char *workspace = ql_alloc(1, s->workspace_bytes);
    for (size_t i = 0; workspace && i < plan->buffer_count; i++)
        pointers(s, workspace)[i] = s->offset[i] == QL_NONE ? NULL : workspace + s->offset[i];
    return workspace;
}

static void leave_workspace(ql_schedule *s, char *workspace)
{
    for (size_t i = 0; i < QL_SPARES; i++) {
        void *none = NULL;
        if (atomic_compare_exchange_strong(s->spares + i, &none, workspace))
            return;
    }
    free(workspace);
}

static void copy_flipped(uint8_t *to, const uint8_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = from[i] ^ 0x80;
}

static bool are_codes(const int32_t *zero_point, size_t n, ql_type type)
{
    const int32_t lowest = type == QL_U8 ? 0 : type == QL_S8 ? -128 : INT16_MIN;
    const int32_t highest = type == QL_U8 ? 255 : -lowest - 1;
    bool are = true;
    for (size_t i = 0; i < n; i++)
        are &= zero_point[i] >= lowest && zero_point[i] <= highest;
    return are;
}

/* Takes the values of a given buffer, of signed codes a copy with flipped signs; returns whether floats are finite,
 * zero points codes, where the steps do not find out. */
static bool take_given(const call *c, const ql_external *x, const void *given, size_t samples, void *const *data)
{
    if (x->is_flipped) {
        if (x->is_read)
            copy_flipped(data[x->buffer], given, samples * x->sample_bytes);
        return true;
    }
    if (x->is_unchecked)
        return ql_all_finite(c->plan->kernels, given, samples * x->sample_bytes / sizeof(float));
    return x->codes == QL_NONE ||
           are_codes(given, samples * x->sample_bytes / sizeof(int32_t), c->plan->buffers[x->codes].type);
}

/* Returns where the values of the samples from `first` on lie in the caller's memory. */
static char *external_at(const call *c, size_t external, size_t first)
{
    const ql_schedule *s = c->schedule;
    const void *all = external < s->given_count ? c->given[external] : c->wanted[external - s->given_count];
    return (char *)all + first * s->externals[external].sample_bytes;
}

static void find_buffers(const call *c, size_t first, void **data)
{
    const ql_schedule *s = c->schedule;
    for (size_t i = 0; i < s->external_count; i++) {
        if (!s->externals[i].is_flipped)
            data[s->externals[i].buffer] = external_at(c, i, first);
    }
    for (size_t i = 0; i < s->guest_count; i++)
        data[s->guests[i].buffer] = data[s->guests[i].host];
}

/* Runs the steps on some samples; returns the given external whose values are refused, or QL_NONE. */
static size_t run_samples(const call *c, size_t first, size_t samples, char *workspace)
{
    const ql_schedule *s = c->schedule;
    void **data = pointers(s, workspace);
    find_buffers(c, first, data);
    for (size_t i = 0; i < s->given_count; i++) {
        if (!take_given(c, s->externals + i, external_at(c, i, first), samples, data))
            return i;
    }
    bool nonfinite = false;
    int64_t before = c->ns ? ql_now_ns() : 0;
    for (size_t i = 0; i < s->turn_count; i++) {
        const ql_turn *turn = s->turns + i;
        const ql_block block = {c->plan->kernels, samples, data, workspace + turn->scratch, &nonfinite};
        turn->step->op->run(turn->step, c->plan->buffers, &block);
        if (nonfinite && turn->checked != QL_NONE)
            return turn->checked;
        if (turn->copied != QL_NONE)
            copy_flipped((uint8_t *)external_at(c, turn->copied, first), data[turn->step->output],
                         samples * s->externals[turn->copied].sample_bytes);
        if (c->ns) {
            const int64_t now = ql_now_ns();
            c->ns[i] += (uint64_t)(now - before);
            before = now;
        }
    }
    return QL_NONE;
}

static void run_block(void *context, size_t item)
{
    call *c = context;
    const size_t first = item * c->at_once;
    char *workspace = take_workspace(c->plan, c->schedule);
    if (!workspace) {
        atomic_store(&c->no_memory, true);
        return;
    }
    const size_t fault = run_samples(c, first, ql_least(c->at_once, c->samples - first), workspace);
    if (fault != QL_NONE)
        atomic_store(&c->fault, fault);
    leave_workspace(c->schedule, workspace);
}

/* Returns about how long one thread takes for all samples. */
static uint64_t cost_of(const call *c)
{
    const ql_schedule *s = c->schedule;
    const double ns = (double)s->cost_ns * (double)c->samples / (double)s->samples;
    return ns < (double)INT64_MAX ? (uint64_t)ns : INT64_MAX;
}

/* Returns how many samples go at once: no more than the schedule says, and of light weights so many that each thread
 * has as many blocks as the others. */
static size_t share_of(const call *c, size_t threads)
{
    const ql_schedule *s = c->schedule;
    if (threads < 2 || !s->is_light)
        return s->samples;
    const size_t blocks = ql_round_up(ql_divided_up(c->samples, s->samples), threads);
    const size_t share = ql_divided_up(c->samples, blocks), mr = c->plan->kernels->gemm_u8s8s32->mr;
    return ql_least(share > mr ? ql_round_up(share, mr) : share, s->samples);
}

static ql_status run(call *c, size_t *at_fault)
{
    const ql_schedule *s = c->schedule;
    const uint64_t cost = cost_of(c);
    const size_t threads = ql_threads_for(cost);
    c->at_once = share_of(c, threads);
    const size_t blocks = ql_divided_up(c->samples, c->at_once);
    ql_parallel(blocks, blocks > 1 && blocks >= threads ? cost : 0, run_block, c);
    if (c->fault == QL_NONE)
        return c->no_memory ? QL_ENOMEM : QL_OK;
    const ql_external *x = s->externals + c->fault;
    *at_fault = x->buffer;
    return x->codes == QL_NONE ? QL_ENONFINITE : QL_ECODES;
}

ql_status ql_plan_run(ql_plan *plan, const void *const *inputs, void *const *outputs, size_t samples, size_t *at_fault)
{
    if (!plan->whole)
        return QL_EINVAL;
    call c = {plan, plan->whole, inputs, outputs, samples, 0, NULL, QL_NONE, false};
    return run(&c, at_fault);
}

ql_status ql_plan_time(ql_plan *plan, const void *const *inputs, void *const *outputs, size_t samples, uint64_t *ns,
                       size_t *at_fault)
{
    if (!plan->whole)
        return QL_EINVAL;
    memset(ns, 0, plan->step_count * sizeof *ns);
    call c = {plan, plan->whole, inputs, outputs, samples, 0, ns, QL_NONE, false};
    const bool before = ql_work_alone(true);
    const ql_status status = run(&c, at_fault);
    ql_work_alone(before);
    return status;
}

ql_status ql_plan_run_steps(ql_plan *plan, const ql_part *part, const void *const *inputs, void *const *outputs,
                            size_t samples, size_t *at_fault)
{
    *at_fault = QL_NO_BUFFER;
    if (!plan->whole || part->first > part->last || part->last > plan->step_count)
        return QL_EINVAL;
    ql_schedule *schedule = atomic_exchange(&plan->part, NULL);
    if (!schedule || !ql_schedule_is_of(schedule, part)) {
        ql_schedule_free(schedule);
        const ql_status status = ql_schedule_new(plan, part, &schedule, at_fault);
        if (status != QL_OK)
            return status;
    }
    call c = {plan, schedule, inputs, outputs, samples, 0, NULL, QL_NONE, false};
    const ql_status status = run(&c, at_fault);
    ql_schedule_free(atomic_exchange(&plan->part, schedule));
    return status;
}
