/* Eight values at a time, or four times eight; the last ones go through masked loads and a small buffer.
 *
 * x / scale is rounded once: with x * (1 / scale) ties fall differently. Where `quantize` has one scale for many
 * values, the quotient is made of multiplications (16 against 11 Ge/s in L2 and L3); elsewhere it is a division. */
#include <string.h>

#include "kernels/avx2/lanes_avx2.h"

enum { BLOCK = 4 * LANES };

static inline __m256 ordered_lanes(__m256 x)
{
    return _mm256_cmp_ps(x, x, _CMP_ORD_Q);
}

/* A product with zero is NaN for an infinity and for NaN alone. */
static inline bool has_nonfinite(__m256 x)
{
    __m256 product = _mm256_mul_ps(x, _mm256_setzero_ps());
    return _mm256_movemask_ps(_mm256_cmp_ps(product, product, _CMP_UNORD_Q)) != 0;
}

typedef struct block {
    __m256 v[4];
} block;

static inline block load_block(const float *x)
{
    block b;
    for (int u = 0; u < 4; u++)
        b.v[u] = _mm256_loadu_ps(x + u * LANES);
    return b;
}

/* Turns NaN into zero, whose code is the zero point. Returns whether there was NaN or an infinity. */
static inline bool replace_nan(block *x)
{
    const __m256 zero = _mm256_setzero_ps();
    __m256 product = _mm256_mul_ps(x->v[0], zero);
    for (int u = 1; u < 4; u++)
        product = _mm256_fmadd_ps(x->v[u], zero, product);
    if (__builtin_expect(_mm256_movemask_ps(_mm256_cmp_ps(product, product, _CMP_UNORD_Q)) == 0, 1))
        return false;
    for (int u = 0; u < 4; u++)
        x->v[u] = _mm256_and_ps(ordered_lanes(x->v[u]), x->v[u]);
    return true;
}

typedef struct grid {
    __m256 scale, low, high;
    __m256i zero_point;
} grid;

static inline grid make_grid(__m256 scale, __m256i zero_point, int32_t qmin, int32_t qmax)
{
    grid g = {.scale = scale, .zero_point = zero_point};
    g.low = _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_set1_epi32(qmin), zero_point));
    g.high = _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_set1_epi32(qmax), zero_point));
    return g;
}

static inline grid shared_grid(const float *scale, const int32_t *zero_point, int32_t qmin, int32_t qmax)
{
    return make_grid(_mm256_set1_ps(*scale), _mm256_set1_epi32(*zero_point), qmin, qmax);
}

/* Lanes past the end divide by 1. */
static inline grid own_grid(const float *scale, const int32_t *zero_point, __m256i mask, int32_t qmin, int32_t qmax)
{
    __m256 s = _mm256_maskload_ps(scale, mask);
    s = _mm256_blendv_ps(_mm256_set1_ps(1.0f), s, _mm256_castsi256_ps(mask));
    return make_grid(s, _mm256_maskload_epi32(zero_point, mask), qmin, qmax);
}

/* The bounds are integers, so that the conversion, half to even, may round after them. */
static inline __m256i ordered_steps(__m256 x, const grid *g)
{
    __m256 t = _mm256_div_ps(x, g->scale);
    return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(t, g->low), g->high));
}

/* NaN is zero steps. */
static inline __m256i steps(__m256 x, const grid *g)
{
    return ordered_steps(_mm256_and_ps(x, ordered_lanes(x)), g);
}

static inline bool quantize_lanes(const float *x, size_t n, __m256i mask, const grid *g, uint8_t *codes)
{
    __m256 v = _mm256_maskload_ps(x, mask);
    uint64_t bytes = low_bytes(_mm256_add_epi32(steps(v, g), g->zero_point));
    if (n == LANES)
        memcpy(codes, &bytes, LANES);
    else
        memcpy(codes, &bytes, n);
    return has_nonfinite(v);
}

/* Codes as signed bytes: unsigned ones are shifted by 128 until they are stored. */
typedef struct byte_range {
    __m256i low, high, flip;
    int32_t shift;
} byte_range;

static inline byte_range make_byte_range(int32_t qmin, int32_t qmax)
{
    int32_t shift = qmin < 0 ? 0 : 128;
    byte_range r = {_mm256_set1_epi8((char)(qmin - shift)), _mm256_set1_epi8((char)(qmax - shift)),
                    _mm256_set1_epi8((char)shift), shift};
    return r;
}

/* Quotients of any size: what is too great for an int32 is brought down, what is too small converts to the least int32;
 * from there on everything saturates. */
static inline __m256i rounded(__m256 x, __m256 scale)
{
    return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_div_ps(x, scale), _mm256_set1_ps(65536.0f)));
}

/* steps[h], zero_point[h]: of the halves of the block, 16 bits each, in the order that packing leaves them in. */
static inline void store_block(uint8_t *codes, const __m256i *steps, const __m256i *zero_point, const byte_range *r)
{
    const __m256i in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i bytes =
        _mm256_packs_epi16(_mm256_adds_epi16(steps[0], zero_point[0]), _mm256_adds_epi16(steps[1], zero_point[1]));
    bytes = _mm256_xor_si256(_mm256_min_epi8(_mm256_max_epi8(bytes, r->low), r->high), r->flip);
    _mm256_storeu_si256((__m256i *)codes, _mm256_permutevar8x32_epi32(bytes, in_order));
}

/* zero_point as above, shifted. */
static inline bool quantize_block(const float *x, const block *scale, const __m256i *zero_point, const byte_range *r,
                                  uint8_t *codes)
{
    block b = load_block(x);
    prefetch(x, sizeof b);
    bool nonfinite = replace_nan(&b);
    __m256i halves[2];
    for (int h = 0; h < 2; h++)
        halves[h] =
            _mm256_packs_epi32(rounded(b.v[2 * h], scale->v[2 * h]), rounded(b.v[2 * h + 1], scale->v[2 * h + 1]));
    store_block(codes, halves, zero_point, r);
    return nonfinite;
}

/* Scales that have a reciprocal without an underflow in what follows. */
static inline bool has_reciprocal(float scale)
{
    return scale >= 0x1p-90f && scale <= 0x1p90f;
}

/* The same for one scale, without the division: q = x * (1 / scale), corrected once by the exact remainder (Markstein
 * 1990), converts to the integer that the true quotient converts to. For |quotient| < 256 that was checked for every
 * mantissa of the scale, beside every tie. NaN, infinities and quotients under -2^15 or over 2^31 give INT16_MIN, and
 * are left to the division. */
static inline bool quantize_block_shared(const float *x, __m256 scale, __m256 reciprocal, __m256i zero_point,
                                         const byte_range *r, uint8_t *codes)
{
    const block b = load_block(x);
    const __m256i zero_points[2] = {zero_point, zero_point};
    prefetch(x, sizeof b);
    __m256i v[4];
    for (int u = 0; u < 4; u++) {
        __m256 q = _mm256_mul_ps(b.v[u], reciprocal);
        __m256 remainder = _mm256_fnmadd_ps(q, scale, b.v[u]);
        v[u] = _mm256_cvtps_epi32(_mm256_fmadd_ps(remainder, reciprocal, q));
    }
    const __m256i halves[2] = {_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3])};
    const __m256i least = _mm256_min_epi16(halves[0], halves[1]);
    if (__builtin_expect(_mm256_movemask_epi8(_mm256_cmpeq_epi16(least, _mm256_set1_epi16(INT16_MIN))) != 0, 0)) {
        const block scales = {{scale, scale, scale, scale}};
        return quantize_block(x, &scales, zero_points, r, codes);
    }
    store_block(codes, halves, zero_points, r);
    return false;
}

static bool quantize_own(const float *x, size_t n, const float *scale, const int32_t *zero_point, int32_t qmin,
                         int32_t qmax, uint8_t *codes)
{
    const byte_range r = make_byte_range(qmin, qmax);
    const __m256i shift = _mm256_set1_epi32(r.shift);
    bool nonfinite = false;
    size_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK) {
        block s = load_block(scale + i);
        __m256i z[4];
        for (int u = 0; u < 4; u++)
            z[u] = _mm256_sub_epi32(_mm256_loadu_si256((const __m256i *)(zero_point + i + u * LANES)), shift);
        __m256i halves[2] = {_mm256_packs_epi32(z[0], z[1]), _mm256_packs_epi32(z[2], z[3])};
        nonfinite |= quantize_block(x + i, &s, halves, &r, codes + i);
    }
    for (; i < n; i += LANES) {
        size_t lanes = n - i < LANES ? n - i : LANES;
        __m256i mask = lane_mask(lanes);
        grid g = own_grid(scale + i, zero_point + i, mask, qmin, qmax);
        nonfinite |= quantize_lanes(x + i, lanes, mask, &g, codes + i);
    }
    return nonfinite;
}

static inline bool quantize_shared(const float *x, size_t n, const float *scale, const int32_t *zero_point,
                                   int32_t qmin, int32_t qmax, uint8_t *codes)
{
    bool nonfinite = false;
    size_t i = 0;
    if (n >= BLOCK) {
        const byte_range r = make_byte_range(qmin, qmax);
        const __m256 s = _mm256_set1_ps(*scale), reciprocal = _mm256_set1_ps(1.0f / *scale);
        const block scales = {{s, s, s, s}};
        const __m256i z = _mm256_set1_epi16((int16_t)(*zero_point - r.shift)), zero_points[2] = {z, z};
        for (; i + BLOCK <= n && has_reciprocal(*scale); i += BLOCK)
            nonfinite |= quantize_block_shared(x + i, s, reciprocal, z, &r, codes + i);
        for (; i + BLOCK <= n; i += BLOCK)
            nonfinite |= quantize_block(x + i, &scales, zero_points, &r, codes + i);
    }
    if (i < n) {
        const grid g = shared_grid(scale, zero_point, qmin, qmax);
        for (; i < n; i += LANES) {
            size_t lanes = n - i < LANES ? n - i : LANES;
            nonfinite |= quantize_lanes(x + i, lanes, lane_mask(lanes), &g, codes + i);
        }
    }
    return nonfinite;
}

bool ql_quantize_f32_x8__avx2(const float *x, size_t n, const float *scale, const int32_t *zero_point, size_t group,
                              int32_t qmin, int32_t qmax, uint8_t *codes)
{
    if (group == 1)
        return quantize_own(x, n, scale, zero_point, qmin, qmax, codes);
    bool nonfinite = false;
    for (size_t i = 0; i < n; i += group)
        nonfinite |=
            quantize_shared(x + i, n - i < group ? n - i : group, scale++, zero_point++, qmin, qmax, codes + i);
    return nonfinite;
}

static inline bool fake_quantize_lanes(const float *x, __m256i mask, const grid *g, float *y)
{
    __m256 v = _mm256_maskload_ps(x, mask);
    _mm256_maskstore_ps(y, mask, _mm256_mul_ps(_mm256_cvtepi32_ps(steps(v, g)), g->scale));
    return has_nonfinite(v);
}

static inline bool fake_quantize_shared(const float *x, size_t n, const grid *g, float *y)
{
    bool nonfinite = false;
    size_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK) {
        block b = load_block(x + i);
        prefetch(x + i, sizeof b);
        nonfinite |= replace_nan(&b);
        for (int u = 0; u < 4; u++) {
            __m256 t = _mm256_cvtepi32_ps(ordered_steps(b.v[u], g));
            _mm256_storeu_ps(y + i + u * LANES, _mm256_mul_ps(t, g->scale));
        }
    }
    for (; i < n; i += LANES)
        nonfinite |= fake_quantize_lanes(x + i, lane_mask(n - i), g, y + i);
    return nonfinite;
}

bool ql_fake_quantize_f32__avx2(const float *x, size_t n, const float *scale, const int32_t *zero_point, size_t group,
                                int32_t qmin, int32_t qmax, float *y)
{
    bool nonfinite = false;
    if (group == 1) {
        for (size_t i = 0; i < n; i += LANES) {
            __m256i mask = lane_mask(n - i);
            grid g = own_grid(scale + i, zero_point + i, mask, qmin, qmax);
            nonfinite |= fake_quantize_lanes(x + i, mask, &g, y + i);
        }
        return nonfinite;
    }
    for (size_t i = 0; i < n; i += group, scale++, zero_point++) {
        grid g = shared_grid(scale, zero_point, qmin, qmax);
        nonfinite |= fake_quantize_shared(x + i, n - i < group ? n - i : group, &g, y + i);
    }
    return nonfinite;
}

static inline __m256 dequantized(__m128i bytes, bool is_signed, __m256 scale, __m256i zero_point)
{
    __m256i code = is_signed ? _mm256_cvtepi8_epi32(bytes) : _mm256_cvtepu8_epi32(bytes);
    return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(code, zero_point)), scale);
}

static inline void dequantize_lanes(const uint8_t *codes, size_t n, bool is_signed, __m256 scale, __m256i zero_point,
                                    float *x)
{
    uint64_t bytes = 0;
    memcpy(&bytes, codes, n);
    _mm256_maskstore_ps(x, lane_mask(n), dequantized(_mm_cvtsi64_si128((int64_t)bytes), is_signed, scale, zero_point));
}

static void dequantize_shared(const uint8_t *codes, size_t n, bool is_signed, __m256 scale, __m256i zero_point,
                              float *x)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        __m128i bytes = _mm_loadl_epi64((const __m128i *)(codes + i));
        _mm256_storeu_ps(x + i, dequantized(bytes, is_signed, scale, zero_point));
    }
    if (i < n)
        dequantize_lanes(codes + i, n - i, is_signed, scale, zero_point, x + i);
}

void ql_dequantize_x8_f32__avx2(const uint8_t *codes, size_t n, bool is_signed, const float *scale,
                                const int32_t *zero_point, size_t group, float *x)
{
    if (group == 1) {
        for (size_t i = 0; i < n; i += LANES) {
            size_t lanes = n - i < LANES ? n - i : LANES;
            __m256i mask = lane_mask(lanes), z = _mm256_maskload_epi32(zero_point + i, mask);
            dequantize_lanes(codes + i, lanes, is_signed, _mm256_maskload_ps(scale + i, mask), z, x + i);
        }
        return;
    }
    for (size_t i = 0; i < n; i += group, scale++, zero_point++)
        dequantize_shared(codes + i, n - i < group ? n - i : group, is_signed, _mm256_set1_ps(*scale),
                          _mm256_set1_epi32(*zero_point), x + i);
}
