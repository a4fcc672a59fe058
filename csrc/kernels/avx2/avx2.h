#ifndef QL_AVX2_H
#define QL_AVX2_H

#include "kernels/kernels.h"

QL_DECLARE_KERNELS(avx2);

#endif
