"""quantize_gradient and requantize_gradient equal the reference, byte for byte, on every instruction set."""

import math

import numpy as np
import pytest
from reference import gradients
from samples import same_bytes

from qlite import _core

SHAPES = [(1, 1), (1, 10), (3, 7), (127, 8), (128, 17), (129, 33), (300, 64), (784, 5)]


def case(rng, rows, cols):
    return rng.normal(0, 3, (rows, cols)).astype(np.float32), rng.normal(size=(rows, cols)).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("moves_inside", [True, False])
@pytest.mark.parametrize("group", [1000, 32, 130, 1])
def test_quantize_gradient(isa, rng, shape, moves_inside, group):
    x, gradient = case(rng, *shape)
    parameters = (-(-shape[0] // group), shape[1])
    scale = rng.uniform(0.1, 2, parameters).astype(np.float32)
    zero_point = rng.integers(-2, 2, parameters).astype(np.int32)
    expected = gradients.quantize_gradient(x, gradient, scale, zero_point, group, -2, 1, moves_inside)
    scale_gradient = np.empty(parameters, np.float32)
    assert _core.quantize_gradient(x, gradient, scale, zero_point, group, -2, 1, moves_inside, scale_gradient) is None
    same_bytes(gradient, expected[0])
    same_bytes(scale_gradient, expected[1])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("moves_inside", [True, False])
@pytest.mark.parametrize("steps", [(0, 3, 0, math.inf), (-128, 127, -math.inf, math.inf), (-2, 253, 0, 77.5)])
def test_requantize_gradient(isa, rng, shape, moves_inside, steps):
    gradient = rng.normal(size=shape).astype(np.float32)
    sums = rng.integers(-20000, 20000, shape, dtype=np.int32)
    multiplier = rng.uniform(1e-4, 1e-2, shape[1]).astype(np.float32)
    expected = gradients.requantize_gradient(sums, gradient, multiplier, steps, moves_inside)
    column_sum = np.empty(shape[1], np.float32)
    total = _core.requantize_gradient(sums, gradient, multiplier, steps, moves_inside, column_sum)
    same_bytes(gradient, expected[0])
    same_bytes(column_sum, expected[1])
    assert total == expected[2]


def test_bits_do_not_depend_on_threads(rng):
    x, gradient = case(rng, 3000, 300)
    scale, zero_point = np.full((1, 300), 0.5, np.float32), np.zeros((1, 300), np.int32)
    results, before = [], _core.num_threads()
    try:
        for threads in (1, 4):
            _core.set_num_threads(threads)
            passed, scale_gradient = gradient.copy(), np.empty((1, 300), np.float32)
            _core.quantize_gradient(x, passed, scale, zero_point, 3000, -2, 1, True, scale_gradient)
            results.append((passed.tobytes(), scale_gradient.tobytes()))
    finally:
        _core.set_num_threads(before)
    assert results[0] == results[1]


def test_the_scale_gradient_is_the_slope_between_roundings(rng):
    """Straight-through has no slope to compare with, but where all is clipped the grid is its end times the scale."""
    x = np.full((4, 3), 100, np.float32)
    weights = rng.normal(size=(4, 3)).astype(np.float32)
    scale, zero_point = np.float32([[0.5, 1, 2]]), np.zeros((1, 3), np.int32)

    def loss(scale):
        return np.sum(weights * _core.fake_quantize(x, scale, zero_point, -8, 7, True, None), axis=0, dtype=np.float64)

    step = np.float32(0.25)
    slope = (loss(scale + step) - loss(scale - step)) / (2 * step)
    scale_gradient = np.empty((1, 3), np.float32)
    _core.quantize_gradient(x, weights.copy(), scale, zero_point, 4, -8, 7, True, scale_gradient)
    np.testing.assert_allclose(scale_gradient[0], slope, rtol=1e-6)  # float32 sums of four terms


@pytest.mark.parametrize("name", ["x", "gradient", "scale", "zero_point", "group_size", "scale_gradient"])
def test_bad_quantize_gradient(rng, name):
    x, gradient = case(rng, 4, 3)
    parameters = np.ones((1, 3), np.float32)
    given = dict(x=x, gradient=gradient, scale=parameters, zero_point=np.zeros((1, 3), np.int32), group_size=4)
    given |= dict(qmin=-2, qmax=1, moves_inside=True, scale_gradient=parameters.copy())
    given[name] = 0 if name == "group_size" else given[name][:, :2]
    before = gradient.copy()
    with pytest.raises((TypeError, ValueError), match=f"^{name if name != 'x' else 'gradient'}: "):
        _core.quantize_gradient(*given.values())
    assert np.array_equal(gradient, before)


@pytest.mark.parametrize("name", ["gradient", "multiplier", "column_sum", "range"])
def test_bad_requantize_gradient(rng, name):
    gradient, vector = rng.normal(size=(4, 3)).astype(np.float32), np.ones(3, np.float32)
    given = dict(sums=np.ones((4, 3), np.int32), gradient=gradient, multiplier=vector, range=(0, 3, 0, 4))
    given |= dict(moves_inside=True, column_sum=vector.copy())
    given[name] = (3, 0, 0, 4) if name == "range" else np.ones((5, 5), np.float32)
    before = gradient.copy()
    with pytest.raises(ValueError, match=f"^{name}: "):
        _core.requantize_gradient(*given.values())
    assert np.array_equal(gradient, before)
