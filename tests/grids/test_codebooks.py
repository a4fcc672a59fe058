"""Grids with a codebook: what the tables hold, that fitted ones are the best there are, and that the code is the
nearest one."""

from itertools import combinations

import numpy as np
import pytest
import reference
from models import extra
from samples import same_bytes

import qlite as ql

SHARINGS = [
    {},
    {"axis": 0},
    {"axis": 1},
    {"group_size": 9},
    {"axis": 0, "group_size": 7},
    {"axis": 1, "group_size": 3},
    {"group_size": 4, "group_axis": 0},
]
KNOWN = ["log2", "apot", "nf3", "nf4", "fp4", "fp6_e2m3", "fp6_e3m2", "fp8_e4m3", "fp8_e5m2", "sign"]
SAMPLES = {
    "normal": lambda rng, n: rng.normal(size=n),
    "laplace": lambda rng, n: rng.laplace(size=n),
    "lognormal": lambda rng, n: rng.lognormal(0, 1.5, n),
    "clusters": lambda rng, n: rng.normal(rng.choice([-5, 0, 0.1, 40], n), 0.2),
    "few values": lambda rng, n: rng.integers(-9, 10, n) / 4,
}
# Entries are rounded to float32: of a sum of squares about entries of magnitude m, n values, at most n (2**-24 m)**2.
ROUNDING = 2.0**-24
SKLEARN_TRIALS = 200


def squared_error(x, q, weights=1.0):
    return float(np.sum(weights * (x.astype(np.float64) - q.dequantize()) ** 2))


def rounded(x):
    """How much the rounding of entries to float32 may add to a squared error."""
    return x.size * (ROUNDING * float(np.abs(x).max())) ** 2


def least_error(x, weights, entries):
    """The least squared error of all ways to cut the sorted values into stretches, each at its mean."""
    order = np.argsort(x)
    x, weights = x[order].astype(np.float64), weights[order]

    def cost(i, j):
        total = weights[i:j].sum()
        mean = weights[i:j] @ x[i:j] / total if total else 0
        return weights[i:j] @ (x[i:j] - mean) ** 2

    costs = {(i, j): cost(i, j) for i in range(len(x)) for j in range(i + 1, len(x) + 1)}
    ways = combinations(range(1, len(x)), min(entries, len(x)) - 1)
    return min(sum(costs[a, b] for a, b in zip((0, *cuts), (*cuts, len(x)), strict=True)) for cuts in ways)


def parts(w, options):
    """Indices of values that share their parameters."""
    q = ql.quantize(w, **options)
    groups = dict(zip(("group_size", "group_axis"), q.qparams.granularity.groups, strict=True))
    numbers = reference.spread(np.arange(q.scale.size).reshape(q.scale.shape), w.shape, **groups)
    return [np.nonzero(numbers == i) for i in range(q.scale.size)]


# ---- tables -----------------------------------------------------------------------------------------


def test_powers_of_two():
    for bits in range(2, 9):
        count = 2 ** (bits - 1) - 1
        powers = 2.0 ** -np.arange(count)
        book = ql.quantize([1.0], bits, grid="log2").codebook
        same_bytes(book, np.concatenate([-powers, [0], powers[::-1]]).astype(np.float32))


def test_sums_of_powers_of_two():
    """Li et al. (2020), equation 5, for two bits a term: each of 0 and its own third, or half, of the powers."""
    for bits, terms in {3: 1, 5: 2, 7: 3}.items():
        sums = {0.0}
        for i in range(terms):
            sums = {s + p for s in sums for p in (0, *(2.0 ** -(i + 1 + terms * j) for j in range(3)))}
        book = ql.quantize([1.0], bits, grid="apot").codebook
        assert len(book) == 2**bits - 1 and 2 * len(sums) - 1 == len(book)
        expected = np.array(sorted(sums)) / max(sums)
        same_bytes(book[len(book) // 2 :], expected.astype(np.float32))
        same_bytes(book, -book[::-1] + np.float32(0))
    four = ql.quantize([1.0], 4, grid="apot").codebook
    assert len(four) == 15 and four[0] == -1 and four[7] == 0


@pytest.mark.parametrize("grid", KNOWN)
@pytest.mark.parametrize("options", SHARINGS, ids=str)
def test_known_tables(isa, rng, grid, options):
    """The scale takes the table to the ends of the data, and every value gets the nearest entry's code."""
    w = rng.normal(size=(12, 30)).astype(np.float32)
    q = ql.quantize(w, grid=grid, **options)
    groups = dict(zip(("group_size", "group_axis"), q.qparams.granularity.groups, strict=True))
    scale, book = reference.spread(q.scale, w.shape, **groups), q.codebook
    if grid != "sign":
        low, high = reference.minmax_per_parameter(w, q.scale.shape, **groups)
        same_bytes(q.scale, np.maximum(low / np.nanmin(book), high / np.nanmax(book)))
    same_bytes(q.codes, reference.quantize_codebook(w, scale, book))
    same_bytes(q.dequantize(), reference.dequantize_codebook(q.codes, scale, book))
    same_bytes(ql.fake_quantize(w, q.qparams), q.dequantize())


@pytest.mark.parametrize("grid", ["kmeans", "quantile"])
@pytest.mark.parametrize("options", SHARINGS, ids=str)
def test_own_tables(isa, rng, grid, options):
    """One for each axis index or group: what each part would get by itself."""
    w = rng.normal(size=(12, 30)).astype(np.float32)
    q = ql.quantize(w, 2, grid=grid, **options)
    assert q.codebook.shape == (*q.scale.shape, 4) and np.all(q.scale == 1)
    books = q.codebook.reshape(-1, 4)
    for book, part in zip(books, parts(w, {"bits": 2, **options}), strict=True):
        alone = ql.quantize(w[part], 2, grid=grid)
        same_bytes(book, alone.codebook[0])
        same_bytes(q.codes[part], alone.codes)
        same_bytes(q.dequantize()[part], book[q.codes[part]])
    same_bytes(ql.fake_quantize(w, q.qparams), q.dequantize())


def test_nearest_code_of_a_tie():
    """Half way between two entries the even code wins, up or down; beyond the ends, the ends."""
    book = np.float32([-3, -1, 1, 2, 6])
    q = ql.quantize(np.float32([-9, -3, -2, 0, 1.5, 4, 6, 9]), grid=book, scale=1.0)
    assert q.codes.tolist() == [0, 0, 0, 2, 2, 4, 4, 4]
    assert q.bits == 3 and q.qparams.grid == "codebook"
    same_bytes(ql.quantize(book, grid=book, scale=1.0).dequantize(), book)


def test_codebooks_of_the_user(rng):
    w = rng.normal(size=(4, 6)).astype(np.float32)
    one = [-2, -0.5, 0, 0.5, 3]
    q = ql.quantize(w, grid=one)
    low, high = w.min(), w.max()
    same_bytes(q.scale, np.float32([[max(low / np.float32(-2), high / np.float32(3))]]))
    assert ql.quantize(w, 5, grid=one).bits == 5
    own = np.sort(rng.normal(size=(4, 1, 8)), axis=-1).astype(np.float32)
    p = ql.QParams(np.ones((4, 1), np.float32), 0, 3, False, axis=0, codebook=own, grid="codebook")
    codes = ql.quantize(w, p).codes
    for row, book, got in zip(w, own[:, 0], codes, strict=True):
        same_bytes(got, reference.nearest_code(row, book))
    positive = ql.quantize(np.abs(w), grid=[0, 1, 3, 7])
    same_bytes(positive.scale, np.float32([[np.abs(w).max() / 7]]))


def test_more_entries_than_values():
    for x in ([2.0], [1.0, 1.0, 5.0], [0.0], [-1.0, 0.0, 3.0]):
        x = np.float32(x)
        for bits in (1, 2, 4, 8):
            q = ql.quantize(x, bits, grid="kmeans")
            assert np.all(np.diff(q.codebook) > 0)
            if len(np.unique(x)) <= 2**bits:
                same_bytes(q.dequantize(), x)


def test_codebooks_as_wide_as_float32():
    book = np.array([-3e38, 0, 3e38], np.float32)
    same_bytes(np.asarray(ql.quantize(book, grid=book, scale=1.0)), book)


# ---- the best codebook ------------------------------------------------------------------------------


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("weighted", [False, True])
def test_kmeans_is_optimal(rng, sample, weighted):
    for n, bits in [(2, 1), (5, 1), (9, 1), (12, 2), (14, 2), (16, 2), (11, 3)]:
        x = SAMPLES[sample](rng, n).astype(np.float32)
        weights = rng.uniform(0.1, 9, n).round(1) if weighted else np.ones(n)
        q = ql.quantize(x, bits, grid="kmeans", importance=weights if weighted else None)
        nearest = ql.quantize(x, q.qparams)
        assert squared_error(x, nearest, weights) <= least_error(x, weights, 2**bits) * 1.0000001 + 9 * rounded(x)


def test_weights(rng):
    w = rng.normal(size=(6, 20)).astype(np.float32)
    ones = ql.quantize(w, grid="kmeans", axis=0)
    assert ql.quantize(w, grid="kmeans", axis=0, importance=np.full(w.shape, 2.5)) == ones
    assert ql.quantize(w, grid="kmeans", axis=0, importance=np.ones(w.shape, int)) == ones
    repeats = rng.integers(0, 4, w.shape[1])
    repeats[:4] = 1
    weights = np.broadcast_to(repeats, w.shape)
    same_bytes(
        ql.choose_qparams(w, 2, grid="kmeans", axis=0, importance=weights).codebook,
        ql.choose_qparams(w.repeat(repeats, axis=1), 2, grid="kmeans", axis=0).codebook,
    )
    for granularity in ({"axis": 1}, {"axis": 0, "group_size": 7}, {"group_size": 5, "group_axis": 0}):
        plain, weighed = (
            ql.choose_qparams(w, 1, grid="kmeans", importance=v, **granularity) for v in (None, np.ones(w.shape))
        )
        same_bytes(plain.codebook, weighed.codebook)


def test_never_worse_than_sklearn(rng):
    """Lloyd's method from several starts, as scikit-learn does it, finds at best what is optimal."""
    cluster, limits = extra("sklearn.cluster"), extra("threadpoolctl").threadpool_limits
    with limits(1):
        for trial in range(SKLEARN_TRIALS):
            x = SAMPLES[list(SAMPLES)[trial % len(SAMPLES)]](rng, int(rng.integers(40, 300))).astype(np.float32)
            bits = int(rng.integers(1, 5))
            if len(np.unique(x)) < 2**bits:
                continue
            theirs = cluster.KMeans(2**bits, n_init=2, random_state=trial).fit(x[:, None].astype(np.float64)).inertia_
            ours = squared_error(x, ql.quantize(x, bits, grid="kmeans"))
            assert ours <= theirs * 1.000001 + rounded(x), (trial, bits, x.size)


def test_quantiles_share_out_the_values(rng):
    x = rng.normal(size=(3, 6400)).astype(np.float32)
    for bits in (1, 2, 4, 6):
        q = ql.quantize(x, bits, grid="quantile", axis=0)
        for row in q.codes:
            counts = np.bincount(row, minlength=2**bits)
            assert abs(counts / (6400 / 2**bits) - 1).max() < 0.5, bits


# ---- codebooks that are none ------------------------------------------------------------------------

BAD = {
    "unsorted": [0.0, 2.0, 1.0],
    "a smaller one": [1.0, 0.0],
    "duplicates": [0.0, 1.0, 1.0],
    "equal as float32": [1.0, 1.0 + 1e-12],
    "NaN": [0.0, np.nan, 1.0],
    "infinity": [0.0, np.inf],
    "beyond float32": [0.0, 1e300],
    "one entry": [1.0],
    "none": [],
    "too many": np.arange(257.0),
    "no axis": 3.0,
}


@pytest.mark.parametrize("book", BAD.values(), ids=BAD.keys())
def test_bad_codebooks(book):
    w = np.float32([1, 2, 3])
    for call in (
        lambda: ql.quantize(w, grid=book),
        lambda: ql.quantize(w, grid=book, scale=1.0),
        lambda: ql.choose_qparams(w, grid=book),
        lambda: ql.Calibrator().update(w).qparams(grid=book),
        lambda: ql.QParams.from_range(-1.0, 1.0, grid=book, symmetric=True),
        lambda: ql.QArray.from_codes(np.zeros(3, np.uint8), 1.0, grid=book),
    ):
        with pytest.raises(ValueError, match=r"^grid: expected .*, got "):
            call()


@pytest.mark.parametrize("book", ["text", [1j, 2], [None, 1], [[1, 2], [3]], [True, False]])
def test_codebooks_of_no_numbers(book):
    with pytest.raises((TypeError, ValueError), match=r"^grid: expected .*got "):
        ql.quantize(np.float32([1, 2, 3]), grid=book)


def test_codebooks_that_do_not_fit_the_width():
    w = np.float32([1, 2, 3])
    with pytest.raises(ValueError, match=r"^bits: expected .*for 5 entries, got 2"):
        ql.quantize(w, 2, grid=[0, 1, 2, 3, 4])
    for grid, bits in (("nf4", 3), ("kmeans", 9), ("fp8_e4m3", 4), ("apot", 6), ("log2", 1), ("sign", 2), ("mxfp4", 8)):
        with pytest.raises(ValueError, match=rf"^bits: expected .*, got {bits}$"):
            ql.quantize(w, bits, grid=grid)


@pytest.mark.parametrize("options", [{"axis": 0}, {"axis": 1, "group_size": 12}, {"group_size": 7}], ids=str)
def test_pieces_make_no_difference(rng, monkeypatch, options):
    w, weights = rng.normal(size=(9, 40)), rng.uniform(size=(9, 40))
    asked = [{"grid": "kmeans"}, {"grid": "kmeans", "importance": weights}, {"bits": 4, "method": "mse"}]
    whole = [ql.choose_qparams(w, **options, **more) for more in asked]
    monkeypatch.setattr("qlite.grids.choose.VALUES_AT_ONCE", 50)
    assert [ql.choose_qparams(w, **options, **more) for more in asked] == whole


@pytest.mark.parametrize("grid", ["kmeans", "quantile"])
@pytest.mark.parametrize("options", [{}, {"axis": 0}, {"group_size": 64}], ids=str)
def test_case_g_pruned_weights_stay_zero(rng, grid, options):
    """An entry is moved to 0, which costs least where there are zeros."""
    for share, loss in ((0.0, 1.0), (0.5, 0.2), (0.9, 0.1)):
        w = rng.normal(size=(16, 256)).astype(np.float32)
        w[rng.random(w.shape) < share] = 0
        q = ql.quantize(w, grid=grid, keep_zero=True, **options)
        assert not q.dequantize()[w == 0].any()
        assert np.all(np.diff(q.codebook, axis=-1) > 0)
        if grid == "kmeans":
            assert (
                q.error(w).sqnr_db >= ql.quantize(w, grid=grid, **options).error(w).sqnr_db - loss
            )  # both may be exact
    p = ql.Calibrator().update(w).qparams(grid=grid, keep_zero=True)
    assert not ql.fake_quantize(np.zeros(3), p).any()


def test_case_g_other_grids_keep_zeros_anyway(rng):
    w = rng.normal(size=(4, 32))
    for refuse in (
        lambda: ql.quantize(w, grid="nf4", keep_zero=True),
        lambda: ql.quantize(w, scale=1.0, keep_zero=True),
        lambda: ql.Calibrator().update(w).qparams(keep_zero=True),
    ):
        with pytest.raises(ValueError, match=r"^keep_zero: "):
            refuse()
    with pytest.raises(TypeError, match=r"^keep_zero: "):
        ql.quantize(w, grid="kmeans", keep_zero=1)


def test_case_m_codebooks_with_more_entries_than_values(rng):
    """Entries that nothing needs are the next floats after the last: cells without a width."""
    w = rng.normal(size=(6, 10))
    assert ql.quantize(w, grid="kmeans", axis=0).error(w).max_abs < 1e-6
