#include "kernels/avx2/avx2.h"
#include "kernels/avxvnni/avxvnni.h"

const ql_kernels ql_kernels_avxvnni = {
    .isa = "avxvnni",
    .parent = &ql_kernels_avx2,
    .peak_u8s8s32 = ql_peak_u8s8s32__avxvnni,
    .gemm_u8s8s32 = &ql_gemm_u8s8s32__avxvnni,
    .gemm_u7s8s32 = &ql_gemm_u8s8s32__avxvnni,
};
