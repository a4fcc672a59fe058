/* CPU features. __builtin_cpu_supports honours the operating system's state (XCR0): a CPU that has AVX-512 under a
 * system that does not save its registers counts as one that has it not. */
#include "dispatch/cpu.h"

#include "dispatch/permission.h"
#include "qlite.h"

#define NAME(feature, name) name,
static const char *const names[] = {QL_CPU_FEATURES(NAME)};
#undef NAME

#if defined(__x86_64__) || defined(__i386__)
uint32_t ql_cpu_features(void)
{
    uint32_t features = ql_tiles_exist() ? QL_CPU_TILES : 0;
#define TEST(feature, name) features |= __builtin_cpu_supports(name) ? QL_CPU_##feature : 0;
    QL_CPU_TESTED(TEST)
#undef TEST
    return features;
}
#elif defined(__aarch64__)
#if defined(__linux__)
#include <sys/auxv.h>

static uint32_t optional_features(void)
{
    uint32_t features = 0;
#ifdef HWCAP_ASIMDDP
    features |= getauxval(AT_HWCAP) & HWCAP_ASIMDDP ? QL_CPU_DOTPROD : 0;
#endif
#ifdef HWCAP2_I8MM
    features |= getauxval(AT_HWCAP2) & HWCAP2_I8MM ? QL_CPU_I8MM : 0;
#endif
    return features;
}
#elif defined(__APPLE__)
#include <sys/sysctl.h>

static bool has(const char *feature)
{
    int32_t value = 0;
    size_t size = sizeof value;
    return sysctlbyname(feature, &value, &size, NULL, 0) == 0 && value;
}

static uint32_t optional_features(void)
{
    return (has("hw.optional.arm.FEAT_DotProd") ? QL_CPU_DOTPROD : 0) |
           (has("hw.optional.arm.FEAT_I8MM") ? QL_CPU_I8MM : 0);
}
#else
static uint32_t optional_features(void)
{
    return 0;
}
#endif

/* NEON is part of the calling convention: what was compiled for it can run only where it is. */
uint32_t ql_cpu_features(void)
{
    return QL_CPU_NEON | optional_features();
}
#else
uint32_t ql_cpu_features(void)
{
    return 0;
}
#endif

const char *ql_cpu_feature_name(size_t i)
{
    return i < sizeof names / sizeof *names ? names[i] : NULL;
}

bool ql_cpu_has_feature(size_t i)
{
    return ql_cpu_feature_name(i) && (ql_cpu_features() >> i & 1u);
}
