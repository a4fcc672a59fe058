/* Pooling, by blocks of channels that stay in registers while a window goes by. Signed codes are turned into unsigned
 * ones by their top bit, which keeps their order. */
#include "kernels/portable/portable.h"

enum { BLOCK = 64 };

static inline uint8_t greater(uint8_t a, uint8_t b)
{
    return a > b ? a : b;
}

/* The greatest of `width` channels, at most BLOCK. */
static inline void max_window(const uint8_t *x, const ql_windows *w, uint8_t flip, size_t width, uint8_t *restrict y)
{
    uint8_t most[BLOCK] = {0};
    for (size_t r = 0; r < w->rows; r++) {
        const uint8_t *pixel = x + r * w->row_stride;
        for (size_t p = 0; p < w->cols; p++, pixel += w->channels) {
            for (size_t c = 0; c < width; c++)
                most[c] = greater(most[c], pixel[c] ^ flip);
        }
    }
    for (size_t c = 0; c < width; c++)
        y[c] = most[c] ^ flip;
}

void QL_KERNEL(ql_max_pool_x8)(const uint8_t *x, const ql_windows *windows, bool is_signed, uint8_t *y)
{
    const uint8_t flip = is_signed ? 0x80 : 0;
    for (size_t i = 0; i < windows->n; i++, x += windows->step, y += windows->channels) {
        size_t c = 0;
        for (; c + BLOCK <= windows->channels; c += BLOCK)
            max_window(x + c, windows, flip, BLOCK, y + c);
        if (c < windows->channels)
            max_window(x + c, windows, flip, windows->channels - c, y + c);
    }
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
    for (size_t c = 0; c < width; c++)
        sum[c] = -flip * count;
    for (size_t r = 0; r < w->rows; r++) {
        const uint8_t *pixel = x + r * w->row_stride;
        for (size_t p = 0; p < w->cols; p++, pixel += w->channels) {
            for (size_t c = 0; c < width; c++)
                sum[c] += pixel[c] ^ flip;
        }
    }
    for (size_t c = 0; c < width; c++)
        y[c] = (uint8_t)mean(sum[c], half, count);
}

void QL_KERNEL(ql_avg_pool_x8)(const uint8_t *x, const ql_windows *windows, bool is_signed, uint8_t *y)
{
    const uint8_t flip = is_signed ? 0x80 : 0;
    for (size_t i = 0; i < windows->n; i++, x += windows->step, y += windows->channels) {
        size_t c = 0;
        for (; c + BLOCK <= windows->channels; c += BLOCK)
            avg_window(x + c, windows, flip, BLOCK, y + c);
        if (c < windows->channels)
            avg_window(x + c, windows, flip, windows->channels - c, y + c);
    }
}
