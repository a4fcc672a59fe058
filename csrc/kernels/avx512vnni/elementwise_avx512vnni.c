/* Sixteen values at a time, or four times sixteen; tails are masked.
 *
 * x / scale is rounded once: with x * (1 / scale) ties fall differently. The division costs 2.6 cycles a vector, which
 * nothing but `quantize` with one scale is fast enough to feel; there the quotient is made of multiplications (30
 * against 25 Ge/s in L2, 27 against 24 in L3). Writing codes sixteen at a time cost more than either (17). */
#include "kernels/avx512vnni/lanes_avx512vnni.h"

static inline __mmask16 nonfinite_lanes(__m512 x)
{
    enum { QNAN = 0x01, PLUS_INFINITY = 0x08, MINUS_INFINITY = 0x10, SNAN = 0x80 };
    return _mm512_fpclass_ps_mask(x, QNAN | PLUS_INFINITY | MINUS_INFINITY | SNAN);
}

static inline __mmask16 ordered_lanes(__m512 x)
{
    return _mm512_cmp_ps_mask(x, x, _CMP_ORD_Q);
}

/* Turns NaN into zero, whose code is the zero point. Returns whether there was NaN or an infinity. */
static inline bool replace_nan(block *x)
{
    __mmask16 nonfinite = 0;
    for (int u = 0; u < 4; u++)
        nonfinite |= nonfinite_lanes(x->v[u]);
    if (__builtin_expect(nonfinite == 0, 1))
        return false;
    for (int u = 0; u < 4; u++)
        x->v[u] = _mm512_maskz_mov_ps(ordered_lanes(x->v[u]), x->v[u]);
    return true;
}

typedef struct grid {
    __m512 scale, low, high;
    __m512i zero_point;
} grid;

static inline grid make_grid(__m512 scale, __m512i zero_point, int32_t qmin, int32_t qmax)
{
    grid g = {.scale = scale, .zero_point = zero_point};
    g.low = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_set1_epi32(qmin), zero_point));
    g.high = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_set1_epi32(qmax), zero_point));
    return g;
}

static inline grid shared_grid(const float *scale, const int32_t *zero_point, int32_t qmin, int32_t qmax)
{
    return make_grid(_mm512_set1_ps(*scale), _mm512_set1_epi32(*zero_point), qmin, qmax);
}

/* Lanes past the end divide by 1. */
static inline __m512 own_scale(const float *scale, __mmask16 mask)
{
    return _mm512_mask_loadu_ps(_mm512_set1_ps(1.0f), mask, scale);
}

static inline grid own_grid(const float *scale, const int32_t *zero_point, __mmask16 mask, int32_t qmin, int32_t qmax)
{
    return make_grid(own_scale(scale, mask), _mm512_maskz_loadu_epi32(mask, zero_point), qmin, qmax);
}

/* The bounds are integers, so that the conversion, half to even, may round after them. NaN is zero steps. */
static inline __m512i steps(__m512 x, const grid *g)
{
    __m512 t = _mm512_div_ps(x, g->scale);
    return _mm512_maskz_cvtps_epi32(ordered_lanes(t), _mm512_min_ps(_mm512_max_ps(t, g->low), g->high));
}

static inline bool quantize_lanes(const float *x, __mmask16 mask, const grid *g, uint8_t *codes)
{
    __m512 v = _mm512_maskz_loadu_ps(mask, x);
    __m512i code = _mm512_add_epi32(steps(v, g), g->zero_point);
    _mm_mask_storeu_epi8(codes, mask, _mm512_cvtepi32_epi8(code));
    return nonfinite_lanes(v) != 0;
}

/* Codes as signed bytes: unsigned ones are shifted by 128 until they are stored. */
typedef struct byte_range {
    __m512i low, high, flip;
    int32_t shift;
} byte_range;

static inline byte_range make_byte_range(int32_t qmin, int32_t qmax)
{
    int32_t shift = qmin < 0 ? 0 : 128;
    byte_range r = {_mm512_set1_epi8((char)(qmin - shift)), _mm512_set1_epi8((char)(qmax - shift)),
                    _mm512_set1_epi8((char)shift), shift};
    return r;
}

/* Quotients of any size: what is too great for an int32 is brought down, what is too small converts to the least int32;
 * from there on everything saturates. */
static inline __m512i rounded(__m512 x, __m512 scale)
{
    return _mm512_cvtps_epi32(_mm512_min_ps(_mm512_div_ps(x, scale), _mm512_set1_ps(65536.0f)));
}

/* steps[h], zero_point[h]: of the halves of the block, 16 bits each, in the order that packing leaves them in. */
static inline void store_block(uint8_t *codes, const __m512i *steps, const __m512i *zero_point, const byte_range *r)
{
    const __m512i in_order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i bytes =
        _mm512_packs_epi16(_mm512_adds_epi16(steps[0], zero_point[0]), _mm512_adds_epi16(steps[1], zero_point[1]));
    bytes = _mm512_xor_si512(_mm512_min_epi8(_mm512_max_epi8(bytes, r->low), r->high), r->flip);
    _mm512_storeu_si512(codes, _mm512_permutexvar_epi32(in_order, bytes));
}

/* zero_point as above, shifted. */
static inline bool quantize_block(const float *x, const block *scale, const __m512i *zero_point, const byte_range *r,
                                  uint8_t *codes)
{
    block b = load_block(x);
    prefetch(x, sizeof b);
    bool nonfinite = replace_nan(&b);
    __m512i halves[2];
    for (int h = 0; h < 2; h++)
        halves[h] =
            _mm512_packs_epi32(rounded(b.v[2 * h], scale->v[2 * h]), rounded(b.v[2 * h + 1], scale->v[2 * h + 1]));
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
static inline bool quantize_block_shared(const float *x, __m512 scale, __m512 reciprocal, __m512i zero_point,
                                         const byte_range *r, uint8_t *codes)
{
    const block b = load_block(x);
    const __m512i zero_points[2] = {zero_point, zero_point};
    prefetch(x, sizeof b);
    __m512i v[4];
    for (int u = 0; u < 4; u++) {
        __m512 q = _mm512_mul_ps(b.v[u], reciprocal);
        __m512 remainder = _mm512_fnmadd_ps(q, scale, b.v[u]);
        v[u] = _mm512_cvtps_epi32(_mm512_fmadd_ps(remainder, reciprocal, q));
    }
    const __m512i halves[2] = {_mm512_packs_epi32(v[0], v[1]), _mm512_packs_epi32(v[2], v[3])};
    const __m512i least = _mm512_min_epi16(halves[0], halves[1]);
    if (__builtin_expect(_mm512_cmpeq_epi16_mask(least, _mm512_set1_epi16(INT16_MIN)) != 0, 0)) {
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
    const __m512i shift = _mm512_set1_epi32(r.shift);
    bool nonfinite = false;
    size_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK) {
        block s = load_block(scale + i);
        __m512i z[4];
        for (int u = 0; u < 4; u++)
            z[u] = _mm512_sub_epi32(_mm512_loadu_si512(zero_point + i + u * LANES), shift);
        __m512i halves[2] = {_mm512_packs_epi32(z[0], z[1]), _mm512_packs_epi32(z[2], z[3])};
        nonfinite |= quantize_block(x + i, &s, halves, &r, codes + i);
    }
    for (; i < n; i += LANES) {
        __mmask16 mask = lane_mask(n - i);
        grid g = own_grid(scale + i, zero_point + i, mask, qmin, qmax);
        nonfinite |= quantize_lanes(x + i, mask, &g, codes + i);
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
        const __m512 s = _mm512_set1_ps(*scale), reciprocal = _mm512_set1_ps(1.0f / *scale);
        const block scales = {{s, s, s, s}};
        const __m512i z = _mm512_set1_epi16((int16_t)(*zero_point - r.shift)), zero_points[2] = {z, z};
        for (; i + BLOCK <= n && has_reciprocal(*scale); i += BLOCK)
            nonfinite |= quantize_block_shared(x + i, s, reciprocal, z, &r, codes + i);
        for (; i + BLOCK <= n; i += BLOCK)
            nonfinite |= quantize_block(x + i, &scales, zero_points, &r, codes + i);
    }
    if (i < n) {
        const grid g = shared_grid(scale, zero_point, qmin, qmax);
        for (; i < n; i += LANES)
            nonfinite |= quantize_lanes(x + i, lane_mask(n - i), &g, codes + i);
    }
    return nonfinite;
}

/* Two groups of half a block. */
static inline bool quantize_pair(const float *x, const float *scale, const int32_t *zero_point, const byte_range *r,
                                 uint8_t *codes)
{
    const __m512 s0 = _mm512_set1_ps(scale[0]), s1 = _mm512_set1_ps(scale[1]);
    const block scales = {{s0, s0, s1, s1}};
    const __m512i halves[2] = {_mm512_set1_epi16((int16_t)(zero_point[0] - r->shift)),
                               _mm512_set1_epi16((int16_t)(zero_point[1] - r->shift))};
    return quantize_block(x, &scales, halves, r, codes);
}

bool ql_quantize_f32_x8__avx512vnni(const float *x, size_t n, const float *scale, const int32_t *zero_point,
                                    size_t group, int32_t qmin, int32_t qmax, uint8_t *codes)
{
    if (group == 1)
        return quantize_own(x, n, scale, zero_point, qmin, qmax, codes);
    bool nonfinite = false;
    size_t i = 0;
    if (group == BLOCK / 2) {
        const byte_range r = make_byte_range(qmin, qmax);
        for (; i + BLOCK <= n; i += BLOCK, scale += 2, zero_point += 2)
            nonfinite |= quantize_pair(x + i, scale, zero_point, &r, codes + i);
    }
    for (; i < n; i += group)
        nonfinite |=
            quantize_shared(x + i, n - i < group ? n - i : group, scale++, zero_point++, qmin, qmax, codes + i);
    return nonfinite;
}

static inline bool fake_quantize_lanes(const float *x, __mmask16 mask, const grid *g, float *y)
{
    __m512 v = _mm512_maskz_loadu_ps(mask, x);
    _mm512_mask_storeu_ps(y, mask, _mm512_mul_ps(_mm512_cvtepi32_ps(steps(v, g)), g->scale));
    return nonfinite_lanes(v) != 0;
}

/* g: a grid for each quarter of the block. */
static inline bool fake_quantize_block(const float *x, const grid *const *g, float *y)
{
    block b = load_block(x);
    prefetch(x, sizeof b);
    bool nonfinite = replace_nan(&b);
#pragma GCC unroll 4
    for (int u = 0; u < 4; u++) {
        __m512 t = _mm512_min_ps(_mm512_max_ps(_mm512_div_ps(b.v[u], g[u]->scale), g[u]->low), g[u]->high);
        t = _mm512_cvtepi32_ps(_mm512_cvtps_epi32(t));
        _mm512_storeu_ps(y + u * LANES, _mm512_mul_ps(t, g[u]->scale));
    }
    return nonfinite;
}

static bool fake_quantize_own(const float *x, size_t n, const float *scale, const int32_t *zero_point, int32_t qmin,
                              int32_t qmax, float *y)
{
    bool nonfinite = false;
    size_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK) {
        grid g[4];
        for (int u = 0; u < 4; u++) {
            const __m512i z = _mm512_loadu_si512(zero_point + i + u * LANES);
            g[u] = make_grid(_mm512_loadu_ps(scale + i + u * LANES), z, qmin, qmax);
        }
        nonfinite |= fake_quantize_block(x + i, (const grid *const[]){g, g + 1, g + 2, g + 3}, y + i);
    }
    for (; i < n; i += LANES) {
        __mmask16 mask = lane_mask(n - i);
        grid g = own_grid(scale + i, zero_point + i, mask, qmin, qmax);
        nonfinite |= fake_quantize_lanes(x + i, mask, &g, y + i);
    }
    return nonfinite;
}

static inline bool fake_quantize_shared(const float *x, size_t n, const grid *g, float *y)
{
    bool nonfinite = false;
    size_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK)
        nonfinite |= fake_quantize_block(x + i, (const grid *const[]){g, g, g, g}, y + i);
    for (; i < n; i += LANES)
        nonfinite |= fake_quantize_lanes(x + i, lane_mask(n - i), g, y + i);
    return nonfinite;
}

bool ql_fake_quantize_f32__avx512vnni(const float *x, size_t n, const float *scale, const int32_t *zero_point,
                                      size_t group, int32_t qmin, int32_t qmax, float *y)
{
    if (group == 1)
        return fake_quantize_own(x, n, scale, zero_point, qmin, qmax, y);
    bool nonfinite = false;
    size_t i = 0;
    if (group == BLOCK / 2) {
        for (; i + BLOCK <= n; i += BLOCK, scale += 2, zero_point += 2) {
            const grid g0 = shared_grid(scale, zero_point, qmin, qmax);
            const grid g1 = shared_grid(scale + 1, zero_point + 1, qmin, qmax);
            nonfinite |= fake_quantize_block(x + i, (const grid *const[]){&g0, &g0, &g1, &g1}, y + i);
        }
    }
    for (; i < n; i += group, scale++, zero_point++) {
        const grid g = shared_grid(scale, zero_point, qmin, qmax);
        nonfinite |= fake_quantize_shared(x + i, n - i < group ? n - i : group, &g, y + i);
    }
    return nonfinite;
}

static inline void dequantize_lanes(const uint8_t *codes, __mmask16 mask, bool is_signed, __m512 scale,
                                    __m512i zero_point, float *x)
{
    __m128i bytes = _mm_maskz_loadu_epi8(mask, codes);
    __m512i code = is_signed ? _mm512_cvtepi8_epi32(bytes) : _mm512_cvtepu8_epi32(bytes);
    __m512 r = _mm512_cvtepi32_ps(_mm512_sub_epi32(code, zero_point));
    _mm512_mask_storeu_ps(x, mask, _mm512_mul_ps(r, scale));
}

static inline void dequantize_own_lanes(const uint8_t *codes, __mmask16 mask, bool is_signed, const float *scale,
                                        const int32_t *zero_point, float *x)
{
    dequantize_lanes(codes, mask, is_signed, _mm512_maskz_loadu_ps(mask, scale),
                     _mm512_maskz_loadu_epi32(mask, zero_point), x);
}

static inline void dequantize_shared(const uint8_t *codes, size_t n, bool is_signed, __m512 scale, __m512i zero_point,
                                     float *x)
{
    size_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK) {
#pragma GCC unroll 4
        for (int u = 0; u < 4; u++)
            dequantize_lanes(codes + i + u * LANES, ALL, is_signed, scale, zero_point, x + i + u * LANES);
    }
    for (; i + LANES <= n; i += LANES)
        dequantize_lanes(codes + i, ALL, is_signed, scale, zero_point, x + i);
    if (i < n)
        dequantize_lanes(codes + i, lane_mask(n - i), is_signed, scale, zero_point, x + i);
}

void ql_dequantize_x8_f32__avx512vnni(const uint8_t *codes, size_t n, bool is_signed, const float *scale,
                                      const int32_t *zero_point, size_t group, float *x)
{
    size_t i = 0;
    if (group == 1) {
        for (; i + LANES <= n; i += LANES)
            dequantize_own_lanes(codes + i, ALL, is_signed, scale + i, zero_point + i, x + i);
        if (i < n)
            dequantize_own_lanes(codes + i, lane_mask(n - i), is_signed, scale + i, zero_point + i, x + i);
        return;
    }
    for (; i < n; i += group, scale++, zero_point++)
        dequantize_shared(codes + i, n - i < group ? n - i : group, is_signed, _mm512_set1_ps(*scale),
                          _mm512_set1_epi32(*zero_point), x + i);
}
