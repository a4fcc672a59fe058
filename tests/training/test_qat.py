"""Training with a scheme: what is trained is deployed, code by code; what moves, what stays, what is refused."""

import warnings

import numpy as np
import pytest
from quantized_networks import codes_agree, network_of
from samples import same_bytes
from sklearn.datasets import load_diabetes, load_digits

import qlite as ql
from qlite.nn.fuse import fuse
from qlite.training.qat import QuantizedNetwork

STATIC = ["w8a8", "w4a8", "w3a8", "w2a8", "w4a4", "w2a2", "w8a4", "ternary", "w4g32a8"]
FLOATS = ["w8", "w4", "w2", "w4g32", "dynamic", "w4a8-dynamic", "w4g32a8-dynamic", "ternary-dynamic"]
#: Relative error of gradients that are summed in float32, of some hundred terms.
FLOAT32_SUMS = 1e-4
QUICK = {"epochs": 2, "batch_size": 64, "progress": False}


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return (x / 16).astype(np.float32), y


@pytest.fixture(scope="module")
def trained(digits):
    """A network that knows the digits."""
    return ql.train(network(), *digits, epochs=15, batch_size=32, progress=False)


def network(activation="relu", widths=(32, 24, 10)):
    layers = [ql.Dense(units=n, activation=activation) for n in widths[:-1]] + [ql.Dense(units=widths[-1])]
    return ql.Sequential(layers, input_shape=(64,))


def all_parameters(model):
    return [array for layer in model.layers for array in layer.parameters.values()]


# ---- what is trained is what is deployed


@pytest.mark.parametrize("scheme", STATIC + FLOATS)
def test_codes_of_training_are_those_of_the_model(digits, trained, scheme):
    m = trained.copy()
    network = network_of(m, scheme, digits[0])
    qm = codes_agree(m, network, *digits)
    same_bytes(qm(digits[0]), network(digits[0]))


LAYERS = {
    "norms": [
        *(ql.Dense(units=32), ql.BatchNorm(), ql.Activation("relu"), ql.Dropout(0.2)),
        *(ql.Dense(units=24, activation="relu6"), ql.BatchNorm(), ql.Dense(units=10)),
    ],
    "tables": [
        *(ql.Dense(units=32, activation="tanh"), ql.Dense(units=24, activation="gelu")),
        *(ql.Dense(units=24, activation="sigmoid"), ql.Dense(units=10)),
    ],
    "first_activation": [ql.Activation("leaky_relu"), ql.Dense(units=32, activation="silu"), ql.Dense(units=10)],
    "flatten": [ql.Dense(units=16, activation="relu"), ql.Flatten(), ql.Dense(units=10)],
    "softmax": [ql.Dense(units=32, activation="relu"), ql.Dense(units=10), ql.Softmax()],
    "softmax_of_dense": [ql.Dense(units=32, activation="relu6"), ql.Dense(units=10, activation="softmax")],
}


@pytest.mark.parametrize("scheme", ["w8a8", "w4a4", "w4g8a8", "dynamic", "w4"])
@pytest.mark.parametrize("layers", LAYERS)
def test_other_layers(digits, layers, scheme):
    """As above, of networks that were trained for a while; and training with a scheme keeps what they know."""
    x, y = digits
    shape = (8, 8) if layers == "flatten" else (64,)
    x = x.reshape(-1, *shape)
    m = ql.Sequential(LAYERS[layers], input_shape=shape)
    m = ql.train(m, x, y, epochs=8, batch_size=32, progress=False)
    fused = fuse(m).copy()
    codes_agree(fused, network_of(fused, scheme, x), x, y)
    quantized = ql.train(m, x, y, scheme=scheme, validation=(x, y), **QUICK)
    right = ql.quantize_model(quantized).evaluate(x, y)["accuracy"]
    assert right == pytest.approx(quantized.history["validation_accuracy"][-1])
    assert right > m.evaluate(x, y)["accuracy"] - 0.02


@pytest.mark.parametrize("scheme", ["w8a8", "w4a4", "dynamic", "w4"])
@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_what_a_model_ends_in_changes_nothing(digits, task, scheme):
    """Trained are the logits before a softmax or sigmoid, as in training of floats; the quantized model has it."""
    x, y = digits
    units, function = (1, "sigmoid") if task == "binary" else (10, "softmax")
    y = (y > 4).astype(int) if task == "binary" else y
    models = []
    for ending in ([], [ql.Activation(function)]):
        layers = [ql.Dense(units=32, activation="relu"), ql.Dense(units=units), *ending]
        m = ql.Sequential(layers, input_shape=(64,), task=task)
        models.append(ql.train(m, x, y, scheme=scheme, validation=(x, y), learning_rate=0.01, **QUICK))
    logits, probabilities = models
    assert logits.history["loss"] == probabilities.history["loss"]
    assert logits.history["validation_accuracy"] == probabilities.history["validation_accuracy"]
    assert probabilities.history["validation_accuracy"][-1] > 0.85
    for a, b in zip(all_parameters(logits), all_parameters(probabilities), strict=True):
        same_bytes(a, b)
    quantized = ql.quantize_model(probabilities)
    same_bytes(quantized.predict(x), ql.quantize_model(logits).predict(x))
    assert quantized(x).min() >= 0 and quantized(x).max() <= 1


@pytest.mark.parametrize(("function", "low", "high"), [("sigmoid", 0, 1), ("tanh", -1, 1)])
def test_the_known_grid_of_a_result_is_kept(digits, function, low, high):
    x, y = digits
    layers = [ql.Dense(units=16, activation="relu"), ql.Dense(units=1, activation=function)]
    m = ql.Sequential(layers, input_shape=(64,), task="regression")
    m = ql.train(m, x, np.clip(y / 9, low, high), scheme="w8a8", **QUICK)
    for target in ("onnx", "tflite"):
        output = ql.quantize_model(m, target=target).program.buffers[-2]
        assert output.scale == (high - low) / 256
        assert output.zero_point - output.code_range[0] == (128 if low else 0)


@pytest.mark.parametrize("scheme", STATIC + FLOATS)
def test_digits_stay_learned(digits, trained, scheme):
    x, y = digits
    m = ql.train(trained, x, y, scheme=scheme, epochs=4, batch_size=32, validation=(x, y), progress=False)
    right = ql.quantize_model(m).evaluate(x, y)["accuracy"]
    assert right == m.history["validation_accuracy"][-1]  # validation measures the integers
    assert right > (0.93 if scheme == "w2a2" else 0.96)
    assert m.grids.scheme == scheme


@pytest.mark.parametrize("target", ["numpy", "onnx", "tflite", "tensorrt"])
def test_other_targets(digits, trained, target):
    """Hidden codes are the same but for their sign; the output gets the grid of what the trained model gives."""
    if target == "tensorrt":
        with pytest.raises(ValueError, match=r"^target: "):
            ql.train(trained, *digits, scheme="w4a8", target=target)
        return
    m = ql.train(trained, *digits, scheme="w4a8", target=target, **QUICK)
    ours, theirs = ql.quantize_model(m), ql.quantize_model(m, target=target)
    for name in ("dense_1", "dense_2"):
        codes = theirs.intermediates(digits[0])[name]
        same_bytes(
            (codes.astype(int) + 128 * (codes.dtype == np.int8)).astype(np.uint8), ours.intermediates(digits[0])[name]
        )
    step = theirs.program.buffers[-2].scale if target != "numpy" else 0
    assert np.abs(theirs(digits[0]) - ours(digits[0])).max() <= 0.51 * step


def test_values_of_regression():
    x, y = load_diabetes(return_X_y=True)
    y = (y - y.mean()) / y.std()
    m = ql.Sequential([ql.Dense(units=32, activation="relu"), ql.Dense(units=1)], input_shape=(10,), task="regression")
    m = ql.train(m, x * 20, y, epochs=10, batch_size=32, progress=False)
    quantized = ql.quantize_model(ql.train(m, x * 20, y, scheme="w4a8", epochs=5, batch_size=32, progress=False))
    assert quantized.evaluate(x * 20, y)["mse"] < 1.05 * m.evaluate(x * 20, y)["mse"]


# ---- gradients


def expected_gradients(network, x, gradient):
    """Those of dense layers with relu, in float64, from the codes of the forward pass."""
    values, grids = network.plan.intermediates(x), network.grids()
    names = network.model.names

    def real(name):
        qparams = grids.activations["input" if name == "input_codes" else name]
        return (values[name].astype(float) - qparams.zero_point.item()) * qparams.scale.item()

    result = {}
    for i in reversed(range(len(names))):
        name, layer = names[i], network.model.layers[i]
        before = real("input_codes" if i == 0 else names[i - 1])
        p = grids.weights[name]
        scale, zero_point = p.scale.astype(float), p.zero_point
        nearest = np.rint(layer.weight / scale)
        inside = (p.qmin - zero_point <= nearest) & (nearest <= p.qmax - zero_point)
        codes = np.clip(nearest, p.qmin - zero_point, p.qmax - zero_point)
        if i < len(names) - 1:
            out = grids.activations[name]
            z, s = out.zero_point.item(), float(out.scale.item())
            unit = scale * (grids.activations[names[i - 1] if i else "input"].scale.item())
            u = before @ (codes * scale) + np.rint(layer.bias / unit) * unit
            t = np.maximum(u, 0) / s
            passes = (np.rint(t) >= out.qmin - z) & (np.rint(t) <= out.qmax - z)
            ends = np.clip(np.rint(t), out.qmin - z, out.qmax - z)
            result[name, "output_scale"] = np.sum(gradient * np.where(passes, ends - t, ends)), u.size // len(u), out
            gradient = gradient * (passes & (u > 0))
        of_codes = before.T @ gradient
        result[name, "bias"] = gradient.sum(axis=0)
        result[name, "weight"] = of_codes * inside
        of_scale = np.sum(of_codes * np.where(inside, codes - layer.weight / scale, codes), axis=0, keepdims=True)
        result[name, "weight_scale"] = of_scale, len(layer.weight), p
        gradient = gradient @ (codes * scale).T
    return result


def of_parameter(of_scale, values, qparams):
    """The gradient of a tenth of a scale's logarithm, at the rate of Esser et al., up to 1/20."""
    farthest = max(qparams.qmax - qparams.zero_point.min(), qparams.zero_point.max() - qparams.qmin)
    return np.clip(of_scale / (qparams.scale * 10 * np.sqrt(values * farthest)), -0.05, 0.05)


@pytest.mark.parametrize("scheme", ["w8a8", "w4a8", "w4a4", "w2a2"])
def test_gradients(digits, trained, scheme):
    x = digits[0][:200]
    network = network_of(trained.copy(), scheme, digits[0])
    raw, saved = network.forward(x, np.random.default_rng(0))
    gradient = np.random.default_rng(1).normal(size=raw.shape).astype(np.float32) * np.float32(1e-3)
    expected = expected_gradients(network, x, gradient.astype(float))
    found = network.backward(saved, gradient)
    assert set(found) == set(expected) == set(network.parameters)
    for key, value in expected.items():
        value = of_parameter(*value) if isinstance(value, tuple) else value
        assert np.linalg.norm(found[key] - value) <= FLOAT32_SUMS * np.linalg.norm(value), key


def test_gradients_of_a_layer_left_in_float_are_slopes(digits, trained):
    """Behind the last grid nothing is rounded, and central differences tell."""
    x, m = digits[0][:50], trained.copy()
    weights = np.random.default_rng(0).normal(size=(50, 10)).astype(np.float32)
    network = network_of(m, "w4a4", digits[0], per_layer={"dense_3": None})
    _, saved = network.forward(x, np.random.default_rng(0))
    found = network.backward(saved, weights.copy())
    assert ("dense_3", "weight_scale") not in found
    layer, step = m.layers[-1], np.float32(2**-6)
    for array, key in ((layer.weight, ("dense_3", "weight")), (layer.bias, ("dense_3", "bias"))):
        for index in [tuple(n // 2 for n in array.shape), tuple(n - 1 for n in array.shape)]:
            middle = array[index]
            ends = []
            for sign in (1, -1):
                array[index] = middle + sign * step
                ends.append(np.sum(weights * network(x), dtype=np.float64))
            array[index] = middle
            slope = (ends[0] - ends[1]) / (2 * float(step))
            assert abs(found[key][index] - slope) <= 1e-3 * max(1, abs(slope))


@pytest.mark.parametrize("scheme", ["w8a8", "w4g32a8", "dynamic"])
def test_bits_do_not_depend_on_threads(trained, scheme):
    rng, before = np.random.default_rng(0), ql.show_config("dict")["threads"]
    x = rng.random((600, 64), np.float32)
    results = []
    try:
        for threads in (1, 4):
            ql.set_num_threads(threads)
            network = network_of(trained.copy(), scheme, x)
            raw, saved = network.forward(x, rng)
            results.append([raw, *network.backward(saved, np.ones_like(raw)).values()])
    finally:
        ql.set_num_threads(before)
    for one, other in zip(*results, strict=True):
        same_bytes(one, other)


# ---- what moves and what stays


@pytest.mark.parametrize("method", ["lsq", "ste", "pact"])
def test_which_scales_move(digits, trained, method):
    first = network_of(trained.copy(), "w4a4", digits[0], method).grids()
    m = ql.train(trained, *digits, scheme="w4a4", method=method, observe=2000, **QUICK)
    moved = {name: not np.allclose(p.scale, first.weights[name].scale, 1e-3) for name, p in m.grids.weights.items()}
    assert set(moved.values()) == {method == "lsq"}
    hidden = [m.grids.activations[name].scale for name in ("dense_1", "dense_2")]
    before = [first.activations[name].scale for name in ("dense_1", "dense_2")]
    assert all(np.array_equal(*pair) == (method == "ste") for pair in zip(hidden, before, strict=True))


def test_the_inputs_grid_stays(digits, trained):
    network = network_of(trained.copy(), "w2a2", digits[0])
    m = ql.train(trained, *digits, scheme="w2a2", **QUICK)
    assert m.grids.activations["input"].bits == 8
    assert ("input", "output_scale") not in network.parameters


def test_grids_around_tables(digits):
    """They move, and the tables with them; grids whose range is known stay."""
    m = ql.Sequential(LAYERS["tables"], input_shape=(64,))
    network = network_of(fuse(m).copy(), "w4a4", digits[0])
    moving = {layer for layer, what in network.parameters if what == "output_scale"}
    assert moving == {"dense_1", "dense_2", "dense_2_gelu", "dense_3"}


def test_frozen_layers(digits, trained):
    """Weights, bias and scales of a frozen layer stay; what it gives to others changes with what comes before it."""
    first = network_of(trained.copy(), "w4a4", digits[0], frozen=["dense_2"]).grids()
    m = ql.train(trained, *digits, scheme="w4a4", frozen=["dense_2"], observe=2000, **QUICK)
    for name in ("weight", "bias"):
        same_bytes(m.layers[1].parameters[name], trained.layers[1].parameters[name])
        assert not np.array_equal(m.layers[0].parameters[name], trained.layers[0].parameters[name])
    assert m.grids.weights["dense_2"].scale.tobytes() == first.weights["dense_2"].scale.tobytes()
    with pytest.raises(ValueError, match=r"^frozen: "):
        ql.train(trained, *digits, scheme="w4a4", frozen=trained.names, **QUICK)


def test_quantize_model_refuses_what_training_has_found(digits, trained):
    m = ql.train(trained, *digits, scheme="w4a8", **QUICK)
    for options in ({"data": digits[0]}, {"method": "entropy"}, {"weight_method": "mse"}, {"activations": "dynamic"}):
        with pytest.raises(ValueError, match=f"^{next(iter(options))}: expected .* trained with.{{,100}}$"):
            ql.quantize_model(m, **options)
    m = ql.train(trained, *digits, scheme="dynamic", **QUICK)
    assert ql.quantize_model(m, activations="dynamic").scheme == "dynamic"


def test_layers_left_in_float(digits, trained):
    m = ql.train(trained, *digits, scheme="w2a2", per_layer={"dense_1": None, "dense_3": "w8a8"}, **QUICK)
    assert set(m.grids.weights) == {"dense_2", "dense_3"}
    assert m.grids.weights["dense_3"].bits == 8
    qm = ql.quantize_model(m)
    assert qm.evaluate(*digits)["accuracy"] > 0.95


def test_the_given_model_stays(digits, trained):
    before = [array.copy() for array in all_parameters(trained)]
    m = ql.train(trained, *digits, scheme="w4a8", **QUICK)
    for array, copy in zip(all_parameters(trained), before, strict=True):
        same_bytes(array, copy)
    assert trained.grids is None and m.grids is not None
    assert ql.train(m, *digits, **QUICK).grids is None  # floats again


def test_training_goes_on_from_the_grids(digits, trained):
    """One epoch at a rate of nearly nothing leaves the model as it was; another scheme begins with its own grids."""
    m = ql.train(trained, *digits, scheme="w4a4", **QUICK)
    more = ql.train(m, *digits, scheme="w4a4", learning_rate=1e-12, epochs=1, progress=False)
    for name, p in more.grids.weights.items():
        np.testing.assert_allclose(p.scale, m.grids.weights[name].scale, rtol=1e-5)
    other = ql.train(m, *digits, scheme="w8a8", learning_rate=1e-12, epochs=1, progress=False)
    assert {p.bits for p in other.grids.weights.values()} == {8}


def test_training_goes_on_for_another_target(digits, trained):
    """Grids of weights with zero points are not taken over for a target that knows none; others are."""
    m = ql.train(trained, *digits, scheme="w4a8", **QUICK)
    assert any(p.zero_point.any() for p in m.grids.weights.values())
    other = ql.train(m, *digits, scheme="w4a8", target="tflite", **QUICK)
    assert ql.quantize_model(other, target="tflite").evaluate(*digits)["accuracy"] > 0.95
    back = ql.train(other, *digits, scheme="w4a8", learning_rate=1e-12, epochs=1, progress=False)
    for name, p in back.grids.weights.items():
        assert not p.zero_point.any()
        np.testing.assert_allclose(p.scale, other.grids.weights[name].scale, rtol=1e-5)


def test_same_seed_same_bits(digits, trained):
    one, other = (ql.train(trained, *digits, scheme="w4a4", seed=3, **QUICK) for _ in range(2))
    for a, b in zip(all_parameters(one), all_parameters(other), strict=True):
        same_bytes(a, b)
    for name, p in one.grids.weights.items():
        same_bytes(p.scale, other.grids.weights[name].scale)
    different = ql.train(trained, *digits, scheme="w4a4", seed=4, **QUICK)
    assert not np.array_equal(different.layers[0].weight, one.layers[0].weight)


def batches_of(x, y):
    return [(x[i : i + 64], y[i : i + 64]) for i in range(0, len(x), 64)]


def test_batches_of_ones_own(digits, trained):
    """Those that the first grids are found on are trained on too: they are opened once for each epoch."""
    opened = []

    def source():
        opened.append(None)
        return iter(batches_of(*digits))

    m = ql.train(trained, source, scheme="w4a4", epochs=2, progress=False)
    assert len(opened) == 2
    assert m.history["learning_rate"] == [2e-3, 2e-3]  # of an unknown number of steps: constant
    assert ql.quantize_model(m).evaluate(*digits)["accuracy"] > 0.95


@pytest.mark.parametrize("observe", [10, 100, 5000])
def test_batches_that_can_be_read_only_once(digits, trained, observe):
    options = {"scheme": "w4a4", "epochs": 1, "schedule": "constant", "observe": observe, "progress": False}
    once = ql.train(trained, iter(batches_of(*digits)), **options)
    place = np.empty((64, 64), np.float32)

    def in_one_place():  # as a reader does that has memory for one batch
        for x, y in batches_of(*digits):
            place[: len(x)] = x
            yield place[: len(x)], y

    again = ql.train(trained, in_one_place(), **options)
    listed = ql.train(trained, batches_of(*digits), **options)
    for a, b, c in zip(*map(all_parameters, (once, again, listed)), strict=True):
        same_bytes(a, c)
        same_bytes(b, c)
    with pytest.raises(ValueError, match=r"^X: expected a function"):
        ql.train(trained, iter(batches_of(*digits)), **(options | {"epochs": 2}))


def test_samples_for_the_first_grids_must_be_finite(digits, trained):
    x = digits[0].copy()
    x[3, 4] = np.nan
    for arguments in ((x, digits[1]), (batches_of(x, digits[1]),)):
        with pytest.raises(ValueError, match=r"^X: expected finite"):
            ql.train(trained, *arguments, scheme="w4a4", observe=2000, **QUICK)


def test_callbacks_see_grids(digits, trained):
    seen = []
    callback = lambda state: seen.append(ql.quantize_model(state.model).evaluate(*digits)["accuracy"])  # noqa: E731
    m = ql.train(trained, *digits, scheme="w4a4", validation=digits, callbacks=[callback], **QUICK)
    assert seen == m.history["validation_accuracy"]


def test_grids_are_made_where_somebody_looks(digits, trained, monkeypatch):
    made = []
    grids = QuantizedNetwork.grids
    monkeypatch.setattr(QuantizedNetwork, "grids", lambda self: made.append(None) or grids(self))
    ql.train(trained, *digits, scheme="w4a4", callbacks=[lambda state: state.history], **QUICK)
    assert len(made) == 1  # those of the result
    ql.train(trained, *digits, scheme="w4a4", callbacks=[lambda state: state.model], **QUICK)
    assert len(made) == 1 + QUICK["epochs"] + 1


def test_checkpoint_resumes_to_the_same_bits(digits, trained, tmp_path):
    whole = ql.train(trained, *digits, scheme="w4a4", **QUICK)
    path = tmp_path / "training.safetensors"
    options = {"scheme": "w4a4", "checkpoint": path, **QUICK}
    with pytest.raises(KeyError, match="stop"):
        ql.train(trained, *digits, callbacks=[lambda state: {}["stop"]], **options)
    resumed = ql.train(trained, *digits, **options)
    same_bytes(resumed.layers[0].weight, whole.layers[0].weight)
    with pytest.raises(ValueError, match="quantization: "):
        ql.train(trained, *digits, **(options | {"method": "ste"}))


def test_units_without_weights(digits):
    """A unit that training gave up keeps a bias that is large beside its weights."""
    m = network()
    m.layers[0].weight[:, 3] *= np.float32(1e-12)
    m.layers[0].bias[3] = 1
    m.layers[1].weight[:, 2] = 0
    m = ql.train(m, *digits, scheme="w4a4", **QUICK)
    qm = ql.quantize_model(m)
    assert np.isfinite(qm(digits[0])).all()


@pytest.mark.parametrize("rate", [1e30, 1e36])
@pytest.mark.parametrize("scheme", ["w8a8", "w4a4", "w4g32a8", "dynamic", "w4"])
def test_training_that_diverges(digits, trained, scheme, rate):
    """The warning names a layer: whose parameters or result are not finite, or that has no integers any more."""
    why = r"(weight of layer|the result of|no integers can be made of the parameters \(.*layer) 'dense_\d"
    with pytest.warns(RuntimeWarning, match=f"training stopped: {why}.* in step \\d+, epoch 1"):
        m = ql.train(trained, *digits, scheme=scheme, optimizer="sgd", learning_rate=rate, **QUICK)
    assert all(np.isfinite(array).all() for array in all_parameters(m))
    assert ql.quantize_model(m).evaluate(*digits)["accuracy"] > 0.9  # the weights that it began with


@pytest.mark.parametrize("scheme", [None, "w8a8", "w4g32a8", "dynamic", "w4"])
def test_samples_that_are_not_finite_stop_training(digits, trained, scheme):
    """As in training of floats: a warning, and the last good weights."""
    batches = batches_of(*digits)
    spoiled = [batches[0], (batches[1][0] * np.float32(np.nan), batches[1][1]), *batches[2:]]
    epochs = iter([batches, spoiled])
    options = {"scheme": scheme, "validation": digits, "schedule": "constant", "progress": False}
    options |= {} if scheme is None else {"observe": 64}
    with pytest.warns(RuntimeWarning, match="the result of 'input' is not finite in step 31, epoch 2"):
        m = ql.train(trained, lambda: next(epochs), epochs=2, **options)
    assert len(m.history) == 1
    good = ql.train(trained, batches, epochs=1, **options)
    for array, expected in zip(all_parameters(m), all_parameters(good), strict=True):
        same_bytes(array, expected)


def test_a_loss_that_takes_nan_for_a_number_ends_training_too(digits, trained):
    batches = batches_of(*digits)
    batches[-1] = batches[-1][0] * np.float32(np.nan), batches[-1][1]
    with pytest.warns(RuntimeWarning, match="weight of layer 'dense_1' is not finite"):
        ql.train(trained, batches, scheme="w8a8", loss=lambda raw, y: (0.0, np.nan_to_num(raw)), observe=64, **QUICK)


# ---- defaults and errors


@pytest.mark.parametrize(
    ("scheme", "factor"), [("w8a8", 1), ("w8", 1), ("w4a8", 2), ("w8a3", 2), ("ternary", 4), ("w2a2", 4)]
)
def test_default_rate(digits, trained, scheme, factor):
    m = ql.train(trained, *digits, scheme=scheme, epochs=1, batch_size=2000, progress=False)
    assert m.history["learning_rate"] == [pytest.approx(1e-3 * factor)]
    m = ql.train(trained, *digits, scheme=scheme, epochs=1, batch_size=2000, learning_rate=0.01, progress=False)
    assert m.history["learning_rate"] == [0.01]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("scheme", {"scheme": "w9a9"}),
        ("scheme", {"scheme": "int8"}),
        ("scheme", {"scheme": "w1a8"}),
        ("method", {"scheme": "w8a8", "method": "dorefa"}),
        ("observer", {"scheme": "w8a8", "observer": "max"}),
        ("observe", {"scheme": "w8a8", "observe": 0}),
        ("target", {"scheme": "w8a8", "target": "tpu"}),
        ("per_layer", {"scheme": "w8a8", "per_layer": {"dense_9": "w4a8"}}),
        ("per_layer", {"per_layer": {"dense_1": "w4a8"}}),
        ("method", {"method": "ste"}),
        ("observer", {"observer": "minmax"}),
        ("observe", {"observe": 5}),
        ("target", {"target": "tflite"}),
        ("target", {"scheme": "w4a4", "target": "tflite"}),
        ("target", {"scheme": "w4", "target": "onnx"}),
        ("target", {"scheme": "dynamic", "target": "tflm"}),
        ("target", {"scheme": "w4g32a8", "target": "c"}),
        ("target", {"scheme": "w8a8", "target": "c", "per_layer": {"dense_1": None}}),
    ],
)
def test_bad_options(digits, trained, name, options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=f"^{name}"):
            ql.train(trained, *digits, **options)
