/* Work on several threads. */
#ifndef QL_PARALLEL_H
#define QL_PARALLEL_H

#include <stddef.h>
#include <stdint.h>

/* What a further thread must save to be woken up for: about what that takes if it has gone to sleep. */
enum { QL_SHARE_NS = 25000 };

/* Runs task(context, i) for every i in [0, count), each once, in any order, on threads that take the next i when they
 * are free; the caller is one of them. cost_ns is about how long all of it takes one thread: there is a thread for
 * every QL_SHARE_NS of it, up to ql_num_threads(), less those that other callers' work keeps busy. Small work, work
 * inside a task that several threads run, and all work of a forked child or of a build without OpenMP are the caller's
 * alone, i ascending.
 *
 * Results must not depend on who does what: tasks write to places of their own, or add integers. Every thread computes
 * in the caller's floating-point environment. What the caller wrote before, tasks see; what tasks wrote, the caller
 * sees afterwards. */
void ql_parallel(size_t count, uint64_t cost_ns, void (*task)(void *context, size_t i), void *context);

#endif
