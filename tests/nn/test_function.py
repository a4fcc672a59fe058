"""A user's own function of values: as floats, as a table, in training, and what it refuses."""

import pickle
import re

import numpy as np
import pytest
import reference
from gradients import check_gradients
from samples import same_bytes

import qlite as ql
from qlite.nn.steps import Lookup


def mish(x):
    return x * np.tanh(np.log1p(np.exp(x)))


def mish_slope(x):
    t, s = np.tanh(np.log1p(np.exp(x))), 1 / (1 + np.exp(-x))
    return t + x * s * (1 - t * t)


def network(rng, function, last=None, **options):
    layers = [ql.Dense(rng.normal(0, 0.5, (6, 16)), rng.normal(size=16)), ql.Function(function, **options)]
    layers += [ql.Dense(rng.normal(0, 0.3, (16, 4)), rng.normal(size=4))]
    return ql.Sequential(layers + ([ql.Function(last)] if last else []))


def data(rng):
    return rng.normal(size=(200, 6)).astype(np.float32)


@pytest.mark.parametrize("target", ["numpy", "onnx", "tflite", "tflm", "c"])
@pytest.mark.parametrize("last", [None, np.arctan])
def test_is_a_table(rng, target, last):
    m, x = network(rng, mish, last), data(rng)
    qm = ql.quantize_model(m, "w8a8", x, target=target)
    assert sum(isinstance(step, Lookup) for step in qm.program.steps) == (2 if last else 1)
    same_bytes(qm(x), reference.evaluate(qm.program, x)[qm.program.outputs[0]])
    assert ql.metrics.sqnr_db(m(x), qm(x)) > 25
    same_bytes(qm.retarget("numpy")(x), ql.quantize_model(m, "w8a8", x)(x))


def test_a_table_has_what_the_function_gives():
    m = ql.Sequential([ql.Function(lambda v: v**2)], input_shape=(3,))
    qm = ql.quantize_model(m, "w8a8", np.float32([[-1, 0, 2], [0, 2, -1]]))
    x = np.float32([[-0.9, 0.1, 1.7]])
    buffers = qm.program.buffers
    codes = np.rint(x / np.float32(buffers[1].scale))
    steps = (codes * np.float32(buffers[1].scale)) ** 2 / buffers[2].scale
    np.testing.assert_allclose(qm(x), np.floor(steps + 0.5) * buffers[2].scale, rtol=1e-6)


def test_infinities_become_the_ends(rng):
    m, x = ql.Sequential([ql.Function(lambda v: 1 / v)], input_shape=(2,)), np.float32([[1, 2], [3, 4]])
    qm = ql.quantize_model(m, "w8a8", x)
    (step,) = (step for step in qm.program.steps if isinstance(step, Lookup))
    assert step.table[qm.program.buffers[step.inputs[0]].zero_point] == 255


def test_in_training(rng):
    layer = ql.Function(mish, derivative=mish_slope)
    check_gradients(layer, (rng.normal(size=(4, 5)).astype(np.float32),), rng.normal(size=(4, 5)).astype(np.float32))
    m, x = network(rng, mish, derivative=mish_slope), data(rng)
    y = rng.integers(0, 4, len(x))
    trained = ql.train(m, x, y, epochs=2, scheme="w8a8", progress=False)
    qm = ql.quantize_model(trained)
    same_bytes(qm(x), reference.evaluate(qm.program, x)[qm.program.outputs[0]])
    with pytest.raises(NotImplementedError, match=r"^Function\(mish\) has no gradient: it takes derivative"):
        ql.train(network(rng, mish), x, y, epochs=1, progress=False)


def test_files_and_pickles(rng, tmp_path):
    m, x = network(rng, mish), data(rng)
    qm = ql.quantize_model(m, "w8a8", x)
    same_bytes(pickle.loads(pickle.dumps(m))(x), m(x))
    qm.save(tmp_path / "q.qlite")
    same_bytes(ql.load(tmp_path / "q.qlite")(x), qm(x))
    with pytest.raises(TypeError, match=r"^layers\[1\]: expected what a file can hold, got Function\(mish\)"):
        m.save(tmp_path / "m.qlite")


@pytest.mark.parametrize("scheme", ["w8", "dynamic", "w4g8"])
def test_schemes_without_codes(rng, scheme):
    with pytest.raises(
        ValueError, match=rf"^layer 'function_1': expected a scheme whose activations .* got '{scheme}'"
    ):
        ql.quantize_model(network(rng, mish), scheme)
    mixed = ql.quantize_model(network(rng, mish), scheme, data(rng), per_layer={"function_1": "w8a8"})
    assert ql.metrics.sqnr_db(network(rng, mish)(data(rng)), mixed(data(rng))) > -30


def test_what_it_refuses(rng):
    x = data(rng)
    with pytest.raises(TypeError, match=r"^function: expected a callable"):
        ql.Function("tanh")
    with pytest.raises(TypeError, match=r"^derivative: expected a callable"):
        ql.Function(np.tanh, derivative=1)
    for function, message in (
        (np.sqrt, "function of root: expected numbers, got NaN for -"),
        (lambda v: v[:1], "function of root: expected results of shape "),
        (lambda v: v.sum(), "function of root: expected results of shape "),
        (lambda v: v > 0, "function of root: expected real numbers, got bool"),
    ):
        error = TypeError if "bool" in message else ValueError
        with pytest.raises(error, match=re.escape(message)):
            ql.Function(function, "root")(x)
        m = ql.Sequential([ql.Dense(np.eye(6)), ql.Function(function, "root")])
        with pytest.raises(error, match=re.escape(message)):
            ql.quantize_model(m, "w8a8", x)
    only_positive = ql.Sequential([ql.Function(np.sqrt, "root")], input_shape=(2,))
    with pytest.raises(ValueError, match=r"^function of root: expected numbers, got NaN for -1"):
        ql.quantize_model(only_positive, "w8a8", np.float32([[-1, 2]]))
    with pytest.raises(ValueError, match=r"^target: expected one that keeps scales .* which layer 'function_1' has"):
        ql.quantize_model(network(rng, mish), "w8a8", x, target="tensorrt")


def test_what_it_is_given_is_read_only(rng):
    x = rng.normal(size=(3, 4)).astype(np.float32)
    layer = ql.Function(lambda values: np.exp(values, out=values))
    with pytest.raises(ValueError, match="read-only"):
        layer(x)
    assert x.flags.writeable
