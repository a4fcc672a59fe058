/* Choice of clipping ranges and codebooks: checks, then a method for every channel or row. */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "core/base/memory.h"
#include "core/calibrate/distribution.h"
#include "core/calibrate/entropy.h"
#include "core/calibrate/histogram.h"
#include "core/calibrate/kmeans.h"
#include "core/calibrate/mse.h"
#include "core/calibrate/percentile.h"
#include "core/calibrate/quantiles.h"

/* ---- ranges ------------------------------------------------------------------------------------------- */

static bool options_are_valid(ql_range_method method, double percentile, const ql_grid *grid)
{
    const bool takes_codebook = method != QL_RANGE_ENTROPY;
    return percentile > 50 && percentile <= 100 && ql_grid_is_valid(grid) && (takes_codebook || !grid->codebook);
}

/* Returns the grid's levels for a zero point of 0; entries is memory for those of a codebook. */
static ql_levels levels_of(const ql_grid *grid, double *entries)
{
    if (!grid->codebook)
        return (ql_levels){.count = (size_t)(grid->qmax - grid->qmin) + 1, .first = grid->qmin};
    return (ql_levels){.count = ql_sorted_entries(grid->codebook, grid->entries, entries), .entries = entries};
}

/* Chooses the range of one distribution by either method that knows distributions. mass counts all values. */
static void choose_range(const ql_distribution *d, ql_range_method method, double mass, double percentile,
                         const ql_grid *grid, const ql_levels *levels, float *low, float *high)
{
    if (method == QL_RANGE_MSE)
        ql_mse_range(d, grid, levels, low, high);
    else
        ql_percentile_range(d, mass, percentile, grid, low, high);
}

static bool histograms_are_usable(const ql_histogram *h, const int64_t *counts, size_t channels, size_t bins)
{
    if (!ql_histograms_are_valid(h, counts, channels, bins))
        return false;
    for (size_t c = 0; c < channels; c++) {
        if (h[c].count == 0)
            return false;
    }
    return true;
}

ql_status ql_histogram_range(const ql_histogram *h, const int64_t *counts, size_t channels, size_t bins,
                             ql_range_method method, double percentile, const ql_grid *grid, float *low, float *high)
{
    if (!options_are_valid(method, percentile, grid) || !histograms_are_usable(h, counts, channels, bins))
        return QL_EINVAL;
    double entries[QL_MAX_ENTRIES];
    const ql_levels levels = levels_of(grid, entries);
    ql_distribution d;
    ql_entropy_sums *sums = ql_alloc(bins + 1, sizeof *sums);
    ql_status status = QL_ENOMEM;
    if (!ql_distribution_alloc(&d, bins) || !sums)
        goto done;
    status = QL_OK;
    for (size_t c = 0; c < channels; c++) {
        const int64_t *own = counts + c * bins;
        /* Exact zeros come back exactly from a uniform grid, and are inside of every range. */
        const bool with_zeros = grid->codebook && method == QL_RANGE_MSE;
        if (h[c].min == h[c].max) {
            low[c] = high[c] = h[c].min;
        } else if (method == QL_RANGE_ENTROPY) {
            ql_entropy_range(h + c, own, bins, grid, sums, low + c, high + c);
        } else {
            if (method == QL_RANGE_MSE)
                ql_distribution_of_histogram(&d, h + c, own, bins, with_zeros);
            else
                ql_distribution_of_masses(&d, h + c, own, bins);
            choose_range(&d, method, (double)h[c].count, percentile, grid, &levels, low + c, high + c);
        }
    }
done:
    free(sums);
    ql_distribution_free(&d);
    return status;
}

/* Checks that every row is finite and ascends. */
static ql_status check_rows(const float *x, size_t rows, size_t n)
{
    if (n == 0)
        return QL_EINVAL;
    for (size_t r = 0; r < rows; r++) {
        const float *row = x + r * n;
        bool ascends = true, is_finite = true;
        for (size_t i = 0; i < n; i++)
            is_finite &= fabsf(row[i]) <= FLT_MAX;
        for (size_t i = 1; i < n; i++)
            ascends &= row[i - 1] <= row[i];
        if (!is_finite || !ascends)
            return is_finite ? QL_EINVAL : QL_ENONFINITE;
    }
    return QL_OK;
}

ql_status ql_sorted_range(const float *x, size_t rows, size_t n, ql_range_method method, double percentile,
                          const ql_grid *grid, float *low, float *high)
{
    if (!options_are_valid(method, percentile, grid) || method == QL_RANGE_ENTROPY)
        return QL_EINVAL;
    ql_status status = check_rows(x, rows, n);
    if (status != QL_OK)
        return status;
    double entries[QL_MAX_ENTRIES];
    const ql_levels levels = levels_of(grid, entries);
    ql_distribution d;
    if (!ql_distribution_alloc(&d, n))
        return QL_ENOMEM;
    for (size_t r = 0; r < rows; r++) {
        const float *row = x + r * n;
        if (row[0] == row[n - 1]) {
            low[r] = high[r] = row[0];
            continue;
        }
        ql_distribution_of_sorted(&d, row, NULL, n);
        choose_range(&d, method, (double)n, percentile, grid, &levels, low + r, high + r);
    }
    ql_distribution_free(&d);
    return QL_OK;
}

/* ---- codebooks ---------------------------------------------------------------------------------------- */

ql_status ql_histogram_codebook(const ql_histogram *h, const int64_t *counts, size_t channels, size_t bins,
                                ql_codebook_kind kind, size_t entries, float *codebook)
{
    if (entries < 1 || entries > QL_MAX_ENTRIES || !histograms_are_usable(h, counts, channels, bins))
        return QL_EINVAL;
    ql_distribution d;
    ql_kmeans k;
    ql_status status = QL_ENOMEM;
    bool has_distribution = ql_distribution_alloc(&d, bins), has_kmeans = ql_kmeans_alloc(&k, bins, entries);
    if (!has_distribution || !has_kmeans)
        goto done;
    for (size_t c = 0; c < channels; c++) {
        ql_distribution_of_histogram(&d, h + c, counts + c * bins, bins, true);
        if (kind == QL_CODEBOOK_KMEANS)
            ql_kmeans_of_bins(&k, &d, entries, codebook + c * entries);
        else
            ql_quantiles_of_bins(&d, entries, codebook + c * entries);
    }
    status = QL_OK;
done:
    ql_kmeans_free(&k);
    ql_distribution_free(&d);
    return status;
}

static ql_status check_weights(const double *weights, size_t rows, size_t n)
{
    for (size_t r = 0; r < rows; r++) {
        double greatest = 0;
        for (size_t i = 0; i < n; i++) {
            const double w = weights[r * n + i];
            if (!(fabs(w) <= DBL_MAX))
                return QL_ENONFINITE;
            if (w < 0)
                return QL_EINVAL;
            greatest = w > greatest ? w : greatest;
        }
        if (greatest == 0)
            return QL_EINVAL;
    }
    return QL_OK;
}

ql_status ql_sorted_codebook(const float *x, const double *weights, size_t rows, size_t n, ql_codebook_kind kind,
                             size_t entries, float *codebook)
{
    if (entries < 1 || entries > QL_MAX_ENTRIES)
        return QL_EINVAL;
    ql_status status = check_rows(x, rows, n);
    if (status == QL_OK && weights)
        status = check_weights(weights, rows, n);
    if (status != QL_OK)
        return status;
    ql_distribution d;
    ql_kmeans k;
    bool has_distribution = ql_distribution_alloc(&d, n), has_kmeans = ql_kmeans_alloc(&k, n, entries);
    status = QL_ENOMEM;
    if (!has_distribution || !has_kmeans)
        goto done;
    for (size_t r = 0; r < rows; r++) {
        const double *own = weights ? weights + r * n : NULL;
        if (kind == QL_CODEBOOK_KMEANS) {
            ql_distribution_of_sorted(&d, x + r * n, own, n);
            ql_kmeans_of_samples(&k, &d, entries, codebook + r * entries);
        } else {
            ql_quantiles_of_samples(x + r * n, own, n, entries, codebook + r * entries);
        }
    }
    status = QL_OK;
done:
    ql_kmeans_free(&k);
    ql_distribution_free(&d);
    return status;
}
