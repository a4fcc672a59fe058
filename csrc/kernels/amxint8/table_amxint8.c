#include "kernels/amxint8/amxint8.h"
#ifdef QL_EMULATE_AMX
#include "kernels/avx2/avx2.h"
#define PARENT ql_kernels_avx2
#else
#include "kernels/avx512vbmi/avx512vbmi.h"
#define PARENT ql_kernels_avx512vbmi
#endif

const ql_kernels ql_kernels_amxint8 = {
    .isa = "amxint8",
    .parent = &PARENT,
    .gemm_u8s8s32 = &ql_gemm_u8s8s32__amxint8,
    .gemm_u7s8s32 = &ql_gemm_u8s8s32__amxint8,
    .gemm_s8s4f32 = &ql_gemm_s8s4f32__amxint8,
    .peak_u8s8s32 = ql_peak_u8s8s32__amxint8,
};
