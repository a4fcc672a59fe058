/* The exact integer product around the kernels.
 *
 *     acc[i][j] = sum_k (a - za)(b - zb) = sum_k a b - za[i] * column_sum[j] - zb[j] * row_sum[i]
 *     column_sum[j] = sum_k b - K zb[j]
 *
 * Kernels multiply u8 by s8 (that is what vpdpbusd does), so signed a gets its sign bit flipped and 128 added to its
 * zero point: the same sum. One zero point for all rows is folded into the accumulators' start; the others are rank-one
 * corrections of a finished tile. All of this is modulo 2^32, which is exact because the result fits (ql_gemm_fits).
 *
 * Order: rows in blocks that stay in L2, then the panels of b, then the tiles of the block, so that one panel (32 KB at
 * K = 1024) is read once per block. Tiles go to a small buffer, where the epilogue reads them, except plain int32
 * results, which go straight to c. */
#include "core/gemm.h"

#include <math.h>
#include <string.h>

#include "core/memory.h"

enum { BLOCK_BYTES = 256 * 1024 };

static const float ones[QL_MAX_MR] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

/* The rows of the largest tile, evened out: 13 rows are 7 + 6, not 12 + 1. */
static size_t tile_rows(size_t m, size_t mr)
{
    size_t tiles = (m + mr - 1) / mr;
    return (m + tiles - 1) / tiles;
}

static size_t block_rows(const ql_packed *b, size_t m)
{
    const ql_gemm_kernels *gemm = b->kernels->gemm_u8s8s32;
    size_t rows = BLOCK_BYTES / ((b->k + 1) * gemm->a_size) / gemm->mr * gemm->mr;
    rows = rows > gemm->mr ? rows : gemm->mr;
    return m < rows ? m : rows;
}

/* Bytes of a converted row; 0 where the kernels read a in place. */
static size_t converted_stride(const ql_packed *b, uint8_t flip)
{
    size_t a_size = b->kernels->gemm_u8s8s32->a_size;
    return a_size == 1 && !flip ? 0 : ql_round_up(b->k, b->kr) * a_size;
}

/* Workspace: converted rows, then one negated row sum and one negated zero point per row of a block. */
size_t ql_gemm_workspace(const ql_packed *b, size_t m, uint8_t flip)
{
    size_t rows = block_rows(b, m);
    return ql_round_up(rows * converted_stride(b, flip), QL_ALIGNMENT) + 2 * rows * sizeof(int32_t);
}

static void convert_row(const uint8_t *a, size_t k, uint8_t flip, size_t a_size, size_t stride, void *out)
{
    if (a_size == 1) {
        uint8_t *codes = out;
        for (size_t p = 0; p < k; p++)
            codes[p] = a[p] ^ flip;
        memset(codes + k, 0, stride - k);
        return;
    }
    int16_t *codes = out;
    for (size_t p = 0; p < k; p++)
        codes[p] = a[p] ^ flip;
    memset(codes + k, 0, stride - k * sizeof *codes);
}

static int32_t negated_row_sum(const uint8_t *a, size_t k, uint8_t flip)
{
    uint32_t sum = 0;
    for (size_t p = 0; p < k; p++)
        sum += (uint8_t)(a[p] ^ flip);
    return (int32_t)(0 - sum);
}

/* Everything that the tiles of a block share. */
typedef struct row_block {
    const ql_gemm_job *job;
    size_t first, rows; /* of the block, in rows of c */
    const void *a;
    size_t a_stride;
    const int32_t *row_sum, *row_zero_point; /* negated; NULL where there is no such term */
} row_block;

static row_block prepare_block(const ql_gemm_job *job, size_t first, size_t rows, void *workspace)
{
    const ql_packed *b = job->b;
    size_t a_size = b->kernels->gemm_u8s8s32->a_size, stride = converted_stride(b, job->flip);
    const uint8_t *a = job->a + first * job->a_stride;
    row_block block = {.job = job, .first = first, .rows = rows, .a = a, .a_stride = job->a_stride};
    int32_t *row_sum = (int32_t *)((char *)workspace + ql_round_up(rows * stride, QL_ALIGNMENT));
    int32_t *row_zero_point = row_sum + rows;

    if (stride) {
        for (size_t i = 0; i < rows; i++)
            convert_row(a + i * job->a_stride, b->k, job->flip, a_size, stride, (char *)workspace + i * stride);
        block.a = workspace;
        block.a_stride = stride;
    }
    if (b->has_zero_point) {
        for (size_t i = 0; i < rows; i++)
            row_sum[i] = negated_row_sum(a + i * job->a_stride, b->k, job->flip);
        block.row_sum = row_sum;
    }
    if (job->row_zero_point) {
        for (size_t i = 0; i < rows; i++)
            row_zero_point[i] = -job->row_zero_point[first + i];
        block.row_zero_point = row_zero_point;
    }
    return block;
}

static void store_tile(const row_block *block, const int32_t *tile, size_t i, size_t rows, size_t j, size_t cols)
{
    const ql_gemm_job *job = block->job;
    const ql_kernels *kernels = job->b->kernels;
    const ql_epilogue *e = job->epilogue;
    const ql_requant *q = &e->requant;
    size_t nr = job->b->nr, row = block->first + i;

    if (e->store == QL_STORE_S32) {
        for (size_t r = 0; r < rows; r++)
            memcpy((int32_t *)job->c + (row + r) * job->c_stride + j, tile + r * nr, cols * sizeof *tile);
    } else if (e->store == QL_STORE_F32) {
        float *y = (float *)job->c + row * job->c_stride + j;
        const float *row_scale = e->row_scale ? e->row_scale + row : ones;
        kernels->scale_s32_f32(tile, nr, rows, cols, row_scale, e->scale + j, e->offset + j, e->relu ? 0.0f : -INFINITY,
                               y, job->c_stride);
    } else if (q->fixed) {
        uint8_t *codes = (uint8_t *)job->c + row * job->c_stride + j;
        kernels->requantize_fixed_s32_x8(tile, nr, rows, cols, q->mantissa + j, q->exponent + j, q->zero_point, q->qmin,
                                         q->qmax, codes, job->c_stride);
    } else {
        uint8_t *codes = (uint8_t *)job->c + row * job->c_stride + j;
        kernels->requantize_s32_x8(tile, nr, rows, cols, q->multiplier + j, q->zero_point, q->qmin, q->qmax, codes,
                                   job->c_stride);
    }
}

static void run_tile(const row_block *block, size_t i, size_t rows, size_t j, size_t cols)
{
    const ql_gemm_job *job = block->job;
    const ql_packed *b = job->b;
    const ql_kernels *kernels = b->kernels;
    const ql_gemm_kernels *gemm = kernels->gemm_u8s8s32;
    const bool half = gemm->half_ukernel && cols <= b->nr / 2;
    ql_gemm_ukernel *ukernel = (half ? gemm->half_ukernel : gemm->ukernel)[rows];
    const char *a = (const char *)block->a + i * block->a_stride;
    const int8_t *panel = ql_packed_panel(b, j);
    bool plain = job->epilogue->store == QL_STORE_S32 && !block->row_sum && !block->row_zero_point;

    if (plain && cols == b->nr) {
        int32_t *c = (int32_t *)job->c + (block->first + i) * job->c_stride + j;
        ukernel(b->k, a, block->a_stride, panel, job->init + j, c, job->c_stride);
        return;
    }
    _Alignas(QL_ALIGNMENT) int32_t tile[QL_MAX_MR * QL_MAX_NR];
    ukernel(b->k, a, block->a_stride, panel, job->init + j, tile, b->nr);
    if (block->row_sum)
        kernels->add_outer_s32(tile, b->nr, rows, cols, block->row_sum + i, b->zero_point + j);
    if (block->row_zero_point)
        kernels->add_outer_s32(tile, b->nr, rows, cols, block->row_zero_point + i, b->column_sum + j);
    store_tile(block, tile, i, rows, j, cols);
}

void ql_gemm_run(const ql_gemm_job *job, void *workspace)
{
    const ql_packed *b = job->b;
    size_t step = job->m ? block_rows(b, job->m) : 1;
    for (size_t first = 0; first < job->m; first += step) {
        size_t rows = job->m - first < step ? job->m - first : step;
        row_block block = prepare_block(job, first, rows, workspace);
        size_t mr = tile_rows(rows, b->kernels->gemm_u8s8s32->mr);
        for (size_t j = 0; j < b->n; j += b->nr) {
            size_t cols = b->n - j < b->nr ? b->n - j : b->nr;
            for (size_t i = 0; i < rows; i += mr)
                run_tile(&block, i, rows - i < mr ? rows - i : mr, j, cols);
        }
    }
}

void ql_gemm_init(const ql_packed *b, const int32_t *bias, int32_t zero_point, int32_t *init)
{
    for (size_t j = 0; j < b->n_padded; j++) {
        uint32_t start = bias && j < b->n ? (uint32_t)bias[j] : 0;
        init[j] = (int32_t)(start - (uint32_t)zero_point * (uint32_t)b->column_sum[j]);
    }
}

bool ql_gemm_fits(const ql_packed *b, int32_t a_reach, const int32_t *bias)
{
    int64_t reach, greatest_bias = 0;
    for (size_t j = 0; bias && j < b->n; j++) {
        int64_t magnitude = bias[j] < 0 ? -(int64_t)bias[j] : bias[j];
        greatest_bias = magnitude > greatest_bias ? magnitude : greatest_bias;
    }
    return !__builtin_mul_overflow(b->column_reach, a_reach, &reach) && reach <= INT32_MAX - greatest_bias;
}

ql_status ql_gemm(const ql_codes *a, size_t m, const ql_packed *b, int32_t *c)
{
    if (b->purpose != QL_PACK_INTEGER)
        return QL_EINVAL;
    const uint8_t flip = a->is_signed ? 128 : 0;
    const size_t zero_points = a->per_row ? m : 1;
    int32_t a_reach = 0;
    for (size_t i = 0; i < zero_points; i++) {
        if (a->zero_point[i] < -flip || a->zero_point[i] > 255 - flip)
            return QL_EINVAL;
        int32_t reach = ql_code_reach(a->zero_point[i] + flip);
        a_reach = reach > a_reach ? reach : a_reach;
    }
    if (!ql_gemm_fits(b, a_reach, NULL))
        return QL_EOVERFLOW;
    if (m == 0 || b->n == 0)
        return QL_OK;

    ql_status status = QL_ENOMEM;
    int32_t *init = ql_alloc(b->n_padded, sizeof *init);
    int32_t *row_zero_point = ql_alloc(a->per_row ? m : 0, sizeof *row_zero_point);
    void *workspace = ql_alloc(1, ql_gemm_workspace(b, m, flip));
    if (!init || !row_zero_point || !workspace)
        goto done;
    for (size_t i = 0; a->per_row && i < m; i++)
        row_zero_point[i] = a->zero_point[i] + flip;
    ql_gemm_init(b, NULL, a->per_row ? 0 : *a->zero_point + flip, init);
    const ql_epilogue epilogue = {.store = QL_STORE_S32};
    ql_gemm_job job = {.b = b,
                       .a = a->data,
                       .m = m,
                       .a_stride = a->row_stride,
                       .flip = flip,
                       .init = init,
                       .row_zero_point = a->per_row ? row_zero_point : NULL,
                       .epilogue = &epilogue,
                       .c = c,
                       .c_stride = b->n};
    ql_gemm_run(&job, workspace);
    status = QL_OK;
done:
    free(workspace);
    free(row_zero_point);
    free(init);
    return status;
}
