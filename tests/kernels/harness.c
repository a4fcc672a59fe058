#define _DEFAULT_SOURCE /* mmap */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "harness.h"

enum { GUARD_BYTES = 1 << 16 };

static char *slots[SLOTS];

void map_slots(void)
{
    for (int i = 0; i < SLOTS; i++) {
        slots[i] = mmap(NULL, SLOT_BYTES + GUARD_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (slots[i] == MAP_FAILED || mprotect(slots[i] + SLOT_BYTES, GUARD_BYTES, PROT_NONE) != 0) {
            perror("mmap");
            exit(2);
        }
    }
}

void *array(int slot, size_t bytes)
{
    return slots[slot] + SLOT_BYTES - bytes;
}

static uint64_t state;

void seed_values(uint64_t seed)
{
    state = seed;
}

uint32_t bits(void) /* splitmix64 */
{
    uint64_t z = state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return (uint32_t)(z >> 32);
}

int32_t between(int32_t low, int32_t high)
{
    return low + (int32_t)(bits() % (uint32_t)(high - low + 1));
}

static float float_of(uint32_t pattern)
{
    float value;
    memcpy(&value, &pattern, sizeof value);
    return value;
}

float between_powers(int32_t low, int32_t high)
{
    uint32_t exponent = (uint32_t)between(low, high);
    return float_of(exponent << 23 | bits() >> 9);
}

static float any_scale(void)
{
    static const float awkward[] = {FLT_MIN, FLT_MAX, 0x1p-126f * 3, 0x1p127f, 1.0f, 0.1f, 1.0f / 3};
    return bits() % 8 == 0 ? awkward[bits() % 7] : between_powers(100, 140);
}

float any_value(float scale)
{
    static const uint32_t awkward[] = {0x00000000, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00001,
                                       0x7F800001, 0xFFBFFFFF, 0x00000001, 0x807FFFFF, 0x7F7FFFFF, 0xFF7FFFFF};
    switch (bits() % 4) {
    case 0:
        return bits() % 2 ? float_of(bits()) : float_of(awkward[bits() % 12]);
    case 1:
        return ((float)between(-400, 400) + 0.5f) * scale;
    default:
        return (float)between(-0x1000000, 0x1000000) * 0x1p-15f * scale;
    }
}

int32_t any_sum(void)
{
    static const int32_t awkward[] = {INT32_MIN, INT32_MIN + 1, INT32_MAX, INT32_MAX - 1, 0, 1, -1};
    uint32_t shift = bits() % 32;
    return bits() % 8 == 0 ? awkward[bits() % 7] : (int32_t)bits() >> shift;
}

results floats(float *values, size_t n, uint8_t answer)
{
    for (size_t i = 0; i < n; i++)
        values[i] = values[i] == values[i] ? values[i] : NAN;
    return (results){values, n * sizeof *values, answer};
}

parameters any_parameters(size_t count, int width)
{
    static const int32_t ranges[][2] = {{-128, 127}, {0, 255}, {-127, 127},     {0, 127},   {0, 15},      {-8, 7},
                                        {-1, 1},     {7, 7},   {-32768, 32767}, {0, 65535}, {-2048, 2047}};
    const int32_t *range = ranges[bits() % (width > 8 ? 11 : 8)];
    float *scale = array(0, count * sizeof *scale);
    int32_t *zero_point = array(1, count * sizeof *zero_point);
    const bool has_zero = range[0] <= 0 && range[1] >= 0, is_centered = bits() % 4 == 0; /* its own loop in kernels */
    for (size_t i = 0; i < count; i++) {
        scale[i] = any_scale();
        zero_point[i] = is_centered && has_zero ? 0 : between(range[0], range[1]);
    }
    return (parameters){scale, zero_point, range[0], range[1]};
}

size_t parameter_count(size_t n, size_t group)
{
    return (n + group - 1) / group;
}

float *any_values(int slot, size_t n, const float *scale, size_t group)
{
    float *x = array(slot, n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = any_value(scale[i / group]);
    return x;
}

uint8_t *any_codes(int slot, size_t n)
{
    uint8_t *codes = array(slot, n);
    for (size_t i = 0; i < n; i++)
        codes[i] = (uint8_t)bits();
    return codes;
}

int32_t *any_sums(int slot, size_t n)
{
    int32_t *sums = array(slot, n * sizeof *sums);
    for (size_t i = 0; i < n; i++)
        sums[i] = any_sum();
    return sums;
}

ql_residual any_residual(int slot, size_t codes, size_t n)
{
    int32_t *factor = array(slot + 1, n * sizeof *factor), *shift = array(slot + 2, n * sizeof *shift);
    for (size_t j = 0; j < n; j++) {
        factor[j] = bits() % 8 ? between(0, 1 << 23) : 1 << 23;
        shift[j] = between(0, 31);
    }
    return (ql_residual){any_codes(slot, codes), factor, shift};
}

ql_epilogue any_epilogue(size_t n)
{
    static const ql_store stores[] = {QL_STORE_S32, QL_STORE_F32, QL_STORE_X8, QL_STORE_X8_FIXED};
    float *scale = array(3, n * sizeof *scale), *offset = array(4, n * sizeof *offset);
    const ql_store store = stores[bits() % 4];
    const int most = store == QL_STORE_X8 && bits() % 4 == 0 ? 156 : 120; /* a sum times 2^29 is beyond int32 */
    int32_t *mantissa = array(5, n * sizeof *mantissa), *exponent = array(6, n * sizeof *exponent);
    for (size_t j = 0; j < n; j++) {
        scale[j] = between_powers(110, most);
        offset[j] =
            store == QL_STORE_X8 ? between_powers(108, most) * (float)between(-1, 1) : (float)between(-1000, 1000);
        if (ql_quantize_multiplier((double)scale[j], mantissa + j, exponent + j) != QL_OK)
            exit(2);
    }
    parameters p = any_parameters(1, 8);
    return (ql_epilogue){.store = store,
                         .curve = (ql_curve)between(QL_CURVE_NONE, QL_CURVE_HARD_SIGMOID),
                         .below = offset,
                         .factor = between_powers(124, 130),
                         .scale = scale,
                         .offset = offset,
                         .low = bits() % 2 ? 0.0f : -INFINITY,
                         .high = bits() % 2 ? 6.0f : INFINITY,
                         .multiplier = scale,
                         .mantissa = mantissa,
                         .exponent = exponent,
                         .zero_point = *p.zero_point,
                         .qmin = p.qmin,
                         .qmax = p.qmax};
}
