/* Weights of a group as floats: the four bytes of a column are one lane, and every shift brings another k down. Small
 * codebooks that all columns share are two permutations of registers; larger ones and columns' own are gathered. */
#include <immintrin.h>

#include "kernels/avx2/avx2.h"

enum { LANES = 8, KR = 8 };

/* Eight columns of a part. */
typedef struct columns {
    __m256 scale;
    __m256i zero_point;
    __m256 low, high; /* the first sixteen values of a shared codebook */
    const float *values;
    __m256i first; /* of each column's codebook, counted from there */
} columns;

static inline columns columns_at(const ql_group_part *part, size_t j)
{
    static const float none[2 * LANES];
    const float *values = part->values ? part->values : none;
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    columns c = {.scale = _mm256_loadu_ps(part->scale + j),
                 .zero_point = _mm256_set1_epi32(part->shared_zero_point),
                 .low = _mm256_loadu_ps(values),
                 .high = _mm256_loadu_ps(values + LANES),
                 .values = values + j * part->values_stride,
                 .first = _mm256_mullo_epi32(lane, _mm256_set1_epi32((int32_t)part->values_stride))};
    if (part->zero_point)
        c.zero_point = _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)(part->zero_point + j)));
    return c;
}

typedef enum meaning { UNIFORM, SMALL_CODEBOOK, ANY_CODEBOOK } meaning;

static inline __m256 value_of(const meaning what, const columns *c, __m256i code)
{
    switch (what) {
    case UNIFORM:
        return _mm256_cvtepi32_ps(_mm256_sub_epi32(code, c->zero_point));
    case SMALL_CODEBOOK: {
        const __m256 is_high = _mm256_castsi256_ps(_mm256_slli_epi32(code, 28));
        return _mm256_blendv_ps(_mm256_permutevar8x32_ps(c->low, code), _mm256_permutevar8x32_ps(c->high, code),
                                is_high);
    }
    default:
        return _mm256_i32gather_ps(c->values, _mm256_add_epi32(c->first, code), sizeof(float));
    }
}

static inline __attribute__((always_inline)) void dequantize(const ql_weight_form form, const meaning what,
                                                             const ql_group_part *part, float *w)
{
    const bool is_byte = form == QL_WEIGHTS_S8;
    const size_t nr = part->nr, step_bytes = (is_byte ? 8 : 4) * nr;
    for (size_t j = 0; j < nr; j += LANES) {
        const columns c = columns_at(part, j);
        const uint8_t *codes = part->codes + 4 * j;
        float *to = w + j;
        for (size_t p = 0; p < part->k; p += KR, codes += step_bytes, to += KR * nr) {
            const __m256i first = _mm256_loadu_si256((const __m256i *)codes);
            const __m256i last = is_byte ? _mm256_loadu_si256((const __m256i *)(codes + 4 * nr)) : first;
#pragma GCC unroll 8
            for (int q = 0; q < KR; q++) {
                __m256i code;
                if (!is_byte)
                    code = _mm256_and_si256(_mm256_srli_epi32(first, q % 4 * 8 + q / 4 * 4), _mm256_set1_epi32(15));
                else if (what == UNIFORM)
                    code = _mm256_srai_epi32(_mm256_slli_epi32(q < 4 ? first : last, 24 - q % 4 * 8), 24);
                else
                    code = _mm256_and_si256(_mm256_srli_epi32(q < 4 ? first : last, q % 4 * 8), _mm256_set1_epi32(255));
                _mm256_storeu_ps(to + (size_t)q * nr, _mm256_mul_ps(value_of(what, &c, code), c.scale));
            }
        }
    }
}

void ql_dequantize_group_f32__avx2(const ql_group_part *part, float *w)
{
    const bool is_byte = part->form == QL_WEIGHTS_S8;
    if (!part->values && is_byte)
        dequantize(QL_WEIGHTS_S8, UNIFORM, part, w);
    else if (!part->values)
        dequantize(QL_WEIGHTS_U4, UNIFORM, part, w);
    else if (is_byte)
        dequantize(QL_WEIGHTS_S8, ANY_CODEBOOK, part, w);
    else if (part->values_stride)
        dequantize(QL_WEIGHTS_U4, ANY_CODEBOOK, part, w);
    else
        dequantize(QL_WEIGHTS_U4, SMALL_CODEBOOK, part, w);
}
