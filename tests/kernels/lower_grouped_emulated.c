/* What serves in the place of emulated tiles for weights in groups: the same panels and shifts in plain C. */
#ifdef QL_EMULATE_AMX
#include "lower_emulated.h"

enum { NR = 32, SHIFT = 128 };

/* The weight of column j for the p-th k of a group, with what was added to it. */
static uint32_t weight_of(const ql_grouped_panel *b, const uint8_t *codes, size_t p, size_t j)
{
    const size_t place = 4 * j + p % 4;
    if (b->form == QL_WEIGHTS_S8)
        return (uint32_t)((int8_t)codes[p / 4 * 4 * NR + place] + SHIFT);
    const uint8_t both = codes[p / 8 * 4 * NR + place], code = p % 8 < 4 ? both & 15 : both >> 4;
    return b->form == QL_WEIGHTS_TABLE ? (uint32_t)(b->table[code] + SHIFT) : code;
}

static void one_row(const ql_grouped_panel *b, const ql_grouped_rows *a, const ql_grouped_result *c)
{
    const uint8_t *codes = b->data;
    float total[NR] = {0};
    for (size_t first = 0, g = 0; first < b->k; first += b->group, g++) {
        const size_t length = b->k - first < b->group ? b->k - first : b->group;
        const float *scale = (const float *)(codes + length * NR / (b->form == QL_WEIGHTS_S8 ? 1 : 2));
        const int16_t *zero_point = (const int16_t *)(scale + NR);
        for (size_t j = 0; j < NR; j++) {
            uint32_t sum = (uint32_t)a->term[g] * (b->has_zero_point ? (uint32_t)zero_point[j] : 1);
            for (size_t p = 0; p < length; p++)
                sum += (uint32_t)a->codes[first + p] * weight_of(b, codes, p, j);
            total[j] += (float)(int32_t)sum * scale[j];
        }
        codes = (const uint8_t *)(b->has_zero_point ? (const void *)(zero_point + NR) : zero_point);
    }
    for (size_t j = 0; j < NR; j++) {
        float v = total[j] * *a->scale;
        v = v + c->offset[j];
        v = v < c->low ? c->low : v;
        c->y[j] = v > c->high ? c->high : v;
    }
}

static ql_gemm_grouped_ukernel *const ukernels[] = {NULL, one_row};

const ql_gemm_grouped_kernels ql_gemm_s8s4f32__emulated = {
    .mr = 1, .nr = NR, .shift = {0, SHIFT, SHIFT}, .ukernel = {ukernels, ukernels, ukernels}};
#else
typedef int nothing; /* a source has to hold something */
#endif
