#include "kernels/avx2/avx2.h"
#include "kernels/avx512vnni/avx512vnni.h"

const ql_kernels ql_kernels_avx512vnni = {
    .isa = "avx512vnni",
    .parent = &ql_kernels_avx2,
    .quantize_f32_x8 = ql_quantize_f32_x8__avx512vnni,
    .dequantize_x8_f32 = ql_dequantize_x8_f32__avx512vnni,
    .fake_quantize_f32 = ql_fake_quantize_f32__avx512vnni,
    .quantize_f32_s32 = ql_quantize_f32_s32__avx512vnni,
    .dequantize_s32_f32 = ql_dequantize_s32_f32__avx512vnni,
    .in_range_f32 = ql_in_range_f32__avx512vnni,
    .minmax_f32 = ql_minmax_f32__avx512vnni,
    .add_moments_f32 = ql_add_moments_f32__avx512vnni,
    .place_f32 = ql_place_f32__avx512vnni,
    .add_errors_f64 = ql_add_errors_f64__avx512vnni,
    .quantize_codebook_f32_u8 = ql_quantize_codebook_f32_u8__avx512vnni,
    .dequantize_codebook_u8_f32 = ql_dequantize_codebook_u8_f32__avx512vnni,
    .histogram_slots_f32 = ql_histogram_slots_f32__avx512vnni,
    .requantize_s32_x8 = ql_requantize_s32_x8__avx512vnni,
    .requantize_fixed_s32_x8 = ql_requantize_fixed_s32_x8__avx512vnni,
    .scale_s32_f32 = ql_scale_s32_f32__avx512vnni,
    .add_outer_s32 = ql_add_outer_s32__avx512vnni,
    .sum_groups_s8_s32 = ql_sum_groups_s8_s32__avx512vnni,
    .gemm_u8s8s32 = &ql_gemm_u8s8s32__avx512vnni,
    .gemm_u7s8s32 = &ql_gemm_u8s8s32__avx512vnni,
    .gemm_f32s8f32 = &ql_gemm_f32s8f32__avx512vnni,
    .gemm_s8s4f32 = &ql_gemm_s8s4f32__avx512vnni,
};
