/* A table of 256 bytes as four look-ups in 64: an index beyond the first gives 0, beyond another leaves what is there.
 */
#include <arm_neon.h>

#include "kernels/neon/neon.h"

enum { LANES = 16, PART = 64, PARTS = 4 };

static inline uint8x16_t look_up(const uint8x16x4_t *part, uint8x16_t x)
{
    uint8x16_t y = vqtbl4q_u8(part[0], x);
    for (int k = 1; k < PARTS; k++) {
        x = vsubq_u8(x, vdupq_n_u8(PART));
        y = vqtbx4q_u8(y, part[k], x);
    }
    return y;
}

void ql_lookup_x8__neon(const uint8_t *x, size_t n, const uint8_t *table, uint8_t *y)
{
    uint8x16x4_t part[PARTS];
    for (int k = 0; k < PARTS; k++)
        part[k] = vld1q_u8_x4(table + k * PART);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        vst1q_u8(y + i, look_up(part, vld1q_u8(x + i)));
    for (; i < n; i++)
        y[i] = table[x[i]];
}
