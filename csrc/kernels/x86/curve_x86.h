/* What is added to sums, and functions that they go through before they become codes, for the kernels of this folder.
 */
#ifndef QL_CURVE_X86_H
#define QL_CURVE_X86_H

/* What codes of a residual (ql_residual in kernels.h) add to the sums of one vector of columns. */
static inline ints residual_terms(ints codes, ints factor, ints shift)
{
    return shift_right_each_s32(mul_s32(codes, factor), shift);
}

/* What a curve makes of the sums of one vector of columns, in steps of the result. below: its slopes', or anything. */
static inline __attribute__((always_inline)) floats curved(ints sums, floats multiplier, floats below, floats factor,
                                                           const ql_curve curve)
{
    const floats f = to_f32(sums);
    if (curve == QL_CURVE_NONE)
        return f * multiplier;
    if (curve == QL_CURVE_PRELU)
        return f * where_f32(negative_lanes(sums), below, multiplier);
    const floats v = f * multiplier, gate = min_f32(max_f32(v + set_f32(3), set_f32(0)), set_f32(6));
    return curve == QL_CURVE_HARD_SWISH ? v * gate * factor : gate * factor;
}

#endif
