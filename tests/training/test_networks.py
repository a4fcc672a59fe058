"""Graphs in training: gradients where values are read several times, what frozen layers leave out, several inputs."""

import numpy as np
import pytest
from samples import same_bytes

import qlite as ql
from qlite.nn.layers.layer import Layer
from qlite.training.network import FloatNetwork, apart

#: Central differences of a sum over a few hundred products of float32, relative to the largest slope.
SLOPES = 5e-3


def values_read_again(activation="tanh"):
    """A graph whose input and whose first layer are read three times, one of them twice by one layer."""
    x = ql.Input((6,))
    a = ql.Dense(units=6, activation=activation, name="a")(x)
    doubled = ql.Add()(a, a)
    joined = ql.Concatenate()(x, a, doubled)
    b = ql.Dense(units=6, activation=activation, name="b")(joined)
    return ql.Model(x, ql.Dense(units=3, name="c")(ql.Add()(ql.Add()(b, a), x)))


def branches(seed=0):
    """Two inputs, each through a layer of its own."""
    x, y = ql.Input((4,), "x"), ql.Input((5, 2), "y")
    a = ql.Dense(units=6, activation="relu", name="of_x")(x)
    b = ql.Dense(units=6, activation="relu", name="of_y")(ql.Flatten()(y))
    return ql.Model([x, y], ql.Dense(units=3, name="end")(ql.Concatenate()(a, b)), seed=seed)


def two_inputs(rng, count):
    return rng.normal(size=(count, 4)).astype(np.float32), rng.normal(size=(count, 5, 2)).astype(np.float32)


def check_slopes(network, x, rng):
    """Compare gradients with central differences along a random direction of each parameter."""
    raw, saved = network.forward(x, rng)
    weights = rng.normal(size=raw.shape).astype(np.float32)
    found = network.backward(saved, weights.copy())
    assert set(found) == set(network.parameters)
    for key, array in network.parameters.items():
        direction, middle = rng.normal(size=array.shape), array.copy()
        ends = []
        for sign in (1, -1):
            array[...] = middle + sign * 2.0**-8 * direction
            ends.append(np.sum(weights * network.forward(x, rng)[0], dtype=np.float64))
        array[...] = middle
        slope = (ends[0] - ends[1]) / 2.0**-7
        assert np.sum(found[key] * direction) == pytest.approx(slope, rel=SLOPES, abs=SLOPES), key


def test_gradients_of_values_that_are_read_again_add_up(rng):
    model = values_read_again()
    check_slopes(FloatNetwork(model), rng.normal(size=(50, 6)).astype(np.float32), rng)


def test_a_residual_network_of_images(rng):
    x = ql.Input((6, 6, 3))
    a = ql.Conv2D(filters=4, kernel_size=3, padding="same", activation="tanh", name="a")(x)
    b = ql.BatchNorm(name="b")(ql.DepthwiseConv2D(kernel_size=3, padding="same", name="d")(a))
    c = ql.Add()(ql.Activation("silu")(b), a)
    d = ql.Concatenate()(ql.AveragePool(2)(c), ql.Conv2D(filters=5, kernel_size=2, stride=2, name="e")(a))
    model = ql.Model(x, ql.Dense(units=3, name="f")(ql.GlobalAveragePool()(d)))
    check_slopes(FloatNetwork(model), rng.normal(size=(20, 6, 6, 3)).astype(np.float32), rng)


def test_inference_and_forward_agree(rng):
    model = values_read_again()
    x = rng.normal(size=(10, 6)).astype(np.float32)
    network = FloatNetwork(model)
    same_bytes(network(x), model(x))
    same_bytes(network.forward(x, rng)[0], model(x))


def test_layers_that_nothing_trained_comes_before_have_no_way_back(rng):
    """Gradients go only to what is trained, or to what that reads."""
    model = branches()
    network = FloatNetwork(model, ["of_x"])
    x = two_inputs(rng, 10)
    _, saved = network.forward(x, rng)
    assert len(saved) == 3  # nothing of the frozen layer, or of what comes before the trained ones
    found = network.backward(saved, np.ones((10, 3), np.float32))
    assert {name for name, _ in found} == {"of_y", "end"}


def test_all_frozen(rng):
    with pytest.raises(ValueError, match=r"^frozen: expected a layer that is trained"):
        FloatNetwork(branches(), ["of_x", "of_y", "end"])


def test_a_layer_without_a_gradient():
    class Cube(Layer):
        kind = "cube_of_networks"

        def infer(self, *shapes):
            return shapes[0]

        def compute(self, *x):
            return x[0] ** 3

        def lower(self, builder, inputs):
            raise NotImplementedError

    model = ql.Sequential([Cube(None), ql.Dense(units=2)], input_shape=(3,))
    FloatNetwork(model)
    model = ql.Sequential([ql.Dense(units=2), Cube(None)], input_shape=(3,))
    with pytest.raises(ValueError, match=r"^model: expected layers with a gradient, got Cube as 'cube_of_networks_1'"):
        FloatNetwork(model)


def test_one_array_for_several_inputs_is_copied():
    g, other = np.zeros(3), np.ones(3)
    found = apart((g, other, g))
    assert found[0] is g and found[1] is other
    assert not np.shares_memory(found[0], found[2])


# ---- several inputs


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(0)
    x, y = two_inputs(rng, 300)
    return x, y, ((x[:, 0] > 0) + (y[:, 0, 0] > 0)).astype(int)


OPTIONS = {"epochs": 12, "batch_size": 16, "learning_rate": 0.01, "progress": False}


@pytest.mark.parametrize("form", ["tuple", "list", "dict", "batches", "dicts"])
def test_forms_of_several_inputs(samples, form):
    x, y, labels = samples
    rows = range(0, 300, 16)
    forms = {
        "tuple": (x, y),
        "list": [x, y],
        "dict": {"y": y, "x": x.astype(np.float64)},
        "batches": [((x[i : i + 16], y[i : i + 16]), labels[i : i + 16]) for i in rows],
        "dicts": [({"x": x[i : i + 16], "y": y[i : i + 16]}, labels[i : i + 16]) for i in rows],
    }
    are_batches = form in ("batches", "dicts")
    m = ql.train(branches(), forms[form], None if are_batches else labels, validation=((x, y), labels), **OPTIONS)
    assert m.history["validation_accuracy"][-1] > 0.9
    if form != "tuple" and not are_batches:
        expected = ql.train(branches(), (x, y), labels, validation=((x, y), labels), **OPTIONS)
        same_bytes(m.layers[-1].parameters["weight"], expected.layers[-1].parameters["weight"])


@pytest.mark.parametrize("scheme", ["w8a8", "w4a8-dynamic", "w8"])
def test_several_inputs_with_a_scheme(samples, scheme):
    x, y, labels = samples
    m = ql.train(branches(), (x, y), labels, scheme=scheme, validation=((x, y), labels), **OPTIONS)
    right = ql.quantize_model(m).evaluate((x, y), labels)["accuracy"]
    assert right == m.history["validation_accuracy"][-1] > 0.9


def test_a_share_held_out_of_several_inputs(samples):
    x, y, labels = samples
    m = ql.train(branches(), (x, y), labels, validation=0.2, **OPTIONS)
    assert m.history["validation_accuracy"][-1] > 0.8


def test_augment_and_teacher_of_several_inputs(samples):
    x, y, labels = samples
    teacher = ql.train(branches(), (x, y), labels, **OPTIONS)
    seen = []

    def augment(x, rng):
        seen.append([array.shape for array in x])
        return [array + np.float32(0.01) * rng.standard_normal(array.shape, np.float32) for array in x]

    m = ql.train(branches(1), (x, y), labels, augment=augment, teacher=teacher, **OPTIONS)
    assert seen[0] == [(16, 4), (16, 5, 2)]
    assert m.evaluate((x, y), labels)["accuracy"] > 0.9


X, Y, LABELS = np.zeros((6, 4), np.float32), np.zeros((6, 5, 2), np.float32), np.zeros(6, int)
CASES = {
    "an array": (ValueError, r"X: expected a tuple or dict of samples of \['x', 'y'\], got ndarray", X),
    "too few": (ValueError, "X: expected a tuple or dict of samples .*, got 1 arrays", (X,)),
    "other names": (ValueError, r"X: expected samples of \['x', 'y'\], got \['x', 'z'\]", {"x": X, "z": Y}),
    "another shape": (ValueError, r"X\['y'\]: expected shape \(samples, 5, 2\), got \(6, 4\)", (X, X)),
    "another shape by name": (ValueError, r"X\['x'\]: expected shape \(samples, 4\)", {"x": Y, "y": Y}),
    "another dtype": (TypeError, r"X\['x'\]: expected a real floating dtype, got int64", (X.astype(int), Y)),
    "other numbers of samples": (
        ValueError,
        r"X: expected as many samples of each input, got {'x': 6, 'y': 5}",
        (X, Y[:5]),
    ),
    "no samples": (ValueError, "X: expected at least one sample, got none", (X[:0], Y[:0])),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_samples_of_several_inputs(case):
    error, message, x = CASES[case]
    with pytest.raises(error, match=f"^{message}"):
        ql.train(branches(), x, LABELS, progress=False)


def test_bad_results_of_augment():
    for result in ((X, Y, X), X):
        with pytest.raises(TypeError, match=r"^augment: expected samples of 2 inputs"):
            ql.train(branches(), (X, Y), LABELS, augment=lambda x, rng, result=result: result, progress=False)
    with pytest.raises(ValueError, match=r"^augment: expected samples of shape \(6, 5, 2\)"):
        ql.train(branches(), (X, Y), LABELS, augment=lambda x, rng: (X, X), progress=False)


def test_bad_teachers():
    x, y = ql.Input((3,)), ql.Input((5, 2))
    other = ql.Model([x, y], ql.Dense(units=3)(ql.Concatenate()(x, ql.Flatten()(y))))
    with pytest.raises(
        ValueError, match=r"^teacher: expected samples of shape \(4,\), \(5, 2\), got one that takes \(3,\), "
    ):
        ql.train(branches(), (X, Y), LABELS, teacher=other, progress=False)


def test_several_outputs():
    x = ql.Input((4,))
    model = ql.Model(x, [ql.Dense(units=3, name="left")(x), ql.Dense(units=2, name="right")(x)])
    with pytest.raises(ValueError, match=r"^model: expected one output to compare with y, got \['left', 'right'\]"):
        ql.train(model, X, LABELS, progress=False)
