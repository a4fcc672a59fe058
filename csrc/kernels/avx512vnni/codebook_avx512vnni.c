/* A level of the tree that has 16 nodes or fewer fits a register, one of 32 two: a permutation looks a node up in one
 * instruction, of which higher levels take two, four, ... and choose between the results by the node's higher bits. All
 * 255 nodes together are sixteen registers' worth and sixteen lookups.
 *
 * Why not gathers: sixteen loads cost more than the seven permutations and six choices of the last level. */
#include "kernels/avx512vnni/lanes_avx512vnni.h"

enum { FIRST_LEVELS = 4 };

static inline ints load(const void *table, int part)
{
    return _mm512_load_si512((const char *)table + 64 * part);
}

/* table[index % 32 + 32 * part]. */
static inline ints looked_up_32(const void *table, int part, ints index)
{
    return _mm512_permutex2var_epi32(load(table, 2 * part), index, load(table, 2 * part + 1));
}

/* if_set where the bit of the index is set. */
static inline ints chosen(ints index, int bit, ints if_clear, ints if_set)
{
    return _mm512_mask_mov_epi32(if_clear, _mm512_test_epi32_mask(index, set_s32(1 << bit)), if_set);
}

static inline ints looked_up_64(const void *table, int part, ints index)
{
    return chosen(index, 5, looked_up_32(table, 2 * part, index), looked_up_32(table, 2 * part + 1, index));
}

static inline ints looked_up_128(const void *table, int part, ints index)
{
    return chosen(index, 6, looked_up_64(table, 2 * part, index), looked_up_64(table, 2 * part + 1, index));
}

static inline ints looked_up(const void *table, int levels, ints index)
{
    if (levels <= 4)
        return _mm512_permutexvar_epi32(index, load(table, 0));
    if (levels == 5)
        return looked_up_32(table, 0, index);
    if (levels == 6)
        return looked_up_64(table, 0, index);
    if (levels == 7)
        return looked_up_128(table, 0, index);
    return chosen(index, 7, looked_up_128(table, 0, index), looked_up_128(table, 1, index));
}

static inline void store_codes(uint8_t *codes, const ints *v)
{
#pragma GCC unroll 4
    for (int u = 0; u < 4; u++)
        store_u8(codes + u * LANES, v[u]);
}

#include "kernels/x86/codebook_x86.h"

void ql_dequantize_codebook_u8_f32__avx512vnni(const uint8_t *codes, size_t n, const float *scale, size_t group,
                                               const float *values, int levels, float *x)
{
    switch (levels) {
    case 4:
        dequantize_levels(codes, n, scale, group, values, 4, x);
        break;
    case 5:
        dequantize_levels(codes, n, scale, group, values, 5, x);
        break;
    case 6:
        dequantize_levels(codes, n, scale, group, values, 6, x);
        break;
    case 7:
        dequantize_levels(codes, n, scale, group, values, 7, x);
        break;
    default:
        dequantize_levels(codes, n, scale, group, values, 8, x);
    }
}
