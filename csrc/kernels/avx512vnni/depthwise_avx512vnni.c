/* Depthwise products on vpdpbusd: four taps of 64 lanes are unpacked, bytes and then pairs, into four registers in
 * which each lane's four bytes are neighbours. That leaves the lanes in an order of its own within 128 bits, which the
 * weights have too and which packing results to bytes undoes.
 *
 * Unpacking is what costs, so two outputs that lie above each other share it: of 4 x 3 taps each uses nine, and the
 * weights of the others are 0. One output alone takes two rows at a time, so that weights are loaded once for both. */
#include "kernels/avx512vnni/lanes_avx512vnni.h"
#include "kernels/finish.h"

enum { WIDTH = 64, KR = 4, VECTORS = 4 };

static const ql_finishers finishers = {ql_add_outer_s32__avx512vnni, ql_scale_s32_f32__avx512vnni,
                                       ql_requantize_s32_x8__avx512vnni, ql_requantize_fixed_s32_x8__avx512vnni};

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

/* Rule A. Sums that are too great for int32 after scaling are caught by the minimum; those too small become the least
 * int32, and the saturating steps that follow keep the order. */
static inline __attribute__((always_inline)) __m512i requantized(lanes sum, const lanes *multiplier,
                                                                 const ql_epilogue *e)
{
    const __m512 high = _mm512_set1_ps((float)(e->qmax - e->zero_point));
    const __m512i low = _mm512_set1_epi16((int16_t)(e->qmin - e->zero_point));
    const __m512i z = _mm512_set1_epi16((int16_t)e->zero_point);
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++) {
        __m512 s = _mm512_mul_ps(_mm512_cvtepi32_ps(sum.v[v]), _mm512_castsi512_ps(multiplier->v[v]));
        sum.v[v] = _mm512_cvtps_epi32(_mm512_min_ps(s, high));
    }
    __m512i first = _mm512_add_epi16(_mm512_max_epi16(_mm512_packs_epi32(sum.v[0], sum.v[1]), low), z);
    __m512i second = _mm512_add_epi16(_mm512_max_epi16(_mm512_packs_epi32(sum.v[2], sum.v[3]), low), z);
    return e->qmin < 0 ? _mm512_packs_epi16(first, second) : _mm512_packus_epi16(first, second);
}

/* What the two results of a step, at c[0] and c[1], become. */
static inline __attribute__((always_inline)) void store_codes(const ql_gemm_args *g, const lanes sum[2],
                                                              const lanes *multiplier, const size_t c[2], size_t count,
                                                              __mmask64 mask, const bool whole)
{
#pragma GCC unroll 2
    for (size_t r = 0; r < 2; r++) {
        if (r == count)
            break;
        uint8_t *codes = (uint8_t *)g->c + c[r];
        __m512i value = requantized(sum[r], multiplier, g->epilogue);
        if (whole)
            _mm512_storeu_si512(codes, value);
        else
            _mm512_mask_storeu_epi8(codes, mask, value);
    }
}

static __attribute__((noinline)) void store_others(const ql_gemm_args *g, const lanes sum[2], const size_t c[2],
                                                   size_t count, size_t j, size_t cols)
{
    const size_t size = g->epilogue->store == QL_STORE_X8_FIXED ? 1 : sizeof(int32_t);
    for (size_t r = 0; r < count; r++) {
        int32_t plain[WIDTH];
        store_lanes(plain, sum[r]);
        ql_gemm_args there = *g;
        there.c = (char *)g->c + (c[r] - j) * size;
        ql_finish_tile(&finishers, &there, plain, WIDTH, 0, 1, j, cols);
    }
}

/* One block of columns of all rows. */
static inline __attribute__((always_inline)) void multiply_block(const ql_gemm_args *g, size_t rows, size_t j,
                                                                 size_t cols, const bool two_outputs,
                                                                 size_t output_stride, const bool whole,
                                                                 const bool to_codes)
{
    const __mmask64 mask = whole ? UINT64_MAX : (UINT64_C(1) << cols) - 1;
    const lanes start = load_lanes(g->start + j);
    const lanes multiplier = to_codes ? load_lanes(g->epilogue->multiplier + j) : start;
    for (size_t i = 0; i < rows; i += two_outputs ? 1 : 2) {
        const uint8_t *a = (const uint8_t *)g->a + i * g->a_stride + j;
        const size_t count = two_outputs || i + 1 < rows ? 2 : 1;
        const size_t next = count == 2 ? g->a_stride : 0; /* of one row alone both are it */
        const size_t first = i * g->c_stride + j, c[2] = {first, first + (two_outputs ? output_stride : g->c_stride)};
        const int8_t *b = g->b + j / WIDTH * g->panel_stride;
        lanes sum[2] = {start, start};
        for (size_t t = 0; t < g->segments; t += KR, b += KR * WIDTH) {
            const lanes taps = interleaved(a, g->offset + t, mask, whole);
            const lanes others = two_outputs ? taps : interleaved(a + next, g->offset + t, mask, whole);
            const int8_t *other_b = two_outputs ? b + KR * WIDTH : b;
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++) {
                sum[0].v[v] = dot4(sum[0].v[v], taps.v[v], _mm512_load_si512(b + 64 * v));
                sum[1].v[v] = dot4(sum[1].v[v], others.v[v], _mm512_load_si512(other_b + 64 * v));
            }
            b = other_b;
        }
        if (to_codes)
            store_codes(g, sum, &multiplier, c, count, mask, whole);
        else
            store_others(g, sum, c, count, j, cols);
    }
}

static inline __attribute__((always_inline)) void multiply(const ql_gemm_args *g, size_t rows, size_t cols,
                                                           const bool two_outputs, size_t output_stride,
                                                           const bool to_codes)
{
    size_t j = 0;
    for (; j + WIDTH <= cols; j += WIDTH)
        multiply_block(g, rows, j, WIDTH, two_outputs, output_stride, true, to_codes);
    if (j < cols)
        multiply_block(g, rows, j, cols - j, two_outputs, output_stride, false, to_codes);
}

static void ql_depthwise_u8s8s32_2x64c4__avx512vnni(const ql_gemm_args *g, size_t rows, size_t cols, size_t outputs,
                                                    size_t output_stride)
{
    const bool to_codes = g->epilogue->store == QL_STORE_X8;
    if (outputs == 2 && to_codes)
        multiply(g, rows, cols, true, output_stride, true);
    else if (outputs == 2)
        multiply(g, rows, cols, true, output_stride, false);
    else if (to_codes)
        multiply(g, rows, cols, false, 0, true);
    else
        multiply(g, rows, cols, false, 0, false);
}

const ql_depthwise_kernels ql_depthwise_u8s8s32__avx512vnni = {
    .lanes = WIDTH, .kr = KR, .outputs = 2, .kernel = ql_depthwise_u8s8s32_2x64c4__avx512vnni};
