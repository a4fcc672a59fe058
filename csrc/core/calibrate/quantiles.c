/* Codebooks of quantiles: one pass over the mass, entry i where (i + 0.5) / entries of it are reached. Inside a bin the
 * mass lies evenly; of samples an entry is always one of them. */
#include "core/calibrate/quantiles.h"

#include "core/calibrate/codebook_entries.h"

void ql_quantiles_of_bins(const ql_distribution *d, size_t entries, float *codebook)
{
    double value[QL_MAX_ENTRIES], mass = d->above.m0 - d->below.m0, before = 0;
    size_t i = 0;
    for (size_t b = 0; b <= d->last; b++) {
        const double left = ql_distribution_left(d, b), width = ql_distribution_right(d, b) - left;
        if ((double)b - (double)d->anchor == d->zero)
            before += d->zeros;
        for (; i < entries && mass * (((double)i + 0.5) / (double)entries) <= before; i++)
            value[i] = left;
        const double count = (double)d->counts[b];
        for (; i < entries; i++) {
            const double more = mass * (((double)i + 0.5) / (double)entries) - before;
            if (more > count)
                break;
            value[i] = left + width * (more / count);
        }
        before += count;
    }
    for (; i < entries; i++)
        value[i] = d->greatest;
    ql_store_positions(d, value, entries, entries, codebook);
}

void ql_quantiles_of_samples(const float *x, const double *weights, size_t n, size_t entries, float *codebook)
{
    double value[QL_MAX_ENTRIES], unit = 0, mass = 0, before = 0;
    for (size_t i = 0; weights && i < n; i++)
        unit = weights[i] > unit ? weights[i] : unit;
    unit = weights ? unit : 1;
    for (size_t i = 0; weights && i < n; i++)
        mass += weights[i] / unit;
    mass = weights ? mass : (double)n;
    size_t entry = 0;
    for (size_t i = 0; i < n && entry < entries; i++) {
        const double w = weights ? weights[i] / unit : 1;
        before += w;
        for (; w > 0 && entry < entries && mass * (((double)entry + 0.5) / (double)entries) <= before; entry++)
            value[entry] = x[i];
    }
    for (; entry < entries; entry++)
        value[entry] = x[n - 1];
    ql_store_values(value, entries, entries, codebook);
}
