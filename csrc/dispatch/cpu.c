/* CPU features. __builtin_cpu_supports honours the operating system's state (XCR0): a CPU that has AVX-512 under a
 * system that does not save its registers counts as one that has it not. */
#include "dispatch/cpu.h"

#include "qlite.h"

static const char *const feature_names[] = {"avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512vnni"};

#if defined(__x86_64__) || defined(__i386__)
uint32_t ql_cpu_features(void)
{
    uint32_t features = 0;
    features |= __builtin_cpu_supports("avx2") ? QL_CPU_AVX2 : 0;
    features |= __builtin_cpu_supports("fma") ? QL_CPU_FMA : 0;
    features |= __builtin_cpu_supports("avx512f") ? QL_CPU_AVX512F : 0;
    features |= __builtin_cpu_supports("avx512bw") ? QL_CPU_AVX512BW : 0;
    features |= __builtin_cpu_supports("avx512vl") ? QL_CPU_AVX512VL : 0;
    features |= __builtin_cpu_supports("avx512dq") ? QL_CPU_AVX512DQ : 0;
    features |= __builtin_cpu_supports("avx512vnni") ? QL_CPU_AVX512VNNI : 0;
    return features;
}
#else
uint32_t ql_cpu_features(void)
{
    return 0;
}
#endif

const char *ql_cpu_feature_name(size_t i)
{
    return i < sizeof feature_names / sizeof *feature_names ? feature_names[i] : NULL;
}

bool ql_cpu_has_feature(size_t i)
{
    return ql_cpu_feature_name(i) && (ql_cpu_features() >> i & 1u);
}
