"""Assertions pass and fail on the right side of their bounds, and say which layer is to blame."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from models import digits, digits_network, integer_network

import qlite as ql
from qlite import testing


@pytest.fixture(scope="module")
def spoiled():
    """The digits' network with a second layer of 2-bit weights, quantized, and its held-out data."""
    data, model = digits(), digits_network()
    layers = [ql.Dense(layer.weight, layer.bias, layer.activation) for layer in model.layers]
    bad = [ql.Dense(layer.weight, layer.bias, layer.activation) for layer in model.layers]
    w = ql.quantize(layers[1].weight, 2).dequantize()
    bad[1] = ql.Dense(w, layers[1].bias, layers[1].activation)
    quantized = ql.quantize_model(ql.Sequential(bad), data=data.x)
    return SimpleNamespace(model=model, quantized=quantized, x=data.x_held, y=data.y_held)


def test_what_is_good_passes():
    data, model = digits(), digits_network()
    for scheme in ("w8a8", "w8", "dynamic"):
        quantized = integer_network(scheme)
        testing.assert_accuracy(model, quantized, data.x_held, data.y_held)
        testing.assert_accuracy(model, quantized, data.x_held, data.y_held, metric="cross_entropy", max_drop=0.01)
        testing.assert_agreement(model, quantized, data.x_held)
        testing.assert_sqnr(model, quantized, data.x_held)
        testing.assert_bit_exact(quantized, ql.quantize_model(model, scheme, data.x), data.x_held)


def test_what_fails_names_the_layer(spoiled):
    s = spoiled
    blame = r"\ndense_2 loses most, \d+\.\d dB SQNR by itself: most of its error comes from its weights: try"
    sqnr = ql.metrics.sqnr_db(s.model(s.x), s.quantized(s.x))
    with pytest.raises(AssertionError, match=rf"^output SQNR of {sqnr:.2f} dB, at least 60.00 dB expected{blame}"):
        testing.assert_sqnr(s.model, s.quantized, s.x, min_db=60)
    agreement = np.mean(s.model.predict(s.x) == s.quantized.predict(s.x))
    assert agreement < 1
    with pytest.raises(AssertionError, match=rf"^agreement of {agreement:.4%}, at least 100.0000% expected{blame}"):
        testing.assert_agreement(s.model, s.quantized, s.x, min_agreement=1)
    drop = s.model.evaluate(s.x, s.y)["accuracy"] - s.quantized.evaluate(s.x, s.y)["accuracy"]
    message = rf"^a drop of {drop:.4g} in accuracy, at most {drop - 0.001:.4g} expected\naccuracy .* lost, .*{blame}"
    with pytest.raises(AssertionError, match=message):
        testing.assert_accuracy(s.model, s.quantized, s.x, s.y, max_drop=drop - 0.001)


def test_bounds_are_inclusive(spoiled):
    s = spoiled
    sqnr = float(ql.metrics.sqnr_db(s.model(s.x), s.quantized(s.x)))
    testing.assert_sqnr(s.model, s.quantized, s.x, min_db=sqnr)
    agreement = float(np.mean(s.model.predict(s.x) == s.quantized.predict(s.x)))
    testing.assert_agreement(s.model, s.quantized, s.x, min_agreement=agreement)
    drop = s.model.evaluate(s.x, s.y)["accuracy"] - s.quantized.evaluate(s.x, s.y)["accuracy"]
    testing.assert_accuracy(s.model, s.quantized, s.x, s.y, max_drop=drop)
    testing.assert_accuracy(s.model, s.model, s.x, s.y, max_drop=0)


def test_errors_may_rise_and_not_fall(rng):
    weight, x = rng.normal(size=(4, 2)), rng.normal(size=(50, 4))
    m = ql.from_weights([(weight, None)], task="regression")
    worse = ql.from_weights([(weight, np.ones(2))], task="regression")
    y = m(x)
    testing.assert_accuracy(worse, m, x, y, metric="mse", max_drop=0)
    with pytest.raises(AssertionError, match=r"^a drop of 1 in mse, at most 0\.5 expected\nmse 1, float 0: "):
        testing.assert_accuracy(m, worse, x, y, metric="mse", max_drop=0.5)
    with pytest.raises(AssertionError, match=r"^a drop of .* in r2, at most 0 expected"):
        testing.assert_accuracy(m, worse, x, y, metric="r2", max_drop=0)


def test_outputs_that_are_no_numbers_fail():
    m, x = ql.from_weights([(np.full((2, 2), 3e38), None)]), np.float32([[3e38, -3e38]])
    with np.errstate(all="ignore"), pytest.raises(AssertionError, match=r"^output SQNR of nan dB"):
        testing.assert_sqnr(ql.from_weights([(np.eye(2), None)]), m, x, min_db=-100)


# ---- bits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4", "i2", "u1", "?", "U3", "c8"])
def test_equal_bits(dtype, rng):
    for shape in ((), (0,), (3, 0), (7,), (2, 3, 4)):
        a = rng.integers(0, 100, shape).astype(dtype)
        testing.assert_bit_exact(a, a.copy())
        testing.assert_bit_exact(a.T, a.T.copy())


UNEQUAL = [
    (np.float32([1, 2, 3]), np.float32([1, 2, 4]), r"^1 of 3 values differ, first at \(2,\): 3\.0, expected 4\.0$"),
    (np.zeros((2, 2)), np.float64([[0, 0], [-0.0, 0]]), r"^1 of 4 values differ, first at \(1, 0\): 0\.0, expected -0"),
    (np.float32(1), np.float32(2), r"^1 of 1 values differ, first at \(\): 1\.0, expected 2\.0$"),
    (np.zeros(2, np.float32), np.zeros(2), r"^float32\[2\], expected float64\[2\]$"),
    (np.zeros((1, 2)), np.zeros((2, 1)), r"^float64\[1, 2\], expected float64\[2, 1\]$"),
    (np.zeros(2, ">f4"), np.zeros(2, "<f4"), r"^>f4\[2\], expected float32\[2\]$"),
    ([1.0], [2.0], r"^1 of 1 values differ"),
]


@pytest.mark.parametrize(("actual", "expected", "message"), UNEQUAL)
def test_unequal_bits(actual, expected, message):
    with pytest.raises(AssertionError, match=message):
        testing.assert_bit_exact(actual, expected)


def test_nan_equals_nan_of_the_same_bits():
    a = np.array([0x7FC00000, 0x7FC00001], np.uint32).view(np.float32)
    testing.assert_bit_exact(a, a.copy())
    with pytest.raises(AssertionError, match=r"^2 of 2 values differ"):
        testing.assert_bit_exact(a, a[::-1])


def test_quantized_arrays(rng):
    w = rng.normal(size=(5, 6))
    q = ql.quantize(w, 4, axis=1)
    testing.assert_bit_exact(q, ql.quantize(w, 4, axis=1))
    other = w.copy()
    other[2, 3] = 0
    with pytest.raises(AssertionError, match=r"^1 of 30 values differ, first at \(2, 3\): "):
        testing.assert_bit_exact(q, ql.quantize(other, q.qparams))
    with pytest.raises(AssertionError, match=r"^grids differ: "):
        testing.assert_bit_exact(q, ql.quantize(2 * w, 4, axis=1))


def test_models_name_the_first_buffer_that_differs(spoiled):
    good = ql.quantize_model(digits_network(), data=digits().x, method="minmax")
    message = r"^outputs: \d+ of 4500 values differ, first at .*; buffer 'dense_1' is the first that differs: "
    layers = digits_network().layers
    bias = np.array(layers[0].bias)
    bias[5] += 1
    changed = ql.Sequential([ql.Dense(layers[0].weight, bias, "relu"), *layers[1:]])
    with pytest.raises(AssertionError, match=message):
        testing.assert_bit_exact(ql.quantize_model(changed, data=digits().x, method="minmax"), good, spoiled.x)
    with pytest.raises(AssertionError, match=r"^outputs: \d+ of 4500 values differ, first at \(0, 0\): [^;]*$"):
        testing.assert_bit_exact(good, digits_network(), spoiled.x)
    with pytest.raises(AssertionError, match=r"; buffer 'input_codes' is in one model only$"):
        testing.assert_bit_exact(good, integer_network("w8"), spoiled.x)


def test_models_of_several_outputs(rng):
    x = ql.Input((6,))
    h = ql.Dense(rng.normal(size=(6, 8)), activation="relu", name="h")(x)
    model = ql.Model(
        x, [ql.Dense(rng.normal(size=(8, 3)), name="p")(h), ql.Dense(rng.normal(size=(8, 2)), name="q")(h)]
    )
    data = rng.normal(size=(50, 6)).astype(np.float32)
    options = {"data": data, "method": "minmax"}
    good, poor = (ql.quantize_model(model, per_layer={"q": scheme}, **options) for scheme in ("w8a8", "w2a8"))
    testing.assert_sqnr(model, good, data)
    least = ql.metrics.sqnr_db(model(data)[1], poor(data)[1])
    with pytest.raises(AssertionError, match=rf"^output SQNR of {least:.2f} dB, at least 30.00 .*\nq loses most, "):
        testing.assert_sqnr(model, poor, data)
    testing.assert_bit_exact(good, ql.quantize_model(model, **options), data)
    with pytest.raises(AssertionError, match=r"^output 'q': \d+ of 100 values differ, .*; buffer 'q' is the first"):
        testing.assert_bit_exact(poor, good, data)
    with pytest.raises(ValueError, match=r"^model: expected one with classes, got task 'multioutput'"):
        testing.assert_agreement(model, good, data)
    with pytest.raises(AssertionError, match=r"^outputs: 2, expected 1"):
        testing.assert_bit_exact(model, model.part(model.layers[:2]), data)


# ---- errors ---------------------------------------------------------------------------------------------------------

CASES = """
TypeError  model  assert_accuracy(None, Q, X, Y)
TypeError  max_drop  assert_accuracy(M, Q, X, Y, max_drop="0.5")
ValueError max_drop  assert_accuracy(M, Q, X, Y, max_drop=np.nan)
ValueError metric  assert_accuracy(M, Q, X, Y, metric="mse")
ValueError y  assert_accuracy(M, Q, X, Y[:2])
TypeError  quantized  assert_agreement(M, None, X)
ValueError quantized  assert_agreement(M, WIDER, X)
ValueError quantized  assert_agreement(M, VALUES, X)
ValueError model  assert_agreement(VALUES, VALUES, X)
ValueError min_agreement  assert_agreement(M, Q, X, min_agreement=99)
ValueError x  assert_agreement(M, Q, X[:0])
TypeError  x  assert_sqnr(M, Q, [[1, 2, 3]])
ValueError x  assert_sqnr(M, Q, X[:0])
ValueError min_db  assert_sqnr(M, Q, X, min_db=np.inf)
TypeError  model  assert_sqnr(X, X, X)
TypeError  expected  assert_bit_exact(M, X, X)
TypeError  expected  assert_bit_exact(X, ql.quantize(X))
TypeError  actual  assert_bit_exact([None], [None])
ValueError x  assert_bit_exact(M, Q)
ValueError x  assert_bit_exact(Q, Q, X[:0])
ValueError x  assert_bit_exact(X, X, X)
"""


@pytest.mark.parametrize("case", [line for line in CASES.splitlines() if line])
def test_bad_arguments(case):
    m, values = ql.from_weights([(np.eye(3), None)]), ql.from_weights([(np.eye(3), None)], task="regression")
    known = {"M": m, "Q": ql.quantize_model(m, "w8"), "VALUES": values, "X": np.eye(3), "Y": [0, 1, 2]}
    known |= {"WIDER": ql.from_weights([(np.eye(3, 4), None)])}
    error, name, call = case.split(maxsplit=2)
    with pytest.raises((TypeError, ValueError)) as raised:
        eval(call, {**vars(testing), **known, "ql": ql})
    assert type(raised.value).__name__ == error
    assert re.match(rf"{name}: ", str(raised.value)), str(raised.value)
