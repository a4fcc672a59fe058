/* Tiles of integer products in registers: how they begin and end. Kernels differ in how they multiply.
 *
 * Whole registers are finished where they are, which hides it behind the next tile's loads: int32, float32 and rule A
 * cost the same within 2 %. Columns that do not fill them, rule B, five times the instructions, and rare curves go by
 * way of a buffer. The file that includes this brings MAX_MR rows,
 * MAX_VECTORS vectors of columns, and `finishers`. */
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

static inline __attribute__((always_inline)) void finish_s32(const int mr, const int vectors, const ql_gemm_args *g,
                                                             tile_sums sum, size_t i0, size_t j)
{
    int32_t *c = (int32_t *)g->c + i0 * g->c_stride + j;
#pragma GCC unroll 12
    for (int i = 0; i < mr; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            store_s32(c + (size_t)i * g->c_stride + LANES * v, sum[i][v]);
    }
}

static inline __attribute__((always_inline)) void finish_f32(const int mr, const int vectors, const ql_gemm_args *g,
                                                             tile_sums sum, size_t i0, size_t j)
{
    const ql_epilogue *e = g->epilogue;
    const floats low = set_f32(e->low), high = set_f32(e->high);
    float *y = (float *)g->c + i0 * g->c_stride + j;
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
        const floats scale = load_f32(e->scale + j + LANES * v), offset = load_f32(e->offset + j + LANES * v);
#pragma GCC unroll 12
        for (int i = 0; i < mr; i++) {
            floats s = to_f32(sum[i][v]);
            if (g->row_scale)
                s = s * set_f32(g->row_scale[i0 + (size_t)i]);
            s = min_f32(high, max_f32(low, s * scale + offset));
            store_f32(y + (size_t)i * g->c_stride + LANES * v, s);
        }
    }
}

/* Copies n < 64 bytes in pieces that overlap, from a buffer that was stored as one. */
static inline void copy_few(uint8_t *to, const uint8_t *from, size_t n)
{
    for (; n > 16; n -= 16, to += 16, from += 16)
        memcpy(to, from, 16);
    if (n >= 8) {
        memcpy(to, from, 8);
        memcpy(to + n - 8, from + n - 8, 8);
    } else if (n >= 4) {
        memcpy(to, from, 4);
        memcpy(to + n - 4, from + n - 4, 4);
    } else {
        for (size_t i = 0; i < n; i++)
            to[i] = from[i];
    }
}

/* Some columns of registers that they do not fill: by way of a buffer of codes, 64 x 64 pixels from 24 to 28 channels
 * take 74 us instead of 86 (AVX2, Zen 3). */
static inline __attribute__((always_inline)) void finish_part_x8(const int mr, const int vectors, const ql_gemm_args *g,
                                                                 tile_sums sum, size_t i0, size_t j, size_t cols)
{
    const ql_epilogue *e = g->epilogue;
    const floats high = set_f32((float)(e->qmax - e->zero_point));
    const code_rule rule = code_rule_of(e);
    uint8_t *codes = (uint8_t *)g->c + i0 * g->c_stride + j;
    floats multiplier[MAX_VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++)
        multiplier[v] =
            cols > (size_t)(LANES * v) ? load_first_f32(e->multiplier + j + LANES * v, cols - LANES * v) : set_f32(0);
#pragma GCC unroll 12
    for (int i = 0; i < mr; i++) {
        uint8_t whole[MAX_VECTORS * LANES];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            sum[i][v] = to_s32(min_f32(to_f32(sum[i][v]) * multiplier[v], high));
        store_codes(whole, sum[i], vectors, &rule);
        copy_few(codes + (size_t)i * g->c_stride, whole, cols);
    }
}

/* Quotients below int32 become its least number, so that only the upper end needs a clamp before they are rounded. */
static inline __attribute__((always_inline)) void finish_x8(const int mr, const int vectors, const ql_gemm_args *g,
                                                            tile_sums sum, size_t i0, size_t j, const ql_curve curve)
{
    const ql_epilogue *e = g->epilogue;
    const floats high = set_f32((float)(e->qmax - e->zero_point)), factor = set_f32(e->factor);
    const code_rule rule = code_rule_of(e);
    uint8_t *codes = (uint8_t *)g->c + i0 * g->c_stride + j;
    floats multiplier[MAX_VECTORS], below[MAX_VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
        multiplier[v] = load_f32(e->multiplier + j + LANES * v);
        below[v] = curve == QL_CURVE_PRELU ? load_f32(e->below + j + LANES * v) : multiplier[v];
    }
#pragma GCC unroll 12
    for (int i = 0; i < mr; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            sum[i][v] = to_s32(min_f32(curved(sum[i][v], multiplier[v], below[v], factor, curve), high));
        store_codes(codes + (size_t)i * g->c_stride, sum[i], vectors, &rule);
    }
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
    for (int v = 0; v < vectors && cols > 0; v++) {
        const size_t left = cols < LANES ? cols : LANES;
        const ints factor = load_first_s32(own.factor + LANES * v, left);
        const ints shift = load_first_s32(own.shift + LANES * v, left);
#pragma GCC unroll 12
        for (int i = 0; i < mr; i++) {
            const uint8_t *codes = own.codes + (size_t)i * g->c_stride + LANES * v;
            const ints terms = residual_terms(load_last_u8(codes, left), factor, shift);
            sum[i][v] = add_s32(sum[i][v], terms);
        }
        cols -= left;
    }
}

static inline __attribute__((always_inline)) void finish_tile(const int mr, const int vectors, const ql_gemm_args *g,
                                                              tile_sums sum, size_t i0, size_t j, size_t cols)
{
    const ql_epilogue *e = g->epilogue;
    const bool has_rare_curve = e->curve == QL_CURVE_HARD_SIGMOID || (vectors != 2 && e->curve != QL_CURVE_NONE);
    const bool is_part = cols < (size_t)(LANES * vectors);
    const bool is_part_of_codes = is_part && vectors <= 2 && e->store == QL_STORE_X8 && e->curve == QL_CURVE_NONE;
    const bool has_few_codes = is_part && g->residual.codes && j + cols < LANES;
    if ((is_part && !is_part_of_codes) || has_few_codes || e->store == QL_STORE_X8_FIXED || has_rare_curve) {
        _Alignas(ints) int32_t sums[MAX_MR * MAX_VECTORS * LANES];
#pragma GCC unroll 12
        for (int i = 0; i < mr; i++) {
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                store_s32(sums + (i * vectors + v) * LANES, sum[i][v]);
        }
        ql_finish_tile(&finishers, g, sums, (size_t)(vectors * LANES), i0, (size_t)mr, j, cols);
        return;
    }
    add_row_terms(mr, vectors, g, sum, i0, j);
    if (is_part_of_codes) {
        add_residual(mr, vectors, g, sum, i0, j, cols);
        finish_part_x8(mr, vectors, g, sum, i0, j, cols);
        return;
    }
    add_residual(mr, vectors, g, sum, i0, j, (size_t)(LANES * vectors));
    if (g->epilogue->store == QL_STORE_S32)
        finish_s32(mr, vectors, g, sum, i0, j);
    else if (g->epilogue->store == QL_STORE_F32)
        finish_f32(mr, vectors, g, sum, i0, j);
    else if (e->curve == QL_CURVE_NONE)
        finish_x8(mr, vectors, g, sum, i0, j, QL_CURVE_NONE);
    else if (vectors == 2 && e->curve == QL_CURVE_PRELU)
        finish_x8(mr, vectors, g, sum, i0, j, QL_CURVE_PRELU);
    else if (vectors == 2)
        finish_x8(mr, vectors, g, sum, i0, j, QL_CURVE_HARD_SWISH);
}

#endif
