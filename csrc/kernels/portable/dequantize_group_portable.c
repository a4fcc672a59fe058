/* Weights of a group as floats. The four bytes of a column are one word, so that neighbours are columns. */
#include <string.h>

#include "kernels/portable/portable.h"

enum { KR = 8, MAX_NR = QL_MAX_NR };

/* Codes of eight k, one row of nr after the other. */
static void unpack(const ql_group_part *part, const uint8_t *from, int32_t *restrict codes)
{
    const size_t nr = part->nr;
    uint32_t words[2 * MAX_NR];
    const bool is_byte = part->form == QL_WEIGHTS_S8;
    memcpy(words, from, (is_byte ? 2 : 1) * nr * sizeof *words);
    for (int q = 0; q < KR; q++) {
        const uint32_t *word = words + (is_byte && q >= 4 ? nr : 0);
        const int shift = is_byte ? 24 - q % 4 * 8 : q % 4 * 8 + q / 4 * 4;
        int32_t *row = codes + (size_t)q * nr;
        if (is_byte) {
            for (size_t j = 0; j < nr; j++)
                row[j] = (int32_t)(word[j] << shift) >> 24;
        } else {
            for (size_t j = 0; j < nr; j++)
                row[j] = (int32_t)(word[j] >> shift & 15);
        }
    }
}

static void scale_codes(const ql_group_part *part, const int32_t *restrict codes, const int32_t *restrict zero_point,
                        float *restrict w)
{
    const float *restrict scale = part->scale;
    for (size_t q = 0; q < KR; q++) {
        for (size_t j = 0; j < part->nr; j++)
            w[q * part->nr + j] = (float)(codes[q * part->nr + j] - zero_point[j]) * scale[j];
    }
}

static void look_up(const ql_group_part *part, const int32_t *codes, float *w)
{
    for (size_t q = 0; q < KR; q++) {
        for (size_t j = 0; j < part->nr; j++) {
            const float value = part->values[j * part->values_stride + (uint8_t)codes[q * part->nr + j]];
            w[q * part->nr + j] = value * part->scale[j];
        }
    }
}

void QL_KERNEL(ql_dequantize_group_f32)(const ql_group_part *part, float *w)
{
    const size_t step_bytes = (part->form == QL_WEIGHTS_S8 ? 8 : 4) * part->nr;
    int32_t codes[KR * MAX_NR], zero_point[MAX_NR];
    for (size_t j = 0; j < part->nr; j++)
        zero_point[j] = part->zero_point ? part->zero_point[j] : part->shared_zero_point;
    for (size_t p = 0; p < part->k; p += KR, w += KR * part->nr) {
        unpack(part, part->codes + p / KR * step_bytes, codes);
        if (part->values)
            look_up(part, codes, w);
        else
            scale_codes(part, codes, zero_point, w);
    }
}
