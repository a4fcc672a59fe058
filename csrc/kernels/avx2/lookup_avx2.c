/* A table of 256 bytes as sixteen shuffles of 16 bytes. A shuffle gives 0 where the index is negative, so row k, asked
 * for x - 16 k, answers for some rows of x and is silent for the others:
 *     k < 8, the difference wraps:       x / 16 in [k, k + 8)
 *     k >= 8, from x - 128 it saturates: x / 16 >= k
 * All answers are xor-ed. For that to be table[x], row k holds table[k] ^ table[k - 1] and from row 8 on, because row
 * k - 8 falls silent where row k begins, ^ row[k - 8] (a trick of XNNPACK's). Three instructions per row rather than
 * the four that make all rows but one silent. */
#include <immintrin.h>

#include "kernels/avx2/avx2.h"

enum { LANES = 32, ROWS = 16, AT_ONCE = 4 };

static inline __m256i load(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

static void make_rows(const uint8_t *table, __m256i *row)
{
    __m256i before = _mm256_setzero_si256();
    for (int k = 0; k < ROWS; k++) {
        const __m256i own = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(table + 16 * k)));
        row[k] = _mm256_xor_si256(own, before);
        if (k >= ROWS / 2)
            row[k] = _mm256_xor_si256(row[k], row[k - ROWS / 2]);
        before = own;
    }
}

/* `count` vectors of codes at once: sixteen rows do not fit the registers, so that each is loaded for all of them. */
static inline void look_up(const __m256i *row, const uint8_t *x, int count, uint8_t *y)
{
    const __m256i sixteen = _mm256_set1_epi8(16);
    __m256i index[AT_ONCE], answer[AT_ONCE];
    for (int v = 0; v < count; v++) {
        index[v] = load(x + v * LANES);
        answer[v] = _mm256_shuffle_epi8(row[0], index[v]);
    }
    for (int k = 1; k < ROWS; k++) {
        for (int v = 0; v < count; v++) {
            index[v] = k <= ROWS / 2 ? _mm256_sub_epi8(index[v], sixteen) : _mm256_subs_epi8(index[v], sixteen);
            answer[v] = _mm256_xor_si256(answer[v], _mm256_shuffle_epi8(row[k], index[v]));
        }
    }
    for (int v = 0; v < count; v++)
        _mm256_storeu_si256((__m256i *)(y + v * LANES), answer[v]);
}

void ql_lookup_x8__avx2(const uint8_t *x, size_t n, const uint8_t *table, uint8_t *y)
{
    __m256i row[ROWS];
    size_t i = 0;
    if (n >= LANES)
        make_rows(table, row);
    for (; i + AT_ONCE * LANES <= n; i += AT_ONCE * LANES)
        look_up(row, x + i, AT_ONCE, y + i);
    for (; i + LANES <= n; i += LANES)
        look_up(row, x + i, 1, y + i);
    for (; i < n; i++)
        y[i] = table[x[i]];
}
