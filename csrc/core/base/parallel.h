/* Work on several threads. */
#ifndef QL_PARALLEL_H
#define QL_PARALLEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Work that a thread must have, in ns: several times what it costs the caller to wake one. */
enum { QL_THREAD_NS = 25000 };

/* Runs task(context, i) for every i in [0, count), each once, in any order, on the caller and on helpers that take the
 * next i when they are free. cost_ns is about how long all of it takes one thread: there is a thread for every
 * QL_THREAD_NS of it, up to ql_num_threads(). Small work, work inside a task, and what comes while the helpers work for
 * another caller are the caller's alone, i ascending.
 *
 * Results must not depend on who does what: tasks write to places of their own, or add integers. Helpers compute in the
 * caller's floating-point environment. What the caller wrote before, tasks see; what tasks wrote, the caller sees
 * afterwards. A task cannot fail and must not fork. Where the caller's listener wants to stop, items are left out. */
void ql_parallel(size_t count, uint64_t cost_ns, void (*task)(void *context, size_t i), void *context);

/* Has this thread work as inside a task, alone, or no longer; returns what held before. */
bool ql_work_alone(bool alone);

/* Returns how many threads ql_parallel gives work of this cost, if there are enough items: 1 inside a task. */
size_t ql_threads_for(uint64_t cost_ns);

#endif
