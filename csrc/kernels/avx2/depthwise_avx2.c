/* Depthwise products on vpmaddwd, whose pair sums (at most 2 * 255 * 128) cannot leave int32: two taps of 32 lanes are
 * unpacked, with each other and with zeros, into four registers in which each lane's two taps are neighbours, as 16-bit
 * numbers. Weights are 16-bit already: widened while they are loaded they cost 12 % more time. What is not finished in
 * registers is so for several rows at once.
 *
 * 32 results of 3 x 3 take 39 cycles on Zen 3, whose ports would allow 25. Not faster: a copy of the image whose rows
 * lie interleaved as 16-bit numbers, which needs no unpacking (44 cycles, more with stride 2: the copy is twice as
 * large); sums of float32, exact as well (60: vfmadd keeps ports from conversions). */
#include "kernels/avx2/lanes_avx2.h"
#include "kernels/finish.h"
#include "kernels/x86/curve_x86.h"

enum { WIDTH = 32, KR = 2, B_SIZE = 2, VECTORS = 4, ROWS = 8 };

static const ql_finishers finishers = {ql_add_outer_s32__avx2,           ql_add_residual_u8_s32__avx2,
                                       ql_scale_s32_f32__avx2,           ql_requantize_s32_x8__avx2,
                                       ql_requantize_fixed_s32_x8__avx2, ql_curve_s32_x8__avx2};

/* v[v] holds columns 16 * l + 4 * v + 0..3 in 128 bits each. */
typedef struct lanes {
    __m256i v[VECTORS];
} lanes;

static inline __attribute__((always_inline)) lanes load_lanes(const void *values)
{
    const int32_t *columns = values;
    lanes r;
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++, columns += 4)
        r.v[v] = _mm256_loadu2_m128i((const __m128i *)(columns + 16), (const __m128i *)columns);
    return r;
}

static inline __attribute__((always_inline)) void store_lanes(int32_t *columns, const lanes *x)
{
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++, columns += 4)
        _mm256_storeu2_m128i((__m128i *)(columns + 16), (__m128i *)columns, x->v[v]);
}

static inline __attribute__((always_inline)) lanes interleaved(const uint8_t *a, const size_t *offset)
{
    const __m256i a0 = _mm256_loadu_si256((const __m256i *)(a + offset[0]));
    const __m256i a1 = _mm256_loadu_si256((const __m256i *)(a + offset[1]));
    const __m256i low = _mm256_unpacklo_epi8(a0, a1), high = _mm256_unpackhi_epi8(a0, a1);
    const __m256i zero = _mm256_setzero_si256();
    return (lanes){{_mm256_unpacklo_epi8(low, zero), _mm256_unpackhi_epi8(low, zero), _mm256_unpacklo_epi8(high, zero),
                    _mm256_unpackhi_epi8(high, zero)}};
}

/* Adds in place; the compiler adds to another register and copies that back. */
static inline __attribute__((always_inline)) void add_to(__m256i *sum, __m256i product)
{
    __asm__("vpaddd %1, %0, %0" : "+x"(*sum) : "x"(product));
}

/* segments: g->segments, or a number that is known here. */
static inline __attribute__((always_inline)) lanes sum_of(const ql_gemm_args *g, const lanes *start, const uint8_t *a,
                                                          const int8_t *b, const size_t segments)
{
    const size_t *offset = g->offset;
    lanes sum = *start;
#pragma GCC unroll 5
    for (size_t t = 0; t < segments; t += KR, b += KR * WIDTH * B_SIZE) {
        const lanes taps = interleaved(a, offset + t);
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++)
            add_to(&sum.v[v], _mm256_madd_epi16(taps.v[v], _mm256_load_si256((const __m256i *)b + v)));
    }
    return sum;
}

/* Stores the first bytes, as many as one power of two after the other makes up. */
static inline __attribute__((always_inline)) void store_first(uint8_t *codes, __m256i value, size_t count)
{
    __m128i rest = _mm256_castsi256_si128(value);
    if (count & 16) {
        _mm_storeu_si128((__m128i *)codes, rest);
        rest = _mm256_extracti128_si256(value, 1);
        codes += 16;
    }
    if (count & 8) {
        _mm_storel_epi64((__m128i *)codes, rest);
        rest = _mm_srli_si128(rest, 8);
        codes += 8;
    }
    int64_t last = _mm_cvtsi128_si64(rest);
    for (size_t left = count & 7; left > 0; left--, last >>= 8)
        *codes++ = (uint8_t)last;
}

/* Multipliers of at most a half: scaled sums then fit int32, and clamps can wait until they are bytes. */
static bool has_small_multipliers(const ql_epilogue *e, size_t j, size_t cols)
{
    bool are_small = e->curve == QL_CURVE_NONE;
    for (size_t i = j; are_small && i < j + cols; i++)
        are_small = e->multiplier[i] <= 0.5f;
    return are_small;
}

/* Rule A of a block: packing brings the columns back into their order. Quotients below int32 become its least number.
 */
static inline __attribute__((always_inline)) void multiply_to_codes(const ql_gemm_args *g,
                                                                    const ql_depthwise_size *size, size_t j,
                                                                    size_t cols, const ql_curve curve,
                                                                    const bool is_small, const size_t segments)
{
    const ql_epilogue *e = g->epilogue;
    const int32_t flip = e->qmin < 0 ? 128 : 0; /* signed codes are unsigned ones with another zero point */
    const __m256 high = _mm256_set1_ps((float)(e->qmax - e->zero_point)), factor = _mm256_set1_ps(e->factor);
    const __m256i zero_point = _mm256_set1_epi16((int16_t)(e->zero_point + flip)), flips = _mm256_set1_epi8((char)flip);
    const __m256i low = _mm256_set1_epi8((char)(e->qmin + flip)), top = _mm256_set1_epi8((char)(e->qmax + flip));
    const lanes start = load_lanes(g->start + j), multiplier = load_lanes(e->multiplier + j);
    const lanes below = curve == QL_CURVE_PRELU ? load_lanes(e->below + j) : multiplier;
    const int8_t *weights = g->b + j / WIDTH * g->panel_stride;
    for (size_t line = 0; line < size->lines; line++) {
        const uint8_t *a = (const uint8_t *)g->a + line * size->a_line + j;
        uint8_t *to = (uint8_t *)g->c + line * size->c_line + j;
        for (size_t i = 0; i < size->rows; i++, a += g->a_stride, to += g->c_stride) {
            lanes sum = sum_of(g, &start, a, weights, segments);
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++) {
                const __m256 m = _mm256_castsi256_ps(multiplier.v[v]), b = _mm256_castsi256_ps(below.v[v]);
                const __m256 s = curved(sum.v[v], m, b, factor, curve);
                sum.v[v] = _mm256_cvtps_epi32(is_small ? s : _mm256_min_ps(s, high));
            }
            __m256i first = _mm256_adds_epi16(_mm256_packs_epi32(sum.v[0], sum.v[1]), zero_point);
            __m256i second = _mm256_adds_epi16(_mm256_packs_epi32(sum.v[2], sum.v[3]), zero_point);
            __m256i codes = _mm256_max_epu8(_mm256_packus_epi16(first, second), low);
            codes = _mm256_xor_si256(is_small ? _mm256_min_epu8(codes, top) : codes, flips);
            if (cols == WIDTH)
                _mm256_storeu_si256((__m256i *)to, codes);
            else
                store_first(to, codes, cols);
        }
    }
}

static void multiply_block(const ql_gemm_args *g, const ql_depthwise_size *size, size_t j, size_t cols)
{
    const lanes start = load_lanes(g->start + j);
    const int8_t *weights = g->b + j / WIDTH * g->panel_stride;
    ql_gemm_args own = *g;
    for (size_t line = 0; line < size->lines; line++, ql_next_line(&own, size)) {
        for (size_t i = 0; i < size->rows; i += ROWS) {
            const size_t count = size->rows - i < ROWS ? size->rows - i : ROWS;
            int32_t plain[ROWS * WIDTH];
            for (size_t r = 0; r < count; r++) {
                const uint8_t *a = (const uint8_t *)own.a + (i + r) * g->a_stride + j;
                const lanes sum = sum_of(g, &start, a, weights, g->segments);
                store_lanes(plain + r * WIDTH, &sum);
            }
            ql_finish_tile(&finishers, &own, plain, WIDTH, i, count, j, cols);
        }
    }
}

static void ql_depthwise_u8s8s32_1x32c2__avx2(const ql_gemm_args *g, const ql_depthwise_size *size)
{
    enum { OF_3_X_3 = 10 };
    const ql_curve curve = g->epilogue->curve;
    const bool to_codes = g->epilogue->store == QL_STORE_X8;
    const size_t segments = g->segments;
    for (size_t j = 0; j < size->cols; j += WIDTH) {
        const size_t count = size->cols - j < WIDTH ? size->cols - j : WIDTH;
        const bool is_whole = count == WIDTH;
        if (!to_codes || (curve != QL_CURVE_NONE && !is_whole) || curve == QL_CURVE_HARD_SIGMOID)
            multiply_block(g, size, j, count);
        else if (curve == QL_CURVE_PRELU)
            multiply_to_codes(g, size, j, WIDTH, QL_CURVE_PRELU, false, segments);
        else if (curve == QL_CURVE_HARD_SWISH)
            multiply_to_codes(g, size, j, WIDTH, QL_CURVE_HARD_SWISH, false, segments);
        else if (is_whole && segments == OF_3_X_3 && has_small_multipliers(g->epilogue, j, count))
            multiply_to_codes(g, size, j, WIDTH, QL_CURVE_NONE, true, OF_3_X_3);
        else if (is_whole)
            multiply_to_codes(g, size, j, WIDTH, QL_CURVE_NONE, false, segments);
        else
            multiply_to_codes(g, size, j, count, QL_CURVE_NONE, false, segments);
    }
}

const ql_depthwise_kernels ql_depthwise_u8s8s32__avx2 = {
    .lanes = WIDTH, .kr = KR, .b_size = B_SIZE, .outputs = 1, .kernel = ql_depthwise_u8s8s32_1x32c2__avx2};
