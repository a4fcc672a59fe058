/* Entries of a codebook: float32, each greater than the one before.
 *
 * Values that round to the same float are one entry. What is then missing follows as the next greater floats: a
 * codebook has as many entries as were asked for, and all of them differ. */
#include "core/calibrate/codebook_entries.h"

#include <float.h>
#include <math.h>

/* Appends a value that is greater than those before; returns how many there are. */
static size_t append(float value, size_t count, float *codebook)
{
    value += 0.0f;
    if (count == 0 || value > codebook[count - 1])
        codebook[count++] = value;
    return count;
}

/* Fills up with the next greater floats, and moves down what would lie beyond float32's end. */
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

void ql_store_values(const double *values, size_t n, size_t entries, float *codebook)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count = append((float)values[i], count, codebook);
    fill_up(count, entries, codebook);
}

void ql_store_samples(const ql_distribution *d, size_t entries, float *codebook)
{
    size_t count = 0;
    for (size_t i = 0; i < d->n; i++)
        count = !d->weights || d->weights[i] > 0 ? append(d->x[i], count, codebook) : count;
    fill_up(count, entries, codebook);
}

void ql_store_positions(const ql_distribution *d, double *positions, size_t n, size_t entries, float *codebook)
{
    for (size_t i = 0; i < n; i++)
        positions[i] = ql_distribution_x(d, positions[i]);
    ql_store_values(positions, n, entries, codebook);
}
