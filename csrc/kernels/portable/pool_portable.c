/* Pooling, by blocks of channels that stay in registers while a window goes by. Signed codes are turned into unsigned
 * ones by their top bit, which keeps their order; for a mean they lie around MIDDLE then.
 *
 * The compiler knows the blocks' widths, and `unroll 1` keeps it from taking loops of up to 16 steps apart before it
 * can make them vectors, which cost a factor of 8. */
#include "kernels/portable/portable.h"

enum { BLOCK = 64, MIDDLE = 128 };

typedef void window_function(const uint8_t *x, const ql_windows *w, ql_byte_form form, size_t width,
                             uint8_t *restrict y);

static inline uint8_t flip_of(ql_byte_form form)
{
    return form == QL_BYTES_S8 ? 0x80 : 0;
}

static inline __attribute__((always_inline)) size_t blocks(const uint8_t *x, const ql_windows *w, ql_byte_form form,
                                                           window_function *function, size_t width, size_t c,
                                                           uint8_t *y)
{
    for (; c + width <= w->channels; c += width)
        function(x + c, w, form, width, y + c);
    return c;
}

static inline __attribute__((always_inline)) void each_window(const uint8_t *x, const ql_windows *w, ql_byte_form form,
                                                              window_function *function, uint8_t *y)
{
    for (size_t i = 0; i < w->n; i++, x += w->step, y += w->channels) {
        size_t c = blocks(x, w, form, function, BLOCK, 0, y);
        c = blocks(x, w, form, function, 16, c, y);
        c = blocks(x, w, form, function, 8, c, y);
        blocks(x, w, form, function, 1, c, y);
    }
}

static inline void max_window(const uint8_t *x, const ql_windows *w, ql_byte_form form, size_t width,
                              uint8_t *restrict y)
{
    const uint8_t flip = flip_of(form);
    uint8_t most[BLOCK] = {0};
    for (size_t r = 0; r < w->rows; r++) {
        const uint8_t *pixel = x + r * w->row_stride;
        for (size_t p = 0; p < w->cols; p++, pixel += w->channels) {
#pragma GCC unroll 1
            for (size_t c = 0; c < width; c++)
                most[c] = (pixel[c] ^ flip) > most[c] ? pixel[c] ^ flip : most[c];
        }
    }
#pragma GCC unroll 1
    for (size_t c = 0; c < width; c++)
        y[c] = most[c] ^ flip;
}

void QL_KERNEL(ql_max_pool_x8)(const uint8_t *x, const ql_windows *windows, ql_byte_form form, uint8_t *y)
{
    each_window(x, windows, form, max_window, y);
}

/* sum / count, rounded half away from zero: the quotient of two int32, rounded once to double, is on the right side of
 * every integer. */
static inline int32_t mean(int32_t sum, int32_t half, double count)
{
    return (int32_t)((double)(sum + (sum < 0 ? -half : half)) / count);
}

static inline void avg_window(const uint8_t *x, const ql_windows *w, ql_byte_form form, size_t width,
                              uint8_t *restrict y)
{
    const uint8_t flip = flip_of(form);
    const int32_t middle = form == QL_BYTES_U8 ? 0 : MIDDLE;
    const int32_t count = (int32_t)(w->rows * w->cols), half = count / 2;
    int32_t sum[BLOCK];
#pragma GCC unroll 1
    for (size_t c = 0; c < width; c++)
        sum[c] = -middle * count;
    for (size_t r = 0; r < w->rows; r++) {
        const uint8_t *pixel = x + r * w->row_stride;
        for (size_t p = 0; p < w->cols; p++, pixel += w->channels) {
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
    each_window(x, windows, form, avg_window, y);
}

/* Sums of up to STRETCH codes fit 16 bits. */
enum { STRETCH = 257 };

static inline void sum_block(const uint8_t *x, size_t pixels, size_t channels, size_t width, int32_t start,
                             int32_t *restrict sum)
{
#pragma GCC unroll 1
    for (size_t c = 0; c < width; c++)
        sum[c] = start;
    for (size_t first = 0; first < pixels; first += STRETCH) {
        const size_t end = pixels - first < STRETCH ? pixels : first + STRETCH;
        uint16_t part[BLOCK] = {0};
        for (size_t p = first; p < end; p++) {
#pragma GCC unroll 1
            for (size_t c = 0; c < width; c++)
                part[c] = (uint16_t)(part[c] + x[p * channels + c]);
        }
#pragma GCC unroll 1
        for (size_t c = 0; c < width; c++)
            sum[c] += part[c];
    }
}

void QL_KERNEL(ql_sum_pixels_u8_s32)(const uint8_t *x, size_t pixels, size_t channels, int32_t start, int32_t *sum)
{
    size_t c = 0;
    for (; c + BLOCK <= channels; c += BLOCK)
        sum_block(x + c, pixels, channels, BLOCK, start, sum + c);
    for (; c + 16 <= channels; c += 16)
        sum_block(x + c, pixels, channels, 16, start, sum + c);
    for (; c + 8 <= channels; c += 8)
        sum_block(x + c, pixels, channels, 8, start, sum + c);
    for (; c < channels; c++)
        sum_block(x + c, pixels, channels, 1, start, sum + c);
}
