/* Interpolation between pixels and between rows. */
#include "harness.h"

enum { PIXELS = 5 };

/* Places between n pixels of so many channels. */
static ql_tap *any_taps(int slot, size_t n, size_t channels, int width)
{
    ql_tap *taps = array(slot, n * sizeof *taps);
    for (size_t j = 0; j < n; j++) {
        const uint32_t place = bits() % PIXELS, next = bits() % PIXELS;
        taps[j].first = place * (uint32_t)channels;
        taps[j].second = next * (uint32_t)channels;
        taps[j].weight = (uint32_t)between(0, 1 << width);
    }
    return taps;
}

/* group: channels, or all of n. */
static results stretch_narrow(const ql_kernels *kernels, size_t n, size_t group)
{
    const size_t channels = bits() % 2 ? n : 1 + group % 9, pixels = channels == n ? 1 + group % 4 : n;
    const int width = between(0, 8);
    const ql_tap *taps = any_taps(0, pixels, channels, width);
    uint8_t *x = any_codes(2, PIXELS * channels);
    uint16_t *line = array(RESULT, pixels * channels * sizeof *line);
    kernels->stretch_pixels_u8_u16(x, taps, pixels, channels, width, line);
    return (results){line, pixels * channels * sizeof *line, false};
}

static results stretch(const ql_kernels *kernels, size_t n, size_t group)
{
    const size_t channels = bits() % 2 ? n : 1 + group % 9, pixels = channels == n ? 1 + group % 4 : n;
    const int width = between(0, 11);
    const ql_tap *taps = any_taps(0, pixels, channels, width);
    uint8_t *x = any_codes(2, PIXELS * channels);
    int32_t *line = array(RESULT, pixels * channels * sizeof *line);
    kernels->stretch_pixels_u8_s32(x, taps, pixels, channels, width, line);
    return (results){line, pixels * channels * sizeof *line, false};
}

/* Weights of both axes have at most `most` bits each and in all. */
static ql_mix any_mix(int most, int in_all)
{
    ql_mix mix = {.bits = between(1, most)};
    mix.shift = mix.bits + between(0, in_all - mix.bits < most ? in_all - mix.bits : most);
    mix.weight = (uint32_t)between(0, 1 << mix.bits);
    mix.middle = bits() % 2 ? 128 << mix.shift : 0;
    return mix;
}

static results mix_narrow(const ql_kernels *kernels, size_t n, size_t group)
{
    (void)group;
    const ql_mix mix = any_mix(8, 8);
    uint16_t *a = array(2, n * sizeof *a), *b = array(3, n * sizeof *b);
    const int most = 255 << (mix.shift - mix.bits);
    for (size_t i = 0; i < n; i++) {
        a[i] = (uint16_t)between(0, most);
        b[i] = (uint16_t)between(0, most);
    }
    uint8_t *y = array(RESULT, n);
    kernels->mix_rows_u16_u8(a, b, n, &mix, y);
    return (results){y, n, false};
}

static results mix(const ql_kernels *kernels, size_t n, size_t group)
{
    (void)group;
    const ql_mix mix = any_mix(11, 22);
    int32_t *a = array(2, n * sizeof *a), *b = array(3, n * sizeof *b);
    const int most = 255 << (mix.shift - mix.bits);
    for (size_t i = 0; i < n; i++) {
        a[i] = between(0, most);
        b[i] = between(0, most);
    }
    uint8_t *y = array(RESULT, n);
    kernels->mix_rows_s32_u8(a, b, n, &mix, y);
    return (results){y, n, false};
}

const subject resize_subjects[] = {
    {"stretch_pixels_u8_u16", stretch_narrow},
    {"stretch_pixels_u8_s32", stretch},
    {"mix_rows_u16_u8", mix_narrow},
    {"mix_rows_s32_u8", mix},
    {0},
};
