/* Pooling of floats, by blocks of channels that stay in registers while a window goes by; see pool_portable.c. */
#include <math.h>
#include <string.h>

#include "kernels/portable/portable.h"

enum { BLOCK = 16 };

/* A window begins with the pixel that has this number, and its rows are `row` pixels apart. */
typedef struct places {
    int32_t pixel, row;
} places;

/* The first of several NaN stays. */
static inline void max_window(const float *x, const ql_windows *w, places at, size_t width, float *restrict y,
                              int32_t *restrict index)
{
    float most[BLOCK];
    int32_t place[BLOCK];
    for (size_t c = 0; c < width; c++) {
        most[c] = -INFINITY;
        place[c] = at.pixel;
    }
    for (size_t r = 0; r < w->rows; r++) {
        const float *pixel = x + r * w->row_stride;
        int32_t here = at.pixel + (int32_t)r * at.row;
        for (size_t p = 0; p < w->cols; p++, here++, pixel += w->channels) {
#pragma GCC unroll 1
            for (size_t c = 0; c < width; c++) {
                const bool wins = (pixel[c] > most[c]) | ((pixel[c] != pixel[c]) & (most[c] == most[c]));
                most[c] = wins ? pixel[c] : most[c];
                place[c] = wins ? here : place[c];
            }
        }
    }
    memcpy(y, most, width * sizeof *most);
    if (index)
        memcpy(index, place, width * sizeof *place);
}

void QL_KERNEL(ql_max_pool_f32)(const float *x, const ql_windows *w, int32_t pixel, float *y, int32_t *index)
{
    const places step = {(int32_t)(w->step / w->channels), (int32_t)(w->row_stride / w->channels)};
    for (size_t i = 0; i < w->n; i++, x += w->step, y += w->channels) {
        const places at = {pixel + (int32_t)i * step.pixel, step.row};
        int32_t *own = index ? index + i * w->channels : NULL;
        size_t c = 0;
        for (; c + BLOCK <= w->channels; c += BLOCK)
            max_window(x + c, w, at, BLOCK, y + c, own ? own + c : NULL);
        for (; c + 4 <= w->channels; c += 4)
            max_window(x + c, w, at, 4, y + c, own ? own + c : NULL);
        for (; c < w->channels; c++)
            max_window(x + c, w, at, 1, y + c, own ? own + c : NULL);
    }
}

/* See max_window. */
static inline void min_window(const float *x, const ql_windows *w, size_t width, float *restrict y)
{
    float least[BLOCK];
    for (size_t c = 0; c < width; c++)
        least[c] = INFINITY;
    for (size_t r = 0; r < w->rows; r++) {
        const float *pixel = x + r * w->row_stride;
        for (size_t p = 0; p < w->cols; p++, pixel += w->channels) {
#pragma GCC unroll 1
            for (size_t c = 0; c < width; c++) {
                const bool wins = (pixel[c] < least[c]) | ((pixel[c] != pixel[c]) & (least[c] == least[c]));
                least[c] = wins ? pixel[c] : least[c];
            }
        }
    }
    memcpy(y, least, width * sizeof *least);
}

void QL_KERNEL(ql_min_windows_f32)(const float *x, const ql_windows *w, float *y)
{
    for (size_t i = 0; i < w->n; i++, x += w->step, y += w->channels) {
        size_t c = 0;
        for (; c + BLOCK <= w->channels; c += BLOCK)
            min_window(x + c, w, BLOCK, y + c);
        for (; c + 4 <= w->channels; c += 4)
            min_window(x + c, w, 4, y + c);
        for (; c < w->channels; c++)
            min_window(x + c, w, 1, y + c);
    }
}

static inline void average_window(const float *x, const ql_windows *w, size_t width, double count, float *restrict y)
{
    double sum[BLOCK] = {0};
    for (size_t r = 0; r < w->rows; r++) {
        const float *pixel = x + r * w->row_stride;
        for (size_t p = 0; p < w->cols; p++, pixel += w->channels) {
#pragma GCC unroll 1
            for (size_t c = 0; c < width; c++)
                sum[c] += (double)pixel[c];
        }
    }
    for (size_t c = 0; c < width; c++)
        y[c] = (float)(sum[c] / count);
}

/* TOGETHER windows of one channel at once: the sums of one alone would wait for each other. */
enum { TOGETHER = 8 };

static inline void average_of_one_channel(const float *x, const ql_windows *w, double count, float *restrict y)
{
    double sum[TOGETHER] = {0};
    for (size_t r = 0; r < w->rows; r++) {
        const float *row = x + r * w->row_stride;
        for (size_t p = 0; p < w->cols; p++) {
            for (size_t i = 0; i < TOGETHER; i++)
                sum[i] += (double)row[i * w->step + p];
        }
    }
    for (size_t i = 0; i < TOGETHER; i++)
        y[i] = (float)(sum[i] / count);
}

void QL_KERNEL(ql_average_windows_f32)(const float *x, const ql_windows *w, double count, float *y)
{
    size_t i = 0;
    for (; w->channels == 1 && i + TOGETHER <= w->n; i += TOGETHER)
        average_of_one_channel(x + i * w->step, w, count, y + i);
    for (; i < w->n; i++) {
        const float *window = x + i * w->step;
        float *to = y + i * w->channels;
        size_t c = 0;
        for (; c + BLOCK <= w->channels; c += BLOCK)
            average_window(window + c, w, BLOCK, count, to + c);
        for (; c + 4 <= w->channels; c += 4)
            average_window(window + c, w, 4, count, to + c);
        for (; c < w->channels; c++)
            average_window(window + c, w, 1, count, to + c);
    }
}
