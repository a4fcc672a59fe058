"""The streaming histogram holds what the reference finds in all values at once, and its ranges are the best ones."""

import itertools

import numpy as np
import pytest
import reference
from samples import LAYOUTS

from qlite import _core

BINS = 512
METHODS = {"mse": reference.squared_error, "entropy": reference.divergence}
# The first candidates that the search tries: fractions of the full range. It must not miss the best of them.
LADDER = 2.0 ** -(np.arange(97) / 8)
ROUNDED = 1 + 1e-5  # the ends of the range that comes back are float32
# Scores are jagged, divergences most of all, and the refinement finds a local best; for mse this is 0.1 dB.
SEARCH_SLACK = {"mse": 1.02, "entropy": 1.1}
PERCENTILE_SLACK = 1e-5  # the bisection's ends are rounded to float32


def cleared(channels=1, bins=BINS):
    state, counts = np.zeros(channels, _core.HISTOGRAM_DTYPE), np.zeros((channels, bins), np.int64)
    _core.histogram_clear(state, counts)
    return state, counts


def observed(*batches, axis=-1, channels=1, bins=BINS):
    state, counts = cleared(channels, bins)
    for batch in batches:
        _core.histogram_update(np.asarray(batch, np.float32), axis, state, counts)
    return state, counts


def matches(state, counts, values, channel=0):
    expected, expected_counts = reference.histogram(values, counts.shape[1])
    got = {name: state[channel][name].item() for name in state.dtype.names}
    assert got == expected
    np.testing.assert_array_equal(counts[channel], expected_counts)


STREAMS = {
    "normal": [np.random.default_rng(1).normal(size=1000), np.random.default_rng(2).normal(3, 5, 1000)],
    "relu": [np.maximum(np.random.default_rng(3).normal(size=1000), 0), np.zeros(50)],
    "growing": [np.linspace(-(10.0**e), 10.0**e, 77) for e in range(-38, 39, 4)],
    "shrinking": [np.linspace(-(10.0**e), 10.0**e, 77) for e in range(38, -39, -4)],
    "far_from_zero": [np.linspace(100, 101, 300), np.linspace(100.5, 100.6, 300)],
    "denormals": [np.array([1e-45, -3e-45, 1e-40]), np.array([1e-39])],
    "one_value": [np.array([7.25]), np.full(5, 7.25)],
    "zeros_then_values": [np.zeros(9), np.array([-0.0]), np.array([2.0])],
    "extremes": [np.array([3.4028235e38, -3.4028235e38]), np.array([1e-45])],
    "powers_of_two": [2.0 ** np.arange(-126, 128), -(2.0 ** np.arange(-126, 128))],
    "below_zero_by_nothing": [np.array([-1e-45, 1e30, 1e-45]), np.array([-1e-45, -3e38, 3e38, -1e-38, 0, -0.0])],
    "on_the_edges": [np.arange(-64, 65) / 8, np.nextafter(np.arange(-64, 65) / 8, 9, dtype=np.float32)],
    "long_enough_for_tables": [np.maximum(np.random.default_rng(4).normal(size=40000), 0), np.full(9000, -2.5)],
    "empty_batches": [np.zeros(0), np.array([1.0, 2.0]), np.zeros(0)],
}


@pytest.mark.parametrize("name", STREAMS)
def test_stream(isa, name):
    batches = [np.asarray(batch, np.float32) for batch in STREAMS[name]]
    whole = np.concatenate(batches)
    for order in (batches, batches[::-1], [whole], [whole[::-1]]):
        matches(*observed(*order), whole)
    for bins in (128, 8192):
        matches(*observed(*batches, bins=bins), whole)


@pytest.mark.parametrize("name", STREAMS)
def test_merging_is_exact_in_any_order(isa, name):
    batches = [np.asarray(batch, np.float32) for batch in STREAMS[name]][:4]
    whole = np.concatenate(batches)
    for order in itertools.permutations(range(len(batches))):
        states = [observed(batches[i]) for i in order]
        for other in states[1:]:
            before = other[0].tobytes(), other[1].tobytes()
            _core.histogram_merge(*states[0], *other)
            assert (other[0].tobytes(), other[1].tobytes()) == before
        matches(*states[0], whole)


def test_merging_nothing(isa):
    state, counts = observed([1.0, 5.0])
    _core.histogram_merge(state, counts, *observed())
    matches(state, counts, [1.0, 5.0])
    empty = observed()
    _core.histogram_merge(*empty, state, counts)
    matches(*empty, [1.0, 5.0])
    nothing = observed()
    _core.histogram_merge(*nothing, *observed())
    matches(*nothing, [])


BLOCK = 2**18  # values whose range the core takes at once


def blocks(rng, order):
    values = rng.normal(3, 2, 3 * BLOCK + 1001).astype(np.float32)
    values[::5] = 0
    if order == "ascending":
        return np.sort(values)
    if order == "descending":
        return np.sort(values)[::-1].copy()
    if order == "growing":
        return values * np.exp2(np.arange(values.size) // 1000 % 64).astype(np.float32)
    return values


@pytest.mark.parametrize("order", ["random", "ascending", "descending", "growing"])
@pytest.mark.parametrize("bins", [128, 8192])
def test_more_than_a_block(isa, rng, order, bins):
    values = blocks(rng, order)
    for n in (BLOCK - 1, BLOCK, BLOCK + 1, values.size):
        matches(*observed(values[:n], bins=bins), values[:n])
    matches(
        *observed(values[:777], values, [1e20], values, bins=bins),
        np.concatenate([values[:777], values, [1e20], values]),
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [0, BLOCK - 1, BLOCK, 2 * BLOCK + 77, -1])
def test_nonfinite_in_any_block_leaves_the_state(isa, rng, bad, where):
    values = blocks(rng, "random")
    values[where] = bad
    state, counts = observed([1.0, 2.0])
    before = state.tobytes(), counts.tobytes()
    with pytest.raises(ValueError, match=r"^x: "):
        _core.histogram_update(values, -1, state, counts)
    assert (state.tobytes(), counts.tobytes()) == before


@pytest.mark.parametrize("shape, axis", [
    ((700, 3), 1), ((90, 255), 1), ((70, 256), 1), ((70, 257), 1), ((40, 1000), 1), ((3, 40000), 1), ((33000, 1), 1),
    ((3, 5000), 0), ((2, 3, 2500), 1), ((6, 4, 49), 1), ((2, 2, 1, 17), 2),
])  # fmt: skip
def test_many_rows_columns_and_values(isa, rng, shape, axis):
    x = np.maximum(rng.normal(size=shape) * 10.0 ** rng.integers(-3, 4, shape), -2).astype(np.float32)
    x[x < -1.5] = 0
    bins = 128 if x.shape[axis] > 300 else 1024
    state, counts = observed(x, axis=axis, channels=shape[axis], bins=bins)
    for c in range(0, shape[axis], max(1, shape[axis] // 300)):
        matches(state, counts, np.take(x, c, axis), c)
    assert (state["count"] == x.size // shape[axis]).all() and (counts.sum(1) + state["zeros"] == state["count"]).all()


@pytest.mark.parametrize("shape", [(5, 7), (33, 1), (1, 40), (3, 4, 5), (2, 17, 3)])
def test_channels_along_every_axis(isa, rng, shape):
    x = (rng.normal(size=shape) * 10.0 ** rng.integers(-3, 4, shape)).astype(np.float32)
    for axis in range(len(shape)):
        state, counts = observed(x, x * 3, axis=axis, channels=shape[axis])
        for c in range(shape[axis]):
            own = np.take(x, c, axis)
            matches(state, counts, np.concatenate([own, own * np.float32(3)], None), c)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(isa, rng, layout):
    plain = rng.normal(size=(6, 11)).astype(np.float32)
    state, counts = cleared(11)
    _core.histogram_update(LAYOUTS[layout](plain), 1, state, counts)
    for c in range(11):
        matches(state, counts, plain[:, c], c)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nonfinite_is_refused_and_nothing_counted(isa, bad):
    state, counts = observed([1.0, 2.0])
    with pytest.raises(ValueError, match=r"^x: "):
        _core.histogram_update(np.float32([3.0, bad, 4.0]), -1, state, counts)
    matches(state, counts, [1.0, 2.0])


def test_bad_arguments():
    state, counts = observed([1.0, 2.0])
    x = np.ones((2, 3), np.float32)
    cases = [
        ("axis", lambda: _core.histogram_update(x, 2, state, counts)),
        ("x", lambda: _core.histogram_update(x, 1, state, counts)),
        ("other", lambda: _core.histogram_merge(state, counts, *observed([1.0], bins=1024))),
        ("method", lambda: _core.histogram_range(state, counts, "magic", 99.0, -128, 127, True)),
        ("state, percentile", lambda: _core.histogram_range(state, counts, "percentile", 50.0, -128, 127, True)),
        ("state, percentile", lambda: _core.histogram_range(state, counts, "percentile", 100.5, -128, 127, True)),
        ("state, percentile", lambda: _core.histogram_range(state, counts, "percentile", np.nan, -128, 127, True)),
        ("state, percentile", lambda: _core.histogram_range(*observed(), "mse", 99.0, -128, 127, True)),
    ]
    for name, case in cases:
        with pytest.raises(ValueError, match=rf"^{name}: "):
            case()


def ranges(values, method, qmin=-128, qmax=127, symmetric=True, percentile=99.9):
    state, counts = observed(values, bins=2048)
    low, high = _core.histogram_range(state, counts, method, percentile, qmin, qmax, symmetric)
    reference_state, reference_counts = reference.histogram(np.asarray(values, np.float32), 2048)
    return float(low[0]), float(high[0]), reference_state, reference_counts


DISTRIBUTIONS = {
    "normal": np.random.default_rng(5).normal(size=20000),
    "laplace": np.random.default_rng(6).laplace(1, 2, 20000),
    "relu": np.maximum(np.random.default_rng(7).normal(size=20000), 0),
    "outlier": np.append(np.random.default_rng(8).normal(size=20000), 1000),
    "uniform": np.linspace(-3, 1, 20000),
    "one_sided": np.append(np.random.default_rng(9).normal(size=20000), -30),
}


def scorer(method, state, counts, qmin, qmax, symmetric):
    """Scores of one range, or of an array of them."""

    def score(low, high):
        scale, zero_point = reference.range_qparams(np.float32(low), np.float32(high), qmin, qmax, symmetric)
        of_one = np.vectorize(lambda s, z: METHODS[method](state, counts, s, z, qmin, qmax), otypes=[float])
        return of_one(scale, zero_point)

    return score


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("qmin, qmax", [(-127, 127), (0, 255), (-8, 7)])
def test_searched_symmetric_range_is_the_best(name, method, qmin, qmax):
    low, high, state, counts = ranges(DISTRIBUTIONS[name], method, qmin, qmax)
    score, widest = scorer(method, state, counts, qmin, qmax, True), max(-state["min"], state["max"])
    assert 0 < high <= widest and low == -high
    finer = LADDER[:, None] * 2.0 ** -(np.arange(4) / 32)
    scores = score(-widest * finer, widest * finer)  # of the ladder itself in the first column
    assert score(low, high) <= ROUNDED * scores[:, 0].min()
    assert score(low, high) <= SEARCH_SLACK[method] * scores.min()


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("qmin, qmax", [(-127, 127), (0, 255), (-8, 7)])
def test_searched_asymmetric_range_is_the_best(name, method, qmin, qmax):
    low, high, state, counts = ranges(DISTRIBUTIONS[name], method, qmin, qmax, symmetric=False)
    score, ends = scorer(method, state, counts, qmin, qmax, False), (min(state["min"], 0), max(state["max"], 0))
    if method == "mse":  # a zero point is a whole number of steps, and a coarse grid can gain by reaching further
        ends = tuple(2 * end + sign * (high - low) / (qmax - qmin) for end, sign in zip(ends, (-1, 1), strict=True))
    assert ends[0] <= low <= 0 < high <= ends[1]
    ends = (min(state["min"], 0), max(state["max"], 0))
    assert score(low, high) <= ROUNDED * score(ends[0] * LADDER, ends[1] * LADDER).min()
    if method == "mse":
        coarse = LADDER[:24:2]
        scores = score(*np.meshgrid(ends[0] * coarse, ends[1] * coarse))
        assert score(low, high) <= SEARCH_SLACK[method] * scores.min()


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("percentile", [99.99, 99.0, 90.0])
@pytest.mark.parametrize("symmetric", [True, False])
def test_percentile_is_the_least_range_that_holds_enough(name, percentile, symmetric):
    low, high, state, counts = ranges(DISTRIBUTIONS[name], "percentile", -128, 127, symmetric, percentile)
    allowed, slack = state["count"] * (100 - percentile) / 100, PERCENTILE_SLACK * state["count"]
    for ends in [(low, high)] if symmetric else [(low, np.inf), (-np.inf, high)]:
        wider, narrower = (
            reference.count_beyond(state, counts, ends[0] * factor, ends[1] * factor)
            for factor in (1 + PERCENTILE_SLACK, 1 - PERCENTILE_SLACK)
        )
        assert wider <= allowed + slack
        assert narrower >= allowed - slack or 0 in ends


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_percentile_100_is_minmax(name):
    low, high, state, _ = ranges(DISTRIBUTIONS[name], "percentile", -128, 127, False, 100.0)
    assert low == min(state["min"], 0) and high == max(state["max"], 0)


@pytest.mark.parametrize("method", ["mse", "entropy", "percentile"])
@pytest.mark.parametrize("value", [0.0, 3.5, -1e-3, 1e30])
def test_constant_streams_keep_their_value(method, value):
    for symmetric in (True, False):
        low, high, _, _ = ranges(np.full(100, value), method, symmetric=symmetric)
        assert low == high == np.float32(value)


def test_ranges_are_the_same_on_every_isa(rng):
    before = _core.info()["isa"]
    state, counts = observed(rng.laplace(size=5000), bins=2048)
    answers = set()
    try:
        for name in _core.info()["isas_runnable"]:
            _core.isa_select(name)
            for method in ("mse", "entropy", "percentile"):
                low, high = _core.histogram_range(state, counts, method, 99.9, 0, 255, False)
                answers.add((method, low.tobytes(), high.tobytes()))
    finally:
        _core.isa_select(before)
    assert len(answers) == 3
