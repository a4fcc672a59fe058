/* Permission to use tiles. The state is one number without a lock: threads may ask at the same time, and the answer
 * that is noted first counts for all; a fork in the middle of a question leaves nothing behind. A child inherits the
 * answer as it inherits the permission; exec loses both. */
#define _GNU_SOURCE /* syscall */
#include "dispatch/permission.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "qlite.h"

typedef enum state {
    UNSEEN, /* nobody has looked */
    NO_AMX,
    NO_PALETTE,
    NO_STATE,
    NO_QUESTION,
    NOT_ASKED,
    GRANTED,
    REFUSED, /* from here on: REFUSED + errno */
} state;

static atomic_int known;

#if defined(__x86_64__) && defined(__linux__)
#include <signal.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ARCH_REQ_XCOMP_PERM = 0x1023, TILE_DATA = 18 }; /* the number of a part of the registers' state */

/* Returns 0 or an error number: ENOSPC if a thread's signal stack is too small (Linux 5.16 and newer). */
static int ask_linux(void)
{
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0 ? 0 : errno;
}
#endif

#ifdef QL_EMULATE_AMX

/* Tiles in plain C (tests): there is no hardware to look for. A real question comes first, which a filter of system
 * calls may forbid. A system that does not know tiles says so before it looks at signal stacks, so the calling thread's
 * is looked at here. */
static state look(void)
{
    return NOT_ASKED;
}

static int ask(void)
{
#if defined(__x86_64__) && defined(__linux__)
    enum { TILE_BYTES = 8192 };
    const int error = ask_linux();
    if (error && error != EOPNOTSUPP && error != EINVAL)
        return error;
    stack_t stack;
    const bool has_stack = sigaltstack(NULL, &stack) == 0 && !(stack.ss_flags & SS_DISABLE);
    return has_stack && stack.ss_size < getauxval(AT_MINSIGSTKSZ) + TILE_BYTES ? ENOSPC : 0;
#else
    return 0;
#endif
}

#elif defined(__x86_64__)
#include <cpuid.h>

typedef struct registers {
    uint32_t a, b, c, d;
} registers;

/* Zeros where there is no such leaf. */
static registers cpuid(uint32_t leaf, uint32_t part)
{
    registers r = {0, 0, 0, 0};
    (void)__get_cpuid_count(leaf, part, &r.a, &r.b, &r.c, &r.d);
    return r;
}

/* XCR0: the parts of the registers' state that the system keeps for a thread. */
__attribute__((target("xsave"))) static uint64_t kept_state(void)
{
    const uint32_t osxsave = 1u << 27;
    return cpuid(1, 0).c & osxsave ? __builtin_ia32_xgetbv(0) : 0;
}

/* The compiler's own test of the features is not used: clang has no name for them, and there are virtual machines that
 * report tiles and no palette. */
static state look(void)
{
    const uint32_t tile_and_int8 = 3u << 24, config_and_data = 3u << 17;
    if ((cpuid(7, 0).d & tile_and_int8) != tile_and_int8)
        return NO_AMX;
    const registers palette = cpuid(0x1d, 1);
    const bool is_ours = cpuid(0x1d, 0).a >= 1 && palette.a == (1024u << 16 | 8192) && palette.b == (8u << 16 | 64) &&
                         (palette.c & 0xffff) == 16; /* 8 tiles of 16 rows of 64 bytes */
    if (!is_ours)
        return NO_PALETTE;
    if ((kept_state() & config_and_data) != config_and_data)
        return NO_STATE;
#ifdef __linux__
    return NOT_ASKED;
#else
    return NO_QUESTION;
#endif
}

static int ask(void)
{
#ifdef __linux__
    return ask_linux();
#else
    return ENOSYS;
#endif
}

#else

static state look(void)
{
    return NO_AMX;
}

static int ask(void)
{
    return ENOSYS;
}

#endif

/* Whoever is first sets it. */
static int settle(int from, int to)
{
    return atomic_compare_exchange_strong(&known, &from, to) ? to : from;
}

static int current(void)
{
    const int now = atomic_load_explicit(&known, memory_order_relaxed);
    return now == UNSEEN ? settle(UNSEEN, look()) : now;
}

bool ql_tiles_exist(void)
{
    return current() >= NOT_ASKED;
}

bool ql_tiles_refused(void)
{
    return atomic_load_explicit(&known, memory_order_relaxed) >= REFUSED;
}

bool ql_tiles_permission(void)
{
    const int now = current();
    if (now != NOT_ASKED)
        return now == GRANTED;
    const int error = ask();
    return settle(NOT_ASKED, error ? REFUSED + error : GRANTED) == GRANTED;
}

static const char *refusal_text(int error)
{
    switch (error) {
    case ENOSPC:
    case ENOMEM:
        return "refused: a signal stack is too small";
    case EPERM:
    case EACCES:
        return "refused: a filter forbids the system call";
    case EINVAL:
    case ENOSYS:
    case EOPNOTSUPP:
        return "refused: the system does not know tiles";
    default:
        return "refused: the system does not say why";
    }
}

const char *ql_tiles_text(void)
{
    const int now = current();
    switch (now) {
    case NO_AMX:
        return "absent: the CPU has no tiles";
    case NO_PALETTE:
        return "absent: the CPU names no palette of eight tiles of 1 KB";
    case NO_STATE:
        return "absent: the system does not keep tiles";
    case NO_QUESTION:
        return "absent: the system gives no permission";
    case NOT_ASKED:
        return "not asked yet";
    case GRANTED:
        return "granted";
    default:
        return refusal_text(now - REFUSED);
    }
}
