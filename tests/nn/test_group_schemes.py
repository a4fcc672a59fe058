"""Schemes with groups and with codebooks on every layer that multiplies: what has groups, what has a scale for each
output or row, and which refuse."""

import pickle

import numpy as np
import pytest
import reference
from models import same_program
from samples import same_bytes

import qlite as ql

GROUPED = ["w4g32", "w4g32a8", "w2g16a8", "w4g32a8-dynamic", "nf4g32", "nf4g32a8-dynamic"]


def sequences(rng):
    """Indices to rows, through attention, images and both kinds of convolution, to a head of matrices."""
    words = ql.Input((12,), dtype="int32", name="words")
    rows = ql.Embedding(rng.normal(size=(30, 40)), name="table")(words)
    rows = ql.MultiHeadAttention(2, name="attention")(rows)
    rows = ql.Dense(rng.normal(size=(40, 36)) / 6, activation="gelu", name="rows")(rows)
    image = ql.Reshape((3, 4, 36))(rows)
    image = ql.Dense(rng.normal(size=(36, 40)) / 6, name="pixels")(image)
    image = ql.Conv2D(rng.normal(size=(2, 2, 40, 9)) / 12, padding="same", name="conv")(image)
    image = ql.Conv2DTranspose(rng.normal(size=(2, 2, 9, 5)) / 6, stride=2, name="up")(image)
    head = ql.Dense(rng.normal(size=(6 * 8 * 5, 3)) / 16, name="head")(ql.Flatten()(image))
    return ql.Model(words, head), rng.integers(0, 30, (20, 12)).astype(np.int32)


def check(quantized, x):
    expected = reference.evaluate(quantized.program, x)
    for value, other in zip(quantized.intermediates(x).values(), expected, strict=True):
        same_bytes(value, other)


@pytest.mark.parametrize("scheme", GROUPED)
def test_groups_in_every_dense_layer_and_a_scale_for_each_output_elsewhere(isa, scheme, rng, tmp_path):
    model, x = sequences(rng)
    quantized = ql.quantize_model(model, scheme, x)
    check(quantized, x)
    found = {name: (q.bits, q.group_size, q.scale.shape) for name, q in quantized.weights.items()}
    bits, group = (2, 16) if scheme.startswith("w2") else (4, 32)
    dense = [name for name in found if name not in ("conv", "up")]
    assert len(dense) == 7  # four of them the attention's
    for name in dense:
        length, outputs = quantized.weights[name].shape
        assert found[name] == (bits, group, (-(-length // group), outputs))
    assert found["conv"] == (bits, None, (1, 1, 1, 9))
    assert found["up"] == (bits, None, (1, 1, 1, 5))
    table = next(step for step in quantized.program.steps if step.kind == "embedding")
    assert (table.weight_bits, table.weight_scale.shape) == (bits, (30,))

    quantized.save(tmp_path / "model.qlite")
    for again in (ql.load(tmp_path / "model.qlite"), pickle.loads(pickle.dumps(quantized))):
        assert same_program(again.program, quantized.program)
    with pytest.raises(ValueError, match=r"^target: expected 'numpy'"):
        quantized.retarget("tflite")
    assert quantized.nbytes < model.nbytes / 4


def network(rng):
    x = ql.Input((6, 6, 5))
    y = ql.Conv2D(rng.normal(size=(3, 3, 5, 8)) / 6, rng.normal(size=8), "relu", name="conv")(x)
    y = ql.DepthwiseConv2D(rng.normal(size=(2, 2, 8, 1)) / 2, name="depthwise")(y)
    y = ql.Conv2DTranspose(rng.normal(size=(3, 3, 8, 4)) / 8, stride=2, name="up")(y)
    y = ql.Dense(rng.normal(size=(7 * 7 * 4, 3)) / 14, name="head")(ql.Flatten()(y))
    return ql.Model(x, y), rng.normal(size=(20, 6, 6, 5)).astype(np.float32)


@pytest.mark.parametrize("scheme", ["nf4", "fp4", "nf3", "fp8_e4m3"])
def test_weights_are_those_of_the_codebook(isa, scheme, rng):
    """What they stand for, in every kind of layer, is what `quantize` makes of them."""
    model, x = network(rng)
    quantized = ql.quantize_model(model, scheme)
    check(quantized, x)
    layers = dict(zip(model.names, model.layers, strict=True))
    assert set(quantized.weights) == set(layers) - {"flatten_1"}
    for name, q in quantized.weights.items():
        weight = layers[name].weight
        assert (q.qparams.grid, q.bits) == (scheme, {"nf3": 3, "fp8_e4m3": 8}.get(scheme, 4))
        same_bytes(q.dequantize(), ql.quantize(weight, grid=scheme, axis=weight.ndim - 1).dequantize())
    assert "nf4" in str(quantized) or scheme != "nf4"


@pytest.mark.parametrize("grid", ["nf4", "fp4", "nf3"])
@pytest.mark.parametrize("target", ["numpy", "tflite", "tflm", "onnx", "c", "tensorrt"])
def test_codebooks_as_integers_on_every_target(isa, grid, target, rng):
    """The entries as int8: the same integers where a target has no codebooks, of which it gets the entries."""
    model, x = network(rng)
    here = ql.quantize_model(model, f"{grid}a8", x)
    there = ql.quantize_model(model, f"{grid}a8", x, target=target)
    layers = dict(zip(model.names, model.layers, strict=True))
    check(there, x)
    assert same_program(here.retarget(target).program, there.program)
    for name, q in there.weights.items():
        assert q.bits == (8 if target != "numpy" else here.weights[name].bits)
        same_bytes(q.dequantize(), here.weights[name].dequantize())
        own = ql.quantize(layers[name].weight, grid=grid, axis=q.ndim - 1)
        # The entries of nf3 and nf4 are up to half a step of 1/127 beside their integers, those of fp4 are such.
        bound = 0.0 if grid == "fp4" else 0.51 / 127
        assert np.abs(q.dequantize() - own.dequantize()).max() <= (bound + 1e-6) * own.scale.max() * 6


def test_codebooks_of_single_layers(isa, rng):
    model, x = network(rng)
    quantized = ql.quantize_model(model, "w8a8", x, per_layer={"head": "nf4g64", "u*": "nf4", "depthwise": "fp4a8"})
    check(quantized, x)
    assert {name: q.bits for name, q in quantized.weights.items()} == {"conv": 8, "depthwise": 4, "up": 4, "head": 4}
    kinds = {layer.name: layer.arithmetic for layer in quantized.summary().layers}
    assert (kinds["conv"], kinds["depthwise"]) == ("integer", "integer")
    assert "float32" in kinds["up"] and "float32" in kinds["head"]
    report = ql.compare(model, quantized, x)
    assert {"conv", "up", "head"} <= {layer.name for layer in report.layers}


def test_biases_too_great_for_the_scales_of_codebooks(isa, rng):
    """Weights near 1e-9 under an ordinary bias get coarser scales, as those on uniform grids do."""
    weight = rng.normal(size=(6, 4)).astype(np.float32)
    weight[:, 1] *= 1e-12
    weight[:, 2] = 0
    model = ql.from_weights([(weight, np.float32([1, 2, 3, 4]))])
    x = rng.normal(size=(50, 6)).astype(np.float32)
    for target in ("numpy", "tflm"):
        quantized = ql.quantize_model(model, "nf4a8", x, target=target)
        check(quantized, x)
        assert np.abs(quantized(x)[:, 1:3] - [2, 3]).max() < 0.1


@pytest.mark.parametrize(
    "scheme, expected",
    [
        ("fp8_e4m3a8", "a codebook of up to 16 entries"),
        ("nf4g32a8", "activations='dynamic' for groups on a codebook"),
        ("nf4g4", "groups of a multiple of 8"),
        ("nf5", r"w<bits>\[g<group>\]\[a<bits>\]"),
    ],
)
def test_codebooks_that_no_model_has(scheme, expected):
    model = ql.from_weights([(np.eye(3), None)])
    with pytest.raises(ValueError, match=rf"^scheme: expected {expected}"):
        ql.quantize_model(model, scheme, np.eye(3))
    with pytest.raises(ValueError, match=rf"^per_layer\['dense_1'\]: scheme: expected {expected}"):
        ql.quantize_model(model, "w8a8", np.eye(3), per_layer={"dense_1": scheme})


def test_training_is_for_uniform_grids():
    model, x, y = ql.from_weights([(np.eye(3), None)]), np.eye(3, dtype=np.float32), np.arange(3)
    with pytest.raises(ValueError, match=r"^scheme: expected weights on a uniform grid in training, got 'nf4'"):
        ql.train(model, x, y, scheme="nf4")
    with pytest.raises(ValueError, match=r"^per_layer\['dense_1'\]: expected weights on a uniform grid in training"):
        ql.train(model, x, y, scheme="w8a8", per_layer={"dense_1": "nf4a8"})
