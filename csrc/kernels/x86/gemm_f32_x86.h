/* The weight-only product: 8-bit weights become floats in registers, one fused multiply-add per k, in order.
 *
 * The order of the sum is part of the contract, so a single row cannot split k over several accumulators: the panel is
 * four vectors wide instead, which gives one row four independent chains. Weights of all four are made at once, or of
 * two where the registers would not hold them beside the sums (1.5 times the speed for three rows with AVX2). The file
 * that includes this brings MAX_MR rows, and the tiles' NAME(MR, TYPES) and ROWS, the list of what has 1 to MAX_MR
 * rows. */
enum { VECTORS = 4, NR = VECTORS * LANES };

static inline __attribute__((always_inline)) void gemm_f32(const int mr, size_t k, const float *x, size_t x_stride,
                                                           const int8_t *b, const int32_t *zero_point,
                                                           const float *scale, const float *offset, float low, float *y,
                                                           size_t y_stride)
{
    const int at_once = (mr + 1) * VECTORS < REGISTERS ? VECTORS : VECTORS / 2;
    floats sum[MAX_MR][VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++) {
#pragma GCC unroll 6
        for (int i = 0; i < mr; i++)
            sum[i][v] = set_f32(0.0f);
    }
    for (size_t p = 0; p < k; p++, b += NR) {
#pragma GCC unroll 2
        for (int first = 0; first < VECTORS; first += at_once) {
            floats weight[VECTORS];
#pragma GCC unroll 4
            for (int v = first; v < first + at_once; v++) {
                const ints code = load_first_s8((const uint8_t *)b + v * LANES, LANES);
                weight[v] = to_f32(sub_s32(code, load_s32(zero_point + v * LANES)));
            }
            if (at_once < VECTORS)
                __asm__("" ::: "memory"); /* x is read again: kept for the other half, it would push out a sum */
#pragma GCC unroll 6
            for (int i = 0; i < mr; i++) {
                const floats xi = set_f32(x[(size_t)i * x_stride + p]);
#pragma GCC unroll 4
                for (int v = first; v < first + at_once; v++)
                    sum[i][v] = fma_f32(xi, weight[v], sum[i][v]);
            }
        }
    }
    const floats floor = set_f32(low);
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++) {
        const floats s = load_f32(scale + v * LANES), o = load_f32(offset + v * LANES);
#pragma GCC unroll 6
        for (int i = 0; i < mr; i++)
            store_f32(y + (size_t)i * y_stride + v * LANES, max_f32(floor, sum[i][v] * s + o));
    }
}

#define TILE(MR, TYPES)                                                                                                \
    static void NAME(MR, TYPES)(size_t k, const float *x, size_t x_stride, const int8_t *b, const int32_t *zero_point, \
                                const float *scale, const float *offset, float low, float *y, size_t y_stride)         \
    {                                                                                                                  \
        gemm_f32(MR, k, x, x_stride, b, zero_point, scale, offset, low, y, y_stride);                                  \
    }
#define ENTRY(MR, TYPES) NAME(MR, TYPES),

ROWS(TILE, f32s8f32)

static ql_gemm_f32_ukernel *const ukernels[] = {NULL, ROWS(ENTRY, f32s8f32)};

const ql_gemm_f32_kernels QL_KERNEL(ql_gemm_f32s8f32) = {.mr = MAX_MR, .nr = NR, .ukernel = ukernels};
