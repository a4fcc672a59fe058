/* Pooling, by blocks of channels that stay in registers while a window goes by. Signed codes are turned into unsigned
 * ones by their top bit, which keeps their order.
 *
 * The compiler knows the blocks' widths, and `unroll 1` keeps it from taking loops of up to 16 steps apart before it
 * can make them vectors, which cost a factor of 8. */
#include "kernels/portable/portable.h"

enum { BLOCK = 64 };

typedef void window_function(const uint8_t *x, const ql_windows *w, uint8_t flip, size_t width, uint8_t *restrict y);

static inline __attribute__((always_inline)) size_t blocks(const uint8_t *x, const ql_windows *w, uint8_t flip,
                                                           window_function *function, size_t width, size_t c,
                                                           uint8_t *y)
{
    for (; c + width <= w->channels; c += width)
        function(x + c, w, flip, width, y + c);
    return c;
}

static inline __attribute__((always_inline)) void each_window(const uint8_t *x, const ql_windows *w, bool is_signed,
                                                              window_function *function, uint8_t *y)
{
    const uint8_t flip = is_signed ? 0x80 : 0;
    for (size_t i = 0; i < w->n; i++, x += w->step, y += w->channels) {
        size_t c = blocks(x, w, flip, function, BLOCK, 0, y);
        c = blocks(x, w, flip, function, 16, c, y);
        c = blocks(x, w, flip, function, 8, c, y);
        blocks(x, w, flip, function, 1, c, y);
    }
}

static inline void max_window(const uint8_t *x, const ql_windows *w, uint8_t flip, size_t width, uint8_t *restrict y)
{
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

void QL_KERNEL(ql_max_pool_x8)(const uint8_t *x, const ql_windows *windows, bool is_signed, uint8_t *y)
{
    each_window(x, windows, is_signed, max_window, y);
}

/* sum / count, rounded half away from zero: the quotient of two int32, rounded once to double, is on the right side of
 * every integer. */
static inline int32_t mean(int32_t sum, int32_t half, double count)
{
    return (int32_t)((double)(sum + (sum < 0 ? -half : half)) / count);
}

static inline void avg_window(const uint8_t *x, const ql_windows *w, uint8_t flip, size_t width, uint8_t *restrict y)
{
    const int32_t count = (int32_t)(w->rows * w->cols), half = count / 2;
    int32_t sum[BLOCK];
#pragma GCC unroll 1
    for (size_t c = 0; c < width; c++)
        sum[c] = -flip * count;
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
        y[c] = (uint8_t)mean(sum[c], half, count);
}

void QL_KERNEL(ql_avg_pool_x8)(const uint8_t *x, const ql_windows *windows, bool is_signed, uint8_t *y)
{
    each_window(x, windows, is_signed, avg_window, y);
}
