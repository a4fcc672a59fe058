"""Bad input to the functions that choose grids: a message that names the argument, what was expected and what came, and
nothing changed. The cases that every array function shares stand in arrays/test_bad_arguments.py."""

import pickle
import re

import numpy as np
import pytest

from qlite import Calibrator, QArray, QParams, choose_qparams, fake_quantize, quantize  # noqa: F401 (the table's names)
from qlite.grids.formats import GRIDS

W = np.linspace(-1, 1, 24).reshape(4, 6).astype(np.float32)
SEEN = Calibrator().update(W)
GROUPED = choose_qparams(W, 4, axis=0, group_size=4)
QP = choose_qparams(W, 4, axis=1)
NF4 = choose_qparams(W, grid="nf4")
ONE = np.ones((1, 1), np.float32)
FOUR = np.float32([-1, 0, 1, 2])

# Each row: what is raised, the argument that it names, what came, and the call.
CASES = """
ValueError | bits | 0 | quantize(W, 0)
ValueError | bits | 17 | quantize(W, 17)
ValueError | bits | -4 | choose_qparams(W, -4)
TypeError  | bits | 4.0 | quantize(W, 4.0)
TypeError  | bits | '4' | quantize(W, "4")
TypeError  | bits | True | quantize(W, True)
ValueError | bits | 9 | quantize(W, 9, grid="kmeans")
ValueError | bits | 8 | quantize(W, 8, grid="nf4")
ValueError | bits | 4 | quantize(W, 4, grid="mxint8")
ValueError | bits | 0 | SEEN.qparams(bits=0)
TypeError  | bits | 2.5 | SEEN.stability(bits=2.5)
ValueError | bits | 1000000000000000000000 | quantize(W, 10**21)

ValueError | grid | 'nf5' | quantize(W, grid="nf5")
ValueError | grid | 'codebook' | quantize(W, grid="codebook")
ValueError | grid | 'NF4' | choose_qparams(W, grid="NF4")
TypeError  | grid | None | quantize(W, grid=None)
ValueError | grid | 'int4' | SEEN.qparams(grid="int4")
ValueError | grid | 'kmeans' | QParams.from_range(-1.0, 1.0, grid="kmeans", symmetric=True)
ValueError | grid | 'mxfp4' | SEEN.qparams(grid="mxfp4")

ValueError | axis | 2 | quantize(W, 4, axis=2)
ValueError | axis | -3 | quantize(W, 4, axis=-3, group_size=2)
TypeError  | axis | '0' | quantize(W, grid="nf4", axis="0")
TypeError  | axis | 1.0 | Calibrator(axis=1.0)
ValueError | axis | 2 | Calibrator(axis=2).update(W)
ValueError | group_size | 0 | quantize(W, group_size=0)
ValueError | group_size | -32 | quantize(W, group_size=-32)
TypeError  | group_size | 32.0 | quantize(W, group_size=32.0)
TypeError  | group_size | True | quantize(W, group_size=True)
ValueError | group_size | 16 | quantize(W, grid="mxfp4", group_size=16)
ValueError | group_size | axis=0 | quantize(W[0], axis=0, group_size=2)
ValueError | group_size | axis=None | quantize(np.float32(1), group_size=2)
ValueError | group_axis | 0 | quantize(W, group_axis=0)
ValueError | group_axis | 2 | quantize(W, group_size=2, group_axis=2)
ValueError | group_axis | 0 | quantize(W, axis=0, group_size=2, group_axis=0)
ValueError | group_axis | -2 | quantize(W, axis=0, group_size=2, group_axis=-2)
TypeError  | group_axis | '1' | quantize(W, group_size=2, group_axis="1")

TypeError  | symmetric | 1 | quantize(W, symmetric=1)
TypeError  | symmetric | None | SEEN.qparams(symmetric=None)
TypeError  | signed | 'yes' | quantize(W, signed="yes")
TypeError  | narrow | 0 | quantize(W, narrow=0)
ValueError | narrow | True | quantize(W, 1, symmetric=False, narrow=True)
ValueError | narrow | True | QParams(ONE, 0, 1, narrow=True)

ValueError | method | 'kl' | quantize(W, method="kl")
ValueError | method | 'ema' | choose_qparams(W, method="ema")
ValueError | method | 'nf4' | quantize(W, grid="nf4", method="entropy")
ValueError | method | 'entropy' | quantize(W, 4, group_size=2, method="entropy")
ValueError | percentile | 50.0 | quantize(W, method="percentile", percentile=50)
ValueError | percentile | 100.5 | quantize(W, method="percentile", percentile=100.5)
ValueError | percentile | nan | quantize(W, method="percentile", percentile=np.nan)
TypeError  | percentile | None | quantize(W, percentile=None)
ValueError | percentile | 99.0 | quantize(W, percentile=99)

ValueError | importance | 'uniform' | quantize(W, importance=W)
ValueError | importance | (6, 4) | quantize(W, grid="kmeans", importance=np.ones((6, 4)))
ValueError | importance | -1.0 | quantize(W, grid="kmeans", importance=W)
ValueError | importance | 0 | quantize(W, grid="kmeans", importance=0 * W)
ValueError | importance | nan | quantize(W, grid="kmeans", importance=W * np.nan)
TypeError  | importance | complex | quantize(W, grid="kmeans", importance=W * 1j)
TypeError  | importance | 'a' | quantize(W, grid="kmeans", importance="a")

ValueError | scale_dtype | 'float64' | quantize(W, scale_dtype="float64")
ValueError | scale_dtype | 'float16' | quantize(W, grid="mxfp4", scale_dtype="float16")
ValueError | scale_dtype | 'e8m0' | quantize(W, grid="kmeans", scale_dtype="e8m0")
ValueError | scale_dtype | 16 | quantize(W, scale_dtype=16)
ValueError | scale_dtype | 'bf16' | QParams(ONE, 0, scale_dtype="bf16")
ValueError | scale_codes | None | QParams(ONE, 0, scale_dtype="uint8")
ValueError | scale_codes | QArray | QParams(ONE, 0, scale_codes=quantize(W))
ValueError | scale | 0.3 | QParams(ONE * np.float32(0.3), 0, scale_dtype="e8m0")
ValueError | scale | 0.3 | QParams(ONE * np.float32(0.3), 0, scale_dtype="float16")

ValueError | scale | 0.0 | quantize(W, 4, scale=[1.0, 0.0, 1.0, 1.0], axis=0)
ValueError | scale | inf | quantize(W, grid="nf4", scale=np.inf)
ValueError | scale | (3,) | quantize(W, 4, scale=[1.0, 2.0, 3.0])
ValueError | scale | (4, 4) | quantize(W, 4, scale=np.ones((4, 4)), group_size=2)
ValueError | scale | (4, 3) | quantize(W, 4, scale=np.ones((4, 3)))
ValueError | scale | 'kmeans' | quantize(W, grid="kmeans", scale=1.0)
ValueError | scale | (1, 6) | quantize(W.T, QP)
ValueError | scale | (4, 2) | quantize(W[:3], GROUPED)
ValueError | scale | (4, 2) | quantize(W[:, :4], GROUPED)
ValueError | scale | (4, 2) | fake_quantize(W[0], GROUPED)
ValueError | zero_point | 8 | quantize(W, 4, scale=1.0, zero_point=8)
ValueError | zero_point | 3 | quantize(W, grid="nf4", scale=1.0, zero_point=3)
ValueError | zero_point | 0 | quantize(W, 4, zero_point=0)

ValueError | symmetric | False | quantize(W, QP, symmetric=False)
ValueError | grid | 'nf4' | quantize(W, QP, grid="nf4")
ValueError | axis | 1 | quantize(W, QP, axis=1)
ValueError | group_size | 2 | quantize(W, QP, group_size=2)
ValueError | scale | 1.0 | quantize(W, QP, scale=1.0)
ValueError | method | 'mse' | quantize(W, QP, method="mse")
ValueError | method | 'mse' | quantize(W, scale=1.0, method="mse")

ValueError | rounding | 'up' | quantize(W, rounding="up")
ValueError | rounding | 'away' | quantize(W, grid="nf4", rounding="away")
ValueError | rounding | 'stochastic' | fake_quantize(W, NF4, rounding="stochastic")
ValueError | seed | 1 | quantize(W, seed=1)
ValueError | seed | -1 | quantize(W, rounding="stochastic", seed=-1)
ValueError | seed | 18446744073709551616 | quantize(W, rounding="stochastic", seed=2**64)
TypeError  | seed | 0.5 | quantize(W, rounding="stochastic", seed=0.5)
ValueError | nonfinite | 'ignore' | quantize(W, nonfinite="ignore")
TypeError  | return_mask | 1 | fake_quantize(W, QP, return_mask=1)
TypeError  | return_mask | None | fake_quantize(W, NF4, return_mask=None)
TypeError  | qparams | int | fake_quantize(W, 8)

ValueError | w | (0, 6) | quantize(W[:0], 4, axis=1)
ValueError | w | (4, 0) | quantize(W[:, :0], grid="mxfp4")
ValueError | w | (4, 0) | choose_qparams(W[:, :0], grid="kmeans", axis=0)
TypeError  | w | int64 | quantize(np.arange(6), grid="nf4")
TypeError  | w | bool | quantize(W > 0, 1)
TypeError  | w | complex64 | quantize(W * 1j, 4)

ValueError | codebook | (5,) | QParams(ONE, 0, 2, False, codebook=np.arange(5.0), grid="codebook")
ValueError | codebook | (1,) | QParams(ONE, 0, 2, False, codebook=[1.0], grid="codebook")
ValueError | codebook | (2, 1, 4) | QParams(ONE, 0, 2, False, codebook=[[FOUR], [FOUR]], grid="codebook")
ValueError | codebook | another one | QParams(ONE, 0, 4, False, codebook=np.arange(16.0), grid="nf4")
ValueError | codebook | None | QParams(ONE, 0, 4, False, grid="nf4")
ValueError | codebook | one | QParams(ONE, 0, 2, False, codebook=FOUR)
ValueError | codebook | nan | QParams(ONE, 0, 2, False, codebook=[1, np.nan, np.nan, np.nan], grid="codebook")
ValueError | signed | True | QParams(ONE, 0, 2, True, codebook=FOUR, grid="codebook")
ValueError | zero_point | 1 | QParams(ONE, 1, 2, False, codebook=FOUR, grid="codebook")

ValueError | bins | 100 | Calibrator(bins=100)
ValueError | bins | 64 | Calibrator(bins=64)
TypeError  | bins | 128.0 | Calibrator(bins=128.0)
ValueError | momentum | 0 | Calibrator(momentum=0)
ValueError | momentum | 1.5 | Calibrator(momentum=1.5)
TypeError  | momentum | '0.1' | Calibrator(momentum="0.1")
ValueError | high | (2,) | QParams.from_range(np.zeros(3), np.zeros(2), symmetric=True)
ValueError | low | 2.0 | QParams.from_range(2.0, 1.0, symmetric=True)
"""
ROWS = [tuple(part.strip() for part in row.split("|", 3)) for row in CASES.splitlines() if row]


@pytest.mark.parametrize("error, name, came, call", ROWS, ids=lambda value: str(value)[:60])
def test_messages(error, name, came, call):
    before = W.tobytes(), pickle.dumps(SEEN), pickle.dumps(QP)
    with pytest.raises({"TypeError": TypeError, "ValueError": ValueError}[error]) as caught:
        eval(call)
    message = str(caught.value)
    assert re.match(rf"{name}: expected .*\bgot ", message), message
    assert came in message, message
    assert "\n" not in message and len(message) < 260
    assert before == (W.tobytes(), pickle.dumps(SEEN), pickle.dumps(QP))


@pytest.mark.parametrize("rows", [0, 3])
def test_out_is_untouched(rows):
    """An error is raised before anything is written."""
    bad = W.copy()
    bad[rows, 5] = np.nan
    for options in ({}, {"bits": 4}, {"grid": "nf4"}, {"grid": "mxfp4"}, {"bits": 12}, {"bits": GROUPED}):
        right = quantize(W, **options)
        for call in (
            lambda o, right=right: quantize(bad, right.qparams, out=o),
            lambda o, k=options: quantize(bad, **k, out=o),
        ):
            out = np.full_like(right.stored, 3)
            with pytest.raises(ValueError, match=r"^w: expected finite values, got NaN or infinity"):
                call(out)
            assert np.all(out == 3)
        values = np.full(W.shape, 3, np.float32)
        with pytest.raises(ValueError, match=r"^x: expected finite values, got NaN or infinity"):
            fake_quantize(bad, right.qparams, out=values)
        assert np.all(values == 3)


@pytest.mark.parametrize("size", [1 << 31, 1 << 62, 10**30])
def test_groups_longer_than_any(size):
    with pytest.raises(ValueError, match=r"^group_size: "):
        quantize(W, group_size=size)
    with pytest.raises(TypeError, match=r"^group_size: "):
        quantize(W, grid="mxfp4", group_size=32.0)


@pytest.mark.parametrize(
    "name, options",
    [
        ("method", {"scale": 1.0, "method": "mse"}),
        ("percentile", {"scale": 1.0, "percentile": 90}),
        ("zero_point", {"zero_point": 1}),
        ("axis", {"bits": choose_qparams(W), "axis": 1}),
        ("scale", {"bits": choose_qparams(W), "scale": 1.0}),
        ("scale", {"scale": "a"}),
        ("symmetric", {"symmetric": "no"}),
        ("percentile", {"percentile": "99"}),
        ("grid", {"bits": choose_qparams(W), "grid": np.array([0.0, 1.0])}),
        ("method", {"scale": 1.0, "method": np.zeros(2)}),
        ("method", {"grid": "kmeans", "method": "percentile"}),
        ("method", {"grid": "quantile", "method": "entropy"}),
    ],
)
def test_options_that_do_not_apply(name, options):
    with pytest.raises((TypeError, ValueError), match=rf"^{name}: "):
        quantize(W, **options)


# ---- NaN and infinities ------------------------------------------------------------------------------

GRID_NAMES = [name for name in GRIDS if name != "codebook"]
SHARINGS = [{}, {"axis": 0}, {"axis": 1}, {"axis": 0, "group_axis": 1}]
METHODS = ["minmax", "percentile", "mse"]


def sharing(grid, options):
    """The options of `SHARINGS`, with the size of the groups that a grid has."""
    return {**options, "group_size": GRIDS[grid].group_size or 32} if "group_axis" in options else options


def methods(grid):
    """Those that a grid takes: a fitted one is fitted to all values."""
    return [method for method in METHODS if method != "percentile" or grid not in ("kmeans", "quantile")]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("grid", GRID_NAMES)
def test_nonfinite_values_are_refused(rng, grid, bad):
    w = rng.normal(size=(3, 64))
    w[1, 7] = bad
    for options in SHARINGS:
        for method in methods(grid):
            for function in (quantize, choose_qparams):
                with pytest.raises(ValueError, match=r"^w: expected finite values, got NaN or infinity"):
                    function(w, grid=grid, method=method, **sharing(grid, options))
    for calibrator in (Calibrator(), Calibrator(axis=1)):
        with pytest.raises(ValueError, match=r"^batch: expected finite values, got NaN or infinity"):
            calibrator.update(w)
        assert calibrator.count == 0


@pytest.mark.parametrize("grid", GRID_NAMES)
@pytest.mark.parametrize("granularity", SHARINGS, ids=str)
def test_nonfinite_values_saturate(rng, grid, granularity):
    """The grid is that of the data with zeros in their place; the codes are that of zero and the ends."""
    w = rng.normal(size=(3, 64)).astype(np.float32)
    w[0, 3], w[1, 8], w[2, 60] = np.nan, np.inf, -np.inf
    finite = np.where(np.isfinite(w), w, np.float32(0))
    granularity = sharing(grid, granularity)
    for method in methods(grid):
        p = choose_qparams(w, grid=grid, method=method, nonfinite="saturate", **granularity)
        assert p == choose_qparams(finite, grid=grid, method=method, **granularity)
        q = quantize(w, grid=grid, method=method, nonfinite="saturate", **granularity)
        values, expected = np.asarray(q), np.asarray(quantize(finite, p))
        np.testing.assert_array_equal(values[np.isfinite(w)], expected[np.isfinite(w)])
        assert values[0, 3] == expected[0, 3]
        low, high = (np.broadcast_to(q._spread(end), w.shape) for end in p.range)
        assert (values[1, 8], values[2, 60]) == (np.float32(high[1, 8]), np.float32(low[2, 60]))
        np.testing.assert_array_equal(fake_quantize(w, p, nonfinite="saturate"), values)


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda: quantize(W, "int8"), r"^bits: .* got 'int8': say bits=8$"),
        (lambda: quantize(W, "uint4"), r"^bits: .* got 'uint4': say bits=4, signed=False$"),
        (lambda: quantize(W, "8"), r"^bits: .* got '8': say bits=8$"),
        (lambda: quantize(W, np.int8), r"^bits: .*: say bits=8$"),
        (lambda: quantize(W, np.dtype("u2")), r"^bits: .*: say bits=16, signed=False$"),
        (lambda: quantize(W, "nf4"), r"^bits: .*: grid='nf4' names a grid$"),
        (lambda: quantize(W, "int64"), r"^bits: .* got 'int64'$"),
        (lambda: quantize(W, quantize(W)), r"^bits: .*: its qparams would do$"),
        (lambda: quantize(W, grid="int8"), r"^grid: .* got 'int8': say bits=8$"),
        (lambda: quantize(W, grid="fp8"), r"^grid: .* did you mean 'fp8_e4m3'\?$"),
        (lambda: quantize(W, scale=0.1, zero_point=128), r"^zero_point: .* \(signed=False has 0 to 255\)$"),
        (lambda: QParams([0.1], 15, 4), r"^zero_point: expected -8 to 7, .*\(signed=False has 0 to 15\)$"),
        (lambda: QParams([0.1], -8, signed=False), r"^zero_point: .* \(signed=True has -128 to 127\)$"),
        (lambda: QParams([0.1], -128, narrow=True), r"^zero_point: .* \(narrow=False has one code more\)$"),
        (lambda: QParams([0.1], 300), r"^zero_point: .* got \[300\]$"),
        (lambda: quantize(W, scale=[0.1] * 4, axis=1), r"^scale: .* 6 for axis 1 of \(4, 6\), got shape \(4,\)$"),
        (lambda: quantize(W, scale=1.0, zero_point=[1, 2], axis=1), r"^zero_point: .* got shape \(2,\)$"),
    ],
)
def test_case_i_messages_say_what_helps(call, said):
    with pytest.raises((TypeError, ValueError), match=said):
        call()


def test_a_codebook_that_is_changed_is_read_anew():
    class Hashed(list):
        __hash__ = object.__hash__

    book = Hashed([-1.0, 1.0])
    before = choose_qparams(W, grid=book).codebook
    book[1] = 2.0
    assert before.tolist() == [-1, 1] and choose_qparams(W, grid=book).codebook.tolist() == [-1, 2]


def test_values_of_many_lines_are_shown_in_one():
    many = np.arange(10000.0).reshape(100, 100)
    for name in ("bits", "axis", "group_size", "symmetric", "percentile", "signed", "keep_zero"):
        with pytest.raises(TypeError, match=rf"^{name}: expected .* got array") as raised:
            quantize(W, **{"group_size": 2, name: many} if name != "bits" else {"bits": many})
        assert "\n" not in str(raised.value) and len(str(raised.value)) < 160
