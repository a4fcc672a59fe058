#ifndef QL_AVX512VBMI_H
#define QL_AVX512VBMI_H

#include "kernels/kernels.h"

QL_DECLARE_KERNELS(avx512vbmi);

#endif
