/* Quotients without division: r = 1 / s, q = x * r, e = x - q * s, and q + e * r, each rounded once. Counts where the
 * last one is another float than x / s: among all pairs of significands that could be one, and for some s among all x.
 * Without an argument the latter are a sample.
 *
 * With t = x / s and u = 2^-24: q = t (1 + a)(1 + b) and e * r = (t - q)(1 + d), where |a| and |b| are at most u and
 * |d| little more than 2 u. So what is rounded last is t + (t - q) d, off by little more than t * 4 u^2, or 2^-22 of
 * t's last place. That gives another float only where t lies as close to the middle M / 2 between two: with
 * significands X and S as integers of 24 bits and t = 2^k X / S, k = 23 or 24, so that it has 24 bits before the point,
 *
 *     2^(k + 1) X - M S = c,   |c| <= 8,   M odd, of 25 bits.
 *
 * c = 0 is no case: S, of 24 bits, would be a multiple of 2^(k + 1). For each S and c the equation, modulo 2^(k + 1),
 * says which M there are: 46.5 million pairs for all S. Exponents do not matter as long as nothing underflows or
 * overflows. */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { LARGEST_REST = 8 };

/* Inverse of an odd number, modulo 2^32: each step doubles the bits that are right. */
static uint32_t inverse(uint32_t odd)
{
    uint32_t v = odd;
    for (int bits = 3; bits < 32; bits *= 2)
        v *= 2 - odd * v;
    return v;
}

static float without_division(float x, float s)
{
    const float r = 1 / s, q = x * r;
    return fmaf(fmaf(-q, s, x), r, q);
}

/* Among the floats whose bits are a multiple of step. What underflows has to be less than one half, as the quotient is;
 * what overflows, NaN. */
static uint64_t count_others(float s, uint64_t step)
{
    const float r = 1 / s;
    uint64_t others = 0;
    for (uint64_t bits = 0; bits < UINT64_C(1) << 32; bits += step) {
        const uint32_t b = (uint32_t)bits;
        float x;
        memcpy(&x, &b, sizeof x);
        const float t = x / s, q = x * r, got = without_division(x, s);
        const int underflows = fabsf(x) < 0x1p-102f || fabsf(t) < 2 * FLT_MIN, overflows = !(fabsf(q) <= FLT_MAX);
        const int is_half = !(fabsf(t) < 0.5f) | !(fabsf(got) < 0.5f);
        others += overflows ? got == got : underflows ? is_half : got != t;
    }
    return others;
}

static const float scales[] = {0x1p-90f, 0x1.fffffep-90f, 1e-20f, 1 / 255.0f, 1 / 127.0f, 0.1f, 0x1.fffffep-1f, 1, 3,
                               1e5f,     0x1.555556p60f,  0x1p90f};

int main(int argc, char **argv)
{
    (void)argv;
    for (int i = 0; i < 12; i++)
        printf("%a %llu\n", scales[i], (unsigned long long)count_others(scales[i], argc > 1 ? 1 : 4093));
    uint64_t pairs = 0, others = 0;
    for (uint32_t s = 1u << 23; s < 1u << 24; s++) {
        const int zeros = __builtin_ctz(s);
        const uint32_t inverse_s = inverse(s >> zeros);
        for (int k = 23; k <= 24; k++) {
            for (int32_t c = -LARGEST_REST; c <= LARGEST_REST; c++) {
                if (c == 0 || __builtin_ctz((uint32_t)c) != zeros)
                    continue;
                const uint32_t step = 1u << (k + 1 - zeros);
                const uint32_t first = (uint32_t)(-c / (1 << zeros)) * inverse_s & (step - 1);
                for (uint64_t m = first; m < 1u << 25; m += step) {
                    const uint64_t x = (m * s + (uint64_t)(int64_t)c) >> (k + 1);
                    if (m < 1u << 24 || x < 1u << 23 || x >= 1u << 24)
                        continue;
                    pairs++;
                    others += without_division((float)x, (float)s) != (float)x / (float)s;
                }
            }
        }
    }
    printf("pairs %llu %llu\n", (unsigned long long)pairs, (unsigned long long)others);
    return 0;
}
