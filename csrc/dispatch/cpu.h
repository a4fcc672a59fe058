/* What the CPU and the operating system let us run. */
#ifndef QL_CPU_H
#define QL_CPU_H

#include <stdint.h>

/* Features of this kind of CPU that kernels need, with the compiler's names for them. Tiles are apart: compilers differ
 * in whether they can test for them. */
#ifdef __aarch64__
#define QL_CPU_FEATURES(EACH) \
    EACH(NEON, "neon")        \
    EACH(DOTPROD, "dotprod")  \
    EACH(I8MM, "i8mm")
#else
#define QL_CPU_FEATURES(EACH) \
    QL_CPU_TESTED(EACH)       \
    EACH(AMXTILE, "amx-tile") \
    EACH(AMXINT8, "amx-int8")
#define QL_CPU_TESTED(EACH)        \
    EACH(AVX2, "avx2")             \
    EACH(FMA, "fma")               \
    EACH(AVXVNNI, "avxvnni")       \
    EACH(AVX512F, "avx512f")       \
    EACH(AVX512BW, "avx512bw")     \
    EACH(AVX512VL, "avx512vl")     \
    EACH(AVX512DQ, "avx512dq")     \
    EACH(AVX512VNNI, "avx512vnni") \
    EACH(AVX512VBMI, "avx512vbmi")
#endif

#define QL_CPU_NUMBER(feature, name) QL_CPU_NUMBER_##feature,
enum { QL_CPU_FEATURES(QL_CPU_NUMBER) };
#undef QL_CPU_NUMBER

#define QL_CPU_BIT(feature, name) QL_CPU_##feature = 1u << QL_CPU_NUMBER_##feature,
enum { QL_CPU_FEATURES(QL_CPU_BIT) };
#undef QL_CPU_BIT

/* What needs the system's permission to be used. */
#ifdef __aarch64__
enum { QL_CPU_TILES = 0 };
#else
enum { QL_CPU_TILES = QL_CPU_AMXTILE | QL_CPU_AMXINT8 };
#endif

uint32_t ql_cpu_features(void);

#endif
