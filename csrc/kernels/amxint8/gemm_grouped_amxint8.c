/* The product with grouped weights on tiles: signed weights by signed codes of rows.
 *
 * A panel's weights become s8 less their zero points, a piece of k at a time, once for all rows: what is unpacked stays
 * in L1, and rows of codes, which lie on lines of memory, stream past it. Unpacking 4096x4096 takes 0.16 ms, a product
 * of 128 rows with them 3 to 5.
 *
 * Groups: each has sums of its own, which go by way of memory to float totals. In groups of 64 k, or a multiple, each
 * product is as deep as tiles can be; others fill half of it, which takes as long. A prototype, with one tile of sums
 * at a time, was from 32 rows on 1.3 to 2 times as fast as vpdpbusd in groups of 32, in groups of 128 1.8 to 2.7 times;
 * with 16 rows 0.9 to 1.2 times.
 *
 * Shape and end of a group as in gemm_amxint8.c: 2 x 2 tiles of sums, the next group's first loads before the stores,
 * and stored sums added to the totals between the next group's products.
 *
 * Left to the lower instruction set: codes of 8 bits with a zero point, which can differ by more than s8 holds, and
 * groups that are no multiple of 32. */
#include <stdbool.h>
#include <string.h>

#include "kernels/amxint8/amxint8.h"
#include "kernels/amxint8/tiles_amxint8.h"
#include "kernels/amxint8/unit_amxint8.h"

#ifdef QL_EMULATE_AMX
#include "kernels/avx2/avx2.h"
#include "lower_emulated.h"
#define LOOK_UP ql_lookup_x8__avx2
#define LOWER ql_gemm_s8s4f32__emulated
enum { LEAST_ROWS = 1 };
#else
#include "kernels/avx512vbmi/avx512vbmi.h"
#include "kernels/avx512vnni/avx512vnni.h"
#define LOOK_UP ql_lookup_x8__avx512vbmi
#define LOWER ql_gemm_s8s4f32__avx512vnni
enum { LEAST_ROWS = 32 };
#endif

#define INLINE static inline __attribute__((always_inline))

enum {
    NR = 32,               /* columns of a panel */
    STEP = TILE_ROW_BYTES, /* k of a product; of groups of 32 half of it */
    HALF = 4 * NR,         /* bytes of a panel that hold its first four k of eight, or of 4 bits all eight */
    PIECE = 1024,          /* k of a panel that stay in L1: 32 KB of 48 */
    BLOCK = 128,           /* rows whose totals are kept: 16 KB, and as much of sums of groups longer than a piece */
    SHIFT = 128            /* that LOWER adds to signed weights */
};

INLINE size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

INLINE size_t divided_up(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

/* Neighbouring groups of a panel, or a part of one that is longer, and rows to multiply with them. */
typedef struct piece {
    const ql_grouped_panel *panel;
    const uint8_t *codes;  /* the first group's */
    const float *scale;    /* the first group's, and behind them its zero points */
    size_t group_bytes;    /* from one group to the next */
    size_t groups, length; /* k of each */
    size_t steps, depth;   /* products of each, k of a product */
    bool is_begin, is_end; /* of groups: else sums go on from those that were kept, or are kept */
    const int8_t *a;       /* codes of the first row for the first group */
    size_t stride, rows;   /* of a */
    int8_t *weights;       /* [groups][steps][depth / 4][NR][4], unpacked */
    int32_t (*kept)[NR];   /* sums of a part of a group */
    float (*total)[NR];
} piece;

INLINE const float *scale_of(const piece *w, size_t group)
{
    return (const float *)((const char *)w->scale + group * w->group_bytes);
}

/* ---- weights as s8 ------------------------------------------------------------------------------ */

/* Codes of 4 bits less the zero point of their column. */
static void unpack_codes(const uint8_t *restrict codes, size_t length, const int8_t *restrict zero_point,
                         int8_t *restrict to)
{
    for (const uint8_t *end = codes + length * NR / 2; codes != end; codes += HALF, to += 2 * HALF) {
        for (size_t i = 0; i < HALF; i++) {
            to[i] = (int8_t)((codes[i] & 15) - zero_point[i]);
            to[HALF + i] = (int8_t)((codes[i] >> 4) - zero_point[i]);
        }
    }
}

/* Zero points of columns, each as often as neighbours along k lie together. */
static void spread_zero_points(const ql_grouped_panel *b, const int16_t *own, uint32_t *restrict to)
{
    const int32_t shared = b->form == QL_WEIGHTS_TABLE ? 0 : b->shared_zero_point;
    for (size_t j = 0; j < NR; j++)
        to[j] = (uint8_t)(b->has_zero_point ? own[j] : shared) * UINT32_C(0x01010101);
}

/* Unpacks a piece; behind each group zeros up to whole products. */
static void unpack(const piece *w)
{
    const ql_grouped_panel *b = w->panel;
    const size_t padding = w->steps * w->depth - w->length;
    uint8_t table[256] = {0};
    memcpy(table, b->table, 16);
    int8_t *to = w->weights;
    for (size_t g = 0; g < w->groups; g++) {
        const uint8_t *codes = w->codes + g * w->group_bytes;
        if (b->form == QL_WEIGHTS_S8) {
            memcpy(to, codes, w->length * NR);
        } else {
            uint32_t zero_point[NR];
            spread_zero_points(b, (const int16_t *)(scale_of(w, g) + NR), zero_point);
            unpack_codes(codes, w->length, (const int8_t *)zero_point, to);
        }
        if (b->form == QL_WEIGHTS_TABLE)
            LOOK_UP((const uint8_t *)to, w->length * NR, table, (uint8_t *)to);
        to += w->length * NR;
        memset(to, 0, padding * NR);
        to += padding * NR;
    }
}

/* ---- the walk through a piece ------------------------------------------------------------------- */

/* Rows of sums of a group that wait to be added to the totals. */
typedef struct pending {
    const float *scale;
    float (*total)[NR];
    size_t rows;
} pending;

static void add_sums(int32_t (*restrict sums)[NR], const float *restrict scale, size_t rows,
                     float (*restrict total)[NR])
{
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < NR; j++)
            total[i][j] += (float)sums[i][j] * scale[j];
    }
}

/* Loads tiles 4 and 5 of a, 6 and 7 of b. */
INLINE void load_step(const int row_tiles, const piece *w, size_t i, size_t group, size_t step)
{
    const int8_t *a = w->a + i * w->stride + group * w->length + step * w->depth;
    const int8_t *b = w->weights + (group * w->steps + step) * w->depth * NR;
    TILE_LOAD(6, b, HALF);
    TILE_STREAM(4, a, w->stride);
    if (row_tiles == 2)
        TILE_STREAM(5, a + TILE_ROWS * w->stride, w->stride);
    TILE_LOAD(7, b + HALF / 2, HALF);
}

INLINE void multiply_step(const int row_tiles)
{
    TILE_DOT_S8(0, 4, 6);
    if (row_tiles == 2)
        TILE_DOT_S8(2, 5, 6);
    TILE_DOT_S8(1, 4, 7);
    if (row_tiles == 2)
        TILE_DOT_S8(3, 5, 7);
}

INLINE void start_sums(const int row_tiles)
{
    TILE_ZERO(0);
    TILE_ZERO(1);
    if (row_tiles == 2) {
        TILE_ZERO(2);
        TILE_ZERO(3);
    }
}

INLINE void load_sums(const int row_tiles, int32_t (*sums)[NR])
{
    TILE_LOAD(0, sums[0], sizeof *sums);
    TILE_LOAD(1, sums[0] + NR / 2, sizeof *sums);
    if (row_tiles == 2) {
        TILE_LOAD(2, sums[TILE_ROWS], sizeof *sums);
        TILE_LOAD(3, sums[TILE_ROWS] + NR / 2, sizeof *sums);
    }
}

INLINE void store_sums(const int row_tiles, int32_t (*sums)[NR])
{
    TILE_STORE(0, sums[0], sizeof *sums);
    if (row_tiles == 2)
        TILE_STORE(2, sums[TILE_ROWS], sizeof *sums);
    TILE_STORE(1, sums[0] + NR / 2, sizeof *sums);
    if (row_tiles == 2)
        TILE_STORE(3, sums[TILE_ROWS] + NR / 2, sizeof *sums);
}

/* Rows from `row` on, by one row of tiles or two. */
INLINE void multiply_rows(const int row_tiles, const piece *w, size_t row)
{
    _Alignas(64) int32_t scratch[2 * TILE_ROWS][NR];
    const size_t height = (size_t)row_tiles * TILE_ROWS, share = divided_up(height, w->steps);
    pending done = {.rows = 0};
    size_t group = 0;
    load_step(row_tiles, w, row, group, 0);
    while (row < w->rows) {
        const pending next = {scale_of(w, group), w->total + row, w->is_end ? least(height, w->rows - row) : 0};
        int32_t (*kept)[NR] = w->kept + row;
        if (w->is_begin)
            start_sums(row_tiles);
        else
            load_sums(row_tiles, kept);
        for (size_t step = 0, r = 0; step < w->steps; step++) {
            if (step > 0)
                load_step(row_tiles, w, row, group, step);
            multiply_step(row_tiles);
            const size_t last = least(done.rows, r + share);
            add_sums(scratch + r, done.scale, last - r, done.total + r);
            r = last;
        }
        if (++group == w->groups) {
            group = 0;
            row += height;
        }
        if (row < w->rows)
            load_step(row_tiles, w, row, group, 0);
        store_sums(row_tiles, w->is_end ? scratch : kept);
        done = next;
    }
    add_sums(scratch, done.scale, done.rows, done.total);
}

static void multiply_piece(const piece *w)
{
    const size_t left = w->rows % (2 * TILE_ROWS), flat = left <= TILE_ROWS ? left : 0;
    piece tall = *w;
    tall.rows -= flat;
    if (tall.rows)
        multiply_rows(2, &tall, 0);
    if (flat)
        multiply_rows(1, w, tall.rows);
}

/* ---- all of it ---------------------------------------------------------------------------------- */

static void finish_rows(float (*restrict total)[NR], const float *restrict row_scale, size_t rows, size_t cols,
                        const ql_grouped_result *c)
{
    for (size_t i = 0; i < rows; i++) {
        float line[NR];
        for (size_t j = 0; j < NR; j++) {
            float v = total[i][j] * row_scale[i];
            v = v + c->offset[j];
            v = v < c->low ? c->low : v;
            line[j] = v > c->high ? c->high : v;
        }
        memcpy(c->y + i * c->y_stride, line, cols * sizeof *line);
    }
}

/* Returns the k of a product. A panel of one group is padded to whole ones, whatever its length. */
static size_t depth_of(const ql_grouped_panel *b)
{
    return b->group == b->k || b->group % STEP == 0 ? STEP : STEP / 2;
}

static void multiply_block(const ql_grouped_panel *b, const ql_grouped_rows *a, size_t rows, size_t cols,
                           const ql_grouped_result *c)
{
    _Alignas(64) int8_t weights[PIECE * NR];
    _Alignas(64) int32_t kept[BLOCK][NR];
    _Alignas(64) float total[BLOCK][NR];
    const size_t depth = depth_of(b), code_bytes = b->form == QL_WEIGHTS_S8 ? NR : NR / 2;
    const size_t parameter_bytes = NR * (sizeof(float) + (b->has_zero_point ? sizeof(int16_t) : 0));
    const uint8_t *data = b->data;
    memset(total, 0, rows * sizeof *total);
    for (size_t begin = 0, from = 0; begin < b->k;) {
        const size_t group = least(b->group, b->k - begin), length = least(PIECE, group - from);
        const size_t steps = divided_up(length, depth);
        const piece w = {.panel = b,
                         .codes = data + from * code_bytes,
                         .scale = (const float *)(data + group * code_bytes),
                         .group_bytes = group * code_bytes + parameter_bytes,
                         .groups = group > PIECE ? 1 : least(PIECE / (steps * depth), (b->k - begin) / group),
                         .length = length,
                         .steps = steps,
                         .depth = depth,
                         .is_begin = from == 0,
                         .is_end = from + length == group,
                         .a = a->codes + begin + from,
                         .stride = a->stride,
                         .rows = rows,
                         .weights = weights,
                         .kept = kept,
                         .total = total};
        unpack(&w);
        multiply_piece(&w);
        from += length;
        if (w.is_end) {
            data += w.groups * w.group_bytes;
            begin += w.groups * group;
            from = 0;
        }
    }
    finish_rows(total, a->scale, rows, cols, c);
}

static void multiply(const ql_grouped_panel *b, const ql_grouped_rows *a, size_t rows, size_t cols,
                     const ql_grouped_result *c)
{
    const size_t pairs = divided_up(rows, 2 * TILE_ROWS), blocks = divided_up(rows, BLOCK);
    const size_t step = divided_up(pairs, blocks) * 2 * TILE_ROWS;
    for (size_t i = 0; i < rows; i += step) {
        ql_grouped_rows own_a = *a;
        ql_grouped_result own_c = *c;
        own_a.codes += i * a->stride;
        own_a.scale += i;
        own_c.y += i * c->y_stride;
        multiply_block(b, &own_a, least(step, rows - i), cols, &own_c);
    }
}

static bool is_worth(const ql_grouped_panel *b, size_t rows, uint64_t macs)
{
    const bool are_deep = b->group == b->k || b->group % (STEP / 2) == 0;
    const bool fit_s8 = b->form != QL_WEIGHTS_S8 || (!b->has_zero_point && b->shared_zero_point == SHIFT);
    return are_deep && fit_s8 && rows >= LEAST_ROWS && ql_unit_is_worth__amxint8(macs);
}

static void begin(const ql_grouped_panel *b)
{
    configure_tiles(depth_of(b));
}

static void end(void)
{
    TILE_RELEASE();
    ql_unit_note_use__amxint8();
}

static const ql_gemm_grouped_ranges ranges = {
    .is_worth = is_worth, .begin = begin, .end = end, .run = multiply, .rows = TILE_ROWS};

const ql_gemm_grouped_kernels ql_gemm_s8s4f32__amxint8 = {
    .mr = 2 * TILE_ROWS, .nr = NR, .shift = {0, SHIFT, SHIFT}, .ranges = &ranges, .lower = &LOWER};
