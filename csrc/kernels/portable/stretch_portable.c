/* Pixels of codes between two others of a row.
 *
 * They go by blocks of channels whose number compilers know: images of 24 channels take 0.7 of the time that a loop
 * over any number takes (AVX2, AMD Zen 3). Channels that no blocks are left for are computed once more, as the end of a
 * block. `unroll 1` as in pool_portable.c. */
#include "kernels/portable/portable.h"

#define INLINE static inline __attribute__((always_inline))

enum { BLOCK = 16, HALF_BLOCK = 8 };

INLINE void stretch_narrow(const uint8_t *restrict a, const uint8_t *restrict b, uint16_t first, uint16_t second,
                           size_t width, uint16_t *restrict line)
{
#pragma GCC unroll 1
    for (size_t c = 0; c < width; c++)
        line[c] = (uint16_t)(a[c] * first + b[c] * second);
}

INLINE void stretch(const uint8_t *restrict a, const uint8_t *restrict b, int32_t first, int32_t second, size_t width,
                    int32_t *restrict line)
{
#pragma GCC unroll 1
    for (size_t c = 0; c < width; c++)
        line[c] = a[c] * first + b[c] * second;
}

/* Blocks of `width` of the channels, at least one. */
INLINE void stretch_narrow_by(const uint8_t *x, const ql_tap *taps, size_t n, size_t channels, int bits, size_t width,
                              uint16_t *line)
{
    for (size_t j = 0; j < n; j++, line += channels) {
        const uint8_t *a = x + taps[j].first, *b = x + taps[j].second;
        const uint16_t second = (uint16_t)taps[j].weight, first = (uint16_t)((1u << bits) - second);
        for (size_t c = 0; c + width < channels; c += width)
            stretch_narrow(a + c, b + c, first, second, width, line + c);
        const size_t end = channels - width;
        stretch_narrow(a + end, b + end, first, second, width, line + end);
    }
}

INLINE void stretch_by(const uint8_t *x, const ql_tap *taps, size_t n, size_t channels, int bits, size_t width,
                       int32_t *line)
{
    for (size_t j = 0; j < n; j++, line += channels) {
        const uint8_t *a = x + taps[j].first, *b = x + taps[j].second;
        const int32_t second = (int32_t)taps[j].weight, first = (1 << bits) - second;
        for (size_t c = 0; c + width < channels; c += width)
            stretch(a + c, b + c, first, second, width, line + c);
        const size_t end = channels - width;
        stretch(a + end, b + end, first, second, width, line + end);
    }
}

void QL_KERNEL(ql_stretch_pixels_u8_u16)(const uint8_t *x, const ql_tap *taps, size_t n, size_t channels, int bits,
                                         uint16_t *line)
{
    if (channels >= BLOCK)
        stretch_narrow_by(x, taps, n, channels, bits, BLOCK, line);
    else if (channels >= HALF_BLOCK)
        stretch_narrow_by(x, taps, n, channels, bits, HALF_BLOCK, line);
    else if (channels == 1)
        stretch_narrow_by(x, taps, n, 1, bits, 1, line);
    else if (channels == 2)
        stretch_narrow_by(x, taps, n, 2, bits, 2, line);
    else if (channels == 3)
        stretch_narrow_by(x, taps, n, 3, bits, 3, line);
    else
        stretch_narrow_by(x, taps, n, channels, bits, 4, line);
}

void QL_KERNEL(ql_stretch_pixels_u8_s32)(const uint8_t *x, const ql_tap *taps, size_t n, size_t channels, int bits,
                                         int32_t *line)
{
    if (channels >= BLOCK)
        stretch_by(x, taps, n, channels, bits, BLOCK, line);
    else if (channels >= HALF_BLOCK)
        stretch_by(x, taps, n, channels, bits, HALF_BLOCK, line);
    else if (channels == 1)
        stretch_by(x, taps, n, 1, bits, 1, line);
    else if (channels == 2)
        stretch_by(x, taps, n, 2, bits, 2, line);
    else if (channels == 3)
        stretch_by(x, taps, n, 3, bits, 3, line);
    else
        stretch_by(x, taps, n, channels, bits, 4, line);
}
