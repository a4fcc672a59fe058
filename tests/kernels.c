/* Runs every kernel of every instruction set that this CPU has, without Python: over awkward lengths, groups and values
 * each must give the same bits as the scalar one. Prints a digest of each kernel's results, which two machines can be
 * compared by (.ci/arm does). Every array ends where a page ends that may not be touched. */
#define _DEFAULT_SOURCE /* mmap */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/base/memory.h"
#include "core/gemm/gemm.h"
#include "kernels/kernels.h"
#include "qlite.h"

enum { SLOTS = 10, SLOT_BYTES = 1 << 20, GUARD_BYTES = 1 << 16, RESULT = SLOTS - 1 };

static char *slots[SLOTS];

static void map_slots(void)
{
    for (int i = 0; i < SLOTS; i++) {
        slots[i] = mmap(NULL, SLOT_BYTES + GUARD_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (slots[i] == MAP_FAILED || mprotect(slots[i] + SLOT_BYTES, GUARD_BYTES, PROT_NONE) != 0) {
            perror("mmap");
            exit(2);
        }
    }
}

static void *array(int slot, size_t bytes)
{
    return slots[slot] + SLOT_BYTES - bytes;
}

/* ---- values: the same on every machine ---------------------------------------------------------- */

static uint64_t state;

static uint32_t bits(void) /* splitmix64 */
{
    uint64_t z = state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return (uint32_t)(z >> 32);
}

static int32_t between(int32_t low, int32_t high)
{
    return low + (int32_t)(bits() % (uint32_t)(high - low + 1));
}

static float float_of(uint32_t pattern)
{
    float value;
    memcpy(&value, &pattern, sizeof value);
    return value;
}

/* In [2^(low - 127), 2^(high - 126)). */
static float between_powers(int32_t low, int32_t high)
{
    uint32_t exponent = (uint32_t)between(low, high);
    return float_of(exponent << 23 | bits() >> 9);
}

static float any_scale(void)
{
    static const float awkward[] = {FLT_MIN, FLT_MAX, 0x1p-126f * 3, 0x1p127f, 1.0f, 0.1f, 1.0f / 3};
    return bits() % 8 == 0 ? awkward[bits() % 7] : between_powers(100, 140);
}

/* Ties, ordinary values and any bits at all: NaN quiet and signaling, infinities, denormals, both zeros. */
static float any_value(float scale)
{
    static const uint32_t awkward[] = {0x00000000, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00001,
                                       0x7F800001, 0xFFBFFFFF, 0x00000001, 0x807FFFFF, 0x7F7FFFFF, 0xFF7FFFFF};
    switch (bits() % 4) {
    case 0:
        return bits() % 2 ? float_of(bits()) : float_of(awkward[bits() % 12]);
    case 1:
        return ((float)between(-400, 400) + 0.5f) * scale;
    default:
        return (float)between(-0x1000000, 0x1000000) * 0x1p-15f * scale;
    }
}

static int32_t any_sum(void)
{
    static const int32_t awkward[] = {INT32_MIN, INT32_MIN + 1, INT32_MAX, INT32_MAX - 1, 0, 1, -1};
    uint32_t shift = bits() % 32;
    return bits() % 8 == 0 ? awkward[bits() % 7] : (int32_t)bits() >> shift;
}

/* ---- one case of each kernel -------------------------------------------------------------------- */

typedef struct results {
    void *data;
    size_t bytes;
    uint8_t answer; /* what the kernel returned */
} results;

/* Which NaN it is, is not defined. */
static results floats(float *values, size_t n, uint8_t answer)
{
    for (size_t i = 0; i < n; i++)
        values[i] = values[i] == values[i] ? values[i] : NAN;
    return (results){values, n * sizeof *values, answer};
}

typedef struct parameters {
    float *scale;
    int32_t *zero_point;
    int32_t qmin, qmax;
} parameters;

/* In slots 0 and 1, for codes of `width` bits. */
static parameters any_parameters(size_t count, int width)
{
    static const int32_t ranges[][2] = {{-128, 127}, {0, 255}, {-127, 127},     {0, 15},    {-8, 7},
                                        {-1, 1},     {7, 7},   {-32768, 32767}, {0, 65535}, {-2048, 2047}};
    const int32_t *range = ranges[bits() % (width > 8 ? 10 : 7)];
    float *scale = array(0, count * sizeof *scale);
    int32_t *zero_point = array(1, count * sizeof *zero_point);
    for (size_t i = 0; i < count; i++) {
        scale[i] = any_scale();
        zero_point[i] = between(range[0], range[1]);
    }
    return (parameters){scale, zero_point, range[0], range[1]};
}

static size_t parameter_count(size_t n, size_t group)
{
    return (n + group - 1) / group;
}

static float *any_values(int slot, size_t n, const float *scale, size_t group)
{
    float *x = array(slot, n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = any_value(scale[i / group]);
    return x;
}

static uint8_t *any_codes(int slot, size_t n)
{
    uint8_t *codes = array(slot, n);
    for (size_t i = 0; i < n; i++)
        codes[i] = (uint8_t)bits();
    return codes;
}

static int32_t *any_sums(int slot, size_t n)
{
    int32_t *sums = array(slot, n * sizeof *sums);
    for (size_t i = 0; i < n; i++)
        sums[i] = any_sum();
    return sums;
}

static results quantize(const ql_kernels *kernels, size_t n, size_t group)
{
    parameters p = any_parameters(parameter_count(n, group), 8);
    float *x = any_values(2, n, p.scale, group);
    uint8_t *codes = array(RESULT, n);
    bool nonfinite = kernels->quantize_f32_x8(x, n, p.scale, p.zero_point, group, p.qmin, p.qmax, codes);
    return (results){codes, n, nonfinite};
}

static results dequantize(const ql_kernels *kernels, size_t n, size_t group)
{
    parameters p = any_parameters(parameter_count(n, group), 8);
    uint8_t *codes = any_codes(2, n);
    float *x = array(RESULT, n * sizeof *x);
    kernels->dequantize_x8_f32(codes, n, p.qmin < 0, p.scale, p.zero_point, group, x);
    return floats(x, n, false);
}

static results fake_quantize(const ql_kernels *kernels, size_t n, size_t group)
{
    parameters p = any_parameters(parameter_count(n, group), 8);
    float *y = any_values(RESULT, n, p.scale, group);
    bool nonfinite = kernels->fake_quantize_f32(y, n, p.scale, p.zero_point, group, p.qmin, p.qmax, y);
    return floats(y, n, nonfinite);
}

static results quantize_any(const ql_kernels *kernels, size_t n, size_t group)
{
    static const ql_rounding roundings[] = {QL_ROUND_EVEN, QL_ROUND_AWAY, QL_ROUND_STOCHASTIC};
    parameters p = any_parameters(parameter_count(n, group), 16);
    float *x = any_values(2, n, p.scale, group);
    int32_t *codes = array(RESULT, n * sizeof *codes);
    ql_rounding rounding = roundings[bits() % 3];
    uint64_t key = bits() * UINT64_C(0x100000001);
    uint64_t first = UINT64_C(0x200000000) - bits() % 128;
    bool nonfinite =
        kernels->quantize_f32_s32(x, n, p.scale, p.zero_point, group, p.qmin, p.qmax, rounding, key, first, codes);
    return (results){codes, n * sizeof *codes, nonfinite};
}

static results dequantize_any(const ql_kernels *kernels, size_t n, size_t group)
{
    parameters p = any_parameters(parameter_count(n, group), 16);
    int32_t *codes = array(2, n * sizeof *codes);
    float *x = array(RESULT, n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        codes[i] = between(p.qmin, p.qmax);
    kernels->dequantize_s32_f32(codes, n, p.scale, p.zero_point, group, x);
    return floats(x, n, false);
}

static results in_range(const ql_kernels *kernels, size_t n, size_t group)
{
    parameters p = any_parameters(parameter_count(n, group), 16);
    float *x = any_values(2, n, p.scale, group);
    bool *inside = array(RESULT, n);
    kernels->in_range_f32(x, n, p.scale, p.zero_point, group, p.qmin, p.qmax, inside);
    return (results){inside, n, false};
}

static results minmax(const ql_kernels *kernels, size_t n, size_t group)
{
    static const float scale[] = {1.0f};
    const size_t count = parameter_count(n, group);
    float *x = any_values(2, n, scale, n + 1);
    float *ends = array(RESULT, 2 * count * sizeof *ends), *min = ends, *max = min + count;
    for (size_t i = 0; i < n && bits() % 2; i++)
        x[i] = fabsf(x[i]) < FLT_MAX ? x[i] : 1.0f;
    for (size_t i = 0; i < count; i++) {
        min[i] = INFINITY;
        max[i] = -INFINITY;
    }
    bool has_nan = kernels->minmax_f32(x, n, group, min, max);
    for (size_t i = 0; i < 2 * count; i++)
        ends[i] += 0.0f; /* the sign of a zero is not defined */
    return floats(ends, 2 * count, has_nan);
}

static results moments(const ql_kernels *kernels, size_t n, size_t group)
{
    static const float scale[] = {1.0f};
    const size_t count = parameter_count(n, group);
    float *x = any_values(2, n, scale, n + 1);
    double *sums = array(RESULT, 3 * count * sizeof *sums);
    for (size_t i = 0; i < n; i++)
        x[i] = fabsf(x[i]) <= FLT_MAX ? x[i] : 1.0f; /* which NaN comes of two is not defined */
    for (size_t i = 0; i < 3 * count; i++)
        sums[i] = (double)i;
    kernels->add_moments_f32(x, n, group, sums, sums + count, sums + 2 * count);
    return (results){sums, 3 * count * sizeof *sums, false};
}

/* A tile of a few rows; in rows that are further apart than wide the neighbours must stay as they are. */
typedef struct tile {
    size_t rows, stride, size;
} tile;

static tile any_tile(size_t cols)
{
    tile t = {.rows = (size_t)between(1, 5)};
    t.stride = cols + bits() % 3;
    t.size = (t.rows - 1) * t.stride + cols;
    return t;
}

/* A codebook's tables, which have to lie on 64 bytes, as the ends of pages do. Thresholds are a value of codebook,
 * often met exactly; in breadth-first order: node i of level l stands at rank (2 * (i - 2^l) + 1) * 2^(levels - l - 1).
 */
static ql_codebook_tree any_tree(void)
{
    const int levels = between(4, 8);
    const size_t leaves = (size_t)1 << levels, used = (size_t)between(1, (int32_t)leaves);
    float *threshold = array(3, leaves * sizeof *threshold);
    int32_t *code = array(4, leaves * sizeof *code);
    threshold[0] = NAN;
    for (int l = 0; l < levels; l++) {
        for (size_t i = 0; i < (size_t)1 << l; i++) {
            size_t rank = (2 * i + 1) << (levels - l - 1);
            threshold[((size_t)1 << l) + i] = rank < used ? (float)((int)rank - (int)used / 2) + 0.5f : NAN;
        }
    }
    for (size_t i = 0; i < leaves; i++)
        code[i] = (int32_t)(i * 5 % leaves);
    return (ql_codebook_tree){levels, QL_CODES_ANY, 0, 0, threshold, code};
}

static results quantize_codebook(const ql_kernels *kernels, size_t n, size_t group)
{
    parameters p = any_parameters(parameter_count(n, group), 8);
    float *x = any_values(2, n, p.scale, group);
    ql_codebook_tree tree = any_tree();
    uint8_t *codes = array(RESULT, n);
    bool nonfinite = kernels->quantize_codebook_f32_u8(x, n, p.scale, group, &tree, codes);
    return (results){codes, n, nonfinite};
}

static results dequantize_codebook(const ql_kernels *kernels, size_t n, size_t group)
{
    const int levels = between(4, 8);
    const float unit = 1.0f;
    parameters p = any_parameters(parameter_count(n, group), 8);
    uint8_t *codes = any_codes(2, n);
    float *values = any_values(3, (size_t)1 << levels, &unit, SIZE_MAX), *x = array(RESULT, n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        codes[i] %= 1u << levels;
    kernels->dequantize_codebook_u8_f32(codes, n, p.scale, group, values, levels, x);
    return floats(x, n, false);
}

static results pack_bits(const ql_kernels *kernels, size_t n, size_t group)
{
    const int width = (int)(group % 7) + 1;
    const bool is_signed = bits() % 2;
    uint8_t *codes = any_codes(2, n), *packed = array(RESULT, (n * (size_t)width + 7) / 8);
    for (size_t i = 0; i < n && bits() % 8; i++) /* up to a code that may be too great */
        codes[i] =
            (uint8_t)(is_signed ? between(-(1 << (width - 1)), (1 << (width - 1)) - 1) : codes[i] % (1 << width));
    uint8_t seen = kernels->pack_bits_x8(codes, n, is_signed, width, packed);
    return (results){packed, (n * (size_t)width + 7) / 8, seen};
}

static results unpack_bits(const ql_kernels *kernels, size_t n, size_t group)
{
    const int width = (int)(group % 7) + 1;
    uint8_t *packed = any_codes(2, (n * (size_t)width + 7) / 8), *codes = array(RESULT, n);
    kernels->unpack_bits_x8(packed, n, bits() % 2, width, codes);
    return (results){codes, n, false};
}

static results histogram_slots(const ql_kernels *kernels, size_t n, size_t group)
{
    const size_t count = parameter_count(n, group);
    float *inverse_width = array(0, count * sizeof *inverse_width), *scale = array(1, count * sizeof *scale);
    int32_t *origin = array(2, count * sizeof *origin);
    uint32_t bins = 128u << bits() % 10, *slots = array(RESULT, n * sizeof *slots);
    for (size_t i = 0; i < count; i++) {
        int32_t exponent = between(-120, 120);
        inverse_width[i] = ldexpf(1.0f, exponent);
        scale[i] = ldexpf(1.0f, -exponent);
        origin[i] = bits() % 8 ? between(-(int32_t)bins, 0) : between(-(1 << 24), 1 << 24);
    }
    float *x = any_values(3, n, scale, group);
    kernels->histogram_slots_f32(x, n, inverse_width, origin, group, bins, slots);
    return (results){slots, n * sizeof *slots, false};
}

static results lookup(const ql_kernels *kernels, size_t n, size_t group)
{
    uint8_t *table = any_codes(3, 256);
    if (group % 2) { /* in place */
        uint8_t *codes = any_codes(RESULT, n);
        kernels->lookup_x8(codes, n, table, codes);
        return (results){codes, n, false};
    }
    uint8_t *codes = any_codes(2, n), *y = array(RESULT, n);
    kernels->lookup_x8(codes, n, table, y);
    return (results){y, n, false};
}

/* Windows of n channels, as far apart as they like; the last ends where x does. */
static ql_windows any_windows(size_t channels, size_t group, size_t *size)
{
    ql_windows w = {.n = (size_t)between(1, 4), .rows = (size_t)between(1, 4), .cols = 1 + group % 8};
    w.channels = channels;
    w.step = channels * (size_t)between(0, 3);
    w.row_stride = (w.cols + bits() % 3) * channels;
    *size = (w.n - 1) * w.step + (w.rows - 1) * w.row_stride + w.cols * channels;
    return w;
}

static results pool(ql_max_pool_kernel *kernel, size_t n, size_t group)
{
    size_t size;
    const ql_windows w = any_windows(n, group, &size);
    const bool is_signed = bits() % 2;
    uint8_t *x = any_codes(2, size), *y = array(RESULT, w.n * n);
    kernel(x, &w, is_signed, y);
    return (results){y, w.n * n, false};
}

static results max_pool(const ql_kernels *kernels, size_t n, size_t group)
{
    return pool(kernels->max_pool_x8, n, group);
}

static results avg_pool(const ql_kernels *kernels, size_t n, size_t group)
{
    return pool(kernels->avg_pool_x8, n, group);
}

/* Integers as floats: codes and zero points. */
static float *any_integers(int slot, size_t n, int32_t low, int32_t high)
{
    float *x = array(slot, n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)between(low, high);
    return x;
}

static results place(const ql_kernels *kernels, size_t n, size_t group)
{
    (void)group;
    parameters p = any_parameters(n, 16);
    float *w = any_values(2, n, p.scale, 1), *code = any_integers(3, n, p.qmin, p.qmax);
    float *zero_point = any_integers(4, n, p.qmin, p.qmax);
    int32_t *out = array(RESULT, 3 * n * sizeof *out), *place = out + n, *fault = place + n;
    float *value = array(5, n * sizeof *value);
    bool any = kernels->place_f32(w, code, n, p.scale, zero_point, p.qmin, p.qmax, value, place, fault);
    memcpy(out, floats(value, n, any).data, n * sizeof *value);
    return (results){out, 3 * n * sizeof *out, any};
}

static results add_errors(const ql_kernels *kernels, size_t n, size_t group)
{
    enum { FIELDS = 6 };
    const float unit = 1.0f;
    const bool fold = group % 2;
    const size_t stride = fold ? QL_LANES : n;
    float *w = any_values(2, n, &unit, n + 1), *value = any_values(3, n, &unit, n + 1);
    int32_t *fault = array(4, n * sizeof *fault);
    double *sums = array(RESULT, FIELDS * stride * sizeof *sums);
    for (size_t i = 0; i < n; i++) {
        w[i] = isfinite(w[i]) ? w[i] : 3.0f;
        value[i] = isfinite(value[i]) ? value[i] : 4.0f;
        fault[i] = between(0, QL_CLIPPED | QL_MOVED);
    }
    for (size_t i = 0; i < FIELDS * stride; i++)
        sums[i] = between(0, 1000);
    kernels->add_errors_f64(w, value, fault, n, fold, sums, stride);
    return (results){sums, FIELDS * stride * sizeof *sums, false};
}

static results requantize(const ql_kernels *kernels, size_t n, size_t group)
{
    (void)group;
    tile in = any_tile(n), out = in;
    out.stride += 3;
    out.size = (out.rows - 1) * out.stride + n;
    parameters p = any_parameters(1, 8);
    int32_t *acc = any_sums(2, in.size);
    float *multiplier = array(3, n * sizeof *multiplier);
    for (size_t j = 0; j < n; j++)
        multiplier[j] = between_powers(70, 156);
    uint8_t *codes = any_codes(RESULT, out.size);
    kernels->requantize_s32_x8(acc, in.stride, in.rows, n, multiplier, *p.zero_point, p.qmin, p.qmax, codes,
                               out.stride);
    return (results){codes, out.size, false};
}

static results requantize_fixed(const ql_kernels *kernels, size_t n, size_t group)
{
    (void)group;
    tile in = any_tile(n), out = in;
    out.stride += 3;
    out.size = (out.rows - 1) * out.stride + n;
    parameters p = any_parameters(1, 8);
    int32_t *acc = any_sums(2, in.size);
    int32_t *mantissa = array(3, n * sizeof *mantissa), *exponent = array(4, n * sizeof *exponent);
    for (size_t j = 0; j < n; j++) {
        double value = (double)bits() + 1;
        if (ql_quantize_multiplier(ldexp(value, between(-68, -3)), mantissa + j, exponent + j) != QL_OK)
            exit(2);
    }
    uint8_t *codes = any_codes(RESULT, out.size);
    kernels->requantize_fixed_s32_x8(acc, in.stride, in.rows, n, mantissa, exponent, *p.zero_point, p.qmin, p.qmax,
                                     codes, out.stride);
    return (results){codes, out.size, false};
}

static results scale(const ql_kernels *kernels, size_t n, size_t group)
{
    (void)group;
    tile t = any_tile(n);
    const float unit = 1.0f;
    int32_t *acc = any_sums(2, t.size);
    float *row_scale = any_values(3, t.rows, &unit, t.rows), *col_scale = any_values(4, n, &unit, n + 1);
    float *offset = any_values(5, n, &unit, n + 1), *y = any_values(RESULT, t.size, &unit, t.size + 1);
    float low = bits() % 2 ? 0.0f : -INFINITY, high = bits() % 2 ? 6.0f : INFINITY;
    kernels->scale_s32_f32(acc, t.stride, t.rows, n, row_scale, col_scale, offset, low, high, y, t.stride);
    return floats(y, t.size, false);
}

static results add_outer(const ql_kernels *kernels, size_t n, size_t group)
{
    (void)group;
    tile t = any_tile(n);
    int32_t *row = any_sums(2, t.rows), *col = any_sums(3, n), *acc = any_sums(RESULT, t.size);
    kernels->add_outer_s32(acc, t.stride, t.rows, n, row, col);
    return (results){acc, t.size * sizeof *acc, false};
}

/* The products' kernels read what ql_pack laid out for them: they are called through the core. k: of one segment. */
static ql_packed *any_packed(ql_pack_for purpose, size_t k, size_t segments, size_t n)
{
    k *= segments;
    int32_t *zero_point = array(0, n * sizeof *zero_point);
    for (size_t j = 0; j < n; j++)
        zero_point[j] = between(-128, 127);
    uint8_t *codes = any_codes(1, k * n);
    ql_packed *packed;
    if (ql_pack_segments(purpose, codes, true, k, segments, n, bits() % 2 ? zero_point : NULL, &packed) != QL_OK)
        exit(2);
    return packed;
}

/* Column parameters of every store, in slots 3 to 5. */
static ql_epilogue any_epilogue(size_t n)
{
    static const ql_store stores[] = {QL_STORE_S32, QL_STORE_F32, QL_STORE_X8, QL_STORE_X8_FIXED};
    float *scale = array(3, n * sizeof *scale), *offset = array(4, n * sizeof *offset);
    int32_t *mantissa = array(5, n * sizeof *mantissa), *exponent = array(6, n * sizeof *exponent);
    for (size_t j = 0; j < n; j++) {
        scale[j] = between_powers(110, 120);
        offset[j] = (float)between(-1000, 1000);
        if (ql_quantize_multiplier((double)scale[j], mantissa + j, exponent + j) != QL_OK)
            exit(2);
    }
    parameters p = any_parameters(1, 8);
    return (ql_epilogue){.store = stores[bits() % 4],
                         .scale = scale,
                         .offset = offset,
                         .low = bits() % 2 ? 0.0f : -INFINITY,
                         .high = bits() % 2 ? 6.0f : INFINITY,
                         .multiplier = scale,
                         .mantissa = mantissa,
                         .exponent = exponent,
                         .zero_point = *p.zero_point,
                         .qmin = p.qmin,
                         .qmax = p.qmax};
}

static uint8_t *any_left(ql_pack_for purpose, size_t n)
{
    uint8_t *codes = any_codes(2, n);
    for (size_t i = 0; i < n && purpose == QL_PACK_INTEGER7; i++)
        codes[i] &= 127;
    return codes;
}

/* Rows that overlap and fall into segments, as convolutions have them: read in place if the kernels can. Where they
 * cannot, what follows a segment up to a multiple of kr is another, or behind the last one zeros. */
static results product_of_segments(ql_pack_for purpose, size_t k, size_t n)
{
    enum { MOST = 3 };
    const size_t m = (size_t)between(1, 14), segments = (size_t)between(2, MOST);
    const size_t a_stride = (size_t)between(1, (int32_t)k + 3), length = segments * k + bits() % 5;
    ql_packed *b = any_packed(purpose, k, segments, n);
    const ql_gemm_kernels *gemm = b->gemm;
    const ql_epilogue epilogue = any_epilogue(n);
    const size_t size = m * n * (epilogue.store < QL_STORE_X8 ? 4 : 1), all = (m - 1) * a_stride + length;
    const uint8_t *a = any_left(purpose, all);
    size_t offset[MOST];
    for (size_t t = 0; t < segments; t++)
        offset[t] = (size_t)between(0, (int32_t)(length - k)) * gemm->a_size;
    int32_t *bias = any_sums(0, n), *rows = any_sums(1, m), *start = array(7, b->n_padded * sizeof *start);
    int16_t *widened = array(8, (all + gemm->kr) * sizeof *widened);
    void *c = array(RESULT, size);
    if (gemm->a_size == 2)
        gemm->row(a, all, 0, all + gemm->kr, widened);
    ql_gemm_init(b, bias, between(0, 255), start);
    const ql_gemm_args args = {.a = gemm->a_size == 2 ? (const void *)widened : a,
                               .a_stride = a_stride * gemm->a_size,
                               .k = k,
                               .segments = segments,
                               .offset = offset,
                               .b = b->panels,
                               .panel_stride = b->panel_bytes,
                               .start = start,
                               .row_term = {bits() % 2 ? rows : NULL, bits() % 2 ? rows : NULL},
                               .col_term = {b->zero_point, b->column_sum},
                               .epilogue = &epilogue,
                               .c = c,
                               .c_stride = n};
    const size_t step = m <= gemm->wide_mr ? 2 * gemm->nr : gemm->nr;
    for (size_t j = 0; j < n; j += step)
        ql_gemm_tiles(&args, b, 0, m, j, n - j < step ? n - j : step);
    ql_packed_free(b);
    return (results){c, size, false};
}

static results product(ql_pack_for purpose, size_t k, size_t n)
{
    if (bits() % 4 == 0)
        return product_of_segments(purpose, k, n);
    const size_t m = (size_t)between(1, 14), size = m * n;
    ql_packed *b = any_packed(purpose, k, 1, n);
    ql_epilogue epilogue = any_epilogue(n);
    int32_t zero_point = between(0, 255), *bias = array(7, n * sizeof *bias);
    for (size_t j = 0; j < n; j++)
        bias[j] = between(-100000, 100000);
    uint8_t *codes = any_left(purpose, m * k);
    const size_t bytes = epilogue.store == QL_STORE_S32 || epilogue.store == QL_STORE_F32 ? 4 * size : size;
    void *c = array(RESULT, bytes);
    ql_codes a = {codes, k, false, &zero_point, false};
    if (ql_gemm(&a, m, b, bits() % 2 ? bias : NULL, &epilogue, c) != QL_OK)
        exit(2);
    ql_packed_free(b);
    return (results){c, bytes, false};
}

static results gemm(const ql_kernels *kernels, size_t k, size_t n)
{
    (void)kernels;
    return product(QL_PACK_INTEGER, k, n);
}

static results gemm_u7(const ql_kernels *kernels, size_t k, size_t n)
{
    (void)kernels;
    return product(QL_PACK_INTEGER7, k, n);
}

/* n channels by themselves, windows of a few taps that come from k; in place or with a border. */
static results depthwise(const ql_kernels *kernels, size_t k, size_t n)
{
    (void)kernels;
    const size_t shape[] = {1 + k % 5, 1 + k / 5 % 4, 1, n}, stride = 1 + k % 2, before = k % 3 % 2,
                 extra = 2 * stride + 2;
    uint8_t *codes = any_codes(0, shape[0] * shape[1] * n);
    ql_filter *w;
    if (ql_filter_pack(codes, true, shape, NULL, n, false, &w) != QL_OK)
        exit(2);
    const ql_images x = {.count = 1,
                         .height = shape[0] + extra,
                         .width = shape[1] + extra,
                         .channels = n,
                         .data = any_codes(1, (shape[0] + extra) * (shape[1] + extra) * n),
                         .zero_point = between(0, 255)};
    const ql_window window = {.stride = {stride, stride},
                              .dilation = {1, 1},
                              .before = {before, before},
                              .out = {extra / stride + 1, extra / stride + 1}};
    const ql_epilogue epilogue = any_epilogue(n);
    const size_t size = window.out[0] * window.out[1] * n;
    const size_t bytes = epilogue.store == QL_STORE_S32 || epilogue.store == QL_STORE_F32 ? 4 * size : size;
    void *y = array(RESULT, bytes);
    if (ql_conv(&x, w, &window, NULL, &epilogue, y) != QL_OK)
        exit(2);
    ql_filter_free(w);
    return (results){y, bytes, false};
}

static results gemm_f32(const ql_kernels *kernels, size_t k, size_t n)
{
    (void)kernels;
    const size_t m = (size_t)between(1, 9);
    const float unit = 1.0f;
    ql_packed *b = any_packed(QL_PACK_FLOAT, k, 1, n);
    float *x = array(2, m * k * sizeof *x), *y = array(RESULT, m * n * sizeof *y);
    float *col_scale = any_values(3, n, &unit, n + 1), *offset = any_values(4, n, &unit, n + 1);
    const bool finite = bits() % 4;
    for (size_t i = 0; i < m * k; i++)
        x[i] = finite ? (float)between(-0x1000000, 0x1000000) * 0x1p-20f : any_value(unit);
    if (ql_gemm_f32(x, m, b, col_scale, offset, bits() % 2, y) != QL_OK)
        exit(2);
    ql_packed_free(b);
    return floats(y, m * n, false);
}

static results peak(const ql_kernels *kernels, size_t n, size_t group)
{
    int32_t *sum = array(RESULT, sizeof *sum);
    const uint8_t a = (uint8_t)between(0, 255);
    *sum = kernels->peak_u8s8s32(n % 16 * group, a, (int8_t)between(-128, 127));
    return (results){sum, sizeof *sum, false};
}

static results sum_groups(const ql_kernels *kernels, size_t n, size_t group)
{
    const size_t k = 8 * n, length = 8 * group, count = (k + length - 1) / length;
    const int8_t *codes = (const int8_t *)any_codes(2, k);
    int32_t *sum = array(RESULT, count * sizeof *sum);
    kernels->sum_groups_s8_s32(codes, k, length, any_sum(), sum);
    return (results){sum, count * sizeof *sum, false};
}

static results dequantize_group(const ql_kernels *kernels, size_t n, size_t group)
{
    (void)group;
    const float unit = 1.0f;
    const bool is_byte = bits() % 2, has_zero_point = bits() % 2, has_values = bits() % 2, is_own = bits() % 2;
    const size_t nr = 8 * (size_t)between(1, QL_MAX_NR / 8), k = 8 * (n / 8 + 1), entries = is_byte ? 256 : 16;
    int16_t *zero_point = array(0, nr * sizeof *zero_point);
    for (size_t j = 0; j < nr; j++)
        zero_point[j] = (int16_t)between(-128, 127);
    float *scale = any_values(1, nr, &unit, nr), *w = array(RESULT, nr * k * sizeof *w);
    float *values = any_values(3, entries * (is_own ? nr : 1), &unit, SIZE_MAX);
    ql_group_part part = {.form = is_byte ? QL_WEIGHTS_S8 : QL_WEIGHTS_U4,
                          .k = k,
                          .nr = nr,
                          .codes = any_codes(2, nr * k / (is_byte ? 1 : 2)),
                          .scale = scale,
                          .zero_point = has_zero_point ? zero_point : NULL,
                          .shared_zero_point = between(-128, 127),
                          .values = has_values ? values : NULL,
                          .values_stride = is_own ? entries : 0};
    kernels->dequantize_group_f32(&part, w);
    return floats(w, nr * k, false);
}

/* Weights of every form, in slots 0 to 4. */
static ql_grouped *any_grouped(ql_pack_for purpose, size_t k, size_t n)
{
    const int form = between(0, 3); /* codes of 4 bits, of 8, a codebook, one for each scale */
    const size_t length = 8 * (size_t)between(1, 9), count = (k + length - 1) / length, entries = 16;
    ql_grouped_codes w = {.k = k, .n = n, .group = length, .bits = form == 1 ? 8 : 4, .is_signed = form == 1};
    uint8_t *codes = any_codes(0, k * n);
    for (size_t i = 0; i < k * n && form != 1; i++)
        codes[i] &= 15;
    float *scale = array(1, count * n * sizeof *scale);
    int32_t *zero_point = array(2, count * n * sizeof *zero_point);
    for (size_t i = 0; i < count * n; i++) {
        scale[i] = between_powers(110, 120);
        zero_point[i] = between(0, 15);
    }
    w.codes = codes;
    w.scale = scale;
    w.zero_point = form < 2 && bits() % 2 ? zero_point : NULL;
    if (form >= 2) {
        const size_t books = form == 3 ? count * n : 1;
        float *book = array(3, books * entries * sizeof *book);
        for (size_t i = 0; i < books * entries; i++)
            book[i] = (float)between(-1000, 1000) * 0x1p-10f;
        w.codebook = book;
        w.entries = entries;
        w.is_own = form == 3;
    }
    ql_grouped *packed;
    if (ql_pack_grouped(purpose, &w, &packed) != QL_OK)
        exit(2);
    return packed;
}

static results gemm_grouped(const ql_kernels *kernels, size_t k, size_t n)
{
    (void)kernels;
    const size_t m = (size_t)between(1, 9);
    ql_grouped *w = any_grouped(QL_PACK_INTEGER, k, n);
    float *x = array(5, m * k * sizeof *x), *offset = array(6, n * sizeof *offset);
    float *y = array(RESULT, m * n * sizeof *y);
    for (size_t i = 0; i < m * k; i++)
        x[i] = (float)between(-0x1000000, 0x1000000) * 0x1p-20f;
    for (size_t j = 0; j < n; j++)
        offset[j] = (float)between(-1000, 1000);
    const ql_grouped_options options = {offset, bits() % 2 ? 0.0f : -INFINITY, bits() % 2 ? 600.0f : INFINITY};
    if (ql_linear_grouped(x, m, w, &options, y) != QL_OK)
        exit(2);
    ql_grouped_free(w);
    return floats(y, m * n, false);
}

static results gemm_grouped_f32(const ql_kernels *kernels, size_t k, size_t n)
{
    (void)kernels;
    const size_t m = (size_t)between(1, 9);
    const float unit = 1.0f;
    ql_grouped *w = any_grouped(QL_PACK_FLOAT, k, n);
    float *x = any_values(5, m * k, &unit, SIZE_MAX), *y = array(RESULT, m * n * sizeof *y);
    if (ql_gemm_grouped_f32(x, m, w, y) != QL_OK)
        exit(2);
    ql_grouped_free(w);
    return floats(y, m * n, false);
}

typedef struct subject {
    const char *kernel;
    results (*run)(const ql_kernels *kernels, size_t n, size_t group);
} subject;

static const subject subjects[] = {
    {"quantize_f32_x8", quantize},
    {"dequantize_x8_f32", dequantize},
    {"fake_quantize_f32", fake_quantize},
    {"quantize_f32_s32", quantize_any},
    {"dequantize_s32_f32", dequantize_any},
    {"in_range_f32", in_range},
    {"place_f32", place},
    {"add_errors_f64", add_errors},
    {"quantize_codebook_f32_u8", quantize_codebook},
    {"dequantize_codebook_u8_f32", dequantize_codebook},
    {"pack_bits_x8", pack_bits},
    {"unpack_bits_x8", unpack_bits},
    {"histogram_slots_f32", histogram_slots},
    {"lookup_x8", lookup},
    {"max_pool_x8", max_pool},
    {"avg_pool_x8", avg_pool},
    {"minmax_f32", minmax},
    {"add_moments_f32", moments},
    {"requantize_s32_x8", requantize},
    {"requantize_fixed_s32_x8", requantize_fixed},
    {"scale_s32_f32", scale},
    {"add_outer_s32", add_outer},
    {"peak_u8s8s32", peak},
    {"gemm_u8s8s32", gemm},
    {"gemm_u7s8s32", gemm_u7},
    {"depthwise_u8s8s32", depthwise},
    {"gemm_f32s8f32", gemm_f32},
    {"sum_groups_s8_s32", sum_groups},
    {"dequantize_group_f32", dequantize_group},
    {"gemm_s8s4f32", gemm_grouped},
    {"gemm_f32f32f32", gemm_grouped_f32},
};

/* ---- the run ------------------------------------------------------------------------------------ */

static const subject *subject_of(const char *kernel)
{
    for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++) {
        if (strcmp(subjects[i].kernel, kernel) == 0)
            return subjects + i;
    }
    fprintf(stderr, "%s: no case here\n", kernel);
    exit(1);
}

static results run(const subject *s, const char *isa, size_t n, size_t group, uint64_t seed)
{
    if (ql_isa_select(isa) != QL_OK)
        exit(2);
    state = seed * 1000003 + n * 1009 + group;
    return s->run(ql_kernels_active(), n, group);
}

/* Every instruction set's results against the scalar ones, which enter the digest (FNV-1a). */
static void compare(const subject *s, size_t n, size_t group, uint64_t seed, uint64_t *digest)
{
    static unsigned char expected[SLOT_BYTES];
    const results scalar = run(s, "scalar", n, group, seed);
    memcpy(expected, scalar.data, scalar.bytes);
    *digest = (*digest ^ scalar.answer) * UINT64_C(0x100000001B3);
    for (size_t i = 0; i < scalar.bytes; i++)
        *digest = (*digest ^ expected[i]) * UINT64_C(0x100000001B3);
    for (size_t i = 1; ql_isa_name(i); i++) {
        if (!ql_isa_can_run(i))
            continue;
        results other = run(s, ql_isa_name(i), n, group, seed);
        if (other.answer == scalar.answer && memcmp(other.data, expected, scalar.bytes) == 0)
            continue;
        fprintf(stderr, "%s of %s differs from scalar: n %zu, group %zu, seed %" PRIu64 "\n", s->kernel, ql_isa_name(i),
                n, group, seed);
        exit(1);
    }
}

int main(void)
{
    static const size_t lengths[] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16,  17,  18,  19, 23,
                                     24, 25, 31, 32, 33, 47, 48, 49, 63, 64, 65, 79, 80, 81, 96, 127, 128, 129, 257};
    static const size_t groups[] = {1, 2, 3, 4, 5, 8, 15, 16, 17, 32, 33, 64, 257};
    enum { SEEDS = 3 };

    map_slots();
    fprintf(stderr, "instruction sets:");
    for (size_t i = 0; ql_isa_name(i); i++)
        fprintf(stderr, "%s%s", ql_isa_can_run(i) ? " " : " not ", ql_isa_name(i));
    fprintf(stderr, "\n");
    for (size_t i = 0; ql_kernel_name(i); i++) {
        const subject *s = subject_of(ql_kernel_name(i));
        uint64_t digest = UINT64_C(0xCBF29CE484222325);
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
            for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
                for (uint64_t seed = 0; seed < SEEDS; seed++)
                    compare(s, lengths[l], groups[g], seed, &digest);
            }
        }
        printf("%-28s %016" PRIx64 "\n", s->kernel, digest);
    }
    return 0;
}
