/* What the CPU and the operating system let us run. */
#ifndef QL_CPU_H
#define QL_CPU_H

#include <stdint.h>

enum {
    QL_CPU_AVX2 = 1u << 0,
    QL_CPU_FMA = 1u << 1,
    QL_CPU_AVX512F = 1u << 2,
    QL_CPU_AVX512BW = 1u << 3,
    QL_CPU_AVX512VL = 1u << 4,
    QL_CPU_AVX512DQ = 1u << 5,
    QL_CPU_AVX512VNNI = 1u << 6,
};

uint32_t ql_cpu_features(void);

#endif
