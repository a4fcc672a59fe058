/* Quantize, dequantize, fake-quantize: a vector at a time, or four.
 *
 * x / scale is rounded once: with x * (1 / scale) ties fall differently. Where a scale serves many values, two
 * multiplications give a number that rounds to the same code (AVX2 on Zen 3, in L2: 11.8 Ge/s, with divisions 7.1);
 * where it serves few, or where numbers are not codes of a byte, three give the same quotient, if DIVISION_IS_SLOW:
 * AVX2 divides beside its other work. */
#include <math.h>

#include "kernels/x86/block_x86.h"

/* Turns NaN into zero, whose code is the zero point. Returns whether there was NaN or an infinity. */
static inline bool replace_nan(block *x)
{
    if (__builtin_expect(!has_nonfinite(x->v, 4), 1))
        return false;
    for (int u = 0; u < 4; u++)
        x->v[u] = keep_f32(ordered_lanes(x->v[u]), x->v[u]);
    return true;
}

/* Scales whose reciprocal, and what it lacks, the functions below can use: nothing underflows that could matter. */
static inline bool has_reciprocal(float scale)
{
    return scale >= 0x1p-64f && scale <= 0x1p64f;
}

static inline bool have_reciprocals(floats scale)
{
    return !any_lane(less_f32(scale, set_f32(0x1p-64f)) | less_f32(set_f32(0x1p64f), scale));
}

/* x / scale without the division (Markstein 1990): q = x * reciprocal, corrected by its remainder, where reciprocal is
 * 1 / scale rounded once. For every pair of significands that is the true quotient, rounded once
 * (tests/verify/quotients.c), as long as nothing underflows or overflows: 1 / scale is normal; |x| >= 2^-102, so that
 * the remainder is exact or rounded to 24 bits. Else |x / scale| < 2^-12, and so is this: both round to the integer 0;
 * x and q are finite. Else this is NaN, which the callers look for. */
static inline floats quotient(floats x, floats scale, floats reciprocal)
{
    const floats q = x * reciprocal;
    return fma_f32(fnma_f32(q, scale, x), reciprocal, q);
}

/* What 1 / scale, rounded once to reciprocal, lacks. */
static inline floats rest_of(floats reciprocal, floats scale)
{
    return fnma_f32(reciprocal, scale, set_f32(1.0f)) / scale;
}

/* A number that rounds to the same integer as x / scale does after it was rounded once, for integers up to 255; those
 * above stay above. Checked for every significand of a scale, around all halves (tests/verify/quotients.c). What is not
 * finite, or overflows, is infinite or NaN. */
static inline floats rough_quotient(floats x, floats reciprocal, floats rest)
{
    return fma_f32(x, reciprocal, x * rest);
}

typedef struct grid {
    floats scale, low, high;
    ints zero_point;
} grid;

static inline grid make_grid(floats scale, ints zero_point, int32_t qmin, int32_t qmax)
{
    const floats middle = to_f32(zero_point); /* exact, and so are the differences */
    grid g = {.scale = scale, .zero_point = zero_point};
    g.low = set_f32((float)qmin) - middle;
    g.high = set_f32((float)qmax) - middle;
    return g;
}

static inline grid shared_grid(const float *scale, const int32_t *zero_point, int32_t qmin, int32_t qmax)
{
    return make_grid(set_f32(*scale), set_s32(*zero_point), qmin, qmax);
}

/* Lanes past the end divide by 1. */
static inline grid own_grid(const float *scale, const int32_t *zero_point, size_t left, int32_t qmin, int32_t qmax)
{
    return make_grid(load_first_or_f32(scale, left, set_f32(1.0f)), load_first_s32(zero_point, left), qmin, qmax);
}

/* The bounds are integers, so that the conversion, half to even, may round after them. */
static inline ints ordered_steps(floats t, const grid *g)
{
    return to_s32(min_f32(max_f32(t, g->low), g->high));
}

/* NaN is zero steps. */
static inline ints steps(floats x, const grid *g)
{
    floats t = x / g->scale;
    return keep_s32(ordered_lanes(t), ordered_steps(t, g));
}

static inline bool quantize_lanes(const float *x, size_t left, const grid *g, uint8_t *codes)
{
    floats v = load_first_f32(x, left);
    store_first_u8(codes, left, add_s32(steps(v, g), g->zero_point));
    return has_nonfinite(&v, 1);
}

/* Codes as signed bytes: unsigned ones are shifted by 128 until they are stored. */
typedef struct byte_range {
    ints low, high, flip;
    int32_t shift;
    bool is_whole; /* low and high are those of bytes */
} byte_range;

static inline byte_range make_byte_range(int32_t qmin, int32_t qmax)
{
    int32_t shift = qmin < 0 ? 0 : 128;
    byte_range r = {set_s8((char)(qmin - shift)), set_s8((char)(qmax - shift)), set_s8((char)shift), shift,
                    qmin - shift == INT8_MIN && qmax - shift == INT8_MAX};
    return r;
}

/* What steps need before they are codes, beside packing, which saturates. Each operation is 4 % of the time (Zen 3). */
typedef enum grid_kind {
    ANY,     /* zero points, both ends, the shift */
    WHOLE,   /* no ends: all codes of a byte */
    CENTERED /* the lower end: 8 bits, signed, zero in the middle */
} grid_kind;

static inline grid_kind kind_of(const byte_range *r, int32_t zero_point, int32_t qmax)
{
    if (zero_point == 0 && r->shift == 0 && qmax == INT8_MAX)
        return CENTERED;
    return r->is_whole ? WHOLE : ANY;
}

/* Quotients of any size: what is too great for an int32 is brought down, what is too small converts to the least one;
 * from there on everything saturates. */
static inline ints rounded(floats x, floats scale)
{
    return to_s32(min_f32(x / scale, set_f32(65536.0f)));
}

/* steps[h], zero_point[h]: of the halves of the block, 16 bits each, in the order that packing leaves them in. */
static inline void store_block(uint8_t *codes, const ints *steps, const ints *zero_point, const byte_range *r,
                               grid_kind kind)
{
    if (kind == CENTERED) {
        store_s32(codes, in_order(max_s8(pack_s16(steps[0], steps[1]), r->low)));
        return;
    }
    ints bytes = pack_s16(adds_s16(steps[0], zero_point[0]), adds_s16(steps[1], zero_point[1]));
    if (kind == ANY)
        bytes = min_s8(max_s8(bytes, r->low), r->high);
    store_s32(codes, in_order(bytes ^ r->flip));
}

/* zero_point as above, shifted. */
static inline bool quantize_block(const float *x, const block *scale, const ints *zero_point, const byte_range *r,
                                  uint8_t *codes)
{
    block b = load_block(x);
    prefetch(x, sizeof b);
    bool nonfinite = replace_nan(&b);
    ints halves[2];
    for (int h = 0; h < 2; h++)
        halves[h] = pack_s32(rounded(b.v[2 * h], scale->v[2 * h]), rounded(b.v[2 * h + 1], scale->v[2 * h + 1]));
    store_block(codes, halves, zero_point, r, ANY);
    return nonfinite;
}

/* Rounds the quotients of a block, for store_block. Returns whether they are right: NaN, infinities and what is under
 * -2^15 or over 2^31, which give INT16_MIN, are left to quantize_block. */
static inline bool steps_of(const floats *quotients, ints *steps)
{
    ints v[4];
#pragma GCC unroll 4
    for (int u = 0; u < 4; u++)
        v[u] = to_s32(quotients[u]);
    steps[0] = pack_s32(v[0], v[1]);
    steps[1] = pack_s32(v[2], v[3]);
    return __builtin_expect(!any_equal_s16(min_s16(steps[0], steps[1]), INT16_MIN), 1);
}

/* Zero points of a block as store_block takes them. */
static inline void halves_of(const int32_t *zero_point, const byte_range *r, ints *halves)
{
    ints z[4];
    for (int u = 0; u < 4; u++)
        z[u] = sub_s32(load_s32(zero_point + u * LANES), set_s32(r->shift));
    halves[0] = pack_s32(z[0], z[1]);
    halves[1] = pack_s32(z[2], z[3]);
}

static bool quantize_own(const float *x, size_t n, const float *scale, const int32_t *zero_point, int32_t qmin,
                         int32_t qmax, uint8_t *codes)
{
    const byte_range r = make_byte_range(qmin, qmax);
    bool nonfinite = false;
    size_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK) {
        block s = load_block(scale + i);
        ints halves[2];
        halves_of(zero_point + i, &r, halves);
        nonfinite |= quantize_block(x + i, &s, halves, &r, codes + i);
    }
    for (; i < n; i += LANES) {
        grid g = own_grid(scale + i, zero_point + i, n - i, qmin, qmax);
        nonfinite |= quantize_lanes(x + i, n - i, &g, codes + i);
    }
    return nonfinite;
}

/* Columns whose reciprocals and zero points stay near while all rows go by. In halves 2048 columns take 1.3 times as
 * long, because what is fetched ahead of a half's end is the other half (AMD Zen 3). */
enum { TILE = 2048 };

/* Of some columns, their number a multiple of BLOCK. */
typedef struct column_grids {
    ints halves[TILE / BLOCK][2];       /* zero points */
    float reciprocal[TILE], rest[TILE]; /* aligned as they are, before the pointer */
    const float *scale;
} column_grids;

/* Returns whether all scales have a reciprocal. */
static bool set_columns(const float *scale, const int32_t *zero_point, size_t n, const byte_range *r, column_grids *g)
{
    bool all = true;
    g->scale = scale;
    for (size_t j = 0; j < n; j += LANES) {
        const floats s = load_f32(scale + j);
        all &= have_reciprocals(s);
        const floats reciprocal = set_f32(1.0f) / s;
        store_f32(g->reciprocal + j, reciprocal);
        store_f32(g->rest + j, rest_of(reciprocal, s));
    }
    for (size_t j = 0; j < n; j += BLOCK)
        halves_of(zero_point + j, r, g->halves[j / BLOCK]);
    return all;
}

static bool quantize_row(const float *x, size_t n, const column_grids *g, const byte_range *r, uint8_t *codes)
{
    bool nonfinite = false;
    for (size_t j = 0; j < n; j += BLOCK) {
        const block b = load_block(x + j);
        floats q[4];
        ints steps[2];
        prefetch_near(x + j, sizeof b);
#pragma GCC unroll 4
        for (int u = 0; u < 4; u++) {
            const size_t first = j + (size_t)(u * LANES);
            q[u] = rough_quotient(b.v[u], load_f32(g->reciprocal + first), load_f32(g->rest + first));
        }
        if (steps_of(q, steps)) {
            store_block(codes + j, steps, g->halves[j / BLOCK], r, ANY);
        } else {
            const block scales = load_block(g->scale + j);
            nonfinite |= quantize_block(x + j, &scales, g->halves[j / BLOCK], r, codes + j);
        }
    }
    return nonfinite;
}

/* 1024 x 1024 take 0.12 ms, row by row with divisions 0.23 (AMD Zen 3). */
bool QL_KERNEL(ql_quantize_rows_f32_x8)(const float *x, size_t rows, size_t n, const float *scale,
                                        const int32_t *zero_point, int32_t qmin, int32_t qmax, uint8_t *codes)
{
    const byte_range r = make_byte_range(qmin, qmax);
    bool nonfinite = false;
    for (size_t first = 0, cols; first < n; first += cols) {
        column_grids grids;
        cols = n - first < TILE ? n - first : TILE;
        const float *s = scale + first;
        const int32_t *z = zero_point + first;
        size_t whole = cols - cols % BLOCK;
        if (!set_columns(s, z, whole, &r, &grids))
            whole = 0;
        for (size_t i = first; i < rows * n; i += n) {
            nonfinite |= quantize_row(x + i, whole, &grids, &r, codes + i);
            if (whole < cols)
                nonfinite |=
                    quantize_own(x + i + whole, cols - whole, s + whole, z + whole, qmin, qmax, codes + i + whole);
        }
    }
    return nonfinite;
}

/* Blocks with one scale, up to the first one that is left to quantize_block. Returns how many values that were. */
static inline __attribute__((always_inline)) size_t quantize_blocks(const float *x, size_t n, float scale,
                                                                    ints zero_point, const byte_range *r,
                                                                    grid_kind kind, uint8_t *codes)
{
    const float t = 1.0f / scale;
    const floats reciprocal = set_f32(t), rest = set_f32(fmaf(-t, scale, 1.0f) / scale);
    const ints zero_points[2] = {zero_point, zero_point};
    const byte_range range = *r;
    size_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK) {
        const block b = load_block(x + i);
        floats q[4];
        ints steps[2];
        prefetch(x + i, sizeof b);
#pragma GCC unroll 4
        for (int u = 0; u < 4; u++)
            q[u] = rough_quotient(b.v[u], reciprocal, rest);
        if (!steps_of(q, steps))
            break;
        store_block(codes + i, steps, zero_points, &range, kind);
    }
    return i;
}

static inline size_t quantize_quickly(const float *x, size_t n, float scale, ints zero_point, const byte_range *r,
                                      grid_kind kind, uint8_t *codes)
{
    if (kind == CENTERED)
        return quantize_blocks(x, n, scale, zero_point, r, CENTERED, codes);
    if (kind == WHOLE)
        return quantize_blocks(x, n, scale, zero_point, r, WHOLE, codes);
    return quantize_blocks(x, n, scale, zero_point, r, ANY, codes);
}

/* Values with one scale for which making its reciprocal pays with AVX2 (Zen 3). */
enum { FEWEST = 3 * BLOCK };

static inline bool quantize_shared(const float *x, size_t n, const float *scale, const int32_t *zero_point,
                                   int32_t qmin, int32_t qmax, const byte_range *r, uint8_t *codes)
{
    bool nonfinite = false;
    size_t i = 0;
    if (n >= BLOCK) {
        const floats s = set_f32(*scale);
        const block scales = {{s, s, s, s}};
        const ints z = set_s16((int16_t)(*zero_point - r->shift)), zero_points[2] = {z, z};
        if (has_reciprocal(*scale) && (DIVISION_IS_SLOW || n >= FEWEST)) {
            const grid_kind kind = kind_of(r, *zero_point, qmax);
            for (;;) {
                i += quantize_quickly(x + i, n - i, *scale, z, r, kind, codes + i);
                if (i + BLOCK > n)
                    break;
                nonfinite |= quantize_block(x + i, &scales, zero_points, r, codes + i);
                i += BLOCK;
            }
        }
        for (; i + BLOCK <= n; i += BLOCK)
            nonfinite |= quantize_block(x + i, &scales, zero_points, r, codes + i);
    }
    if (i < n) {
        const grid g = shared_grid(scale, zero_point, qmin, qmax);
        for (; i < n; i += LANES)
            nonfinite |= quantize_lanes(x + i, n - i, &g, codes + i);
    }
    return nonfinite;
}

/* Two groups of half a block, or one of a block: 4 bits in groups of 32 take 0.15 ns a value, by way of quantize_shared
 * 0.19 (AVX2 on Zen 3). Reciprocals are scalar divisions, which take less than two of vectors. */
static inline bool quantize_groups(const float *x, const float *scale, const int32_t *zero_point, size_t groups,
                                   const byte_range *r, uint8_t *codes)
{
    const size_t last = groups - 1;
    const floats s0 = set_f32(scale[0]), s1 = set_f32(scale[last]);
    const block scales = {{s0, s0, s1, s1}};
    const ints halves[2] = {set_s16((int16_t)(zero_point[0] - r->shift)),
                            set_s16((int16_t)(zero_point[last] - r->shift))};
    if (DIVISION_IS_SLOW && has_reciprocal(scale[0]) && has_reciprocal(scale[last])) {
        const floats t0 = set_f32(1.0f / scale[0]), t1 = set_f32(1.0f / scale[last]);
        const block b = load_block(x);
        const floats q[4] = {quotient(b.v[0], s0, t0), quotient(b.v[1], s0, t0), quotient(b.v[2], s1, t1),
                             quotient(b.v[3], s1, t1)};
        ints steps[2];
        prefetch(x, sizeof b);
        if (steps_of(q, steps)) {
            store_block(codes, steps, halves, r, ANY);
            return false;
        }
    }
    return quantize_block(x, &scales, halves, r, codes);
}

bool QL_KERNEL(ql_quantize_f32_x8)(const float *x, size_t n, const float *scale, const int32_t *zero_point,
                                   size_t group, int32_t qmin, int32_t qmax, uint8_t *codes)
{
    if (group == 1)
        return quantize_own(x, n, scale, zero_point, qmin, qmax, codes);
    const byte_range r = make_byte_range(qmin, qmax);
    bool nonfinite = false;
    size_t i = 0;
    if (group == BLOCK / 2 || group == BLOCK) {
        const size_t groups = BLOCK / group;
        for (; i + BLOCK <= n; i += BLOCK, scale += groups, zero_point += groups)
            nonfinite |= quantize_groups(x + i, scale, zero_point, groups, &r, codes + i);
    }
    for (; i < n; i += group, scale++, zero_point++)
        nonfinite |=
            quantize_shared(x + i, n - i < group ? n - i : group, scale, zero_point, qmin, qmax, &r, codes + i);
    return nonfinite;
}

static inline bool fake_quantize_lanes(const float *x, size_t left, const grid *g, float *y)
{
    floats v = load_first_f32(x, left);
    store_first_f32(y, left, to_f32(steps(v, g)) * g->scale);
    return has_nonfinite(&v, 1);
}

/* g: a grid for each quarter of the block. */
static inline bool fake_quantize_block(const float *x, const grid *const *g, float *y)
{
    block b = load_block(x);
    prefetch(x, sizeof b);
    bool nonfinite = replace_nan(&b);
#pragma GCC unroll 4
    for (int u = 0; u < 4; u++)
        store_f32(y + u * LANES, to_f32(ordered_steps(b.v[u] / g[u]->scale, g[u])) * g[u]->scale);
    return nonfinite;
}

/* The same without the division, which what is not finite and what overflows are left to. */
static inline bool fake_quantize_block_quickly(const float *x, const grid *const *g, const floats *reciprocal, float *y)
{
    const block b = load_block(x);
    prefetch(x, sizeof b);
    floats q[4];
#pragma GCC unroll 4
    for (int u = 0; u < 4; u++)
        q[u] = quotient(b.v[u], g[u]->scale, reciprocal[u]);
    if (__builtin_expect(has_nonfinite(q, 4), 0))
        return fake_quantize_block(x, g, y);
#pragma GCC unroll 4
    for (int u = 0; u < 4; u++)
        store_f32(y + u * LANES, to_f32(ordered_steps(q[u], g[u])) * g[u]->scale);
    return false;
}

/* n is at least 1. */
static bool are_alike(const int32_t *v, size_t n)
{
    int32_t differences = 0;
    for (size_t i = 0; i < n; i++)
        differences |= v[i] ^ v[0];
    return differences == 0;
}

/* n is a multiple of BLOCK. What is alike is read before the loop, whose stores might change it for all that the
 * compiler knows. */
static inline bool fake_quantize_own_blocks(const float *x, size_t n, const float *scale, const int32_t *zero_point,
                                            bool alike, int32_t qmin, int32_t qmax, float *y)
{
    const ints shared = set_s32(alike ? *zero_point : 0);
    bool nonfinite = false;
    for (size_t i = 0; i < n; i += BLOCK) {
        block b = load_block(x + i);
        prefetch_near(x + i, sizeof b);
        nonfinite |= replace_nan(&b);
#pragma GCC unroll 4
        for (int u = 0; u < 4; u++) {
            const size_t first = i + (size_t)(u * LANES);
            const ints z = alike ? shared : load_s32(zero_point + first);
            const grid g = make_grid(load_f32(scale + first), z, qmin, qmax);
            store_f32(y + first, to_f32(ordered_steps(b.v[u] / g.scale, &g)) * g.scale);
        }
    }
    return nonfinite;
}

static bool fake_quantize_own(const float *x, size_t n, const float *scale, const int32_t *zero_point, bool alike,
                              int32_t qmin, int32_t qmax, float *y)
{
    const size_t whole = n - n % BLOCK;
    bool nonfinite = alike ? fake_quantize_own_blocks(x, whole, scale, zero_point, true, qmin, qmax, y)
                           : fake_quantize_own_blocks(x, whole, scale, zero_point, false, qmin, qmax, y);
    for (size_t i = whole; i < n; i += LANES) {
        grid g = own_grid(scale + i, zero_point + i, n - i, qmin, qmax);
        nonfinite |= fake_quantize_lanes(x + i, n - i, &g, y + i);
    }
    return nonfinite;
}

/* With one zero point for all, as symmetric grids have it, the bounds are made once: in L2 0.15 ns a value, else 0.18
 * (AMD Zen 3). */
bool QL_KERNEL(ql_fake_quantize_rows_f32)(const float *x, size_t rows, size_t n, const float *scale,
                                          const int32_t *zero_point, int32_t qmin, int32_t qmax, float *y)
{
    const bool alike = n > 0 && are_alike(zero_point, n);
    bool nonfinite = false;
    for (size_t i = 0; i < rows; i++)
        nonfinite |= fake_quantize_own(x + i * n, n, scale, zero_point, alike, qmin, qmax, y + i * n);
    return nonfinite;
}

static inline bool fake_quantize_shared(const float *x, size_t n, float scale, const grid *g, float *y)
{
    const grid *const grids[] = {g, g, g, g};
    bool nonfinite = false;
    size_t i = 0;
    if (DIVISION_IS_SLOW && n >= BLOCK && has_reciprocal(scale)) {
        const floats t = set_f32(1.0f / scale), reciprocals[] = {t, t, t, t};
        for (; i + BLOCK <= n; i += BLOCK)
            nonfinite |= fake_quantize_block_quickly(x + i, grids, reciprocals, y + i);
    }
    for (; i + BLOCK <= n; i += BLOCK)
        nonfinite |= fake_quantize_block(x + i, grids, y + i);
    for (; i < n; i += LANES)
        nonfinite |= fake_quantize_lanes(x + i, n - i, g, y + i);
    return nonfinite;
}

bool QL_KERNEL(ql_fake_quantize_f32)(const float *x, size_t n, const float *scale, const int32_t *zero_point,
                                     size_t group, int32_t qmin, int32_t qmax, float *y)
{
    if (group == 1)
        return fake_quantize_own(x, n, scale, zero_point, false, qmin, qmax, y);
    bool nonfinite = false;
    size_t i = 0;
    if (group == BLOCK / 2) {
        for (; i + BLOCK <= n; i += BLOCK, scale += 2, zero_point += 2) {
            const grid g0 = shared_grid(scale, zero_point, qmin, qmax);
            const grid g1 = shared_grid(scale + 1, zero_point + 1, qmin, qmax);
            const grid *const grids[] = {&g0, &g0, &g1, &g1};
            if (DIVISION_IS_SLOW && has_reciprocal(scale[0]) && has_reciprocal(scale[1])) {
                const floats t0 = set_f32(1.0f / scale[0]), t1 = set_f32(1.0f / scale[1]);
                nonfinite |= fake_quantize_block_quickly(x + i, grids, (const floats[]){t0, t0, t1, t1}, y + i);
            } else {
                nonfinite |= fake_quantize_block(x + i, grids, y + i);
            }
        }
    }
    for (; i < n; i += group, scale++, zero_point++) {
        const grid g = shared_grid(scale, zero_point, qmin, qmax);
        nonfinite |= fake_quantize_shared(x + i, n - i < group ? n - i : group, *scale, &g, y + i);
    }
    return nonfinite;
}

static inline void dequantize_lanes(const uint8_t *codes, size_t left, bool is_signed, floats scale, ints zero_point,
                                    float *x)
{
    ints code = is_signed ? load_first_s8(codes, left) : load_first_u8(codes, left);
    store_first_f32(x, left, to_f32(sub_s32(code, zero_point)) * scale);
}

static inline void dequantize_own_lanes(const uint8_t *codes, size_t left, bool is_signed, const float *scale,
                                        const int32_t *zero_point, float *x)
{
    dequantize_lanes(codes, left, is_signed, load_first_f32(scale, left), load_first_s32(zero_point, left), x);
}

static inline void dequantize_shared(const uint8_t *codes, size_t n, bool is_signed, floats scale, ints zero_point,
                                     float *x)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        dequantize_lanes(codes + i, LANES, is_signed, scale, zero_point, x + i);
    if (i < n)
        dequantize_lanes(codes + i, n - i, is_signed, scale, zero_point, x + i);
}

void QL_KERNEL(ql_dequantize_x8_f32)(const uint8_t *codes, size_t n, bool is_signed, const float *scale,
                                     const int32_t *zero_point, size_t group, float *x)
{
    size_t i = 0;
    if (group == 1) {
        for (; i + LANES <= n; i += LANES)
            dequantize_own_lanes(codes + i, LANES, is_signed, scale + i, zero_point + i, x + i);
        if (i < n)
            dequantize_own_lanes(codes + i, n - i, is_signed, scale + i, zero_point + i, x + i);
        return;
    }
    for (; i < n; i += group, scale++, zero_point++)
        dequantize_shared(codes + i, n - i < group ? n - i : group, is_signed, set_f32(*scale), set_s32(*zero_point),
                          x + i);
}
