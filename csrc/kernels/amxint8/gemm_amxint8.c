/* The integer product on tiles: 16 x 64 codes by 64 x 16 weights in one instruction, added to 16 x 16 exact sums.
 *
 * Shape: 2 x 2 tiles of sums, 32 x 32, which four loads serve: the best ratio that eight registers allow. Up to 16 rows
 * are 1 x 4, 16 x 64, past which b streams.
 *
 * Order: one operand stays in L1, the other streams from L2. A b of up to about 1 MB streams past 32 rows of a; of a
 * larger one a panel stays, a piece of k at a time, and rows of a stream past it. (512x4096x4096 takes 1.3 times as
 * long with 1.5 MB that stream; pieces of half the depth cost 5 to 25 %; both operands by ordinary loads, a quarter.)
 *
 * End of a tile: loads wait for the stores of tiles before them, and these for their sums. So the next tile's first
 * loads stand before the stores, and the stored sums are finished between the next tile's products, a few rows at each
 * step of k, which costs nothing measurable; after them it would cost a quarter.
 *
 * a is read in place if its rows lie on lines of memory and k is whole steps: each row across lines costs three cycles.
 * Else, and for the last rows where fewer than 16 may be read, each tile of it is copied first, once for all panels
 * that stream past it. */
#include <stdbool.h>

#include "kernels/amxint8/amxint8.h"
#include "kernels/amxint8/tiles_amxint8.h"
#include "kernels/amxint8/unit_amxint8.h"
#include "kernels/finish.h"

#ifdef QL_EMULATE_AMX
#include "kernels/avx2/avx2.h"
#include "lower_emulated.h"
#define FINISHER(name) ql_##name##__avx2
#define LOWER ql_gemm_u8s8s32__emulated
#else
#include "kernels/avx512vnni/avx512vnni.h"
#define FINISHER(name) ql_##name##__avx512vnni
#define LOWER ql_gemm_u8s8s32__avx512vnni
#endif

#define INLINE static inline __attribute__((always_inline))

enum {
    ROWS = 16,                /* of a tile */
    STEP = 64,                /* k of a tile */
    NR = 32,                  /* columns of a panel */
    KR = 4,                   /* k that lie together in a panel */
    LINE = 64,                /* bytes */
    TILE_BYTES = ROWS * STEP, /* of a packed tile of a */
    PANEL_STEP = NR * STEP,   /* bytes of a panel for each step of k */
    PANEL_ROW = NR * KR,      /* bytes from row to row of a tile of b */
    SUMS = 32 * 32,           /* of all tiles of sums: 2 x 2 or 1 x 4 */
    PIECE = 1024 / STEP,      /* steps of k whose 32 rows or columns stay in L1: 32 KB of 48 */
    KEPT = 16,                /* most pairs of tiles whose sums wait for the next piece of k */
    STAY_BYTES = 1024 * 1024  /* of what streams from an L2 of 2 MB */
};

static const ql_finishers finishers = {FINISHER(add_outer_s32),           FINISHER(add_residual_u8_s32),
                                       FINISHER(scale_s32_f32),           FINISHER(requantize_s32_x8),
                                       FINISHER(requantize_fixed_s32_x8), FINISHER(curve_s32_x8)};

INLINE size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- the walk through a range ------------------------------------------------------------------- */

typedef enum stays { A_STAYS, B_STAYS } stays;

/* Tiles of one shape: `outer` and `inner` number rows of tiles and columns of them, or the other way round. */
typedef struct walk {
    const ql_gemm_args *g;
    size_t row, rows, col, cols; /* the range */
    size_t segment_steps, steps; /* of k: of one segment, of all */
    size_t piece;                /* steps at a time */
    size_t outer_end, inner_end;
    size_t group;  /* inner ones that follow each other for each piece of k */
    bool in_place; /* a may be read where it lies */
    bool keeps;    /* or its copies serve all tiles of a group */
} walk;

/* A visit to a tile: a piece of its k. */
typedef struct visit {
    size_t outer, first, inner, step; /* first: of the group */
} visit;

/* Goes on to the next one; false: there is none. */
INLINE bool advance(const walk *w, visit *v)
{
    const size_t end = least(w->inner_end, v->first + w->group);
    if (++v->inner < end)
        return true;
    v->step += w->piece;
    if (v->step >= w->steps) {
        v->step = 0;
        v->first = end;
    }
    if (v->first == w->inner_end) {
        v->first = 0;
        v->outer++;
    }
    v->inner = v->first;
    return v->outer < w->outer_end;
}

/* Finished sums, or those that wait for it. */
typedef struct pending {
    size_t i, rows, j, cols; /* where they go */
    size_t shift[2];         /* how many rows too early each row of tiles began */
} pending;

/* The operands of a tile at its next step of k. */
typedef struct operands {
    const uint8_t *a[2];      /* each row of tiles, without the segment's offset */
    size_t a_rows[2];         /* of which so many are there; ROWS if it is read in place */
    size_t segment, step;     /* step: of the segment */
    size_t slot;              /* of its copies, of those that are kept */
    const int8_t *b;          /* the first panel */
    bool in_place, is_copied; /* is_copied: an earlier tile of the group has done it */
} operands;

/* Places a row of tiles: earlier by some rows if that makes it whole. */
INLINE void place_rows(const walk *w, size_t i, size_t end, int t, operands *x, pending *to)
{
    const ql_gemm_args *g = w->g;
    const size_t whole = i + ROWS <= g->a_rows ? i : g->a_rows >= ROWS ? g->a_rows - ROWS : SIZE_MAX;
    const size_t first = w->in_place && whole != SIZE_MAX ? whole : i;
    x->in_place &= whole != SIZE_MAX;
    x->a[t] = (const uint8_t *)g->a + first * g->a_stride;
    x->a_rows[t] = least(ROWS, end - first);
    to->shift[t] = i - first;
}

INLINE void place(const int row_tiles, const int panels, const stays which, const walk *w, const visit *v, operands *x,
                  pending *to)
{
    const size_t height = (size_t)(row_tiles * ROWS), width = (size_t)(panels * NR);
    const size_t end = w->row + w->rows;
    to->i = w->row + (which == A_STAYS ? v->outer : v->inner) * height;
    to->j = w->col + (which == A_STAYS ? v->inner : v->outer) * width;
    to->rows = least(height, end - to->i);
    to->cols = least(width, w->col + w->cols - to->j);
    x->in_place = w->in_place;
    x->is_copied = w->keeps && v->inner > v->first;
    x->slot = 0;
    place_rows(w, to->i, end, 0, x, to);
    if (row_tiles == 2)
        place_rows(w, to->i + ROWS, end, 1, x, to);
    x->segment = v->step / w->segment_steps;
    x->step = v->step % w->segment_steps;
    x->b = w->g->b + to->j / NR * w->g->panel_stride + v->step * PANEL_STEP;
}

/* ---- one step of k ------------------------------------------------------------------------------ */

/* Copies a tile of a, no more than there is: what stays behind k meets weights of 0. (A length that is known is copied
 * by two instructions.) */
static __attribute__((noinline)) void copy_tile(const walk *w, const operands *x, int t, uint8_t *tile)
{
    const size_t from = x->step * STEP, k = least(STEP, w->g->k - from);
    const uint8_t *row = x->a[t] + w->g->offset[x->segment] + from;
    for (size_t i = 0; i < x->a_rows[t]; i++, row += w->g->a_stride, tile += STEP) {
        if (k == STEP)
            memcpy(tile, row, STEP);
        else
            memcpy(tile, row, k);
    }
}

typedef uint8_t step_copies[2][TILE_BYTES]; /* of both rows of tiles */

/* Returns where a tile of a lies, and how far apart its rows are. */
INLINE const uint8_t *tile_of_a(const walk *w, const operands *x, int t, step_copies *copies, size_t *stride)
{
    if (x->in_place) {
        *stride = w->g->a_stride;
        return x->a[t] + w->g->offset[x->segment] + x->step * STEP;
    }
    uint8_t *tile = copies[x->slot][t];
    if (!x->is_copied)
        copy_tile(w, x, t, tile);
    *stride = STEP;
    return tile;
}

/* Loads tiles 4 and 5 of a, 6 and 7 of b. The four of b of two panels do not fit in: the second panel's replace those
 * of the first, between the products. */
INLINE void load_step(const int row_tiles, const stays which, const walk *w, const operands *x, step_copies *copies)
{
    size_t stride[2];
    const uint8_t *a[2] = {tile_of_a(w, x, 0, copies, stride), NULL};
    if (row_tiles == 2)
        a[1] = tile_of_a(w, x, 1, copies, stride + 1);
    if (which == A_STAYS) {
        TILE_STREAM(6, x->b, PANEL_ROW);
        TILE_LOAD(4, a[0], stride[0]);
        if (row_tiles == 2)
            TILE_LOAD(5, a[1], stride[1]);
        TILE_STREAM(7, x->b + LINE, PANEL_ROW);
    } else {
        TILE_LOAD(6, x->b, PANEL_ROW);
        TILE_STREAM(4, a[0], stride[0]);
        if (row_tiles == 2)
            TILE_STREAM(5, a[1], stride[1]);
        TILE_LOAD(7, x->b + LINE, PANEL_ROW);
    }
}

INLINE void multiply_step(const int row_tiles, const int panels, const walk *w, operands *x)
{
    TILE_DOT(0, 4, 6);
    if (row_tiles == 2) {
        TILE_DOT(2, 5, 6);
        TILE_DOT(1, 4, 7);
        TILE_DOT(3, 5, 7);
    } else if (panels == 2) {
        TILE_STREAM(6, x->b + w->g->panel_stride, PANEL_ROW);
        TILE_DOT(1, 4, 7);
        TILE_STREAM(7, x->b + w->g->panel_stride + LINE, PANEL_ROW);
        TILE_DOT(2, 4, 6);
        TILE_DOT(3, 4, 7);
    } else {
        TILE_DOT(1, 4, 7);
    }
    x->b += PANEL_STEP;
    x->slot += w->keeps;
    if (++x->step == w->segment_steps) {
        x->step = 0;
        x->segment++;
    }
}

/* ---- sums --------------------------------------------------------------------------------------- */

/* Rows of tiles lie one below the other, panels side by side. */
INLINE void store_sums(const int row_tiles, const int panels, int32_t *sums)
{
    const size_t stride = (size_t)(panels * NR) * sizeof *sums;
    TILE_STORE(0, sums, stride);
    if (row_tiles == 2)
        TILE_STORE(2, sums + ROWS * NR, stride);
    TILE_STORE(1, sums + 16, stride);
    if (row_tiles == 2)
        TILE_STORE(3, sums + ROWS * NR + 16, stride);
    if (panels == 2) {
        TILE_STORE(2, sums + 32, stride);
        TILE_STORE(3, sums + 48, stride);
    }
}

/* Zeros, or the sums of the pieces of k before. */
INLINE void start_sums(const int row_tiles, const int panels, bool is_first, const int32_t *sums)
{
    if (is_first) {
        TILE_ZERO(0);
        TILE_ZERO(1);
        if (row_tiles * panels == 2) {
            TILE_ZERO(2);
            TILE_ZERO(3);
        }
    } else { /* two rows of tiles alone: others take k in one piece */
        TILE_LOAD(0, sums, NR * sizeof *sums);
        TILE_LOAD(2, sums + ROWS * NR, NR * sizeof *sums);
        TILE_LOAD(1, sums + 16, NR * sizeof *sums);
        TILE_LOAD(3, sums + ROWS * NR + 16, NR * sizeof *sums);
    }
}

/* Finishes rows first..last - 1 of a tile. */
static void finish_rows(const ql_gemm_args *g, const pending *done, int32_t *sums, size_t stride, size_t first,
                        size_t last)
{
    static const int32_t ones[ROWS] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    for (size_t end; first < last; first = end) {
        end = first < ROWS ? least(last, ROWS) : last;
        int32_t *at = sums + (first + done->shift[first >= ROWS]) * stride;
        finishers.add_outer(at, stride, end - first, done->cols, ones, g->start + done->j);
        ql_finish_tile(&finishers, g, at, stride, done->i + first, end - first, done->j, done->cols);
    }
}

/* ---- all of it ---------------------------------------------------------------------------------- */

/* Fetches some of the piece of b that comes after this one into L2: each tile of a group its share. */
INLINE void prefetch(const int8_t *ahead, size_t lines)
{
    for (size_t l = 0; l < lines; l++)
        __builtin_prefetch(ahead + l * LINE, 0, 2);
}

INLINE void walk_tiles(const int row_tiles, const int panels, const stays which, const walk *w)
{
    _Alignas(LINE) int32_t scratch[SUMS], kept[KEPT * SUMS];
    _Alignas(LINE) step_copies copies[PIECE]; /* not set to zero: the rest of a tile does not count */
    const size_t stride = (size_t)(panels * NR);
    visit now = {0, 0, 0, 0};
    operands x;
    pending next, done = {.rows = 0};
    place(row_tiles, panels, which, w, &now, &x, &next);
    load_step(row_tiles, which, w, &x, copies);
    for (bool goes_on = true; goes_on;) {
        const size_t count = least(w->piece, w->steps - now.step), share = (done.rows + count - 1) / count;
        const size_t inner = now.inner - now.first;
        const size_t lines = which == B_STAYS ? PANEL_STEP / LINE / w->group + 1 : 0;
        const int8_t *ahead = x.b + count * PANEL_STEP + inner * lines * LINE * count;
        const bool is_last = now.step + count == w->steps;
        int32_t *own = kept + least(inner, KEPT - 1) * SUMS; /* of longer groups k is one piece */
        int32_t *sums = is_last ? scratch : own;
        start_sums(row_tiles, panels, now.step == 0, own);
        size_t r = 0;
        for (size_t p = 0; p < count; p++, ahead += lines * LINE) {
            prefetch(ahead, lines);
            if (p > 0)
                load_step(row_tiles, which, w, &x, copies);
            multiply_step(row_tiles, panels, w, &x);
            const size_t end = least(done.rows, r + share);
            if (r < end)
                finish_rows(w->g, &done, scratch, stride, r, end);
            r = end;
        }
        done.rows = 0;
        if (is_last)
            done = next;
        goes_on = advance(w, &now);
        if (goes_on) {
            place(row_tiles, panels, which, w, &now, &x, &next);
            load_step(row_tiles, which, w, &x, copies);
        }
        store_sums(row_tiles, panels, sums);
    }
    finish_rows(w->g, &done, scratch, stride, 0, done.rows);
}

static void walk_tall_a_stays(const walk *w)
{
    walk_tiles(2, 1, A_STAYS, w);
}

static void walk_tall_b_stays(const walk *w)
{
    walk_tiles(2, 1, B_STAYS, w);
}

static void walk_wide(const walk *w)
{
    walk_tiles(1, 2, A_STAYS, w);
}

static void walk_narrow(const walk *w)
{
    walk_tiles(1, 1, A_STAYS, w);
}

/* Rows by two of tiles. */
static void multiply_tall(walk w)
{
    const size_t pairs = (w.rows + 2 * ROWS - 1) / (2 * ROWS), panels = (w.cols + NR - 1) / NR;
    const bool b_streams = panels * w.steps * PANEL_STEP <= STAY_BYTES + STAY_BYTES / 4;
    w.outer_end = b_streams ? pairs : panels;
    w.inner_end = b_streams ? panels : pairs;
    w.piece = least(PIECE, w.steps);
    w.group = w.piece < w.steps ? least(KEPT, w.inner_end) : w.inner_end;
    w.keeps = b_streams && w.group > 1;
    if (b_streams)
        walk_tall_a_stays(&w);
    else
        walk_tall_b_stays(&w);
}

/* Up to 16 rows: two panels at once, and a last one that is alone. */
static void multiply_flat(walk w)
{
    const size_t pairs = w.cols / (2 * NR) + (w.cols % (2 * NR) > NR), paired = least(w.cols, pairs * 2 * NR);
    const walk all = w;
    w.outer_end = 1;
    w.piece = w.steps;
    w.inner_end = w.group = pairs;
    w.keeps = pairs > 1 && w.steps <= PIECE;
    w.cols = paired;
    if (pairs)
        walk_wide(&w);
    w.col += paired;
    w.cols = all.cols - paired;
    w.inner_end = w.group = 1;
    w.keeps = false;
    if (w.cols)
        walk_narrow(&w);
}

static bool lies_on_lines(const ql_gemm_args *g)
{
    size_t all = (size_t)(uintptr_t)g->a | g->a_stride;
    for (size_t t = 0; t < g->segments; t++)
        all |= g->offset[t];
    return all % LINE == 0;
}

static void multiply(const ql_gemm_args *g, size_t i, size_t rows, size_t j, size_t cols)
{
    ql_gemm_args own = *g; /* which no store into c can change */
    if (rows == 1) {       /* it is read as all rows of a tile */
        own.a = (const uint8_t *)g->a + i * g->a_stride;
        own.a_stride = 0;
        own.a_rows = i + ROWS;
    }
    const size_t segment_steps = (g->k + STEP - 1) / STEP;
    const walk w = {.g = &own,
                    .row = i,
                    .rows = rows,
                    .col = j,
                    .cols = cols,
                    .segment_steps = segment_steps,
                    .steps = g->segments * segment_steps,
                    .in_place = g->k % STEP == 0 && lies_on_lines(&own)};
    const size_t left = rows % (2 * ROWS), flat = left <= ROWS ? left : 0;
    walk tall = w, last = w;
    tall.rows = rows - flat;
    last.row = i + tall.rows;
    last.rows = flat;
    if (tall.rows)
        multiply_tall(tall);
    if (flat)
        multiply_flat(last);
}

/* ---- the unit ----------------------------------------------------------------------------------- */

/* Released tiles are not saved when threads change, and the core may sleep deeper. */
static void end(void)
{
    TILE_RELEASE();
    ql_unit_note_use__amxint8();
}

static uint32_t row(const uint8_t *a, size_t k, uint8_t flip, size_t padded, void *out)
{
    return LOWER.row(a, k, flip, padded, out);
}

static const ql_gemm_ranges ranges = {.is_worth = ql_unit_is_worth__amxint8,
                                      .begin = configure_whole_tiles,
                                      .end = end,
                                      .run = multiply,
                                      .rows = ROWS,
                                      .stay_bytes = STAY_BYTES};

const ql_gemm_kernels ql_gemm_u8s8s32__amxint8 = {
    .mr = 2 * ROWS, .nr = NR, .kr = KR, .depth = STEP, .a_size = 1, .row = row, .ranges = &ranges, .lower = &LOWER};
