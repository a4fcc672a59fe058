/* The exact integer product around the kernels.
 *
 *     acc[i][j] = sum_k (a - za)(b - zb) = sum_k a b - za[i] * column_sum[j] - zb[j] * row_sum[i]
 *     column_sum[j] = sum_k b - K zb[j]
 *
 * Kernels multiply u8 by s8 (that is what vpdpbusd does), so signed a gets its sign bit flipped and 128 added to its
 * zero point: the same sum. One zero point for all rows is folded into the accumulators' start; the others are rank-one
 * terms. All of this is modulo 2^32, which is exact because the result fits (ql_gemm_fits).
 *
 * Order: rows in blocks that stay in L2, then the panels of b, then the tiles of the block, so that one panel (32 KB at
 * K = 1024) is read once per block. For several threads each block's panels are cut in chunks: a block and a chunk are
 * an item of work. Where a has to be converted or summed up, that is done for a stretch of blocks, then these are
 * multiplied; for one thread a stretch is one block, whose converted rows are still in L2: 2048x512x32 takes 0.91 of
 * the time, 1024x1024x256 0.96 (AVX2, Zen 3).
 *
 * Ranges (ql_gemm_ranges in kernels.h) find their own way through an item, and want rows on lines of memory, as deep as
 * panels are padded: a copy costs 3 % of a product with 1024 columns, rows across lines more than half of it. Who
 * makes codes for a product lays them out so at once (ql_gemm_stride). */
#include "core/gemm/gemm.h"

#include <string.h>

#include "core/base/memory.h"
#include "core/base/parallel.h"
#include "core/base/sizes.h"

enum {
    BLOCK_BYTES = 256 * 1024,
    LARGE_BLOCK_BYTES = 768 * 1024,
    LARGE_B_BYTES = 4 * 1024 * 1024,
    STRETCH_BYTES = 4 * 1024 * 1024,
    ITEMS_PER_THREAD = 4,
    MACS_PER_NS = 256,
    RANGE_MACS_PER_NS = 1024,
    COPY_COLUMNS = 64, /* with more of them ranges have a copied if it does not lie on lines */
    LINE = 64,
    FEW_SETS = 2048, /* bytes between rows: those of two tiles need 16 places in a set of 12 */
    PREPARING = 16   /* multiply-adds: what converting one element of a costs */
};

/* Returns the rows of a tile when m rows are dealt out evenly: 13 rows are 7 + 6, not 12 + 1. */
static size_t tile_rows(size_t m, size_t mr)
{
    return ql_divided_up(m, ql_divided_up(m, mr));
}

/* A large b comes from L3 or from memory once per block: 512x4096x4096 is 1.03 to 1.17 times as fast with the
 * larger blocks. Smaller ones are better where b itself stays near. */
static size_t block_bytes(const ql_packed *b)
{
    const size_t bytes = b->n_padded / b->nr * b->panel_bytes;
    if (b->gemm->ranges && bytes > b->gemm->ranges->stay_bytes)
        return b->gemm->ranges->stay_bytes;
    return bytes > LARGE_B_BYTES ? LARGE_BLOCK_BYTES : BLOCK_BYTES;
}

/* Returns the rows that fit a block. */
static size_t fitting_rows(const ql_packed *b)
{
    const size_t fitting = block_bytes(b) / ((b->k + 1) * b->gemm->a_size);
    return fitting ? fitting : 1;
}

size_t ql_gemm_block_rows(const ql_packed *b, size_t m)
{
    const size_t most = fitting_rows(b);
    const size_t blocks = (m + most / 2) / most; /* the nearest number: a last block of a few rows is all of b again */
    return ql_least(m, ql_round_up(ql_divided_up(m, blocks ? blocks : 1), b->gemm->mr));
}

/* Returns the rows that fit a stretch. */
static size_t stretch_room(const ql_packed *b)
{
    return STRETCH_BYTES / ((b->k + 1) * b->gemm->a_size);
}

static size_t stretch_rows(const ql_packed *b, size_t m)
{
    const size_t block = ql_gemm_block_rows(b, m), blocks = stretch_room(b) / (block + !block);
    return ql_least(m, (blocks ? blocks : 1) * block);
}

/* Returns the most rows of a stretch of m rows or fewer: fewer rows in other blocks may be a longer one. A block is the
 * nearest to the rows that fit, so less than twice as many, in whole tiles. */
static size_t longest_stretch(const ql_packed *b, size_t m)
{
    const size_t room = stretch_room(b), block = 2 * fitting_rows(b) + b->gemm->mr;
    return ql_least(m, room > block ? room : block);
}

/* Rows for ranges are an odd number of lines apart: 4 KB apart, all would meet in one set of the cache. */
size_t ql_gemm_stride(const ql_packed *b)
{
    const size_t bytes = ql_round_up(b->k, b->depth);
    if (b->gemm->ranges)
        return bytes + (bytes % (2 * LINE) == 0 ? LINE : 0);
    return b->k;
}

size_t ql_gemm_room(const ql_packed *b, size_t rows)
{
    return b->gemm->ranges && rows > 1 ? ql_round_up(rows, b->gemm->ranges->rows) : rows;
}

/* Returns the bytes of a converted row; 0 where the kernels read a in place. */
static size_t converted_stride(const ql_packed *b, uint8_t flip)
{
    if (b->gemm->ranges)
        return flip || b->n > COPY_COLUMNS ? ql_gemm_stride(b) : 0;
    return b->gemm->a_size == 1 && !flip ? 0 : ql_round_up(b->k, b->depth) * b->gemm->a_size;
}

/* Returns whether ranges read a in place: rows on lines, and not all in a few sets of the cache. */
static bool lies_well(const ql_gemm_job *job)
{
    return ((uintptr_t)job->a | job->a_stride) % LINE == 0 && job->b->k % job->b->depth == 0 &&
           job->a_stride % FEW_SETS != 0;
}

/* The workspace holds, for a stretch: converted rows, then one negated row sum and one negated zero point per row. */
static size_t workspace_bytes(const ql_packed *b, size_t m, size_t stride)
{
    const size_t rows = longest_stretch(b, m);
    return ql_round_up(ql_gemm_room(b, rows) * stride, QL_ALIGNMENT) + 2 * rows * sizeof(int32_t);
}

size_t ql_gemm_workspace(const ql_packed *b, size_t m, uint8_t flip)
{
    return workspace_bytes(b, m, converted_stride(b, flip));
}

size_t ql_gemm_workspace_laid_out(const ql_packed *b, size_t m)
{
    return workspace_bytes(b, m, b->gemm->ranges ? 0 : converted_stride(b, 0));
}

/* Blocks of rows that are prepared together, then multiplied in items of a block by a chunk of columns. */
typedef struct stretch {
    const ql_gemm_job *job;
    size_t first, rows, block, chunk, chunks; /* chunk: columns, a multiple of two panels */
    char *converted;                          /* NULL: the tiles read a in place */
    size_t converted_stride;
    int32_t *row_sum, *row_zero_point; /* negated; NULL where there is no such term */
    ql_gemm_args args;
} stretch;

/* Converts rows without gaps, before and after, as if they were one: 12,544 rows of 32, with 16 columns, take 143 us
 * instead of 357, 2304 rows of 8 take 12 us instead of 36 (AVX2, Zen 3). */
static void convert_together(const stretch *s, size_t begin, size_t end)
{
    const ql_gemm_job *job = s->job;
    const size_t count = (end - begin) * job->b->k;
    job->b->gemm->row(job->a + (s->first + begin) * job->a_stride, count, job->flip, count,
                      s->converted + begin * s->converted_stride);
}

static void prepare_block(void *context, size_t item)
{
    const stretch *s = context;
    const ql_gemm_job *job = s->job;
    const ql_packed *b = job->b;
    const size_t begin = item * s->block, end = ql_least(s->rows, begin + s->block);
    const bool has_gaps = job->a_stride != b->k || s->converted_stride != b->k * b->gemm->a_size;
    if (!s->row_sum && !s->row_zero_point && !has_gaps) {
        convert_together(s, begin, end);
        return;
    }
    const bool needs_row = s->converted || s->row_sum;
    for (size_t i = begin; i < end; i++) {
        const uint8_t *row = job->a + (s->first + i) * job->a_stride;
        char *out = s->converted ? s->converted + i * s->converted_stride : NULL;
        uint32_t sum = needs_row ? b->gemm->row(row, b->k, job->flip, ql_round_up(b->k, b->depth), out) : 0;
        if (s->row_sum)
            s->row_sum[i] = (int32_t)(0 - sum);
        if (s->row_zero_point)
            s->row_zero_point[i] = -job->row_zero_point[s->first + i];
    }
}

const ql_gemm_kernels *ql_gemm_begin(const ql_packed *b, size_t rows, size_t cols)
{
    const ql_gemm_ranges *ranges = b->gemm->ranges;
    if (!ranges)
        return b->gemm;
    const uint64_t macs = (uint64_t)rows * cols * b->k;
    if (macs == 0 || !ranges->is_worth(macs) || !ql_tiles_permission())
        return b->gemm->lower;
    ranges->begin();
    return b->gemm;
}

void ql_gemm_end(const ql_gemm_kernels *gemm)
{
    if (gemm->ranges)
        gemm->ranges->end();
}

size_t ql_gemm_columns(const ql_gemm_kernels *gemm, size_t rows)
{
    if (gemm->ranges)
        return SIZE_MAX;
    return rows <= gemm->wide_mr ? 2 * gemm->nr : gemm->nr;
}

void ql_gemm_tiles(const ql_gemm_args *args, const ql_gemm_kernels *gemm, size_t begin, size_t end, size_t j,
                   size_t cols)
{
    if (gemm->ranges) {
        gemm->ranges->run(args, begin, end - begin, j, cols);
        return;
    }
    const size_t mr = tile_rows(end - begin, gemm->mr);
    ql_gemm_ukernel *const *ukernels = gemm->ukernel;
    if (cols > gemm->nr)
        ukernels = gemm->wide_ukernel;
    else if (cols <= gemm->nr / 2 && gemm->half_ukernel)
        ukernels = gemm->half_ukernel;
    const size_t tiles = (end - begin) / mr, rest = (end - begin) % mr;
    if (tiles > 0)
        ukernels[mr](args, begin, tiles, j, cols);
    if (rest > 0)
        ukernels[rest](args, end - rest, 1, j, cols);
}

static void multiply_item(void *context, size_t item)
{
    const stretch *s = context;
    const ql_packed *b = s->job->b;
    const size_t begin = item / s->chunks * s->block, end = ql_least(s->rows, begin + s->block);
    const size_t first = item % s->chunks * s->chunk, last = ql_least(b->n, first + s->chunk);
    const ql_gemm_kernels *gemm = ql_gemm_begin(b, end - begin, last - first);
    const size_t step = ql_least(ql_gemm_columns(gemm, end - begin), last - first);
    for (size_t j = first; j < last; j += step)
        ql_gemm_tiles(&s->args, gemm, begin, end, j, ql_least(step, last - j));
    ql_gemm_end(gemm);
}

uint64_t ql_gemm_cost_ns(const ql_packed *b, size_t m)
{
    const double speed = b->gemm && b->gemm->ranges ? RANGE_MACS_PER_NS : MACS_PER_NS; /* none: of floats */
    double cost = (double)m * (double)b->k * (double)b->n / speed;
    return cost < 1e18 ? (uint64_t)cost : (uint64_t)1e18;
}

/* Cuts the columns in chunks that give every thread several items, or in one for a single thread. */
static void cut_columns(stretch *s, uint64_t cost)
{
    const ql_packed *b = s->job->b;
    const size_t blocks = ql_divided_up(s->rows, s->block), pair = 2 * b->nr;
    const size_t threads = ql_threads_for(cost);
    const size_t items = threads > 1 ? ITEMS_PER_THREAD * threads : 1;
    s->chunk = ql_round_up(ql_divided_up(b->n, ql_divided_up(items, blocks)), pair);
    s->chunks = ql_divided_up(b->n, s->chunk);
}

static void run_stretch(stretch *s)
{
    static const size_t no_offset = 0;
    const ql_gemm_job *job = s->job;
    const ql_packed *b = job->b;
    const size_t blocks = ql_divided_up(s->rows, s->block), c_size = job->epilogue->store < QL_STORE_X8 ? 4 : 1;
    const uint64_t cost = ql_gemm_cost_ns(b, s->rows);
    const bool is_padded = s->converted || (job->is_laid_out && b->gemm->ranges);
    cut_columns(s, cost);
    if (s->converted || s->row_sum || s->row_zero_point)
        ql_parallel(blocks, cost / (b->n + 1) * PREPARING, prepare_block, s);
    s->args = (ql_gemm_args){
        .a = s->converted ? s->converted : (const char *)job->a + s->first * job->a_stride,
        .a_stride = s->converted ? s->converted_stride : job->a_stride,
        .k = is_padded ? ql_round_up(b->k, b->depth) : b->k,
        .segments = 1,
        .offset = &no_offset,
        .b = b->panels,
        .panel_stride = b->panel_bytes,
        .start = job->init,
        .row_term = {s->row_sum, s->row_zero_point},
        .col_term = {b->zero_point, b->column_sum},
        .row_scale = job->row_scale ? job->row_scale + s->first : NULL,
        .residual = ql_residual_from(&job->residual, s->first * job->c_stride, 0),
        .epilogue = job->epilogue,
        .c = (char *)job->c + s->first * job->c_stride * c_size,
        .c_stride = job->c_stride,
        .a_rows = is_padded ? ql_gemm_room(b, s->rows) : s->rows,
    };
    ql_parallel(blocks * s->chunks, cost, multiply_item, s);
}

void ql_gemm_run(const ql_gemm_job *job, void *workspace)
{
    const ql_packed *b = job->b;
    const bool is_as_it_is = b->gemm->ranges && !job->flip && (job->is_laid_out || lies_well(job));
    const size_t stride = is_as_it_is ? 0 : converted_stride(b, job->flip);
    const size_t block = ql_gemm_block_rows(b, job->m), most = stretch_rows(b, job->m);
    const bool is_shared = most > block && ql_threads_for(ql_gemm_cost_ns(b, job->m)) > 1;
    const size_t step = is_shared ? most : block;
    int32_t *row_terms = (int32_t *)((char *)workspace + ql_round_up(ql_gemm_room(b, step) * stride, QL_ALIGNMENT));
    for (size_t first = 0; first < job->m && b->n > 0; first += step) {
        stretch s = {.job = job,
                     .first = first,
                     .rows = ql_least(step, job->m - first),
                     .block = block,
                     .converted = stride ? workspace : NULL,
                     .converted_stride = stride,
                     .row_sum = b->has_zero_point ? row_terms : NULL,
                     .row_zero_point = job->row_zero_point ? row_terms + step : NULL};
        run_stretch(&s);
    }
}

void ql_gemm_init(const ql_packed *b, const int32_t *bias, int32_t zero_point, int32_t *init)
{
    for (size_t j = 0; j < b->n_padded; j++) {
        uint32_t start = bias && j < b->n ? (uint32_t)bias[j] : 0;
        init[j] = (int32_t)(start - (uint32_t)zero_point * (uint32_t)b->column_sum[j]);
    }
}

bool ql_reach_fits(int64_t column_reach, int32_t a_reach, const int32_t *bias, size_t n)
{
    int64_t reach, greatest_bias = 0;
    for (size_t j = 0; bias && j < n; j++) {
        int64_t magnitude = bias[j] < 0 ? -(int64_t)bias[j] : bias[j];
        greatest_bias = magnitude > greatest_bias ? magnitude : greatest_bias;
    }
    return !__builtin_mul_overflow(column_reach, a_reach, &reach) && reach <= INT32_MAX - greatest_bias;
}

bool ql_gemm_fits(const ql_packed *b, int32_t a_reach, const int32_t *bias)
{
    return ql_reach_fits(b->column_reach, a_reach, bias, b->n);
}

static bool is_below_128(const ql_codes *a, size_t m, size_t k)
{
    uint8_t seen = 0;
    for (size_t i = 0; i < m; i++) {
        for (size_t p = 0; p < k; p++)
            seen |= a->data[i * a->row_stride + p];
    }
    return seen < 128;
}

static ql_status check_operands(const ql_codes *a, size_t m, const ql_packed *b, const int32_t *bias, uint8_t flip)
{
    if (!b->gemm)
        return QL_EINVAL;
    if (b->purpose == QL_PACK_INTEGER7 && !is_below_128(a, m, b->k))
        return QL_ECODES;
    const int32_t lowest = a->is_signed ? -128 : 0;
    const int32_t greatest = b->purpose == QL_PACK_INTEGER7 ? 127 : 255; /* code, as it is multiplied */
    int32_t a_reach = 0;
    for (size_t i = 0; i < (a->per_row ? m : 1); i++) {
        if (a->zero_point[i] < lowest || a->zero_point[i] > lowest + 255)
            return QL_EINVAL;
        const int32_t below = a->zero_point[i] + flip, above = greatest - below;
        const int32_t reach = below > above ? below : above;
        a_reach = reach > a_reach ? reach : a_reach;
    }
    return ql_gemm_fits(b, a_reach, bias) ? QL_OK : QL_EOVERFLOW;
}

ql_status ql_gemm(const ql_codes *a, size_t m, const ql_packed *b, const int32_t *bias, const ql_epilogue *epilogue,
                  void *c)
{
    const uint8_t flip = a->is_signed && b->purpose != QL_PACK_INTEGER7 ? 128 : 0;
    const ql_status status = check_operands(a, m, b, bias, flip);
    if (status != QL_OK || m == 0 || b->n == 0)
        return status;
    const size_t init_bytes = ql_round_up(b->n_padded * sizeof(int32_t), QL_ALIGNMENT);
    const size_t row_bytes = ql_round_up((a->per_row ? m : 0) * sizeof(int32_t), QL_ALIGNMENT);
    char *memory = ql_alloc(1, init_bytes + row_bytes + ql_gemm_workspace(b, m, flip));
    if (!memory)
        return QL_ENOMEM;
    int32_t *init = (int32_t *)memory, *row_zero_point = (int32_t *)(memory + init_bytes);
    for (size_t i = 0; a->per_row && i < m; i++)
        row_zero_point[i] = a->zero_point[i] + flip;
    ql_gemm_init(b, bias, a->per_row ? 0 : *a->zero_point + flip, init);
    ql_gemm_job job = {.b = b,
                       .a = a->data,
                       .m = m,
                       .a_stride = a->row_stride,
                       .flip = flip,
                       .init = init,
                       .row_zero_point = a->per_row ? row_zero_point : NULL,
                       .epilogue = epilogue,
                       .c = c,
                       .c_stride = b->n};
    ql_gemm_run(&job, memory + init_bytes + row_bytes);
    free(memory);
    return QL_OK;
}
