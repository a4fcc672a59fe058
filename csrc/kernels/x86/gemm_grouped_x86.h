/* The product with grouped weights around the products of a group, which are the instruction set's. The file that
 * includes this brings NR columns, KR of k at a time, MAX_MR rows, VECTORS of columns, and
 *     table_of(b)         what the entries of a table are looked up in
 *     add_group(mr, form, steps, codes, table, row, stride, sum)
 *                          adds the products of `steps` times KR of k to the sums
 *     SHIFT                of signed weights
 *     NAME(MR, TYPES)      of a tile
 *     ROWS                 the list of what has 1 to MAX_MR of them */

static inline const int32_t *term_of(const int32_t *first, int row, size_t stride)
{
    return (const int32_t *)((const char *)first + (size_t)row * stride);
}

static inline __attribute__((always_inline)) void gemm(const int mr, const ql_weight_form form,
                                                       const ql_grouped_panel *b, const ql_grouped_rows *a,
                                                       const ql_grouped_result *c)
{
    const size_t step_bytes = form == QL_WEIGHTS_S8 ? 8 * NR : 4 * NR;
    const ints table = form == QL_WEIGHTS_TABLE ? table_of(b) : set_s32(0);
    floats total[MAX_MR][VECTORS];
#pragma GCC unroll 6
    for (int i = 0; i < mr; i++) {
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++)
            total[i][v] = set_f32(0.0f);
    }
    const uint8_t *codes = b->data;
    const int8_t *row = a->codes;
    const int32_t *term = a->term;
    for (size_t left = b->k; left > 0; term++) {
        const size_t length = left < b->group ? left : b->group, steps = length / KR;
        left -= length;
        const float *scale = (const float *)(codes + steps * step_bytes);
        const int16_t *zero_point = (const int16_t *)(scale + NR);
        ints sum[MAX_MR][VECTORS];
#pragma GCC unroll 6
        for (int i = 0; i < mr; i++) {
            const ints t = set_s32(*term_of(term, i, a->stride));
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++)
                sum[i][v] = t;
        }
        if (b->has_zero_point) {
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++) {
                const ints z = load_s16(zero_point + v * LANES);
#pragma GCC unroll 6
                for (int i = 0; i < mr; i++)
                    sum[i][v] = mul_s32(z, sum[i][v]);
            }
        }
        add_group(mr, form, steps, codes, table, row, a->stride, sum);
        row += length;
        codes = (const uint8_t *)(scale + NR) + (b->has_zero_point ? NR * sizeof *zero_point : 0);
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++) {
            const floats s = load_f32(scale + v * LANES);
#pragma GCC unroll 6
            for (int i = 0; i < mr; i++)
                total[i][v] = total[i][v] + to_f32(sum[i][v]) * s;
        }
    }
    const floats low = set_f32(c->low), high = set_f32(c->high);
#pragma GCC unroll 6
    for (int i = 0; i < mr; i++) {
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++) {
            const floats r = total[i][v] * set_f32(a->scale[i]) + load_f32(c->offset + v * LANES);
            store_f32(c->y + (size_t)i * c->y_stride + v * LANES, min_f32(high, max_f32(low, r)));
        }
    }
}

#define TILE(MR, TYPES, FORM)                                                                                    \
    static void NAME(MR, TYPES)(const ql_grouped_panel *b, const ql_grouped_rows *a, const ql_grouped_result *c) \
    {                                                                                                            \
        gemm(MR, FORM, b, a, c);                                                                                 \
    }
#define ENTRY(MR, TYPES) NAME(MR, TYPES),

ROWS(TILE, s8u4f32, QL_WEIGHTS_U4)
ROWS(TILE, s8t4f32, QL_WEIGHTS_TABLE)
ROWS(TILE, s8s8f32, QL_WEIGHTS_S8)

static ql_gemm_grouped_ukernel *const s8u4f32[] = {NULL, ROWS(ENTRY, s8u4f32)};
static ql_gemm_grouped_ukernel *const s8t4f32[] = {NULL, ROWS(ENTRY, s8t4f32)};
static ql_gemm_grouped_ukernel *const s8s8f32[] = {NULL, ROWS(ENTRY, s8s8f32)};

const ql_gemm_grouped_kernels QL_KERNEL(ql_gemm_s8s4f32) = {
    .mr = MAX_MR, .nr = NR, .shift = {0, SHIFT, SHIFT}, .ukernel = {s8u4f32, s8t4f32, s8s8f32}};
