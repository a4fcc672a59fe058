"""Calibrators: their answers depend on the values alone, not on the order or on how they were cut into batches."""

import pickle

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import LAYOUTS, same_bytes

import qlite as ql
from qlite.grids.histogram import TENSOR_BINS

PROPERTY = settings(derandomize=True, deadline=None, database=None, max_examples=40)
METHODS = ["minmax", "percentile", "mse", "entropy"]
# What the search may lose against the best range of the sample itself. One end: bins are so fine that nothing is lost.
# Two ends are moved in turn, and the error is jagged: the search stops in a neighbouring valley.
OPTIMUM_DB = {True: 0.01, False: 0.05}
# Entropy gives up some decibels of a smooth distribution for its bulk; a threshold that zeros drag down costs tens.
ENTROPY_LOSS_DB = 3.0
AVERAGE_TOLERANCE = 1e-6  # the average is kept in float64, and rounded to float32 where it becomes a grid


def answers(calibrator):
    grids = [
        calibrator.qparams(method, symmetric=symmetric, **options(method))
        for method in METHODS
        for symmetric in (True, False)
    ]
    return [(qp.scale.tobytes(), qp.zero_point.tobytes(), qp.scale.shape) for qp in grids]


def options(method):
    """A percentile is taken by its method alone."""
    return {"percentile": 99.5} if method == "percentile" else {}


def calibrated(*batches, **arguments):
    calibrator = ql.Calibrator(**arguments)
    for batch in batches:
        assert calibrator.update(batch) is calibrator
    return calibrator


def sqnr_db(x, qp):
    exact = x.astype(np.float64)
    return 10 * np.log10(np.sum(exact**2) / np.sum((exact - ql.fake_quantize(x, qp)) ** 2))


SAMPLES = {
    "normal": np.random.default_rng(1).normal(size=100_000).astype(np.float32),
    "laplace": np.random.default_rng(2).laplace(size=100_000).astype(np.float32),
}
RELU = np.maximum(SAMPLES["normal"], 0)


# ---- order, pieces, merging -------------------------------------------------------------------------


@PROPERTY
@given(data=st.data(), seed=st.integers(0, 2**32 - 1), axis=st.sampled_from([None, 0, 1, -1]))
def test_any_split_in_any_order_gives_the_same(data, seed, axis):
    rng = np.random.default_rng(seed)
    rows = data.draw(st.integers(1, 60))
    x = rng.standard_t(2, (rows, 3)).astype(np.float32) * np.float32(10.0) ** rng.integers(-20, 20, (rows, 1))
    x[rng.random((rows, 3)) < 0.3] = 0
    along_rows = axis in (1, -1)  # batches of other lengths fit only where the axis is kept
    ends = sorted(data.draw(st.lists(st.integers(0, rows), max_size=5))) if along_rows or axis is None else []
    pieces = np.split(x, ends)
    whole = calibrated(x, axis=axis, bins=256)
    shuffled = calibrated(*(pieces[i] for i in rng.permutation(len(pieces))), axis=axis, bins=256)
    merged = ql.Calibrator(axis=axis, bins=256)
    for i in rng.permutation(len(pieces)):
        assert merged.merge(calibrated(pieces[i], axis=axis, bins=256)) is merged
    assert answers(shuffled) == answers(whole) == answers(merged)
    assert shuffled.count == whole.count == merged.count == x.size


def test_merging_leaves_the_other_as_it_was(rng):
    one, other = calibrated(rng.normal(size=500)), calibrated(100 * rng.normal(size=50))
    before = answers(other)
    one.merge(other)
    assert answers(other) == before and other.count == 50
    assert one.merge(ql.Calibrator()).count == 550
    assert one.merge(one).count == 1100


def test_what_cannot_be_merged(rng):
    x = rng.normal(size=(5, 4))
    for one, other in (
        ({}, {"momentum": 0.1}),
        ({"momentum": 0.1}, {}),
        ({"axis": 1}, {}),
        ({"axis": 1}, {"axis": 0}),
        ({"bins": 512}, {}),
    ):
        calibrator = calibrated(x, **one)
        before = pickle.dumps(calibrator)
        with pytest.raises(ValueError, match=r"^other: "):
            calibrator.merge(calibrated(x, **other))
        assert pickle.dumps(calibrator) == before
    with pytest.raises(ValueError, match=r"^other: .*4 channels.*3"):
        calibrated(x, axis=1).merge(calibrated(x[:, :3], axis=1))


# ---- the methods ------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [None, 0, 1, 2, -2])
@pytest.mark.parametrize("symmetric", [True, False])
def test_minmax(rng, axis, symmetric):
    x = rng.normal(1, 2, (4, 5, 3)).astype(np.float32)
    qp = calibrated(x[:, :, :1], x, axis=axis).qparams(symmetric=symmetric) if axis != 2 else None
    qp = qp or calibrated(x[:1], x, axis=axis).qparams(symmetric=symmetric)
    expected = ql.choose_qparams(x, axis=axis, symmetric=symmetric)
    same_bytes(qp.scale, expected.scale)
    same_bytes(qp.zero_point, expected.zero_point)
    assert (qp.axis, qp.dtype, qp.qmin) == (expected.axis, expected.dtype, expected.qmin)


def test_channels_are_calibrated_each_by_itself(rng):
    x = rng.laplace(size=(3000, 4)).astype(np.float32) * np.float32([1, 10, 1e-3, 0])
    for method in METHODS:
        together = calibrated(x, axis=1, bins=TENSOR_BINS).qparams(method)
        for j in range(4):
            alone = calibrated(x[:, j]).qparams(method)
            assert (together.scale[0, j], together.zero_point[0, j]) == (alone.scale.item(), alone.zero_point.item())


@pytest.mark.parametrize("momentum", [0.1, 0.9, 1.0])
@pytest.mark.parametrize("axis", [None, 1])
def test_moving_average(rng, axis, momentum):
    batches = [rng.normal(i, 1 + i, (20, 3)).astype(np.float32) for i in range(5)]
    calibrator = calibrated(*batches, axis=axis, momentum=momentum)
    low, high = map(np.float64, reference.minmax(batches[0], axis))
    for batch in batches[1:]:
        batch_low, batch_high = reference.minmax(batch, axis)
        low, high = low + momentum * (batch_low - low), high + momentum * (batch_high - high)
    got_low, got_high = calibrator.qparams("ema", symmetric=True).range
    expected = np.maximum(-low, high)
    np.testing.assert_allclose(got_high.ravel(), np.ravel(expected), rtol=AVERAGE_TOLERANCE)
    same_bytes(got_low, -got_high)
    minmax = calibrated(*batches, axis=axis).qparams()
    same_bytes(calibrator.qparams("minmax").scale, minmax.scale)  # kept beside the rest


@pytest.mark.parametrize("percentile", [90, 99, 99.9, 100])
def test_percentile(percentile):
    x = SAMPLES["normal"]
    low, high = calibrated(x).qparams("percentile", percentile=percentile).range
    allowed = x.size * (100 - percentile) / 100
    bin_width = 2 * np.abs(x).max() / 4096  # bins reach twice as far at most, and half of 8192 lie on either side
    step = (high - low).item() / 255
    for beyond in (np.sum(x > high + step + bin_width), np.sum(x < low - step - bin_width)):
        assert beyond <= allowed
    for beyond in (np.sum(x > high - step - bin_width), np.sum(x < low + step + bin_width)):
        assert beyond >= allowed


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("symmetric", [True, False])
def test_mse_is_as_good_as_the_sample_allows(name, symmetric):
    x = SAMPLES[name]
    qp = calibrated(x).qparams("mse", symmetric=symmetric)
    least, most = float(x.min()), float(x.max())
    if symmetric:
        fractions = np.geomspace(0.3, 1, 300)
        ranges = [(-f * max(-least, most), f * max(-least, most)) for f in fractions]
    else:
        low, high = (float(bound.item()) for bound in qp.range)
        fractions = np.linspace(0.9, 1.1, 15)
        ranges = [(max(low * f, least), min(high * g, most)) for f in fractions for g in fractions]
    grids = [ql.QParams.from_range(np.float32(a), np.float32(b), symmetric=symmetric) for a, b in ranges]
    best = max(sqnr_db(x, grid) for grid in grids)
    assert sqnr_db(x, qp) >= best - OPTIMUM_DB[symmetric]
    assert sqnr_db(x, qp) > sqnr_db(x, calibrated(x).qparams(symmetric=symmetric))


@pytest.mark.parametrize("method", ["mse", "entropy"])
def test_exact_zeros_do_not_move_the_threshold(method):
    few, many = calibrated(RELU), calibrated(RELU, np.zeros(1_000_000, np.float32))
    same_bytes(few.qparams(method).scale, many.qparams(method).scale)
    assert few.qparams(method).zero_point == 0


@pytest.mark.parametrize("x", [*SAMPLES.values(), RELU], ids=[*SAMPLES, "relu"])
def test_entropy_is_not_ruinous(x):
    calibrator = calibrated(x)
    best = sqnr_db(x, calibrator.qparams("mse"))
    assert sqnr_db(x, calibrator.qparams("entropy")) >= best - ENTROPY_LOSS_DB


def test_one_outlier():
    """Min-max pays for it with the whole grid; percentile and entropy cut it off, mse weighs it."""
    bulk = SAMPLES["normal"]
    calibrator = calibrated(np.append(bulk, np.float32(300)))
    on_bulk = {method: sqnr_db(bulk, calibrator.qparams(method)) for method in METHODS}
    assert on_bulk["minmax"] < 10
    assert min(on_bulk["percentile"], on_bulk["entropy"]) > 30
    with_outlier = np.append(bulk, np.float32(300))
    assert sqnr_db(with_outlier, calibrator.qparams("mse")) >= sqnr_db(with_outlier, calibrator.qparams()) - 0.01


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("value", [0.0, 2.5, -3e-7, 1e30])
def test_constant_data_comes_back_exactly(method, symmetric, value):
    x = np.full(100, value, np.float32)
    qp = calibrated(x, x[:3], momentum=0.5).qparams(method, symmetric=symmetric)
    np.testing.assert_array_equal(ql.fake_quantize(x, qp), x)


def test_choose_qparams_is_a_calibrator_of_one_batch(rng):
    x = rng.laplace(size=(400, 3)).astype(np.float32)
    for method in METHODS:
        chosen = ql.choose_qparams(x, method=method, symmetric=False, **options(method))
        same_bytes(chosen.scale, calibrated(x).qparams(method, **options(method)).scale)
        channels = ql.choose_qparams(x, method=method, axis=1)
        same_bytes(channels.scale, calibrated(x, axis=1, bins=2048).qparams(method, symmetric=True).scale)


# ---- what comes in ----------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(rng, layout):
    x = rng.normal(size=(9, 4)).astype(np.float32)
    for axis in (None, 0, 1):
        twin = calibrated(LAYOUTS[layout](x), axis=axis, bins=128)
        assert answers(twin) == answers(calibrated(x, axis=axis, bins=128))


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4"])
def test_floating_dtypes(rng, dtype):
    x = rng.normal(size=50).astype(dtype)
    assert answers(calibrated(x)) == answers(calibrated(x.astype(np.float32))) == answers(calibrated(x.tolist()))


def test_batches_of_other_ranks(rng):
    x = rng.normal(size=(6, 4)).astype(np.float32)
    assert answers(calibrated(x.ravel(), x[0, 0], x[None], x)) == answers(calibrated(x, x[None, :1, :1], x, x))
    for batches in ((x, x[None]), (x[None], x)):  # the highest rank, whatever the order
        parts = [calibrated(batch, axis=-1) for batch in batches]
        for calibrator in (calibrated(*batches, axis=-1), parts[0].merge(parts[1])):
            qp = calibrator.qparams()
            assert qp.scale.shape == (1, 1, 4) and qp.axis == 2


def test_empty_batches_change_nothing(rng):
    x = rng.normal(size=(6, 4))
    with_empty = calibrated(np.zeros((0, 4)), x, [], np.zeros((3, 0)), momentum=0.1)
    assert answers(with_empty) == answers(calibrated(x))
    assert with_empty.count == 24
    same_bytes(with_empty.qparams("ema").scale, calibrated(x).qparams().scale)
    nothing = calibrated(np.zeros((0, 4)))
    assert nothing.count == 0 and "nothing" in repr(nothing)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("options", [{}, {"axis": 1}, {"momentum": 0.1}])
def test_a_refused_batch_leaves_no_trace(rng, bad, options):
    calibrator = calibrated(rng.normal(size=(6, 4)), **options)
    before = pickle.dumps(calibrator)
    batch = 1e6 * rng.normal(size=(50, 4))
    batch[-1, -1] = bad
    with pytest.raises(ValueError, match=r"^batch: "):
        calibrator.update(batch)
    assert pickle.dumps(calibrator) == before
    fresh = ql.Calibrator(**options)
    with pytest.raises(ValueError, match=r"^batch: "):
        fresh.update(batch)
    assert fresh.update(np.ones((2, 7))).count == 14  # not bound to the refused batch's channels


@pytest.mark.parametrize("bins", [128, 8192, 65536])
def test_the_state_has_a_fixed_size(rng, bins):
    calibrator = calibrated(rng.normal(size=10), bins=bins)
    size = len(pickle.dumps(calibrator))
    for exponent in range(-30, 31, 5):
        calibrator.update(rng.normal(size=1000) * 10.0**exponent)
    assert len(pickle.dumps(calibrator)) <= size + 64  # counts and bounds may print longer, not more of them


def test_pickled_calibrators_go_on(rng):
    x, y = rng.normal(size=100), rng.normal(size=50) * 9
    for options in ({}, {"momentum": 0.3}):
        twin = pickle.loads(pickle.dumps(calibrated(x, **options)))
        assert answers(twin.update(y)) == answers(calibrated(x, y, **options))


def test_representation(rng):
    assert repr(calibrated(np.float32([-1, 2]))) == "Calibrator(2 values in [-1, 2], 8192 bins)"
    assert "3 channels" in repr(calibrated(rng.normal(size=(4, 3)), axis=1))


def test_channels_get_fewer_bins():
    assert "8192 bins" in repr(ql.Calibrator()) and "2048 bins" in repr(ql.Calibrator(axis=1))
