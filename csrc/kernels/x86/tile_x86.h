/* Tiles of integer products in registers: how they begin and end. Kernels differ in how they multiply.
 *
 * Whole registers are finished where they are, which hides it behind the next tile's loads. Columns that do not fill
 * them, rule B, five times the instructions, and rare curves go by way of a buffer. What is the same for all tiles of a
 * panel is found once, and as many rows as fill a register with codes become codes together: a tile of 6 x 16 with a
 * depth of 16 takes 102 cycles instead of 126 with codes, 101 instead of 131 with floats, of which 62 are products.
 * What is found once costs a call 40 cycles: from three tiles on it wins (AVX2, Zen 3).
 *
 * Kernels work on a copy of their arguments: codes are bytes, whose stores may change what a pointer leads to, for all
 * that a compiler knows, so that each tile would load the arguments again (98 cycles instead of 104 with floats).
 *
 * The file that includes this brings MAX_MR rows, MAX_VECTORS vectors of columns, `finishers`, and how steps become
 * codes: code_rule, store_codes and of how many vectors, VECTORS_OF_CODES. CLAMPS_CODES: it takes steps above the grid,
 * so that vectors of floats need no clamp (1.4 % of all products of MobileNetV2), if all steps fit int32. */
#ifndef QL_TILE_X86_H
#define QL_TILE_X86_H

#include "kernels/x86/curve_x86.h"

typedef ints tile_sums[MAX_MR][MAX_VECTORS];

static inline __attribute__((always_inline)) void start_tile(const int mr, const int vectors, const ql_gemm_args *g,
                                                             size_t j, tile_sums sum)
{
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
#pragma GCC unroll 12
        for (int i = 0; i < mr; i++)
            sum[i][v] = load_s32(g->start + j + LANES * v);
    }
}

/* Accumulators of their own for some of the k: a few rows have too few chains to hide the instruction's latency, so
 * they deal k out. The sums are modulo 2^32: the order does not matter. */
static inline __attribute__((always_inline)) void start_split(const int mr, const int vectors, tile_sums sum)
{
#pragma GCC unroll 12
    for (int i = 0; i < mr; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            sum[i][v] = set_s32(0);
    }
}

static inline __attribute__((always_inline)) void add_split(const int mr, const int vectors, tile_sums sum,
                                                            tile_sums other)
{
#pragma GCC unroll 12
    for (int i = 0; i < mr; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            sum[i][v] = add_s32(sum[i][v], other[i][v]);
    }
}

typedef enum tile_way {
    WAY_BUFFER,
    WAY_S32,
    WAY_F32,
    WAY_X8,
    WAY_PART_X8,
    WAY_X8_PRELU,
    WAY_X8_HARD_SWISH,
    WAY_X8_RESIDUAL,
    WAY_X8_PRELU_RESIDUAL
} tile_way;

/* How the tiles of a panel end. For floats `multiplier` is the scale and `below` the offset. args: the original ones.
 */
typedef struct tile_end {
    tile_way way;
    const ql_gemm_args *args;
    floats multiplier[MAX_VECTORS], below[MAX_VECTORS];
    floats low, high, factor;
    code_rule rule;
} tile_end;

/* Residuals have ways of their own: elsewhere they would take registers from tiles without one, at a depth of 16 5 % of
 * the time of half panels and 8 % of that of hard swish. */
static inline __attribute__((always_inline)) tile_way way_of(const int vectors, const ql_gemm_args *g, size_t j,
                                                             size_t cols)
{
    const ql_epilogue *e = g->epilogue;
    const bool is_part = cols < (size_t)(LANES * vectors), has_residual = g->residual.codes != NULL;
    if (is_part && has_residual && j + cols < LANES)
        return WAY_BUFFER;
    if (e->store == QL_STORE_X8 && e->curve == QL_CURVE_NONE && (!is_part || vectors <= 2))
        return is_part ? WAY_PART_X8 : has_residual ? WAY_X8_RESIDUAL : WAY_X8;
    if (vectors == 2 && !is_part && e->store == QL_STORE_X8 && e->curve == QL_CURVE_PRELU)
        return has_residual ? WAY_X8_PRELU_RESIDUAL : WAY_X8_PRELU;
    if (is_part || has_residual || e->store == QL_STORE_X8_FIXED)
        return WAY_BUFFER;
    if (e->store != QL_STORE_X8)
        return e->store == QL_STORE_F32 ? WAY_F32 : WAY_S32;
    return vectors == 2 && e->curve == QL_CURVE_HARD_SWISH ? WAY_X8_HARD_SWISH : WAY_BUFFER;
}

/* Whether no sum leaves int32 when it is multiplied. */
static inline bool are_small(floats multiplier)
{
    return !any_lane(less_f32(set_f32(0.5f), max_f32(multiplier, -multiplier)));
}

static inline __attribute__((always_inline)) tile_end tile_end_of(const int vectors, const ql_gemm_args *args, size_t j,
                                                                  size_t cols)
{
    const ql_epilogue *e = args->epilogue;
    tile_end end = {.way = way_of(vectors, args, j, cols), .args = args};
    if (end.way == WAY_BUFFER || end.way == WAY_S32)
        return end;
    const bool to_floats = end.way == WAY_F32;
    const float *multiplier = to_floats ? e->scale : e->multiplier;
    const float *below = to_floats ? e->offset : e->curve == QL_CURVE_PRELU ? e->below : multiplier;
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
        if (cols <= (size_t)(LANES * v))
            break;
        end.multiplier[v] = load_first_f32(multiplier + j + LANES * v, cols - LANES * v);
        end.below[v] = load_first_f32(below + j + LANES * v, cols - LANES * v);
        const bool needs_small = CLAMPS_CODES && !to_floats && end.way != WAY_X8_HARD_SWISH;
        if (needs_small && !(are_small(end.multiplier[v]) && are_small(end.below[v])))
            end.way = WAY_BUFFER;
    }
    end.low = set_f32(e->low);
    end.high = set_f32(to_floats ? e->high : (float)(e->qmax - e->zero_point));
    end.factor = set_f32(e->factor);
    end.rule = code_rule_of(e);
    return end;
}

static inline __attribute__((always_inline)) void finish_s32(const int mr, const int vectors, const ql_gemm_args *g,
                                                             tile_sums sum, size_t i0, size_t j)
{
    const size_t stride = g->c_stride;
    int32_t *c = (int32_t *)g->c + i0 * stride + j;
#pragma GCC unroll 12
    for (int i = 0; i < mr; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            store_s32(c + (size_t)i * stride + LANES * v, sum[i][v]);
    }
}

static inline __attribute__((always_inline)) void finish_f32(const int mr, const int vectors, const ql_gemm_args *g,
                                                             const tile_end *end, tile_sums sum, size_t i0, size_t j)
{
    const size_t stride = g->c_stride;
    const float *row_scale = g->row_scale ? g->row_scale + i0 : NULL;
    float *y = (float *)g->c + i0 * stride + j;
#pragma GCC unroll 12
    for (int i = 0; i < mr; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            floats s = to_f32(sum[i][v]);
            if (row_scale)
                s = s * set_f32(row_scale[i]);
            s = s * end->multiplier[v] + end->below[v];
            store_f32(y + (size_t)i * stride + LANES * v, min_f32(end->high, max_f32(end->low, s)));
        }
    }
}

/* Copies n bytes of each row in two moves of `piece` bytes, which overlap: piece is at most n and at least half of it.
 */
static inline __attribute__((always_inline)) void
copy_pieces(const int rows, uint8_t *to, size_t stride, const uint8_t *from, size_t width, size_t n, const size_t piece)
{
    for (int i = 0; i < rows; i++, to += stride, from += width) {
        memcpy(to, from, piece);
        memcpy(to + n - piece, from + n - piece, piece);
    }
}

/* Copies 1 to 32 bytes of each row, which was stored whole. Not inline: whole tiles would pay for it in registers, 4 %
 * of their time at a depth of 16 (gcc 12). */
static __attribute__((noinline)) void copy_few(int rows, uint8_t *to, size_t stride, const uint8_t *from, size_t width,
                                               size_t n)
{
    if (n >= 16)
        copy_pieces(rows, to, stride, from, width, n, 16);
    else if (n >= 8)
        copy_pieces(rows, to, stride, from, width, n, 8);
    else if (n >= 4)
        copy_pieces(rows, to, stride, from, width, n, 4);
    else if (n >= 2)
        copy_pieces(rows, to, stride, from, width, n, 2);
    else
        copy_pieces(rows, to, stride, from, width, n, 1);
}

/* Sums become steps from the zero point. Quotients below int32 become its least number, so that only the upper end may
 * need a clamp before they are rounded. */
static inline __attribute__((always_inline)) void to_steps(const int rows, const int vectors, const tile_end *end,
                                                           ints sum[][MAX_VECTORS], const ql_curve curve)
{
    const bool is_clamped = CLAMPS_CODES && curve != QL_CURVE_HARD_SWISH; /* later */
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            const floats s = curved(sum[i][v], end->multiplier[v], end->below[v], end->factor, curve);
            sum[i][v] = to_s32(is_clamped ? s : min_f32(s, end->high));
        }
    }
}

static inline __attribute__((always_inline)) void finish_x8(const int mr, const int vectors, const ql_gemm_args *g,
                                                            const tile_end *end, tile_sums sum, size_t i0, size_t j,
                                                            const ql_curve curve)
{
    const size_t stride = g->c_stride;
    uint8_t *codes = (uint8_t *)g->c + i0 * stride + j;
    to_steps(mr, vectors, end, sum, curve);
#pragma GCC unroll 12
    for (int i = 0; i < mr; i += VECTORS_OF_CODES / vectors) {
        const int rows = mr - i < VECTORS_OF_CODES / vectors ? mr - i : VECTORS_OF_CODES / vectors;
        store_codes(codes + (size_t)i * stride, stride, sum + i, rows, vectors, &end->rule);
    }
}

/* Some columns of registers that they do not fill: by way of a buffer of codes, 64 x 64 pixels from 24 to 28 channels
 * take 74 us instead of 86 (AVX2, Zen 3). */
static inline __attribute__((always_inline)) void finish_part_x8(const int mr, const int vectors, const ql_gemm_args *g,
                                                                 const tile_end *end, tile_sums sum, size_t i0,
                                                                 size_t j, size_t cols)
{
    const size_t stride = g->c_stride, width = (size_t)(LANES * vectors);
    uint8_t *codes = (uint8_t *)g->c + i0 * stride + j, whole[MAX_MR * MAX_VECTORS * LANES];
    to_steps(mr, vectors, end, sum, QL_CURVE_NONE);
#pragma GCC unroll 12
    for (int i = 0; i < mr; i += VECTORS_OF_CODES / vectors) {
        const int rows = mr - i < VECTORS_OF_CODES / vectors ? mr - i : VECTORS_OF_CODES / vectors;
        store_codes(whole + (size_t)i * width, width, sum + i, rows, vectors, &end->rule);
    }
    copy_few(mr, codes, stride, whole, width, cols);
}

static inline __attribute__((always_inline)) void add_row_terms(const int mr, const int vectors, const ql_gemm_args *g,
                                                                tile_sums sum, size_t i0, size_t j)
{
#pragma GCC unroll 2
    for (int u = 0; u < 2; u++) {
        if (!g->row_term[u])
            continue;
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            const ints col = load_s32(g->col_term[u] + j + LANES * v);
#pragma GCC unroll 12
            for (int i = 0; i < mr; i++)
                sum[i][v] = add_s32(sum[i][v], mul_s32(set_s32(g->row_term[u][i0 + (size_t)i]), col));
        }
    }
}

/* Adds what there is of a residual, to all lanes or to `cols` of them: no fewer than LANES from the first column on. */
static inline __attribute__((always_inline)) void add_residual(const int mr, const int vectors, const ql_gemm_args *g,
                                                               tile_sums sum, size_t i0, size_t j, size_t cols)
{
    if (!g->residual.codes)
        return;
    const ql_residual own = ql_residual_from(&g->residual, i0 * g->c_stride + j, j);
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
        const size_t first = (size_t)(LANES * v), left = cols - first < LANES ? cols - first : LANES;
        if (cols <= first)
            continue;
        const ints factor = load_first_s32(own.factor + first, left), shift = load_first_s32(own.shift + first, left);
#pragma GCC unroll 12
        for (int i = 0; i < mr; i++) {
            const uint8_t *codes = own.codes + (size_t)i * g->c_stride + first;
            sum[i][v] = add_s32(sum[i][v], residual_terms(load_last_u8(codes, left), factor, shift));
        }
    }
}

static inline __attribute__((always_inline)) void finish_by_buffer(const int mr, const int vectors,
                                                                   const ql_gemm_args *args, tile_sums sum, size_t i0,
                                                                   size_t j, size_t cols)
{
    _Alignas(ints) int32_t sums[MAX_MR * MAX_VECTORS * LANES];
#pragma GCC unroll 12
    for (int i = 0; i < mr; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            store_s32(sums + (i * vectors + v) * LANES, sum[i][v]);
    }
    ql_finish_tile(&finishers, args, sums, (size_t)(vectors * LANES), i0, (size_t)mr, j, cols);
}

static inline __attribute__((always_inline)) void finish_tile(const int mr, const int vectors, const ql_gemm_args *g,
                                                              const tile_end *end, tile_sums sum, size_t i0, size_t j,
                                                              size_t cols)
{
    if (end->way == WAY_BUFFER) {
        finish_by_buffer(mr, vectors, end->args, sum, i0, j, cols);
        return;
    }
    add_row_terms(mr, vectors, g, sum, i0, j);
    if (end->way == WAY_X8) {
        finish_x8(mr, vectors, g, end, sum, i0, j, QL_CURVE_NONE);
    } else if (end->way == WAY_F32) {
        finish_f32(mr, vectors, g, end, sum, i0, j);
    } else if (end->way == WAY_S32) {
        finish_s32(mr, vectors, g, sum, i0, j);
    } else if (vectors <= 2 && end->way == WAY_PART_X8) {
        add_residual(mr, vectors, g, sum, i0, j, cols);
        finish_part_x8(mr, vectors, g, end, sum, i0, j, cols);
    } else if (end->way == WAY_X8_RESIDUAL) {
        add_residual(mr, vectors, g, sum, i0, j, (size_t)(LANES * vectors));
        finish_x8(mr, vectors, g, end, sum, i0, j, QL_CURVE_NONE);
    } else if (vectors == 2 && end->way == WAY_X8_PRELU_RESIDUAL) {
        add_residual(mr, vectors, g, sum, i0, j, (size_t)(LANES * vectors));
        finish_x8(mr, vectors, g, end, sum, i0, j, QL_CURVE_PRELU);
    } else if (vectors == 2 && end->way == WAY_X8_PRELU) {
        finish_x8(mr, vectors, g, end, sum, i0, j, QL_CURVE_PRELU);
    } else if (vectors == 2) {
        finish_x8(mr, vectors, g, end, sum, i0, j, QL_CURVE_HARD_SWISH);
    }
}

#endif
