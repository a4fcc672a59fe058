/* The C API of qlite's core: everything here is plain C11 and knows no Python.
 *
 * real = scale * (code - zero_point). Rounding is half to even unless a rule says otherwise. Results go
 * through pointers and are untouched when a function returns anything but QL_OK. Nothing aborts or prints.
 *
 * "x8" is an 8-bit code, signed or unsigned: which of the two follows from [qmin, qmax], never from the bytes.
 */
#ifndef QLITE_H
#define QLITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- status ------------------------------------------------------------------------------------- */

typedef enum ql_status {
    QL_OK = 0,
    QL_EINVAL,     /* an argument lies outside its documented range */
    QL_ENOMEM,     /* an allocation failed */
    QL_EOVERFLOW,  /* an exact int32 accumulator cannot hold the result at this depth */
    QL_ENONFINITE, /* the data holds NaN or infinity and the policy is to refuse them */
    QL_ECODES,     /* a code that the weights were not packed for */
    QL_ESTOPPED,   /* the caller gave the work up */
} ql_status;

const char *ql_status_text(ql_status status);

/* ---- dispatch ----------------------------------------------------------------------------------- */

/* Instruction sets compiled in, best last. ql_isa_name(i) is NULL from the end of the list on. */
const char *ql_isa_name(size_t i);
bool ql_isa_can_run(size_t i);
const char *ql_isa_active(void);

/* Makes `name` the ceiling: it and its parents serve every later call. NULL picks the best that runs.
 * QL_EINVAL: not compiled in, or cannot run here. Not to be called while other calls run. */
ql_status ql_isa_select(const char *name);

/* What there is to say about tiles (AMX), which need the system's permission: "absent: ...", "not asked yet", "granted"
 * or "refused: ...". The first product that would use them asks, and so does ql_isa_select by the name of an
 * instruction set that has them; where they are refused, the next lower one serves. */
const char *ql_tiles_text(void);

/* Name of kernel i, and the instruction set that serves it now; NULL from the end of the list on. */
const char *ql_kernel_name(size_t i);
const char *ql_kernel_isa(size_t i);

/* CPU features that matter here, in the order of the list; NULL from the end on. */
const char *ql_cpu_feature_name(size_t i);
bool ql_cpu_has_feature(size_t i);

/* ---- threads ------------------------------------------------------------------------------------ */

enum { QL_MAX_THREADS = 1024 };

/* Number of threads that a call may run on: what was set, or else the number of CPUs that the calling thread may use;
 * and OpenMP's own limit for the calling thread (OMP_NUM_THREADS, omp_set_num_threads) where that is lower than this
 * number of CPUs. Results never depend on it. */
size_t ql_num_threads(void);

/* Sets this number for all threads of the process, also above the number of CPUs; 0: not set, as in the beginning.
 * *before, unless it is NULL, becomes what was set before. QL_EINVAL: n > QL_MAX_THREADS. */
ql_status ql_set_num_threads(size_t n, size_t *before);

/* Whoever wants to be able to give long work up. While a thread has one, its calls ask it on that same thread, now and
 * then and not before they have taken some time; if it says yes they come back soon, with results that mean nothing. */
typedef struct ql_listener {
    bool (*wants_stop)(void *context);
    void *context;
    struct ql_listener *before; /* this and the rest: set by ql_listen */
    int64_t next_ns;
    bool is_stopped;
} ql_listener;

/* Sets the listener of this thread; takes it away again and returns whether it said yes. In pairs, one in the other. */
void ql_listen(ql_listener *listener);
bool ql_unlisten(ql_listener *listener);

/* OpenMP runtime whose limit counts, "libgomp" or "libomp"; NULL: built without. */
const char *ql_openmp(void);

/* ---- elementwise -------------------------------------------------------------------------------- */

enum { QL_MAX_DIMS = 64, QL_MAX_ENTRIES = 256 /* of a codebook */ };

/* Layout of parameters (scales, zero points, ranges) over C-contiguous data. Along axis i, outermost first, group[i]
 * neighbours share a parameter: group 1 gives each its own, length[i] one to all, and of groups in between the last may
 * be shorter. The parameters are C-contiguous too, ceil(length[i] / group[i]) along axis i. No axes: one element. */
typedef struct ql_layout {
    size_t ndim;
    size_t length[QL_MAX_DIMS], group[QL_MAX_DIMS];
} ql_layout;

/* Adds the next inner axis, merged with the one before it where that says the same. group >= 1. */
void ql_layout_push(ql_layout *layout, size_t length, size_t group);

/* Number of elements, and of parameters if the data is not empty. */
size_t ql_layout_size(const ql_layout *layout);
size_t ql_layout_parameters(const ql_layout *layout);

/* Elements of 1, 2, 4 or 8 bytes and where each of them goes: to[i][j]... = from[i][j]... Strides are in bytes, of any
 * sign; a stride of 0 in `from` repeats. from and to do not overlap, nor do two elements of `to`. */
typedef struct ql_copy {
    size_t size, ndim;
    size_t length[QL_MAX_DIMS];
    const void *from;
    ptrdiff_t from_stride[QL_MAX_DIMS];
    void *to;
    ptrdiff_t to_stride[QL_MAX_DIMS];
} ql_copy;

void ql_copy_strided(const ql_copy *copy);

/* Rounding of t = x / scale, itself rounded once to float32, to an integer.
 *   even: the nearest, of two the even one
 *   away: the nearest, of two the one farther from zero
 *   stochastic: floor(t) + (u < t - floor(t)), so that it is t on average; the difference is rounded to float32. u is
 *           (h >> 8) / 2^24, where h comes from the seed and from the number i of the element in the data, by unsigned
 *           arithmetic, 32 bits where not said otherwise:
 *               key = seed + 0x9e3779b97f4a7c15, key = (key ^ key >> 30) * 0xbf58476d1ce4e5b9,
 *               key = (key ^ key >> 27) * 0x94d049bb133111eb, key = key ^ key >> 31          (64 bits)
 *               h = low(i) ^ low(key), h = (h ^ h >> 17) * 0xed5ad4bb,
 *               h = (h ^ h >> 11) + high(key) + high(i) * 0x9e3779b9, h = h * 0xac4c1b51,
 *               h = (h ^ h >> 15) * 0x31848bab, h = h ^ h >> 14
 *           (splitmix64 and Wellons' triple32). The bits do not depend on the instruction set, nor on the order of
 *           the work. */
typedef enum ql_rounding { QL_ROUND_EVEN, QL_ROUND_AWAY, QL_ROUND_STOCHASTIC } ql_rounding;

typedef struct ql_affine {
    ql_layout layout;
    const float *scale;        /* one per parameter, each finite, normal and > 0 */
    const int32_t *zero_point; /* one per parameter, each in [qmin, qmax] */
    int32_t qmin, qmax;        /* in [-32768, 32767] or in [0, 65535] */
    ql_rounding rounding;
    uint64_t seed; /* of stochastic rounding */
} ql_affine;

/* Bytes of a code: 1 if qmin..qmax lie in [-128, 127] or [0, 255], 2 if in [-32768, 32767] or [0, 65535], and 0 if they
 * are no range of codes. Codes are signed if qmin < 0. */
size_t ql_code_size(int32_t qmin, int32_t qmax);

/* Policy for NaN and infinities.
 *   saturate: NaN becomes what 0 becomes, infinities become the ends of the range
 *   refuse: QL_ENONFINITE, with the result untouched
 *   refuse late: QL_ENONFINITE, with the result perhaps written to, which is faster */
typedef enum ql_nonfinite { QL_NONFINITE_SATURATE, QL_NONFINITE_REFUSE, QL_NONFINITE_REFUSE_LATE } ql_nonfinite;

/* code = clamp(round(x / scale), qmin - z, qmax - z) + z. codes: ql_code_size bytes each, and may not overlap x. */
ql_status ql_quantize_f32(const float *x, const ql_affine *p, ql_nonfinite nonfinite, void *codes);

/* x = float32(code - z) * scale, for codes of ql_code_size bytes. */
ql_status ql_dequantize_f32(const void *codes, const ql_affine *p, float *x);

/* y = dequantize(quantize(x)), the same bits, without the codes in between. y may be x. */
ql_status ql_fake_quantize_f32(const float *x, const ql_affine *p, ql_nonfinite nonfinite, float *y);

/* inside = qmin <= rint(x / scale) + z <= qmax: where quantizing rounds and does not clip. NaN: false. */
ql_status ql_in_range_f32(const float *x, const ql_affine *p, bool *inside);

/* Gradients through quantizing, straight-through: gradient, of the codes' values, becomes that of x, and scale_gradient
 * is that of the scales (Esser et al. 2020). x is [rows][cols], `group` neighbouring rows share a scale for each
 * column. With t = x / scale, r = rint(t), low = qmin - z and high = qmax - z
 *
 *     scale_gradient = sum over the rows of gradient * (low <= r <= high ? r - t : r < low ? low : high)
 *     gradient       = low <= r <= high ? gradient : 0
 *
 * Without moves_inside 0 stands for r - t. Sums are added in float32 within 128 rows of a group, in order, and theirs
 * in double: the bits depend on no instruction set and number of threads. rows, cols and group are at least 1. */
ql_status ql_quantize_gradient_f32(const float *x, size_t rows, size_t cols, size_t group, const float *scale,
                                   const int32_t *zero_point, int32_t qmin, int32_t qmax, bool moves_inside,
                                   float *gradient, float *scale_gradient);

/* Gradients through requantizing by rule A (ql_requantize_s32_x8) behind an activation that is a clamp: the same with
 * t = clamp(u, floor, ceiling), u = float(sums) * multiplier for each column, r clamped to low..high, steps from the
 * zero point. The gradient passes where floor < u < ceiling as well. column_sum[j] is the sum of what passes in column
 * j, *scale_gradient that of all elements. */
typedef struct ql_steps_range {
    float low, high, floor, ceiling;
} ql_steps_range;

ql_status ql_requantize_gradient_s32(const int32_t *sums, size_t rows, size_t cols, const float *multiplier,
                                     const ql_steps_range *range, bool moves_inside, float *gradient, float *column_sum,
                                     double *scale_gradient);

/* Least and greatest of the values that share a parameter. The data is not empty; NaN is passed over, zeros come
 * out as +0, and nothing but NaN gives +inf, -inf. Returns whether all values were finite. */
bool ql_minmax_f32(const float *x, const ql_layout *layout, float *min, float *max);

/* Sums of x, x^2 and |x| over the values that share a parameter. The data is not empty. Along the innermost axis
 * each group's values go in turn to eight partial sums, which are added in pairs, ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 +
 * 7)); the sums of groups that share a parameter are added in order. */
void ql_moments_f32(const float *x, const ql_layout *layout, double *sum, double *square, double *magnitude);

/* real = scale * values[code]: a grid of any values, in any order. */
typedef struct ql_codebook {
    ql_layout layout;
    const float *scale;  /* one per parameter, each finite, normal and > 0 */
    const float *values; /* [entries], or [parameters][entries] */
    size_t entries;      /* 1..256 */
    bool is_own;         /* each parameter has its own values */
} ql_codebook;

/* code = argmin |t - values[code]| with t = x / scale, rounded once to float32, and exact distances. Of two values that
 * are equally near, the one with an even code wins, or the lesser if both codes are even or both odd; of equal values
 * the first. Values that are not finite never win. NaN becomes what 0 becomes. QL_EINVAL: no finite value. */
ql_status ql_quantize_codebook_f32_u8(const float *x, const ql_codebook *p, ql_nonfinite nonfinite, uint8_t *codes);

/* x = scale * values[code]. QL_EINVAL: a code beyond the entries. */
ql_status ql_dequantize_codebook_u8_f32(const uint8_t *codes, const ql_codebook *p, float *x);

/* Packed codes of few bits: in each row of n codes low bits first, the first code in the lowest bits of the first byte,
 * the last byte filled up with zeros. A row takes ceil(n * bits / 8) bytes. */
size_t ql_bits_row_bytes(size_t n, int bits);

/* Packs codes, [rows][n] of code_size (1 or 2) bytes each, to [rows][ql_bits_row_bytes(n, bits)]. bits is in 1..16, and
 * at most 8 for codes of one byte. QL_EINVAL: a code does not fit so many bits; packed has been written to then. */
ql_status ql_pack_bits(const void *codes, size_t code_size, bool is_signed, size_t rows, size_t n, int bits,
                       uint8_t *packed);

/* Unpacks codes first..first + count - 1 of each row, to one byte each for up to 8 bits, to two for more. QL_EINVAL:
 * rows are shorter than that. */
ql_status ql_unpack_bits(const uint8_t *packed, size_t rows, size_t row_bytes, int bits, bool is_signed, size_t first,
                         size_t count, void *codes);

/* Requantization of int32 sums to codes, by one of two rules:
 *   rule A: code = rint(clamp(float32(acc) * float32(multiplier), qmin - z, qmax - z)) + z
 *   rule B (fixed): code = clamp(rdbpot(srdhm(acc << max(e, 0), q), max(-e, 0)) + z, qmin, qmax), where q, e are
 *           ql_quantize_multiplier's, the shift to the left saturates to int32, srdhm(a, q) = (a * q + 2^30) >> 31 and
 *           rdbpot(a, n) = a / 2^n rounded half away from zero.
 * multiplier: one per parameter, each in (0, 2^30) and not 0 as float32. */
ql_status ql_requantize_s32_x8(const int32_t *acc, const ql_layout *layout, const double *multiplier, bool fixed,
                               int32_t zero_point, int32_t qmin, int32_t qmax, uint8_t *codes);

/* Rule B's form of a positive real multiplier: value ~ mantissa * 2^(exponent - 31); 0, 0 below 2^-32.
 * QL_EINVAL unless 0 < value < 2^30. (gemmlowp's QuantizeMultiplier.) */
ql_status ql_quantize_multiplier(double value, int32_t *mantissa, int32_t *exponent);

/* Grid whose codes qmin..qmax reach from low to high, which are widened to hold 0:
 *   symmetric: z = (qmin + qmax + 1) / 2 (0 signed, 128 unsigned), scale = max(-low / (z - qmin), high / (qmax - z))
 *   otherwise: scale = (high - low) / (qmax - qmin), z = rint(qmin - low / scale), kept in [qmin, qmax]
 * low == high: scale = |low|, or 1 for 0, so that the constant comes back exactly. The scale is never below the
 * smallest normal float, and never so large that low or high would come back infinite. low <= high, both finite. */
void ql_range_qparams(float low, float high, int32_t qmin, int32_t qmax, bool symmetric, float *scale,
                      int32_t *zero_point);

/* Type that a scale is stored as. Scales of the two shorter types are rounded up, so that nothing that was inside gets
 * clipped; all stay within the type's normal numbers (e8m0: 2^-126 to 2^127). */
typedef enum ql_scale_type { QL_SCALE_F32, QL_SCALE_F16, QL_SCALE_E8M0 } ql_scale_type;

/* Wish for a grid: codes qmin..qmax, within [-32768, 65535], or a codebook of 1 to 256 entries in any order
 * (real = scale * codebook[code]; NaN for codes that are never given; not infinite, not all zero), for which qmin, qmax
 * and symmetric mean nothing. */
typedef struct ql_grid {
    int32_t qmin, qmax;
    bool symmetric;
    ql_scale_type scale_type;
    const float *codebook; /* NULL: uniform */
    size_t entries;
} ql_grid;

/* Does ql_range_qparams for n ranges and any grid. A codebook's scale is max(low / least entry, high / greatest entry)
 * over the entries of the right sign, or 1 where there is nothing to reach, and its zero point is 0. With a shorter
 * scale type a constant comes back exactly if its magnitude, or what the formula gives, can be a scale. QL_EINVAL: a
 * grid that is not as above, a range that is not finite or ends before it begins, or one whose scale is too great for
 * its type. */
ql_status ql_ranges_qparams(const float *low, const float *high, size_t n, const ql_grid *grid, float *scale,
                            int32_t *zero_point);

/* ---- calibration -------------------------------------------------------------------------------- */

/* Memory of a stream of values: fixed in size, exact, and independent of the order of the values. Bin b of a channel
 * counts the values with floor(x / 2^exponent) == origin + b, exact zeros left out. The exponent is the least one at
 * which all bins reach from min to max, so two states can always be brought to the same bins by adding neighbours, and
 * merging is exact. */
typedef struct ql_histogram {
    float min, max;   /* +inf, -inf while empty */
    int32_t exponent; /* a bin is 2^exponent wide */
    int32_t origin;   /* number of the first bin */
    int64_t count;    /* values seen, zeros included */
    int64_t zeros;    /* exact zeros: counted apart, because after a relu they would drown the rest */
} ql_histogram;

/* In all functions of histograms h is [channels], counts [channels][bins], bins a power of two in [128, 65536];
 * QL_EINVAL otherwise, and for a state that no values could have led to (ql_histogram_update takes the counts on
 * trust). A failure changes nothing, but for what is said. Clears h to the state before any value. */
ql_status ql_histogram_clear(ql_histogram *h, int64_t *counts, size_t channels, size_t bins);

/* Counts x; the layout has `channels` parameters. QL_ENONFINITE: NaN or inf in x. QL_EINVAL, perhaps with part of x
 * counted: x was written to meanwhile. */
ql_status ql_histogram_update(const float *x, const ql_layout *layout, ql_histogram *h, int64_t *counts, size_t bins);

/* h += other, exactly and in any order. */
ql_status ql_histogram_merge(ql_histogram *h, int64_t *counts, const ql_histogram *other, const int64_t *other_counts,
                             size_t channels, size_t bins);

typedef enum ql_range_method { QL_RANGE_PERCENTILE, QL_RANGE_MSE, QL_RANGE_ENTROPY } ql_range_method;

/* Clipping range [low, high] of each channel for a grid.
 *   percentile: cuts (100 - percentile) / 100 of the values off each end that is not at zero, unless nothing is left
 *   mse: the ends of the grid that has the least expected squared error, values lying evenly inside their bin; for
 *     uniform grids they can lie up to a step beyond the values, and ql_ranges_qparams makes that grid of them again
 *   entropy: the range whose quantized histogram has the least Kullback-Leibler divergence from the data's; uniform
 *     grids only
 * symmetric: low = -high. A constant channel: low = high. QL_EINVAL for an empty state. */
ql_status ql_histogram_range(const ql_histogram *h, const int64_t *counts, size_t channels, size_t bins,
                             ql_range_method method, double percentile, const ql_grid *grid, float *low, float *high);

/* Clipping range of rows of n values each, every row ascending; percentile and mse only. QL_ENONFINITE: NaN or inf in
 * x. QL_EINVAL: n == 0, or a row that does not ascend. */
ql_status ql_sorted_range(const float *x, size_t rows, size_t n, ql_range_method method, double percentile,
                          const ql_grid *grid, float *low, float *high);

typedef enum ql_codebook_kind { QL_CODEBOOK_KMEANS, QL_CODEBOOK_QUANTILE } ql_codebook_kind;

/* Codebook of `entries` values (1 to 256), strictly ascending, for each channel or row.
 *   kmeans: least sum of squared distances. Exact for up to 100000 distinct samples; above, and for histograms, the
 *     optimum for values gathered in at most 8192 bins (histograms: all bins), improved by Lloyd's iteration on the
 *     data
 *   quantile: entry i is the least value at or below which (i + 0.5) / entries of the mass lies
 * Where there are fewer distinct values than entries, the values come first, and the next greater floats after them. */
ql_status ql_histogram_codebook(const ql_histogram *h, const int64_t *counts, size_t channels, size_t bins,
                                ql_codebook_kind kind, size_t entries, float *codebook);

/* Does the same for rows of n values, every row ascending. weights are [rows][n], >= 0 and in no row all 0, or NULL.
 * QL_ENONFINITE: NaN or inf in x or the weights. */
ql_status ql_sorted_codebook(const float *x, const double *weights, size_t rows, size_t n, ql_codebook_kind kind,
                             size_t entries, float *codebook);

/* ---- error -------------------------------------------------------------------------------------- */

/* Codes, and the grid that they are on: value = float32(code - z) * scale, or scale * codebook[code]. */
typedef struct ql_coded {
    ql_layout layout;
    const void *codes;
    size_t code_size; /* 1 or 2 bytes */
    bool is_signed;
    const float *scale;        /* one per parameter, each finite, normal and > 0 */
    const float *codebook;     /* NULL: uniform; [entries], or [parameters][entries], of unsigned 8-bit codes */
    size_t entries;            /* 1 to 256, finite or NaN; not all are NaN, and no code stands for NaN */
    bool is_own;               /* each parameter has its own codebook */
    const int32_t *zero_point; /* one per parameter, each in [qmin, qmax]; not read with a codebook */
    int32_t qmin, qmax;        /* not read with a codebook */
} ql_coded;

/* Shape of data seen as [outer][channels][inner]. */
typedef struct ql_axis {
    size_t outer, channels, inner;
} ql_axis;

/* Loss of a channel, with v the values of its codes, e = w - v in float64, t = w / scale rounded once to float32.
 *
 * A value is clipped if rint(t) + z lies outside [qmin, qmax]; with a codebook if t lies beyond the least or greatest
 * entry by more than half its distance from its neighbour.
 *
 * Order of the sums: the `inner` values of a channel that are neighbours go in turn to eight partial sums, starting
 * with the first one for every index of outer; these are then added as ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7)).
 *
 * divergence: of the codes' distribution from the data's, sum p log(p / max(q, 1e-9)) in nats, over the
 * sub-bins: eighths of the cells, which are what is rounded to a code, in units of each value's own scale.
 *   p: the share of the values in the sub-bin; the clipped ones are in the outermost.
 *   q: the share of the code among the unclipped values, spread evenly over those of its sub-bins that hold values.
 *   uniform: sub-bin min(int((t - rint(t)) * 8 + 4), 7) of code rint(t) + z, all in float32
 *   codebook: cells meet in the middle between entries, and the two at the ends are as wide outwards as inwards, edges
 *     rounded to float32; t is in the cell of its own code if that holds it, ends included, and else of the nearest;
 *     sub-bin min(int((t - low) * float32(8 / (high - low))), 7).
 * It is never negative, and 0 where nothing is clipped, every code is the nearest, and those sub-bins of a code that
 * hold values hold equally many. */
typedef struct ql_error {
    double signal;             /* sum of w^2 */
    double clipping, rounding; /* sum of e^2 over clipped values, over the others */
    double product, power;     /* sum of w * v, of v^2 */
    double greatest;           /* greatest |e| */
    double clipped;            /* number of clipped values */
    double divergence;
} ql_error;

/* Measures every channel; errors is [channels] and the data is not empty. QL_ENONFINITE: NaN or inf in w. QL_EINVAL: a
 * parameter is not as above, or a code has no entry. */
ql_status ql_error_sums(const float *w, const ql_coded *q, const ql_axis *axis, ql_error *errors);

/* ---- integer matrix product --------------------------------------------------------------------- */

/* Left operands that packed weights will be multiplied with: 8-bit codes, 8-bit codes from 0 to 127, signed or not
 * (QL_PACK_INTEGER7: faster on AVX2), or float32. */
typedef enum ql_pack_for { QL_PACK_INTEGER, QL_PACK_INTEGER7, QL_PACK_FLOAT } ql_pack_for;

/* Properties of packed weights of any type: ql_packed, ql_grouped, ql_filter. */
typedef struct ql_packed_info {
    ql_pack_for purpose;
    size_t ndim, shape[4]; /* (in, out), or (kernel_h, kernel_w, in, out) of a filter */
    size_t groups;         /* those of a filter's channels; else 1 */
    bool is_dilated;       /* a filter for windows with gaps along the width */
    size_t nbytes;
    const char *isa;
} ql_packed_info;

/* Weights [k][n] in the layout that the active instruction set multiplies from. They remember that instruction set and
 * are always multiplied by it. */
typedef struct ql_packed ql_packed;

/* Codes [k][n], or [n][k] if they lie by columns. */
typedef struct ql_code_matrix {
    const uint8_t *data;
    bool is_signed, by_columns;
    size_t k, n;
    const int32_t *zero_point; /* [n], or NULL for zeros */
} ql_code_matrix;

ql_status ql_pack(ql_pack_for purpose, const ql_code_matrix *b, ql_packed **packed);
void ql_packed_free(ql_packed *packed);
ql_packed_info ql_packed_describe(const ql_packed *packed);

/* The left operand: m x k codes in rows that are row_stride apart. */
typedef struct ql_codes {
    const uint8_t *data;
    size_t row_stride;
    bool is_signed;
    const int32_t *zero_point; /* one for all rows, or one per row */
    bool per_row;
} ql_codes;

/* Results that a product makes of its exact sums s. */
typedef enum ql_store {
    QL_STORE_S32,      /* s */
    QL_STORE_F32,      /* clamp(float32(s) * scale[j] + offset[j], low, high), each step rounded */
    QL_STORE_X8,       /* the code of rule A (ql_requantize_s32_x8) with multiplier[j], or that of a curve */
    QL_STORE_X8_FIXED, /* the code of rule B with mantissa[j] and exponent[j] */
} ql_store;

/* Functions that are applied to what sums stand for before it becomes codes: code = rint(clamp(r, qmin - z, qmax - z))
 * + z, with v = float32(s) * multiplier[j], each step rounded to float32, and prelu        r = s < 0 ? float32(s) *
 * below[j] : v hard_swish   r = (v * min(max(v + 3, 0), 6)) * factor, hard_sigmoid r = min(max(v + 3, 0), 6) * factor
 * Multipliers of prelu are those of rule A, below[j] = multiplier[j] * slope[j]. Those of the others are scales of
 * floats, input_scale * weight_scale[j], and factor = float32(1 / 6) / scale. */
typedef enum ql_curve { QL_CURVE_NONE, QL_CURVE_PRELU, QL_CURVE_HARD_SWISH, QL_CURVE_HARD_SIGMOID } ql_curve;

/* Returns whether there is a curve of that name; NULL is none. */
bool ql_curve_from_name(const char *name, ql_curve *curve);

/* Column parameters are [n]; what the store does not name is not looked at. */
typedef struct ql_epilogue {
    ql_store store;
    ql_curve curve; /* of QL_STORE_X8 */
    const float *below;
    float factor;
    const float *scale, *offset;
    float low, high;
    const float *multiplier;
    const int32_t *mantissa, *exponent;
    int32_t zero_point, qmin, qmax; /* of the codes: one byte each */
} ql_epilogue;

/* s[i][j] = bias[j] + sum_k (a[i][k] - za[i]) * (b[k][j] - zb[j]), exact, and c[i][j] what the epilogue makes of it. c
 * is m x n of int32, float32 or codes. bias is [n] or NULL. QL_EOVERFLOW: some a of these zero points could lead s out
 * of int32. QL_EINVAL: packed for another purpose. QL_ECODES: a code outside 0..127 for QL_PACK_INTEGER7. */
ql_status ql_gemm(const ql_codes *a, size_t m, const ql_packed *b, const int32_t *bias, const ql_epilogue *epilogue,
                  void *c);

/* The sums themselves, of codes that nobody has packed; the zero points of b are its own. */
ql_status ql_gemm_unpacked(const ql_codes *a, size_t m, const ql_code_matrix *b, int32_t *c);

/* An activation that a product applies itself: a clamp of its result to [0, inf] or [0, 6]. */
typedef enum ql_activation { QL_ACTIVATION_NONE, QL_ACTIVATION_RELU, QL_ACTIVATION_RELU6 } ql_activation;

/* Returns whether there is one of that name, "relu" or "relu6"; NULL is none. */
bool ql_activation_from_name(const char *name, ql_activation *activation);

/* Bounds that an activation sets to floats. */
typedef struct ql_clamps {
    float low, high;
} ql_clamps;

ql_clamps ql_activation_clamps(ql_activation activation);

/* A result by its scales: how sums at the scale input_scale * weight_scale[j] become float32 or codes on a grid, and
 * which of them the activation lets through. */
typedef struct ql_output {
    ql_store store; /* not QL_STORE_S32 */
    ql_activation activation;
    ql_curve curve;     /* of QL_STORE_X8, without an activation */
    const float *slope; /* [n], of QL_CURVE_PRELU */
    float input_scale;
    const float *weight_scale; /* [n], as input_scale finite, normal and > 0 */
    const float *offset;       /* [n], added to float32 results; NULL: zeros */
    float scale;               /* of codes */
    int32_t zero_point, qmin, qmax;
} ql_output;

/* The least and the greatest code that the activation of an output of codes lets through: for each of its bounds
 *
 *   rule A: code = clamp(rint(bound / scale + z), qmin, qmax), quotient and sum rounded to float32 (LiteRT's default)
 *   rule B: code = clamp(round(bound / scale) + z, qmin, qmax), the quotient rounded to float32, then half away from
 *           zero (TensorFlow Lite's reference, TensorFlow Lite Micro)
 *
 * They differ where a quotient ends in .5. The sum of rule A loses bits of the quotient to z: codes of int8 that are
 * held as u8 need the clamps of int8, moved by 128. */
typedef struct ql_code_clamps {
    int32_t qmin, qmax;
} ql_code_clamps;

ql_code_clamps ql_output_clamps(const ql_output *output);

/* What the epilogue's arrays need, aligned to 4 bytes, for n columns. */
size_t ql_epilogue_bytes(size_t n);

/* Rule A: multiplier[j] = float32(float32(input_scale * weight_scale[j]) / scale). Rule B: ql_quantize_multiplier of
 * the same in float64. float32: scale[j] = float32(input_scale * weight_scale[j]) and the offset. QL_EINVAL: a
 * multiplier of either rule that is not below 2^30, or an infinite scale. */
ql_status ql_epilogue_fill(const ql_output *output, size_t n, void *memory, ql_epilogue *epilogue);

/* Static linear: ql_gemm with the epilogue that ql_epilogue_fill makes of the output. */
ql_status ql_linear_static(const ql_codes *a, size_t m, const ql_packed *b, const int32_t *bias,
                           const ql_output *output, void *c);

/* y = activation((x @ (b - zb)) * scale + offset); x is float32: one fused multiply-add per k, k ascending. scale is
 * [n], offset [n] or NULL. */
ql_status ql_gemm_f32(const float *x, size_t m, const ql_packed *b, const float *scale, const float *offset,
                      ql_activation activation, float *y);

/* Dynamic linear: each row of x, or all of x at once, gets a scale and zero point of its own (ql_range_qparams of its
 * range on [0, 255]), is multiplied as integers and comes back as float:
 * y = activation((float32(acc) * row_scale) * scale[j] + offset[j]), each step rounded. offset is [n] or NULL.
 * QL_ENONFINITE for NaN or inf in x. */
typedef struct ql_linear_options {
    const float *scale, *offset;
    ql_activation activation;
    bool per_tensor;
} ql_linear_options;

ql_status ql_linear(const float *x, size_t m, const ql_packed *b, const ql_linear_options *options, float *y);

/* ---- functions of floats ------------------------------------------------------------------------ */

/* Functions that networks apply element by element, softmax row by row. Those with an exponential compute in double and
 * round to float32 once, within 1 unit in its last place; but sigmoid, gelu and softmax, of which networks have many,
 * in float32: sigmoid within 4 units, gelu within 6, softmax within (4 + max(x) - x[j]) of them, where what is below
 * 2^-126 may be 0. NaN gives NaN.
 *   relu max(x, 0), relu6 min(max(x, 0), 6), leaky_relu x * (x < 0 ? slope : 1), sigmoid 1 / (1 + exp(-x)), tanh,
 *   gelu x * (1 + erf(x / sqrt(2))) / 2, silu x * sigmoid(x), hard_swish x * relu6(x + 3) / 6,
 *   elu x < 0 ? exp(x) - 1 : x, hard_sigmoid relu6(x + 3) / 6, softplus log(1 + exp(x)),
 *   softmax e[j] * float32(1 / sum(e)) with e[j] = exp(x[j] - max(x)) in float32, the sum in double by the rule of
 *   ql_moments_f32 */
typedef enum ql_function_kind {
    QL_IDENTITY,
    QL_RELU,
    QL_RELU6,
    QL_LEAKY_RELU,
    QL_SIGMOID,
    QL_TANH,
    QL_GELU,
    QL_SILU,
    QL_HARD_SWISH,
    QL_ELU,
    QL_HARD_SIGMOID,
    QL_SOFTPLUS,
    QL_SOFTMAX,
} ql_function_kind;

typedef struct ql_function {
    ql_function_kind kind;
    float slope; /* of leaky_relu */
} ql_function;

/* Returns whether there is a function of that name, those above; NULL is the identity. */
bool ql_function_from_name(const char *name, ql_function_kind *kind);

/* y[i][j] = function(x[i][j] + bias[j]), rows of n. bias is [n] or NULL. y may be x. */
void ql_apply_f32(const float *x, size_t rows, size_t n, const float *bias, ql_function function, float *y);

/* gradient[i][j] *= the function's slope at z[i][j], sums[j] = sum_i gradient[i][j] in float32, i ascending. z are the
 * function's arguments, or for relu, relu6 and leaky_relu (of a slope > 0) its results, which tell the same. For
 * softmax z are its results, and gradient[i][j] = (gradient[i][j] - sum_k z[i][k] * gradient[i][k]) * z[i][j], with
 * that sum in double, k ascending. For the identity z may be NULL. */
void ql_function_gradient_f32(const float *z, size_t rows, size_t n, ql_function function, float *gradient,
                              float *sums);

/* ---- tables, softmax, pooling ------------------------------------------------------------------- */

/* y[i] = table[x[i]], of 256 entries, by the byte whether the code is signed or not. y may be x. */
void ql_lookup_x8(const uint8_t *x, size_t n, const uint8_t *table, uint8_t *y);

typedef enum ql_softmax_rule { QL_SOFTMAX_FLOAT, QL_SOFTMAX_FIXED, QL_SOFTMAX_AARCH64 } ql_softmax_rule;

/* Most classes that rules of integers take: by "fixed" each adds at most 2^19 to an int32, by "aarch64" 2^16 - 1. */
enum { QL_MAX_FIXED_SOFTMAX = 4095, QL_MAX_AARCH64_SOFTMAX = 32768 };

/* Softmax of each row of n codes of the scale, times beta; the result's scale is 1/256 and its zero point the lowest
 * code, -128 or 0. With d the row's maximum less the code:
 *   float: e = float32(exp(float32(-float32(scale * beta) * d))), sum = the e's from left to right in float32,
 *          share = e * (1 / (sum / 256)) in float32, code = min(share rounded half away from zero, 255) + zero point.
 *          (LiteRT's default path on x86-64.)
 *   aarch64: this e times 65535 in float32, rounded half away from zero to 16 bits, and their exact sum; by rule B with
 *          ql_quantize_multiplier of 1 / (sum / 256) in float32. (LiteRT's default path on AArch64.)
 *   fixed: e from a multiplier of scale * beta in units of 2^-26 (ql_quantize_multiplier, of at most 2^31 - 1), 0 for d
 *          over 31 * 2^26 / 2^exponent; the sum in units of 2^-19; its reciprocal by Newton's method; integers only.
 *          (gemmlowp, TensorFlow Lite's reference, TensorFlow Lite Micro.)
 * QL_EINVAL: scale or beta is not > 0, their product infinite or, for fixed, not over 2^-26. QL_EOVERFLOW: n is over
 * the rule's most classes. y may be x. */
ql_status ql_softmax_x8(const uint8_t *x, size_t rows, size_t n, bool is_signed, float scale, float beta,
                        ql_softmax_rule rule, uint8_t *y);

/* Windows over images of codes, [images][in_h][in_w][channels] to [images][out_h][out_w][channels]: window (i, j)
 * begins at row i * stride_h - top and column j * stride_w - left. Places outside the image do not count, and each
 * window has one inside: top < kernel_h, left < kernel_w, and the last one begins before the end. */
typedef struct ql_pool {
    size_t images, in_h, in_w, channels;
    size_t kernel_h, kernel_w, stride_h, stride_w, top, left, out_h, out_w;
} ql_pool;

/* The least number of codes in a window whose sum could leave int32. */
enum { QL_MAX_AVG_POOL = 1 << 23 };

/* Greatest code in each window, and mean of the codes, rounded half away from zero. QL_EINVAL: a shape that is
 * not as above. QL_EOVERFLOW: windows of QL_MAX_AVG_POOL codes of a channel or more. */
ql_status ql_max_pool_x8(const uint8_t *x, const ql_pool *shape, bool is_signed, uint8_t *y);
ql_status ql_avg_pool_x8(const uint8_t *x, const ql_pool *shape, bool is_signed, uint8_t *y);

/* ---- convolution -------------------------------------------------------------------------------- */

/* The weights of a convolution [kernel_h][kernel_w][in][out] in the layout that the active instruction set multiplies
 * from; as ql_packed, of one instruction set. Channels fall into `groups`, each with `in` channels of the image and
 * out / groups results of its own. */
typedef struct ql_filter ql_filter;

/* is_dilated: windows have gaps along the width, or may have. zero_point is [out] or NULL for zeros; weights farther
 * from it than an int8 reaches are multiplied as two or three terms. QL_EINVAL: groups does not divide out, a zero
 * point is no code, or a length is 0. */
ql_status ql_filter_pack(const uint8_t *w, bool is_signed, const size_t shape[4], const int32_t *zero_point,
                         size_t groups, bool is_dilated, ql_filter **filter);
void ql_filter_free(ql_filter *filter);
ql_packed_info ql_filter_describe(const ql_filter *filter);

/* Codes [count][height][width][channels]. */
typedef struct ql_images {
    const uint8_t *data;
    size_t count, height, width, channels;
    bool is_signed;
    int32_t zero_point;
} ql_images;

/* Heights and widths: output (i, j) looks at the image from (i * stride - before) on, in steps of dilation. Pixels
 * outside the image are the zero point. */
typedef struct ql_window {
    size_t stride[2], dilation[2], before[2], out[2];
} ql_window;

/* y[b][i][j][o] = what the epilogue makes of
 *
 *     s = bias[o] + sum_{u,v,c} (x[b][i * stride + u * dilation - before][...v...][g * in + c] - zx)
 *                               * (w[u][v][c][o] - zw[o])
 *
 * where g is o's group. Exact. y: [count][out_h][out_w][out] of int32, float32 or codes. bias is [out] or NULL.
 * QL_EOVERFLOW: some image of this zero point could lead s out of int32. QL_EINVAL: channels is not groups * in, or the
 * weights were packed for windows without gaps. */
ql_status ql_conv(const ql_images *x, const ql_filter *w, const ql_window *window, const int32_t *bias,
                  const ql_epilogue *epilogue, void *y);

/* Convolves with the epilogue that ql_epilogue_fill makes of the output. QL_EINVAL also where that says so. */
ql_status ql_conv_scaled(const ql_images *x, const ql_filter *w, const ql_window *window, const int32_t *bias,
                         const ql_output *output, void *y);

/* Grids and biases of the images, one each. */
typedef struct ql_image_grids {
    const float *scale;        /* [count], for ql_output's input_scale */
    const int32_t *zero_point; /* [count], for ql_images' */
    const int32_t *bias;       /* [count][out] or NULL */
} ql_image_grids;

/* Calls ql_conv_scaled for every image by itself. y is untouched where the status is another than QL_ENOMEM. */
ql_status ql_conv_images(const ql_images *x, const ql_image_grids *grids, const ql_filter *w, const ql_window *window,
                         const ql_output *output, void *y);

/* ---- float images ------------------------------------------------------------------------------- */

/* Windows over float32 images [count][height][width][channels]: window (i, j) begins at pixel (i * stride - before) and
 * holds kernel[0] x kernel[1] pixels, in steps of dilation. window.out windows fit into the image and its padding.
 * Every function below wants lengths, strides and dilations of at least 1 (count may be 0), and returns QL_EINVAL
 * otherwise. Bits depend on no number of threads. */
typedef struct ql_image_windows {
    size_t count, height, width, channels;
    size_t kernel[2];
    ql_window window;
} ql_image_windows;

/* Rows of windows first..last - 1, counted over all images, of channels channel..channel + taken - 1. */
typedef struct ql_window_rows {
    size_t first, last, channel, taken;
} ql_window_rows;

/* Adds each element of columns [rows * out_w][kernel_h * kernel_w * taken] to the pixel that it stands for, if it is
 * inside: those of window (i, j) are [u][v][c]. Windows ascend, so that the bits do not depend on how rows are cut.
 * (col2im.) */
ql_status ql_image_add_columns(const float *columns, const ql_image_windows *shape, const ql_window_rows *rows,
                               float *x);

/* Convolution with weights [kernel_h][kernel_w][in][out], where channels and outputs fall into `groups`, each with
 * channels / groups = in channels of its own:
 *     y[i][j][o] = sum_{u,v,c} x[pixel (u, v) of window (i, j)][g * in + c] * weight[u][v][c][o]
 * one fused multiply-add each, (u, v, c) ascending, from 0; g is o's group. QL_EINVAL: groups does not divide both. */
ql_status ql_conv_f32(const float *x, const ql_image_windows *shape, const float *weight, size_t out, size_t groups,
                      float *y);

/* The gradient of its weights, where `gradient` is that of y: weight_gradient[u][v][c][o] = the sum over all windows of
 * x[pixel (u, v)][g * in + c] * gradient[i][j][o], by fused multiply-adds from 0 for some windows at a time, whose sums
 * are then added. */
ql_status ql_conv_weight_gradient_f32(const float *x, const ql_image_windows *shape, const float *gradient, size_t out,
                                      size_t groups, float *weight_gradient);

/* Depthwise: the gradient of x, where `gradient` is that of y and weight is [kernel_h][kernel_w][channels], one result
 * for each channel: fused multiply-adds from 0, windows ascending. */
ql_status ql_depthwise_input_gradient_f32(const float *gradient, const ql_image_windows *shape, const float *weight,
                                          float *x_gradient);

/* weight_gradient[u][v][c] = sum_{images,i,j} x[pixel (u, v) of window (i, j)][c] * gradient[i][j][c]: fused
 * multiply-adds in float32 within a stretch of rows of windows (ql_depthwise_stretch), whose sums are added in double.
 */
ql_status ql_depthwise_weight_gradient_f32(const float *x, const ql_image_windows *shape, const float *gradient,
                                           float *weight_gradient);

/* Rows of windows, counted over all images, whose products are added in float32. */
size_t ql_depthwise_stretch(const ql_image_windows *shape);

/* y = the greatest element of each window and channel, or the first NaN; index, unless it is NULL: where it lies, pixel
 * row * in_w + column, of equal ones the first. */
ql_status ql_max_pool_f32(const float *x, const ql_pool *shape, float *y, int32_t *index);

/* x_gradient = 0, then windows ascending x_gradient[index] += gradient. QL_EINVAL also for an index that is no pixel.
 */
ql_status ql_max_pool_gradient_f32(const float *gradient, const int32_t *index, const ql_pool *shape,
                                   float *x_gradient);

/* y = the mean of each window and channel, of the n pixels that lie inside the image: added in double, rows ascending,
 * divided by n in double, rounded once. */
ql_status ql_average_pool_f32(const float *x, const ql_pool *shape, float *y);

/* x_gradient = 0, then windows ascending x_gradient[each pixel] += gradient / n, both rounded. */
ql_status ql_average_pool_gradient_f32(const float *gradient, const ql_pool *shape, float *x_gradient);

/* ---- products with grouped weights -------------------------------------------------------------- */

/* Weights (in, out) whose scales are shared by groups of neighbours along k:
 *     real = scale[g][j] * (code - zero_point[g][j]), or scale[g][j] * codebook[code], for group g = p / group */
typedef struct ql_grouped_codes {
    size_t k, n, group;   /* group is a multiple of 8, or >= k: one for all of a column */
    const uint8_t *codes; /* [k][n] */
    bool is_signed;
    int bits;                  /* 1..8: no code needs more */
    const float *scale;        /* [ceil(k / group)][n], each finite, normal and > 0 */
    const int32_t *zero_point; /* as many, each a code, or NULL for zeros; not with a codebook */
    const float *codebook;     /* NULL: uniform; [entries], or [groups][n][entries] if is_own; of unsigned codes */
    size_t entries;            /* 2 to 2^bits; those that are not finite count as 0 in integer products */
    bool is_own;
} ql_grouped_codes;

/* Grouped weights in the layout that the active instruction set multiplies from; as ql_packed, of one instruction set.
 */
typedef struct ql_grouped ql_grouped;

/* Integer products take a codebook of up to 16 entries as a table of int8, rint(entry / step) kept within 127,
 * under the scale float32(scale * step). The step is the greatest power of two of which all entries are multiples,
 * if none is then more than 127 steps, which makes the table exact; otherwise it is float32(greatest magnitude / 127),
 * and what the table holds is up to half a step beside the entry. QL_EINVAL: weights that are not as above, or
 * float32(scale * step) is infinite. */
ql_status ql_pack_grouped(ql_pack_for purpose, const ql_grouped_codes *w, ql_grouped **packed);
void ql_grouped_free(ql_grouped *packed);
ql_packed_info ql_grouped_describe(const ql_grouped *packed);

/* Dynamic linear: row i of x (m x k) becomes codes a[i] in -127..127 with a scale s[i] of its own, ql_range_qparams of
 * its range, symmetric. With acc[g] = sum_{p in group g} a[i][p] * (w[p][j] - z[g][j]), exact in int32, w the code or
 * what the table holds for it,
 *     t = 0, for g ascending t = t + float32(acc[g]) * scale[g][j]
 *     y[i][j] = activation(t * s[i] + offset[j])
 * where each operation is rounded to float32. offset is [n] or NULL for zeros.
 * QL_ENONFINITE for NaN or inf in x; QL_EOVERFLOW if a group is so long that some acc could lead out of int32. */
typedef struct ql_grouped_options {
    const float *offset;
    ql_activation activation;
} ql_grouped_options;

ql_status ql_linear_grouped(const float *x, size_t m, const ql_grouped *w, const ql_grouped_options *options, float *y);

/* Weight-only: y = x @ real, where real is rounded to float32, float32(code - z) * scale; one fused multiply-add per k,
 * k ascending. */
ql_status ql_gemm_grouped_f32(const float *x, size_t m, const ql_grouped *w, float *y);

/* ---- the integer program ------------------------------------------------------------------------ */

enum { QL_MAX_RANK = 4, QL_MAX_INPUTS = 8, QL_MAX_INTS = 8, QL_MAX_FIELDS = 16 };

typedef enum ql_type { QL_F32, QL_S8, QL_U8, QL_S16, QL_S32 } ql_type;
size_t ql_type_size(ql_type type);

#define QL_NO_BUFFER SIZE_MAX

/* A value that the program computes for every sample. Its rows are the vectors along its last axis. */
typedef struct ql_buffer {
    ql_type type;
    size_t rank, shape[QL_MAX_RANK]; /* of a sample: lengths of at least 1; rank 0: one element */
    /* Codes (s8, u8, s16) have one scale and zero point for all samples, or name the buffers that hold one for each
     * row or each sample: f32 and s32, of the codes' shape with a last length of 1, or with lengths of 1 alone. bits is
     * 8, but for narrower codes of u8 and s8 with one scale: 0..2^bits-1, or -2^(bits-1)..2^(bits-1)-1. */
    float scale;
    int32_t zero_point, bits;
    size_t row_scale, row_zero_point; /* QL_NO_BUFFER: none */
} ql_buffer;

/* An array as a parameter: C-contiguous. */
typedef struct ql_array {
    ql_type type;
    size_t rank, shape[QL_MAX_RANK];
    const void *data;
} ql_array;

/* Kinds of parameters; a field may want one of several. */
typedef enum ql_value_kind {
    QL_VALUE_NONE = 1,
    QL_VALUE_BUFFER = 2,  /* the number of a buffer */
    QL_VALUE_BUFFERS = 4, /* up to QL_MAX_INPUTS of them */
    QL_VALUE_INT = 8,
    QL_VALUE_FLOAT = 16,
    QL_VALUE_INTS = 32, /* up to QL_MAX_INTS */
    QL_VALUE_TEXT = 64,
    QL_VALUE_ARRAY = 128,
} ql_value_kind;

typedef struct ql_value {
    ql_value_kind kind;
    union {
        size_t buffer;
        struct {
            size_t count, items[QL_MAX_INPUTS];
        } buffers;
        int64_t integer;
        double real;
        struct {
            size_t count;
            int64_t items[QL_MAX_INTS];
        } integers;
        const char *text;
        ql_array array;
    };
} ql_value;

/* A parameter of a step, and the kinds that it may be of, as a sum. */
typedef struct ql_field {
    const char *name; /* NULL closes the list */
    int kinds;
} ql_field;

/* The parameters of a kind of step, in the order of their values: first its inputs (QL_VALUE_BUFFERS) and its output
 * (QL_VALUE_BUFFER). NULL: no such kind. */
const ql_field *ql_step_fields(const char *kind);

/* Some of a plan's buffers, by number, each once. */
typedef struct ql_selection {
    size_t count;
    const size_t *buffers;
} ql_selection;

/* An integer program made ready to run: steps on buffers. It is of the instruction set that was active when it was
 * made. */
typedef struct ql_plan ql_plan;

/* inputs: given by the caller. outputs: written by steps, for the caller. QL_EINVAL: a buffer that is not as above, a
 * number that is none, no input or no output. */
ql_status ql_plan_new(const ql_buffer *buffers, size_t count, ql_selection inputs, ql_selection outputs,
                      ql_plan **plan);
void ql_plan_free(ql_plan *plan);

/* Appends a step. What it needs of the arrays is copied or packed. QL_EINVAL: the values do not fit the buffers, an
 * input that nothing has written, an output that something has, or a plan that is finished. */
ql_status ql_plan_add(ql_plan *plan, const char *kind, const ql_value *values);

/* Plans the memory; nothing runs before. QL_EINVAL: no step writes the output *at_fault. */
ql_status ql_plan_finish(ql_plan *plan, size_t *at_fault);

/* Another scale and zero point of a buffer of codes that has one for all samples. */
typedef struct ql_regrid {
    size_t buffer;
    float scale;
    int32_t zero_point;
} ql_regrid;

/* Other values of a step, with arrays of the same shapes. */
typedef struct ql_revalue {
    size_t step;
    const ql_value *values;
} ql_revalue;

/* Takes over other grids of buffers and other values of steps, each at most once: weights are packed into the memory
 * that they have. Steps that keep something of a buffer's grid have to be among them. All or nothing changes.
 * QL_EINVAL: no such buffer or step, other buffers or shapes, a kind that has no arrays, a grid that is none, a step
 * that is missing; *at_fault is the step, or the number of steps. Not to be called while the plan runs. */
ql_status ql_plan_update(ql_plan *plan, const ql_regrid *grids, size_t grid_count, const ql_revalue *steps,
                         size_t step_count, size_t *at_fault);

size_t ql_plan_step_count(const ql_plan *plan);
const char *ql_plan_step_kind(const ql_plan *plan, size_t i); /* NULL from the end on */
size_t ql_plan_buffer_count(const ql_plan *plan);
const ql_buffer *ql_plan_buffer(const ql_plan *plan, size_t i);
ql_selection ql_plan_inputs(const ql_plan *plan);
ql_selection ql_plan_outputs(const ql_plan *plan);

/* Samples that go through the steps together, and bytes that a thread then has for buffers and for what steps need
 * beside them; 0 before ql_plan_finish. */
size_t ql_plan_samples(const ql_plan *plan);
size_t ql_plan_workspace_bytes(const ql_plan *plan);

/* Runs all steps. inputs[i] and outputs[i] are arrays [samples][...] of the i-th input and output. QL_ENONFINITE: NaN
 * or inf in a float input. QL_ECODES: rows' zero points that are no codes. In both cases *at_fault is the buffer, and
 * outputs have perhaps been written to. Any number of threads may run one plan at the same time. */
ql_status ql_plan_run(ql_plan *plan, const void *const *inputs, void *const *outputs, size_t samples, size_t *at_fault);

/* Runs all steps in the caller's thread alone; ns [steps] is how long each took. */
ql_status ql_plan_time(ql_plan *plan, const void *const *inputs, void *const *outputs, size_t samples, uint64_t *ns,
                       size_t *at_fault);

/* Steps first..last - 1 alone, on given buffers. */
typedef struct ql_part {
    size_t first, last;
    ql_selection given, wanted;
} ql_part;

/* The same for some of the steps: inputs[i] is given.buffers[i], outputs[i] wanted.buffers[i]. QL_EINVAL: no such
 * steps, or *at_fault is a buffer that is read but neither given nor written by them, that is wanted but not written by
 * them, or that is given and written. */
ql_status ql_plan_run_steps(ql_plan *plan, const ql_part *part, const void *const *inputs, void *const *outputs,
                            size_t samples, size_t *at_fault);

/* ---- training ------------------------------------------------------------------------------------- */

/* One step of an optimizer, element by element, with g' = clamp(gradient_scale * g, -limit, limit) + decay * p:
 *
 *   sgd:      first = momentum * first + g', d = first, with nesterov g' + momentum * first; without first d = g'
 *   adam:     first += (1 - momentum) (g' - first), second = memory * second + (1 - memory) g'^2,
 *             d = first / (sqrt(second) * root + epsilon)
 *   rmsprop:  second = memory * second + (1 - memory) g'^2, d = g' / (sqrt(second) + epsilon);
 *             with first: first = momentum * first + d, d = first
 *
 * and then p = shrink * p - rate * d. Every operation is rounded to float, 1 - momentum and 1 - memory before they are.
 */
typedef enum ql_optimizer { QL_SGD, QL_ADAM, QL_RMSPROP } ql_optimizer;

typedef struct ql_update {
    double gradient_scale, limit, decay, shrink, rate;
    double momentum, memory, root, epsilon;
    bool nesterov;
} ql_update;

/* Updates n parameters and the moments of their gradients. first may be NULL for QL_SGD and QL_RMSPROP; second is used
 * by QL_ADAM and QL_RMSPROP. The arrays do not overlap. QL_EINVAL: moments that the optimizer needs are missing. */
ql_status ql_optimize_f32(ql_optimizer optimizer, const ql_update *update, float *parameter, const float *gradient,
                          float *first, float *second, size_t n);

/* Targets of a cross entropy: a class for each row, or (class NULL) a probability of each class. */
typedef struct ql_targets {
    const int32_t *label;
    const float *probability; /* [rows][n] */
    double smoothing;         /* of labels: share that is spread over all classes */
} ql_targets;

/* loss = sum_r share[r] * -sum_i t_i log softmax(x_r)_i and gradient = share[r] (softmax(x_r)_i sum_j t_j - t_i), which
 * may be x. Computed in double; rows are added in order. A row that holds NaN or an infinity makes the loss and its
 * gradient NaN. QL_EINVAL: a label outside [0, n), or no classes. */
ql_status ql_cross_entropy_f32(const float *x, size_t rows, size_t n, const ql_targets *targets, const float *share,
                               float *gradient, double *loss);

/* ---- measuring ------------------------------------------------------------------------------------ */

/* *sum = n * a * b, modulo 2^32, as n multiply-adds in registers, by the instruction that ql_gemm uses. Returns n,
 * which is in proportion to rounds. */
uint64_t ql_peak_u8s8s32(size_t rounds, uint8_t a, int8_t b, int32_t *sum);

#endif
