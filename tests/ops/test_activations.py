"""Functions of floats and gradients through them: equal to the reference on every instruction set, near the truth."""

import math

import numpy as np
import pytest
from reference import functions as reference

import qlite as ql
from qlite.ops.activations import (
    ACTIVATIONS,
    ELEMENTWISE,
    activation,
    activation_gradient_,
    bias_activation_,
    check_activation,
    check_slope,
)

NAMES = (None, *ACTIVATIONS)
SHAPES = [(0, 3), (1, 1), (3, 7), (5, 8), (2, 3, 17), (33, 64), (7, 65), (130, 129)]
CORNERS = np.float32([0.0, -0.0, 3.0, -3.0, 6.0, 1e-30, -1e-42, 1e-5, 2.0**-12, -(2.0**-12), 90.0, -90.0, 1e30, -1e30])
#: Of float32: one rounding at the end; hard_swish and hard_sigmoid have more, and near -3 what
#: they add cancels; sigmoid and gelu have all of them.
ULPS = {name: 1.0 for name in ELEMENTWISE} | {"hard_swish": 2.0, "hard_sigmoid": 2.0, "sigmoid": 4.0, "gelu": 6.0}
#: What may be 0 instead: exponentials of float32 that would not be normal.
SMALLEST_EXPONENTIAL = 2.0**-126
TRUTH = {
    "relu": lambda v: max(v, 0.0),
    "relu6": lambda v: min(max(v, 0.0), 6.0),
    "leaky_relu": lambda v: v if v >= 0 else float(np.float32(0.01)) * v,
    "sigmoid": lambda v: 1 / (1 + math.exp(-v)),
    "tanh": math.tanh,
    "gelu": lambda v: v * math.erfc(-v / math.sqrt(2)) / 2,
    "silu": lambda v: v / (1 + math.exp(-v)),
    "hard_swish": lambda v: v * min(max(v + 3, 0.0), 6.0) / 6,
    "elu": lambda v: v if v >= 0 else math.expm1(v),
    "hard_sigmoid": lambda v: min(max(v + 3, 0.0), 6.0) / 6,
    "softplus": lambda v: max(v, 0.0) + math.log1p(math.exp(-abs(v))),
}


def values(rng, shape):
    """Ordinary values, and some at the corners of functions."""
    x = rng.normal(0, 4, shape).astype(np.float32)
    return np.where(rng.random(shape) < 0.2, rng.choice(CORNERS, shape), x)


def same_bits(a, b):
    """Equal, also in the signs of zeros; any NaN is as good as another."""
    return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=True) and np.array_equal(np.signbit(a), np.signbit(b))


@pytest.mark.parametrize("name", NAMES)
def test_functions(isa, rng, name):
    for shape in SHAPES:
        x, bias = values(rng, shape), rng.normal(size=shape[-1]).astype(np.float32)
        assert same_bits(activation(name, x, slope=0.25), reference.apply(name, x, 0.25))
        y = x.copy()
        assert bias_activation_(y, bias, name) is y
        assert same_bits(y, reference.apply(name, x, bias=bias))


@pytest.mark.parametrize("name", NAMES)
def test_gradients(isa, rng, name):
    for shape in SHAPES:
        g, z = values(rng, shape), values(rng, shape) if name != "softmax" else reference.softmax(values(rng, shape))
        z = z.astype(np.float32)
        expected, total = reference.gradient(name, g, z, 0.25)
        sums = activation_gradient_(g, z, name, 0.25)
        assert np.array_equal(g, expected)
        assert np.array_equal(sums, total)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_functions_are_near_the_truth(name):
    x = np.concatenate([np.linspace(-20, 20, 40_001), np.logspace(-30, 1, 200), -np.logspace(-30, 1, 200)])
    x = x.astype(np.float32)
    exact = np.array([TRUTH[name](v) for v in x.tolist()])
    error = np.abs(activation(name, x) - exact)
    near = np.abs(x + 3) < 1e-3 if name.startswith("hard_") else np.zeros(len(x), bool)
    allowed = ULPS[name] * np.spacing(np.abs(exact).astype(np.float32))
    if name == "gelu":
        allowed += np.abs(x) * SMALLEST_EXPONENTIAL
    assert np.all(error[~near] <= allowed[~near])


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_gradients_are_slopes(name):
    x = np.linspace(-8, 8, 401).astype(np.float32) + np.float32(0.013)  # between corners
    h, slopes = 1e-5, np.ones((401, 1), np.float32)
    activation_gradient_(slopes, x[:, None], name)
    expected = [(TRUTH[name](v + h) - TRUTH[name](v - h)) / (2 * h) for v in x.tolist()]
    np.testing.assert_allclose(slopes[:, 0], expected, atol=1e-6)  # float32 slopes, differences good to 1e-9


def test_softmax_of_rows(rng):
    x = rng.normal(0, 30, (50, 12)).astype(np.float32)
    p = activation("softmax", x)
    exact = np.exp(x - x.max(axis=1, keepdims=True).astype(np.float64))
    exact /= exact.sum(axis=1, keepdims=True)
    distance = x.max(axis=1, keepdims=True) - x  # rounded before its exponential is taken
    assert np.all(np.abs(p - exact) <= exact * (4 + distance) * 2.0**-24 + SMALLEST_EXPONENTIAL)
    g = rng.normal(size=x.shape).astype(np.float32)
    expected = exact * (g - (exact * g).sum(axis=1, keepdims=True))
    activation_gradient_(g, p, "softmax")
    np.testing.assert_allclose(g, expected, atol=1e-6)  # of values near 1 in float32


@pytest.mark.parametrize("name", ["relu", "relu6", "leaky_relu"])
def test_results_tell_the_same_as_arguments(rng, name):
    x = values(rng, (20, 30))
    by_arguments, by_results = np.ones_like(x), np.ones_like(x)
    activation_gradient_(by_arguments, x, name)
    activation_gradient_(by_results, activation(name, x), name)
    positive = (x != -0.0) | (name != "leaky_relu")
    assert np.array_equal(by_arguments[positive], by_results[positive])


@pytest.mark.parametrize("name", ["relu", "gelu", "softmax"])
def test_threads_change_nothing(rng, name):
    x = rng.normal(size=(700, 300)).astype(np.float32)
    results = []
    for threads in (1, 3):
        ql.set_num_threads(threads)
        try:
            g = x.copy()
            results.append((activation(name, x), activation_gradient_(g, activation(name, x), name), g))
        finally:
            ql.set_num_threads(None)
    assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_nan_stays(name):
    x = np.full((2, 3), np.nan, np.float32)
    assert np.isnan(activation(name, x)).all()


@pytest.mark.parametrize(("name", "limits"), [("sigmoid", (0, 1)), ("tanh", (-1, 1)), ("gelu", (0, math.inf))])
def test_infinities_give_limits(isa, name, limits):
    x = np.full((2, 9), math.inf, np.float32)
    x[0] *= -1
    assert activation(name, x).tolist() == [[limits[0]] * 9, [limits[1]] * 9]


def test_softmax_of_infinities(isa):
    x = np.float32([[0, -math.inf, -math.inf, 0], [math.inf, 0, 0, 0]])
    p = activation("softmax", x)
    assert p[0].tolist() == [0.5, 0, 0, 0.5]
    assert np.isnan(p[1]).any()


def test_any_array_comes_in(rng):
    x = rng.normal(size=(6, 8))
    expected = reference.apply("tanh", x.astype(np.float32))
    out = np.empty((6, 8), np.float32)
    assert activation("tanh", x, out) is out
    assert np.array_equal(out, expected)
    assert np.array_equal(activation("tanh", x[::2, ::-1].T), expected[::2, ::-1].T)
    same = x.astype(np.float32)
    assert np.array_equal(activation("tanh", same, same), expected)


def test_arrays_that_are_written_to():
    y = np.zeros((2, 3), np.float32)
    with pytest.raises(TypeError, match=r"^y: expected a C-contiguous, writable float32"):
        bias_activation_(y.T, np.zeros(2, np.float32), "relu")
    with pytest.raises(ValueError, match=r"^bias: expected shape \(3,\), got \(2,\)"):
        bias_activation_(y, np.zeros(2, np.float32), "relu")
    with pytest.raises(TypeError, match=r"^gradient: expected a C-contiguous"):
        activation_gradient_(y.astype(np.float64), y, "relu")
    with pytest.raises(ValueError, match=r"^z: expected shape \(2, 3\), got \(3, 2\)"):
        activation_gradient_(y, np.zeros((3, 2), np.float32), "relu")
    with pytest.raises(TypeError, match=r"^z: expected an array"):
        activation_gradient_(y, None, "relu")
    with pytest.raises(ValueError, match=r"^function: expected None or the name"):
        activation("relu7", y)


def test_names_and_slopes():
    assert check_activation(None) is None
    with pytest.raises(ValueError, match=r"^activation: expected one of .*'gelu'.* got 'gelu6'"):
        check_activation("gelu6")
    assert check_slope(0.1) == float(np.float32(0.1))
    for slope in (0, -1.0, 1.5, math.nan):
        with pytest.raises(ValueError, match=r"^slope: expected a number over 0, at most 1"):
            check_slope(slope)
