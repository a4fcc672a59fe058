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

/* to[j][i] = from[i][j] for i < rows, j < cols, of elements of 1, 2, 4 or 8 bytes. Strides are in bytes, from row to
 * row on either side, and may be negative; from and to do not overlap. */
typedef void ql_transpose_kernel(const void *from, ptrdiff_t from_stride, size_t rows, size_t cols, size_t size,
                                 void *to, ptrdiff_t to_stride);

/* codes[i] = clamp(rint(x[i] / scale), qmin - z, qmax - z) + z as one byte; NaN gives z. Returns whether x holds NaN or
 * an infinity. scale and z are scale[i / group], zero_point[i / group]; group is 0 only if n is. */
typedef bool ql_quantize_kernel(const float *x, size_t n, const float *scale, const int32_t *zero_point, size_t group,
                                int32_t qmin, int32_t qmax, uint8_t *codes);

/* The same for rows of n, one after the other, with a scale and a zero point for each column. */
typedef bool ql_quantize_rows_kernel(const float *x, size_t rows, size_t n, const float *scale,
                                     const int32_t *zero_point, int32_t qmin, int32_t qmax, uint8_t *codes);

/* x[i] = float(codes[i] - z) * scale; codes are int8 if is_signed. group as above. */
typedef void ql_dequantize_kernel(const uint8_t *codes, size_t n, bool is_signed, const float *scale,
                                  const int32_t *zero_point, size_t group, float *x);

/* y[i] = float(int(clamp(rint(x[i] / scale), qmin - z, qmax - z))) * scale: never -0. y may be x. Returns whether x
 * held NaN or an infinity. group as above. */
typedef bool ql_fake_quantize_kernel(const float *x, size_t n, const float *scale, const int32_t *zero_point,
                                     size_t group, int32_t qmin, int32_t qmax, float *y);

/* The same for rows of n, as in ql_quantize_rows_kernel. */
typedef bool ql_fake_quantize_rows_kernel(const float *x, size_t rows, size_t n, const float *scale,
                                          const int32_t *zero_point, int32_t qmin, int32_t qmax, float *y);

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

/* The same of rows of n, one after the other, with a range for each column: min[j] and max[j]. */
typedef bool ql_minmax_rows_kernel(const float *x, size_t rows, size_t n, float *min, float *max);

/* The sums of x[i], its square and its magnitude in each group, by the rule of ql_moments_f32 in qlite.h, are added to
 * sum[i / group], square and magnitude. */
typedef void ql_add_moments_kernel(const float *x, size_t n, size_t group, double *sum, double *square,
                                   double *magnitude);

/* Where a value lies on a grid: QL_CODE_SLOTS slots per code, from that of qmin on, of which the first QL_SUB_BINS are
 * eighths of its cell. Marks: it is clipped (then QL_MOVED may be set too), or has not the nearest code. */
enum { QL_SUB_BINS = 8, QL_CODE_SLOTS = QL_SUB_BINS + 1, QL_CLIPPED = 1, QL_MOVED = 2 };

/* slot[i] and mark[i] of w[i], by the rules of ql_error in qlite.h, and value[i] = (code[i] - z[i]) * scale[i].
 * Returns whether there was a mark. code and zero_point are integers of 16 bits. No two arrays overlap. */
typedef bool ql_error_slots_kernel(const float *w, const float *code, size_t n, const float *scale,
                                   const float *zero_point, int32_t qmin, int32_t qmax, float *value, int32_t *slot,
                                   int32_t *mark);

enum { QL_LANES = 8 };

/* The first six fields f of ql_error, with e = w - value: the contribution of element i is added to
 * sums[f * stride + i], with fold to sums[f * stride + i % QL_LANES]; of `greatest` the greater is kept. */
typedef void ql_add_errors_kernel(const float *w, const float *value, const int32_t *mark, size_t n, bool fold,
                                  double *sums, size_t stride);

/* How codes follow from ranks: the same; folded as the bits of floats are, code = leaf >= fold ? leaf - fold :
 * mirror - leaf; or any other way. */
typedef enum ql_code_order { QL_CODES_IN_ORDER, QL_CODES_FOLDED, QL_CODES_ANY } ql_code_order;

/* A codebook as a search tree over t = x / scale. Node 1 is the root, the children of node i are 2i and 2i + 1, and t
 * goes to the second if t >= threshold[i]; NaN, which fills the tree up, is greater than everything. `levels` steps
 * lead to the leaf 2^levels + rank, and code[rank] is the code, whatever the order. */
typedef struct ql_codebook_tree {
    int levels; /* 4..8 */
    ql_code_order order;
    int32_t fold, mirror;   /* of QL_CODES_FOLDED */
    const float *threshold; /* [2^levels], [0] unused, aligned to 64 bytes */
    const int32_t *code;    /* [2^levels], aligned to 64 bytes */
} ql_codebook_tree;

/* codes[i] = the tree's code for x[i] / scale[i / group]; NaN counts as 0. Returns whether x holds NaN or an infinity.
 * group is 0 only if n is. */
typedef bool ql_quantize_codebook_kernel(const float *x, size_t n, const float *scale, size_t group,
                                         const ql_codebook_tree *tree, uint8_t *codes);

/* x[i] = scale[i / group] * values[codes[i]]; values: 2^levels of them, levels in 4..8, aligned to 64 bytes;
 * all codes are below 2^levels. group as above. */
typedef void ql_dequantize_codebook_kernel(const uint8_t *codes, size_t n, const float *scale, size_t group,
                                           const float *values, int levels, float *x);

/* The low `bits` (1..7) of n codes, one after the other, low bits first, into ceil(n * bits / 8) bytes; the last is
 * filled up with zeros. Returns all codes or-ed together, negative ones (is_signed) as ~code. */
typedef uint8_t ql_pack_bits_kernel(const uint8_t *codes, size_t n, bool is_signed, int bits, uint8_t *packed);

/* The reverse, of n codes that begin with the first byte. */
typedef void ql_unpack_bits_kernel(const uint8_t *packed, size_t n, bool is_signed, int bits, uint8_t *codes);

/* y[i] = table[x[i]], of 256 entries. y may be x. */
typedef void ql_lookup_kernel(const uint8_t *x, size_t n, const uint8_t *table, uint8_t *y);

/* y[i] = function(y[i] + bias[i]), or function(y[i]) where bias is NULL; not of softmax. */
typedef void ql_apply_kernel(const float *bias, size_t n, ql_function function, float *y);

/* y[i] = e[i] * float(1 / sum(e)) with e[i] = exp(y[i] - max(y)), in place, of each row of n; the sum in double, by the
 * rule of ql_moments_f32. */
typedef void ql_softmax_kernel(size_t rows, size_t n, float *y);

/* y[i] = float((x[i] - mean) / sqrt(variance + epsilon)) * gamma[i] + beta[i], the first factor as a product with the
 * rounded reciprocal; mean and variance in double, the latter of the differences from the mean, both sums by the rule
 * of ql_moments_f32; of each row of n. y does not overlap x. */
typedef void ql_layer_norm_kernel(const float *x, size_t rows, size_t n, const float *gamma, const float *beta,
                                  double epsilon, float *y);

/* gradient[i][j] *= the function's slope at z[i][j], sums[j] = sum_i gradient[i][j], i ascending, of n columns in rows
 * that are `stride` apart; z as in ql_function_gradient_f32. Not of softmax. */
typedef void ql_function_gradient_kernel(const float *z, size_t rows, size_t n, size_t stride, ql_function function,
                                         float *gradient, float *sums);

/* n windows of the same form, of rows x cols pixels of `channels` codes each: pixel p of row r of window i begins at
 * x + i * step + r * row_stride + p * channels. rows and cols are at least 1. y does not overlap x. */
typedef struct ql_windows {
    size_t n, step, row_stride, rows, cols, channels;
} ql_windows;

/* How bytes hold codes: u8, s8, or s8 with the sign bit flipped, as a plan holds them. DOWNWARD: u8 from 255 down,
 * whose greatest is the least byte; not of averages. */
typedef enum ql_byte_form { QL_BYTES_U8, QL_BYTES_S8, QL_BYTES_S8_FLIPPED, QL_BYTES_DOWNWARD } ql_byte_form;

/* y[i][c] = the greatest code of channel c in window i. */
typedef void ql_max_pool_kernel(const uint8_t *x, const ql_windows *windows, ql_byte_form form, uint8_t *y);

/* y[i][c] = the mean of the codes of channel c in window i, rounded half away from zero. rows * cols < 2^23. */
typedef void ql_avg_pool_kernel(const uint8_t *x, const ql_windows *windows, ql_byte_form form, uint8_t *y);

/* sum[i][c] = start + the sum of the bytes of channel c in window i; every sum fits int32. */
typedef void ql_sum_windows_kernel(const uint8_t *x, const ql_windows *windows, int32_t start, int32_t *sum);

/* A place of a result between two neighbours along an axis: where they begin, and how near the second one is. */
typedef struct ql_tap {
    uint32_t first, second, weight;
} ql_tap;

/* Pixels between pixels of a row: line[j][c] = x[first_j + c] * (2^bits - weight_j) + x[second_j + c] * weight_j for
 * j < n, c < channels; weights are at most 2^bits, with bits <= 8 for lines of 16 bits and <= 11 for those of 32. */
typedef void ql_stretch_narrow_kernel(const uint8_t *x, const ql_tap *taps, size_t n, size_t channels, int bits,
                                      uint16_t *line);
typedef void ql_stretch_kernel(const uint8_t *x, const ql_tap *taps, size_t n, size_t channels, int bits,
                               int32_t *line);

/* How two lines become one of codes; weight <= 2^bits, bits <= shift, shift >= 1; 255 * 2^shift and half of 2^shift
 * more fit the lines' type. */
typedef struct ql_mix {
    uint32_t weight;
    int bits, shift;
    int32_t middle;
} ql_mix;

/* y[i] = s / 2^shift, rounded to the nearest, where s = a[i] * (2^bits - weight) + b[i] * weight; of ties up, but down
 * where s is below `middle`. */
typedef void ql_mix_narrow_kernel(const uint16_t *a, const uint16_t *b, size_t n, const ql_mix *mix, uint8_t *y);
typedef void ql_mix_kernel(const int32_t *a, const int32_t *b, size_t n, const ql_mix *mix, uint8_t *y);

/* How codes on two grids become one on a third. */
typedef struct ql_addition {
    int32_t factor[2], start; /* every sum fits int32 */
    int32_t shift;            /* 0..31 */
    int32_t zero_point, qmin, qmax;
} ql_addition;

/* y[i] = clamp(((start + a[i] * factor[0] + b[i] * factor[1]) >> shift) + zero_point, qmin, qmax). y may be a or b. */
typedef void ql_add_kernel(const uint8_t *a, const uint8_t *b, size_t n, const ql_addition *addition, uint8_t *y);

/* Terms of a sum in fixed point, one for each of two grids. */
typedef struct ql_fixed_terms {
    int32_t zero_point[2];
    int32_t mantissa[2], exponent[2]; /* ql_quantize_multiplier's of at most 1/2 */
    bool is_negative;                 /* the second one is subtracted */
} ql_fixed_terms;

/* sum[i] = t(a[i]) +- t(b[i]) with t(x) = rdbpot(srdhm((x - zero_point) << 20, mantissa), -exponent), each by its own
 * grid: rule B of ql_requantize_s32_x8 in qlite.h. */
typedef void ql_add_fixed_kernel(const uint8_t *a, const uint8_t *b, size_t n, const ql_fixed_terms *terms,
                                 int32_t *sum);

/* From here on the product of any codes but 0 is clamped, and every product fits int32. */
#define QL_MOST_FACTOR 0x1p15f

/* How codes on two grids, multiplied, become one on a third. */
typedef struct ql_multiplication {
    int32_t input_zero_point[2];
    float factor; /* 0..QL_MOST_FACTOR */
    int32_t zero_point, qmin, qmax;
} ql_multiplication;

/* y[i] = clamp(rint(float(p[i]) * factor) + zero_point, qmin, qmax) with the products p[i] = (a[i] -
 * input_zero_point[0]) * (b[i] - input_zero_point[1]): rule A of ql_requantize_s32_x8 in qlite.h. y may be a or b. */
typedef void ql_multiply_kernel(const uint8_t *a, const uint8_t *b, size_t n, const ql_multiplication *grids,
                                uint8_t *y);

/* These products; of the grids it reads input_zero_point alone. */
typedef void ql_multiply_s32_kernel(const uint8_t *a, const uint8_t *b, size_t n, const ql_multiplication *grids,
                                    int32_t *product);
/* Lines from codes to codes that bend at a zero point: on this side of it all columns have one, on the other each its
 * own. Every sum fits int32. */
typedef struct ql_bend {
    int32_t zero_point, above_factor, above_start;
    const int32_t *factor, *start;
    int32_t shift, qmin, qmax;
} ql_bend;

/* y[i][j] = clamp((s + x[i][j] * f) >> shift, qmin, qmax) with f, s = above_factor, above_start where x[i][j] >=
 * zero_point, else factor[j], start[j]; rows of n, one after the other. y may be x. */
typedef void ql_bend_kernel(const uint8_t *x, size_t rows, size_t n, const ql_bend *bend, uint8_t *y);

/* The same of floats, or NaN. index[i][c], unless index is NULL: where it lies, counted in pixels from the one whose
 * number is `pixel`, the first of window 0; of equal ones, and of several NaN, the first. */
typedef void ql_max_pool_f32_kernel(const float *x, const ql_windows *windows, int32_t pixel, float *y, int32_t *index);

/* y[i][c] = the least of the floats of channel c in window i, or NaN; of equal ones, and of several NaN, the first. */
typedef void ql_min_windows_f32_kernel(const float *x, const ql_windows *windows, float *y);

/* y[i][c] = the sum of the floats of channel c in window i over count: added in double, in order, divided and rounded
 * once. */
typedef void ql_average_windows_f32_kernel(const float *x, const ql_windows *windows, double count, float *y);

/* y[i * y_step + c] = fma(x[i * x_step + c], w[c], y[i * y_step + c]) for i < n, c < channels. */
typedef void ql_add_products_kernel(const float *x, size_t x_step, const float *w, size_t n, size_t channels, float *y,
                                    size_t y_step);

/* y[i][j] = clamp(x[i][j] + bias[j], low, high) of a tile of rows x cols; the clamp is that of ql_scale_kernel. */
typedef void ql_add_bias_kernel(const float *x, size_t x_stride, size_t rows, size_t cols, const float *bias, float low,
                                float high, float *y, size_t y_stride);

/* A row of a depthwise convolution: for i < n and c < channels s = 0, then s = fma(x[i * x_step + offset[t] + c],
 * w[t * channels + c], s) for t < taps, ascending, and y[i * channels + c] = clamp(s + bias[c], low, high). */
typedef struct ql_depthwise_row {
    const float *x;
    size_t x_step, n, channels, taps;
    const size_t *offset;
    const float *w, *bias;
    float low, high;
    float *y;
} ql_depthwise_row;

typedef void ql_depthwise_row_kernel(const ql_depthwise_row *row);

/* sums[c] = fma(x[i * x_step + c], y[i * channels + c], sums[c]) for i < n, ascending, c < channels. */
typedef void ql_add_dots_kernel(const float *x, size_t x_step, const float *y, size_t n, size_t channels, float *sums);

/* slots[i] = the bin floor(x[i] * inverse_width) - origin, if that is in [0, bins); bins if x[i] is 0; bins + 1 if x[i]
 * misses the bins or is NaN. The floor is that of the exact product, so a negative one that underflows is in bin -1.
 * inverse_width[i / group] is a power of two, origin[i / group] in [-2^24, 2^24]; group as above. */
typedef void ql_histogram_slots_kernel(const float *x, size_t n, const float *inverse_width, const int32_t *origin,
                                       size_t group, uint32_t bins, uint32_t *slots);

/* Rule A (ql_requantize_s32_x8 in qlite.h) on a tile of rows x cols: multiplier[cols]. */
typedef void ql_requantize_kernel(const int32_t *acc, size_t acc_stride, size_t rows, size_t cols,
                                  const float *multiplier, int32_t zero_point, int32_t qmin, int32_t qmax,
                                  uint8_t *codes, size_t codes_stride);

/* Rule B on a tile: mantissa[cols], exponent[cols]. */
typedef void ql_requantize_fixed_kernel(const int32_t *acc, size_t acc_stride, size_t rows, size_t cols,
                                        const int32_t *mantissa, const int32_t *exponent, int32_t zero_point,
                                        int32_t qmin, int32_t qmax, uint8_t *codes, size_t codes_stride);

/* Codes of the epilogue's curve (ql_curve in qlite.h), whose parameters begin with column `first`, on a tile. */
typedef void ql_curve_kernel(const int32_t *acc, size_t acc_stride, size_t rows, size_t cols,
                             const ql_epilogue *epilogue, size_t first, uint8_t *codes, size_t codes_stride);

/* y[i][j] = clamp((float(acc[i][j]) * row_scale[i]) * scale[j] + offset[j], low, high), each step rounded; what is
 * neither below low nor above high stays, NaN too. */
typedef void ql_scale_kernel(const int32_t *acc, size_t acc_stride, size_t rows, size_t cols, const float *row_scale,
                             const float *scale, const float *offset, float low, float high, float *y, size_t y_stride);

/* Codes that are added to a product's sums: each adds (code * factor[j]) >> shift[j] to that of column j. factor is in
 * 0..2^23, shift in 0..31. */
typedef struct ql_residual {
    const uint8_t *codes; /* NULL: there are none */
    const int32_t *factor, *shift;
} ql_residual;

/* Returns the residual from a code and from a column on. */
static inline ql_residual ql_residual_from(const ql_residual *r, size_t code, size_t column)
{
    return r->codes ? (ql_residual){r->codes + code, r->factor + column, r->shift + column} : *r;
}

/* Adds them to a tile, modulo 2^32; its codes are codes_stride apart from row to row. */
typedef void ql_add_residual_kernel(int32_t *acc, size_t acc_stride, size_t rows, size_t cols,
                                    const ql_residual *residual, size_t codes_stride);

/* acc[i][j] += row[i] * col[j], modulo 2^32. */
typedef void ql_add_outer_kernel(int32_t *acc, size_t acc_stride, size_t rows, size_t cols, const int32_t *row,
                                 const int32_t *col);

/* The gradient of a loss through quantizing, straight-through, and its gradient by the scales (Esser et al. 2020), of a
 * tile of rows x cols neighbours with a scale for each column. With t = x[i][j] / scale[j], r = rint(t) and the ends
 * low = qmin - zero_point[j], high = qmax - zero_point[j],
 *
 *     scale_gradient[j] += gradient[i][j] * (low <= r <= high ? r - t : r < low ? low : high)
 *     gradient[i][j] = low <= r <= high ? gradient[i][j] : 0
 *
 * i ascending. Without moves_inside 0 stands for r - t: clipping alone moves a scale (Choi et al. 2018). */
typedef void ql_quantize_gradient_kernel(const float *x, size_t rows, size_t cols, const float *scale,
                                         const int32_t *zero_point, int32_t qmin, int32_t qmax, bool moves_inside,
                                         float *gradient, float *scale_gradient);

/* The same through requantizing sums: t = clamp(u, floor, ceiling) with u = float(sums[i][j]) * multiplier[j]; the
 * gradient passes where floor < u < ceiling too, and what passes is added to column_sum[j]. */
typedef void ql_requantize_gradient_kernel(const int32_t *sums, size_t rows, size_t cols, const float *multiplier,
                                           const ql_steps_range *range, bool moves_inside, float *gradient,
                                           float *column_sum, float *scale_gradient);

/* What the tiles of an integer product share. The sum of row i and column j is, modulo 2^32,
 *
 *     s = start[j] + sum_{t < segments} sum_{p < k} a_t[i][p] * b_t[p][j] + sum_{u < 2} row_term[u][i] * col_term[u][j]
 *
 * a_t[i] begins at a + i * a_stride + offset[t] (in bytes). Its elements are u8 if the bundle's a_size is 1; if it is 2
 * they are s16 with values 0..255, and each segment is followed by any such up to a multiple of kr. b: panels
 * of nr columns, panel_stride bytes apart, s8, each laid out [segments][ceil(k / depth) * depth / kr][nr][kr], padded
 * with zeros and aligned to 64 bytes. start and col_term: of all panels' columns, padded too. row_term[u] may be NULL:
 * no such term. The residual's codes lie as the results do, and what they add is part of s. The result goes to c, whose
 * rows are c_stride elements apart, as the epilogue says; row_scale may be NULL: ones. */
typedef struct ql_gemm_args {
    const void *a;
    size_t a_stride;
    size_t k, segments;
    const size_t *offset;
    const int8_t *b;
    size_t panel_stride;
    const int32_t *start;
    const int32_t *row_term[2], *col_term[2];
    const float *row_scale;
    ql_residual residual;
    const ql_epilogue *epilogue;
    void *c;
    size_t c_stride;
    size_t a_rows; /* rows of a that may be read, perhaps more than there are; for ranges alone */
} ql_gemm_args;

/* Tiles of mr rows each, one below another from row i on, and `cols` columns from j, which begins a panel: nothing else
 * of c is written. */
typedef void ql_gemm_ukernel(const ql_gemm_args *g, size_t i, size_t tiles, size_t j, size_t cols);

/* Rows of codes as a panel of ql_gemm_args has them: panel[p / kr][j][p % kr] = b[p][j] ^ flip for p < k and j < cols,
 * zeros for the other columns of nr and up to a multiple of kr. b's rows are b_stride bytes apart; kr is 1, 2, 4 or 8.
 */
typedef void ql_pack_panel_kernel(const uint8_t *b, size_t b_stride, size_t k, size_t cols, uint8_t flip, size_t nr,
                                  size_t kr, int8_t *panel);

/* Sums over groups of such a panel, the zeros included: that of column j is added to total[j], and that of |b -
 * zero_point[j]| to reach[j]. Zero points are in -128..127, groups * kr is below 2^22. */
typedef void ql_sum_panel_kernel(const int8_t *panel, size_t groups, size_t nr, size_t kr, const int32_t *zero_point,
                                 int32_t *total, int32_t *reach);

/* c[i][j] += sum_{p < k} a[i][p] * (int8(b[p][j] ^ flip) - zero_point[j]), modulo 2^32, for i < m, at most QL_FEW_ROWS,
 * and j < n. Rows of a and c are a_stride and c_stride elements apart, those of b b_stride bytes. a: -255..255, and if
 * k is odd, each row's last one is followed by a 0; zero_point: -128..127, or NULL for zeros. */
typedef void ql_multiply_few_kernel(const int16_t *a, size_t a_stride, size_t m, const uint8_t *b, size_t b_stride,
                                    uint8_t flip, const int16_t *zero_point, size_t k, size_t n, int32_t *c,
                                    size_t c_stride);

/* c[i][j] = sum_{p < k} a[i][p] * int8(b[j][p] ^ flip), modulo 2^32, of weights by columns, which are b_stride bytes
 * apart; the rest as above. */
typedef void ql_dot_few_kernel(const int16_t *a, size_t a_stride, size_t m, const uint8_t *b, size_t b_stride,
                               uint8_t flip, size_t k, size_t n, int32_t *c, size_t c_stride);

enum { QL_FEW_ROWS = 4 };

/* A row of codes as the tiles read it: out[p] = a[p] ^ flip, elements of a_size bytes, then zeros up to `padded`
 * elements. out may be NULL. Returns sum_p (a[p] ^ flip), modulo 2^32. */
typedef uint32_t ql_gemm_row_kernel(const uint8_t *a, size_t k, uint8_t flip, size_t padded, void *out);

/* The range of `rows` rows from i and `cols` columns from j, which begins a panel: nothing else of c is written.
 * Fastest where a, a_stride and the offsets are multiples of 64 bytes and k is one of depth: a is read in place then.
 */
typedef void ql_gemm_range_kernel(const ql_gemm_args *g, size_t i, size_t rows, size_t j, size_t cols);

/* A unit that multiplies whole matrices, finds its own way through a range, and has to be set up for its thread. */
typedef struct ql_gemm_ranges {
    /* Whether so many multiply-adds are best done here, now, by this thread. */
    bool (*is_worth)(uint64_t macs);
    void (*begin)(void); /* before the ranges of an item of work ... */
    void (*end)(void);   /* ... and after them */
    ql_gemm_range_kernel *run;
    size_t rows;       /* of its tiles */
    size_t stay_bytes; /* of an operand that is read again and again */
} ql_gemm_ranges;

/* Kernel and block sizes travel together: nobody else knows mr, nr, kr. */
typedef struct ql_gemm_kernels {
    size_t mr, nr, kr; /* rows and columns of the largest tile; k is packed in groups of kr */
    size_t depth;      /* each segment of a panel is padded to a multiple of it, which is one of kr */
    size_t a_size;     /* bytes per element of a */
    bool is_as_wide;   /* winograd_products_s16_s32 of the same table multiplies as many numbers in the same time */
    ql_gemm_row_kernel *row;
    const ql_gemm_ranges *ranges;         /* NULL: there are tiles alone; else ... */
    const struct ql_gemm_kernels *lower;  /* ... what serves in their place: the same but for depth, which is less */
    ql_gemm_ukernel *const *ukernel;      /* [mr + 1]: ukernel[r]: of tiles of r rows and up to nr columns; [0]: NULL */
    ql_gemm_ukernel *const *half_ukernel; /* the same for up to nr / 2 columns; may be NULL */
    size_t wide_mr;                       /* up to as many rows, 0 for none, ... */
    ql_gemm_ukernel *const *wide_ukernel; /* [wide_mr + 1]: ... nr + 1 to 2 * nr columns are faster at once */
} ql_gemm_kernels;

/* Lines lie one below the other; each has the same rows and columns, for one output or for two. */
typedef struct ql_depthwise_size {
    size_t lines, rows, cols;
    size_t a_line, c_line; /* in bytes, from line to line */
    size_t outputs, output_stride;
} ql_depthwise_size;

/* A product lane by lane (depthwise convolution), in the fields of ql_gemm_args, where a segment is one tap:
 *
 *     s[p][i][j] = start[j] + sum_{t < segments} a_t[i][j] * b_t[p][j]   (modulo 2^32)
 *
 * for p < outputs, i < rows, j < cols, in each line. a_t as above, u8, with whole blocks of lanes to read; segments is
 * a multiple of kr. Output p's results begin p * output_stride elements after c. b: blocks of `lanes` columns,
 * panel_stride bytes apart, s8 or s16, aligned to 64 bytes. In a block, column j = 16 * l + 4 * v + i is the i-th of
 * four at [v][l]: [segments / kr][outputs][4][lanes / 16][4][kr], the order in which unpacking within 128 bits leaves
 * bytes. start and the epilogue's arrays exist for whole blocks. There are no row terms and no residual; row_scale
 * holds the same number for all rows. */
typedef void ql_depthwise_kernel(const ql_gemm_args *g, const ql_depthwise_size *size);

/* Goes on to the next line. */
static inline void ql_next_line(ql_gemm_args *g, const ql_depthwise_size *size)
{
    g->a = (const char *)g->a + size->a_line;
    g->c = (char *)g->c + size->c_line;
}

typedef struct ql_depthwise_kernels {
    size_t lanes, kr; /* lanes: 16 to QL_MAX_NR */
    size_t b_size;    /* bytes per element of b: 1, or 2 for s16 */
    size_t outputs;   /* 2 if two outputs at once, which share what they read, are faster than one by one; else 1 */
    ql_depthwise_kernel *kernel;
} ql_depthwise_kernels;

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

/* rounds * QL_PEAK_ROUND * a * b, modulo 2^32, as so many u8 x s8 multiply-adds by the instruction that gemm_u8s8s32
 * uses, on independent sums in registers: nothing is loaded, nothing waits. What the speed of kernels is held against.
 * (For ARM there is none but the portable one: kernels are not timed there.) */
typedef int32_t ql_peak_kernel(size_t rounds, uint8_t a, int8_t b);

enum { QL_PEAK_ROUND = 1536 };

/* How weights of a group lie, eight k at a time: [nr][4] bytes, of which byte (j, q) holds
 *   U4: the codes 0..15 of column j for k = q in its low four bits, for k = 4 + q in its high ones
 *   TABLE: the same, and the weight is table[code]
 *   S8: the code for k = q; another [nr][4] bytes follow for k = 4 + q */
typedef enum ql_weight_form { QL_WEIGHTS_U4, QL_WEIGHTS_TABLE, QL_WEIGHTS_S8, QL_WEIGHT_FORMS } ql_weight_form;

/* A panel of nr columns, aligned to 64 bytes. One group follows the other, the last may be shorter, and each is its
 * codes, nr scales (float32) and, if has_zero_point, nr zero points (int16). To all zero points the kernel's shift has
 * been added. */
typedef struct ql_grouped_panel {
    const uint8_t *data;
    ql_weight_form form;
    size_t k, group; /* multiples of 8 */
    bool has_zero_point;
    int32_t shared_zero_point; /* instead */
    const int8_t *table;       /* [16], in -127..127 */
} ql_grouped_panel;

/* Rows to multiply with it. */
typedef struct ql_grouped_rows {
    const int8_t *codes; /* in -127..127, or -128 for weights U4; zeros where k was rounded up; aligned to 8 bytes */
    const int32_t *term; /* of each group: minus the sum of its codes; times the zero point, where all share one */
    size_t stride;       /* in bytes, from row to row, of codes and terms alike */
    const float *scale;  /* one per row */
} ql_grouped_rows;

/* Results that tiles make of their sums. */
typedef struct ql_grouped_result {
    const float *offset; /* [nr] */
    float low, high;
    float *y;
    size_t y_stride;
} ql_grouped_result;

/* A tile of mr x nr float32 results. Integer sums are of shifted weights, so that they can be unsigned ones:
 * sum a * (b + shift) - (z + shift) * sum a. With acc[g] = sum_{p in group g} a[i][p] * (b[p][j] - z[g][j]), exact in
 * int32,
 *
 *     t = 0, for g ascending t = t + float(acc[g]) * scale[g][j]
 *     y[i * y_stride + j] = clamp(t * a->scale[i] + offset[j], low, high)
 *
 * where each operation is rounded; the clamp is that of ql_scale_kernel. All nr columns are written. */
typedef void ql_gemm_grouped_ukernel(const ql_grouped_panel *b, const ql_grouped_rows *a, const ql_grouped_result *c);

/* Any number of rows of such results, of which `cols` columns are written. Rows of codes are aligned to 64 bytes; each
 * may be read up to a multiple of that, and so may as many more rows as make their number one of
 * ql_gemm_grouped_ranges.rows. */
typedef void ql_gemm_grouped_range_kernel(const ql_grouped_panel *b, const ql_grouped_rows *a, size_t rows, size_t cols,
                                          const ql_grouped_result *c);

/* A unit as that of ql_gemm_ranges. */
typedef struct ql_gemm_grouped_ranges {
    /* Whether so many rows with panels like b, and so many multiply-adds, are best done here, now, by this thread. */
    bool (*is_worth)(const ql_grouped_panel *b, size_t rows, uint64_t macs);
    void (*begin)(const ql_grouped_panel *b); /* before the ranges of an item of work, with panels like b ... */
    void (*end)(void);                        /* ... and after them */
    ql_gemm_grouped_range_kernel *run;
    size_t rows; /* of its tiles */
} ql_gemm_grouped_ranges;

typedef struct ql_gemm_grouped_kernels {
    size_t mr, nr;
    int32_t shift[QL_WEIGHT_FORMS];                           /* what it adds to weights */
    ql_gemm_grouped_ukernel *const *ukernel[QL_WEIGHT_FORMS]; /* [mr + 1] each */
    const ql_gemm_grouped_ranges *ranges;                     /* NULL: there are tiles alone; else ... */
    const struct ql_gemm_grouped_kernels *lower;              /* ... what serves in their place, the same but for mr */
} ql_gemm_grouped_kernels;

/* sum[g] = factor * that of the codes of group g, modulo 2^32; n and group are multiples of 8. */
typedef void ql_sum_groups_kernel(const int8_t *codes, size_t n, size_t group, int32_t factor, int32_t *sum);

/* Some neighbours along k of one group of a panel. */
typedef struct ql_group_part {
    ql_weight_form form; /* not TABLE */
    size_t k, nr;        /* multiples of 8 */
    const uint8_t *codes;
    const float *scale;        /* [nr] */
    const int16_t *zero_point; /* [nr], or NULL */
    int32_t shared_zero_point; /* instead */
    const float *values;       /* NULL, or a codebook, at least 16 of them: column j's is at j * values_stride */
    size_t values_stride;
} ql_group_part;

/* w[p * nr + j] = float(b[p][j] - z[j]) * scale[j], or values[b[p][j]] * scale[j], then of the byte as unsigned. */
typedef void ql_dequantize_group_kernel(const ql_group_part *part, float *w);

/* Rows of floats in segments of k: element p of segment t of row i is x[i * stride + offset[t] + p * step]. */
typedef struct ql_float_rows {
    const float *x;
    size_t stride, step, k, segments;
    const size_t *offset;
} ql_float_rows;

/* A tile of mr x nr: y[i][j] = fma(x[i][p], w[p][j], y[i][j]) for all p of all segments, ascending; rows of w and y are
 * a stride apart. */
typedef void ql_gemm_f32_add_ukernel(const ql_float_rows *x, const float *w, size_t w_stride, float *y,
                                     size_t y_stride);

typedef struct ql_gemm_f32_add_kernels {
    size_t mr, nr;                           /* nr divides that of the same table's gemm_s8s4f32 */
    ql_gemm_f32_add_ukernel *const *ukernel; /* [mr + 1] */
} ql_gemm_f32_add_kernels;

/* Convolutions of 3 x 3 by way of fewer products (core/conv/winograd.c): side x side results, 2 or 4 in a row, from
 * (side + 2)^2 pixels. Transformed numbers have as many points. */
enum { QL_WINOGRAD_COLUMNS = 16 };

/* to[p * stride + c] = point p of B X B^T, X[i][j] = pixels[i * (side + 2) + j][c] ^ flip, for c < channels, with
 *
 *     side 2: B = [1 0 -1 0], [0 1 1 0], [0 -1 1 0], [0 1 0 -1]
 *     side 4: B = [4 0 -5 0 1 0], [0 -4 -4 1 1 0], [0 4 -4 -1 1 0], [0 -2 -1 2 1 0], [0 2 -1 -2 1 0], [0 4 0 -5 0 1] */
typedef void ql_winograd_pixels_kernel(size_t side, const uint8_t *const *pixels, size_t channels, uint8_t flip,
                                       int16_t *to, size_t stride);

/* sums[i * QL_WINOGRAD_COLUMNS + j] = sum_{p < depth} a[i * stride + p] * b[p / 2][j][p % 2], modulo 2^32. No pair of
 * products leaves int32, depth is even; b and sums are aligned to 64 bytes. */
typedef void ql_winograd_products_kernel(const int16_t *a, size_t stride, size_t rows, size_t depth, const int16_t *b,
                                         int32_t *sums);

/* y[r * y_stride + c * QL_WINOGRAD_COLUMNS + j] = start[j] + Y[r][c] / d, modulo 2^32, where Y = A S A^T of column j, S
 * its sums, point p at sums[p * stride + j], and the quotient is that of the multiple of d next to 0, modulo 2^32:
 *
 *     side 2: A = [2 1 1 0], [0 1 -1 -2]; d = 4
 *     side 4: A = [6 4 4 1 1 0], [0 4 -4 2 -2 0], [0 4 4 4 4 0], [0 4 -4 8 -8 24]; d = 576 */
typedef void ql_winograd_sums_kernel(size_t side, const int32_t *sums, size_t stride, const int32_t *start, int32_t *y,
                                     size_t y_stride);

/* One step of an optimizer on n elements, by the rules of ql_optimize_f32 in qlite.h; adam takes both moments, rmsprop
 * `second`, and `first` is NULL where a rule does without. */
typedef void ql_optimizer_kernel(const ql_update *update, float *parameter, const float *gradient, float *first,
                                 float *second, size_t n);

/* No tile is larger than this: callers hold one on the stack. */
enum { QL_MAX_MR = 16, QL_MAX_NR = 64 };

/* Every kernel: FUNCTION(contract, name, isa), and BUNDLE(type, name, isa) for those that come with their sizes. */
#define QL_KERNELS(FUNCTION, BUNDLE, isa)                                    \
    FUNCTION(ql_transpose_kernel, transpose, isa)                            \
    FUNCTION(ql_quantize_kernel, quantize_f32_x8, isa)                       \
    FUNCTION(ql_quantize_rows_kernel, quantize_rows_f32_x8, isa)             \
    FUNCTION(ql_dequantize_kernel, dequantize_x8_f32, isa)                   \
    FUNCTION(ql_fake_quantize_kernel, fake_quantize_f32, isa)                \
    FUNCTION(ql_fake_quantize_rows_kernel, fake_quantize_rows_f32, isa)      \
    FUNCTION(ql_quantize_s32_kernel, quantize_f32_s32, isa)                  \
    FUNCTION(ql_dequantize_s32_kernel, dequantize_s32_f32, isa)              \
    FUNCTION(ql_in_range_kernel, in_range_f32, isa)                          \
    FUNCTION(ql_minmax_kernel, minmax_f32, isa)                              \
    FUNCTION(ql_minmax_rows_kernel, minmax_rows_f32, isa)                    \
    FUNCTION(ql_add_moments_kernel, add_moments_f32, isa)                    \
    FUNCTION(ql_error_slots_kernel, error_slots_f32, isa)                    \
    FUNCTION(ql_add_errors_kernel, add_errors_f64, isa)                      \
    FUNCTION(ql_quantize_codebook_kernel, quantize_codebook_f32_u8, isa)     \
    FUNCTION(ql_dequantize_codebook_kernel, dequantize_codebook_u8_f32, isa) \
    FUNCTION(ql_pack_bits_kernel, pack_bits_x8, isa)                         \
    FUNCTION(ql_unpack_bits_kernel, unpack_bits_x8, isa)                     \
    FUNCTION(ql_max_pool_f32_kernel, max_pool_f32, isa)                      \
    FUNCTION(ql_min_windows_f32_kernel, min_windows_f32, isa)                \
    FUNCTION(ql_average_windows_f32_kernel, average_windows_f32, isa)        \
    FUNCTION(ql_add_products_kernel, add_products_f32, isa)                  \
    FUNCTION(ql_add_dots_kernel, add_dots_f32, isa)                          \
    FUNCTION(ql_add_bias_kernel, add_bias_f32, isa)                          \
    FUNCTION(ql_depthwise_row_kernel, depthwise_row_f32, isa)                \
    FUNCTION(ql_histogram_slots_kernel, histogram_slots_f32, isa)            \
    FUNCTION(ql_lookup_kernel, lookup_x8, isa)                               \
    FUNCTION(ql_apply_kernel, apply_f32, isa)                                \
    FUNCTION(ql_softmax_kernel, softmax_f32, isa)                            \
    FUNCTION(ql_layer_norm_kernel, layer_norm_f32, isa)                      \
    FUNCTION(ql_function_gradient_kernel, function_gradient_f32, isa)        \
    FUNCTION(ql_max_pool_kernel, max_pool_x8, isa)                           \
    FUNCTION(ql_avg_pool_kernel, avg_pool_x8, isa)                           \
    FUNCTION(ql_sum_windows_kernel, sum_windows_u8_s32, isa)                 \
    FUNCTION(ql_stretch_narrow_kernel, stretch_pixels_u8_u16, isa)           \
    FUNCTION(ql_stretch_kernel, stretch_pixels_u8_s32, isa)                  \
    FUNCTION(ql_mix_narrow_kernel, mix_rows_u16_u8, isa)                     \
    FUNCTION(ql_mix_kernel, mix_rows_s32_u8, isa)                            \
    FUNCTION(ql_add_kernel, add_u8, isa)                                     \
    FUNCTION(ql_add_fixed_kernel, add_fixed_u8_s32, isa)                     \
    FUNCTION(ql_multiply_kernel, multiply_u8, isa)                           \
    FUNCTION(ql_multiply_s32_kernel, multiply_u8_s32, isa)                   \
    FUNCTION(ql_bend_kernel, bend_u8, isa)                                   \
    FUNCTION(ql_requantize_kernel, requantize_s32_x8, isa)                   \
    FUNCTION(ql_requantize_fixed_kernel, requantize_fixed_s32_x8, isa)       \
    FUNCTION(ql_curve_kernel, curve_s32_x8, isa)                             \
    FUNCTION(ql_scale_kernel, scale_s32_f32, isa)                            \
    FUNCTION(ql_add_residual_kernel, add_residual_u8_s32, isa)               \
    FUNCTION(ql_add_outer_kernel, add_outer_s32, isa)                        \
    FUNCTION(ql_quantize_gradient_kernel, quantize_gradient_f32, isa)        \
    FUNCTION(ql_requantize_gradient_kernel, requantize_gradient_s32, isa)    \
    FUNCTION(ql_peak_kernel, peak_u8s8s32, isa)                              \
    FUNCTION(ql_sum_groups_kernel, sum_groups_s8_s32, isa)                   \
    FUNCTION(ql_dequantize_group_kernel, dequantize_group_f32, isa)          \
    FUNCTION(ql_multiply_few_kernel, multiply_few_s16x8s32, isa)             \
    FUNCTION(ql_dot_few_kernel, dot_few_s16x8s32, isa)                       \
    FUNCTION(ql_pack_panel_kernel, pack_panel_x8, isa)                       \
    FUNCTION(ql_sum_panel_kernel, sum_panel_s8, isa)                         \
    FUNCTION(ql_winograd_pixels_kernel, winograd_pixels_u8_s16, isa)         \
    FUNCTION(ql_winograd_products_kernel, winograd_products_s16_s32, isa)    \
    FUNCTION(ql_winograd_sums_kernel, winograd_sums_s32, isa)                \
    FUNCTION(ql_optimizer_kernel, sgd_f32, isa)                              \
    FUNCTION(ql_optimizer_kernel, adam_f32, isa)                             \
    FUNCTION(ql_optimizer_kernel, rmsprop_f32, isa)                          \
    BUNDLE(ql_gemm_kernels, gemm_u8s8s32, isa)                               \
    BUNDLE(ql_gemm_kernels, gemm_u7s8s32, isa)                               \
    BUNDLE(ql_depthwise_kernels, depthwise_u8s8s32, isa)                     \
    BUNDLE(ql_gemm_f32_kernels, gemm_f32s8f32, isa)                          \
    BUNDLE(ql_gemm_grouped_kernels, gemm_s8s4f32, isa)                       \
    BUNDLE(ql_gemm_f32_add_kernels, gemm_f32f32f32, isa)

#define QL_FUNCTION_FIELD(type, name, isa) type *name;
#define QL_BUNDLE_FIELD(type, name, isa) const type *name;

typedef struct ql_kernels {
    const char *isa;
    const struct ql_kernels *parent;
    QL_KERNELS(QL_FUNCTION_FIELD, QL_BUNDLE_FIELD, )
} ql_kernels;

/* The table that serves calls now: complete, nothing NULL. */
const ql_kernels *ql_kernels_active(void);

/* Whether kernels that use tiles may run in this process. The first call asks the system, so it is made where a product
 * is about to use them, and nowhere earlier; later ones read a number. What was packed serves either answer. */
bool ql_tiles_permission(void);

/* What a folder of kernels may define; each folder's header declares its own. */
#define QL_DECLARE_FUNCTION(type, name, isa) type ql_##name##__##isa;
#define QL_DECLARE_BUNDLE(type, name, isa) extern const type ql_##name##__##isa;
#define QL_DECLARE_KERNELS(isa)                             \
    QL_KERNELS(QL_DECLARE_FUNCTION, QL_DECLARE_BUNDLE, isa) \
    extern const ql_kernels ql_kernels_##isa

/* What a source that is compiled for several instruction sets (portable/, x86/) is compiled for: setup.py defines it.
 */
#ifndef QL_ISA
#define QL_ISA scalar
#endif

#define QL_NAME_FOR(name, isa) name##__##isa
#define QL_EXPANDED_NAME_FOR(name, isa) QL_NAME_FOR(name, isa)

/* ql_<operation>_<types> -> ql_<operation>_<types>__<isa> */
#define QL_KERNEL(name) QL_EXPANDED_NAME_FOR(name, QL_ISA)

#endif
