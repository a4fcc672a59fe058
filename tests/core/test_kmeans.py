"""Codebooks: optimal one-dimensional k-means, against all partitions and against Lloyd's; quantiles."""

import numpy as np
import pytest
import reference
from samples import same_bytes

from qlite import _core

MEAN_TOLERANCE = 1e-6  # entries are rounded to float32; next to 0 a tenth of it, relative to the greatest value
STATE_LOSS_DB = 0.01  # of the streaming state against the sample's own optimum
ROUNDED = 1 + 1e-6  # entries are float32
RNG = np.random.default_rng(3)


def observed(x, bins=8192):
    state, counts = np.zeros(1, _core.HISTOGRAM_DTYPE), np.zeros((1, bins), np.int64)
    _core.histogram_clear(state, counts)
    _core.histogram_update(np.asarray(x, np.float32), -1, state, counts)
    return state, counts


def sorted_codebook(x, kind, entries, weights=None):
    x = np.asarray(x, np.float32)
    order = np.argsort(x)
    weights = None if weights is None else np.asarray(weights, np.float64)[order][None]
    (codebook,) = _core.sorted_codebook(x[order][None], weights, kind, entries)
    return codebook


def is_strictly_ascending(codebook):
    return np.isfinite(codebook).all() and (codebook[1:] > codebook[:-1]).all()


DATA = {
    "normal": lambda rng, n: rng.normal(size=n),
    "lattice": lambda rng, n: np.arange(n),
    "ties": lambda rng, n: rng.integers(0, 7, n),
    "far_from_zero": lambda rng, n: 1000 + 0.01 * rng.normal(size=n),
    "outliers": lambda rng, n: np.append(rng.normal(size=n - 2), [-1e6, 1e15])[:n],
    "clusters": lambda rng, n: rng.choice([-1.0, 0.0, 1.0], n) + 1e-5 * rng.normal(size=n),
    "huge": lambda rng, n: 1e38 * rng.uniform(-3, 3, n),
    "denormal": lambda rng, n: 1e-43 * rng.normal(size=n),
}


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("weighted", [False, True])
def test_kmeans_is_optimal(rng, data, weighted):
    for _ in range(15):
        n = int(rng.integers(2, 22))
        x = DATA[data](rng, n).astype(np.float32)
        weights = rng.random(n) * (rng.random(n) > 0.2) + 1e-3 if weighted else None
        for entries in {1, 2, n // 2 + 1, n, n + 3}:
            got, best = sorted_codebook(x, "kmeans", entries, weights), reference.kmeans(x, entries, weights)
            assert is_strictly_ascending(got) and got.size == entries
            mass = n if weights is None else weights.sum()
            rounding = mass * (2.0**-24 * float(np.abs(x).max())) ** 2
            got, best = (reference.codebook_error(x, codebook, weights) for codebook in (got, best))
            assert got <= best * ROUNDED + rounding


@pytest.mark.parametrize("shape", ["lattice", "normal", "two_scales"])
def test_large_exact_partitions_are_no_worse_than_their_neighbours(rng, shape):
    """No cut of an optimal partition can be moved to any gain; Lloyd's iteration stands still on it."""
    n = 20_000
    x = {"lattice": np.arange(n), "normal": rng.normal(size=n), "two_scales": rng.normal(size=n) ** 5}[shape]
    x = np.sort(x.astype(np.float32))
    for entries in (3, 17, 256):
        codebook = sorted_codebook(x, "kmeans", entries).astype(np.float64)
        cuts = np.searchsorted(x, (codebook[1:] + codebook[:-1]) / 2)
        means = np.array([part.mean() for part in np.split(x.astype(np.float64), cuts)])
        np.testing.assert_allclose(means, codebook, rtol=MEAN_TOLERANCE, atol=MEAN_TOLERANCE / 10 * np.abs(x).max())


def test_never_worse_than_scikit_learn():
    cluster = pytest.importorskip("sklearn.cluster")
    for seed in range(30):
        rng = np.random.default_rng(seed)
        n, entries = int(rng.integers(20, 400)), int(rng.integers(2, 17))
        x = (rng.standard_t(3, n) + 5 * rng.integers(0, 3, n)).astype(np.float32)
        theirs = cluster.KMeans(entries, n_init=1, random_state=seed).fit(x.astype(np.float64)[:, None])
        theirs = np.sort(theirs.cluster_centers_.ravel())
        ours = reference.codebook_error(x, sorted_codebook(x, "kmeans", entries))
        assert ours <= ROUNDED * reference.codebook_error(x, theirs)


@pytest.mark.parametrize("name", ["normal", "laplace"])
@pytest.mark.parametrize("entries", [2, 16, 256])
def test_many_samples_and_their_histogram(name, entries):
    """Over 100000 distinct values: as good as scaled-up Lloyd from there, and the histogram as good as the sample."""
    x = np.sort(getattr(RNG, name)(size=300_000).astype(np.float32))
    assert np.unique(x).size > 100_000
    codebook = sorted_codebook(x, "kmeans", entries)
    exact, steps = x.astype(np.float64), codebook.astype(np.float64)
    for _ in range(50):
        parts = np.searchsorted(exact, (steps[1:] + steps[:-1]) / 2)
        steps = np.array([part.mean() for part in np.split(exact, parts)])
    best = reference.codebook_error(x, codebook)
    assert best <= ROUNDED * reference.codebook_error(x, steps)
    (streamed,) = _core.histogram_codebook(*observed(x), "kmeans", entries)
    assert is_strictly_ascending(streamed)
    assert 10 * np.log10(reference.codebook_error(x, streamed) / best) <= STATE_LOSS_DB


def test_rows_and_channels_each_by_themselves(rng):
    x = np.sort(rng.normal(size=(5, 60)).astype(np.float32) * np.float32([[1], [1e-30], [1e30], [0], [3]]))
    for kind in ("kmeans", "quantile"):
        together = _core.sorted_codebook(x, None, kind, 7)
        same_bytes(together, np.concatenate([_core.sorted_codebook(row[None], None, kind, 7) for row in x]))
        state, counts = np.zeros(5, _core.HISTOGRAM_DTYPE), np.zeros((5, 512), np.int64)
        _core.histogram_clear(state, counts)
        _core.histogram_update(x, 0, state, counts)
        together = _core.histogram_codebook(state, counts, kind, 7)
        same_bytes(together, np.concatenate([_core.histogram_codebook(*observed(r, 512), kind, 7) for r in x]))
        assert all(is_strictly_ascending(row) for row in together)


@pytest.mark.parametrize("kind", ["kmeans", "quantile"])
def test_fewer_values_than_entries(kind):
    for values in ([3.0], [-1.0, 2.0], [0.0, -0.0, 5.0], [1.0, 3.4028235e38], [-3.4028235e38, 3.4028235e38]):
        x = np.repeat(np.float32(values), 3)
        got = sorted_codebook(x, kind, 8)
        assert is_strictly_ascending(got) and np.isin(np.unique(x), got).all()
        if max(values) < 3e38:
            same_bytes(got, reference.filled_up(x, 8))
    (constant,) = _core.histogram_codebook(*observed([7.25] * 9), kind, 4)
    same_bytes(constant, reference.filled_up([7.25], 4))


def test_zeros_weigh(rng):
    x = np.append(rng.normal(size=2000), np.zeros(1_000_000)).astype(np.float32)
    (codebook,) = _core.histogram_codebook(*observed(x), "kmeans", 5)
    assert np.abs(codebook).min() < 1e-4
    best = reference.codebook_error(x, sorted_codebook(x, "kmeans", 5))
    assert reference.codebook_error(x, codebook) <= 1.001 * best


@pytest.mark.parametrize("entries", [1, 2, 5, 16])
@pytest.mark.parametrize("weighted", [False, True])
def test_quantiles(rng, entries, weighted):
    x = rng.normal(size=1001).astype(np.float32)
    weights = rng.integers(0, 5, 1001).astype(np.float64) if weighted else None  # sums of which are exact
    same_bytes(sorted_codebook(x, "quantile", entries, weights), reference.quantiles(x, entries, weights))
    state, counts = observed(x)
    (streamed,) = _core.histogram_codebook(state, counts, "quantile", entries)
    share = np.searchsorted(np.sort(x), streamed) / x.size
    bin_share = counts.max() / x.size
    np.testing.assert_allclose(share, (np.arange(entries) + 0.5) / entries, atol=bin_share + 1 / x.size)


def test_weights_are_only_ratios(rng):
    x, weights = rng.normal(size=50).astype(np.float32), rng.random(50)
    expected = sorted_codebook(x, "kmeans", 6, weights)
    for factor in (2.0**1000, 2.0**-1000):
        same_bytes(sorted_codebook(x, "kmeans", 6, weights * factor), expected)
    doubled = sorted_codebook(np.append(x, x), "kmeans", 6, np.append(weights, weights))
    same_bytes(doubled, expected)
    some = np.where(np.arange(50) < 30, weights, 0)
    same_bytes(sorted_codebook(x, "kmeans", 6, some), sorted_codebook(x[:30], "kmeans", 6, weights[:30]))


def test_bad_arguments():
    x, w = np.float32([[1, 2, 3]]), np.ones((1, 3))
    for name, call in (
        ("x, weights, entries", (x[:, ::-1], None, "kmeans", 2)),
        ("x, weights, entries", (np.float32([[1, np.nan]]), None, "kmeans", 2)),
        ("x", (np.zeros((1, 0), np.float32), None, "kmeans", 2)),
        ("kind", (x, None, "magic", 2)),
        ("x, weights, entries", (x, None, "kmeans", 0)),
        ("x, weights, entries", (x, None, "kmeans", 257)),
        ("weights", (x, w[:, :2].copy(), "kmeans", 2)),
        ("x, weights, entries", (x, -w, "kmeans", 2)),
        ("x, weights, entries", (x, 0 * w, "kmeans", 2)),
        ("x, weights, entries", (x, np.nan * w, "kmeans", 2)),
        ("x, weights, entries", (x, np.inf * w, "kmeans", 2)),
    ):
        with pytest.raises(ValueError, match=rf"^{name}: "):
            _core.sorted_codebook(*call)
    empty = np.zeros(1, _core.HISTOGRAM_DTYPE), np.zeros((1, 128), np.int64)
    _core.histogram_clear(*empty)
    for name, state, kind, entries in (
        ("state, entries", empty, "kmeans", 2),
        ("state, entries", observed([1, 2]), "kmeans", 0),
        ("kind", observed([1, 2]), "x", 2),
    ):
        with pytest.raises(ValueError, match=rf"^{name}: "):
            _core.histogram_codebook(*state, kind, entries)


@pytest.mark.parametrize("kind", ["kmeans", "quantile"])
def test_channels_do_not_see_each_other(kind):
    """The first reaches from the first bin to just below zero, at the last bin's end."""
    x = np.stack([-np.linspace(1e-30, 1, 5000), np.full(5000, 100)]).astype(np.float32)
    x[1, 0] = 101
    state, counts = np.zeros(2, _core.HISTOGRAM_DTYPE), np.zeros((2, 2048), np.int64)
    _core.histogram_clear(state, counts)
    _core.histogram_update(x, 0, state, counts)
    together = _core.histogram_codebook(state, counts, kind, 4)
    alone = [_core.histogram_codebook(*observed(row, 2048), kind, 4)[0] for row in x]
    same_bytes(together, np.stack(alone))
