#ifndef QL_AVX512VNNI_H
#define QL_AVX512VNNI_H

#include "kernels/kernels.h"

QL_DECLARE_KERNELS(avx512vnni);

#endif
