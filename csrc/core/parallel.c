/* Threads, by OpenMP where the compiler has it: so OMP_NUM_THREADS and threadpoolctl work as with other libraries, and
 * a process that has several of them shares one pool.
 *
 * Items are taken from an atomic counter: an equal split would wait for the thread that the system runs last.
 *
 * Forks: libgomp's threads do not live on in a forked child, but it waits for them there. The child is told so when it
 * is born, and from then on works alone.
 *
 * Callers that come together share one number of threads: libgomp would give each a pool of its own.
 *
 * Thread sanitizer: libgomp is built without it, so the sanitizer does not see how a region begins and ends. It sees
 * the counter, though. The caller stores it last, each thread reads it first and ends with an addition to it, and the
 * caller reads it again: all else is ordered by these. Only the two pointers that the compiler hands to the threads are
 * read before, in region(), which is therefore not looked at. */
#include "core/parallel.h"

#include "qlite.h"

typedef void task_function(void *context, size_t i);

static void run_alone(task_function *task, void *context, size_t count)
{
    for (size_t i = 0; i < count; i++)
        task(context, i);
}

#ifdef _OPENMP

#include <fenv.h>
#include <omp.h>
#include <pthread.h>
#include <stdatomic.h>

static atomic_size_t ceiling; /* 0: not set */
static atomic_size_t busy;    /* threads that large work runs on now */
static bool is_alone;         /* a forked child */

static void become_alone(void)
{
    is_alone = true;
}

/* When the library is loaded, not when the first region runs: other libraries start libgomp's threads too. */
__attribute__((constructor)) static void watch_forks(void)
{
    is_alone = pthread_atfork(NULL, NULL, become_alone) != 0;
}

static size_t at_most(size_t limit, size_t n)
{
    return n < limit ? n : limit;
}

size_t ql_num_threads(void)
{
    if (is_alone)
        return 1;
    const size_t cpus = (size_t)omp_get_num_procs(), openmp = (size_t)omp_get_max_threads();
    const size_t set = atomic_load(&ceiling);
    const size_t n = at_most(QL_MAX_THREADS, set ? set : cpus);
    return openmp < cpus ? at_most(openmp, n) : n;
}

ql_status ql_set_num_threads(size_t n)
{
    if (n < 1 || n > QL_MAX_THREADS)
        return QL_EINVAL;
    atomic_store(&ceiling, n);
    return QL_OK;
}

#ifdef __clang__
#define RUNTIME "libomp"
#else
#define RUNTIME "libgomp"
#endif

const char *ql_openmp(void)
{
    return RUNTIME;
}

typedef struct work {
    task_function *task;
    void *context;
    size_t count;
    fenv_t environment;
} work;

__attribute__((noinline)) static void take_items(const work *shared, atomic_size_t *next)
{
    (void)atomic_load(next);
    const work w = *shared;
    fenv_t own;
    fegetenv(&own);
    fesetenv(&w.environment);
    for (size_t i; (i = atomic_fetch_add(next, 1)) < w.count;)
        w.task(w.context, i);
    fesetenv(&own);
}

__attribute__((no_sanitize_thread)) static void region(size_t team, const work *w, atomic_size_t *next)
{
#pragma omp parallel num_threads((int)team)
    take_items(w, next);
}

static void run_together(size_t team, work w)
{
    atomic_size_t next;
    fegetenv(&w.environment);
    atomic_store(&next, 0);
    region(team, &w, &next);
    (void)atomic_load(&next);
}

static size_t threads_for(size_t count, uint64_t cost_ns)
{
    const size_t n = ql_num_threads(), others = atomic_load(&busy);
    return n <= others ? 1 : at_most(n - others, at_most(count, (size_t)(cost_ns / QL_SHARE_NS)));
}

void ql_parallel(size_t count, uint64_t cost_ns, task_function *task, void *context)
{
    if (cost_ns < 2 * QL_SHARE_NS || is_alone || omp_in_parallel()) {
        run_alone(task, context, count);
        return;
    }
    const size_t team = threads_for(count, cost_ns);
    atomic_fetch_add(&busy, team);
    if (team > 1)
        run_together(team, (work){.task = task, .context = context, .count = count});
    else
        run_alone(task, context, count);
    atomic_fetch_sub(&busy, team);
}

#else

size_t ql_num_threads(void)
{
    return 1;
}

ql_status ql_set_num_threads(size_t n)
{
    return n < 1 || n > QL_MAX_THREADS ? QL_EINVAL : QL_OK;
}

const char *ql_openmp(void)
{
    return NULL;
}

void ql_parallel(size_t count, uint64_t cost_ns, task_function *task, void *context)
{
    (void)cost_ns;
    run_alone(task, context, count);
}

#endif
