/* Grids of any values: the nearest of them, found by comparisons with the values halfway between neighbours.
 *
 * Exactness: a threshold is the least float32 at which the upper of two neighbours wins, so comparing t with it decides
 * as the distances would, were they real numbers. The middle of two floats a < b is known exactly as (s + e) / 2 with
 * s = a + b rounded to double and e its error.
 *
 * The thresholds become a search tree in breadth-first order, where each level is one table to look up in (Khuong and
 * Morin, "Array layouts for comparison-based searching", 2017). */
#include <math.h>

#include "core/array/codebook_order.h"
#include "core/base/finite.h"
#include "core/base/layout.h"
#include "core/base/memory.h"
#include "kernels/kernels.h"

enum { MIN_DEPTH = 4 };

typedef struct entry {
    float value;
    int32_t code;
} entry;

static int sign_of(double v)
{
    return (v > 0) - (v < 0);
}

/* The sign of t - (a + b) / 2. Rounding to double keeps order, so 2t and the rounded sum decide unless they are equal;
 * then the rounding error does (Knuth's two-sum). */
static int compared_to_middle(float t, float a, float b)
{
    const double x = (double)a, y = (double)b, sum = x + y, part = sum - x;
    const double error = (x - (sum - part)) + (y - part), twice = 2 * (double)t;
    return twice != sum ? sign_of(twice - sum) : sign_of(-error);
}

/* A tie goes to the even code, and to the lower value if both codes are even or both odd. */
static bool upper_wins(float t, const entry *low, const entry *high)
{
    const int side = compared_to_middle(t, low->value, high->value);
    return side > 0 || (side == 0 && low->code % 2 != 0 && high->code % 2 == 0);
}

static float threshold_between(const entry *low, const entry *high)
{
    float t = (float)(((double)low->value + (double)high->value) / 2);
    while (upper_wins(t, low, high))
        t = nextafterf(t, -INFINITY);
    while (!upper_wins(t, low, high))
        t = nextafterf(t, INFINITY);
    return t;
}

/* Fills entries with the finite values in ascending order, each once, with its first code; returns how many. */
static size_t sorted_entries(const float *values, size_t count, entry *entries)
{
    uint8_t codes[QL_MAX_ENTRIES];
    const size_t finite = ql_sort_codes(values, count, codes);
    size_t distinct = 0;
    for (size_t i = 0; i < finite; i++) {
        const float value = values[codes[i]];
        if (distinct == 0 || value != entries[distinct - 1].value)
            entries[distinct++] = (entry){value, codes[i]};
    }
    return distinct;
}

/* Threshold r, which parts ranks r - 1 and r, stands where a walk of the tree in order comes r-th. */
static void fill_tree(const entry *entries, size_t distinct, int depth, float *threshold, int32_t *code)
{
    const size_t leaves = (size_t)1 << depth;
    threshold[0] = NAN;
    for (size_t node = 1; node < leaves; node++) {
        int level = 0;
        while (node >> (level + 1))
            level++;
        const size_t rank = (2 * (node - ((size_t)1 << level)) + 1) << (depth - level - 1);
        threshold[node] = rank < distinct ? threshold_between(entries + rank - 1, entries + rank) : NAN;
    }
    for (size_t rank = 0; rank < leaves; rank++)
        code[rank] = rank < distinct ? entries[rank].code : 0;
}

static int depth_for(size_t entries)
{
    int depth = MIN_DEPTH;
    while (((size_t)1 << depth) < entries)
        depth++;
    return depth;
}

/* Finds how codes follow from ranks. Codes that are the bits of floats are folded: negative ones come after the
 * positive ones, and backwards. */
static void find_order(const int32_t *code, size_t distinct, ql_codebook_tree *tree)
{
    const int32_t leaves = 1 << tree->levels;
    size_t fold = 0;
    while (fold + 1 < distinct && code[fold] > code[fold + 1])
        fold++;
    bool is_folded = true;
    for (size_t rank = 0; rank < distinct; rank++)
        is_folded &= code[rank] == (rank < fold ? code[0] - (int32_t)rank : (int32_t)(rank - fold));
    tree->order = !is_folded ? QL_CODES_ANY : fold > 0 ? QL_CODES_FOLDED : QL_CODES_IN_ORDER;
    tree->fold = leaves + (int32_t)fold;
    tree->mirror = leaves + code[0];
}

/* Allocates a tree per codebook in one piece: count trees, then their tables. The caller frees it, also on failure. */
static ql_status make_trees(const ql_codebook *p, size_t count, ql_codebook_tree **trees)
{
    const int depth = depth_for(p->entries);
    const size_t leaves = (size_t)1 << depth, head = ql_round_up(count * sizeof **trees, QL_ALIGNMENT);
    entry entries[QL_MAX_ENTRIES];
    if (count > SIZE_MAX / 2 / (leaves * 2 * sizeof(float) + sizeof **trees))
        return QL_ENOMEM;
    char *memory = ql_alloc(1, head + count * leaves * 2 * sizeof(float));
    if (!memory)
        return QL_ENOMEM;
    *trees = (ql_codebook_tree *)memory;
    for (size_t i = 0; i < count; i++) {
        float *threshold = (float *)(memory + head) + i * 2 * leaves;
        int32_t *code = (int32_t *)(threshold + leaves);
        const size_t distinct = sorted_entries(p->values + i * p->entries, p->entries, entries);
        if (distinct == 0)
            return QL_EINVAL;
        fill_tree(entries, distinct, depth, threshold, code);
        (*trees)[i] = (ql_codebook_tree){.levels = depth, .threshold = threshold, .code = code};
        find_order(code, distinct, *trees + i);
    }
    return QL_OK;
}

static bool codebook_is_valid(const ql_codebook *p, size_t parameters)
{
    return p->entries >= 1 && p->entries <= QL_MAX_ENTRIES && ql_scales_are_valid(p->scale, parameters);
}

/* Returns the piece of a run from element `first` on that a kernel takes: all of it, or where parameters have codebooks
 * of their own, the elements that share one. */
static ql_run piece_of(const ql_codebook *p, const ql_run *run, size_t first)
{
    return ql_run_piece(run, first, p->is_own ? run->group : SIZE_MAX);
}

/* Returns whether x holds NaN or an infinity. */
static bool quantize(const float *x, const ql_codebook *p, const ql_codebook_tree *trees, uint8_t *codes)
{
    const ql_kernels *kernels = ql_kernels_active();
    bool nonfinite = false;
    for (size_t i = 0; i < ql_run_count(&p->layout); i++) {
        const ql_run run = ql_run_at(&p->layout, i);
        for (size_t first = 0; first < run.length;) {
            const ql_run piece = piece_of(p, &run, first);
            nonfinite |= kernels->quantize_codebook_f32_u8(x + piece.offset, piece.length, p->scale + piece.parameter,
                                                           piece.group, trees + (p->is_own ? piece.parameter : 0),
                                                           codes + piece.offset);
            first += piece.length;
        }
    }
    return nonfinite;
}

ql_status ql_quantize_codebook_f32_u8(const float *x, const ql_codebook *p, ql_nonfinite nonfinite, uint8_t *codes)
{
    const size_t n = ql_layout_size(&p->layout), parameters = n > 0 ? ql_layout_parameters(&p->layout) : 0;
    ql_codebook_tree *trees = NULL;
    if (!codebook_is_valid(p, parameters))
        return QL_EINVAL;
    if (n == 0)
        return QL_OK;
    ql_status status = make_trees(p, p->is_own ? parameters : 1, &trees);
    if (status == QL_OK && nonfinite == QL_NONFINITE_REFUSE && !ql_all_finite(ql_kernels_active(), x, n))
        status = QL_ENONFINITE;
    if (status == QL_OK && quantize(x, p, trees, codes) && nonfinite == QL_NONFINITE_REFUSE_LATE)
        status = QL_ENONFINITE;
    free(trees);
    return status;
}

static bool codes_are_below(const uint8_t *codes, size_t n, size_t limit)
{
    uint8_t greatest = 0;
    for (size_t i = 0; i < n; i++)
        greatest = codes[i] > greatest ? codes[i] : greatest;
    return greatest < limit;
}

ql_status ql_dequantize_codebook_u8_f32(const uint8_t *codes, const ql_codebook *p, float *x)
{
    const ql_kernels *kernels = ql_kernels_active();
    const size_t n = ql_layout_size(&p->layout), parameters = n > 0 ? ql_layout_parameters(&p->layout) : 0;
    if (!codebook_is_valid(p, parameters) || !codes_are_below(codes, n, p->entries))
        return QL_EINVAL;
    if (n == 0)
        return QL_OK;
    const int depth = depth_for(p->entries);
    const size_t leaves = (size_t)1 << depth, count = p->is_own ? parameters : 1;
    float *values = ql_alloc(count, leaves * sizeof *values);
    if (!values)
        return QL_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < leaves; k++)
            values[i * leaves + k] = k < p->entries ? p->values[i * p->entries + k] : 0;
    }
    for (size_t i = 0; i < ql_run_count(&p->layout); i++) {
        const ql_run run = ql_run_at(&p->layout, i);
        for (size_t first = 0; first < run.length;) {
            const ql_run piece = piece_of(p, &run, first);
            kernels->dequantize_codebook_u8_f32(codes + piece.offset, piece.length, p->scale + piece.parameter,
                                                piece.group, values + (p->is_own ? piece.parameter * leaves : 0), depth,
                                                x + piece.offset);
            first += piece.length;
        }
    }
    free(values);
    return QL_OK;
}
