/* Quantize, dequantize and fake-quantize over any layout of parameters: checks, then kernel calls on pieces of runs,
 * several threads' worth of them at a time.
 *
 * Results that must stay as they are if the data turns out not to be finite: reading the data twice would cost half of
 * the speed where it comes from memory. Codes are a quarter of it or half, so what they overwrite is set aside piece by
 * piece, while it is in cache anyway (L3: 18 against 13 Ge/s, 25 with neither; DRAM: 8 against 5). Floats are as large
 * as the data: there the second reading is cheaper. */
#include <stdatomic.h>
#include <string.h>

#include "core/base/finite.h"
#include "core/base/memory.h"
#include "core/base/parallel.h"
#include "core/base/shares.h"

enum {
    BLOCK = 1024,      /* codes held as int32 on the way */
    SET_ASIDE = 32768, /* codes at a time: with their data inside L2 */
};

/* Time that a share takes: by a kernel that goes from end to end, and by way of int32. */
enum { NS_DIRECT = 3500, NS_BY_BLOCKS = 25000 };

size_t ql_code_size(int32_t qmin, int32_t qmax)
{
    if (qmin > qmax)
        return 0;
    if ((qmin >= INT8_MIN && qmax <= INT8_MAX) || (qmin >= 0 && qmax <= UINT8_MAX))
        return 1;
    return (qmin >= INT16_MIN && qmax <= INT16_MAX) || (qmin >= 0 && qmax <= UINT16_MAX) ? 2 : 0;
}

static bool affine_is_valid(const ql_affine *p)
{
    if (ql_code_size(p->qmin, p->qmax) == 0)
        return false;
    if (ql_layout_size(&p->layout) == 0)
        return true;
    const size_t count = ql_layout_parameters(&p->layout);
    int32_t valid = 1;
    for (size_t c = 0; c < count; c++)
        valid &= (p->zero_point[c] >= p->qmin) & (p->zero_point[c] <= p->qmax);
    return valid && ql_scales_are_valid(p->scale, count);
}

/* splitmix64 (Steele, Lea and Flood 2014): seeds that differ in a bit have keys that differ in half of them. */
static uint64_t stochastic_key(uint64_t seed)
{
    uint64_t key = seed + UINT64_C(0x9e3779b97f4a7c15);
    key = (key ^ key >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    key = (key ^ key >> 27) * UINT64_C(0x94d049bb133111eb);
    return key ^ key >> 31;
}

typedef struct work work;

/* Returns whether there was NaN or an infinity. */
typedef bool piece_function(const work *w, const ql_run *piece);
typedef bool rows_function(const work *w, const ql_run *run, size_t count);

struct work {
    const ql_kernels *kernels;
    const ql_affine *affine;
    const float *scale; /* affine's, or a tile of copies */
    const int32_t *zero_point;
    uint64_t key;
    const void *from;
    void *to;
    size_t size;        /* bytes per code */
    uint8_t *set_aside; /* copy of what was in `to`, or NULL */
    piece_function *function;
    size_t limit; /* elements that the function takes at once */
    ql_shares shares;
    atomic_bool *nonfinite;
};

static bool quantize_x8(const work *w, const ql_run *piece)
{
    return w->kernels->quantize_f32_x8((const float *)w->from + piece->offset, piece->length,
                                       w->scale + piece->parameter, w->zero_point + piece->parameter, piece->group,
                                       w->affine->qmin, w->affine->qmax, (uint8_t *)w->to + piece->offset);
}

static bool quantize_block(const work *w, const ql_run *piece, int32_t *codes)
{
    const ql_affine *p = w->affine;
    return w->kernels->quantize_f32_s32((const float *)w->from + piece->offset, piece->length,
                                        w->scale + piece->parameter, w->zero_point + piece->parameter, piece->group,
                                        p->qmin, p->qmax, p->rounding, w->key, piece->offset, codes);
}

static void narrow_x8(const int32_t *codes, size_t n, uint8_t *narrow)
{
    for (size_t i = 0; i < n; i++)
        narrow[i] = (uint8_t)codes[i];
}

static void narrow_x16(const int32_t *codes, size_t n, uint16_t *narrow)
{
    for (size_t i = 0; i < n; i++)
        narrow[i] = (uint16_t)codes[i];
}

static bool quantize_any(const work *w, const ql_run *piece)
{
    int32_t codes[BLOCK];
    bool nonfinite = quantize_block(w, piece, codes);
    if (w->size == 1)
        narrow_x8(codes, piece->length, (uint8_t *)w->to + piece->offset);
    else
        narrow_x16(codes, piece->length, (uint16_t *)w->to + piece->offset);
    return nonfinite;
}

static bool dequantize_x8(const work *w, const ql_run *piece)
{
    w->kernels->dequantize_x8_f32((const uint8_t *)w->from + piece->offset, piece->length, w->affine->qmin < 0,
                                  w->scale + piece->parameter, w->zero_point + piece->parameter, piece->group,
                                  (float *)w->to + piece->offset);
    return false;
}

static void dequantize_block(const work *w, const ql_run *piece, const int32_t *codes)
{
    w->kernels->dequantize_s32_f32(codes, piece->length, w->scale + piece->parameter, w->zero_point + piece->parameter,
                                   piece->group, (float *)w->to + piece->offset);
}

static bool dequantize_x16(const work *w, const ql_run *piece)
{
    int32_t codes[BLOCK];
    const int16_t *s16 = (const int16_t *)w->from + piece->offset;
    const uint16_t *u16 = (const uint16_t *)w->from + piece->offset;
    const bool is_signed = w->affine->qmin < 0;
    for (size_t i = 0; is_signed && i < piece->length; i++)
        codes[i] = s16[i];
    for (size_t i = 0; !is_signed && i < piece->length; i++)
        codes[i] = u16[i];
    dequantize_block(w, piece, codes);
    return false;
}

static bool fake_quantize_even(const work *w, const ql_run *piece)
{
    return w->kernels->fake_quantize_f32((const float *)w->from + piece->offset, piece->length,
                                         w->scale + piece->parameter, w->zero_point + piece->parameter, piece->group,
                                         w->affine->qmin, w->affine->qmax, (float *)w->to + piece->offset);
}

static bool fake_quantize_any(const work *w, const ql_run *piece)
{
    int32_t codes[BLOCK];
    bool nonfinite = quantize_block(w, piece, codes);
    dequantize_block(w, piece, codes);
    return nonfinite;
}

static bool in_range(const work *w, const ql_run *piece)
{
    w->kernels->in_range_f32((const float *)w->from + piece->offset, piece->length, w->scale + piece->parameter,
                             w->zero_point + piece->parameter, piece->group, w->affine->qmin, w->affine->qmax,
                             (bool *)w->to + piece->offset);
    return false;
}

static void run_piece(const work *w, const ql_run *piece)
{
    const size_t first = piece->offset * w->size, bytes = piece->length * w->size;
    if (w->set_aside)
        memcpy(w->set_aside + first, (const uint8_t *)w->to + first, bytes);
    if (w->function(w, piece))
        atomic_store_explicit(w->nonfinite, true, memory_order_relaxed);
}

/* Runs the function on pieces of several short runs, with as many copies of their parameters. */
static void run_joined(const work *w, const ql_run *run, size_t count)
{
    float scale[QL_TILE];
    int32_t zero_point[QL_TILE];
    const size_t tile = QL_TILE - QL_TILE % run->length, length = run->length * count;
    for (size_t i = 0; i < tile; i++) {
        size_t c = run->parameter + i % run->length / run->group;
        scale[i] = w->scale[c];
        zero_point[i] = w->zero_point[c];
    }
    work copies = *w;
    copies.scale = scale;
    copies.zero_point = zero_point;
    for (size_t first = 0; first < length; first += tile)
        run_piece(&copies, &(ql_run){run->offset + first, ql_least(length - first, tile), 0, 1});
}

static bool quantize_rows(const work *w, const ql_run *run, size_t count)
{
    return w->kernels->quantize_rows_f32_x8((const float *)w->from + run->offset, count, run->length,
                                            w->scale + run->parameter, w->zero_point + run->parameter, w->affine->qmin,
                                            w->affine->qmax, (uint8_t *)w->to + run->offset);
}

static bool fake_quantize_rows(const work *w, const ql_run *run, size_t count)
{
    return w->kernels->fake_quantize_rows_f32((const float *)w->from + run->offset, count, run->length,
                                              w->scale + run->parameter, w->zero_point + run->parameter,
                                              w->affine->qmin, w->affine->qmax, (float *)w->to + run->offset);
}

/* Returns the function's twin for several runs at once, or NULL. */
static rows_function *rows_function_of(piece_function *function)
{
    if (function == quantize_x8)
        return quantize_rows;
    return function == fake_quantize_even ? fake_quantize_rows : NULL;
}

static void run_pieces(void *context, const ql_run *run, size_t count)
{
    const work *w = context;
    if (count > 1 && run->length <= QL_SHORT_RUN) {
        run_joined(w, run, count);
        return;
    }
    rows_function *by_rows = w->set_aside ? NULL : rows_function_of(w->function);
    if (count > 1 && by_rows) {
        if (by_rows(w, run, count))
            atomic_store_explicit(w->nonfinite, true, memory_order_relaxed);
        return;
    }
    ql_run row = *run;
    for (size_t i = 0; i < count; i++, row.offset += row.length) {
        for (size_t first = 0; first < row.length;) {
            ql_run piece = ql_run_piece(&row, first, w->limit);
            run_piece(w, &piece);
            first += piece.length;
        }
    }
}

static void run_share(void *context, size_t i)
{
    const work *w = context;
    ql_share_visit(&w->shares, i, run_pieces, context);
}

/* Returns whether all values were finite. */
static bool run_all(work *w, piece_function *function, size_t limit)
{
    atomic_bool nonfinite = false;
    w->function = function;
    w->limit = limit;
    w->nonfinite = &nonfinite;
    w->shares = ql_shares_of(&w->affine->layout);
    ql_parallel(w->shares.count, w->shares.count * (limit == BLOCK ? NS_BY_BLOCKS : NS_DIRECT), run_share, w);
    return !atomic_load(&nonfinite);
}

static work new_work(const void *from, const ql_affine *p, void *to)
{
    return (work){.kernels = ql_kernels_active(),
                  .affine = p,
                  .scale = p->scale,
                  .zero_point = p->zero_point,
                  .key = stochastic_key(p->seed),
                  .from = from,
                  .to = to};
}

ql_status ql_quantize_f32(const float *x, const ql_affine *p, ql_nonfinite nonfinite, void *codes)
{
    if (!affine_is_valid(p))
        return QL_EINVAL;
    work w = new_work(x, p, codes);
    w.size = ql_code_size(p->qmin, p->qmax);
    const size_t n = ql_layout_size(&p->layout);
    if (nonfinite == QL_NONFINITE_REFUSE) {
        w.set_aside = ql_alloc(n, w.size);
        if (!w.set_aside)
            return QL_ENOMEM;
    }
    const bool finite = w.size == 1 && p->rounding == QL_ROUND_EVEN
                            ? run_all(&w, quantize_x8, w.set_aside ? SET_ASIDE : SIZE_MAX)
                            : run_all(&w, quantize_any, BLOCK);
    if (!finite && w.set_aside)
        memcpy(codes, w.set_aside, n * w.size);
    free(w.set_aside);
    return finite || nonfinite == QL_NONFINITE_SATURATE ? QL_OK : QL_ENONFINITE;
}

ql_status ql_dequantize_f32(const void *codes, const ql_affine *p, float *x)
{
    if (!affine_is_valid(p))
        return QL_EINVAL;
    work w = new_work(codes, p, x);
    if (ql_code_size(p->qmin, p->qmax) == 1)
        (void)run_all(&w, dequantize_x8, SIZE_MAX);
    else
        (void)run_all(&w, dequantize_x16, BLOCK);
    return QL_OK;
}

static bool is_finite(const float *x, const ql_layout *layout)
{
    ql_layout flat = {0};
    float min, max;
    const size_t n = ql_layout_size(layout);
    ql_layout_push(&flat, n, n);
    return n == 0 || ql_minmax_f32(x, &flat, &min, &max);
}

ql_status ql_fake_quantize_f32(const float *x, const ql_affine *p, ql_nonfinite nonfinite, float *y)
{
    if (!affine_is_valid(p))
        return QL_EINVAL;
    if (nonfinite == QL_NONFINITE_REFUSE && !is_finite(x, &p->layout))
        return QL_ENONFINITE;
    work w = new_work(x, p, y);
    const bool finite = p->rounding == QL_ROUND_EVEN ? run_all(&w, fake_quantize_even, SIZE_MAX)
                                                     : run_all(&w, fake_quantize_any, BLOCK);
    return finite || nonfinite != QL_NONFINITE_REFUSE_LATE ? QL_OK : QL_ENONFINITE;
}

ql_status ql_in_range_f32(const float *x, const ql_affine *p, bool *inside)
{
    if (!affine_is_valid(p))
        return QL_EINVAL;
    work w = new_work(x, p, inside);
    (void)run_all(&w, in_range, SIZE_MAX);
    return QL_OK;
}
