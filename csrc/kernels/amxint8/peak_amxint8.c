/* tdpbusd alone, on three sums (one would do: rows of a sum are forwarded as they are ready). Rounds that fill no tile
 * are the lower instruction set's. */
#include <string.h>

#include "kernels/amxint8/amxint8.h"
#include "kernels/amxint8/tiles_amxint8.h"

#ifdef QL_EMULATE_AMX
#include "kernels/avx2/avx2.h"
#define LOWER ql_peak_u8s8s32__avx2
#else
#include "kernels/avx512vnni/avx512vnni.h"
#define LOWER ql_peak_u8s8s32__avx512vnni
#endif

enum { SUMS = 3, ROUNDS = 32, ELEMENTS = TILE_ROWS * TILE_ROW_BYTES / 4 };
_Static_assert(SUMS * ELEMENTS * TILE_ROW_BYTES == ROUNDS * QL_PEAK_ROUND, "each element of a sum has 64 products");

int32_t ql_peak_u8s8s32__amxint8(size_t rounds, uint8_t a, int8_t b)
{
    _Alignas(64) uint8_t left[TILE_ROWS * TILE_ROW_BYTES];
    _Alignas(64) int8_t right[TILE_ROWS * TILE_ROW_BYTES];
    _Alignas(64) int32_t sums[SUMS][ELEMENTS];
    memset(left, a, sizeof left);
    memset(right, b, sizeof right);
    uint32_t total = (uint32_t)LOWER(rounds % ROUNDS, a, b);
    configure_whole_tiles();
    TILE_LOAD(4, left, TILE_ROW_BYTES);
    TILE_LOAD(6, right, TILE_ROW_BYTES);
    TILE_ZERO(0);
    TILE_ZERO(1);
    TILE_ZERO(2);
    for (size_t i = 0; i < rounds / ROUNDS; i++) {
        TILE_DOT(0, 4, 6);
        TILE_DOT(1, 4, 6);
        TILE_DOT(2, 4, 6);
    }
    TILE_STORE(0, sums[0], TILE_ROW_BYTES);
    TILE_STORE(1, sums[1], TILE_ROW_BYTES);
    TILE_STORE(2, sums[2], TILE_ROW_BYTES);
    TILE_RELEASE();
    for (int s = 0; s < SUMS; s++) {
        for (int i = 0; i < ELEMENTS; i++)
            total += (uint32_t)sums[s][i];
    }
    return (int32_t)total;
}
