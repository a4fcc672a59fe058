/* The table of kernels: one field per kernel, its contract above its type, one table per instruction set.
 *
 * Every kernel gives the same bits as the scalar one, for every input. Kernels trust their arguments, never read or
 * write past the lengths they are given, and never allocate. A length of 0 is allowed everywhere. A NULL field is
 * inherited from the parent; scalar is complete.
 */
#ifndef QL_KERNELS_H
#define QL_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qlite.h"

/* codes[i] = clamp(rint(x[i] / scale), qmin - z, qmax - z) + z as one byte; NaN gives z. Returns whether x holds NaN or
 * an infinity. scale and z are scale[i / group], zero_point[i / group]; group is 0 only if n is. */
typedef bool ql_quantize_kernel(const float *x, size_t n, const float *scale, const int32_t *zero_point, size_t group,
                                int32_t qmin, int32_t qmax, uint8_t *codes);

/* x[i] = float(codes[i] - z) * scale; codes are int8 if is_signed. group as above. */
typedef void ql_dequantize_kernel(const uint8_t *codes, size_t n, bool is_signed, const float *scale,
                                  const int32_t *zero_point, size_t group, float *x);

/* y[i] = float(int(clamp(rint(x[i] / scale), qmin - z, qmax - z))) * scale: never -0. y may be x. Returns whether x
 * held NaN or an infinity. group as above. */
typedef bool ql_fake_quantize_kernel(const float *x, size_t n, const float *scale, const int32_t *zero_point,
                                     size_t group, int32_t qmin, int32_t qmax, float *y);

/* As ql_quantize_kernel, by any rounding, to codes of up to 16 bits, as int32. For QL_ROUND_STOCHASTIC x[i] is element
 * first + i of the data, key is the seed's (ql_rounding in qlite.h), and n below 2^32. */
typedef bool ql_quantize_s32_kernel(const float *x, size_t n, const float *scale, const int32_t *zero_point,
                                    size_t group, int32_t qmin, int32_t qmax, ql_rounding rounding, uint64_t key,
                                    uint64_t first, int32_t *codes);

/* x[i] = float(codes[i] - z) * scale, of codes of up to 16 bits. group as above. */
typedef void ql_dequantize_s32_kernel(const int32_t *codes, size_t n, const float *scale, const int32_t *zero_point,
                                      size_t group, float *x);

/* inside[i] = qmin <= rint(x[i] / scale) + z <= qmax; NaN: false. group as above. */
typedef void ql_in_range_kernel(const float *x, size_t n, const float *scale, const int32_t *zero_point, size_t group,
                                int32_t qmin, int32_t qmax, bool *inside);

/* min[i / group] = least of itself and x[i], max the greatest; NaN is passed over. Returns whether there was one. The
 * sign of a zero result is not defined. */
typedef bool ql_minmax_kernel(const float *x, size_t n, size_t group, float *min, float *max);

/* Where a value lies on a grid: QL_CODE_PLACES places per code, from that of qmin on, of which the first QL_SUB_BINS
 * are eighths of its cell. A fault: it is clipped (then QL_MOVED may be set too), or has not the nearest code. */
enum { QL_SUB_BINS = 8, QL_CODE_PLACES = QL_SUB_BINS + 1, QL_CLIPPED = 1, QL_MOVED = 2 };

/* place[i] and fault[i] of w[i], by the rules of ql_error in qlite.h, and value[i] = (code[i] - z[i]) * scale[i].
 * Returns whether there was a fault. code and zero_point are integers of 16 bits. No two arrays overlap. */
typedef bool ql_place_kernel(const float *w, const float *code, size_t n, const float *scale, const float *zero_point,
                             int32_t qmin, int32_t qmax, float *value, int32_t *place, int32_t *fault);

enum { QL_LANES = 8 };

/* The first six fields f of ql_error, with e = w - value: the contribution of element i is added to
 * sums[f * stride + i], with fold to sums[f * stride + i % QL_LANES]; of `greatest` the greater is kept. */
typedef void ql_add_errors_kernel(const float *w, const float *value, const int32_t *fault, size_t n, bool fold,
                                  double *sums, size_t stride);

/* Rule A (ql_requantize_s32_x8 in qlite.h) on a tile of rows x cols: multiplier[cols]. */
typedef void ql_requantize_kernel(const int32_t *acc, size_t acc_stride, size_t rows, size_t cols,
                                  const float *multiplier, int32_t zero_point, int32_t qmin, int32_t qmax,
                                  uint8_t *codes, size_t codes_stride);

/* Rule B on a tile: mantissa[cols], exponent[cols]. */
typedef void ql_requantize_fixed_kernel(const int32_t *acc, size_t acc_stride, size_t rows, size_t cols,
                                        const int32_t *mantissa, const int32_t *exponent, int32_t zero_point,
                                        int32_t qmin, int32_t qmax, uint8_t *codes, size_t codes_stride);

/* y[i][j] = max((float(acc[i][j]) * row_scale[i]) * scale[j] + offset[j], low), max(v, low) = v < low ? low : v. */
typedef void ql_scale_kernel(const int32_t *acc, size_t acc_stride, size_t rows, size_t cols, const float *row_scale,
                             const float *scale, const float *offset, float low, float *y, size_t y_stride);

/* acc[i][j] += row[i] * col[j], modulo 2^32. */
typedef void ql_add_outer_kernel(int32_t *acc, size_t acc_stride, size_t rows, size_t cols, const int32_t *row,
                                 const int32_t *col);

/* A tile of mr x nr int32 sums from packed weights:
 *     c[i * c_stride + j] = init[j] + sum_{p < k} a[i][p] * b[p][j]        (modulo 2^32)
 * a: mr rows, a_stride bytes apart, each of k elements: u8 if a_size is 1; s16 with values 0..255, padded with zeros to
 * a multiple of kr, if a_size is 2. b: one panel, s8, laid out [ceil(k / kr)][nr][kr] and padded with zeros, aligned to
 * 64 bytes. init: nr values. All nr columns are written. */
typedef void ql_gemm_ukernel(size_t k, const void *a, size_t a_stride, const int8_t *b, const int32_t *init, int32_t *c,
                             size_t c_stride);

/* Kernel and block sizes travel together: nobody else knows mr, nr, kr. */
typedef struct ql_gemm_kernels {
    size_t mr, nr, kr;                    /* rows and columns of the largest tile; k is packed in groups of kr */
    size_t a_size;                        /* bytes per element of a */
    ql_gemm_ukernel *const *ukernel;      /* [mr + 1]: ukernel[i] computes i rows; [0] is NULL */
    ql_gemm_ukernel *const *half_ukernel; /* the same for the first nr / 2 columns of a panel alone; may be NULL */
} ql_gemm_kernels;

/* A tile of mr x nr float32 results from packed 8-bit weights:
 *     y[i * y_stride + j] = max(s * scale[j] + offset[j], low),  s = fma(x[i][p], float(b[p][j] - zero_point[j]), s)
 * with p ascending and s starting at 0; the last multiply and add round separately.
 * x: mr rows, x_stride elements apart. b: one panel [k][nr] s8, aligned to 64 bytes. zero_point, scale, offset: nr
 * values. All nr columns are written. max(v, low) is v < low ? low : v: NaN stays NaN. */
typedef void ql_gemm_f32_ukernel(size_t k, const float *x, size_t x_stride, const int8_t *b, const int32_t *zero_point,
                                 const float *scale, const float *offset, float low, float *y, size_t y_stride);

typedef struct ql_gemm_f32_kernels {
    size_t mr, nr;
    ql_gemm_f32_ukernel *const *ukernel; /* [mr + 1] */
} ql_gemm_f32_kernels;

/* No tile is larger than this: callers hold one on the stack. */
enum { QL_MAX_MR = 16, QL_MAX_NR = 64 };

typedef struct ql_kernels {
    const char *isa;
    const struct ql_kernels *parent;
    ql_quantize_kernel *quantize_f32_x8;
    ql_dequantize_kernel *dequantize_x8_f32;
    ql_fake_quantize_kernel *fake_quantize_f32;
    ql_quantize_s32_kernel *quantize_f32_s32;
    ql_dequantize_s32_kernel *dequantize_s32_f32;
    ql_in_range_kernel *in_range_f32;
    ql_minmax_kernel *minmax_f32;
    ql_place_kernel *place_f32;
    ql_add_errors_kernel *add_errors_f64;
    ql_requantize_kernel *requantize_s32_x8;
    ql_requantize_fixed_kernel *requantize_fixed_s32_x8;
    ql_scale_kernel *scale_s32_f32;
    ql_add_outer_kernel *add_outer_s32;
    const ql_gemm_kernels *gemm_u8s8s32;
    const ql_gemm_f32_kernels *gemm_f32s8f32;
} ql_kernels;

/* The table that serves calls now: complete, nothing NULL. */
const ql_kernels *ql_kernels_active(void);

/* What a folder of kernels may define; each folder's header declares its own. */
#define QL_DECLARE_KERNELS(isa)                                   \
    extern const ql_kernels ql_kernels_##isa;                     \
    ql_quantize_kernel ql_quantize_f32_x8__##isa;                 \
    ql_dequantize_kernel ql_dequantize_x8_f32__##isa;             \
    ql_fake_quantize_kernel ql_fake_quantize_f32__##isa;          \
    ql_quantize_s32_kernel ql_quantize_f32_s32__##isa;            \
    ql_dequantize_s32_kernel ql_dequantize_s32_f32__##isa;        \
    ql_in_range_kernel ql_in_range_f32__##isa;                    \
    ql_minmax_kernel ql_minmax_f32__##isa;                        \
    ql_place_kernel ql_place_f32__##isa;                          \
    ql_add_errors_kernel ql_add_errors_f64__##isa;                \
    ql_requantize_kernel ql_requantize_s32_x8__##isa;             \
    ql_requantize_fixed_kernel ql_requantize_fixed_s32_x8__##isa; \
    ql_scale_kernel ql_scale_s32_f32__##isa;                      \
    ql_add_outer_kernel ql_add_outer_s32__##isa;                  \
    extern const ql_gemm_kernels ql_gemm_u8s8s32__##isa;          \
    extern const ql_gemm_f32_kernels ql_gemm_f32s8f32__##isa

#endif
