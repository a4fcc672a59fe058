"""Activations of 16 bits, as two digits of 8: steps, layers and models, what they gain and cost, what they refuse."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import reference
from models import same_program
from random_networks import random_network
from samples import same_bytes

import qlite as ql
from qlite.nn.plan import Plan
from qlite.nn.program import Buffer, Program
from qlite.nn.steps import Gemm, JoinDigits, QuantizeDigits
from qlite.nn.steps.digits import GREATEST_CODE

F32 = np.float32


def check(quantized, x):
    expected = reference.evaluate(quantized.program, x)
    for value, other in zip(quantized.intermediates(x).values(), expected, strict=True):
        same_bytes(value, other)


def decibels(exact, other):
    return 10 * np.log10(np.sum(np.float64(exact) ** 2) / np.sum((np.float64(exact) - other) ** 2))


def program(rng, k=37, n=11, activation=None, scale=1e-3):
    """Digits, their products and the sum of these."""
    weight = rng.integers(-128, 128, (k, n)).astype(np.int8)
    zero_point = rng.integers(-128, 128, n).astype(np.int32)
    scales, bias = rng.uniform(1e-3, 1e-2, n).astype(F32), rng.normal(size=n).astype(F32)
    buffers = [
        Buffer("x", "", (k,), "float32"),
        Buffer("digits", "dense", (2, k), "uint8", scale, 128),
        Buffer("sums", "dense", (2, n), "int32"),
        Buffer("y", "dense", (n,), "float32"),
    ]
    steps = [
        QuantizeDigits((0,), 1),
        Gemm((1,), 2, weight, scales, zero_point, None, None, "float"),
        JoinDigits((2,), 3, scale, scales, bias, activation),
    ]
    return Program(buffers, steps, (0,), (3,))


@pytest.mark.parametrize("activation", [None, "relu", "relu6"])
def test_the_product_is_that_of_16_bit_codes(isa, activation, rng):
    """Of any codes, ties and values beyond the grid among them: what int64 makes of the codes at once."""
    made = program(rng, activation=activation, scale=2.0**-10)
    x = rng.normal(0, 12, (50, 37)).astype(F32)
    x[0], x[1], x[2] = 1e9, -1e9, 0
    x[3:20] = (rng.integers(-32639, 32639, (17, 37)) + 0.5) * F32(2.0**-10)  # halves, which go to the even code
    values = dict(zip([b.name for b in made.buffers], reference.evaluate(made, x), strict=True))
    for name, value in Plan(made).intermediates(x).items():
        same_bytes(value, values[name])
    codes = np.clip(np.rint(x / F32(2.0**-10)), -GREATEST_CODE, GREATEST_CODE).astype(np.int64)
    assert (codes.min(), codes.max()) == (-GREATEST_CODE, GREATEST_CODE)
    high, low = np.moveaxis(values["digits"].astype(np.int64) - 128, 1, 0)
    assert (256 * high + low == codes).all() and (low.min(), low.max()) == (-128, 127)
    _, product, end = made.steps
    sums = codes @ (product.weight.astype(np.int64) - product.weight_zero_point)
    y = sums * (2.0**-10 * end.weight_scale.astype(np.float64)) + end.bias
    low, high = {None: (-np.inf, np.inf), "relu": (0, np.inf), "relu6": (0, 6)}[activation]
    same_bytes(values["y"], np.clip(y.astype(F32), F32(low), F32(high)))


def test_values_that_are_not_finite(isa, rng):
    plan = Plan(program(rng))
    for value in (np.nan, np.inf, -np.inf):
        x = np.zeros((3, 37), F32)
        x[2, 36] = value
        with pytest.raises(ValueError, match=r"x: expected finite values"):
            plan.intermediates(x)


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"input_scale": 0.0}, "input_scale: expected a normal"),
        ({"weight_scale": np.ones(3, F32)}, "weight_scale: expected"),
        ({"bias": np.full(11, np.nan, F32)}, "bias: expected"),
        ({"activation": "tanh"}, "activation: expected"),
    ],
)
def test_fields_that_do_not_fit(changes, expected, rng):
    made = program(rng)
    with pytest.raises(ValueError, match=expected):
        Program(made.buffers, [*made.steps[:2], replace(made.steps[2], **changes)], (0,), (3,))


@pytest.mark.parametrize("changes", [{"zero_point": 0}, {"bits": 7, "zero_point": 64}, {"shape": (3, 37)}])
def test_buffers_that_hold_no_digits(changes, rng):
    made = program(rng)
    buffers = [made.buffers[0], replace(made.buffers[1], **changes), *made.buffers[2:]]
    with pytest.raises(ValueError, match=r"quantize_digits"):
        Program(buffers, made.steps, (0,), (3,))


# ---- models -----------------------------------------------------------------------------------------


def images(rng):
    x = ql.Input((6, 6, 5))
    y = ql.Conv2D(rng.normal(size=(3, 3, 5, 8)) / 6, rng.normal(size=8), "relu", padding="same", stride=2, name="conv")(
        x
    )
    y = ql.DepthwiseConv2D(rng.normal(size=(2, 2, 8, 1)) / 2, activation="gelu", padding="same", name="depthwise")(y)
    y = ql.Conv2DTranspose(rng.normal(size=(3, 3, 8, 4)) / 8, rng.normal(size=4), stride=2, name="up")(y)
    y = ql.Dense(rng.normal(size=(4, 6)), rng.normal(size=6), name="pixels")(y)
    return ql.Model(x, ql.Dense(rng.normal(size=(7 * 7 * 6, 3)) / 17, name="head")(ql.Flatten()(y)))


def rows(rng):
    x = ql.Input((9, 6))
    y = ql.Conv1D(rng.normal(size=(3, 6, 8)) / 4, rng.normal(size=8), "relu6", padding="same", stride=2, name="conv")(x)
    y = ql.MultiHeadAttention(2, name="attention")(y)
    return ql.Model(x, ql.Dense(rng.normal(size=(8, 3)), name="head")(y))


@pytest.mark.parametrize("network", [images, rows])
@pytest.mark.parametrize("scheme", ["w8a16", "w5a16", "fp4a16"])
def test_whole_models(isa, network, scheme, rng, tmp_path):
    model = network(rng)
    x = rng.normal(size=(40, *model.input_shape)).astype(F32)
    quantized = ql.quantize_model(model, scheme, x)
    assert quantized.scheme == scheme
    check(quantized, x)
    check(quantized, 3 * x)
    weights_alone = ql.quantize_model(model, scheme.removesuffix("a16"))
    if scheme == "w8a16":  # rounding activations to 16 bits costs next to nothing
        assert decibels(model(x), quantized(x)) > decibels(model(x), weights_alone(x)) - 0.1
    assert quantized.weights.keys() == weights_alone.weights.keys()
    quantized.save(tmp_path / "model.qlite")
    for again in (ql.load(tmp_path / "model.qlite"), pickle.loads(pickle.dumps(quantized))):
        assert same_program(again.program, quantized.program)
        same_bytes(again(x), quantized(x))
    with pytest.raises(ValueError, match=r"^target: expected 'numpy' for layer '\w+' of scheme '\w+a16'"):
        quantized.retarget("tflite")
    with pytest.raises(ValueError, match=r"^target: expected 'numpy' for layer '\w+' of scheme '\w+a16'"):
        ql.quantize_model(model, scheme, x, target="tflm")


def test_single_layers_and_their_cost(isa, rng):
    """Two products instead of one, which the summary counts, and no fewer decibels than with 8 bits."""
    model = images(rng)
    x = rng.normal(size=(40, 6, 6, 5)).astype(F32)
    plain = ql.quantize_model(model, "w8a8", x, method="minmax")
    mixed = ql.quantize_model(model, "w8a8", x, method="minmax", per_layer={"pix*": "w8a16", "head": "w8a16"})
    check(mixed, x)
    macs = {layer.name: layer.macs for layer in plain.summary().layers}
    for layer in mixed.summary().layers:
        assert layer.macs == macs[layer.name] * (2 if layer.name in ("pixels", "head") else 1)
        assert (layer.arithmetic == "float32") == (layer.name == "flatten_1")
    report = ql.compare(model, mixed, x)
    own = {layer.name: layer for layer in report.layers}
    before = {layer.name: layer for layer in ql.compare(model, plain, x).layers}
    for name in ("pixels", "head"):
        assert own[name].rounding_error < before[name].rounding_error / 1000
        assert own[name].own_sqnr_db > before[name].own_sqnr_db
    between = {buffer.name: buffer.dtype for buffer in mixed.program.buffers if buffer.layer == "flatten_1"}
    assert between == {"flatten_1": "float32"}  # no codes of 8 bits between two that have 16
    assert decibels(model(x), mixed(x)) > decibels(model(x), plain(x))


def test_layers_that_read_the_same_share_its_digits(isa, rng):
    x = ql.Input((7,))
    branches = [ql.Dense(rng.normal(size=(7, 4)))(x) for _ in range(2)]
    data = rng.normal(size=(30, 7)).astype(F32)
    quantized = ql.quantize_model(ql.Model(x, ql.Add()(*branches)), "w8a16", data)
    check(quantized, data)
    assert [step.kind for step in quantized.program.steps].count("quantize_digits") == 1


@pytest.mark.parametrize("seed", range(12))
def test_random_graphs_with_some_layers_of_16_bits(seed):
    model, x = random_network(np.random.default_rng(seed))
    names = list(ql.quantize_model(model, "w8").weights)
    per_layer = {name: "w8a16" for i, name in enumerate(names) if i == 0 or (i + seed) % 2 == 0}
    quantized = ql.quantize_model(model, "w8a8", x, per_layer=per_layer)
    assert "join_digits" in {step.kind for step in quantized.program.steps}
    expected = reference.evaluate(quantized.program, *(x if isinstance(x, tuple) else (x,)))
    for value, other in zip(quantized.intermediates(x).values(), expected, strict=True):
        same_bytes(value, other)


def test_pixels_become_digits(isa, rng):
    pixels = rng.integers(0, 256, (50, 12), dtype=np.uint8)
    model = ql.from_weights([(rng.normal(size=(12, 3)) / 256, None)])
    quantized = ql.quantize_model(model, "w8a16", pixels, input_dtype="uint8")
    same_bytes(quantized(pixels), ql.quantize_model(model, "w8a16", pixels.astype(F32))(pixels.astype(F32)))


def test_no_value_of_the_calibration_is_clipped(rng):
    model = ql.from_weights([(rng.normal(size=(6, 4)), None)])
    x = rng.normal(size=(200, 6)).astype(F32)
    digits = ql.quantize_model(model, "w8a16", x, method="minmax").intermediates(x)["dense_1_digits"]
    codes = 256 * (digits[:, 0].astype(int) - 128) + digits[:, 1] - 128
    assert 0.98 * GREATEST_CODE < np.abs(codes).max() < GREATEST_CODE


def test_what_has_no_16_bits(rng):
    model, x, y = ql.from_weights([(np.eye(3), None)]), np.eye(3, dtype=F32), np.arange(3)
    with pytest.raises(ValueError, match=r"^scheme: expected activations of up to 8 bits in training, got 'w8a16'"):
        ql.train(model, x, y, scheme="w8a16")
    deep = ql.Input((2, 2, 2, 3))
    model = ql.Model(deep, ql.Dense(np.eye(3), name="last")(deep))
    with pytest.raises(ValueError, match=r"^layer 'last': expected samples of up to 3 axes for activations of 16 bits"):
        ql.quantize_model(model, "w8a16", rng.normal(size=(4, 2, 2, 2, 3)))
    with pytest.raises(ValueError, match=r"^data: expected samples to calibrate"):
        ql.quantize_model(model, "w8a16")
