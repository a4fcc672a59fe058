"""Training of image networks and graphs with a scheme: the trained one is deployed, code by code; which grids move."""

import numpy as np
import pytest
from quantized_networks import codes_agree, network_of
from samples import same_bytes
from sklearn.datasets import load_digits

import qlite as ql
from qlite.nn.fuse import fuse

SCHEMES = ["w8a8", "w4a4", "w2a8", "ternary", "w8", "w4", "dynamic", "w4a8-dynamic"]
#: Relative error of gradients that are summed in float32, of some hundred terms.
FLOAT32_SUMS = 1e-4
QUICK = {"epochs": 2, "batch_size": 64, "progress": False}


@pytest.fixture(scope="module")
def images():
    x, y = load_digits(return_X_y=True)
    return (x / 16).astype(np.float32).reshape(-1, 8, 8, 1), y


def conv():
    x = ql.Input((8, 8, 1))
    y = ql.Conv2D(filters=8, kernel_size=3, padding="same", activation="relu")(x)
    return x, ql.Conv2D(filters=12, kernel_size=(2, 3), stride=2, activation="relu6")(y)


def groups():
    x = ql.Input((8, 8, 1))
    y = ql.Conv2D(filters=8, kernel_size=3, stride=2, padding="same", activation="relu")(x)
    return x, ql.Conv2D(filters=12, kernel_size=3, groups=4, dilation=2, padding="same", activation="relu")(y)


def depthwise():
    x = ql.Input((8, 8, 1))
    y = ql.Conv2D(filters=8, kernel_size=3, activation="relu")(x)
    y = ql.DepthwiseConv2D(kernel_size=3, multiplier=2, padding="same", activation="relu")(y)
    return x, ql.SeparableConv2D(filters=12, kernel_size=3, activation="relu")(y)


def residual():
    x = ql.Input((8, 8, 1))
    y = ql.Conv2D(filters=8, kernel_size=3, stride=2, padding="same", activation="relu")(x)
    z = ql.Conv2D(filters=8, kernel_size=3, padding="same", activation="relu")(y)
    z = ql.Conv2D(filters=8, kernel_size=3, padding="same")(z)
    return x, ql.Activation("relu")(ql.Add()(y, z))


def gates():
    x = ql.Input((8, 8, 1))
    y = ql.Conv2D(filters=8, kernel_size=3, stride=2, padding="same", activation="relu")(x)
    gate = ql.Reshape((1, 1, 8))(ql.GlobalAveragePool()(y))
    gate = ql.Conv2D(filters=8, kernel_size=1, activation="hard_sigmoid")(gate)
    scaled = ql.Multiply("relu6")(y, np.linspace(0.5, 1.5, 8, dtype=np.float32))
    return x, ql.Subtract()(ql.Multiply()(scaled, gate), ql.Conv2D(filters=1, kernel_size=1)(y))


def joined():
    x = ql.Input((8, 8, 1))
    y = ql.Conv2D(filters=8, kernel_size=3, padding="same", activation="relu")(x)
    z = ql.Conv2D(filters=4, kernel_size=1, activation="relu")(y)
    return x, ql.MaxPool(2)(ql.Concatenate()(y, z))


def pools():
    x = ql.Input((8, 8, 1))
    y = ql.Conv2D(filters=8, kernel_size=3, padding="same", activation="relu")(x)
    y = ql.Conv2D(filters=8, kernel_size=3, activation="relu")(ql.MaxPool(3, stride=2, padding="same")(y))
    return x, ql.GlobalAveragePool()(ql.AveragePool(2, stride=1)(y))


def reductions():
    x = ql.Input((8, 8, 1))
    y = ql.Conv2D(filters=8, kernel_size=3, padding="same", activation="relu")(x)
    z = ql.Conv2D(filters=8, kernel_size=1)(ql.Mean((0, 1), keepdims=True)(y))
    parts = ql.Flatten()(z), ql.GlobalMaxPool()(y), ql.Min(-1)(ql.Sum(0)(y))
    return x, ql.L2Normalize()(ql.Concatenate()(*parts))


def norms():
    x = ql.Input((8, 8, 1))
    y = ql.Activation("relu")(ql.BatchNorm()(ql.Conv2D(filters=8, kernel_size=3)(x)))
    y = ql.BatchNorm()(ql.DepthwiseConv2D(kernel_size=3, padding="same")(y))
    y = ql.Dropout(0.1)(ql.Activation("relu6")(y))
    return x, ql.BatchNorm()(ql.Conv2D(filters=12, kernel_size=3, stride=2)(y))


def norms_of_sums():
    x = ql.Input((8, 8, 1))
    y = ql.Conv2D(filters=8, kernel_size=3, padding="same", activation="relu")(x)
    z = ql.Conv2D(filters=8, kernel_size=3, padding="same")(y)
    y = ql.Activation("relu")(ql.BatchNorm()(ql.Add()(y, z)))
    return x, ql.Conv2D(filters=8, kernel_size=3, stride=2, activation="relu")(y)


def many():
    x = ql.Input((8, 8, 1))
    y = ql.Conv2D(filters=4, kernel_size=3, activation="relu")(x)
    parts = [ql.Conv2D(filters=2, kernel_size=1, activation="relu")(y) for _ in range(9)]
    return x, ql.AveragePool(2)(ql.Concatenate()(y, *parts, ql.Activation("sigmoid")(y)))


def tables():
    x = ql.Input((8, 8, 1))
    y = ql.Conv2D(filters=8, kernel_size=3, activation="silu")(x)
    return x, ql.Conv2D(filters=8, kernel_size=3, stride=2, activation="hard_swish")(ql.Pad(1)(y))


def slopes():
    x = ql.Input((8, 8, 1))
    y = ql.PReLU()(ql.Conv2D(filters=8, kernel_size=3)(x))
    return x, ql.PReLU(init=-0.1)(ql.DepthwiseConv2D(kernel_size=3, stride=2)(ql.Pad(1)(y)))


def sequences():
    x = ql.Input((8, 8, 1))
    y = ql.Conv1D(filters=16, kernel_size=3, activation="relu")(ql.Reshape((8, 8))(x))
    return x, ql.Conv1D(filters=16, kernel_size=2, stride=2, padding="same", activation="relu")(y)


def attention():
    x = ql.Input((8, 8, 1))
    y = ql.Dense(units=12)(ql.Reshape((8, 8))(x))
    y = ql.Add()(y, ql.MultiHeadAttention(3)(ql.LayerNorm()(y)))
    return x, ql.Add()(y, ql.Dense(units=12, activation="gelu")(ql.LayerNorm()(y)))


def moves():
    """Values in other places, of parts and of images of other sizes."""
    x = ql.Input((8, 8, 1))
    y = ql.Conv2D(filters=8, kernel_size=3, padding="same", activation="relu")(x)
    one, other = ql.Split(2)(y)
    small = ql.Conv2D(filters=4, kernel_size=3, stride=2, activation="relu")(ql.Pad(1, "reflect")(one))
    small = ql.Concatenate()(ql.ResizeBilinear((8, 8))(small), ql.ResizeNearest(scale=2)(small))
    blocks = ql.SpaceToDepth(2)(ql.Concatenate()(small, ql.Transpose((1, 0, 2))(other)))
    return x, ql.Conv2D(filters=8, kernel_size=3, activation="relu")(ql.Slice(stride=(-1, 1))(blocks))


GRAPHS = (conv, groups, depthwise, residual, gates, joined, pools, reductions, norms, norms_of_sums, many, tables)
GRAPHS += (slopes, sequences, moves, attention)
NETWORKS = {f.__name__: f for f in GRAPHS}


def network(name):
    x, y = NETWORKS[name]()
    y = y if len(y.shape) == 1 else ql.Flatten()(y)
    return ql.Model(x, ql.Dense(units=10)(y))


@pytest.fixture(scope="module")
def trained(images):
    """Networks that know the digits, by name: each made once."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = ql.train(network(name), *images, epochs=6, batch_size=32, learning_rate=4e-3, progress=False)
        return made[name]

    return get


def moving(model):
    """The parameters that training moves: not the bias of keys, which adds the same to all scores of a row."""
    return [
        array
        for name, layer in zip(model.names, model.layers, strict=True)
        for what, array in layer.parameters.items()
        if not (name.endswith("_key") and what == "bias")
    ]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", NETWORKS)
def test_codes_of_training_are_those_of_the_model(images, trained, name, scheme):
    m = fuse(trained(name)).copy()
    before = [array.copy() for array in moving(m)]
    network = network_of(m, scheme, images[0])
    qm = codes_agree(m, network, *images)
    same_bytes(qm(images[0]), network(images[0]))
    assert not any(np.array_equal(*pair) for pair in zip(before, moving(m), strict=True))


@pytest.mark.parametrize("scheme", ["w8a8", "w4a4", "dynamic"])
@pytest.mark.parametrize("name", NETWORKS)
def test_digits_stay_learned(images, trained, name, scheme):
    x, y = images
    m = ql.train(trained(name), x, y, scheme=scheme, validation=(x, y), **QUICK)
    right = ql.quantize_model(m).evaluate(x, y)["accuracy"]
    assert right == m.history["validation_accuracy"][-1]  # validation measures the integers
    assert right > trained(name).evaluate(x, y)["accuracy"] - 0.03


@pytest.mark.parametrize("target", ["onnx", "tflite", "c"])
@pytest.mark.parametrize("name", ["residual", "joined"])
def test_other_targets(images, trained, name, target):
    m = ql.train(trained(name), *images, scheme="w8a8", target=target, **QUICK)
    ours, theirs = ql.quantize_model(m), ql.quantize_model(m, target=target)
    assert np.mean(ours.predict(images[0]) == theirs.predict(images[0])) > 0.99


# ---- gradients


def test_the_gradient_of_a_product_of_windows(images, trained):
    """Of the last convolution, whose sums are known: that of its codes, stopped where weights are clipped."""
    m = fuse(trained("conv")).copy()
    network = network_of(m, "w4a4", images[0])
    x = images[0][:100]
    raw, saved = network.forward(x, np.random.default_rng(0))
    gradient = np.random.default_rng(1).normal(size=raw.shape).astype(np.float32)
    found = network.backward(saved, gradient.copy())
    grids, values = network.grids(), network.plan.intermediates(x)
    first, second, dense = m.names[0], m.names[1], m.names[-1]

    def steps(name):  # of a value from its zero point: integers, so that sums of products are exact
        return values[name].astype(np.float32) - grids.activations[name].zero_point.item()

    def weight_steps(name, layer):
        return np.clip(np.rint(layer.weight / grids.weights[name].scale), *ends(grids.weights[name])).astype(np.float32)

    def ends(p):
        return p.qmin - p.zero_point, p.qmax - p.zero_point

    of_dense = weight_steps(dense, m.layers[-1]) * grids.weights[dense].scale
    out, p, layer = grids.activations[second], grids.weights[second], m.layers[1]
    input_scale = grids.activations[first].scale.item()
    unit = p.scale.ravel() * input_scale
    sums = layer.multiply(steps(first), weight_steps(second, layer)) + np.rint(layer.bias / unit)
    u = sums * unit
    passes = (u > 0) & (u < 6) & (np.rint(u / out.scale.item()) <= out.qmax - out.zero_point.item())
    g = np.ascontiguousarray((gradient @ of_dense.T).reshape(u.shape) * passes, np.float32)
    _, expected = layer.multiply_gradients(steps(first) * input_scale, layer.weight, g.copy(), False)
    nearest = np.rint(layer.weight / p.scale)
    expected = expected * ((nearest >= ends(p)[0]) & (nearest <= ends(p)[1]))
    for what, value in (("weight", expected), ("bias", g.sum(axis=(0, 1, 2)))):
        assert np.linalg.norm(found[second, what] - value) <= FLOAT32_SUMS * np.linalg.norm(value)


@pytest.mark.parametrize("scheme", ["w8a8", "dynamic", "w8"])
def test_bits_do_not_depend_on_threads(trained, scheme):
    rng, before = np.random.default_rng(0), ql.show_config("dict")["threads"]
    x = rng.random((300, 8, 8, 1), np.float32)
    results = []
    try:
        for threads in (1, 4):
            ql.set_num_threads(threads)
            network = network_of(fuse(trained("residual")).copy(), scheme, x)
            raw, saved = network.forward(x, rng)
            results.append([raw, *network.backward(saved, np.ones_like(raw)).values()])
    finally:
        ql.set_num_threads(before)
    for one, other in zip(*results, strict=True):
        same_bytes(one, other)


# ---- which grids move


def outputs_with_grids(network):
    return {layer for layer, what in network.parameters if what == "output_scale"}


def test_pools_and_shapes_have_the_grid_of_what_they_read(images, trained):
    m = fuse(trained("pools")).copy()
    network = network_of(m, "w4a4", images[0])
    convs = {name for name, layer in zip(m.names, m.layers, strict=True) if isinstance(layer, ql.Conv2D)}
    assert outputs_with_grids(network) == {*convs, "global_average_pool_1"}
    for p in network.parameters.values():
        p += np.float32(0.01)
    grids = network.grids().activations
    for name, read in zip(m.names, m.sources, strict=True):
        if name.startswith(("max_pool", "average_pool")):
            assert grids[name].scale == grids[read[0]].scale


def test_what_is_read_from_the_input_without_a_product_stays(images):
    """Codes of the input have its grid, whatever moves them."""
    x = ql.Input((8, 8, 1))
    y = ql.Conv2D(filters=4, kernel_size=3, name="conv")(ql.MaxPool(2, name="pool")(x))
    m = ql.Model(x, ql.Dense(units=10, name="end")(ql.Flatten(name="flat")(y)))
    network = network_of(fuse(m).copy(), "w8a8", images[0])
    assert outputs_with_grids(network) == {"conv"}


def test_a_frozen_layer_keeps_the_grid_that_it_shares(images, trained):
    m = trained("pools")
    frozen = m.names[0]
    first = network_of(fuse(m).copy(), "w4a4", images[0], frozen=[frozen]).grids().activations
    after = ql.train(m, *images, scheme="w4a4", frozen=[frozen], observe=2000, **QUICK)
    for name in (frozen, "max_pool_1"):
        same_bytes(after.grids.activations[name].scale, first[name].scale)
    same_bytes(after.layers[0].parameters["weight"], m.layers[0].parameters["weight"])
    assert not np.array_equal(after.layers[2].parameters["weight"], m.layers[2].parameters["weight"])


def test_checkpoint_resumes_to_the_same_bits(images, trained, tmp_path):
    m, options = trained("residual"), {"scheme": "w4a4", **QUICK}
    whole = ql.train(m, *images, **options)
    options["checkpoint"] = tmp_path / "training.safetensors"
    with pytest.raises(KeyError, match="stop"):
        ql.train(m, *images, callbacks=[lambda state: {}["stop"]], **options)
    resumed = ql.train(m, *images, **options)
    for one, other in zip(whole.layers, resumed.layers, strict=True):
        for what, array in one.parameters.items():
            same_bytes(array, other.parameters[what])
