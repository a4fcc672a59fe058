/* Codes between two rows of sums, of 16 or of 32 bits. The last ones are computed once more, as the end of a whole
 * register of bytes.
 *
 * Why not what compilers make of it: they shift 16 bits by a number that they do not know in 32, and pack in six steps
 * what takes two: 128 against 69 us for 64 x 64 x 32 pixels at twice the size (AVX2, AMD Zen 3). */
enum { BYTES = sizeof(ints), PAIRS = BYTES / 2 };

typedef struct mixing {
    ints first, second, half, middle;
    int shift;
} mixing;

static inline ints mixed_s16(const uint16_t *a, const uint16_t *b, const mixing *m)
{
    const ints sum = add_s16(mul_s16(load_s32(a), m->first), mul_s16(load_s32(b), m->second));
    const ints below = min_u16(subs_u16(m->middle, sum), set_s16(1));
    return shift_right_16(sub_s16(add_s16(sum, m->half), below), m->shift);
}

static inline void mix_s16(const uint16_t *a, const uint16_t *b, const mixing *m, uint8_t *y)
{
    store_s32(y, bytes_in_order(mixed_s16(a, b, m), mixed_s16(a + PAIRS, b + PAIRS, m)));
}

void QL_KERNEL(ql_mix_rows_u16_u8)(const uint16_t *a, const uint16_t *b, size_t n, const ql_mix *mix, uint8_t *y)
{
    const uint16_t second = (uint16_t)mix->weight, first = (uint16_t)((1u << mix->bits) - second);
    const uint16_t half = (uint16_t)(1u << (mix->shift - 1)), middle = (uint16_t)mix->middle;
    const mixing m = {set_s16((int16_t)first), set_s16((int16_t)second), set_s16((int16_t)half),
                      set_s16((int16_t)middle), mix->shift};
    for (size_t i = 0; i + BYTES <= n; i += BYTES)
        mix_s16(a + i, b + i, &m, y + i);
    if (n >= BYTES && n % BYTES != 0)
        mix_s16(a + n - BYTES, b + n - BYTES, &m, y + n - BYTES);
    for (size_t i = 0; n < BYTES && i < n; i++) {
        const uint16_t sum = (uint16_t)(a[i] * first + b[i] * second);
        y[i] = (uint8_t)((sum + half - (sum < middle)) >> mix->shift);
    }
}

static inline ints mixed_s32(const int32_t *a, const int32_t *b, const mixing *m)
{
    const ints sum = add_s32(mul_s32(load_s32(a), m->first), mul_s32(load_s32(b), m->second));
    const ints rounded = add_s32(sum, m->half);
    const ints below = shift_right_s32(sub_s32(sum, m->middle), 31);
    return shift_right_s32(add_s32(rounded, below), m->shift);
}

static inline void mix_s32(const int32_t *a, const int32_t *b, const mixing *m, uint8_t *y)
{
    const ints low = pack_s32(mixed_s32(a, b, m), mixed_s32(a + LANES, b + LANES, m));
    a += 2 * LANES;
    b += 2 * LANES;
    const ints high = pack_s32(mixed_s32(a, b, m), mixed_s32(a + LANES, b + LANES, m));
    store_s32(y, in_order(pack_u8(low, high)));
}

void QL_KERNEL(ql_mix_rows_s32_u8)(const int32_t *a, const int32_t *b, size_t n, const ql_mix *mix, uint8_t *y)
{
    const int32_t second = (int32_t)mix->weight, first = (1 << mix->bits) - second, half = 1 << (mix->shift - 1);
    const mixing m = {set_s32(first), set_s32(second), set_s32(half), set_s32(mix->middle), mix->shift};
    for (size_t i = 0; i + BYTES <= n; i += BYTES)
        mix_s32(a + i, b + i, &m, y + i);
    if (n >= BYTES && n % BYTES != 0)
        mix_s32(a + n - BYTES, b + n - BYTES, &m, y + n - BYTES);
    for (size_t i = 0; n < BYTES && i < n; i++) {
        const int32_t sum = a[i] * first + b[i] * second;
        y[i] = (uint8_t)((sum + half - (sum < mix->middle)) >> mix->shift);
    }
}
