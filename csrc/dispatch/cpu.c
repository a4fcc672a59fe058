/* CPU features. __builtin_cpu_supports honours the operating system's state (XCR0): a CPU that has AVX-512 under a
 * system that does not save its registers counts as one that has it not. */
#include "dispatch/cpu.h"

#include "qlite.h"

#define NAME(feature, name) name,
static const char *const names[] = {QL_CPU_FEATURES(NAME)};
#undef NAME

#if defined(__x86_64__) || defined(__i386__)
uint32_t ql_cpu_features(void)
{
    uint32_t features = 0;
#define TEST(feature, name) features |= __builtin_cpu_supports(name) ? QL_CPU_##feature : 0;
    QL_CPU_FEATURES(TEST)
#undef TEST
    return features;
}
#elif defined(__aarch64__)
/* Part of the calling convention: what was compiled for it can run only where it is. */
uint32_t ql_cpu_features(void)
{
    return QL_CPU_NEON;
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
