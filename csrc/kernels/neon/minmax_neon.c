/* Least and greatest of four values at a time, or of four times four. */
#include <arm_neon.h>

#include "kernels/neon/neon.h"

enum { LANES = 4, VECTORS = 4, BLOCK = LANES * VECTORS };

/* Comparisons, which NaN fails, and a choice: vminnm would do for quiet NaN, but makes a signaling one the minimum. */
static inline float32x4_t lesser(float32x4_t x, float32x4_t least)
{
    return vbslq_f32(vcltq_f32(x, least), x, least);
}

static inline float32x4_t greater(float32x4_t x, float32x4_t greatest)
{
    return vbslq_f32(vcgtq_f32(x, greatest), x, greatest);
}

/* All ones where neither this value nor an earlier one is NaN. */
static inline uint32x4_t ordered(float32x4_t x, uint32x4_t before)
{
    return vandq_u32(before, vceqq_f32(x, x));
}

/* The values left over, each with a minimum of its own (step 1) or one for all (step 0). */
static bool minmax_tail(const float *x, size_t n, size_t step, float *min, float *max)
{
    bool has_nan = false;
    for (size_t i = 0; i < n; i++, min += step, max += step) {
        has_nan |= x[i] != x[i];
        *min = x[i] < *min ? x[i] : *min;
        *max = x[i] > *max ? x[i] : *max;
    }
    return has_nan;
}

static bool minmax_own(const float *x, size_t n, float *min, float *max)
{
    uint32x4_t numbers = vdupq_n_u32(UINT32_MAX);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        float32x4_t v = vld1q_f32(x + i);
        numbers = ordered(v, numbers);
        vst1q_f32(min + i, lesser(v, vld1q_f32(min + i)));
        vst1q_f32(max + i, greater(v, vld1q_f32(max + i)));
    }
    bool tail_has_nan = minmax_tail(x + i, n - i, 1, min + i, max + i);
    return tail_has_nan || vminvq_u32(numbers) == 0;
}

static bool minmax_shared(const float *x, size_t n, float *min, float *max)
{
    float32x4_t least[VECTORS], greatest[VECTORS];
    uint32x4_t numbers = vdupq_n_u32(UINT32_MAX);
    for (int v = 0; v < VECTORS; v++) {
        least[v] = vdupq_n_f32(*min);
        greatest[v] = vdupq_n_f32(*max);
    }
    size_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK) {
        for (int v = 0; v < VECTORS; v++) {
            float32x4_t values = vld1q_f32(x + i + v * LANES);
            numbers = ordered(values, numbers);
            least[v] = lesser(values, least[v]);
            greatest[v] = greater(values, greatest[v]);
        }
    }
    *min = vminvq_f32(vminq_f32(vminq_f32(least[0], least[1]), vminq_f32(least[2], least[3])));
    *max = vmaxvq_f32(vmaxq_f32(vmaxq_f32(greatest[0], greatest[1]), vmaxq_f32(greatest[2], greatest[3])));
    bool tail_has_nan = minmax_tail(x + i, n - i, 0, min, max);
    return tail_has_nan || vminvq_u32(numbers) == 0;
}

bool ql_minmax_f32__neon(const float *x, size_t n, size_t group, float *min, float *max)
{
    if (group == 1)
        return minmax_own(x, n, min, max);
    bool has_nan = false;
    for (size_t i = 0; i < n; i += group)
        has_nan |= minmax_shared(x + i, n - i < group ? n - i : group, min++, max++);
    return has_nan;
}

bool ql_minmax_rows_f32__neon(const float *x, size_t rows, size_t n, float *min, float *max)
{
    bool has_nan = false;
    for (size_t r = 0; r < rows; r++)
        has_nan |= minmax_own(x + r * n, n, min, max);
    return has_nan;
}
