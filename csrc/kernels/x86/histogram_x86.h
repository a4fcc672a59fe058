/* Bins of values, in float32: x times a power of two is exact there unless it underflows, and a negative x that does so
 * is taken for -FLT_MIN, which lies in bin -1 as it does. Products that are too great for an int32 convert to
 * INT32_MIN, which misses the bins for every origin within 2^24 of zero. */
#include <float.h>

static inline ints slots_of(floats x, floats inverse_width, ints origin, ints bins)
{
    floats t = x * inverse_width;
    t = where_f32(less_f32(x, set_f32(0.0f)), min_f32(t, set_f32(-FLT_MIN)), t);
    ints bin = sub_s32(floor_s32(t), origin);
    ints slot = where_s32(less_u32(bin, bins), bin, add_s32(bins, set_s32(1)));
    return where_s32(equal_f32(x, set_f32(0.0f)), bins, slot);
}

static inline void slots_shared(const float *x, size_t n, floats inverse_width, ints origin, ints bins, uint32_t *slots)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        store_s32(slots + i, slots_of(load_f32(x + i), inverse_width, origin, bins));
    if (i < n)
        store_first_s32(slots + i, n - i, slots_of(load_first_f32(x + i, n - i), inverse_width, origin, bins));
}

void QL_KERNEL(ql_histogram_slots_f32)(const float *x, size_t n, const float *inverse_width, const int32_t *origin,
                                       size_t group, uint32_t bins, uint32_t *slots)
{
    const ints limit = set_s32((int32_t)bins);
    if (group == 1) {
        for (size_t i = 0; i < n; i += LANES) {
            const size_t left = n - i;
            ints slot = slots_of(load_first_f32(x + i, left), load_first_f32(inverse_width + i, left),
                                 load_first_s32(origin + i, left), limit);
            store_first_s32(slots + i, left, slot);
        }
        return;
    }
    for (size_t i = 0; i < n; i += group, inverse_width++, origin++)
        slots_shared(x + i, n - i < group ? n - i : group, set_f32(*inverse_width), set_s32(*origin), limit, slots + i);
}
