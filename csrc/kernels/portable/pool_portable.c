/* Pooling, by blocks of channels that stay in registers while a window goes by. Signed codes are turned into unsigned
 * ones by their top bit, which keeps their order; for a mean they lie around MIDDLE then.
 *
 * Compilers know the blocks' widths, and the sizes of the windows that networks have, whose loops they take apart: maps
 * of 28 x 28 x 16 take a third of the time. `unroll 1` keeps GCC from taking loops of up to 16 steps apart before it
 * can make them vectors, which cost a factor of 8. Channels that no blocks are left for are computed once more, as the
 * end of a block. */
#include "kernels/portable/portable.h"

enum { BLOCK = 64, MIDDLE = 128 };

typedef void window_function(const uint8_t *x, const ql_windows *w, ql_byte_form form, size_t rows, size_t cols,
                             size_t width, uint8_t *restrict y);

#define INLINE static inline __attribute__((always_inline))

static inline uint8_t flip_of(ql_byte_form form)
{
    return form == QL_BYTES_S8 ? 0x80 : form == QL_BYTES_DOWNWARD ? 0xff : 0;
}

/* Channels c..c + width - 1 of all windows. */
INLINE void each_window(const uint8_t *x, const ql_windows *w, ql_byte_form form, window_function *function,
                        size_t rows, size_t cols, size_t width, size_t c, uint8_t *y)
{
    for (size_t i = 0; i < w->n; i++)
        function(x + i * w->step + c, w, form, rows, cols, width, y + i * w->channels + c);
}

INLINE void each_block(const uint8_t *x, const ql_windows *w, ql_byte_form form, window_function *function, size_t rows,
                       size_t cols, uint8_t *y)
{
    const size_t channels = w->channels, width = channels >= 16 ? 16 : channels >= 8 ? 8 : 1;
    size_t c = 0;
    for (; c + BLOCK <= channels; c += BLOCK)
        each_window(x, w, form, function, rows, cols, BLOCK, c, y);
    for (; c < channels; c += width) {
        const size_t first = c + width <= channels ? c : channels - width;
        if (width == 16)
            each_window(x, w, form, function, rows, cols, 16, first, y);
        else if (width == 8)
            each_window(x, w, form, function, rows, cols, 8, first, y);
        else
            each_window(x, w, form, function, rows, cols, 1, first, y);
    }
}

INLINE void pool(const uint8_t *x, const ql_windows *w, ql_byte_form form, window_function *function, uint8_t *y)
{
    if (w->rows == 2 && w->cols == 2)
        each_block(x, w, form, function, 2, 2, y);
    else if (w->rows == 3 && w->cols == 3)
        each_block(x, w, form, function, 3, 3, y);
    else
        each_block(x, w, form, function, w->rows, w->cols, y);
}

INLINE void max_window(const uint8_t *x, const ql_windows *w, ql_byte_form form, size_t rows, size_t cols, size_t width,
                       uint8_t *restrict y)
{
    const uint8_t flip = flip_of(form);
    uint8_t most[BLOCK] = {0};
    for (size_t r = 0; r < rows; r++) {
        const uint8_t *pixel = x + r * w->row_stride;
        for (size_t p = 0; p < cols; p++, pixel += w->channels) {
#pragma GCC unroll 1
            for (size_t c = 0; c < width; c++)
                most[c] = (pixel[c] ^ flip) > most[c] ? pixel[c] ^ flip : most[c];
        }
    }
#pragma GCC unroll 1
    for (size_t c = 0; c < width; c++)
        y[c] = most[c] ^ flip;
}

INLINE void max_of_lanes(uint8_t *restrict most, const uint8_t *restrict x, uint8_t flip, size_t lanes)
{
#pragma GCC unroll 1
    for (size_t l = 0; l < lanes; l++)
        most[l] = (x[l] ^ flip) > most[l] ? x[l] ^ flip : most[l];
}

/* Puts the greatest of n neighbours, at least as many as lanes, into the first lane. Codes that come twice change
 * nothing. */
INLINE void max_of_run(const uint8_t *x, size_t n, uint8_t flip, size_t lanes, uint8_t *first)
{
    uint8_t most[BLOCK] = {0};
    for (size_t i = 0; i + lanes < n; i += lanes)
        max_of_lanes(most, x + i, flip, lanes);
    max_of_lanes(most, x + n - lanes, flip, lanes);
#pragma GCC unroll 8
    for (size_t half = lanes / 2; half > 0; half /= 2) {
#pragma GCC unroll 1
        for (size_t l = 0; l < half; l++)
            most[l] = most[half + l] > most[l] ? most[half + l] : most[l];
    }
    *first = *most > *first ? *most : *first;
}

/* Windows of one channel, whose rows are runs of at least eight neighbours. */
static void max_of_one_channel(const uint8_t *x, const ql_windows *w, uint8_t flip, uint8_t *y)
{
    for (size_t i = 0; i < w->n; i++) {
        uint8_t most = 0;
        for (size_t r = 0; r < w->rows; r++) {
            const uint8_t *row = x + i * w->step + r * w->row_stride;
            if (w->cols >= 32)
                max_of_run(row, w->cols, flip, 32, &most);
            else
                max_of_run(row, w->cols, flip, 8, &most);
        }
        y[i] = most ^ flip;
    }
}

/* Windows of few channels, whose rows are long: blocks of as many lanes as are whole pixels. */
static void max_of_few_channels(const uint8_t *x, const ql_windows *w, uint8_t flip, uint8_t *restrict y)
{
    const size_t channels = w->channels, whole = BLOCK / channels * channels, n = w->cols * channels;
    for (size_t i = 0; i < w->n; i++, y += channels) {
        uint8_t most[BLOCK] = {0};
        for (size_t r = 0; r < w->rows; r++) {
            const uint8_t *row = x + i * w->step + r * w->row_stride;
            size_t p = 0;
            for (; p + BLOCK <= n; p += whole)
                max_of_lanes(most, row + p, flip, BLOCK);
            for (; p < n; p += channels)
                max_of_lanes(most, row + p, flip, channels);
        }
        for (size_t l = channels; l < whole; l += channels) {
            for (size_t c = 0; c < channels; c++)
                most[c] = most[l + c] > most[c] ? most[l + c] : most[c];
        }
        for (size_t c = 0; c < channels; c++)
            y[c] = most[c] ^ flip;
    }
}

void QL_KERNEL(ql_max_pool_x8)(const uint8_t *x, const ql_windows *windows, ql_byte_form form, uint8_t *y)
{
    if (windows->channels == 1 && windows->cols >= 8)
        max_of_one_channel(x, windows, flip_of(form), y);
    else if (windows->channels < 8 && windows->cols >= 16)
        max_of_few_channels(x, windows, flip_of(form), y);
    else
        pool(x, windows, form, max_window, y);
}

/* The mean of up to FEW codes. A sum, with half of their number, times ceil(2^16 / number) is too great by less than
 * 2^16 / number then, so that its upper half is the quotient. What lies below MIDDLE is rounded down where there is a
 * tie. */
enum { FEW = 16 };

INLINE void mean_of_few(const uint8_t *x, const ql_windows *w, ql_byte_form form, size_t rows, size_t cols,
                        size_t width, uint8_t *restrict y)
{
    const uint8_t flip = flip_of(form);
    const uint16_t count = (uint16_t)(rows * cols), half = count / 2, has_ties = count % 2 == 0;
    const uint16_t middle = form == QL_BYTES_U8 ? 0 : (uint16_t)(MIDDLE * count);
    const uint16_t reciprocal = (uint16_t)((65535 + count) / count);
    uint16_t sum[BLOCK] = {0};
    for (size_t r = 0; r < rows; r++) {
        const uint8_t *pixel = x + r * w->row_stride;
        for (size_t p = 0; p < cols; p++, pixel += w->channels) {
#pragma GCC unroll 1
            for (size_t c = 0; c < width; c++)
                sum[c] = (uint16_t)(sum[c] + (pixel[c] ^ flip));
        }
    }
#pragma GCC unroll 1
    for (size_t c = 0; c < width; c++) {
        const uint16_t rounded = (uint16_t)(sum[c] + half - (sum[c] < middle ? has_ties : 0));
        y[c] = (uint8_t)(((uint32_t)rounded * reciprocal) >> 16) ^ flip;
    }
}

/* sum / count, rounded half away from zero: the quotient of two int32, rounded once to double, is on the right side of
 * every integer. */
static inline int32_t mean(int32_t sum, int32_t half, double count)
{
    return (int32_t)((double)(sum + (sum < 0 ? -half : half)) / count);
}

INLINE void mean_of_many(const uint8_t *x, const ql_windows *w, ql_byte_form form, size_t rows, size_t cols,
                         size_t width, uint8_t *restrict y)
{
    const uint8_t flip = flip_of(form);
    const int32_t count = (int32_t)(rows * cols), half = count / 2, middle = form == QL_BYTES_U8 ? 0 : MIDDLE;
    int32_t sum[BLOCK];
#pragma GCC unroll 1
    for (size_t c = 0; c < width; c++)
        sum[c] = -middle * count;
    for (size_t r = 0; r < rows; r++) {
        const uint8_t *pixel = x + r * w->row_stride;
        for (size_t p = 0; p < cols; p++, pixel += w->channels) {
#pragma GCC unroll 1
            for (size_t c = 0; c < width; c++)
                sum[c] += pixel[c] ^ flip;
        }
    }
#pragma GCC unroll 1
    for (size_t c = 0; c < width; c++)
        y[c] = (uint8_t)((mean(sum[c], half, count) + middle) ^ flip);
}

void QL_KERNEL(ql_avg_pool_x8)(const uint8_t *x, const ql_windows *windows, ql_byte_form form, uint8_t *y)
{
    const size_t count = windows->rows * windows->cols;
    if (count == 1)
        pool(x, windows, form, max_window, y); /* 2^16 / 1 has no place in 16 bits */
    else if (count <= FEW)
        pool(x, windows, form, mean_of_few, y);
    else
        each_block(x, windows, form, mean_of_many, windows->rows, windows->cols, y);
}
