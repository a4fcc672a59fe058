/* Number of threads that there may be. OpenMP's runtime is asked, so that OMP_NUM_THREADS and threadpoolctl, which set
 * it, count here as they do in other libraries; its threads are not used (core/base/parallel.c says why). This file
 * alone is compiled for it. */
#define _POSIX_C_SOURCE 200809L
#define _DARWIN_C_SOURCE /* macOS: the number of CPUs */
#include <stdatomic.h>
#include <unistd.h>

#include "qlite.h"

#ifdef _OPENMP
#include <omp.h>
#endif

static atomic_size_t ceiling; /* 0: not set */

static size_t at_most(size_t limit, long n)
{
    return n < 1 ? 1 : (size_t)n < limit ? (size_t)n : limit;
}

#ifdef _OPENMP

#ifdef __clang__
#define RUNTIME "libomp"
#else
#define RUNTIME "libgomp"
#endif

static size_t cpus(void) /* omp_get_num_procs() knows the thread's affinity */
{
    return at_most(QL_MAX_THREADS, omp_get_num_procs());
}

static size_t openmp_limit(void)
{
    return at_most(QL_MAX_THREADS, omp_get_max_threads());
}

#else

#define RUNTIME NULL

static size_t cpus(void)
{
    return at_most(QL_MAX_THREADS, sysconf(_SC_NPROCESSORS_ONLN));
}

static size_t openmp_limit(void)
{
    return QL_MAX_THREADS;
}

#endif

size_t ql_num_threads(void)
{
    const size_t all = cpus(), openmp = openmp_limit(), set = atomic_load(&ceiling);
    const size_t n = set ? set : all;
    return openmp < all && openmp < n ? openmp : n;
}

ql_status ql_set_num_threads(size_t n, size_t *before)
{
    if (n > QL_MAX_THREADS)
        return QL_EINVAL;
    const size_t last = atomic_exchange(&ceiling, n);
    if (before)
        *before = last;
    return QL_OK;
}

const char *ql_openmp(void)
{
    return RUNTIME;
}
