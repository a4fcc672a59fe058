/* Codes between two rows of sums. */
#include "kernels/portable/portable.h"

#define INLINE static inline __attribute__((always_inline))

INLINE void mix_narrow(const uint16_t *restrict a, const uint16_t *restrict b, size_t n, const ql_mix *mix,
                       bool has_middle, uint8_t *restrict y)
{
    const uint16_t second = (uint16_t)mix->weight, first = (uint16_t)((1u << mix->bits) - second);
    const uint16_t half = (uint16_t)(1u << (mix->shift - 1)), middle = (uint16_t)mix->middle;
    const int shift = mix->shift;
#pragma GCC unroll 1
    for (size_t i = 0; i < n; i++) {
        const uint16_t sum = (uint16_t)((uint16_t)(a[i] * first) + (uint16_t)(b[i] * second));
        const uint16_t rounded = (uint16_t)(sum + half - (has_middle && sum < middle ? 1 : 0));
        y[i] = (uint8_t)(rounded >> shift);
    }
}

void QL_KERNEL(ql_mix_rows_u16_u8)(const uint16_t *a, const uint16_t *b, size_t n, const ql_mix *mix, uint8_t *y)
{
    if (mix->middle > 0)
        mix_narrow(a, b, n, mix, true, y);
    else
        mix_narrow(a, b, n, mix, false, y);
}

INLINE void mix_wide(const int32_t *restrict a, const int32_t *restrict b, size_t n, const ql_mix *mix, bool has_middle,
                     uint8_t *restrict y)
{
    const int32_t second = (int32_t)mix->weight, first = (1 << mix->bits) - second;
    const int32_t half = 1 << (mix->shift - 1), middle = mix->middle, shift = mix->shift;
#pragma GCC unroll 1
    for (size_t i = 0; i < n; i++) {
        const int32_t sum = a[i] * first + b[i] * second;
        y[i] = (uint8_t)((sum + half - (has_middle && sum < middle ? 1 : 0)) >> shift);
    }
}

void QL_KERNEL(ql_mix_rows_s32_u8)(const int32_t *a, const int32_t *b, size_t n, const ql_mix *mix, uint8_t *y)
{
    if (mix->middle > 0)
        mix_wide(a, b, n, mix, true, y);
    else
        mix_wide(a, b, n, mix, false, y);
}
