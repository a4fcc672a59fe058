/* A plan and its schedules, seen from inside. */
#ifndef QL_PLAN_H
#define QL_PLAN_H

#include <stdatomic.h>

#include "core/program/step.h"

#define QL_NONE SIZE_MAX

/* The most samples that go through the steps together. */
enum { QL_MOST_SAMPLES = 96 };

/* A buffer in the caller's memory. */
typedef struct ql_external {
    size_t buffer, sample_bytes;
    bool is_flipped;   /* s8: the steps work on a copy with flipped sign bits */
    bool is_read;      /* given, and read by a step */
    bool is_unchecked; /* given floats that are read, but by no step that checks them */
    size_t codes;      /* whose rows have these given zero points; QL_NONE: they are no zero points */
} ql_external;

/* A step that is to run. */
typedef struct ql_turn {
    const ql_step *step;
    size_t checked; /* the external that it checks, or QL_NONE */
    size_t copied;  /* the external that its result is copied to, or QL_NONE */
    size_t scratch; /* the offset of its workspace in the block's */
} ql_turn;

/* A buffer that lies in the memory of another one, the caller's. */
typedef struct ql_guest {
    size_t buffer, host;
} ql_guest;

enum { QL_SPARES = 16 };

/* A way to run some of a plan's steps on given buffers: where each buffer lies, how many samples go at once. */
typedef struct ql_schedule {
    size_t first, turn_count, given_count, external_count, guest_count;
    ql_turn *turns;
    ql_external *externals; /* given, then wanted */
    ql_guest *guests;
    size_t *offset; /* [buffers]: in a workspace; QL_NONE: not there */
    size_t samples;
    /* A workspace holds the buffers of so many samples and the scratch of the steps, then a pointer to every buffer. */
    size_t buffer_bytes, workspace_bytes;
    uint64_t cost_ns;                  /* of so many samples */
    bool is_light;                     /* no step has more weights than fit L2 */
    _Atomic(void *) spares[QL_SPARES]; /* workspaces for the next call */
} ql_schedule;

struct ql_plan {
    const ql_kernels *kernels;
    size_t buffer_count, step_count;
    ql_buffer *buffers;
    bool *is_written; /* [buffer_count]: inputs, and outputs of the steps so far, with their row buffers */
    ql_step *steps;
    ql_selection inputs, outputs; /* in one allocation, at inputs.buffers */
    ql_schedule *whole;           /* NULL before ql_plan_finish */
    _Atomic(ql_schedule *) part;  /* of the last ql_plan_run_steps, for the next one; or NULL */
};

/* Makes the schedule of a part. QL_EINVAL and *at_fault as in ql_plan_run_steps. */
ql_status ql_schedule_new(const ql_plan *plan, const ql_part *part, ql_schedule **schedule, size_t *at_fault);
void ql_schedule_free(ql_schedule *schedule);

/* Returns whether it is the schedule of this part. */
bool ql_schedule_is_of(const ql_schedule *schedule, const ql_part *part);

#endif
