#include "kernels/neon/neon.h"
#include "kernels/scalar/scalar.h"

/* The scalar kernels are compiled for NEON too, which is part of the machine's baseline: here stand those that are
 * better by hand. */
const ql_kernels ql_kernels_neon = {
    .isa = "neon",
    .parent = &ql_kernels_scalar,
    .quantize_f32_x8 = ql_quantize_f32_x8__neon,
    .quantize_rows_f32_x8 = ql_quantize_rows_f32_x8__neon,
    .dequantize_x8_f32 = ql_dequantize_x8_f32__neon,
    .fake_quantize_f32 = ql_fake_quantize_f32__neon,
    .fake_quantize_rows_f32 = ql_fake_quantize_rows_f32__neon,
    .minmax_f32 = ql_minmax_f32__neon,
    .minmax_rows_f32 = ql_minmax_rows_f32__neon,
    .quantize_codebook_f32_u8 = ql_quantize_codebook_f32_u8__neon,
    .dequantize_codebook_u8_f32 = ql_dequantize_codebook_u8_f32__neon,
    .lookup_x8 = ql_lookup_x8__neon,
    .requantize_s32_x8 = ql_requantize_s32_x8__neon,
    .requantize_fixed_s32_x8 = ql_requantize_fixed_s32_x8__neon,
    .gemm_u8s8s32 = &ql_gemm_u8s8s32__neon,
    .gemm_u7s8s32 = &ql_gemm_u8s8s32__neon,
    .gemm_s8s4f32 = &ql_gemm_s8s4f32__neon,
};
