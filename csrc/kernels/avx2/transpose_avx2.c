/* Transposed copies, a square in registers at a time: neighbours of ever longer stretches change places. 8 x 8
 * elements of two and four bytes, 4 x 4 of eight, 16 x 16 bytes.
 *
 * Two squares side by side fill a line of memory: rows that lie a power of two apart share few places of a cache, so
 * that a line is filled at once or fetched again. */
#include <string.h>

#include "kernels/avx2/lanes_avx2.h"

static inline void square_1(const char *from, ptrdiff_t from_stride, char *to, ptrdiff_t to_stride)
{
    __m128i a[16], b[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        a[i] = _mm_loadu_si128((const __m128i *)(from + i * from_stride));
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + 8]);
        b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + 8]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        a[2 * i] = _mm_unpacklo_epi8(b[i], b[i + 8]);
        a[2 * i + 1] = _mm_unpackhi_epi8(b[i], b[i + 8]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + 8]);
        b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + 8]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        _mm_storeu_si128((__m128i *)(to + 2 * i * to_stride), _mm_unpacklo_epi8(b[i], b[i + 8]));
        _mm_storeu_si128((__m128i *)(to + (2 * i + 1) * to_stride), _mm_unpackhi_epi8(b[i], b[i + 8]));
    }
}

static inline void square_2(const char *from, ptrdiff_t from_stride, char *to, ptrdiff_t to_stride)
{
    __m128i a[8], b[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        a[i] = _mm_loadu_si128((const __m128i *)(from + i * from_stride));
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        b[2 * i] = _mm_unpacklo_epi16(a[i], a[i + 4]);
        b[2 * i + 1] = _mm_unpackhi_epi16(a[i], a[i + 4]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        a[2 * i] = _mm_unpacklo_epi16(b[i], b[i + 4]);
        a[2 * i + 1] = _mm_unpackhi_epi16(b[i], b[i + 4]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        _mm_storeu_si128((__m128i *)(to + 2 * i * to_stride), _mm_unpacklo_epi16(a[i], a[i + 4]));
        _mm_storeu_si128((__m128i *)(to + (2 * i + 1) * to_stride), _mm_unpackhi_epi16(a[i], a[i + 4]));
    }
}

/* Rows i and i + 4 side by side: what follows stays within 128 bits. */
static inline __m256i halves(const char *from, ptrdiff_t stride)
{
    const __m128i low = _mm_loadu_si128((const __m128i *)from);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(low), *(const __m128i_u *)(from + 4 * stride), 1);
}

static inline void square_4(const char *from, ptrdiff_t from_stride, char *to, ptrdiff_t to_stride)
{
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++, from += 16, to += 4 * to_stride) {
        __m256i a[4], b[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            a[i] = halves(from + i * from_stride, from_stride);
#pragma GCC unroll 2
        for (int i = 0; i < 2; i++) {
            b[2 * i] = _mm256_unpacklo_epi32(a[i], a[i + 2]);
            b[2 * i + 1] = _mm256_unpackhi_epi32(a[i], a[i + 2]);
        }
#pragma GCC unroll 2
        for (int i = 0; i < 2; i++) {
            store_s32(to + 2 * i * to_stride, _mm256_unpacklo_epi32(b[i], b[i + 2]));
            store_s32(to + (2 * i + 1) * to_stride, _mm256_unpackhi_epi32(b[i], b[i + 2]));
        }
    }
}

static inline void square_8(const char *from, ptrdiff_t from_stride, char *to, ptrdiff_t to_stride)
{
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++, from += 16, to += 2 * to_stride) {
        const __m256i even = _mm256_inserti128_si256(_mm256_castsi128_si256(*(const __m128i_u *)from),
                                                     *(const __m128i_u *)(from + 2 * from_stride), 1);
        const __m256i odd = _mm256_inserti128_si256(_mm256_castsi128_si256(*(const __m128i_u *)(from + from_stride)),
                                                    *(const __m128i_u *)(from + 3 * from_stride), 1);
        store_s32(to, _mm256_unpacklo_epi64(even, odd));
        store_s32(to + to_stride, _mm256_unpackhi_epi64(even, odd));
    }
}

typedef void square_function(const char *from, ptrdiff_t from_stride, char *to, ptrdiff_t to_stride);

static inline __attribute__((always_inline)) void squares(square_function *square, const size_t side, const size_t size,
                                                          const char *from, ptrdiff_t from_stride, size_t rows,
                                                          size_t cols, char *to, ptrdiff_t to_stride)
{
    const size_t strip = 64 / size > side ? 64 / size : side, whole_rows = rows - rows % side;
    const size_t whole_cols = cols - cols % side;
    for (size_t first = 0; first < whole_rows; first += strip) {
        const size_t end = first + strip < whole_rows ? first + strip : whole_rows;
        for (size_t j = 0; j < whole_cols; j += side) {
            for (size_t i = first; i < end; i += side)
                square(from + (ptrdiff_t)i * from_stride + j * size, from_stride,
                       to + (ptrdiff_t)j * to_stride + i * size, to_stride);
        }
    }
    for (size_t j = 0; j < cols; j++) {
        for (size_t i = j < whole_cols ? whole_rows : 0; i < rows; i++)
            memcpy(to + (ptrdiff_t)j * to_stride + i * size, from + (ptrdiff_t)i * from_stride + j * size, size);
    }
}

void ql_transpose__avx2(const void *from, ptrdiff_t from_stride, size_t rows, size_t cols, size_t size, void *to,
                        ptrdiff_t to_stride)
{
    if (size == 1)
        squares(square_1, 16, 1, from, from_stride, rows, cols, to, to_stride);
    else if (size == 2)
        squares(square_2, 8, 2, from, from_stride, rows, cols, to, to_stride);
    else if (size == 4)
        squares(square_4, 8, 4, from, from_stride, rows, cols, to, to_stride);
    else
        squares(square_8, 4, 8, from, from_stride, rows, cols, to, to_stride);
}
