#include "kernels/scalar/scalar.h"

const ql_kernels ql_kernels_scalar = {
    .isa = "scalar",
    .parent = NULL,
    .quantize_f32_x8 = ql_quantize_f32_x8__scalar,
    .dequantize_x8_f32 = ql_dequantize_x8_f32__scalar,
    .fake_quantize_f32 = ql_fake_quantize_f32__scalar,
    .quantize_f32_s32 = ql_quantize_f32_s32__scalar,
    .dequantize_s32_f32 = ql_dequantize_s32_f32__scalar,
    .in_range_f32 = ql_in_range_f32__scalar,
    .minmax_f32 = ql_minmax_f32__scalar,
    .place_f32 = ql_place_f32__scalar,
    .add_errors_f64 = ql_add_errors_f64__scalar,
    .requantize_s32_x8 = ql_requantize_s32_x8__scalar,
    .requantize_fixed_s32_x8 = ql_requantize_fixed_s32_x8__scalar,
    .scale_s32_f32 = ql_scale_s32_f32__scalar,
    .add_outer_s32 = ql_add_outer_s32__scalar,
    .gemm_u8s8s32 = &ql_gemm_u8s8s32__scalar,
    .gemm_f32s8f32 = &ql_gemm_f32s8f32__scalar,
};
