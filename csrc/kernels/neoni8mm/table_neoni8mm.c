#include "kernels/neondot/neondot.h"
#include "kernels/neoni8mm/neoni8mm.h"

const ql_kernels ql_kernels_neoni8mm = {
    .isa = "neoni8mm",
    .parent = &ql_kernels_neondot,
    .gemm_u8s8s32 = &ql_gemm_u8s8s32__neoni8mm,
    .gemm_u7s8s32 = &ql_gemm_u8s8s32__neoni8mm,
};
