/* A table of 256 bytes in four registers: one permutation looks up the low seven bits of 64 codes in two of them, the
 * top bit says in which two. */
#include <immintrin.h>

#include "kernels/avx512vbmi/avx512vbmi.h"

enum { LANES = 64 };

typedef struct table256 {
    __m512i quarter[4];
} table256;

static inline __m512i look_up(const table256 *t, __m512i x)
{
    const __m512i low = _mm512_permutex2var_epi8(t->quarter[0], x, t->quarter[1]);
    const __m512i high = _mm512_permutex2var_epi8(t->quarter[2], x, t->quarter[3]);
    return _mm512_mask_mov_epi8(low, _mm512_movepi8_mask(x), high);
}

void ql_lookup_x8__avx512vbmi(const uint8_t *x, size_t n, const uint8_t *table, uint8_t *y)
{
    table256 t;
    for (int i = 0; i < 4; i++)
        t.quarter[i] = _mm512_loadu_si512(table + i * LANES);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        _mm512_storeu_si512(y + i, look_up(&t, _mm512_loadu_si512(x + i)));
    const __mmask64 rest = ((__mmask64)1 << (n - i)) - 1;
    _mm512_mask_storeu_epi8(y + i, rest, look_up(&t, _mm512_maskz_loadu_epi8(rest, x + i)));
}
