/* Weight-only product with grouped weights: some rows of x meet the weights of a panel as floats, a piece of a group at
 * a time, and each piece goes on with the sums where the one before left them. That costs a load and a store per sum
 * and piece, and no memory but a piece. */
#include <string.h>

#include "core/grouped.h"
#include "core/memory.h"
#include "core/parallel.h"

enum { ROWS = 48, DEPTH = 64 /* of a piece */, PRODUCTS_PER_NS = 40 };

typedef struct float_job {
    const ql_grouped *w;
    const float *x;
    size_t m;
    float *y;
} float_job;

/* The product of some rows, from x on, with `depth` rows of weights, onto sums [rows][nr]. */
static void add_piece(const ql_grouped *w, size_t depth, const float *x, size_t rows, const float *weights, float *sums)
{
    const ql_gemm_f32_add_kernels *gemm = w->kernels->gemm_f32f32f32;
    for (size_t j = 0; j < w->nr; j += gemm->nr) {
        for (size_t i = 0; i < rows; i += gemm->mr) {
            const size_t tile = rows - i < gemm->mr ? rows - i : gemm->mr;
            gemm->ukernel[tile](depth, x + i * w->k, w->k, weights + j, w->nr, sums + i * w->nr + j, w->nr);
        }
    }
}

/* One group of a panel, whose codes begin at `data`. */
static void add_group(const ql_grouped *w, const uint8_t *data, size_t panel, size_t group, const float *x, size_t rows,
                      float *sums)
{
    float weights[DEPTH * QL_MAX_NR];
    const size_t first = group * w->group, length = ql_grouped_length(w, group);
    const float *scale = (const float *)(data + ql_grouped_code_bytes(w, length));
    ql_group_part part = {.form = w->form,
                          .nr = w->nr,
                          .scale = scale,
                          .zero_point = w->has_zero_point ? (const int16_t *)(scale + w->nr) : NULL,
                          .shared_zero_point = w->zero_point};
    if (w->values) {
        const size_t column = w->is_own ? (group * w->panels + panel) * w->nr : 0;
        part.values = w->values + column * w->entries;
        part.values_stride = w->is_own ? w->entries : 0;
    }
    for (size_t p = 0; p < length; p += DEPTH) {
        const size_t depth = w->k - first - p;
        part.k = length - p < DEPTH ? length - p : DEPTH;
        part.codes = data + ql_grouped_code_bytes(w, p);
        w->kernels->dequantize_group_f32(&part, weights);
        add_piece(w, depth < part.k ? depth : part.k, x + first + p, rows, weights, sums);
    }
}

static void multiply(void *context, size_t item)
{
    const float_job *job = context;
    const ql_grouped *w = job->w;
    const size_t first = item / w->panels * ROWS, panel = item % w->panels, j = panel * w->nr;
    const size_t rows = job->m - first < ROWS ? job->m - first : ROWS, cols = w->n - j < w->nr ? w->n - j : w->nr;
    const uint8_t *data = w->data + panel * w->panel_bytes;
    float sums[ROWS * QL_MAX_NR];
    memset(sums, 0, rows * w->nr * sizeof *sums);
    for (size_t g = 0; g < w->groups; g++) {
        add_group(w, data, panel, g, job->x + first * w->k, rows, sums);
        data += ql_grouped_code_bytes(w, ql_grouped_length(w, g)) + ql_grouped_scale_bytes(w);
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
