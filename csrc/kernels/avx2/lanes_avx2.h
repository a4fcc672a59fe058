/* The vocabulary of kernels/x86 for AVX2: eight lanes of 32 bits. Not part of avx2.h, which is read without the flags
 * for these instructions. kernels/avx512vnni/lanes_avx512vnni.h defines the same words. */
#ifndef QL_LANES_AVX2_H
#define QL_LANES_AVX2_H

#include <immintrin.h>
#include <string.h>

#include "kernels/avx2/avx2.h"

enum { LANES = 8, REGISTERS = 16 };

/* Dividing 8 values takes 3 to 5 cycles (Zen 3, Golden Cove), beside other work: of fake-quantizing it is as fast as
 * three multiplications, or faster (in L2 6.2 against 5.6 Ge/s on Zen 3). */
enum { DIVISION_IS_SLOW = false };

typedef __m256 floats;     /* + - * / are those of the lanes */
typedef __m256i ints;      /* & | ^ too */
typedef __m256i lane_mask; /* all ones where it holds, and | */

#define load_f32 _mm256_loadu_ps
#define store_f32 _mm256_storeu_ps
#define set_f32 _mm256_set1_ps
#define set_s64 _mm256_set1_epi64x
#define set_s32 _mm256_set1_epi32
#define set_s16 _mm256_set1_epi16
#define set_s8 _mm256_set1_epi8

/* min and max give b where a or b is NaN. */
#define min_f32 _mm256_min_ps
#define max_f32 _mm256_max_ps
#define fma_f32 _mm256_fmadd_ps   /* a * b + c, rounded once */
#define fnma_f32 _mm256_fnmadd_ps /* c - a * b, rounded once */
#define to_f32 _mm256_cvtepi32_ps
#define to_s32 _mm256_cvtps_epi32 /* half to even; what does not fit gives INT32_MIN */

#define add_s64 _mm256_add_epi64
#define add_s32 _mm256_add_epi32
#define sub_s32 _mm256_sub_epi32
#define mul_s32 _mm256_mullo_epi32
#define min_s32 _mm256_min_epi32
#define max_s32 _mm256_max_epi32
#define max_u32 _mm256_max_epu32
#define adds_s16 _mm256_adds_epi16 /* saturating */
#define add_s16 _mm256_add_epi16
#define mul_low_s16 _mm256_mullo_epi16
#define mul_high_s16 _mm256_mulhi_epi16
#define sub_s16 _mm256_sub_epi16
#define mul_s16 _mm256_mullo_epi16 /* the low 16 bits */
#define subs_u16 _mm256_subs_epu16 /* saturating */
#define min_u16 _mm256_min_epu16
#define min_s16 _mm256_min_epi16
#define min_u8 _mm256_min_epu8
#define max_u8 _mm256_max_epu8
#define min_s8 _mm256_min_epi8
#define max_s8 _mm256_max_epi8

/* Shifts by a number, and by each lane's own. */
#define shift_left_64 _mm256_slli_epi64
#define shift_right_64 _mm256_srli_epi64
#define shift_right_32 _mm256_srli_epi32
#define shift_right_s32 _mm256_srai_epi32
#define shift_left_each_32 _mm256_sllv_epi32
#define shift_right_each_s32 _mm256_srav_epi32

#define mul_even_s32 _mm256_mul_epi32 /* even lanes, to 64 bits */

/* Saturating, within 128 bits. */
#define pack_s32 _mm256_packs_epi32
#define pack_s16 _mm256_packs_epi16
#define pack_u8 _mm256_packus_epi16 /* of s16 */

/* Bytes of a and b in turn, or 16 bits of them, within 128 bits: of the low and of the high half. */
#define unpack_low_8 _mm256_unpacklo_epi8
#define unpack_high_8 _mm256_unpackhi_epi8
#define unpack_low_16 _mm256_unpacklo_epi16
#define unpack_high_16 _mm256_unpackhi_epi16

/* Sums of two neighbouring products: s16 to 32 bits; u8 by s8 to 16 bits, saturating. */
#define multiply_pairs_s16 _mm256_madd_epi16
#define multiply_pairs_u8s8 _mm256_maddubs_epi16

static inline ints shift_right_s16(ints v, int n)
{
    return _mm256_sra_epi16(v, _mm_cvtsi32_si128(n));
}

static inline ints load_s32(const void *p)
{
    return _mm256_loadu_si256(p);
}

static inline void store_s32(void *p, ints v)
{
    _mm256_storeu_si256(p, v);
}

static inline ints shift_right_16(ints v, int n)
{
    return _mm256_srl_epi16(v, _mm_cvtsi32_si128(n));
}

static inline ints load_s16(const void *p)
{
    return _mm256_cvtepi16_epi32(_mm_loadu_si128(p));
}

static inline ints load_u8(const uint8_t *p)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
}

/* The low byte of each lane, the first one lowest. */
static inline __m128i low_bytes(ints v)
{
    const ints quads = _mm256_shuffle_epi8(v, _mm256_set1_epi32(0x0c080400));
    return _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(quads, _mm256_setr_epi32(0, 4, 0, 4, 0, 4, 0, 4)));
}

static inline void store_u8(uint8_t *p, ints v)
{
    _mm_storel_epi64((__m128i *)p, low_bytes(v));
}

/* Bytes that were packed twice, in the order of the lanes that they come from. */
static inline ints in_order(ints bytes)
{
    return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* The bytes of a and then of b, which hold 0 to 255 in 16 bits. */
static inline ints bytes_in_order(ints a, ints b)
{
    return _mm256_permute4x64_epi64(_mm256_packus_epi16(a, b), 0xD8);
}

static inline ints even_and_odd_lanes(ints even, ints odd)
{
    return _mm256_blend_epi32(even, odd, 0xAA);
}

/* Rounded down; what does not fit gives INT32_MIN. */
static inline ints floor_s32(floats x)
{
    return _mm256_cvtps_epi32(_mm256_floor_ps(x));
}

/* ---- masks ---------------------------------------------------------------------------------------- */

static inline lane_mask ordered_lanes(floats x)
{
    return _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_ORD_Q));
}

static inline lane_mask nan_lanes(floats x)
{
    return _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}

/* NaN in a or in b. */
static inline lane_mask unordered_lanes(floats a, floats b)
{
    return _mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_UNORD_Q));
}

static inline lane_mask less_f32(floats a, floats b)
{
    return _mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_LT_OQ));
}

static inline lane_mask equal_f32(floats a, floats b)
{
    return _mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_EQ_OQ));
}

static inline lane_mask at_least_f32(floats a, floats b)
{
    return _mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_GE_OQ));
}

static inline lane_mask less_s32(ints a, ints b)
{
    return _mm256_cmpgt_epi32(b, a);
}

/* limit > 0. */
static inline lane_mask less_u32(ints a, ints limit)
{
    return _mm256_cmpeq_epi32(_mm256_min_epu32(a, _mm256_sub_epi32(limit, _mm256_set1_epi32(1))), a);
}

static inline bool any_lane(lane_mask m)
{
    return _mm256_movemask_ps(_mm256_castsi256_ps(m)) != 0;
}

static inline bool any_above_u32(ints v, uint32_t limit)
{
    const ints limits = _mm256_set1_epi32((int32_t)limit);
    return _mm256_movemask_epi8(_mm256_cmpeq_epi32(_mm256_max_epu32(v, limits), limits)) != -1;
}

static inline bool any_equal_s16(ints v, int16_t value)
{
    return _mm256_movemask_epi8(_mm256_cmpeq_epi16(v, _mm256_set1_epi16(value))) != 0;
}

static inline lane_mask negative_lanes(ints v)
{
    return _mm256_srai_epi32(v, 31);
}

static inline floats where_f32(lane_mask m, floats a, floats b)
{
    return _mm256_blendv_ps(b, a, _mm256_castsi256_ps(m));
}

static inline ints where_s32(lane_mask m, ints a, ints b)
{
    return _mm256_blendv_epi8(b, a, m);
}

/* 0 in the other lanes. */
static inline floats keep_f32(lane_mask m, floats x)
{
    return _mm256_and_ps(_mm256_castsi256_ps(m), x);
}

static inline ints keep_s32(lane_mask m, ints v)
{
    return _mm256_and_si256(m, v);
}

/* v + 1 in these lanes. */
static inline ints add_one_where(lane_mask m, ints v)
{
    return _mm256_sub_epi32(v, m);
}

/* Whether one of `count` vectors holds NaN or an infinity: their products with zero are NaN, and so is a sum of them.
 */
static inline bool has_nonfinite(const floats *x, int count)
{
    const floats zero = _mm256_setzero_ps();
    floats sum = _mm256_mul_ps(x[0], zero);
    for (int u = 1; u < count; u++)
        sum = _mm256_fmadd_ps(x[u], zero, sum);
    return any_lane(nan_lanes(sum));
}

/* ---- the first lanes, as many as are left, or all ------------------------------------------------- */

static inline ints first_lanes(size_t left)
{
    static const int32_t ones[2 * LANES] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return _mm256_loadu_si256((const __m256i *)(ones + LANES - (left < LANES ? left : LANES)));
}

/* The others are 0. */
static inline floats load_first_f32(const float *p, size_t left)
{
    return left < LANES ? _mm256_maskload_ps(p, first_lanes(left)) : load_f32(p);
}

static inline ints load_first_s32(const int32_t *p, size_t left)
{
    return left < LANES ? _mm256_maskload_epi32(p, first_lanes(left)) : load_s32(p);
}

static inline floats load_first_or_f32(const float *p, size_t left, floats others)
{
    return where_f32(first_lanes(left), load_first_f32(p, left), others);
}

static inline __m128i first_bytes(const uint8_t *p, size_t left)
{
    uint64_t bytes = 0;
    if (left < LANES)
        memcpy(&bytes, p, left);
    else
        memcpy(&bytes, p, LANES);
    return _mm_cvtsi64_si128((int64_t)bytes);
}

static inline ints load_first_u8(const uint8_t *p, size_t left)
{
    return _mm256_cvtepu8_epi32(first_bytes(p, left));
}

/* The same where LANES bytes may be read that end with them. */
static inline ints load_last_u8(const uint8_t *p, size_t left)
{
    const __m128i bytes = _mm_loadl_epi64((const __m128i *)(p + left - LANES));
    return _mm256_cvtepu8_epi32(_mm_srl_epi64(bytes, _mm_cvtsi64_si128((int64_t)(8 * (LANES - left)))));
}

static inline ints load_first_s8(const uint8_t *p, size_t left)
{
    return _mm256_cvtepi8_epi32(first_bytes(p, left));
}

/* Without a mask where all lanes are stored: kernels whose lanes have parameters of their own are 3 to 7 times as fast
 * for it on Zen 3. */
static inline void store_first_f32(float *p, size_t left, floats v)
{
    if (left < LANES)
        _mm256_maskstore_ps(p, first_lanes(left), v);
    else
        store_f32(p, v);
}

static inline void store_first_s32(void *p, size_t left, ints v)
{
    if (left < LANES)
        _mm256_maskstore_epi32(p, first_lanes(left), v);
    else
        store_s32(p, v);
}

static inline void store_first_u8(uint8_t *p, size_t left, ints v)
{
    const uint64_t bytes = (uint64_t)_mm_cvtsi128_si64(low_bytes(v));
    if (left < LANES)
        memcpy(p, &bytes, left);
    else
        memcpy(p, &bytes, LANES);
}

#endif
