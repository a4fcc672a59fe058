/* Optimal one-dimensional k-means.
 *
 * Cells are runs of sorted points, and the cost of a run, sum w (u - mean)^2, comes from prefix sums. The least cost of
 * k cells is convex in k (the cost has the Monge property), so a price per cell finds it: for a price the cheapest
 * partition of any number of cells is one pass with a queue of candidates (Hirschberg and Larmore 1987; each point's
 * best last cut moves only forwards), and the price is adjusted until k cells come out: a few passes of O(n log n), and
 * O(n) memory, whatever k is.
 *
 * Where a price has partitions of fewer and of more cells, but the passes show none of k, the two are spliced: between
 * some cut of one and the next, the other has a whole cell, and by the Monge property crossing over there costs nothing
 * (Aggarwal, Schieber and Tokuyama 1994).
 *
 * Why not the table of k layers by divide and conquer: for 8192 points 2.2 ms for 16 cells and 32 ms for 256, against
 * 0.2 ms and 2.5 ms of this, and 100 MB to remember the cuts of 1e5 points in 256 cells.
 *
 * Then, where the points were bins, Lloyd's iteration on the distribution itself. */
#include "core/kmeans.h"

#include <float.h>
#include <math.h>

#include "core/memory.h"

enum {
    EXACT_POINTS = 100000, /* more distinct samples are gathered in bins */
    GATHER_EVEN = 4096,    /* bins of even width, and as many of even count */
    POINTS_PER_CELL = 4,   /* at least; bins are cut into pieces for it */
    LLOYD_STEPS = 2000,
};

/* ---- memory ----------------------------------------------------------------------------------------- */

bool ql_kmeans_alloc(ql_kmeans *k, size_t bins_or_samples, size_t entries)
{
    const size_t pieces = 2 * POINTS_PER_CELL * entries, most = EXACT_POINTS;
    size_t room = bins_or_samples < most ? bins_or_samples : most;
    room = (room > pieces ? room : pieces) + 2;
    *k = (ql_kmeans){.position = ql_alloc(room, sizeof *k->position),
                     .weight = ql_alloc(room, sizeof *k->weight),
                     .prefix = ql_alloc(room, sizeof *k->prefix),
                     .partial = ql_alloc(room, sizeof *k->partial),
                     .queue = ql_alloc(room, sizeof *k->queue),
                     .begin = ql_alloc(room, sizeof *k->begin),
                     .found.cuts = ql_alloc(room, sizeof *k->found.cuts),
                     .fewer.cuts = ql_alloc(room, sizeof *k->fewer.cuts),
                     .more.cuts = ql_alloc(room, sizeof *k->more.cuts)};
    return k->position && k->weight && k->prefix && k->partial && k->queue && k->begin && k->found.cuts &&
           k->fewer.cuts && k->more.cuts;
}

void ql_kmeans_free(ql_kmeans *k)
{
    free(k->position);
    free(k->weight);
    free(k->prefix);
    free(k->partial);
    free(k->queue);
    free(k->begin);
    free(k->found.cuts);
    free(k->fewer.cuts);
    free(k->more.cuts);
}

/* ---- the best partition ------------------------------------------------------------------------------- */

/* Of points from..to-1 as one cell. */
static double cell_cost(const ql_kmeans *k, size_t from, size_t to)
{
    const ql_moments m = ql_moments_minus(k->prefix[to], k->prefix[from]);
    const double cost = m.m2 - m.m1 * m.m1 / m.m0;
    return cost > 0 ? cost : 0;
}

/* Of the first `to` points, when the last cell begins at `from`. */
static double cost_from(const ql_kmeans *k, size_t from, size_t to)
{
    return k->partial[from].cost + cell_cost(k, from, to);
}

/* The first of the points after `low` up to which `later` is the better last cut than `sooner`; n + 1 if there is none.
 * It is not up to `low`. About where it is says `guess`. */
static size_t crossing(const ql_kmeans *k, size_t later, size_t sooner, size_t low, size_t guess)
{
    size_t step = 1, high;
    guess = guess <= low ? low + 1 : guess > k->n ? k->n : guess;
    if (cost_from(k, later, guess) < cost_from(k, sooner, guess)) {
        high = guess;
        while (high - low > step && cost_from(k, later, high - step) < cost_from(k, sooner, high - step)) {
            high -= step;
            step *= 2;
        }
        low = high - low > step ? high - step : low;
    } else {
        low = guess;
        while (low + step <= k->n && !(cost_from(k, later, low + step) < cost_from(k, sooner, low + step))) {
            low += step;
            step *= 2;
        }
        high = low + step <= k->n ? low + step : k->n + 1;
    }
    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        if (cost_from(k, later, middle) < cost_from(k, sooner, middle))
            high = middle;
        else
            low = middle;
    }
    return high;
}

/* The cheapest partition, with its cost free of the price. */
static void partition_at(ql_kmeans *k, double price, ql_partition *result)
{
    uint32_t *queue = k->queue, *begin = k->begin;
    size_t head = 0, size = 1, guess = 0;
    k->partial[0] = (ql_partial){0};
    queue[0] = 0;
    begin[0] = 1;
    for (size_t i = 1; i <= k->n; i++) {
        while (head + 1 < size && begin[head + 1] <= i)
            head++;
        const size_t from = queue[head];
        k->partial[i] = (ql_partial){
            .cost = cost_from(k, from, i) + price, .from = (uint32_t)from, .cells = k->partial[from].cells + 1};
        size_t first = i + 1;
        while (size > head) {
            const size_t last = queue[size - 1], low = begin[size - 1] > i ? begin[size - 1] : i + 1;
            if (low > k->n)
                break;
            if (cost_from(k, i, low) < cost_from(k, last, low)) {
                size--;
                continue;
            }
            first = guess = crossing(k, i, last, low, guess + 1);
            break;
        }
        if (first <= k->n) {
            queue[size] = (uint32_t)i;
            begin[size] = (uint32_t)first;
            size++;
        }
    }
    result->cells = k->partial[k->n].cells;
    result->cost = 0;
    for (size_t cell = result->cells, to = k->n; cell > 0; cell--) {
        const size_t from = k->partial[to].from;
        result->cuts[cell] = (uint32_t)to;
        result->cost += cell_cost(k, from, to);
        to = from;
    }
    result->cuts[0] = 0;
}

static double pow3(double x)
{
    return x * x * x;
}

static void swap(ql_partition *a, ql_partition *b)
{
    const ql_partition c = *a;
    *a = *b;
    *b = c;
}

/* `cells` cells into found: the first ones of `more`, then the last ones of `fewer`. */
static void splice(ql_kmeans *k, size_t cells)
{
    const uint32_t *few = k->fewer.cuts, *many = k->more.cuts;
    const size_t ahead = cells - k->fewer.cells;
    size_t i = 0;
    while (many[i + ahead + 1] >= few[i + 1])
        i++;
    k->found.cells = cells;
    for (size_t j = 0; j <= cells; j++)
        k->found.cuts[j] = j <= i + ahead ? many[j] : few[j - ahead];
}

/* The best partition into cells, 1 <= cells <= n, as `found`. */
static void best_partition(ql_kmeans *k, size_t cells)
{
    enum { GUESSES = 8, PASSES = 200 };
    const double tie = 1 - 1e-13;
    k->fewer.cells = 1;
    k->fewer.cost = cell_cost(k, 0, k->n);
    k->fewer.cuts[0] = 0;
    k->fewer.cuts[1] = (uint32_t)k->n;
    k->more.cells = k->n;
    k->more.cost = 0;
    for (size_t i = 0; i <= k->n; i++)
        k->more.cuts[i] = (uint32_t)i;
    if (cells == 1 || cells == k->n) {
        swap(&k->found, cells == 1 ? &k->fewer : &k->more);
        return;
    }
    /* Errors fall as cells^-2, so the price of a cell falls as cells^-3. */
    double least = 0, greatest = INFINITY, guess = 2 * k->fewer.cost / pow3((double)cells);
    for (int i = 0; i < PASSES; i++) {
        const double slope = (k->fewer.cost - k->more.cost) / (double)(k->more.cells - k->fewer.cells);
        const bool is_guess = i < GUESSES && guess > least && guess < greatest;
        const double price = is_guess ? guess : slope;
        partition_at(k, price, &k->found);
        if (k->found.cells == cells)
            return;
        const double cost = k->found.cost + price * (double)k->found.cells;
        if (!is_guess && cost >= tie * (k->fewer.cost + price * (double)k->fewer.cells))
            break;
        guess = price * pow3((double)k->found.cells / (double)cells);
        if (k->found.cells < cells) {
            greatest = price;
            swap(&k->found, &k->fewer);
        } else {
            least = price;
            swap(&k->found, &k->more);
        }
    }
    splice(k, cells);
}

/* ---- points -------------------------------------------------------------------------------------------- */

static void add_point(ql_kmeans *k, double position, double weight)
{
    k->position[k->n] = position;
    k->weight[k->n] = weight;
    k->n++;
}

static ql_moments point_moments(const void *of, size_t i)
{
    const ql_kmeans *k = of;
    const double w = k->weight[i], u = k->position[i];
    return (ql_moments){w, w * u, w * u * u};
}

/* The distribution's centre is about the median: the first point from there on is the anchor. */
static void take_prefix(ql_kmeans *k)
{
    size_t anchor = 0;
    while (anchor < k->n && k->position[anchor] < 0)
        anchor++;
    ql_moments_prefix(k->prefix, k->n, anchor, point_moments, k);
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
    const size_t pieces = filled < wanted ? (wanted + filled - 1) / filled : 1;
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

/* Samples that differ, with their weights; false if there are too many. */
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

/* Even widths resolve the tails, even counts the bulk beside an outlier. */
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
    ql_moments before = d->below;
    k->n = 0;
    for (size_t i = 0; i < n; i++) {
        const ql_moments m = ql_moments_minus(k->prefix[i], before);
        if (m.m0 > 0) {
            add_point(k, m.m1 / m.m0, m.m0);
            before = k->prefix[i];
        }
    }
}

/* ---- codebooks ------------------------------------------------------------------------------------------ */

/* One more of the floats, if it is greater than those before. */
static size_t append(float value, size_t count, float *codebook)
{
    value += 0.0f;
    if (count == 0 || value > codebook[count - 1])
        codebook[count++] = value;
    return count;
}

/* The next greater floats, or the next smaller ones at the end of float32. */
static void fill_up(size_t count, size_t entries, float *codebook)
{
    for (; count < entries; count++)
        codebook[count] = nextafterf(codebook[count - 1], INFINITY);
    float limit = FLT_MAX;
    for (size_t i = entries; i-- > 0 && codebook[i] > limit;) {
        codebook[i] = limit;
        limit = nextafterf(limit, -INFINITY);
    }
}

static void store(const double *values, size_t n, size_t entries, float *codebook)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count = append((float)values[i], count, codebook);
    fill_up(count, entries, codebook);
}

/* All samples that weigh anything, of which there are no more than entries. */
static void store_samples(const ql_distribution *d, size_t entries, float *codebook)
{
    size_t count = 0;
    for (size_t i = 0; i < d->n; i++)
        count = !d->weights || d->weights[i] > 0 ? append(d->x[i], count, codebook) : count;
    fill_up(count, entries, codebook);
}

/* The means of the cells of `found`. */
static void cell_means(const ql_kmeans *k, double *means)
{
    for (size_t i = 0; i < k->found.cells; i++) {
        const size_t from = k->found.cuts[i], to = k->found.cuts[i + 1];
        const ql_moments m = ql_moments_minus(k->prefix[to], k->prefix[from]);
        const double mean = m.m1 / m.m0, least = k->position[from], greatest = k->position[to - 1];
        means[i] = mean < least ? least : mean > greatest ? greatest : mean;
    }
}

/* Until what a step gains is nothing beside the variance that is left. */
static void lloyd(const ql_distribution *d, size_t n, double *means)
{
    const double precision = 1e-11;
    double threshold[QL_MAX_ENTRIES];
    ql_moments at[QL_MAX_ENTRIES];
    for (int step = 0; step < LLOYD_STEPS; step++) {
        for (size_t i = 0; i < n; i++)
            threshold[i] = i + 1 < n ? 0.5 * (means[i] + means[i + 1]) : INFINITY;
        ql_distribution_at(d, threshold, n, at);
        double gained = 0, left = 0;
        ql_moments before = d->below;
        for (size_t i = 0; i < n; i++) {
            const ql_moments m = ql_moments_minus(at[i], before);
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

static void to_values(const ql_distribution *d, double *means, size_t n)
{
    for (size_t i = 0; i < n; i++)
        means[i] = ql_distribution_x(d, means[i]);
}

static void kmeans(ql_kmeans *k, const ql_distribution *d, size_t entries, bool are_gathered, float *codebook)
{
    double means[QL_MAX_ENTRIES];
    const size_t cells = entries < k->n ? entries : k->n;
    take_prefix(k);
    best_partition(k, cells);
    cell_means(k, means);
    if (are_gathered)
        lloyd(d, cells, means);
    to_values(d, means, cells);
    store(means, cells, entries, codebook);
}

static void constant(float value, size_t entries, float *codebook)
{
    store(&(double){value}, 1, entries, codebook);
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
        store_samples(d, entries, codebook);
        return;
    }
    if (!is_exact)
        points_of_gathered(k, d);
    kmeans(k, d, entries, !is_exact, codebook);
}

/* ---- quantiles ------------------------------------------------------------------------------------------ */

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
    to_values(d, value, entries);
    store(value, entries, entries, codebook);
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
    store(value, entries, entries, codebook);
}
