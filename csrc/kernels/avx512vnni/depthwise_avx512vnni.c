/* Depthwise products on vpdpbusd: four taps of 64 lanes are unpacked, bytes and then pairs, into four registers in
 * which each lane's four bytes are neighbours. That leaves the lanes in an order of its own within 128 bits, which the
 * weights have too and which packing results to bytes undoes.
 *
 * Unpacking is what costs, so two outputs that lie above each other share it: of 4 x 3 taps each uses nine, and the
 * weights of the others are 0. One output alone takes two rows at a time, so that weights are loaded once for both. */
#include "kernels/avx512vnni/lanes_avx512vnni.h"
#include "kernels/finish.h"

enum { WIDTH = 64, KR = 4, VECTORS = 4 };

static const ql_finishers finishers = {ql_add_outer_s32__avx512vnni,           ql_add_residual_u8_s32__avx512vnni,
                                       ql_scale_s32_f32__avx512vnni,           ql_requantize_s32_x8__avx512vnni,
                                       ql_requantize_fixed_s32_x8__avx512vnni, ql_curve_s32_x8__avx512vnni};

typedef struct lanes {
    __m512i v[VECTORS];
} lanes;

/* Four bytes each of 64 columns, from plain order: v[v] holds columns 16 * l + 4 * v + 0..3. */
static inline __attribute__((always_inline)) lanes load_lanes(const void *columns)
{
    lanes r;
    const char *p = columns;
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++, p += 16) {
        __m512i four = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)p));
        four = _mm512_inserti32x4(four, _mm_loadu_si128((const __m128i *)(p + 64)), 1);
        four = _mm512_inserti32x4(four, _mm_loadu_si128((const __m128i *)(p + 128)), 2);
        r.v[v] = _mm512_inserti32x4(four, _mm_loadu_si128((const __m128i *)(p + 192)), 3);
    }
    return r;
}

static inline __attribute__((always_inline)) void store_lanes(int32_t *columns, lanes x)
{
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++, columns += 4) {
        _mm_storeu_si128((__m128i *)columns, _mm512_extracti32x4_epi32(x.v[v], 0));
        _mm_storeu_si128((__m128i *)(columns + 16), _mm512_extracti32x4_epi32(x.v[v], 1));
        _mm_storeu_si128((__m128i *)(columns + 32), _mm512_extracti32x4_epi32(x.v[v], 2));
        _mm_storeu_si128((__m128i *)(columns + 48), _mm512_extracti32x4_epi32(x.v[v], 3));
    }
}

static inline __attribute__((always_inline)) __m512i load(const uint8_t *a, __mmask64 mask, const bool whole)
{
    return whole ? _mm512_loadu_si512(a) : _mm512_maskz_loadu_epi8(mask, a);
}

static inline __attribute__((always_inline)) lanes interleaved(const uint8_t *a, const size_t *offset, __mmask64 mask,
                                                               const bool whole)
{
    __m512i a0 = load(a + offset[0], mask, whole), a1 = load(a + offset[1], mask, whole);
    __m512i a2 = load(a + offset[2], mask, whole), a3 = load(a + offset[3], mask, whole);
    __asm__("" : "+v"(a1), "+v"(a3)); /* gcc 12 would load them twice, once for each half */
    __m512i low01 = _mm512_unpacklo_epi8(a0, a1), high01 = _mm512_unpackhi_epi8(a0, a1);
    __m512i low23 = _mm512_unpacklo_epi8(a2, a3), high23 = _mm512_unpackhi_epi8(a2, a3);
    return (lanes){{_mm512_unpacklo_epi16(low01, low23), _mm512_unpackhi_epi16(low01, low23),
                    _mm512_unpacklo_epi16(high01, high23), _mm512_unpackhi_epi16(high01, high23)}};
}

/* Rule A of a block of columns, for multipliers of at most a half: scaled sums then fit int32, and clamps can wait
 * until they are bytes. Signed codes are unsigned ones with another zero point until the last step. */
typedef struct rule {
    lanes multiplier;
    __m512i zero_point, low, high, flip;
} rule;

static bool has_small_multipliers(const ql_epilogue *e, size_t cols)
{
    bool are_small = e->store == QL_STORE_X8 && e->curve == QL_CURVE_NONE;
    for (size_t i = 0; are_small && i < cols; i += LANES) {
        const __m512 m = _mm512_maskz_loadu_ps(first_lanes(cols - i), e->multiplier + i);
        are_small = _mm512_cmp_ps_mask(m, _mm512_set1_ps(0.5f), _CMP_GT_OQ) == 0;
    }
    return are_small;
}

static inline __attribute__((always_inline)) rule rule_of(const ql_epilogue *e, size_t j)
{
    const int32_t flip = e->qmin < 0 ? 128 : 0;
    return (rule){.multiplier = load_lanes(e->multiplier + j),
                  .zero_point = _mm512_set1_epi16((int16_t)(e->zero_point + flip)),
                  .low = _mm512_set1_epi8((char)(e->qmin + flip)),
                  .high = _mm512_set1_epi8((char)(e->qmax + flip)),
                  .flip = _mm512_set1_epi8((char)flip)};
}

static inline __attribute__((always_inline)) __m512i requantized(lanes sum, const rule *r)
{
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++) {
        __m512 s = _mm512_mul_ps(_mm512_cvtepi32_ps(sum.v[v]), _mm512_castsi512_ps(r->multiplier.v[v]));
        sum.v[v] = _mm512_cvtps_epi32(s);
    }
    __m512i first = _mm512_adds_epi16(_mm512_packs_epi32(sum.v[0], sum.v[1]), r->zero_point);
    __m512i second = _mm512_adds_epi16(_mm512_packs_epi32(sum.v[2], sum.v[3]), r->zero_point);
    __m512i codes = _mm512_packus_epi16(first, second);
    return _mm512_xor_si512(_mm512_min_epu8(_mm512_max_epu8(codes, r->low), r->high), r->flip);
}

static inline __attribute__((always_inline)) void store(uint8_t *codes, __m512i value, __mmask64 mask, const bool whole)
{
    if (whole)
        _mm512_storeu_si512(codes, value);
    else
        _mm512_mask_storeu_epi8(codes, mask, value);
}

/* Other results, at c and c + next. */
static __attribute__((noinline)) void store_others(const ql_gemm_args *g, const lanes sum[2], size_t c, size_t next,
                                                   size_t count, size_t j, size_t cols)
{
    const size_t size = g->epilogue->store < QL_STORE_X8 ? sizeof(int32_t) : 1;
    for (size_t r = 0; r < count; r++) {
        int32_t plain[WIDTH];
        store_lanes(plain, sum[r]);
        ql_gemm_args there = *g;
        there.c = (char *)g->c + (c + r * next) * size;
        ql_finish_tile(&finishers, &there, plain, WIDTH, 0, 1, j, cols);
    }
}

/* One block of columns of all rows, two rows at a time, so that weights are loaded once for both. What the loops use is
 * copied first: stores to bytes could change anything. quads: segments / KR, or 0 if it is not known here. */
static inline __attribute__((always_inline)) void multiply_block(const ql_gemm_args *g, size_t rows, size_t j,
                                                                 size_t cols, const int outputs, size_t output_stride,
                                                                 const size_t quads, const bool whole,
                                                                 const bool to_codes)
{
    const __mmask64 mask = whole ? UINT64_MAX : (UINT64_C(1) << cols) - 1;
    const lanes start = load_lanes(g->start + j);
    const rule to_code = to_codes ? rule_of(g->epilogue, j) : (rule){.flip = _mm512_setzero_si512()};
    const size_t a_stride = g->a_stride, c_stride = g->c_stride, segments = quads ? quads * KR : g->segments;
    const uint8_t *a = (const uint8_t *)g->a + j;
    const int8_t *weights = g->b + j / WIDTH * g->panel_stride;
    const size_t *offset = g->offset;
    for (size_t i = 0; i < rows; i += 2, a += 2 * a_stride) {
        const bool has_next = i + 1 < rows;
        const size_t next_a = has_next ? a_stride : 0, next_c = has_next ? c_stride : 0; /* one row alone is both */
        const int8_t *b = weights;
        lanes sum[2][2] = {{start, start}, {start, start}}; /* [output][row] */
        for (size_t t = 0; t < segments; t += KR) {
            const lanes first = interleaved(a, offset + t, mask, whole);
            const lanes second = interleaved(a + next_a, offset + t, mask, whole);
#pragma GCC unroll 2
            for (int p = 0; p < outputs; p++, b += KR * WIDTH) {
#pragma GCC unroll 4
                for (int v = 0; v < VECTORS; v++) {
                    const __m512i w = _mm512_load_si512(b + 64 * v);
                    sum[p][0].v[v] = dot4(sum[p][0].v[v], first.v[v], w);
                    sum[p][1].v[v] = dot4(sum[p][1].v[v], second.v[v], w);
                }
            }
        }
#pragma GCC unroll 2
        for (int p = 0; p < outputs; p++) {
            const size_t at = i * c_stride + (size_t)p * output_stride;
            if (!to_codes) {
                store_others(g, sum[p], at, c_stride, has_next ? 2 : 1, j, cols);
                continue;
            }
            uint8_t *codes = (uint8_t *)g->c + at + j;
            store(codes, requantized(sum[p][0], &to_code), mask, whole);
            store(codes + next_c, requantized(sum[p][1], &to_code), mask, whole);
        }
    }
}

static inline __attribute__((always_inline)) void multiply(const ql_gemm_args *g, const ql_depthwise_size *size,
                                                           const int outputs, const size_t quads, const bool to_codes)
{
    ql_gemm_args own = *g;
    for (size_t line = 0; line < size->lines; line++, ql_next_line(&own, size)) {
        size_t j = 0;
        for (; j + WIDTH <= size->cols; j += WIDTH)
            multiply_block(&own, size->rows, j, WIDTH, outputs, size->output_stride, quads, true, to_codes);
        if (j < size->cols)
            multiply_block(&own, size->rows, j, size->cols - j, outputs, size->output_stride, quads, false, to_codes);
    }
}

static void ql_depthwise_u8s8s32_2x64c4__avx512vnni(const ql_gemm_args *g, const ql_depthwise_size *size)
{
    const bool to_codes = has_small_multipliers(g->epilogue, size->cols);
    if (to_codes && size->outputs == 2 && g->segments == 3 * KR) /* windows of 3 x 3 */
        multiply(g, size, 2, 3, true);
    else if (to_codes && size->outputs == 2)
        multiply(g, size, 2, 0, true);
    else if (to_codes)
        multiply(g, size, 1, 0, true);
    else if (size->outputs == 2)
        multiply(g, size, 2, 0, false);
    else
        multiply(g, size, 1, 0, false);
}

const ql_depthwise_kernels ql_depthwise_u8s8s32__avx512vnni = {
    .lanes = WIDTH, .kr = KR, .b_size = 1, .outputs = 2, .kernel = ql_depthwise_u8s8s32_2x64c4__avx512vnni};
