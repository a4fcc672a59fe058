/* The tiles of AMX in plain C, behind the names of csrc/kernels/amxint8/tiles_amxint8.h: the same kernel, the same
 * bits, on any machine.
 *
 * Where a CPU would fault they end the process with a message: tiles without configuration, a bad one, tiles that do
 * not fit each other. They do so too where tiles that were used before are still there: kernels release them.
 * Sanitizers and guard pages see what is loaded and stored. They cannot show time, permission, and what a compiler
 * makes of the real instructions. */
#ifndef QL_TILES_EMULATED_H
#define QL_TILES_EMULATED_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EMULATED_TILES = 8, EMULATED_ROWS = 16, EMULATED_BYTES = 64 };

typedef struct emulated_tile {
    size_t rows, row_bytes; /* 0: there is none */
    uint8_t data[EMULATED_ROWS][EMULATED_BYTES];
} emulated_tile;

static _Thread_local emulated_tile emulated_tiles[EMULATED_TILES];

static inline void require(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "emulated tiles: %s\n", what);
    abort();
}

static inline emulated_tile *emulated(int t)
{
    require(emulated_tiles[t].rows > 0, "a tile that is not configured");
    return emulated_tiles + t;
}

static inline void ql_tile_release(void)
{
    memset(emulated_tiles, 0, sizeof emulated_tiles);
}

static inline void ql_tile_configure(const tile_config *config)
{
    require(emulated_tiles[0].rows == 0, "tiles that were not released");
    require(config->palette == 1 && config->start_row == 0, "an unknown palette, or a row to go on with");
    for (size_t i = 0; i < sizeof config->reserved; i++)
        require(config->reserved[i] == 0, "a reserved byte of the configuration is set");
    for (size_t t = 0; t < 16; t++) {
        const size_t rows = config->rows[t], row_bytes = config->row_bytes[t];
        require(rows <= EMULATED_ROWS && row_bytes <= EMULATED_BYTES, "a tile that is too large");
        require((rows == 0) == (row_bytes == 0), "a tile of no rows or of no bytes");
        require(t < EMULATED_TILES || rows == 0, "a tile that there is not");
        if (t < EMULATED_TILES) {
            emulated_tiles[t].rows = rows;
            emulated_tiles[t].row_bytes = row_bytes;
        }
    }
}

static inline void ql_tile_zero(int t)
{
    memset(emulated(t)->data, 0, sizeof emulated_tiles[t].data);
}

static inline void ql_tile_load(int t, const void *from, size_t stride)
{
    ql_tile_zero(t);
    for (size_t i = 0; i < emulated_tiles[t].rows; i++)
        memcpy(emulated_tiles[t].data[i], (const char *)from + i * stride, emulated_tiles[t].row_bytes);
}

static inline void ql_tile_store(int t, void *to, size_t stride)
{
    const emulated_tile *tile = emulated(t);
    for (size_t i = 0; i < tile->rows; i++)
        memcpy((char *)to + i * stride, tile->data[i], tile->row_bytes);
}

/* The sums of a row stay in a register as long as their products are added. Nothing but the tiles themselves is read
 * and written here, so that sanitizers, which see loads and stores of tiles, need not look. */
__attribute__((no_sanitize("address", "undefined"))) static inline void ql_tile_dot(int c, int a, int b,
                                                                                    bool a_is_signed)
{
    emulated_tile *sums = emulated(c);
    const emulated_tile *left = emulated(a), *right = emulated(b);
    require(c != a && a != b && b != c, "the same tile twice");
    require(sums->rows == left->rows && sums->row_bytes == right->row_bytes && left->row_bytes == 4 * right->rows,
            "tiles that do not fit each other");
    for (size_t i = 0; i < sums->rows; i++) {
        uint32_t row[EMULATED_BYTES / 4];
        memcpy(row, sums->data[i], sizeof row);
        for (size_t q = 0; q < right->rows; q++) {
            const uint8_t *codes = left->data[i] + 4 * q;
            int32_t four[4];
            for (size_t p = 0; p < 4; p++)
                four[p] = a_is_signed ? (int8_t)codes[p] : codes[p];
            const int8_t *columns = (const int8_t *)right->data[q];
            for (size_t j = 0; j < EMULATED_BYTES / 4; j++) {
                int32_t sum = 0;
                for (size_t p = 0; p < 4; p++)
                    sum += four[p] * columns[4 * j + p];
                row[j] += (uint32_t)sum;
            }
        }
        memcpy(sums->data[i], row, sizeof row);
    }
}

#endif
