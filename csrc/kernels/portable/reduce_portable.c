/* Sums of codes in windows, by blocks of channels that stay in registers while a window goes by, in 16 bits for as many
 * pixels as these hold. Of few channels a block is a run of pixels, whose lanes are added to their channels at the end.
 *
 * `unroll 1`: see pool_portable.c. */
#include <string.h>

#include "kernels/portable/portable.h"

/* Sums of up to STRETCH codes fit 16 bits. */
enum { BLOCK = 64, STRETCH = 257 };

#define INLINE static inline __attribute__((always_inline))

INLINE void add_codes(uint16_t *restrict part, const uint8_t *restrict x, size_t n)
{
#pragma GCC unroll 1
    for (size_t i = 0; i < n; i++)
        part[i] = (uint16_t)(part[i] + x[i]);
}

INLINE void add_parts(int32_t *restrict sum, const uint16_t *restrict part, size_t n)
{
#pragma GCC unroll 1
    for (size_t i = 0; i < n; i++)
        sum[i] += part[i];
}

/* `width` channels of a window. */
INLINE void sum_block(const uint8_t *x, const ql_windows *w, size_t width, int32_t start, int32_t *restrict sum)
{
#pragma GCC unroll 1
    for (size_t c = 0; c < width; c++)
        sum[c] = start;
    for (size_t r = 0; r < w->rows; r++) {
        const uint8_t *pixel = x + r * w->row_stride;
        for (size_t first = 0; first < w->cols; first += STRETCH) {
            const size_t end = w->cols - first < STRETCH ? w->cols : first + STRETCH;
            uint16_t part[BLOCK] = {0};
            for (size_t p = first; p < end; p++, pixel += w->channels)
                add_codes(part, pixel, width);
            add_parts(sum, part, width);
        }
    }
}

/* Channels c..c + width - 1 of all windows. */
INLINE void each_window(const uint8_t *x, const ql_windows *w, size_t width, size_t c, int32_t start, int32_t *sum)
{
    for (size_t i = 0; i < w->n; i++)
        sum_block(x + i * w->step + c, w, width, start, sum + i * w->channels + c);
}

/* Words of eight bytes, and sums of neighbours in them: of pairs in 16 bits, of fours in 32. */
enum { WORDS = 4, ROUNDS = 128 }; /* 128 times two bytes fit 16 bits */
typedef uint64_t words __attribute__((vector_size(8 * WORDS)));

#define PAIRS(word) (((word) & UINT64_C(0x00ff00ff00ff00ff)) + (((word) >> 8) & UINT64_C(0x00ff00ff00ff00ff)))
#define FOURS(pairs) (((pairs) & UINT64_C(0x0000ffff0000ffff)) + (((pairs) >> 16) & UINT64_C(0x0000ffff0000ffff)))

/* Returns the sum of n neighbours. Vectors are written out, because loops over words that compilers make them of take
 * five times as long in rows of 128 bytes (AMD Zen 3). */
INLINE uint32_t sum_of_run(const uint8_t *x, size_t n)
{
    words fours = {0};
    size_t i = 0;
    while (i + 2 * sizeof(words) <= n) {
        words first = {0}, second = {0};
        for (size_t round = 0; round < ROUNDS && i + 2 * sizeof(words) <= n; round++, i += 2 * sizeof(words)) {
            words one, other;
            memcpy(&one, x + i, sizeof one);
            memcpy(&other, x + i + sizeof one, sizeof other);
            first += PAIRS(one);
            second += PAIRS(other);
        }
        fours += FOURS(first) + FOURS(second);
    }
    uint64_t pairs = 0, sums = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t word;
        memcpy(&word, x + i, 8);
        pairs += PAIRS(word);
    }
    for (size_t j = 0; j < WORDS; j++)
        sums += fours[j];
    sums += FOURS(pairs);
    uint32_t sum = (uint32_t)sums + (uint32_t)(sums >> 32);
    for (; i < n; i++)
        sum += x[i];
    return sum;
}

static void sum_one_channel(const uint8_t *x, const ql_windows *w, int32_t start, int32_t *restrict sum)
{
    for (size_t i = 0; i < w->n; i++) {
        uint32_t total = 0;
        for (size_t r = 0; r < w->rows; r++)
            total += sum_of_run(x + i * w->step + r * w->row_stride, w->cols);
        sum[i] = start + (int32_t)total;
    }
}

/* Adds n codes of few channels to their sums: as many lanes as are whole pixels. */
INLINE void add_run(const uint8_t *x, size_t n, size_t channels, int32_t *restrict sum)
{
    const size_t whole = BLOCK / channels * channels;
    size_t i = 0;
    while (i + BLOCK <= n) {
        uint16_t part[BLOCK] = {0};
        for (size_t round = 0; round < STRETCH && i + BLOCK <= n; round++, i += whole)
            add_codes(part, x + i, BLOCK);
        for (size_t l = 0; l < whole; l += channels)
            add_parts(sum, part + l, channels);
    }
    for (; i < n; i += channels) {
        for (size_t c = 0; c < channels; c++)
            sum[c] += x[i + c];
    }
}

static void sum_few_channels(const uint8_t *x, const ql_windows *w, int32_t start, int32_t *restrict sum)
{
    for (size_t i = 0; i < w->n; i++, sum += w->channels) {
        for (size_t c = 0; c < w->channels; c++)
            sum[c] = start;
        for (size_t r = 0; r < w->rows; r++)
            add_run(x + i * w->step + r * w->row_stride, w->cols * w->channels, w->channels, sum);
    }
}

static void sum_many_channels(const uint8_t *x, const ql_windows *w, int32_t start, int32_t *sum)
{
    const size_t channels = w->channels, width = channels >= 16 ? 16 : 8;
    size_t c = 0;
    for (; c + BLOCK <= channels; c += BLOCK)
        each_window(x, w, BLOCK, c, start, sum);
    for (; c < channels; c += width) {
        const size_t first = c + width <= channels ? c : channels - width;
        if (width == 16)
            each_window(x, w, 16, first, start, sum);
        else
            each_window(x, w, 8, first, start, sum);
    }
}

/* FEW: a block holds more than one pixel of so many channels. */
enum { FEW = BLOCK / 2 };

void QL_KERNEL(ql_sum_windows_u8_s32)(const uint8_t *x, const ql_windows *w, int32_t start, int32_t *sum)
{
    if (w->channels == 1)
        sum_one_channel(x, w, start, sum);
    else if (w->channels < 8 || (w->channels <= FEW && w->cols >= 16))
        sum_few_channels(x, w, start, sum);
    else
        sum_many_channels(x, w, start, sum);
}
