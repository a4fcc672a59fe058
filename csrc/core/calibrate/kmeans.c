/* Optimal one-dimensional k-means.
 *
 * The points are bins, or samples that differ; of too many samples, the means of some thousand runs. Their best
 * partition into cells is exact (partition.c), and the entries are the means of its cells.
 *
 * Then, where the points were bins or runs, Lloyd's iteration on the distribution itself. */
#include "core/calibrate/kmeans.h"

#include <math.h>

#include "core/base/memory.h"
#include "core/calibrate/codebook_entries.h"

enum {
    EXACT_POINTS = 100000, /* distinct samples that are points; more are gathered in runs */
    GATHER_EVEN = 4096,    /* runs of even width, and as many of even count */
    POINTS_PER_CELL = 4,   /* least number of points; bins are cut into pieces for it */
    LLOYD_STEPS = 2000,
};

/* ---- memory ----------------------------------------------------------------------------------------- */

bool ql_kmeans_alloc(ql_kmeans *k, size_t bins_or_samples, size_t entries)
{
    const size_t pieces = 2 * POINTS_PER_CELL * entries, most = EXACT_POINTS;
    size_t room = ql_least(bins_or_samples, most);
    room = (room > pieces ? room : pieces) + 2;
    *k = (ql_kmeans){.position = ql_alloc(room, sizeof *k->position),
                     .weight = ql_alloc(room, sizeof *k->weight),
                     .prefix = ql_alloc(room, sizeof *k->prefix)};
    const bool has_partitioner = ql_partitioner_alloc(&k->partitioner, room);
    return has_partitioner && k->position && k->weight && k->prefix;
}

void ql_kmeans_free(ql_kmeans *k)
{
    free(k->position);
    free(k->weight);
    free(k->prefix);
    ql_partitioner_free(&k->partitioner);
}

/* ---- points -------------------------------------------------------------------------------------------- */

static void add_point(ql_kmeans *k, double position, double weight)
{
    k->position[k->n] = position;
    k->weight[k->n] = weight;
    k->n++;
}

static ql_sums point_sums(const void *of, size_t i)
{
    const ql_kmeans *k = of;
    const double w = k->weight[i], u = k->position[i];
    return (ql_sums){w, w * u, w * u * u};
}

/* Takes the first point from the distribution's centre on as the anchor. */
static void take_prefix(ql_kmeans *k)
{
    size_t anchor = 0;
    while (anchor < k->n && k->position[anchor] < 0)
        anchor++;
    ql_prefix_sums(k->prefix, k->n, anchor, point_sums, k);
}

static size_t filled_bins(const ql_distribution *d)
{
    size_t filled = d->zeros > 0;
    for (size_t b = 0; b <= d->last; b++)
        filled += d->counts[b] > 0;
    return filled;
}

static void points_of_bins(ql_kmeans *k, const ql_distribution *d, size_t entries)
{
    const size_t filled = filled_bins(d), wanted = POINTS_PER_CELL * entries;
    const size_t pieces = filled < wanted ? ql_divided_up(wanted, filled) : 1;
    k->n = 0;
    for (size_t b = 0; b <= d->last; b++) {
        const double left = ql_distribution_left(d, b), width = ql_distribution_right(d, b) - left;
        if (d->zeros > 0 && (double)b - (double)d->anchor == d->zero)
            add_point(k, d->zero, d->zeros);
        if (d->counts[b] == 0)
            continue;
        const size_t parts = width > 0 ? pieces : 1;
        for (size_t i = 0; i < parts; i++)
            add_point(k, left + width * ((double)i + 0.5) / (double)parts, (double)d->counts[b] / (double)parts);
    }
}

/* Makes points of the samples that differ, with their weights. Returns false if there are too many. */
static bool points_of_samples(ql_kmeans *k, const ql_distribution *d)
{
    k->n = 0;
    for (size_t i = 0; i < d->n;) {
        double weight = 0;
        const float x = d->x[i];
        for (; i < d->n && d->x[i] == x; i++)
            weight += d->weights ? d->weights[i] * d->weight_unit : 1;
        if (weight == 0)
            continue;
        if (k->n == EXACT_POINTS)
            return false;
        add_point(k, (double)x - d->centre, weight);
    }
    return true;
}

/* Makes points of runs of samples: even widths resolve the tails, even counts the bulk beside an outlier. */
static void points_of_gathered(ql_kmeans *k, const ql_distribution *d)
{
    size_t n = 0, by_width = 1, by_count = 1;
    while (by_width <= GATHER_EVEN || by_count < GATHER_EVEN) {
        const double even = d->least + (d->greatest - d->least) * ((double)by_width / GATHER_EVEN);
        const size_t index = by_count < GATHER_EVEN ? d->n / GATHER_EVEN * by_count : d->n - 1;
        const double sample = (double)d->x[index] - d->centre;
        const bool takes_even = by_count == GATHER_EVEN || (by_width <= GATHER_EVEN && even <= sample);
        k->position[n++] = takes_even ? even : sample;
        by_width += takes_even;
        by_count += !takes_even;
    }
    k->position[n - 1] = d->greatest;
    ql_distribution_at(d, k->position, n, k->prefix);
    ql_sums before = d->below;
    k->n = 0;
    for (size_t i = 0; i < n; i++) {
        const ql_sums m = ql_sums_minus(k->prefix[i], before);
        if (m.m0 > 0) {
            add_point(k, m.m1 / m.m0, m.m0);
            before = k->prefix[i];
        }
    }
}

/* ---- codebooks ------------------------------------------------------------------------------------------ */

/* Means of the cells of the partition that was found. */
static void cell_means(const ql_kmeans *k, double *means)
{
    const ql_partition *found = &k->partitioner.found;
    for (size_t i = 0; i < found->cells; i++) {
        const size_t from = found->cuts[i], to = found->cuts[i + 1];
        const ql_sums m = ql_sums_minus(k->prefix[to], k->prefix[from]);
        const double mean = m.m1 / m.m0, least = k->position[from], greatest = k->position[to - 1];
        means[i] = mean < least ? least : mean > greatest ? greatest : mean;
    }
}

/* Lloyd's iteration, until what a step gains is nothing beside the variance that is left. */
static void lloyd(const ql_distribution *d, size_t n, double *means)
{
    const double precision = 1e-11;
    double threshold[QL_MAX_ENTRIES];
    ql_sums at[QL_MAX_ENTRIES];
    for (int step = 0; step < LLOYD_STEPS; step++) {
        for (size_t i = 0; i < n; i++)
            threshold[i] = i + 1 < n ? 0.5 * (means[i] + means[i + 1]) : INFINITY;
        ql_distribution_at(d, threshold, n, at);
        double gained = 0, left = 0;
        ql_sums before = d->below;
        for (size_t i = 0; i < n; i++) {
            const ql_sums m = ql_sums_minus(at[i], before);
            before = at[i];
            if (!(m.m0 > 0))
                continue;
            double mean = m.m1 / m.m0;
            mean = i > 0 && mean < threshold[i - 1] ? threshold[i - 1] : mean > threshold[i] ? threshold[i] : mean;
            gained += m.m0 * (mean - means[i]) * (mean - means[i]);
            left += m.m2 - m.m1 * mean;
            means[i] = mean;
        }
        if (gained <= precision * left)
            break;
    }
}

static void kmeans(ql_kmeans *k, const ql_distribution *d, size_t entries, bool are_gathered, float *codebook)
{
    double means[QL_MAX_ENTRIES];
    const size_t cells = ql_least(entries, k->n);
    take_prefix(k);
    ql_best_partition(&k->partitioner, k->prefix, k->n, cells);
    cell_means(k, means);
    if (are_gathered)
        lloyd(d, cells, means);
    ql_store_positions(d, means, cells, entries, codebook);
}

static void constant(float value, size_t entries, float *codebook)
{
    ql_store_values(&(double){value}, 1, entries, codebook);
}

void ql_kmeans_of_bins(ql_kmeans *k, const ql_distribution *d, size_t entries, float *codebook)
{
    if (d->least == d->greatest) {
        constant((float)ql_distribution_x(d, d->least), entries, codebook);
        return;
    }
    points_of_bins(k, d, entries);
    kmeans(k, d, entries, true, codebook);
}

void ql_kmeans_of_samples(ql_kmeans *k, const ql_distribution *d, size_t entries, float *codebook)
{
    const bool is_exact = points_of_samples(k, d);
    if (is_exact && k->n <= entries) {
        ql_store_samples(d, entries, codebook);
        return;
    }
    if (!is_exact)
        points_of_gathered(k, d);
    kmeans(k, d, entries, !is_exact, codebook);
}
