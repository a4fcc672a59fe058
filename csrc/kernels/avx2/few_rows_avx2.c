/* Few rows by weights that are not packed: two rows of the weights at a time, unpacked so that vpmaddwd multiplies and
 * adds pairs of 16 bits. Differences from zero points have nine bits: nothing saturates. */
#include <string.h>

#include "kernels/avx2/lanes_avx2.h"
#include "kernels/scalar/scalar.h"

enum { STRIP = 16, MAX_VECTORS = 4 };

/* Written in assembly, because gcc 12 copies sums that are used after the loop, once in every turn. */
static inline void add_to(ints *sum, ints products)
{
    __asm__("vpaddd %1, %0, %0" : "+x"(*sum) : "x"(products));
}

/* Rows and columns of the weights that a strip reads. */
typedef struct weights {
    const uint8_t *b;
    size_t b_stride, k;
    uint8_t flip;
    const int16_t *zero_point;
} weights;

/* Sums of `vectors` times eight columns, for mr rows: sum[i][v]. */
static inline __attribute__((always_inline)) void multiply(const int mr, const int vectors, const bool has_zero_points,
                                                           const int16_t *a, size_t a_stride, const weights *w,
                                                           ints sum[QL_FEW_ROWS][MAX_VECTORS])
{
    const __m128i flips = _mm_set1_epi8((char)w->flip);
    ints zero_points[MAX_VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
        if (has_zero_points)
            zero_points[v] = mul_s32(load_s16(w->zero_point + LANES * v) & set_s32(0xFFFF), set_s32(0x10001));
#pragma GCC unroll 4
        for (int i = 0; i < mr; i++)
            sum[i][v] = set_s32(0);
    }
    for (size_t p = 0; p < w->k; p += 2) {
        const uint8_t *first = w->b + p * w->b_stride, *second = p + 1 < w->k ? first + w->b_stride : first;
        ints pairs[MAX_VECTORS];
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v += 2) {
            const __m128i even = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(first + LANES * v)), flips);
            const __m128i odd = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(second + LANES * v)), flips);
            pairs[v] = _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(even, odd));
            pairs[v + 1] = _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(even, odd));
        }
#pragma GCC unroll 4
        for (int v = 0; v < vectors && has_zero_points; v++)
            pairs[v] = _mm256_sub_epi16(pairs[v], zero_points[v]);
#pragma GCC unroll 4
        for (int i = 0; i < mr; i++) {
            int32_t pair;
            memcpy(&pair, a + (size_t)i * a_stride + p, sizeof pair);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                add_to(&sum[i][v], _mm256_madd_epi16(set_s32(pair), pairs[v]));
        }
    }
}

/* Adds the sums of a strip to c, all columns but the first `skip`. */
static inline __attribute__((always_inline)) void strip(const int mr, const int vectors, const bool has_zero_points,
                                                        const int16_t *a, size_t a_stride, const weights *w, size_t j,
                                                        size_t skip, int32_t *c, size_t c_stride)
{
    const weights own = {w->b + j, w->b_stride, w->k, w->flip, has_zero_points ? w->zero_point + j : NULL};
    ints sum[QL_FEW_ROWS][MAX_VECTORS];
    multiply(mr, vectors, has_zero_points, a, a_stride, &own, sum);
    if (skip == 0) {
#pragma GCC unroll 4
        for (int i = 0; i < mr; i++) {
            int32_t *row = c + (size_t)i * c_stride + j;
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                store_s32(row + LANES * v, add_s32(load_s32(row + LANES * v), sum[i][v]));
        }
        return;
    }
    uint32_t sums[QL_FEW_ROWS][LANES * MAX_VECTORS];
#pragma GCC unroll 4
    for (int i = 0; i < mr; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            store_s32(sums[i] + LANES * v, sum[i][v]);
    }
    for (int i = 0; i < mr; i++) {
        int32_t *row = c + (size_t)i * c_stride + j;
        for (size_t t = skip; t < (size_t)(LANES * vectors); t++)
            row[t] = (int32_t)((uint32_t)row[t] + sums[i][t]);
    }
}

/* The last strip overlaps the one before it. */
static inline __attribute__((always_inline)) void strips(const int mr, const bool has_zero_points, const int16_t *a,
                                                         size_t a_stride, const weights *w, size_t n, int32_t *c,
                                                         size_t c_stride)
{
    size_t j = 0;
    for (; mr == 1 && j + 2 * STRIP <= n; j += 2 * STRIP)
        strip(mr, 4, has_zero_points, a, a_stride, w, j, 0, c, c_stride);
    for (; j + STRIP <= n; j += STRIP)
        strip(mr, 2, has_zero_points, a, a_stride, w, j, 0, c, c_stride);
    if (j < n)
        strip(mr, 2, has_zero_points, a, a_stride, w, n - STRIP, STRIP - (n - j), c, c_stride);
}

static inline __attribute__((always_inline)) void rows(const bool has_zero_points, const int16_t *a, size_t a_stride,
                                                       size_t m, const weights *w, size_t n, int32_t *c,
                                                       size_t c_stride)
{
    if (m == 1)
        strips(1, has_zero_points, a, a_stride, w, n, c, c_stride);
    else if (m == 2)
        strips(2, has_zero_points, a, a_stride, w, n, c, c_stride);
    else if (m == 3)
        strips(3, has_zero_points, a, a_stride, w, n, c, c_stride);
    else if (m == 4)
        strips(4, has_zero_points, a, a_stride, w, n, c, c_stride);
}

void ql_multiply_few_s16x8s32__avx2(const int16_t *a, size_t a_stride, size_t m, const uint8_t *b, size_t b_stride,
                                    uint8_t flip, const int16_t *zero_point, size_t k, size_t n, int32_t *c,
                                    size_t c_stride)
{
    const weights w = {b, b_stride, k, flip, zero_point};
    if (n < STRIP)
        ql_multiply_few_s16x8s32__scalar(a, a_stride, m, b, b_stride, flip, zero_point, k, n, c, c_stride);
    else if (zero_point)
        rows(true, a, a_stride, m, &w, n, c, c_stride);
    else
        rows(false, a, a_stride, m, &w, n, c, c_stride);
}

/* ---- weights by columns ------------------------------------------------------------------------- */

static inline int32_t total_s32(ints sums)
{
    const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xB1)));
}

/* Columns j..j + cols - 1 for all rows, 16 codes of each at a time. */
static inline __attribute__((always_inline)) void dot(const int mr, const int cols, const int16_t *a, size_t a_stride,
                                                      const uint8_t *b, size_t b_stride, uint8_t flip, size_t k,
                                                      int32_t *c, size_t c_stride)
{
    enum { CODES = 16 };
    const __m128i flips = _mm_set1_epi8((char)flip);
    ints sum[QL_FEW_ROWS][2];
#pragma GCC unroll 4
    for (int i = 0; i < mr; i++)
        sum[i][0] = sum[i][1] = set_s32(0);
    size_t p = 0;
    for (; p + CODES <= k; p += CODES) {
#pragma GCC unroll 2
        for (int j = 0; j < cols; j++) {
            const __m128i codes = _mm_loadu_si128((const __m128i *)(b + (size_t)j * b_stride + p));
            const ints wide = _mm256_cvtepi8_epi16(_mm_xor_si128(codes, flips));
#pragma GCC unroll 4
            for (int i = 0; i < mr; i++)
                add_to(&sum[i][j], _mm256_madd_epi16(wide, load_s32(a + (size_t)i * a_stride + p)));
        }
    }
#pragma GCC unroll 2
    for (int j = 0; j < cols; j++) {
#pragma GCC unroll 4
        for (int i = 0; i < mr; i++)
            c[(size_t)i * c_stride + (size_t)j] = total_s32(sum[i][j]);
    }
    for (; p < k; p++) {
        for (size_t i = 0; i < (size_t)mr; i++) {
            for (size_t j = 0; j < (size_t)cols; j++) {
                const int32_t product = a[i * a_stride + p] * (int8_t)(b[j * b_stride + p] ^ flip);
                c[i * c_stride + j] = (int32_t)((uint32_t)c[i * c_stride + j] + (uint32_t)product);
            }
        }
    }
}

static inline __attribute__((always_inline)) void dots(const int mr, const int16_t *a, size_t a_stride,
                                                       const uint8_t *b, size_t b_stride, uint8_t flip, size_t k,
                                                       size_t n, int32_t *c, size_t c_stride)
{
    size_t j = 0;
    for (; j + 2 <= n; j += 2)
        dot(mr, 2, a, a_stride, b + j * b_stride, b_stride, flip, k, c + j, c_stride);
    if (j < n)
        dot(mr, 1, a, a_stride, b + j * b_stride, b_stride, flip, k, c + j, c_stride);
}

void ql_dot_few_s16x8s32__avx2(const int16_t *a, size_t a_stride, size_t m, const uint8_t *b, size_t b_stride,
                               uint8_t flip, size_t k, size_t n, int32_t *c, size_t c_stride)
{
    if (m == 1)
        dots(1, a, a_stride, b, b_stride, flip, k, n, c, c_stride);
    else if (m == 2)
        dots(2, a, a_stride, b, b_stride, flip, k, n, c, c_stride);
    else if (m == 3)
        dots(3, a, a_stride, b, b_stride, flip, k, n, c, c_stride);
    else if (m == 4)
        dots(4, a, a_stride, b, b_stride, flip, k, n, c, c_stride);
}
