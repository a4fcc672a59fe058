/* A pool of helping threads, started when they are first needed.
 *
 * The caller is never held up by a helper that does not get a CPU. Helpers come in through a door with as many seats as
 * there is use for them, and take items from an atomic counter. When none are left the caller shuts the door, and waits
 * for those alone who are inside and finish an item; who comes later finds it shut.
 *
 * Helpers that have nothing to do look at the door for a while before they sleep, because to be woken takes them longer
 * than small work takes the caller. Where they sleep they let themselves be woken on any CPU but the caller's: some
 * schedulers would stack them there, where they take its time (two items of 100 us then took 200 us, for seconds on
 * end).
 *
 * A forked child has no helpers, and mutexes in whatever state they were in: it begins anew, with a pool of its own.
 *
 * Why not OpenMP's threads: at the end of a region libgomp waits for every thread of the team, also for those that have
 * not begun. Where the system wakes them on the caller's own CPU, or another program holds theirs, two items of 50 us
 * took 7.8 ms after a pause of 20 ms (here: 0.11 ms, as long as one thread needs; without pauses both take 0.05). A
 * forked child waits for them for ever. And the thread sanitizer does not see its barriers. */
#define _GNU_SOURCE /* CPUs */
#include "core/base/parallel.h"

#include <fenv.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

#include "core/base/clock.h"
#include "core/base/listen.h"
#include "core/base/memory.h"
#include "qlite.h"

enum {
    PATIENCE_NS = 2000000, /* time that a helper looks at the door before it sleeps */
    ASKED_NS = 20000,      /* a single item of less asks nobody: a look at the clock takes 25 */
    INSIDE = 1 << 16,      /* a door is the number of free seats, and this times the helpers inside */
    SEATS = INSIDE - 1,
};

typedef void task_function(void *context, size_t i);

typedef struct work {
    task_function *task;
    void *context;
    size_t count;
    bool is_asked; /* whether the listener is, after an item */
    fenv_t environment;
} work;

static struct {
    _Alignas(QL_ALIGNMENT) atomic_uint door;
    _Alignas(QL_ALIGNMENT) atomic_size_t next;
    _Alignas(QL_ALIGNMENT) atomic_bool is_taken; /* by a caller; the others work alone */
    work work;
    atomic_int caller_cpu;
    size_t helpers;
    atomic_uint asleep;
    pthread_mutex_t mutex;
    pthread_cond_t bell;
} pool = {.mutex = PTHREAD_MUTEX_INITIALIZER, .bell = PTHREAD_COND_INITIALIZER};

static bool forks_are_watched;
static _Thread_local bool is_alone; /* inside a task, or as ql_work_alone was told */

static void begin_anew(void)
{
    atomic_store(&pool.door, 0);
    atomic_store(&pool.is_taken, false);
    atomic_store(&pool.asleep, 0);
    pool.helpers = 0;
    pthread_mutex_init(&pool.mutex, NULL);
    pthread_cond_init(&pool.bell, NULL);
}

__attribute__((constructor)) static void watch_forks(void)
{
    forks_are_watched = pthread_atfork(NULL, NULL, begin_anew) == 0;
}

/* ---- helpers ------------------------------------------------------------------------------------ */

/* The caller may want to stop: then nobody finds any more. */
static void take_items(const work *w)
{
    is_alone = true;
    for (size_t i; (i = atomic_fetch_add(&pool.next, 1)) < w->count;) {
        w->task(w->context, i);
        if (ql_stop_wanted())
            atomic_store(&pool.next, w->count);
    }
    is_alone = false;
}

static bool enter(void)
{
    unsigned door = atomic_load(&pool.door);
    while (door & SEATS) {
        if (atomic_compare_exchange_weak(&pool.door, &door, door - 1 + INSIDE))
            return true;
    }
    return false;
}

/* Leaves the core to its other thread for a moment. */
static void let_others(void)
{
#ifdef __x86_64__
    __builtin_ia32_pause();
#endif
}

static bool enter_in_time(void)
{
    const int64_t end = ql_now_ns() + PATIENCE_NS;
    do {
        if (enter())
            return true;
        let_others();
    } while (ql_now_ns() < end);
    return false;
}

/* The door is opened before `asleep` is read, and `asleep` raised before the door is looked at: no bell goes unheard.
 */
static void sleep_until_called(void)
{
    pthread_mutex_lock(&pool.mutex);
    atomic_fetch_add(&pool.asleep, 1);
    if (!(atomic_load(&pool.door) & SEATS))
        pthread_cond_wait(&pool.bell, &pool.mutex);
    atomic_fetch_sub(&pool.asleep, 1);
    pthread_mutex_unlock(&pool.mutex);
}

#ifdef __linux__

typedef cpu_set_t cpus;

static int this_cpu(void)
{
    return sched_getcpu();
}

static cpus allowed_cpus(void)
{
    cpus allowed;
    CPU_ZERO(&allowed);
    (void)sched_getaffinity(0, sizeof allowed, &allowed);
    return allowed;
}

static void keep_off(int cpu, cpus allowed)
{
    CPU_CLR((size_t)cpu, &allowed);
    if (CPU_COUNT(&allowed) > 0)
        (void)sched_setaffinity(0, sizeof allowed, &allowed);
}

#else

typedef int cpus;

static int this_cpu(void)
{
    return 0;
}

static cpus allowed_cpus(void)
{
    return 0;
}

static void keep_off(int cpu, cpus allowed)
{
    (void)cpu, (void)allowed;
}

#endif

static void *help(void *unused)
{
    const cpus allowed = allowed_cpus();
    keep_off(atomic_load(&pool.caller_cpu), allowed);
    for (;;) {
        if (enter_in_time()) {
            fesetenv(&pool.work.environment);
            take_items(&pool.work);
            atomic_fetch_sub(&pool.door, INSIDE);
        } else {
            keep_off(atomic_load(&pool.caller_cpu), allowed);
            sleep_until_called();
        }
    }
    return unused;
}

/* ---- callers ------------------------------------------------------------------------------------ */

/* Starts helpers until there are n, as far as the system allows. They block all signals, which are for the program's
 * own threads. */
static void have_helpers(size_t n)
{
    if (pool.helpers >= n)
        return;
    sigset_t all, before;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (pool.helpers < n && pthread_create(&thread, NULL, help, NULL) == 0) {
        pthread_detach(thread);
        pool.helpers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void call_helpers(size_t n)
{
    if (atomic_load(&pool.asleep) == 0)
        return;
    pthread_mutex_lock(&pool.mutex);
    for (size_t called = 0; called < n && called < atomic_load(&pool.asleep); called++)
        pthread_cond_signal(&pool.bell);
    pthread_mutex_unlock(&pool.mutex);
}

static void run_together(const work *w, size_t helpers)
{
    atomic_store(&pool.caller_cpu, this_cpu());
    have_helpers(helpers);
    pool.work = *w;
    atomic_store(&pool.next, 0);
    atomic_store(&pool.door, (unsigned)helpers);
    call_helpers(helpers);
    take_items(w);
    atomic_fetch_and(&pool.door, ~(unsigned)SEATS);
    while (atomic_load(&pool.door))
        sched_yield();
}

static void run_alone(const work *w)
{
    for (size_t i = 0; i < w->count && !ql_is_stopped(); i++) {
        w->task(w->context, i);
        if (w->is_asked)
            (void)ql_stop_wanted();
    }
}

bool ql_work_alone(bool alone)
{
    const bool before = is_alone;
    is_alone = alone;
    return before;
}

/* Small work asks nobody: finding out how many CPUs there are takes longer than a small product. */
size_t ql_threads_for(uint64_t cost_ns)
{
    const uint64_t shares = cost_ns / QL_THREAD_NS;
    if (shares < 2 || is_alone || !forks_are_watched)
        return 1;
    const size_t limit = ql_num_threads();
    return shares < limit ? (size_t)shares : limit;
}

void ql_parallel(size_t count, uint64_t cost_ns, task_function *task, void *context)
{
    if (ql_is_stopped())
        return;
    work w = {.task = task, .context = context, .count = count, .is_asked = count > 1 || cost_ns >= ASKED_NS};
    const size_t allowed = ql_threads_for(cost_ns), threads = count < allowed ? count : allowed;
    if (threads < 2 || atomic_exchange(&pool.is_taken, true)) {
        run_alone(&w);
        return;
    }
    fegetenv(&w.environment);
    run_together(&w, threads - 1);
    atomic_store(&pool.is_taken, false);
}
