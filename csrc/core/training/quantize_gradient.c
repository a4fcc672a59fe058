/* Gradients through grids: rows in blocks, which threads share; the blocks' sums are added in order, so that the bits
 * do not depend on who computed what. Sums of so few rows lose nothing in float32; theirs are added in double. */
#include <string.h>

#include "core/base/finite.h"
#include "core/base/memory.h"
#include "core/base/parallel.h"
#include "kernels/kernels.h"

enum { BLOCK_ROWS = 128, ELEMENTS_PER_NS = 2 };

typedef struct passage {
    const ql_kernels *kernels;
    size_t rows, cols, group;
    const float *x, *scale;
    const int32_t *sums, *zero_point;
    int32_t qmin, qmax;
    ql_steps_range range;
    bool moves_inside;
    float *gradient;
    size_t blocks_of_group;
    float *partial; /* [blocks][cols] of the scales' gradients, for sums [blocks][2][cols]: the columns' sums first */
} passage;

static void quantize_block(void *context, size_t block)
{
    const passage *p = context;
    const size_t group = block / p->blocks_of_group, end = (group + 1) * p->group;
    const size_t first = group * p->group + block % p->blocks_of_group * BLOCK_ROWS;
    const size_t stop = end < p->rows ? end : p->rows;
    if (first >= stop)
        return;
    p->kernels->quantize_gradient_f32(p->x + first * p->cols, stop - first < BLOCK_ROWS ? stop - first : BLOCK_ROWS,
                                      p->cols, p->scale + group * p->cols, p->zero_point + group * p->cols, p->qmin,
                                      p->qmax, p->moves_inside, p->gradient + first * p->cols,
                                      p->partial + block * p->cols);
}

static void requantize_block(void *context, size_t block)
{
    const passage *p = context;
    const size_t first = block * BLOCK_ROWS, rest = p->rows - first;
    float *column_sum = p->partial + block * 2 * p->cols;
    p->kernels->requantize_gradient_s32(p->sums + first * p->cols, rest < BLOCK_ROWS ? rest : BLOCK_ROWS, p->cols,
                                        p->scale, &p->range, p->moves_inside, p->gradient + first * p->cols, column_sum,
                                        column_sum + p->cols);
}

static float *zeros(size_t n)
{
    float *x = ql_alloc(n, sizeof *x);
    if (x)
        memset(x, 0, n * sizeof *x);
    return x;
}

/* The sum over blocks that are `stride` apart. */
static double folded(const float *partial, size_t blocks, size_t stride)
{
    double sum = 0;
    for (size_t i = 0; i < blocks; i++)
        sum += (double)partial[i * stride];
    return sum;
}

ql_status ql_quantize_gradient_f32(const float *x, size_t rows, size_t cols, size_t group, const float *scale,
                                   const int32_t *zero_point, int32_t qmin, int32_t qmax, bool moves_inside,
                                   float *gradient, float *scale_gradient)
{
    if (rows == 0 || cols == 0 || group == 0 || qmin > qmax)
        return QL_EINVAL;
    group = group < rows ? group : rows;
    const size_t groups = ql_divided_up(rows, group), blocks_of_group = ql_divided_up(group, BLOCK_ROWS);
    if (!ql_scales_are_valid(scale, groups * cols))
        return QL_EINVAL;
    float *partial = zeros(groups * blocks_of_group * cols);
    if (!partial)
        return QL_ENOMEM;
    passage p = {.kernels = ql_kernels_active(),
                 .rows = rows,
                 .cols = cols,
                 .group = group,
                 .x = x,
                 .scale = scale,
                 .zero_point = zero_point,
                 .qmin = qmin,
                 .qmax = qmax,
                 .moves_inside = moves_inside,
                 .gradient = gradient,
                 .blocks_of_group = blocks_of_group,
                 .partial = partial};
    ql_parallel(groups * blocks_of_group, rows * cols / ELEMENTS_PER_NS, quantize_block, &p);
    for (size_t i = 0; i < groups * cols; i++)
        scale_gradient[i] =
            (float)folded(partial + i / cols * blocks_of_group * cols + i % cols, blocks_of_group, cols);
    free(partial);
    return QL_OK;
}

ql_status ql_requantize_gradient_s32(const int32_t *sums, size_t rows, size_t cols, const float *multiplier,
                                     const ql_steps_range *range, bool moves_inside, float *gradient, float *column_sum,
                                     double *scale_gradient)
{
    if (rows == 0 || cols == 0 || !(range->low <= range->high) || !(range->floor <= range->ceiling))
        return QL_EINVAL;
    const size_t blocks = ql_divided_up(rows, BLOCK_ROWS);
    float *partial = zeros(blocks * 2 * cols);
    if (!partial)
        return QL_ENOMEM;
    passage p = {.kernels = ql_kernels_active(),
                 .rows = rows,
                 .cols = cols,
                 .scale = multiplier,
                 .sums = sums,
                 .range = *range,
                 .moves_inside = moves_inside,
                 .gradient = gradient,
                 .partial = partial};
    ql_parallel(blocks, rows * cols / ELEMENTS_PER_NS, requantize_block, &p);
    double total = 0;
    for (size_t j = 0; j < cols; j++) {
        column_sum[j] = (float)folded(partial + j, blocks, 2 * cols);
        total += folded(partial + cols + j, blocks, 2 * cols);
    }
    *scale_gradient = total;
    free(partial);
    return QL_OK;
}
