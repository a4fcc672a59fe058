/* Weights into panels, 16 columns of a group of rows at a time: unpacking bytes, then pairs of them, brings the codes
 * of a column side by side. Sums over panels go by vpmaddubsw, once with ones for the codes and once for the distances
 * from the zero points, which are differences of unsigned bytes.
 *
 * Groups of one row are copied as they are, and those of eight stay with the plain loops, which no AVX2 kernel asks
 * for. */
#include <string.h>

#include "kernels/avx2/lanes_avx2.h"
#include "kernels/scalar/scalar.h"

enum { COLUMNS = 16 };

/* Up to 16 codes, with zeros behind them. */
static inline __m128i codes_of(const uint8_t *b, size_t cols, __m128i flips)
{
    if (cols >= COLUMNS)
        return _mm_xor_si128(_mm_loadu_si128((const __m128i *)b), flips);
    uint8_t some[COLUMNS], mask[COLUMNS];
    memset(mask, 0, sizeof mask);
    memset(some, 0, sizeof some);
    memset(mask, 0xFF, cols);
    memcpy(some, b, cols);
    return _mm_xor_si128(_mm_loadu_si128((const __m128i *)some),
                         _mm_and_si128(flips, _mm_loadu_si128((const __m128i *)mask)));
}

static inline void put(int8_t *panel, __m128i v)
{
    _mm_storeu_si128((__m128i *)panel, v);
}

/* The next `rows` rows of 16 columns, of which there are cols, as a group of KR. */
static inline __attribute__((always_inline)) void put_group(const uint8_t *b, size_t b_stride, const int kr,
                                                            size_t rows, size_t cols, __m128i flips, int8_t *panel)
{
    const __m128i none = _mm_setzero_si128(), first = codes_of(b, cols, flips);
    if (kr == 1) {
        put(panel, first);
        return;
    }
    const __m128i second = rows > 1 ? codes_of(b + b_stride, cols, flips) : none;
    const __m128i low = _mm_unpacklo_epi8(first, second), high = _mm_unpackhi_epi8(first, second);
    if (kr == 2) {
        put(panel, low);
        put(panel + 16, high);
        return;
    }
    const __m128i third = rows > 2 ? codes_of(b + 2 * b_stride, cols, flips) : none;
    const __m128i fourth = rows > 3 ? codes_of(b + 3 * b_stride, cols, flips) : none;
    const __m128i low_ends = _mm_unpacklo_epi8(third, fourth), high_ends = _mm_unpackhi_epi8(third, fourth);
    put(panel, _mm_unpacklo_epi16(low, low_ends));
    put(panel + 16, _mm_unpackhi_epi16(low, low_ends));
    put(panel + 32, _mm_unpacklo_epi16(high, high_ends));
    put(panel + 48, _mm_unpackhi_epi16(high, high_ends));
}

static inline __attribute__((always_inline)) void pack(const uint8_t *b, size_t b_stride, size_t k, size_t cols,
                                                       uint8_t flip, size_t nr, const int kr, int8_t *panel)
{
    const __m128i flips = _mm_set1_epi8((char)flip);
    const size_t depth = (size_t)kr;
    for (size_t j = 0; j < nr; j += COLUMNS) {
        const size_t some = cols > j ? cols - j : 0;
        const uint8_t *row = b + (some ? j : 0);
        int8_t *to = panel + j * depth;
        size_t p = 0;
        for (; p + depth <= k && some >= COLUMNS; p += depth, row += depth * b_stride, to += nr * depth)
            put_group(row, b_stride, kr, depth, COLUMNS, flips, to);
        for (; p < k; p += depth, row += depth * b_stride, to += nr * depth)
            put_group(row, b_stride, kr, k - p, some, flips, to);
    }
}

void ql_pack_panel_x8__avx2(const uint8_t *b, size_t b_stride, size_t k, size_t cols, uint8_t flip, size_t nr,
                            size_t kr, int8_t *panel)
{
    if (nr % COLUMNS != 0 || kr == 8)
        ql_pack_panel_x8__scalar(b, b_stride, k, cols, flip, nr, kr, panel);
    else if (kr == 1)
        pack(b, b_stride, k, cols, flip, nr, 1, panel);
    else if (kr == 2)
        pack(b, b_stride, k, cols, flip, nr, 2, panel);
    else
        pack(b, b_stride, k, cols, flip, nr, 4, panel);
}

/* ---- sums --------------------------------------------------------------------------------------- */

static inline void add_to(int32_t *total, ints sums)
{
    store_s32(total, add_s32(load_s32(total), sums));
}

/* |code - zero point|, both with 128 added, as unsigned bytes. */
static inline ints distances(ints codes, ints zero_points)
{
    const ints shifted = codes ^ set_s8(-128);
    return _mm256_subs_epu8(shifted, zero_points) | _mm256_subs_epu8(zero_points, shifted);
}

/* Eight columns, four codes of each in a lane. */
static void sum_quads(const int8_t *panel, size_t groups, size_t step, const int32_t *zero_point, int32_t *total,
                      int32_t *reach)
{
    const ints bytes = set_s8(1), pairs = set_s16(1);
    const ints zero_points = mul_s32(add_s32(load_s32(zero_point), set_s32(128)), set_s32(0x01010101));
    ints sums = set_s32(0), far = set_s32(0);
    for (size_t g = 0; g < groups; g++, panel += step) {
        const ints codes = load_s32(panel);
        sums = add_s32(sums, _mm256_madd_epi16(_mm256_maddubs_epi16(bytes, codes), pairs));
        far = add_s32(far, _mm256_madd_epi16(_mm256_maddubs_epi16(distances(codes, zero_points), bytes), pairs));
    }
    add_to(total, sums);
    add_to(reach, far);
}

/* Sixteen columns, two codes of each in 16 bits; after at most PAIRS groups sums have to become wider. */
static void sum_pairs(const int8_t *panel, size_t groups, size_t step, const int32_t *zero_point, int32_t *total,
                      int32_t *reach)
{
    enum { PAIRS = 32767 / 510 };
    const ints bytes = set_s8(1);
    const ints low = mul_s32(add_s32(load_s32(zero_point), set_s32(128)), set_s32(0x0101));
    const ints high = mul_s32(add_s32(load_s32(zero_point + 8), set_s32(128)), set_s32(0x0101));
    const ints zero_points = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0xD8);
    for (size_t first = 0; first < groups; first += PAIRS) {
        const size_t end = groups - first < PAIRS ? groups : first + PAIRS;
        ints sums = set_s16(0), far = set_s16(0);
        for (size_t g = first; g < end; g++, panel += step) {
            const ints codes = load_s32(panel);
            sums = _mm256_add_epi16(sums, _mm256_maddubs_epi16(bytes, codes));
            far = _mm256_add_epi16(far, _mm256_maddubs_epi16(distances(codes, zero_points), bytes));
        }
        add_to(total, _mm256_cvtepi16_epi32(_mm256_castsi256_si128(sums)));
        add_to(total + 8, _mm256_cvtepi16_epi32(_mm256_extracti128_si256(sums, 1)));
        add_to(reach, _mm256_cvtepi16_epi32(_mm256_castsi256_si128(far)));
        add_to(reach + 8, _mm256_cvtepi16_epi32(_mm256_extracti128_si256(far, 1)));
    }
}

void ql_sum_panel_s8__avx2(const int8_t *panel, size_t groups, size_t nr, size_t kr, const int32_t *zero_point,
                           int32_t *total, int32_t *reach)
{
    const size_t columns = kr == 4 ? 8 : 16;
    if ((kr != 2 && kr != 4) || nr % columns != 0) {
        ql_sum_panel_s8__scalar(panel, groups, nr, kr, zero_point, total, reach);
        return;
    }
    for (size_t j = 0; j < nr; j += columns) {
        if (kr == 4)
            sum_quads(panel + j * kr, groups, nr * kr, zero_point + j, total + j, reach + j);
        else
            sum_pairs(panel + j * kr, groups, nr * kr, zero_point + j, total + j, reach + j);
    }
}
