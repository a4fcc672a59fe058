/* The tiles of AMX under short names: eight registers of 16 rows of 64 bytes, numbered by literals.
 *
 * Why not the intrinsics: those of gcc 12 are assembly that names too little. _tile_loadconfig says that it reads 8 of
 * the 64 bytes, _tile_loadd that it reads no memory, so stores before them are dropped or moved behind them.
 *
 * With QL_EMULATE_AMX they are functions in plain C (tests/kernels/tiles_emulated.h), for machines without. */
#ifndef QL_TILES_AMXINT8_H
#define QL_TILES_AMXINT8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config;

#ifdef QL_EMULATE_AMX
#include "tiles_emulated.h"

#define TILE_CONFIGURE(config) ql_tile_configure(config)
#define TILE_RELEASE() ql_tile_release()
#define TILE_ZERO(t) ql_tile_zero(t)
#define TILE_LOAD(t, from, stride) ql_tile_load(t, from, stride)
#define TILE_STREAM(t, from, stride) ql_tile_load(t, from, stride)
#define TILE_STORE(t, to, stride) ql_tile_store(t, to, stride)
#define TILE_DOT(c, a, b) ql_tile_dot(c, a, b, false)
#define TILE_DOT_S8(c, a, b) ql_tile_dot(c, a, b, true)
#else
#define TILE_CONFIGURE(config) __asm__ volatile("ldtilecfg %0" ::"m"(*(config)) : "memory")
#define TILE_RELEASE() __asm__ volatile("tilerelease" ::: "memory")
#define TILE_ZERO(t) __asm__ volatile("tilezero %%tmm" #t::)
#define TILE_LOAD(t, from, stride) \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t::"r"(from), "r"((size_t)(stride)) : "memory")
/* What is not to stay in L1: it comes from L2 again each time. */
#define TILE_STREAM(t, from, stride) \
    __asm__ volatile("tileloaddt1 (%0,%1,1), %%tmm" #t::"r"(from), "r"((size_t)(stride)) : "memory")
#define TILE_STORE(t, to, stride) \
    __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" ::"r"(to), "r"((size_t)(stride)) : "memory")
/* c[i][j] += sum over q < 16, p < 4 of a[i][4 * q + p] * b[q][4 * j + p], modulo 2^32: u8 x s8, and s8 x s8. */
#define TILE_DOT(c, a, b) __asm__ volatile("tdpbusd %%tmm" #b ", %%tmm" #a ", %%tmm" #c::)
#define TILE_DOT_S8(c, a, b) __asm__ volatile("tdpbssd %%tmm" #b ", %%tmm" #a ", %%tmm" #c::)
#endif

enum { TILE_COUNT = 8, TILE_ROWS = 16, TILE_ROW_BYTES = 64 };

/* Gives this thread four tiles of sums, then two of a and two of b for products of `depth` k, a multiple of 4. Another
 * configuration costs as much as 15 products. */
static inline void configure_tiles(size_t depth)
{
    tile_config config = {.palette = 1};
    for (int t = 0; t < TILE_COUNT; t++) {
        const bool is_a = t == 4 || t == 5, is_b = t > 5;
        config.row_bytes[t] = is_a ? (uint16_t)depth : TILE_ROW_BYTES;
        config.rows[t] = is_b ? (uint8_t)(depth / 4) : TILE_ROWS;
    }
    TILE_CONFIGURE(&config);
}

/* The same with whole tiles. */
static inline void configure_whole_tiles(void)
{
    configure_tiles(TILE_ROW_BYTES);
}

#endif
