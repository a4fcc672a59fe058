#include "kernels/avx2/avx2.h"
#include "kernels/scalar/scalar.h"

const ql_kernels ql_kernels_avx2 = {
    .isa = "avx2",
    .parent = &ql_kernels_scalar,
    .quantize_f32_x8 = ql_quantize_f32_x8__avx2,
    .dequantize_x8_f32 = ql_dequantize_x8_f32__avx2,
    .fake_quantize_f32 = ql_fake_quantize_f32__avx2,
    .quantize_f32_s32 = ql_quantize_f32_s32__avx2,
    .dequantize_s32_f32 = ql_dequantize_s32_f32__avx2,
    .in_range_f32 = ql_in_range_f32__avx2,
    .minmax_f32 = ql_minmax_f32__avx2,
    .add_moments_f32 = ql_add_moments_f32__avx2,
    .place_f32 = ql_place_f32__avx2,
    .add_errors_f64 = ql_add_errors_f64__avx2,
    .quantize_codebook_f32_u8 = ql_quantize_codebook_f32_u8__avx2,
    .dequantize_codebook_u8_f32 = ql_dequantize_codebook_u8_f32__avx2,
    .pack_bits_x8 = ql_pack_bits_x8__avx2,
    .unpack_bits_x8 = ql_unpack_bits_x8__avx2,
    .histogram_slots_f32 = ql_histogram_slots_f32__avx2,
    .requantize_s32_x8 = ql_requantize_s32_x8__avx2,
    .requantize_fixed_s32_x8 = ql_requantize_fixed_s32_x8__avx2,
    .scale_s32_f32 = ql_scale_s32_f32__avx2,
    .add_outer_s32 = ql_add_outer_s32__avx2,
    .peak_u8s8s32 = ql_peak_u8s8s32__avx2,
    .gemm_u8s8s32 = &ql_gemm_u8s8s32__avx2,
    .gemm_f32s8f32 = &ql_gemm_f32s8f32__avx2,
};
