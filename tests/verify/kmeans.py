"""Whether k-means codebooks are optimal: against all partitions on small inputs, against scikit-learn on larger ones.

In one dimension the best clusters of k values are stretches of the sorted values, so that a small input has few enough
partitions to try them all.
"""

from itertools import combinations

import numpy as np

import qlite as ql

MOST_SMALL, MOST_EXACT, LARGE = 14, 5_000, 200_000  # values; the large are more than are solved exactly
SMALL_TRIALS, TRIALS, LARGE_TRIALS = 300, 180, 20
SLACK = 1e-6  # ours may be so much over 1 times theirs, once the rounding of entries to float32 is taken off:
ROUNDING = 2.0**-46  # of the sum of squares, for an entry that is the product of a scale and a float32

DATA = {
    "Gaussian": lambda rng, size: rng.standard_normal(size),
    "Laplacian": lambda rng, size: rng.laplace(size=size),
    "uniform": lambda rng, size: rng.uniform(-3, 5, size),
    "log-normal": lambda rng, size: rng.lognormal(sigma=1.5, size=size),
    "clusters": lambda rng, size: rng.choice(rng.standard_normal(9) * 10, size) + rng.standard_normal(size) / 20,
    "repeated": lambda rng, size: np.rint(rng.standard_normal(size) * 50),
}


def verify(checks):
    """Print and check everything."""
    print(f"\nAgainst all partitions of up to {MOST_SMALL} values, 2 to 8 entries: our squared error / the least")
    _verify(checks, SMALL_TRIALS, small_trial)
    print(f"\nAgainst scikit-learn's KMeans, 4 to 16 entries, up to {MOST_EXACT:,} values, the best of 4 starts")
    _verify(checks, TRIALS, exact_trial)
    print(f"\nThe same on {LARGE:,} values, one start as is its default")
    _verify(checks, LARGE_TRIALS, large_trial)


def _verify(checks, trials, trial):
    """A line for each kind of data; as many trials in all, dealt out in turn."""
    rng = np.random.default_rng(0)
    kinds = list(DATA.items())
    for i, (name, draw) in enumerate(kinds):
        ratios = [trial(rng, draw) for _ in range(i, trials, len(kinds))]
        text = f"{name:12}{len(ratios):4} trials: {np.median(ratios):.6f} in the median, {max(ratios):.6f} at worst"
        checks.line(text, max(ratios) <= 1 + SLACK)


def small_trial(rng, draw):
    bits = int(rng.integers(1, 4))
    while True:
        x = draw(rng, int(rng.integers(2**bits, MOST_SMALL + 1))).astype(np.float32)
        if len(np.unique(x)) > 2**bits:  # else nothing is lost
            return ratio(x, bits, least_error(x, 2**bits))
        bits = int(rng.integers(1, 4))


def exact_trial(rng, draw):
    return sklearn_trial(rng, draw(rng, int(rng.integers(200, MOST_EXACT))), starts=4)


def large_trial(rng, draw):
    return sklearn_trial(rng, draw(rng, LARGE), starts=1)


def sklearn_trial(rng, x, starts):
    from sklearn.cluster import KMeans

    x, bits = x.astype(np.float32), int(rng.integers(2, 5))
    means = KMeans(2**bits, n_init=starts, random_state=0).fit(x.reshape(-1, 1).astype(np.float64))
    return ratio(x, bits, nearest_error(x, np.sort(means.cluster_centers_.ravel())))


def ratio(x, bits, theirs):
    """The squared error of our codebook, but for the rounding of its entries, over another one."""
    exact = x.astype(np.float64)
    ours = np.square(ql.dequantize(ql.quantize(x, bits, grid="kmeans")) - exact).sum()
    return (ours - ROUNDING * np.square(exact).sum()) / theirs


def nearest_error(x, levels):
    """The squared error when each value goes to the nearest of ascending levels."""
    codes = np.searchsorted((levels[1:] + levels[:-1]) / 2, x)
    return np.square(x.astype(np.float64) - levels[codes]).sum()


def least_error(x, entries):
    """The squared error of the best of all partitions of the sorted values into so many stretches."""
    x = np.sort(x.astype(np.float64))
    cuts = combinations(range(1, len(x)), entries - 1)
    return min(sum(np.square(part - part.mean()).sum() for part in np.split(x, cut)) for cut in cuts)
