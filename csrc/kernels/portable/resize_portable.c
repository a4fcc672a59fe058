/* Bilinear interpolation of codes, which is exact until its last step. Compilers know numbers of channels that are too
 * small for vectors: images of 3 take a third of the time. */
#include "kernels/portable/portable.h"

#define INLINE static inline __attribute__((always_inline))

INLINE void stretch_narrow(const uint8_t *restrict x, const ql_tap *restrict taps, size_t n, size_t channels, int bits,
                           uint16_t *restrict line)
{
    for (size_t j = 0; j < n; j++, line += channels) {
        const uint8_t *a = x + taps[j].first, *b = x + taps[j].second;
        const uint16_t second = (uint16_t)taps[j].weight, first = (uint16_t)((1u << bits) - second);
        for (size_t c = 0; c < channels; c++)
            line[c] = (uint16_t)(a[c] * first + b[c] * second);
    }
}

void QL_KERNEL(ql_stretch_pixels_u8_u16)(const uint8_t *x, const ql_tap *taps, size_t n, size_t channels, int bits,
                                         uint16_t *line)
{
    if (channels == 1)
        stretch_narrow(x, taps, n, 1, bits, line);
    else if (channels == 2)
        stretch_narrow(x, taps, n, 2, bits, line);
    else if (channels == 3)
        stretch_narrow(x, taps, n, 3, bits, line);
    else if (channels == 4)
        stretch_narrow(x, taps, n, 4, bits, line);
    else
        stretch_narrow(x, taps, n, channels, bits, line);
}

INLINE void stretch(const uint8_t *restrict x, const ql_tap *restrict taps, size_t n, size_t channels, int bits,
                    int32_t *restrict line)
{
    for (size_t j = 0; j < n; j++, line += channels) {
        const uint8_t *a = x + taps[j].first, *b = x + taps[j].second;
        const int32_t second = (int32_t)taps[j].weight, first = (1 << bits) - second;
        for (size_t c = 0; c < channels; c++)
            line[c] = a[c] * first + b[c] * second;
    }
}

void QL_KERNEL(ql_stretch_pixels_u8_s32)(const uint8_t *x, const ql_tap *taps, size_t n, size_t channels, int bits,
                                         int32_t *line)
{
    if (channels == 1)
        stretch(x, taps, n, 1, bits, line);
    else if (channels == 2)
        stretch(x, taps, n, 2, bits, line);
    else if (channels == 3)
        stretch(x, taps, n, 3, bits, line);
    else if (channels == 4)
        stretch(x, taps, n, 4, bits, line);
    else
        stretch(x, taps, n, channels, bits, line);
}

void QL_KERNEL(ql_mix_rows_u16_u8)(const uint16_t *restrict a, const uint16_t *restrict b, size_t n, const ql_mix *mix,
                                   uint8_t *restrict y)
{
    const uint16_t second = (uint16_t)mix->weight, first = (uint16_t)((1u << mix->bits) - second);
    const uint16_t half = (uint16_t)((1u << mix->shift) >> 1), middle = (uint16_t)mix->middle;
    const int shift = mix->shift;
#pragma GCC unroll 1
    for (size_t i = 0; i < n; i++) {
        const uint16_t sum = (uint16_t)((uint16_t)(a[i] * first) + (uint16_t)(b[i] * second));
        const uint16_t rounded = (uint16_t)(sum + half - (sum < middle ? 1 : 0));
        y[i] = (uint8_t)(rounded >> shift);
    }
}

void QL_KERNEL(ql_mix_rows_s32_u8)(const int32_t *restrict a, const int32_t *restrict b, size_t n, const ql_mix *mix,
                                   uint8_t *restrict y)
{
    const int32_t second = (int32_t)mix->weight, first = (1 << mix->bits) - second;
    const int32_t half = (1 << mix->shift) >> 1, middle = mix->middle, shift = mix->shift;
#pragma GCC unroll 1
    for (size_t i = 0; i < n; i++) {
        const int32_t sum = a[i] * first + b[i] * second;
        y[i] = (uint8_t)((sum + half - (sum < middle ? 1 : 0)) >> shift);
    }
}
