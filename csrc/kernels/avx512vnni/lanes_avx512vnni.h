/* The vocabulary of kernels/x86 for AVX-512: sixteen lanes of 32 bits. Not part of avx512vnni.h, which is read without
 * the flags for these instructions. kernels/avx2/lanes_avx2.h defines the same words. */
#ifndef QL_LANES_AVX512VNNI_H
#define QL_LANES_AVX512VNNI_H

#include <immintrin.h>

#include "kernels/avx512vnni/avx512vnni.h"

enum { LANES = 16, REGISTERS = 32 };

/* Dividing 16 values takes 16 cycles (Golden Cove), and three multiplications 1.5: published figures of the
 * instructions, no kernel was timed for them. */
enum { DIVISION_IS_SLOW = true };

typedef __m512 floats; /* + - * / are those of the lanes */
typedef __m512i ints;  /* & | ^ too */
typedef __mmask16 lane_mask;

#define load_f32 _mm512_loadu_ps
#define store_f32 _mm512_storeu_ps
#define load_s32 _mm512_loadu_si512
#define store_s32 _mm512_storeu_si512
#define set_f32 _mm512_set1_ps
#define set_s64 _mm512_set1_epi64
#define set_s32 _mm512_set1_epi32
#define set_s16 _mm512_set1_epi16
#define set_s8 _mm512_set1_epi8

/* min and max give b where a or b is NaN. */
#define min_f32 _mm512_min_ps
#define max_f32 _mm512_max_ps
#define fma_f32 _mm512_fmadd_ps   /* a * b + c, rounded once */
#define fnma_f32 _mm512_fnmadd_ps /* c - a * b, rounded once */
#define to_f32 _mm512_cvtepi32_ps
#define to_s32 _mm512_cvtps_epi32 /* half to even; what does not fit gives INT32_MIN */

#define add_s64 _mm512_add_epi64
#define add_s32 _mm512_add_epi32
#define sub_s32 _mm512_sub_epi32
#define mul_s32 _mm512_mullo_epi32
#define min_s32 _mm512_min_epi32
#define max_s32 _mm512_max_epi32
#define max_u32 _mm512_max_epu32
#define adds_s16 _mm512_adds_epi16 /* saturating */
#define add_s16 _mm512_add_epi16
#define mul_low_s16 _mm512_mullo_epi16
#define mul_high_s16 _mm512_mulhi_epi16
#define sub_s16 _mm512_sub_epi16
#define mul_s16 _mm512_mullo_epi16 /* the low 16 bits */
#define subs_u16 _mm512_subs_epu16 /* saturating */
#define min_u16 _mm512_min_epu16
#define min_s16 _mm512_min_epi16
#define min_u8 _mm512_min_epu8
#define max_u8 _mm512_max_epu8
#define min_s8 _mm512_min_epi8
#define max_s8 _mm512_max_epi8

/* Shifts by a number, and by each lane's own. */
#define shift_left_64 _mm512_slli_epi64
#define shift_right_64 _mm512_srli_epi64
#define shift_right_32 _mm512_srli_epi32
#define shift_right_s32 _mm512_srai_epi32
#define shift_left_each_32 _mm512_sllv_epi32
#define shift_right_each_s32 _mm512_srav_epi32

#define mul_even_s32 _mm512_mul_epi32 /* even lanes, to 64 bits */

/* Saturating, within 128 bits. */
#define pack_s32 _mm512_packs_epi32
#define pack_s16 _mm512_packs_epi16
#define pack_u8 _mm512_packus_epi16 /* of s16 */

/* Bytes of a and b in turn, or 16 bits of them, within 128 bits: of the low and of the high half. */
#define unpack_low_8 _mm512_unpacklo_epi8
#define unpack_high_8 _mm512_unpackhi_epi8
#define unpack_low_16 _mm512_unpacklo_epi16
#define unpack_high_16 _mm512_unpackhi_epi16

/* Sums of two neighbouring products: s16 to 32 bits; u8 by s8 to 16 bits, saturating. */
#define multiply_pairs_s16 _mm512_madd_epi16
#define multiply_pairs_u8s8 _mm512_maddubs_epi16

static inline ints shift_right_s16(ints v, int n)
{
    return _mm512_sra_epi16(v, _mm_cvtsi32_si128(n));
}

static inline ints shift_right_16(ints v, int n)
{
    return _mm512_srl_epi16(v, _mm_cvtsi32_si128(n));
}

static inline ints load_s16(const void *p)
{
    return _mm512_cvtepi16_epi32(_mm256_loadu_si256(p));
}

static inline ints load_u8(const uint8_t *p)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
}

/* The low byte of each lane. */
static inline void store_u8(uint8_t *p, ints v)
{
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(v));
}

/* Bytes that were packed twice, in the order of the lanes that they come from. */
static inline ints in_order(ints bytes)
{
    const ints order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_permutexvar_epi32(order, bytes);
}

/* The bytes of a and then of b, which hold 0 to 255 in 16 bits. */
static inline ints bytes_in_order(ints a, ints b)
{
    return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), _mm512_packus_epi16(a, b));
}

static inline ints even_and_odd_lanes(ints even, ints odd)
{
    return _mm512_mask_blend_epi32(0xAAAA, even, odd);
}

/* Rounded down; what does not fit gives INT32_MIN. */
static inline ints floor_s32(floats x)
{
    return _mm512_cvt_roundps_epi32(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}

/* ---- masks ---------------------------------------------------------------------------------------- */

static inline lane_mask ordered_lanes(floats x)
{
    return _mm512_cmp_ps_mask(x, x, _CMP_ORD_Q);
}

static inline lane_mask nan_lanes(floats x)
{
    return _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
}

/* NaN in a or in b. */
static inline lane_mask unordered_lanes(floats a, floats b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q);
}

static inline lane_mask less_f32(floats a, floats b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}

static inline lane_mask equal_f32(floats a, floats b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}

static inline lane_mask at_least_f32(floats a, floats b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ);
}

static inline lane_mask less_s32(ints a, ints b)
{
    return _mm512_cmplt_epi32_mask(a, b);
}

/* limit > 0. */
static inline lane_mask less_u32(ints a, ints limit)
{
    return _mm512_cmplt_epu32_mask(a, limit);
}

static inline bool any_lane(lane_mask m)
{
    return m != 0;
}

static inline bool any_above_u32(ints v, uint32_t limit)
{
    return _mm512_cmpgt_epu32_mask(v, _mm512_set1_epi32((int32_t)limit)) != 0;
}

static inline bool any_equal_s16(ints v, int16_t value)
{
    return _mm512_cmpeq_epi16_mask(v, _mm512_set1_epi16(value)) != 0;
}

static inline lane_mask negative_lanes(ints v)
{
    return _mm512_movepi32_mask(v);
}

static inline floats where_f32(lane_mask m, floats a, floats b)
{
    return _mm512_mask_mov_ps(b, m, a);
}

static inline ints where_s32(lane_mask m, ints a, ints b)
{
    return _mm512_mask_mov_epi32(b, m, a);
}

/* 0 in the other lanes. */
static inline floats keep_f32(lane_mask m, floats x)
{
    return _mm512_maskz_mov_ps(m, x);
}

static inline ints keep_s32(lane_mask m, ints v)
{
    return _mm512_maskz_mov_epi32(m, v);
}

/* v + 1 in these lanes. */
static inline ints add_one_where(lane_mask m, ints v)
{
    return _mm512_mask_add_epi32(v, m, v, _mm512_set1_epi32(1));
}

/* Whether one of `count` vectors holds NaN or an infinity. */
static inline bool has_nonfinite(const floats *x, int count)
{
    enum { QNAN = 0x01, PLUS_INFINITY = 0x08, MINUS_INFINITY = 0x10, SNAN = 0x80 };
    lane_mask nonfinite = 0;
    for (int u = 0; u < count; u++)
        nonfinite |= _mm512_fpclass_ps_mask(x[u], QNAN | PLUS_INFINITY | MINUS_INFINITY | SNAN);
    return nonfinite != 0;
}

/* ---- the first lanes, as many as are left, or all --------------------------------------------------
 * Main loops say that all are, and the compiler drops the mask: a masked store to new memory costs the double of
 * another. */

static inline lane_mask first_lanes(size_t left)
{
    return left >= LANES ? (lane_mask)0xFFFF : (lane_mask)((1u << left) - 1);
}

/* The others are 0. */
static inline floats load_first_f32(const float *p, size_t left)
{
    return _mm512_maskz_loadu_ps(first_lanes(left), p);
}

static inline ints load_first_s32(const int32_t *p, size_t left)
{
    return _mm512_maskz_loadu_epi32(first_lanes(left), p);
}

static inline floats load_first_or_f32(const float *p, size_t left, floats others)
{
    return _mm512_mask_loadu_ps(others, first_lanes(left), p);
}

static inline ints load_first_u8(const uint8_t *p, size_t left)
{
    return _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(first_lanes(left), p));
}

/* The same where LANES bytes may be read that end with them. */
static inline ints load_last_u8(const uint8_t *p, size_t left)
{
    return load_first_u8(p, left);
}

static inline ints load_first_s8(const uint8_t *p, size_t left)
{
    return _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(first_lanes(left), p));
}

static inline void store_first_f32(float *p, size_t left, floats v)
{
    _mm512_mask_storeu_ps(p, first_lanes(left), v);
}

static inline void store_first_s32(void *p, size_t left, ints v)
{
    _mm512_mask_storeu_epi32(p, first_lanes(left), v);
}

static inline void store_first_u8(uint8_t *p, size_t left, ints v)
{
    _mm_mask_storeu_epi8(p, first_lanes(left), _mm512_cvtepi32_epi8(v));
}

/* ---- products ------------------------------------------------------------------------------------- */

/* Four u8 x s8 products per lane, summed exactly. In assembly, because after the intrinsic gcc 12 copies the
 * accumulator and spills as soon as the accumulators are used after the loop, which halves the speed. */
static inline __attribute__((always_inline)) ints dot4(ints sum, ints a_u8, ints b_s8)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a_u8), "v"(b_s8));
    return sum;
}

#endif
