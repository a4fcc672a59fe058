/* Products of 16-bit numbers through vpmaddwd. Tile 6 x 16: 12 accumulators, 2 registers of b, 1 of a. */
#include <immintrin.h>
#include <string.h>

#include "kernels/avx2/avx2.h"
#include "kernels/tiles.h"

enum { NR = QL_WINOGRAD_COLUMNS, MR = 6 };

static inline __attribute__((always_inline)) void multiply(const int mr, const int16_t *a, size_t stride, size_t depth,
                                                           const int16_t *b, int32_t *sums)
{
    __m256i sum[MR][2];
#pragma GCC unroll 6
    for (int i = 0; i < mr; i++)
        sum[i][0] = sum[i][1] = _mm256_setzero_si256();
    for (size_t p = 0; p < depth; p += 2, b += 2 * NR) {
        const __m256i first = _mm256_load_si256((const __m256i *)b), second = _mm256_load_si256((const __m256i *)b + 1);
#pragma GCC unroll 6
        for (int i = 0; i < mr; i++) {
            int32_t pair;
            memcpy(&pair, a + (size_t)i * stride + p, sizeof pair);
            const __m256i a_pair = _mm256_set1_epi32(pair);
            sum[i][0] = _mm256_add_epi32(sum[i][0], _mm256_madd_epi16(a_pair, first));
            sum[i][1] = _mm256_add_epi32(sum[i][1], _mm256_madd_epi16(a_pair, second));
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < mr; i++) {
        _mm256_store_si256((__m256i *)(sums + i * NR), sum[i][0]);
        _mm256_store_si256((__m256i *)(sums + i * NR) + 1, sum[i][1]);
    }
}

typedef void tile(const int16_t *a, size_t stride, size_t depth, const int16_t *b, int32_t *sums);

#define NAME(ROWS, COLUMNS) multiply_##ROWS##x##COLUMNS
#define TILE(ROWS, COLUMNS, VECTORS)                                                                                \
    static void NAME(ROWS, COLUMNS)(const int16_t *a, size_t stride, size_t depth, const int16_t *b, int32_t *sums) \
    {                                                                                                               \
        multiply(ROWS, a, stride, depth, b, sums);                                                                  \
    }
#define ENTRY(ROWS, COLUMNS) NAME(ROWS, COLUMNS),

QL_ROWS_6(TILE, 16, 2)

static tile *const tiles[] = {NULL, QL_ROWS_6(ENTRY, 16)};

void ql_winograd_products_s16_s32__avx2(const int16_t *a, size_t stride, size_t rows, size_t depth, const int16_t *b,
                                        int32_t *sums)
{
    for (size_t i = 0, mr; i < rows; i += mr) {
        mr = rows - i < MR ? rows - i : MR;
        tiles[mr](a + i * stride, stride, depth, b, sums + i * NR);
    }
}
