/* Tiles of integer products in registers of eight sums, up to 6 rows by 16 columns: how they begin and end. Kernels
 * differ in how they multiply: AVX2 in two ways, AVX-VNNI in a third.
 *
 * Whole registers are finished where they are; columns that do not fill them, and rule B, five times the instructions,
 * go by way of a buffer. */
#ifndef QL_TILE_AVX2_H
#define QL_TILE_AVX2_H

#include "kernels/avx2/lanes_avx2.h"
#include "kernels/finish.h"

/* VECTORS of eight columns: 2 for whole panels, 1 for their first eight, 4 for two panels. */
enum { NR = 16, MAX_MR = 6, MAX_VECTORS = 4 };

typedef __m256i tile_sums[MAX_MR][MAX_VECTORS];

static const ql_finishers finishers = {ql_add_outer_s32__avx2, ql_scale_s32_f32__avx2, ql_requantize_s32_x8__avx2,
                                       ql_requantize_fixed_s32_x8__avx2};

static inline __m256i load_sums(const int32_t *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

/* Brings the next panel to L2 at the pace at which this one is used: 6 % more speed where b is larger than L3, the same
 * elsewhere. */
static inline void prefetch_panel(const ql_gemm_args *g, const int8_t *b)
{
    _mm_prefetch((const char *)((uintptr_t)b + g->panel_stride), _MM_HINT_T1);
}

/* Of four sums of 64 bits, modulo 2^32. */
static inline uint32_t total(__m256i sums)
{
    const __m128i pair = _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    return (uint32_t)_mm_cvtsi128_si32(pair) + (uint32_t)_mm_extract_epi32(pair, 2);
}

static inline __attribute__((always_inline)) void start_tile(const int mr, const int vectors, const ql_gemm_args *g,
                                                             size_t j, tile_sums sum)
{
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
#pragma GCC unroll 6
        for (int i = 0; i < mr; i++)
            sum[i][v] = load_sums(g->start + j + LANES * v);
    }
}

static inline __attribute__((always_inline)) void store_s32(const int mr, const int vectors, const ql_gemm_args *g,
                                                            tile_sums sum, size_t i0, size_t j)
{
    int32_t *c = (int32_t *)g->c + i0 * g->c_stride + j;
#pragma GCC unroll 6
    for (int i = 0; i < mr; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            _mm256_storeu_si256((__m256i *)(c + (size_t)i * g->c_stride + LANES * v), sum[i][v]);
    }
}

static inline __attribute__((always_inline)) void store_f32(const int mr, const int vectors, const ql_gemm_args *g,
                                                            tile_sums sum, size_t i0, size_t j)
{
    const ql_epilogue *e = g->epilogue;
    const __m256 low = _mm256_set1_ps(e->low), high = _mm256_set1_ps(e->high);
    float *y = (float *)g->c + i0 * g->c_stride + j;
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
        const __m256 scale = _mm256_loadu_ps(e->scale + j + LANES * v),
                     offset = _mm256_loadu_ps(e->offset + j + LANES * v);
#pragma GCC unroll 6
        for (int i = 0; i < mr; i++) {
            __m256 s = _mm256_cvtepi32_ps(sum[i][v]);
            if (g->row_scale)
                s = _mm256_mul_ps(s, _mm256_set1_ps(g->row_scale[i0 + (size_t)i]));
            s = _mm256_add_ps(_mm256_mul_ps(s, scale), offset);
            _mm256_storeu_ps(y + (size_t)i * g->c_stride + LANES * v, _mm256_min_ps(high, _mm256_max_ps(low, s)));
        }
    }
}

static inline __attribute__((always_inline)) void store_x8(const int mr, const int vectors, const ql_gemm_args *g,
                                                           tile_sums sum, size_t i0, size_t j)
{
    const ql_epilogue *e = g->epilogue;
    const __m256 low = _mm256_set1_ps((float)(e->qmin - e->zero_point));
    const __m256 high = _mm256_set1_ps((float)(e->qmax - e->zero_point));
    const __m256i zero_point = _mm256_set1_epi32(e->zero_point), low_byte = _mm256_set1_epi32(0x0c080400);
    const __m256i halves = _mm256_setr_epi32(0, 4, 0, 4, 0, 4, 0, 4);
    uint8_t *codes = (uint8_t *)g->c + i0 * g->c_stride + j;
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
        const __m256 multiplier = _mm256_loadu_ps(e->multiplier + j + LANES * v);
#pragma GCC unroll 6
        for (int i = 0; i < mr; i++) {
            __m256 s = _mm256_mul_ps(_mm256_cvtepi32_ps(sum[i][v]), multiplier);
            __m256i code = _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(s, low), high));
            code = _mm256_shuffle_epi8(_mm256_add_epi32(code, zero_point), low_byte);
            code = _mm256_permutevar8x32_epi32(code, halves);
            _mm_storel_epi64((__m128i *)(codes + (size_t)i * g->c_stride + LANES * v), _mm256_castsi256_si128(code));
        }
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
            __m256i col = load_sums(g->col_term[u] + j + LANES * v);
#pragma GCC unroll 6
            for (int i = 0; i < mr; i++) {
                __m256i row = _mm256_set1_epi32(g->row_term[u][i0 + (size_t)i]);
                sum[i][v] = _mm256_add_epi32(sum[i][v], _mm256_mullo_epi32(row, col));
            }
        }
    }
}

static inline __attribute__((always_inline)) void finish_tile(const int mr, const int vectors, const ql_gemm_args *g,
                                                              tile_sums sum, size_t i0, size_t j, size_t cols)
{
    if (cols < (size_t)(LANES * vectors) || g->epilogue->store == QL_STORE_X8_FIXED) {
        _Alignas(32) int32_t sums[MAX_MR * MAX_VECTORS * LANES];
#pragma GCC unroll 6
        for (int i = 0; i < mr; i++) {
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                _mm256_store_si256((__m256i *)(sums + (i * vectors + v) * LANES), sum[i][v]);
        }
        ql_finish_tile(&finishers, g, sums, (size_t)(vectors * LANES), i0, (size_t)mr, j, cols);
        return;
    }
    add_row_terms(mr, vectors, g, sum, i0, j);
    if (g->epilogue->store == QL_STORE_S32)
        store_s32(mr, vectors, g, sum, i0, j);
    else if (g->epilogue->store == QL_STORE_F32)
        store_f32(mr, vectors, g, sum, i0, j);
    else
        store_x8(mr, vectors, g, sum, i0, j);
}

#endif
