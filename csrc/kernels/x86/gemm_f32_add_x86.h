/* A product of floats on top of what is there. The file that includes this brings NR columns, MAX_MR rows, and the
 * tiles' NAME(MR, TYPES) and ROWS, the list of what has 1 to MAX_MR rows. */
enum { VECTORS = NR / LANES };

static inline __attribute__((always_inline)) void gemm(const int mr, const ql_float_rows *rows, const float *w,
                                                       size_t w_stride, float *y, size_t y_stride)
{
    floats sum[MAX_MR][VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < mr; i++) {
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++)
            sum[i][v] = load_f32(y + (size_t)i * y_stride + v * LANES);
    }
    const size_t k = rows->k, stride = rows->stride, step = rows->step;
    for (size_t t = 0; t < rows->segments; t++) {
        const float *x = rows->x + rows->offset[t];
        for (size_t p = 0; p < k; p++, x += step, w += w_stride) {
            floats weight[VECTORS];
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++)
                weight[v] = load_f32(w + v * LANES);
#pragma GCC unroll 8
            for (int i = 0; i < mr; i++) {
                const floats xi = set_f32(x[(size_t)i * stride]);
#pragma GCC unroll 2
                for (int v = 0; v < VECTORS; v++)
                    sum[i][v] = fma_f32(xi, weight[v], sum[i][v]);
            }
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < mr; i++) {
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++)
            store_f32(y + (size_t)i * y_stride + v * LANES, sum[i][v]);
    }
}

#define TILE(MR, TYPES)                                                                                             \
    static void NAME(MR, TYPES)(const ql_float_rows *x, const float *w, size_t w_stride, float *y, size_t y_stride) \
    {                                                                                                               \
        gemm(MR, x, w, w_stride, y, y_stride);                                                                      \
    }
#define ENTRY(MR, TYPES) NAME(MR, TYPES),

ROWS(TILE, f32f32f32)

static ql_gemm_f32_add_ukernel *const ukernels[] = {NULL, ROWS(ENTRY, f32f32f32)};

const ql_gemm_f32_add_kernels QL_KERNEL(ql_gemm_f32f32f32) = {.mr = MAX_MR, .nr = NR, .ukernel = ukernels};
