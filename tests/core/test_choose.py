"""Ranges: the grid that comes out is the best one for the sample, found from the histogram or from sorted rows."""

import numpy as np
import pytest
import reference
from samples import same_bytes

from qlite import _core

# What the streaming state may lose against the sample's own optimum on the same grid.
STATE_LOSS_DB = 0.01
# Few samples make a jagged error; the search sees a ladder of scales and the minima next to it.
GROUP_LOSS_DB = 0.05
# Of a mean of values that stand at the middle of their bins, thousands of which reach over the range.
BIN_TOLERANCE = 1e-3
ROUNDED = 1 + 1e-5  # scales are float32
SCALE_TYPES = ["float32", "float16", "e8m0"]

NF4 = np.float32([-1, -0.6962, -0.5251, -0.3949, -0.2844, -0.1848, -0.0911, 0])
NF4 = np.append(NF4, np.float32([0.0796, 0.1609, 0.2461, 0.3379, 0.4407, 0.5626, 0.723, 1]))
FP4 = np.float32([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])  # in the order of their bits
CODEBOOKS = {
    "nf4": NF4,
    "fp4": FP4,
    "sign": np.float32([-1, 1]),
    "with_nan": np.float32([np.nan, 2, -3, 0.5]),
    "positive": np.float32([0, 0.1, 0.5, 2]),
}
GRIDS = [(-1, 1, True), (-7, 7, True), (-8, 7, True), (-127, 127, True), (0, 3, False), (0, 15, False), (0, 255, False)]


def observed(x, bins=8192):
    state, counts = np.zeros(1, _core.HISTOGRAM_DTYPE), np.zeros((1, bins), np.int64)
    _core.histogram_clear(state, counts)
    _core.histogram_update(np.asarray(x, np.float32), -1, state, counts)
    return state, counts


def levels(scale, zero_point, qmin, qmax):
    return float(scale) * (np.arange(qmin, qmax + 1) - int(zero_point))


def entries(codebook):
    return np.unique(codebook[~np.isnan(codebook)].astype(np.float64))


def decibels(error, best):
    return 10 * np.log10(error / best)


def least(score, ladder):
    """The least score over a ladder, and between the neighbours of its best step."""
    scores = [score(f) for f in ladder]
    at = int(np.argmin(scores))
    finer = np.linspace(ladder[max(at - 1, 0)], ladder[min(at + 1, len(ladder) - 1)], 40)
    return min(scores[at], *(score(f) for f in finer))


RNG = np.random.default_rng(11)
SAMPLES = {
    "normal": RNG.normal(size=500_000),
    "laplace": RNG.laplace(size=500_000),
    "relu": np.maximum(RNG.normal(size=500_000), 0),
    "shifted": RNG.normal(1, 1, 500_000),
    "skewed": RNG.gamma(2, 1, 500_000) - 1,
}
SAMPLES = {name: np.sort(x.astype(np.float32)) for name, x in SAMPLES.items()}


class Sample:
    """reference.codebook_error for many codebooks: sums of x and x^2 once, then one search per threshold."""

    def __init__(self, x):
        self.x = x.astype(np.float64)
        self.sums, self.power = np.append(0, np.cumsum(self.x)), np.sum(self.x**2)

    def error(self, levels):
        cuts = np.searchsorted(self.x, (levels[1:] + levels[:-1]) / 2)
        cuts = np.concatenate([[0], cuts, [self.x.size]])
        return self.power + np.dot(levels, levels * np.diff(cuts) - 2 * np.diff(self.sums[cuts]))


# ---- mse ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("qmin, qmax, symmetric", GRIDS)
def test_mse_reaches_the_optimum_of_the_sample(name, qmin, qmax, symmetric):
    x = SAMPLES[name]
    sample = Sample(x)

    def score(scale, zero_point):
        return sample.error(levels(scale, zero_point, qmin, qmax))

    low, high = _core.histogram_range(*observed(x), "mse", 99.0, qmin, qmax, symmetric)
    (scale,), (natural,) = _core.range_qparams(low, high, qmin, qmax, symmetric)
    got = score(scale, natural)
    zero_points = {0} if symmetric else range(qmin, qmax + 1) if qmax < 16 else range(natural - 2, natural + 3)
    ladder = np.geomspace(0.5, 1.6, 25) * float(scale)
    best = min(least(lambda s, z=z: score(s, z), ladder) for z in zero_points)
    assert decibels(got, best) <= STATE_LOSS_DB


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("codebook", CODEBOOKS)
def test_mse_of_codebooks(name, codebook):
    x, codebook = SAMPLES[name], CODEBOOKS[codebook]
    values, sample = entries(codebook), Sample(x)
    top = max(x[-1] / values[-1], x[0] / values[0] if values[0] < 0 else 0)
    best = least(lambda s: sample.error(s * values), np.geomspace(0.02, 2, 150) * top)
    for low, high in (
        _core.histogram_range(*observed(x), "mse", 99.0, 0, 1, True, "float32", codebook),
        _core.sorted_range(x[None], "mse", 99.0, 0, 1, True, "float32", codebook),
    ):
        (scale,), (zero_point,) = _core.range_qparams(low, high, 0, 1, True, "float32", codebook)
        assert zero_point == 0
        assert decibels(sample.error(float(scale) * values), best) <= STATE_LOSS_DB


def test_sixteen_bits():
    x = SAMPLES["laplace"]
    for qmin, qmax, symmetric in ((-32767, 32767, True), (0, 65535, False)):
        low, high = _core.histogram_range(*observed(x), "mse", 99.0, qmin, qmax, symmetric)
        (scale,), (zero_point,) = _core.range_qparams(low, high, qmin, qmax, symmetric)
        wide = _core.range_qparams(x[:1], x[-1:], qmin, qmax, symmetric)
        got, minmax = (
            reference.codebook_error(x, levels(s, z, qmin, qmax))
            for s, z in ((scale, zero_point), (*wide[0], *wide[1]))
        )
        assert got <= 1.01 * minmax


@pytest.mark.parametrize("n", [2, 5, 32, 33, 600])
@pytest.mark.parametrize("qmin, qmax, symmetric", GRIDS[:3] + GRIDS[4:6])
def test_mse_of_small_groups(rng, n, qmin, qmax, symmetric):
    x = np.sort(rng.normal(size=(12, n)).astype(np.float32), axis=1)
    low, high = _core.sorted_range(x, "mse", 99.0, qmin, qmax, symmetric)
    scale, zero_point = _core.range_qparams(low, high, qmin, qmax, symmetric)
    got = best = 0.0
    for row, s, z in zip(x, scale, zero_point, strict=True):
        got += reference.codebook_error(row, levels(s, z, qmin, qmax))
        top = float(max(-row[0], row[-1])) / max(1, (qmax - qmin) // 2)
        zero_points, sample = [0] if symmetric else range(qmin, qmax + 1), Sample(row)
        best += min(
            sample.error(levels(top * f, z, qmin, qmax)) for f in np.geomspace(0.2, 2, 150) for z in zero_points
        )
    power = float(np.sum(x.astype(np.float64) ** 2))
    assert got <= best * 10 ** (GROUP_LOSS_DB / 10) + 1e-12 * power


def test_rows_are_searched_each_by_itself(rng):
    x = np.sort(rng.laplace(size=(7, 40)).astype(np.float32) * np.float32([[1e-30], [1], [1e30], [3], [0], [5], [7]]))
    x[5] = 4
    for method in ("mse", "percentile"):
        together = np.array(_core.sorted_range(x, method, 99.0, 0, 15, False))
        alone = [_core.sorted_range(row[None], method, 99.0, 0, 15, False) for row in x]
        same_bytes(together, np.array(alone)[:, :, 0].T.copy())
        assert (together[:, 5] == 4).all() and (together[:, 4] == 0).all()


@pytest.mark.parametrize("scale_type", ["float16", "e8m0"])
@pytest.mark.parametrize("qmin, qmax, symmetric", GRIDS)
def test_the_scale_that_is_scored_is_the_rounded_one(scale_type, qmin, qmax, symmetric):
    x = SAMPLES["shifted"]
    sample = Sample(x)
    for low, high in (
        _core.histogram_range(*observed(x), "mse", 99.0, qmin, qmax, symmetric, scale_type),
        _core.sorted_range(x[None], "mse", 99.0, qmin, qmax, symmetric, scale_type),
    ):
        (scale,), (zero_point,) = _core.range_qparams(low, high, qmin, qmax, symmetric, scale_type)
        got = sample.error(levels(scale, zero_point, qmin, qmax))
        if scale_type == "e8m0":
            others = [(float(scale) * f, z) for f in (0.5, 1, 2) for z in range(qmin, qmax + 1)]
        else:
            assert scale == np.float16(scale)
            others = [(float(scale) + i * float(np.spacing(np.float16(scale))), zero_point) for i in range(-4, 5)]
        if symmetric:
            others = [(s, 0) for s, _ in others]
        best = min(sample.error(levels(s, z, qmin, qmax)) for s, z in others)
        assert decibels(got, best) <= STATE_LOSS_DB


@pytest.mark.parametrize("scale_type", SCALE_TYPES)
@pytest.mark.parametrize("codebook", [None, *CODEBOOKS])
def test_minmax_grids_come_back_exactly(scale_type, codebook):
    """Values that stand on a grid lose nothing on it."""
    codebook = None if codebook is None else CODEBOOKS[codebook]
    values = 0.25 * (np.arange(-7.0, 8) if codebook is None else entries(codebook))
    x = np.sort(np.repeat(values, 20)).astype(np.float32)[None]
    low, high = _core.sorted_range(x, "mse", 99.0, -7, 7, True, scale_type, codebook)
    scale, _ = _core.range_qparams(low, high, -7, 7, True, scale_type, codebook)
    np.testing.assert_allclose(scale, 0.25, rtol=1e-6)


EXTREMES = {
    "denormals": [-3e-45, 1e-45, 1e-44, 3e-40],
    "greatest": [-3.4028235e38, -1e38, 2e38, 3.4028235e38],
    "far_apart": [-3.4028235e38, -1e-45, 0, 1e-45],
    "one_side": [0, 1e-20, 3, 3.4028235e38],
    "below": [-5, -4, -3.5, -1e-30],
    "outlier": [*np.linspace(-1, 1, 50), 1e15],
    "two_values": [-1, 1],
    "far_from_zero": np.linspace(1e6, 1e6 + 1, 40),
}


@pytest.mark.parametrize("name", EXTREMES)
@pytest.mark.parametrize("method", ["mse", "entropy", "percentile"])
@pytest.mark.parametrize("qmin, qmax, symmetric", [*GRIDS, (-32768, 32767, False), (0, 1, False), (0, 1, True)])
def test_any_finite_data_has_a_finite_grid(name, method, qmin, qmax, symmetric):
    x = np.sort(np.float32(EXTREMES[name]))
    state, counts = observed(x, 512)
    huge = counts * 2**55  # as if streamed for ages
    many = state.copy()
    many["count"], many["zeros"] = state["count"] * 2**55, state["zeros"] * 2**55
    answers = [_core.histogram_range(*s, method, 99.0, qmin, qmax, symmetric) for s in ((state, counts), (many, huge))]
    if method != "entropy":
        answers.append(_core.sorted_range(x[None], method, 99.0, qmin, qmax, symmetric))
        answers.append(_core.sorted_range(x[None], method, 99.0, 0, 1, True, "e8m0", NF4))
    for low, high in answers:
        assert np.isfinite(low).all() and np.isfinite(high).all() and low <= high
        scale, zero_point = _core.range_qparams(low, high, qmin, qmax, symmetric)
        assert np.finfo(np.float32).tiny <= scale < np.inf and qmin <= zero_point <= qmax


def test_zeros_neither_cost_nor_drown(rng):
    """They come back exactly from every uniform grid, and weigh on a codebook that has no zero."""
    x = rng.normal(size=5000).astype(np.float32)
    few, many = observed(x), observed(np.append(x, np.zeros(1_000_000, np.float32)))
    for method in ("mse", "entropy"):
        for args in ((0, 255, False), (-7, 7, True)):
            same = [np.array(_core.histogram_range(*s, method, 99.0, *args)) for s in (few, many)]
            same_bytes(*same)
    sign = CODEBOOKS["sign"]
    spread = [_core.histogram_range(*s, "mse", 99.0, 0, 1, True, "float32", sign)[1][0] for s in (few, many)]
    np.testing.assert_allclose(spread, [np.abs(x).mean(), np.abs(x).sum() / (x.size + 1_000_000)], rtol=BIN_TOLERANCE)


# ---- percentile ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("percentile", [60.0, 90.0, 99.0, 100.0])
@pytest.mark.parametrize("name", SAMPLES)
def test_percentile_of_sorted_rows(name, percentile):
    x = SAMPLES[name]
    allowed = x.size * (100 - percentile) / 100
    low, high = (end.item() for end in _core.sorted_range(x[None], "percentile", percentile, 0, 255, False))
    assert np.sum(x > high) <= allowed and np.sum(x < low) <= allowed
    assert high == 0 or np.sum(x >= high) > allowed
    assert low == 0 or np.sum(x <= low) > allowed
    low, high = (end.item() for end in _core.sorted_range(x[None], "percentile", percentile, -127, 127, True))
    assert low == -high and np.sum(np.abs(x) > high) <= allowed < np.sum(np.abs(x) >= high)


# ---- bad arguments --------------------------------------------------------------------------------------


def test_bad_arguments():
    x = np.float32([[1, 2, 3]])
    good = ("mse", 99.0, -7, 7, True)
    cases = {
        "x": [
            (np.float32([[2, 1, 3]]), *good),
            (np.float32([[1, np.nan, 3]]), *good),
            (np.float32([[1, 2, np.inf]]), *good),
            (np.zeros((2, 0), np.float32), *good),
            (np.float32([1, 2]), *good),
            (x, "entropy", 99.0, -7, 7, True),
            (x, "mse", 50.0, -7, 7, True),
            (x, "mse", 99.0, 7, 7, True),
            (x, "mse", 99.0, -40000, 7, True),
            (x, "mse", 99.0, 0, 70000, True),
            (x, *good, "float32", np.float32([0, np.inf])),
            (x, *good, "float32", np.float32([np.nan, 0])),
            (x, *good, "float32", np.zeros(0, np.float32)),
            (x, *good, "float32", np.arange(257, dtype=np.float32)),
        ],
        "method": [(x, "magic", 99.0, -7, 7, True)],
        "scale_type": [(x, *good, "float8")],
    }
    for name, calls in cases.items():
        for call in calls:
            with pytest.raises(ValueError, match=rf"^{name}"):
                _core.sorted_range(*call)
    with pytest.raises(TypeError, match=r"^codebook: "):
        _core.sorted_range(x, *good, "float32", np.arange(3))


# ---- range_qparams --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale_type", SCALE_TYPES)
@pytest.mark.parametrize("codebook", [None, *CODEBOOKS])
def test_range_qparams(rng, scale_type, codebook):
    codebook = None if codebook is None else CODEBOOKS[codebook]
    reach = {"float32": 37, "float16": 3, "e8m0": 37}[scale_type]
    ends = np.sort(rng.normal(size=(2, 4000)) * 10.0 ** rng.integers(-reach, reach + 1, (2, 4000)), axis=0)
    ends[:, :40] = ends[0, :40]
    ends[:, 40] = 0
    if scale_type != "float16":
        greatest = 3.4028235e38 if scale_type == "float32" else 5e37  # of which no scale leaves e8m0
        ends[:, 41:44] = [[-greatest, 0, greatest], [greatest, greatest, greatest]]
    low, high = ends.astype(np.float32)
    for qmin, qmax, symmetric in [*GRIDS, (0, 1, True), (-32768, 32767, False), (0, 65535, False)]:
        got = _core.range_qparams(low, high, qmin, qmax, symmetric, scale_type, codebook)
        expected = reference.range_qparams(low, high, qmin, qmax, symmetric, scale_type, codebook)
        same_bytes(got[0], expected[0])
        same_bytes(got[1], expected[1])


def test_scales_beyond_their_type():
    wide = np.float32([70000.0])
    with pytest.raises(ValueError, match=r"^low, high: .*scale_dtype"):
        _core.range_qparams(-wide, wide, -1, 1, True, "float16")
    assert _core.range_qparams(-wide, wide, -7, 7, True, "float16")[0] == 10000
    assert _core.range_qparams(wide * 0, wide / 1e20, 0, 255, False, "float16")[0] == 2.0**-24
    assert _core.range_qparams(wide * 0, np.float32([1e-44]), 0, 255, False, "e8m0")[0] == 2.0**-126
    greatest = np.float32([3.4028235e38])
    with pytest.raises(ValueError, match=r"^low, high: "):
        _core.range_qparams(-greatest, greatest, -1, 1, True, "e8m0")


def test_constants_come_back_exactly_where_a_scale_can_hold_them():
    for scale_type, values in (("float16", [3.0, -0.1875]), ("e8m0", [4.0, -3.0, 0.21875])):
        for value in np.float32(values):
            (scale,), (zero_point,) = _core.range_qparams(value[None], value[None], -127, 127, True, scale_type)
            assert np.rint(value / scale) * scale == value and zero_point == 0
