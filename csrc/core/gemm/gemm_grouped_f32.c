/* Weight-only product with grouped weights: some rows of x meet the weights of a panel as floats, a piece of the depth
 * at a time, and each piece goes on with the sums where the one before left them. That costs a load and a store per sum
 * and piece, and no memory but a piece. */
#include <assert.h>
#include <string.h>

#include "core/base/memory.h"
#include "core/base/parallel.h"
#include "core/gemm/grouped.h"

enum { ROWS = 48, DEPTH = 128, PRODUCTS_PER_NS = 40 }; /* rows of an item, depth of a piece */

typedef struct float_job {
    const ql_grouped *w;
    const float *x;
    size_t m;
    float *y;
} float_job;

/* Adds the product of some rows, from x on, with `depth` rows of weights to sums [rows][nr]. */
static void add_piece(const ql_grouped *w, size_t depth, const float *x, size_t rows, const float *weights, float *sums)
{
    const ql_gemm_f32_add_kernels *gemm = w->kernels->gemm_f32f32f32;
    assert(w->nr % gemm->nr == 0);
    for (size_t j = 0; j < w->nr; j += gemm->nr) {
        for (size_t i = 0; i < rows; i += gemm->mr) {
            const size_t tile = rows - i < gemm->mr ? rows - i : gemm->mr;
            const ql_float_rows part = {x + i * w->k, w->k, 1, depth, 1, &(size_t){0}};
            gemm->ukernel[tile](&part, weights + j, w->nr, sums + i * w->nr + j, w->nr);
        }
    }
}

/* Fills weights with `depth` rows of a panel, from `first` on; both are multiples of 8. */
static void dequantize(const ql_grouped *w, size_t panel, size_t first, size_t depth, float *weights)
{
    const size_t group_bytes = ql_grouped_code_bytes(w, w->group) + ql_grouped_scale_bytes(w);
    for (size_t end = first + depth; first < end;) {
        const size_t group = first / w->group, length = ql_grouped_length(w, group), begin = first - group * w->group;
        const uint8_t *codes = w->data + panel * w->panel_bytes + group * group_bytes;
        const float *scale = (const float *)(codes + ql_grouped_code_bytes(w, length));
        const size_t column = w->is_own ? (group * w->panels + panel) * w->nr : 0;
        const size_t k = length - begin < end - first ? length - begin : end - first;
        const ql_group_part part = {.form = w->form,
                                    .k = k,
                                    .nr = w->nr,
                                    .codes = codes + ql_grouped_code_bytes(w, begin),
                                    .scale = scale,
                                    .zero_point = w->has_zero_point ? (const int16_t *)(scale + w->nr) : NULL,
                                    .shared_zero_point = w->zero_point,
                                    .values = w->values ? w->values + column * w->entries : NULL,
                                    .values_stride = w->is_own ? w->entries : 0};
        w->kernels->dequantize_group_f32(&part, weights);
        weights += k * w->nr;
        first += k;
    }
}

static void multiply(void *context, size_t item)
{
    const float_job *job = context;
    const ql_grouped *w = job->w;
    const size_t first = item / w->panels * ROWS, panel = item % w->panels, j = panel * w->nr;
    const size_t rows = job->m - first < ROWS ? job->m - first : ROWS, cols = w->n - j < w->nr ? w->n - j : w->nr;
    float weights[DEPTH * QL_MAX_NR], sums[ROWS * QL_MAX_NR];
    memset(sums, 0, rows * w->nr * sizeof *sums);
    for (size_t p = 0; p < w->k; p += DEPTH) {
        const size_t depth = w->k - p < DEPTH ? w->k - p : DEPTH;
        dequantize(w, panel, p, ql_round_up(depth, 8), weights);
        add_piece(w, depth, job->x + first * w->k + p, rows, weights, sums);
    }
    for (size_t i = 0; i < rows; i++)
        memcpy(job->y + (first + i) * w->n + j, sums + i * w->nr, cols * sizeof *sums);
}

ql_status ql_gemm_grouped_f32(const float *x, size_t m, const ql_grouped *w, float *y)
{
    if (w->purpose != QL_PACK_FLOAT)
        return QL_EINVAL;
    float_job job = {.w = w, .x = x, .m = m, .y = y};
    ql_parallel((m / ROWS + (m % ROWS != 0)) * w->panels, (uint64_t)m * w->k * w->n / PRODUCTS_PER_NS, multiply, &job);
    return QL_OK;
}
