#ifndef QL_LOWER_EMULATED_H
#define QL_LOWER_EMULATED_H

#include "kernels/kernels.h"

extern const ql_gemm_kernels ql_gemm_u8s8s32__emulated;
extern const ql_gemm_grouped_kernels ql_gemm_s8s4f32__emulated;

#endif
