"""Activations in the products before them: equal to the reference on every instruction set, and taken apart again."""

from dataclasses import replace

import numpy as np
import pytest
import reference
from programs import curve_fields
from samples import codes, same_bytes

import qlite as ql
from qlite.nn.curves import with_curves, without_curves
from qlite.nn.plan import Plan
from qlite.nn.program import Buffer, Program
from qlite.nn.steps import Conv, Gemm, Prelu
from qlite.nn.steps.curves import CURVES

DTYPES = ["int8", "uint8"]


def product_of(rng, kind, dtype, shape, outputs, name, bits=8, **options):
    """A program of one product of codes with a curve, whose results reach over their grid."""
    lowest = -(1 << (bits - 1)) if dtype == "int8" else 0
    x = Buffer("x", "x", shape, dtype, 0.05, int(np.iinfo(dtype).min) + 131)
    channels = shape[-1]
    groups = options.get("groups", 1)
    kernel = (channels, outputs) if kind is Gemm else (3, 3, channels // groups, outputs)
    weight = rng.integers(-127, 128, kernel).astype(np.int8)
    depth = weight.size // outputs
    scale = rng.uniform(0.5, 1.5, outputs).astype(np.float32) / np.float32(70 * depth**0.5)
    bias = rng.integers(-3000, 3000, outputs).astype(np.int32)
    if kind is not Gemm:
        options = {"groups": 1, "stride": (1, 1), "dilation": (1, 1), "padding": (1, 1, 1, 1)} | options
    fields = {"weight": weight, "weight_scale": scale, "weight_zero_point": None, "bias": bias, "activation": None}
    step = kind((0,), 1, **fields, requant="float", **options, **curve_fields(rng, name, outputs))
    result, _ = step.infer(x)
    y = Buffer("y", "y", result, dtype, 8.0 / 2**bits, lowest + (1 << bits) // 3, bits=bits)
    return Program([x, y], [step])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CURVES)
def test_rows(isa, rng, name, dtype):
    for rows, depth, outputs in ((1, 3, 1), (2, 17, 8), (7, 64, 16), (6, 31, 33), (13, 8, 100), (30, 64, 64)):
        made = product_of(rng, Gemm, dtype, (depth,), outputs, name)
        x = codes(rng, (rows, depth), np.dtype(dtype))
        got = Plan(made).run(x)
        same_bytes(got, reference.evaluate(made, x)[1])
        assert rows < 6 or len(np.unique(got)) > 20


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CURVES)
def test_images(isa, rng, name, dtype):
    cases = ((3, 5, {}), (8, 2, {}), (8, 24, {"stride": (2, 1)}), (32, 32, {"groups": 32}), (40, 40, {"groups": 40}))
    for channels, outputs, options in (*cases, (6, 4, {"groups": 2})):
        made = product_of(rng, Conv, dtype, (9, 7, channels), outputs, name, **options)
        x = codes(rng, (2, 9, 7, channels), np.dtype(dtype))
        same_bytes(Plan(made).run(x), reference.evaluate(made, x)[1])


@pytest.mark.parametrize("bits", [1, 2, 4, 7])
@pytest.mark.parametrize("name", CURVES)
def test_few_bits(isa, rng, name, bits):
    for dtype in DTYPES:
        made = product_of(rng, Gemm, dtype, (64,), 32, name, bits)
        x = codes(rng, (12, 64), np.dtype(dtype))
        same_bytes(Plan(made).run(x), reference.evaluate(made, x)[1])


# ---- in models --------------------------------------------------------------------------------------


def network(rng, name):
    x = y = ql.Input((8, 8, 4))
    for layer in (
        ql.Conv2D(rng.normal(0, 0.3, (3, 3, 4, 16)), rng.normal(0, 0.2, 16), padding="same"),
        ql.DepthwiseConv2D(rng.normal(0, 0.4, (3, 3, 16, 1)), rng.normal(0, 0.2, 16), stride=2),
        ql.Dense(rng.normal(0, 0.3, (16, 24)), rng.normal(0, 0.2, 24)),
    ):
        y = layer(y)
        y = ql.PReLU(rng.uniform(-0.1, 0.4, y.shape[-1]))(y) if name == "prelu" else ql.Activation(name, slope=0.2)(y)
    return ql.Model(x, ql.Dense(rng.normal(0, 0.3, (24, 4)))(ql.GlobalAveragePool()(y)))


def data(rng):
    return rng.normal(size=(64, 8, 8, 4)).astype(np.float32)


@pytest.mark.parametrize("name", CURVES)
def test_a_model_has_no_codes_between(rng, name):
    m, x = network(rng, name), data(rng)
    qm = ql.quantize_model(m, "w8a8", x)
    assert [step.kind for step in qm.program.steps] == ["quantize", "conv", "conv", "gemm", "mean", "gemm"]
    same_bytes(qm(x), reference.evaluate(qm.program, x)[qm.program.outputs[0]])
    apart = qm.retarget("numpy")
    assert len(apart.program.steps) == len(qm.program.steps) + 3
    errors = [np.square(q(x) - m(x)).mean() for q in (qm, apart)]
    assert errors[0] < 1.2 * errors[1]  # of hard_sigmoid both are small


@pytest.mark.parametrize("target", ["onnx", "tflite", "tflm", "c", "tensorrt"])
@pytest.mark.parametrize("name", CURVES)
def test_targets_get_the_steps_back(rng, name, target):
    m, x = network(rng, name), data(rng)
    direct = ql.quantize_model(m, "w8a8", x, target=target)
    again = ql.quantize_model(m, "w8a8", x).retarget(target)
    assert str(again.program) == str(direct.program)
    same_bytes(again(x), direct(x))


def test_files_and_reports(rng, tmp_path):
    m, x = network(rng, "prelu"), data(rng)
    qm = ql.quantize_model(m, "w8a8", x)
    qm.save(tmp_path / "m.qlite")
    again = ql.load(tmp_path / "m.qlite")
    same_bytes(again(x), qm(x))
    same_bytes(again.retarget("tflite")(x), qm.retarget("tflite")(x))
    report = ql.compare(m, qm, x)
    assert min(row.sqnr_db for row in report.layers) > 25


def test_what_stays_apart(rng):
    """What others read as well, and what was trained with a scheme."""
    x = ql.Input((6,))
    y = ql.Dense(rng.normal(size=(6, 8)))(x)
    z = ql.PReLU(np.full(8, 0.3))(y)
    m = ql.Model(x, [ql.Dense(rng.normal(size=(8, 2)))(z), ql.Dense(rng.normal(size=(8, 2)))(y)])
    samples = rng.normal(size=(50, 6)).astype(np.float32)
    kinds = [step.kind for step in ql.quantize_model(m, "w8a8", samples).program.steps]
    assert kinds.count("prelu") == 1
    chain = [ql.Dense(rng.normal(size=(6, 8))), ql.PReLU(np.full(8, 0.3)), ql.Dense(rng.normal(size=(8, 2)))]
    for scheme in ("w8a8", "w8a4"):
        assert len(ql.quantize_model(ql.Sequential(chain), scheme, samples).program.steps) == 3
    trained = ql.train(ql.Sequential(chain), samples, rng.integers(0, 2, 50), epochs=1, scheme="w8a8", progress=False)
    assert [step.kind for step in ql.quantize_model(trained).program.steps] == ["quantize", "gemm", "prelu", "gemm"]


def test_apart_and_together_again(rng):
    program = ql.quantize_model(network(rng, "prelu"), "w8a8", data(rng)).program
    apart = without_curves(program)
    assert sum(isinstance(step, Prelu) for step in apart.steps) == 3
    assert str(with_curves(apart)) == str(program)


def test_what_it_refuses(rng):
    made = product_of(rng, Gemm, "int8", (8,), 4, "prelu")
    (step,) = made.steps
    for changes, message in (
        ({"curve": "gelu"}, r"curve: expected one of None, 'prelu'"),
        ({"curve": None}, r"slope: expected None without a curve"),
        ({"curve": "hard_swish"}, r"slope: expected that of 'prelu' alone"),
        ({"slope": None}, r"slope: expected that of 'prelu' alone"),
        ({"slope": np.zeros(3, np.int8)}, r"slope: expected int8 \(4,\), got int8 \(3,\)"),
        ({"slope_scale": None}, r"slope_scale: expected"),
        ({"slope_scale": 0.0}, r"slope_scale: expected normal, positive"),
        ({"inner_name": None}, r"inner_name: expected a name, a scale and a zero point"),
        ({"activation": "relu"}, r"curve: expected None but for 'float'"),
        ({"requant": "fixed"}, r"curve: expected None but for 'float'"),
        ({"slope_scale": 2.0**40}, r"weight_scale: expected input scale \* weight_scale / output scale below 2\*\*30"),
    ):
        with pytest.raises(ValueError, match=message):
            Program(made.buffers, [replace(step, **changes)])
    with pytest.raises(ValueError, match=r"output: expected shape \(4,\) and uint8 or int8, got \(4,\) and float32"):
        Program([made.buffers[0], Buffer("y", "y", (4,), "float32")], [step])
