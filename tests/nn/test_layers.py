"""Layers: what they compute, their gradients against finite differences, what they refuse."""

import copy
import math
import pickle
import re

import numpy as np
import pytest
from gradients import STEP, check_gradients

import qlite as ql
from qlite.nn.initializers import INITIALIZERS, initialize
from qlite.ops.activations import ACTIVATIONS

NO_RNG = np.random.default_rng(0)
W = np.array([[1.0, -2.0, 0.5], [0.25, 1.0, -1.0]])


def smooth(name):
    """Whether an activation has no corners, where differences are no slopes."""
    return name not in ("relu", "relu6", "leaky_relu", "hard_swish", "hard_sigmoid")


def away_from_corners(x):
    """Moves arguments of activations away from -3, 0, 3 and 6, by more than a step."""
    for corner in (-3, 0, 3, 6):
        x = np.where(np.abs(x - corner) < 2 * STEP, x + np.float32(5 * STEP), x)
    return x.astype(np.float32)


def samples(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


LAYERS = {
    "dense": lambda: ql.Dense(W, [0.1, -0.2, 0.3]),
    **{name: lambda name=name: ql.Dense(W, [0.1, -0.2, 0.3], name) for name in ACTIVATIONS if smooth(name)},
    "dropout": lambda: ql.Dropout(0.4),
    "no dropout": lambda: ql.Dropout(0),
    "softmax layer": ql.Softmax,
    "batch norm": lambda: ql.BatchNorm(gamma=[1.5, -0.5], beta=[0.1, 0.2], mean=[0.5, 0.0], variance=[2.0, 1.0]),
}


@pytest.mark.parametrize("shape", [(4, 2), (1, 2), (2, 3, 2)])
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_gradients(rng, layer, shape):
    layer, x = layer(), samples(rng, *shape)
    check_gradients(layer, (x,), samples(rng, *layer(x).shape))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients_of_activations(rng, name):
    x = away_from_corners(rng.normal(0, 3, (5, 4)))
    check_gradients(ql.Activation(name, slope=0.2), (x,), samples(rng, 5, 4))


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if not smooth(name)])
def test_dense_with_corners_is_a_dense_and_an_activation(rng, name):
    x, g = samples(rng, 6, 2), samples(rng, 6, 3)
    dense, plain, activation = ql.Dense(W, None, name), ql.Dense(W), ql.Activation(name)
    y, saved = dense.forward(x, rng=NO_RNG)
    z, saved_plain = plain.forward(x, rng=NO_RNG)
    expected, saved_activation = activation.forward(z, rng=NO_RNG)
    assert np.array_equal(y, expected)
    (dz,), _ = activation.backward(saved_activation, g.copy())
    (expected_dx,), expected_gradients = plain.backward(saved_plain, dz)
    (dx,), gradients = dense.backward(saved, g.copy())
    assert np.array_equal(dx, expected_dx)
    assert all(np.array_equal(gradients[k], expected_gradients[k]) for k in ("weight", "bias"))


def test_the_gradient_of_a_clamp_is_the_same_from_sums_and_results(rng):
    x, g = samples(rng, 6, 2), samples(rng, 6, 3)
    dense = ql.Dense(W, [0.1, 0.2, 0.3], "relu6")
    sums = ql.Dense(W, [0.1, 0.2, 0.3])(x)
    by_sums, by_results = (dense.backward((x, z), g.copy()) for z in (sums, dense(x)))
    assert np.array_equal(by_sums[0][0], by_results[0][0])
    assert np.array_equal(by_sums[1]["weight"], by_results[1]["weight"])


@pytest.mark.parametrize("layer", [*LAYERS.values(), ql.Flatten, lambda: ql.Activation("gelu")])
def test_no_gradient_of_the_input_where_nobody_needs_it(rng, layer):
    layer, x = layer(), samples(rng, 4, 2)
    y, saved = layer.forward(x, rng=np.random.default_rng(1))
    g = samples(rng, *y.shape)
    (_, expected), (dx, gradients) = layer.backward(saved, g.copy()), layer.backward(saved, g.copy(), False)
    assert dx is None
    assert all(np.array_equal(gradients[name], expected[name]) for name in layer.parameters)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_training_computes_what_inference_does(rng, name):
    for layer in (ql.Dense(W, None, name), ql.Activation(name)):
        x = samples(rng, 7, 2)
        assert np.array_equal(layer.forward(x, rng=NO_RNG)[0], layer(x))


# ---- batch norm -------------------------------------------------------------------------------------


def test_batch_norm_in_training(rng):
    layer = ql.BatchNorm(gamma=[2.0, 1.0], beta=[1.0, -1.0], mean=[0.0, 0.0], variance=[1.0, 1.0], momentum=0.75)
    x = (samples(rng, 50, 2) * [3, 0.1] + [100, -2]).astype(np.float32)
    y, _ = layer.forward(x, rng=NO_RNG)
    exact = x.astype(np.float64)
    normalized = (exact - exact.mean(axis=0)) / np.sqrt(exact.var(axis=0) + 1e-5)
    np.testing.assert_allclose(y, normalized * [2, 1] + [1, -1], atol=1e-4)  # inputs near 100 in float32
    np.testing.assert_allclose(layer.mean, 0.25 * exact.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(layer.variance, 0.75 + 0.25 * exact.var(axis=0, ddof=1), rtol=1e-4)


def test_batch_norm_otherwise(rng):
    layer = ql.BatchNorm(gamma=[2.0], beta=[1.0], mean=[3.0], variance=[4.0], epsilon=1e-3)
    x = samples(rng, 5, 1)
    before = copy.deepcopy(layer.statistics)
    np.testing.assert_allclose(layer(x), 2 * (x - 3) / math.sqrt(4.001) + 1, rtol=1e-6)
    factor, summand = layer.affine()
    np.testing.assert_allclose(layer(x), x * factor + summand, rtol=1e-6)
    assert all(np.array_equal(before[name], values) for name, values in layer.statistics.items())


def test_batch_norm_of_a_single_row_uses_the_running_statistics(rng):
    layer = ql.BatchNorm(mean=[1.0, 2.0], variance=[4.0, 9.0])
    x = samples(rng, 1, 2)
    y, _ = layer.forward(x, rng=NO_RNG)
    assert np.array_equal(y, layer(x))
    assert layer.mean.tolist() == [1, 2]


def test_batch_norm_finds_its_features():
    m = ql.Sequential([ql.Dense(units=3), ql.BatchNorm()], input_shape=(2,))
    assert m.layers[1].gamma.tolist() == [1, 1, 1]
    assert m.nbytes == 4 * (2 * 3 + 3 + 4 * 3)
    assert ql.Sequential([ql.BatchNorm(mean=[1.0, 2.0])]).input_shape == (2,)
    assert repr(ql.BatchNorm()) == "BatchNorm(?)"


# ---- the others -------------------------------------------------------------------------------------


def test_dropout(rng):
    layer, x = ql.Dropout(0.25), np.ones((200, 100), np.float32)
    assert layer(x) is x
    y, saved = layer.forward(x, rng=np.random.default_rng(3))
    again, _ = layer.forward(x, rng=np.random.default_rng(3))
    assert np.array_equal(y, again)
    assert set(np.unique(y).tolist()) == {0.0, float(np.float32(1 / 0.75))}
    assert abs((y == 0).mean() - 0.25) < 5 * math.sqrt(0.25 * 0.75 / y.size)
    (dx,), _ = layer.backward(saved, np.ones_like(x))
    assert np.array_equal(dx, y)


def test_flatten(rng):
    layer, x = ql.Flatten(), samples(rng, 5, 3, 4, 2)
    assert layer.infer((3, 4, 2)) == (24,)
    y, saved = layer.forward(x, rng=NO_RNG)
    assert np.array_equal(y, x.reshape(5, 24))
    (dx,), _ = layer.backward(saved, y)
    assert np.array_equal(dx, x)
    assert layer(x[:0]).shape == (0, 24)


def test_dense_on_any_leading_shape(rng):
    layer, x = ql.Dense(W, None, "tanh"), samples(rng, 3, 4, 5, 2)
    assert layer.infer((4, 5, 2)) == (4, 5, 3)
    np.testing.assert_allclose(layer(x).reshape(-1, 3), layer(x.reshape(-1, 2)), rtol=1e-6)


def test_a_call_checks_its_samples():
    dense, x = ql.Dense(W), np.ones((3, 2))
    with pytest.raises(ValueError, match=r"^x: expected 2 features, got samples of shape \(3,\)"):
        dense(np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"^x: expected 2 features, got samples of shape \(\)"):
        dense(np.ones(2))
    for layer in (ql.Flatten(), ql.Softmax(), ql.Dropout(0.5), ql.BatchNorm(mean=[1.0, 2.0])):
        with pytest.raises(ValueError, match=r"^x: expected shape \(samples, \.\.\.\), got \(\)"):
            layer(np.float32(1))
        with pytest.raises(TypeError, match=r"^x: expected a real floating dtype, got int64"):
            layer(np.ones((3, 2), np.int64))
        with pytest.raises(TypeError, match=r"^x: expected 1 array of samples, got 2"):
            layer(x, x)
        assert layer(x).dtype == np.float32


@pytest.mark.parametrize("layer", [ql.Dense(units=3), ql.BatchNorm()])
def test_a_call_needs_weights(layer):
    with pytest.raises(ValueError, match=r"^layer: expected one whose weights a model has made, got .*\(\?"):
        layer(np.ones((3, 1)))


def test_softmax_layer(rng):
    x = samples(rng, 4, 5)
    assert np.array_equal(ql.Softmax()(x), ql.Activation("softmax")(x))
    np.testing.assert_allclose(ql.Softmax()(x).sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_initializers(name):
    shape, rng = (3, 3, 40, 60), np.random.default_rng(0)
    w = initialize(name, shape, rng)
    variance = 2 / (9 * 40) if name.startswith("he") else 2 / (9 * 100)
    assert w.dtype == np.float32
    assert w.var() == pytest.approx(variance, rel=0.03)  # 5 standard errors of 21,600 draws
    assert abs(w.mean()) < 5 * math.sqrt(variance / w.size)
    if name.endswith("uniform"):
        assert np.abs(w).max() <= np.float32(math.sqrt(3 * variance))
    assert np.array_equal(w, initialize(name, shape, np.random.default_rng(0)))


@pytest.mark.parametrize("initializer", INITIALIZERS)
def test_units_are_drawn_by_the_seed(initializer):
    a, b, c = (
        ql.Sequential([ql.Dense(units=8, initializer=initializer)], input_shape=(16,), seed=seed) for seed in (1, 1, 2)
    )
    assert np.array_equal(a.layers[0].weight, b.layers[0].weight)
    assert not np.array_equal(a.layers[0].weight, c.layers[0].weight)
    assert not a.layers[0].bias.any()


def test_layers_are_pickled(rng):
    for layer in (ql.BatchNorm(mean=[1.0, 2.0]), ql.Dropout(0.5), ql.Flatten(), ql.Activation("gelu"), ql.Softmax()):
        again = pickle.loads(pickle.dumps(layer))
        assert repr(again) == repr(layer)
        assert type(layer).__module__ == "qlite"
        assert np.array_equal(again(np.ones((3, 2), np.float32)), layer(np.ones((3, 2), np.float32)))


def test_copies_have_arrays_of_their_own():
    layers = [ql.Dense(units=3), ql.BatchNorm(), ql.Activation("tanh"), ql.Dropout(0.1), ql.Dense(units=2)]
    m = ql.Sequential(layers, input_shape=(4,))
    other = m.copy()
    for name, mine, its in zip(m.names, m.layers, other.layers, strict=True):
        for part in ("parameters", "statistics"):
            pairs = zip(getattr(mine, part).items(), getattr(its, part).items(), strict=True)
            assert all(a == b and not np.shares_memory(x, y) for (a, x), (b, y) in pairs), name


REFUSED = """
activation Activation("relu7")
activation Activation(None)
activation Dense(units=2, activation="softsign")
slope Activation("leaky_relu", slope=0)
slope Activation("leaky_relu", slope="0.1")
slope Activation("leaky_relu", slope=2)
rate Dropout(1)
rate Dropout(-0.1)
rate Dropout(None)
momentum BatchNorm(momentum=1)
momentum BatchNorm(momentum="0.9")
epsilon BatchNorm(epsilon=0)
epsilon BatchNorm(epsilon=1e-60)
variance BatchNorm(variance=[-1.0])
variance BatchNorm(variance=[np.nan])
gamma BatchNorm(gamma=[1.0, 2.0], beta=[1.0])
mean BatchNorm(mean=[[1.0]])
mean BatchNorm(mean=[1, 2])
name Softmax(name=1)
name Flatten(name="")
layer.'batch_norm_1' Sequential([Dense(W), BatchNorm(mean=[1.0, 2.0])])
task Sequential([Dense(units=2)], input_shape=(3, 4))
input_shape Sequential([Dropout(0.5), Dense(units=2)])
"""


@pytest.mark.parametrize("case", REFUSED.strip().splitlines())
def test_bad_arguments(case):
    name, call = case.split(maxsplit=1)
    with pytest.raises((TypeError, ValueError)) as raised:
        eval(call, {"np": np, "W": W, **{key: getattr(ql, key) for key in ql.__all__}})
    assert re.match(rf"{name}: ", str(raised.value)), str(raised.value)
