/* Why the sums start at an anchor, about the median, and run outwards: from one end on, a single outlier of 1e15 at
 * that end would swallow all that follows. From the median what is lost is lost where the outlier is. */
#include "core/calibrate/prefix_sums.h"

/* Neumaier's sum: as if it were carried in twice the precision. */
typedef struct exact_sum {
    double sum, lost;
} exact_sum;

typedef struct exact_sums {
    exact_sum m0, m1, m2;
} exact_sums;

static void add(exact_sum *s, double value)
{
    const double total = s->sum + value, part = total - s->sum;
    s->lost += (s->sum - (total - part)) + (value - part);
    s->sum = total;
}

static void add_sums(exact_sums *s, ql_sums m)
{
    add(&s->m0, m.m0);
    add(&s->m1, m.m1);
    add(&s->m2, m.m2);
}

static ql_sums rounded(const exact_sums *s)
{
    return (ql_sums){s->m0.sum + s->m0.lost, s->m1.sum + s->m1.lost, s->m2.sum + s->m2.lost};
}

void ql_prefix_sums(ql_sums *prefix, size_t parts, size_t anchor, ql_sums (*part)(const void *of, size_t i),
                    const void *of)
{
    exact_sums up = {0}, down = {0};
    for (size_t i = anchor; i < parts; i++) {
        prefix[i] = rounded(&up);
        add_sums(&up, part(of, i));
    }
    prefix[parts] = rounded(&up);
    for (size_t i = anchor; i-- > 0;) {
        add_sums(&down, ql_sums_minus((ql_sums){0}, part(of, i)));
        prefix[i] = rounded(&down);
    }
}
