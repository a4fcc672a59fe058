/* The two roundings of rule B, for the kernels of this folder. */
#ifndef QL_FIXED_POINT_X86_H
#define QL_FIXED_POINT_X86_H

/* (a * q + 2^30) >> 31: of the 64-bit lanes only the low 32 bits are wanted, and those a logical shift gives as well.
 * odd_mantissa: those of odd lanes. */
static inline ints doubling_high_multiply(ints a, ints mantissa, ints odd_mantissa)
{
    const ints nudge = set_s64(1 << 30);
    ints even = add_s64(mul_even_s32(a, mantissa), nudge);
    ints odd = add_s64(mul_even_s32(shift_right_64(a, 32), odd_mantissa), nudge);
    return even_and_odd_lanes(shift_right_64(even, 31), shift_left_64(odd, 1));
}

/* a / 2^shift, rounded half away from zero; mask: 2^shift - 1. */
static inline ints rounding_shift_right(ints a, ints shift, ints mask)
{
    const ints threshold = sub_s32(shift_right_32(mask, 1), shift_right_s32(a, 31));
    return add_one_where(less_s32(threshold, a & mask), shift_right_each_s32(a, shift));
}

#endif
