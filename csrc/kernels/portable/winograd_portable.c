/* The transforms of Winograd's minimal filtering without fractions: along one side of a tile, then along the other. */
#include "kernels/portable/portable.h"

enum { MOST = 6, LANES = QL_WINOGRAD_COLUMNS, NINTH = 0x38e38e39 }; /* 9 * NINTH is 1 modulo 2^32 */

/* ---- pixels ------------------------------------------------------------------------------------- */

static inline __attribute__((always_inline)) void transform_2(const int16_t x[MOST], int16_t y[MOST])
{
    y[0] = (int16_t)(x[0] - x[2]);
    y[1] = (int16_t)(x[1] + x[2]);
    y[2] = (int16_t)(x[2] - x[1]);
    y[3] = (int16_t)(x[1] - x[3]);
}

static inline __attribute__((always_inline)) void transform_4(const int16_t x[MOST], int16_t y[MOST])
{
    const int even = x[4] - 4 * x[2], odd = x[3] - 4 * x[1], far = x[4] - x[2], twice = 2 * (x[3] - x[1]);
    y[0] = (int16_t)(4 * x[0] - 5 * x[2] + x[4]);
    y[1] = (int16_t)(even + odd);
    y[2] = (int16_t)(even - odd);
    y[3] = (int16_t)(far + twice);
    y[4] = (int16_t)(far - twice);
    y[5] = (int16_t)(4 * x[1] - 5 * x[3] + x[5]);
}

static inline __attribute__((always_inline)) void transform(const size_t side, const int16_t x[MOST], int16_t y[MOST])
{
    side == 2 ? transform_2(x, y) : transform_4(x, y);
}

/* Transforms up to LANES channels from `first` on. */
static inline __attribute__((always_inline)) void transform_block(const size_t side, const uint8_t *const *pixels,
                                                                  size_t first, size_t lanes, uint8_t flip, int16_t *to,
                                                                  size_t stride)
{
    const size_t n = side + 2;
    int16_t rows[MOST][MOST][LANES];
    for (size_t i = 0; i < n; i++) {
#pragma GCC ivdep
        for (size_t l = 0; l < lanes; l++) {
            int16_t x[MOST], y[MOST];
            for (size_t j = 0; j < n; j++)
                x[j] = pixels[i * n + j][first + l] ^ flip;
            transform(side, x, y);
            for (size_t j = 0; j < n; j++)
                rows[j][i][l] = y[j];
        }
    }
    for (size_t j = 0; j < n; j++) {
#pragma GCC ivdep
        for (size_t l = 0; l < lanes; l++) {
            int16_t x[MOST], y[MOST];
            for (size_t i = 0; i < n; i++)
                x[i] = rows[j][i][l];
            transform(side, x, y);
            for (size_t i = 0; i < n; i++)
                to[(i * n + j) * stride + first + l] = y[i];
        }
    }
}

static inline __attribute__((always_inline)) void transform_pixels(const size_t side, const uint8_t *const *pixels,
                                                                   size_t channels, uint8_t flip, int16_t *to,
                                                                   size_t stride)
{
    size_t c = 0;
    for (; c + LANES <= channels; c += LANES)
        transform_block(side, pixels, c, LANES, flip, to, stride);
    if (c < channels)
        transform_block(side, pixels, c, channels - c, flip, to, stride);
}

void QL_KERNEL(ql_winograd_pixels_u8_s16)(size_t side, const uint8_t *const *pixels, size_t channels, uint8_t flip,
                                          int16_t *to, size_t stride)
{
    if (side == 2)
        transform_pixels(2, pixels, channels, flip, to, stride);
    else
        transform_pixels(4, pixels, channels, flip, to, stride);
}

/* ---- sums --------------------------------------------------------------------------------------- */

static inline __attribute__((always_inline)) void collect(const size_t side, const uint32_t x[MOST], uint32_t y[4])
{
    if (side == 2) {
        y[0] = 2 * x[0] + x[1] + x[2];
        y[1] = x[1] - x[2] - 2 * x[3];
        return;
    }
    const uint32_t near = x[1] + x[2], far = x[3] + x[4], near_gap = x[1] - x[2], far_gap = x[3] - x[4];
    y[0] = 6 * x[0] + 4 * near + far;
    y[1] = 4 * near_gap + 2 * far_gap;
    y[2] = 4 * (near + far);
    y[3] = 4 * near_gap + 8 * far_gap + 24 * x[5];
}

static inline uint32_t quotient(const size_t side, uint32_t multiple)
{
    return (uint32_t)(side == 2 ? (int32_t)multiple >> 2 : (int32_t)(multiple * NINTH) >> 6);
}

static inline __attribute__((always_inline)) void collect_sums(const size_t side, const int32_t *sums, size_t stride,
                                                               const int32_t *start, int32_t *y, size_t y_stride)
{
    const size_t n = side + 2;
    uint32_t rows[4][MOST][LANES];
    for (size_t j = 0; j < n; j++) {
#pragma GCC ivdep
        for (size_t l = 0; l < LANES; l++) {
            uint32_t x[MOST], z[4];
            for (size_t i = 0; i < n; i++)
                x[i] = (uint32_t)sums[(i * n + j) * stride + l];
            collect(side, x, z);
            for (size_t r = 0; r < side; r++)
                rows[r][j][l] = z[r];
        }
    }
    for (size_t r = 0; r < side; r++) {
#pragma GCC ivdep
        for (size_t l = 0; l < LANES; l++) {
            uint32_t x[MOST], z[4];
            for (size_t j = 0; j < n; j++)
                x[j] = rows[r][j][l];
            collect(side, x, z);
            for (size_t c = 0; c < side; c++)
                y[r * y_stride + c * LANES + l] = (int32_t)(quotient(side, z[c]) + (uint32_t)start[l]);
        }
    }
}

void QL_KERNEL(ql_winograd_sums_s32)(size_t side, const int32_t *sums, size_t stride, const int32_t *start, int32_t *y,
                                     size_t y_stride)
{
    if (side == 2)
        collect_sums(2, sums, stride, start, y, y_stride);
    else
        collect_sums(4, sums, stride, start, y, y_stride);
}
