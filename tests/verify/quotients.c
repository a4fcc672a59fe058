/* Quotients without division: r = 1 / s, q = x * r, e = x - q * s, and q + e * r, each rounded once. Counts where the
 * last one is another float than x / s: among all pairs of significands that could be one, and for some s among all x.
 *
 * Rough ones: d = (1 - r * s) / s, p = x * d, and x * r + p, each rounded once. Counts where the last one rounds to
 * another integer up to 255 than x / s does: for some s among all x, and for all s where there could be one.
 *
 * Without an argument the x are a sample, and so are the s of rough quotients.
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
 * overflows.
 *
 * The integers of both never fall where x grows: x * r grows by r times x's last place, 2^22 times what p can fall by.
 * So they are the same if they step at the same x. For the half h in the middle of a step, both step where x / s is
 * within 2^-24 of h, relatively: that is at most 3 floats away from h * s, rounded. */
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

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static float without_division(float x, float s)
{
    const float r = 1 / s, q = x * r;
    return fmaf(fmaf(-q, s, x), r, q);
}

static float rough(float x, float s)
{
    const float r = 1 / s, d = fmaf(-r, s, 1) / s;
    return fmaf(x, r, x * d);
}

/* Rounded to an integer; those beyond 255 are one. */
static float step(float t)
{
    const float integer = rintf(t);
    return integer > 256 ? 256 : integer < -256 ? -256 : integer;
}

/* Among the floats whose bits are a multiple of distance. What underflows has to be less than one half, as the quotient
 * is; what overflows, NaN; what is rough, not finite or of the same step. */
static uint64_t count_others(float s, uint64_t distance)
{
    const float r = 1 / s;
    uint64_t others = 0;
    for (uint64_t bits = 0; bits < UINT64_C(1) << 32; bits += distance) {
        const uint32_t b = (uint32_t)bits;
        const float x = float_of(b), t = x / s, q = x * r, got = without_division(x, s);
        const int underflows = fabsf(x) < 0x1p-102f || fabsf(t) < 2 * FLT_MIN, overflows = !(fabsf(q) <= FLT_MAX);
        const int is_half = !(fabsf(t) < 0.5f) | !(fabsf(got) < 0.5f);
        others += overflows ? got == got : underflows ? is_half : got != t;
        const float about = rough(x, s);
        others += fabsf(about) <= FLT_MAX && step(about) != step(t);
    }
    return others;
}

static uint64_t count_other_steps(float s)
{
    enum { STEPS = 256, NEAR = 4 };
    uint64_t others = 0;
    for (int i = 0; i < STEPS; i++) {
        const float tie = ((float)i + 0.5f) * s;
        uint32_t middle;
        memcpy(&middle, &tie, sizeof middle);
        for (uint32_t bits = middle - NEAR; bits <= middle + NEAR; bits++)
            others += rintf(rough(float_of(bits), s)) != rintf(float_of(bits) / s);
    }
    return others;
}

static const float scales[] = {0x1p-64f, 0x1.fffffep-64f, 1e-19f, 1 / 255.0f, 1 / 127.0f, 0.1f, 0x1.fffffep-1f, 1, 3,
                               1e5f,     0x1.555556p60f,  0x1p64f};

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
    uint64_t significands = 0;
    others = 0;
    for (uint32_t s = 1u << 23; s < 1u << 24; s += argc > 1 ? 1 : 997) {
        others += count_other_steps((float)s * 0x1p-23f);
        significands++;
    }
    printf("significands %llu %llu\n", (unsigned long long)significands, (unsigned long long)others);
    return 0;
}
