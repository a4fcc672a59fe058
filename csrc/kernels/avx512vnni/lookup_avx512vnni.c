/* The sixteen shuffles of lookup_avx2.c, which says how they work, on 64 codes; here the rows fit the registers. */
#include <immintrin.h>

#include "kernels/avx512vnni/avx512vnni.h"

enum { LANES = 64, ROWS = 16 };

static inline void make_rows(const uint8_t *table, __m512i *row)
{
    __m512i before = _mm512_setzero_si512();
    for (int k = 0; k < ROWS; k++) {
        const __m512i own = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(table + 16 * k)));
        row[k] = _mm512_xor_si512(own, before);
        if (k >= ROWS / 2)
            row[k] = _mm512_xor_si512(row[k], row[k - ROWS / 2]);
        before = own;
    }
}

static inline __m512i look_up(const __m512i *row, __m512i index)
{
    const __m512i sixteen = _mm512_set1_epi8(16);
    __m512i answer = _mm512_shuffle_epi8(row[0], index);
    for (int k = 1; k < ROWS; k++) {
        index = k <= ROWS / 2 ? _mm512_sub_epi8(index, sixteen) : _mm512_subs_epi8(index, sixteen);
        answer = _mm512_xor_si512(answer, _mm512_shuffle_epi8(row[k], index));
    }
    return answer;
}

void ql_lookup_x8__avx512vnni(const uint8_t *x, size_t n, const uint8_t *table, uint8_t *y)
{
    __m512i row[ROWS];
    make_rows(table, row);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        _mm512_storeu_si512(y + i, look_up(row, _mm512_loadu_si512(x + i)));
    const __mmask64 rest = ((__mmask64)1 << (n - i)) - 1;
    _mm512_mask_storeu_epi8(y + i, rest, look_up(row, _mm512_maskz_loadu_epi8(rest, x + i)));
}
