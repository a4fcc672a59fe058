/* Softmax of codes, by three rules (qlite.h). Only 256 differences from a row's maximum exist, so that all take the
 * exponentials from a table, and what is left is a sum and a product per code, in long rows a product per difference.
 *
 * The sum of the first rule is one of floats and goes from left to right: another order has other bits. Four rows at
 * once hide how long an addition takes: 0.45 ms for 200,000 codes, not 0.55, and eight are no better. */
#include <math.h>

#include "core/base/memory.h"
#include "core/base/parallel.h"
#include "kernels/exponential.h"
#include "kernels/kernels.h"

enum {
    DIFFERENCES = 256,
    ACCUMULATOR_BITS = 12,
    DIFFERENCE_BITS = 5,
    ROWS = 4,     /* summed at once */
    GRAIN = 4096, /* codes in a task, at least */
};

typedef struct softmax {
    float exp[DIFFERENCES];        /* exponentials, by maximum - code */
    int32_t fixed[DIFFERENCES];    /* the same as integers: in units of 2^-31, or 1 / 65535 */
    int32_t summands[DIFFERENCES]; /* in units of 2^-19, or 1 / 65535 */
    ql_softmax_rule rule;
    const ql_kernels *kernels;
    const uint8_t *x;
    uint8_t *y;
    size_t rows, n, rows_at_once;
    uint8_t flip; /* the top bit, which turns signed codes into unsigned ones in the same order */
} softmax;

/* Inverse of a row's sum. */
typedef struct divisor {
    float inverse;
    int32_t fixed; /* products with it are divided by 2^shift */
    int shift;
} divisor;

static uint8_t greatest(const uint8_t *x, size_t n, uint8_t flip)
{
    uint8_t most = 0;
    for (size_t i = 0; i < n; i++)
        most = (x[i] ^ flip) > most ? x[i] ^ flip : most;
    return most;
}

typedef int32_t code_function(const softmax *s, const divisor *by, int difference);

static inline uint8_t limited(const softmax *s, int32_t code)
{
    return (uint8_t)(code < 255 ? code : 255) ^ s->flip;
}

/* Writes the codes of a row: one by one, or from a table (1000 codes then take half the time). Inlined, because a call
 * per code costs the fixed rule 20 %. */
static inline __attribute__((always_inline)) void put_row(const softmax *s, const uint8_t *x, uint8_t most,
                                                          const divisor *by, code_function *code, uint8_t *y)
{
    uint8_t table[DIFFERENCES] = {0};
    if (s->n < DIFFERENCES) {
        for (size_t i = 0; i < s->n; i++)
            y[i] = limited(s, code(s, by, most - (x[i] ^ s->flip)));
        return;
    }
    for (int c = 0; c <= most; c++)
        table[c ^ s->flip] = limited(s, code(s, by, most - c));
    s->kernels->lookup_x8(x, s->n, table, y);
}

/* ---- float -------------------------------------------------------------------------------------- */

static void fill_float(float step, float *table)
{
    for (int d = 0; d < DIFFERENCES; d++)
        table[d] = (float)ql_exp((double)(-step * (float)d));
}

static inline int32_t code_float(const softmax *s, const divisor *by, int difference)
{
    const float share = s->exp[difference] * by->inverse;
    const int32_t whole = (int32_t)share;
    return whole + (share - (float)whole >= 0.5f);
}

/* Writes `count` rows, at most ROWS. */
static void rows_float(const softmax *s, const uint8_t *x, size_t count, uint8_t *y)
{
    const size_t n = s->n;
    uint8_t most[ROWS];
    float sum[ROWS] = {0};
    for (size_t r = 0; r < count; r++)
        most[r] = greatest(x + r * n, n, s->flip);
    for (size_t i = 0; i < n; i++) {
        for (size_t r = 0; r < count; r++)
            sum[r] += s->exp[most[r] - (x[r * n + i] ^ s->flip)];
    }
    for (size_t r = 0; r < count; r++) {
        const divisor by = {.inverse = 1.0f / (sum[r] * (1.0f / 256))};
        put_row(s, x + r * n, most[r], &by, code_float, y + r * n);
    }
}

/* ---- fixed: gemmlowp's arithmetic --------------------------------------------------------------- */

/* Returns round(a * b / 2^31): the product of two fractions of 2^31. */
static int32_t product(int32_t a, int32_t b)
{
    return (int32_t)(((int64_t)a * b + (1 << 30)) >> 31);
}

/* Returns x / 2^n, rounded half away from zero. */
static int32_t quotient(int32_t x, int n)
{
    const int64_t half = (INT64_C(1) << n) / 2;
    return (int32_t)((x < 0 ? -((half - (int64_t)x) >> n) : (half + (int64_t)x) >> n));
}

/* Returns x * 2^n, or the end of int32 that lies before it. */
static int32_t multiple(int32_t x, int n)
{
    const int64_t wide = (int64_t)x * (1 << n);
    return wide > INT32_MAX ? INT32_MAX : wide < INT32_MIN ? INT32_MIN : (int32_t)wide;
}

/* Returns e^x for x in [-1/4, 0), in units of 2^-31: the series around -1/8. */
static int32_t exp_of_quarter(int32_t x)
{
    const int32_t exp_eighth = 1895147668, third = 715827883;
    const int32_t t = x + (1 << 28), t2 = product(t, t), t3 = product(t2, t), t4 = product(t2, t2);
    const int32_t rest = quotient(product(quotient(t4, 2) + t3, third) + t2, 1);
    return exp_eighth + product(exp_eighth, t + rest);
}

/* Returns e^x in units of 2^-31, for x <= 0 in units of 2^-26: the product of a power in [-1/4, 0) and of those of 1/4,
 * 1/2, ... 16 that are the bits of the rest. */
static int32_t exp_of_negative(int32_t x)
{
    enum { QUARTER_BIT = 24, FACTORS = 7 };
    static const int32_t factor[FACTORS] = {1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242};
    const int32_t quarter = 1 << QUARTER_BIT, near = (x & (quarter - 1)) - quarter, far = near - x;
    if (x == 0)
        return INT32_MAX;
    int32_t result = exp_of_quarter(multiple(near, DIFFERENCE_BITS));
    for (int i = 0; i < FACTORS; i++)
        result = far >> (QUARTER_BIT + i) & 1 ? product(result, factor[i]) : result;
    return result;
}

/* Returns 1 / (1 + x) in units of 2^-31, x in [0, 1): three of Newton's steps from 48/17 - 32/17 (1 + x) / 2. */
static int32_t reciprocal(int32_t x)
{
    const int32_t one = 1 << 29, start = 1515870810, slope = -1010580540; /* units of 2^-29, as y */
    const int32_t half = (int32_t)(((int64_t)x + INT32_MAX + 1) / 2);
    int32_t y = start + product(half, slope);
    for (int i = 0; i < 3; i++)
        y += multiple(product(y, one - product(half, y)), 2);
    return multiple(y, 1);
}

static ql_status fill_fixed(double step, softmax *s)
{
    const double greatest_step = 0x1p31 - 1, scaled = step * 0x1p26;
    int32_t mantissa, exponent;
    if (!(scaled > 1))
        return QL_EINVAL;
    const double multiplier = scaled < greatest_step ? scaled : greatest_step;
    /* A quarter, because ql_quantize_multiplier ends at 2^30. */
    if (ql_quantize_multiplier(multiplier / 4, &mantissa, &exponent) != QL_OK)
        return QL_EINVAL;
    exponent += 2;
    const int64_t radius = (INT64_C(31) << 26) >> exponent;
    for (int d = 0; d < DIFFERENCES; d++) {
        const bool counts = d <= radius;
        s->fixed[d] =
            counts ? exp_of_negative(product((int32_t)(-(int64_t)d * (INT64_C(1) << exponent)), mantissa)) : 0;
        s->summands[d] = quotient(s->fixed[d], ACCUMULATOR_BITS);
    }
    return QL_OK;
}

static inline int32_t code_fixed(const softmax *s, const divisor *by, int difference)
{
    return quotient(product(by->fixed, s->fixed[difference]), by->shift);
}

static divisor fixed_inverse(int32_t sum)
{
    const int headroom = __builtin_clz((unsigned)sum);
    return (divisor){.fixed = reciprocal((int32_t)(((uint32_t)sum << headroom) - (UINT32_C(1) << 31))),
                     .shift = ACCUMULATOR_BITS - headroom + 31 - 8};
}

/* ---- aarch64: exponentials of 16 bits ----------------------------------------------------------- */

static void fill_aarch64(float step, softmax *s)
{
    fill_float(step, s->exp);
    for (int d = 0; d < DIFFERENCES; d++)
        s->fixed[d] = s->summands[d] = (int32_t)((double)(s->exp[d] * 65535.0f) + 0.5);
}

/* The exponent is negative: the greatest summand of a row is 65535. */
static divisor aarch64_inverse(int32_t sum)
{
    divisor by;
    int32_t exponent;
    (void)ql_quantize_multiplier((double)(1.0f / ((float)sum * (1.0f / 256))), &by.fixed, &exponent);
    by.shift = -exponent;
    return by;
}

/* ---- rules of integers -------------------------------------------------------------------------- */

static void row_of_integers(const softmax *s, const uint8_t *x, uint8_t *y)
{
    const uint8_t flip = s->flip, most = greatest(x, s->n, flip);
    int32_t sum = 0;
    for (size_t i = 0; i < s->n; i++)
        sum += s->summands[most - (x[i] ^ flip)];
    const divisor by = s->rule == QL_SOFTMAX_FIXED ? fixed_inverse(sum) : aarch64_inverse(sum);
    put_row(s, x, most, &by, code_fixed, y);
}

/* ---- rows --------------------------------------------------------------------------------------- */

static size_t end_of(const softmax *s, size_t task)
{
    return ql_least((task + 1) * s->rows_at_once, s->rows);
}

static void run_float(void *context, size_t task)
{
    const softmax *s = context;
    size_t i = task * s->rows_at_once;
    for (; i + ROWS <= end_of(s, task); i += ROWS)
        rows_float(s, s->x + i * s->n, ROWS, s->y + i * s->n);
    for (; i < end_of(s, task); i++)
        rows_float(s, s->x + i * s->n, 1, s->y + i * s->n);
}

static void run_integers(void *context, size_t task)
{
    const softmax *s = context;
    for (size_t i = task * s->rows_at_once; i < end_of(s, task); i++)
        row_of_integers(s, s->x + i * s->n, s->y + i * s->n);
}

ql_status ql_softmax_x8(const uint8_t *x, size_t rows, size_t n, bool is_signed, float scale, float beta,
                        ql_softmax_rule rule, uint8_t *y)
{
    const float step = scale * beta;
    if (!(scale > 0 && beta > 0 && step < INFINITY))
        return QL_EINVAL;
    if ((rule == QL_SOFTMAX_FIXED && n > QL_MAX_FIXED_SOFTMAX) ||
        (rule == QL_SOFTMAX_AARCH64 && n > QL_MAX_AARCH64_SOFTMAX))
        return QL_EOVERFLOW;
    softmax s = {.rule = rule, .kernels = ql_kernels_active(), .x = x, .y = y, .rows = rows, .n = n};
    s.flip = is_signed ? 0x80 : 0;
    s.rows_at_once = ql_round_up(GRAIN / (n ? n : 1) + 1, ROWS);
    if (rule == QL_SOFTMAX_FIXED && fill_fixed((double)scale * (double)beta, &s) != QL_OK)
        return QL_EINVAL;
    if (rule == QL_SOFTMAX_AARCH64)
        fill_aarch64(step, &s);
    if (rule == QL_SOFTMAX_FLOAT)
        fill_float(step, s.exp);
    if (n > 0)
        ql_parallel(ql_divided_up(rows, s.rows_at_once), (uint64_t)rows * n,
                    rule == QL_SOFTMAX_FLOAT ? run_float : run_integers, &s);
    return QL_OK;
}
