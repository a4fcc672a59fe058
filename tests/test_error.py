"""The measured loss is what the definitions say, and its parts add up exactly."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import qlite as ql

PROPERTY = settings(derandomize=True, deadline=None, database=None, max_examples=150)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=9)
# Sums of float64 in another order: a few units of the 53rd bit times the square root of the length.
SUM_TOLERANCE = 1e-12


@PROPERTY
@given(
    w=hnp.arrays(np.float32, SHAPES, elements=st.floats(-(2.0**50), 2.0**50, width=32)),
    scale=st.floats(2.0**-20, 2.0**20, width=32),
)
def test_error_is_split_exactly(w, scale):
    q = ql.quantize(w, scale=scale)
    e = ql.quantization_error(w, q)
    exact, values = w.astype(np.float64), q.dequantize().astype(np.float64)
    squared = (exact - values) ** 2
    steps = np.rint(w / q.scale)
    is_clipped = np.abs(steps) > 127
    assert e.mse == e.clipping + e.rounding
    for got, expected in (
        (e.mse, squared.mean()),
        (e.clipping, np.where(is_clipped, squared, 0).mean()),
        (e.rounding, np.where(is_clipped, 0, squared).mean()),
        (e.clipped_share, is_clipped.mean()),
        (e.max_abs, np.abs(exact - values).max()),
    ):
        assert math.isclose(got, expected, rel_tol=SUM_TOLERANCE)
    if squared.any() and exact.any():
        assert math.isclose(e.sqnr_db, 10 * math.log10((exact**2).sum() / squared.sum()), abs_tol=1e-9)
    assert -1 - SUM_TOLERANCE <= e.cosine <= 1 + SUM_TOLERANCE
    assert e == q.error(w)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_error_of_each_channel(rng, axis):
    w = rng.standard_t(3, size=(3, 4, 5))
    q = ql.quantize(w, axis=1, method="percentile", percentile=90)
    together = ql.quantization_error(w, q, axis=axis)
    for i in range(w.shape[axis]):
        index = (slice(None),) * (axis % 3) + (i,)
        alone = ql.quantization_error(w[index], q[index])
        for name, value in vars(alone).items():
            np.testing.assert_allclose(getattr(together, name)[i], value, rtol=SUM_TOLERANCE)
    assert (together.clipping > 0).any()


def test_the_ends_of_the_range_are_not_clipped():
    steps = np.float32([-129, -128.6, -128.4, -128, 127, 127.4, 127.6, 128])
    e = ql.quantization_error(steps, ql.quantize(steps, scale=1.0, narrow=False))
    assert e.clipped_share == 4 / 8
    assert math.isclose(e.clipping, (1 + 0.36 + 0.36 + 1) / 8, rel_tol=1e-5)


def test_error_of_perfect_copies():
    e = ql.quantization_error(np.zeros(3), ql.quantize(np.zeros(3)))
    assert (e.mse, e.sqnr_db, e.cosine, e.max_abs) == (0, np.inf, 1, 0)
