/* A level of the tree that has 8 nodes or fewer fits a register, where a permutation looks a node up; of 16 and 32 they
 * take two or four, and choices by the node's higher bits. Higher levels are gathered: a gather costs as much as ten
 * permutations. */
#include "kernels/avx2/lanes_avx2.h"
#include "kernels/scalar/scalar.h"

enum { FIRST_LEVELS = 3 };

static inline ints load(const void *table, int part)
{
    return _mm256_load_si256((const __m256i *)table + part);
}

/* if_set where the bit of the index is set. */
static inline ints chosen(ints index, int bit, ints if_clear, ints if_set)
{
    const floats sign = _mm256_castsi256_ps(_mm256_slli_epi32(index, 31 - bit));
    return _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(if_clear), _mm256_castsi256_ps(if_set), sign));
}

/* table[index % 8 + 8 * part]. */
static inline ints looked_up_8(const void *table, int part, ints index)
{
    return _mm256_permutevar8x32_epi32(load(table, part), index);
}

static inline ints looked_up_16(const void *table, int part, ints index)
{
    return chosen(index, 3, looked_up_8(table, 2 * part, index), looked_up_8(table, 2 * part + 1, index));
}

static inline ints looked_up(const void *table, int levels, ints index)
{
    if (levels <= 3)
        return looked_up_8(table, 0, index);
    if (levels == 4)
        return looked_up_16(table, 0, index);
    if (levels == 5)
        return chosen(index, 4, looked_up_16(table, 0, index), looked_up_16(table, 1, index));
    return _mm256_i32gather_epi32(table, index & set_s32((1 << levels) - 1), 4);
}

static inline void store_codes(uint8_t *codes, const ints *v)
{
    store_s32(codes, in_order(_mm256_packus_epi16(_mm256_packus_epi32(v[0], v[1]), _mm256_packus_epi32(v[2], v[3]))));
}

#include "kernels/x86/codebook_x86.h"

/* Above 32 values eight loads are as good as a gather: 3.2 Ge/s, 2.2 with gathers. */
void ql_dequantize_codebook_u8_f32__avx2(const uint8_t *codes, size_t n, const float *scale, size_t group,
                                         const float *values, int levels, float *x)
{
    if (levels == 4)
        dequantize_levels(codes, n, scale, group, values, 4, x);
    else if (levels == 5)
        dequantize_levels(codes, n, scale, group, values, 5, x);
    else
        ql_dequantize_codebook_u8_f32__scalar(codes, n, scale, group, values, levels, x);
}
