#include "kernels/neon/neon.h"
#include "kernels/neondot/neondot.h"

const ql_kernels ql_kernels_neondot = {
    .isa = "neondot",
    .parent = &ql_kernels_neon,
    .gemm_u8s8s32 = &ql_gemm_u8s8s32__neondot,
    .gemm_u7s8s32 = &ql_gemm_u7s8s32__neondot,
};
