/* Products of codes on grids of their own: differences of 16 bits, products of 32 bits from their low and high halves,
 * float32 from there on. Saturating sums and packing keep what is far out on its side of the clamps. */
#include "kernels/x86/fixed_point_x86.h"

enum { BYTES = sizeof(ints) };

typedef struct factors {
    ints first, second; /* less the zero points of a and b */
    floats factor;
    ints zero_point, qmin, qmax;
} factors;

/* Rounded, 32 bits each to 16. */
static inline ints scale_products(ints low, ints high, const factors *f)
{
    const ints first = to_s32(to_f32(unpack_low_16(low, high)) * f->factor);
    const ints second = to_s32(to_f32(unpack_high_16(low, high)) * f->factor);
    return adds_s16(pack_s32(first, second), f->zero_point);
}

/* Half of the bytes, 16 bits each. */
static inline ints multiply_half(ints a, ints b, const factors *f)
{
    const ints x = add_s16(a, f->first), z = add_s16(b, f->second);
    return scale_products(mul_low_s16(x, z), mul_high_s16(x, z), f);
}

static inline void multiply_bytes(const uint8_t *a, const uint8_t *b, const factors *f, uint8_t *y)
{
    const ints x = load_s32(a), z = load_s32(b), zero = set_s32(0);
    const ints low = multiply_half(unpack_low_8(x, zero), unpack_low_8(z, zero), f);
    const ints high = multiply_half(unpack_high_8(x, zero), unpack_high_8(z, zero), f);
    store_s32(y, min_u8(max_u8(pack_u8(low, high), f->qmin), f->qmax));
}

static inline ints products(const uint8_t *a, const uint8_t *b, size_t left, const ql_multiplication *grids)
{
    const ints x = sub_s32(load_first_u8(a, left), set_s32(grids->input_zero_point[0]));
    return mul_s32(x, sub_s32(load_first_u8(b, left), set_s32(grids->input_zero_point[1])));
}

static inline void multiply_first(const uint8_t *a, const uint8_t *b, size_t left, const ql_multiplication *grids,
                                  uint8_t *y)
{
    const ints steps = to_s32(to_f32(products(a, b, left, grids)) * set_f32(grids->factor));
    const ints least = set_s32(grids->qmin - grids->zero_point), most = set_s32(grids->qmax - grids->zero_point);
    store_first_u8(y, left, add_s32(min_s32(max_s32(steps, least), most), set_s32(grids->zero_point)));
}

void QL_KERNEL(ql_multiply_u8)(const uint8_t *a, const uint8_t *b, size_t n, const ql_multiplication *grids, uint8_t *y)
{
    const factors f = {.first = set_s16((int16_t)-grids->input_zero_point[0]),
                       .second = set_s16((int16_t)-grids->input_zero_point[1]),
                       .factor = set_f32(grids->factor),
                       .zero_point = set_s16((int16_t)grids->zero_point),
                       .qmin = set_s8((char)grids->qmin),
                       .qmax = set_s8((char)grids->qmax)};
    size_t i = 0;
    for (; i + BYTES <= n; i += BYTES)
        multiply_bytes(a + i, b + i, &f, y + i);
    for (; i + LANES <= n; i += LANES)
        multiply_first(a + i, b + i, LANES, grids, y + i);
    if (i < n)
        multiply_first(a + i, b + i, n - i, grids, y + i);
}

void QL_KERNEL(ql_multiply_u8_s32)(const uint8_t *a, const uint8_t *b, size_t n, const ql_multiplication *grids,
                                   int32_t *product)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        store_s32(product + i, products(a + i, b + i, LANES, grids));
    if (i < n)
        store_first_s32(product + i, n - i, products(a + i, b + i, n - i, grids));
}
