"""Activations in quantized models: every one by every scheme on every target is the reference, byte for byte, and near
the float model; files, pickles, reports."""

import pickle

import numpy as np
import pytest
from models import SCHEME_TARGETS, TARGETS
from reference import evaluate
from samples import same_bytes

import qlite as ql
from qlite import metrics
from qlite.nn.activation_tables import activation_table
from qlite.nn.program import Buffer
from qlite.nn.steps import Activate, Gemm, Lookup, SoftmaxX8
from qlite.ops.activations import ACTIVATIONS, ELEMENTWISE

#: Of a hidden layer: 8 bits each for its sums, its results and the logits. Softmax of 24 units has values near 1/24,
#: of which a grid of 1/256 has ten.
SQNR_DB = dict.fromkeys(ELEMENTWISE, 25.0) | {"softmax": 10.0}
#: Of outputs that are activations themselves; of one behind a softmax or sigmoid on the grid 1/256.
OUTPUT_SQNR_DB = 25.0


def network(rng, hidden, last=None, task="multiclass", units=5, **options):
    layers = [
        ql.Dense(rng.normal(0, 0.5, (12, 24)), rng.normal(size=24), hidden),
        ql.Dense(rng.normal(0, 0.5, (24, units)), rng.normal(size=units), last),
    ]
    return ql.Sequential(layers, task=task, **options)


def data(rng, *shape):
    return rng.normal(size=(200, *(shape or (12,)))).astype(np.float32)


def quantized(m, scheme, target, x):
    return ql.quantize_model(m, scheme, x if scheme == "w8a8" else None, target=target)


def check(qm, x):
    """The program gives what the reference gives, in every buffer."""
    expected = evaluate(qm.program, x)
    computed = qm.intermediates(x)
    has_budget = {"gemm_f32", "gemm_grouped_f32", "dense_f32"} & {step.kind for step in qm.program.steps}
    for buffer, value in zip(qm.program.buffers, expected, strict=True):
        if buffer.dtype == "float32" and has_budget:
            np.testing.assert_allclose(computed[buffer.name], value, rtol=1e-4, atol=1e-5)  # its own budget
        else:
            same_bytes(computed[buffer.name], value)
    same_bytes(qm(x), computed[qm.program.buffers[qm.program.outputs[0]].name])


@pytest.mark.parametrize("scheme_target", SCHEME_TARGETS, ids="-".join)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_hidden_activations(isa, rng, name, scheme_target):
    if (name, scheme_target[1]) == ("softmax", "tensorrt"):
        pytest.skip("refused: see below")
    m, x = network(rng, name), data(rng)
    qm = quantized(m, *scheme_target, x)
    check(qm, x)
    assert metrics.sqnr_db(m(x), qm(x)) > SQNR_DB[name]


@pytest.mark.parametrize("last", [None, "softmax"])
@pytest.mark.parametrize("scheme", ["w4a4", "w3a8", "w2a2", "ternary", "w4g8a8", "w4g8", "w4", "w8a6"])
@pytest.mark.parametrize("name", ["gelu", "sigmoid", "tanh", "softmax"])
def test_schemes_of_fewer_bits(isa, rng, name, scheme, last):
    m, x = network(rng, name, last), data(rng)
    qm = ql.quantize_model(m, scheme, x, weight_method="mse")
    check(qm, x)
    assert qm.gives_probabilities == (last is not None)
    bits = {b.bits for b in qm.program.buffers if b.layer == f"dense_1_{name}" and b.is_codes}
    width = int(scheme.partition("a")[2] or 8) if "a" in scheme.replace("ternary", "") else 8
    assert bits <= {8 if name == "softmax" else width}


@pytest.mark.parametrize("last", ["softmax", "gelu"])
def test_sums_of_groups_stay_float_at_the_end(isa, rng, last):
    m, x = network(rng, "relu", last, task="multiclass"), data(rng)
    qm = ql.quantize_model(m, "w4g8a8", x, weight_method="mse")
    check(qm, x)
    assert [step.kind for step in qm.program.steps][-2:] == ["gemm_grouped", "activate"]
    assert metrics.sqnr_db(m(x), qm(x)) > 10  # 4 bits


@pytest.mark.parametrize("bits", [4, 2])
def test_a_flatten_hands_the_width_on(isa, rng, bits):
    x = data(rng, 3, 4)
    layers = [ql.Dense(rng.normal(size=(4, 6)), None, "relu"), ql.Flatten(), ql.Dense(rng.normal(size=(18, 3)))]
    qm = ql.quantize_model(ql.Sequential(layers, input_shape=(3, 4)), f"w8a{bits}", x)
    check(qm, x)
    widths = {b.name: b.bits for b in qm.program.buffers}
    assert widths == {"input": 8, "input_codes": 8, "dense_1": bits, "flatten_1": bits, "dense_2": 8}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_activations_at_the_end(isa, rng, name, target):
    m, x = network(rng, "relu", name, task="regression"), data(rng)
    qm = quantized(m, "w8a8", target, x)
    check(qm, x)
    assert metrics.sqnr_db(m(x), qm(x)) > OUTPUT_SQNR_DB
    back = qm.retarget("numpy")
    check(back, x)
    if target != "tensorrt":
        assert str(back.program) == str(quantized(m, "w8a8", "numpy", x).program)
        same_bytes(back(x), quantized(m, "w8a8", "numpy", x)(x))
        same_bytes(back.retarget(target)(x), qm(x))


@pytest.mark.parametrize("target", [t for t in TARGETS if t != "tensorrt"])
def test_softmax_at_the_end(isa, rng, target):
    m, x = network(rng, "tanh", "softmax"), data(rng)
    qm = quantized(m, "w8a8", target, x)
    check(qm, x)
    assert qm.gives_probabilities
    assert np.abs(qm.predict_proba(x) - m.predict_proba(x)).max() < 0.05
    kinds = [type(step) for step in qm.program.steps]
    assert (Activate if target == "numpy" else SoftmaxX8) in kinds
    same_bytes(qm.retarget("numpy")(x), quantized(m, "w8a8", "numpy", x)(x))


def test_softmax_of_codes_needs_zero_points(rng):
    m, x = network(rng, "relu", "softmax"), data(rng)
    with pytest.raises(ValueError, match=r"^target: expected one whose zero points need not be 0"):
        quantized(m, "w8a8", "tensorrt", x)
    logits = ql.Sequential(m.logits_layers)
    assert np.mean(quantized(logits, "w8a8", "tensorrt", x).predict(x) == m.predict(x)) > 0.9


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
@pytest.mark.parametrize(
    ("target", "zero"), [("tflite", {"sigmoid": -128, "tanh": 0}), ("onnx", {"sigmoid": 0, "tanh": 128})]
)
def test_known_ranges_have_the_grids_of_litert(rng, name, target, zero):
    qm = quantized(network(rng, name), "w8a8", target, data(rng))
    buffer = next(b for b in qm.program.buffers if b.layer == f"dense_1_{name}")
    assert (buffer.scale, buffer.zero_point) == ({"sigmoid": 1 / 256, "tanh": 1 / 128}[name], zero[name])


@pytest.mark.parametrize("dtypes", [("uint8", "uint8"), ("int8", "int8")])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_tables_are_those_of_lookup_table(name, dtypes):
    x, y = (
        Buffer("b", "b", (3,), dtype, scale, 7, bits=bits)
        for dtype, scale, bits in zip(dtypes, (0.07, 0.3), (8, 5), strict=True)
    )
    function = name if name != "leaky_relu" else lambda v: np.where(v < 0, 0.25 * v, v)
    grids = (ql.QParams(np.float32([b.scale]), b.zero_point, b.bits, signed=b.dtype == "int8") for b in (x, y))
    same_bytes(activation_table(name, 0.25, x, y), ql.lookup_table(function, *grids))


def test_clamps_are_in_the_product(rng):
    x = data(rng)
    layers = [ql.Dense(rng.normal(size=(12, 24))), ql.Activation("relu6"), ql.Dense(rng.normal(size=(24, 3)))]
    qm = ql.quantize_model(ql.Sequential(layers), data=x)
    gemms = [step.activation for step in qm.program.steps if isinstance(step, Gemm)]
    assert gemms == ["relu6", None]
    assert not any(isinstance(step, (Activate, Lookup)) for step in qm.program.steps)


@pytest.mark.parametrize("scheme_target", SCHEME_TARGETS, ids="-".join)
def test_flatten(isa, rng, scheme_target):
    x = data(rng, 3, 2, 4)
    layers = [ql.Dense(rng.normal(size=(4, 5)), None, "gelu"), ql.Flatten(), ql.Dense(rng.normal(size=(30, 3)))]
    m = ql.Sequential(layers, input_shape=(3, 2, 4))
    qm = quantized(m, *scheme_target, x)
    check(qm, x)
    assert metrics.sqnr_db(m(x), qm(x)) > SQNR_DB["gelu"]


@pytest.mark.parametrize("scheme", ["w8a8", "dynamic", "w8"])
def test_flatten_at_the_front(isa, rng, scheme):
    x = data(rng, 3, 4)
    layers = [ql.Flatten(), ql.Dense(rng.normal(size=(12, 24)), None, "relu"), ql.Dense(rng.normal(size=(24, 3)))]
    m = ql.Sequential(layers, input_shape=(3, 4), mean=np.ones(4))
    qm = quantized(m, scheme, "numpy", x)
    check(qm, x)
    flat = ql.Sequential(m.layers[1:], mean=np.ones(12))
    same_bytes(qm(x), quantized(flat, scheme, "numpy", x.reshape(-1, 12))(x.reshape(-1, 12)))


def test_flatten_at_the_end(isa, rng):
    x = data(rng, 3, 4)
    m = ql.Sequential([ql.Dense(rng.normal(size=(4, 2))), ql.Flatten()], input_shape=(3, 4), task="regression")
    for target in TARGETS:
        check(quantized(m, "w8a8", target, x), x)


@pytest.mark.parametrize("layers", [lambda: [ql.Activation("tanh")], lambda: [ql.Flatten(), ql.Activation("gelu")]])
@pytest.mark.parametrize("scheme", ["w8a8", "dynamic", "w8"])
def test_models_without_products(isa, rng, layers, scheme):
    x = data(rng, 12)
    m = ql.Sequential(layers(), input_shape=(12,), task="regression")
    qm = quantized(m, scheme, "numpy", x)
    check(qm, x)
    assert metrics.sqnr_db(m(x), qm(x)) > OUTPUT_SQNR_DB


def test_a_batch_norm_is_folded(isa, rng):
    x = data(rng)
    batch_norm = ql.BatchNorm(gamma=rng.normal(1, 0.3, 24), mean=rng.normal(size=24), variance=rng.uniform(0.5, 2, 24))
    layers = [ql.Dense(rng.normal(size=(12, 24))), batch_norm, ql.Activation("silu"), ql.Dropout(0.5)]
    m = ql.Sequential([*layers, ql.Dense(rng.normal(size=(24, 4)))])
    qm = ql.quantize_model(m, data=x)
    check(qm, x)
    assert metrics.sqnr_db(m(x), qm(x)) > SQNR_DB["silu"]


@pytest.mark.parametrize("name", ["dense_1", "dense_2"])
def test_layers_with_a_scheme_of_their_own(isa, rng, name):
    m, x = network(rng, "gelu"), data(rng)
    qm = ql.quantize_model(m, data=x, per_layer={name: "w8"})
    check(qm, x)
    assert metrics.sqnr_db(m(x), qm(x)) > SQNR_DB["gelu"]


@pytest.mark.parametrize("target", ["numpy", "tflite", "c"])
@pytest.mark.parametrize("last", ["softmax", None])
def test_files_and_pickles(rng, target, last, tmp_path):
    m, x = network(rng, "leaky_relu", last), data(rng)
    qm = quantized(m, "w8a8", target, x)
    qm.save(tmp_path / "m.qlite")
    for again in (ql.load(tmp_path / "m.qlite"), pickle.loads(pickle.dumps(qm))):
        same_bytes(again(x), qm(x))
        assert str(again) == str(qm)
        same_bytes(again.retarget("onnx")(x), qm.retarget("onnx")(x))


def test_reports_have_a_row_for_every_layer(rng):
    m, x = network(rng, "gelu", "softmax"), data(rng)
    for scheme in ("w8a8", "dynamic", "w8"):
        report = ql.compare(m, quantized(m, scheme, "numpy", x), x)
        assert [layer.name for layer in report.layers] == ["dense_1", "dense_1_gelu", "dense_2", "dense_2_softmax"]
        assert report.sqnr_db > OUTPUT_SQNR_DB
        assert report.agreement > 0.9


def test_tables_of_unknown_functions(rng):
    """A table that came with a file keeps its entries: it moves with the sign, and gives codes on all targets."""
    x = data(rng)
    qm = quantized(network(rng, "sigmoid", "tanh", task="regression"), "w8a8", "c", x)
    buffers, steps, inputs, outputs = qm.__reduce__()[1][0]
    nameless = [(kind, fields | {"function": None} if kind == "lookup" else fields) for kind, fields in steps]
    unknown = ql.QModel._of_parts((buffers, nameless, inputs, outputs), qm.__reduce__()[1][1])
    same_bytes(unknown(x), qm(x))
    same_bytes(unknown.retarget("onnx")(x), qm.retarget("onnx")(x))
    kinds = [step.kind for step in unknown.retarget("numpy").program.steps]
    assert kinds[-2:] == ["lookup", "dequantize"]
    with pytest.raises(ValueError, match=r"^target: expected one that keeps scales"):
        unknown.retarget("tensorrt")


# ---- probabilities ----------------------------------------------------------------------------------


def test_a_last_softmax_is_not_applied_twice(rng):
    plain, x = network(rng, "relu"), data(rng)
    y = rng.integers(0, 5, len(x))
    for m in (
        ql.Sequential([*plain.layers, ql.Softmax()]),
        ql.Sequential([plain.layers[0], ql.Dense(plain.layers[1].weight, plain.layers[1].bias, "softmax")]),
    ):
        np.testing.assert_allclose(m.predict_proba(x), plain.predict_proba(x), rtol=1e-5, atol=1e-12)
        assert np.array_equal(m.predict(x), plain.predict(x))
        entropy = [model.evaluate(x, y, metrics="cross_entropy")["cross_entropy"] for model in (m, plain)]
        assert entropy[0] == pytest.approx(entropy[1], rel=1e-5)
        logits = ql.Sequential(m.logits_layers)
        same_bytes(logits(x), plain(x))
        assert m.logits_layers[-1].weight is plain.layers[1].weight
    assert plain.logits_layers == plain.layers


def test_a_last_sigmoid_of_two_classes(rng):
    plain, x = network(rng, "relu", task="binary", units=1), data(rng)
    m = ql.Sequential([*plain.layers, ql.Activation("sigmoid")], task="binary")
    np.testing.assert_allclose(m.predict_proba(x), plain.predict_proba(x), rtol=1e-5, atol=1e-7)
    assert np.array_equal(m.predict(x), plain.predict(x))
    same_bytes(ql.Sequential(m.logits_layers, task="binary")(x), plain(x))
    for scheme, target in SCHEME_TARGETS:
        qm = quantized(m, scheme, target, x)
        assert qm.gives_probabilities
        assert np.mean(qm.predict(x) == m.predict(x)) > 0.9


def test_a_sigmoid_of_several_units_gives_no_probabilities(rng):
    m = network(rng, "relu", "sigmoid")
    assert not m.gives_probabilities
    assert m.logits_layers is m.layers


def test_repr_names_every_step(rng):
    text = repr(quantized(network(rng, "gelu"), "w8a8", "numpy", data(rng)))
    assert "lookup: dense_1 uint8 -> dense_1_gelu uint8[24]" in text


@pytest.mark.parametrize("target", ["numpy", "tflite", "onnx"])
def test_an_activation_of_the_input_is_a_table(rng, target):
    m = ql.Sequential([ql.Activation("sigmoid"), ql.Dense(rng.normal(size=(4, 3)))], input_shape=(4,))
    x = rng.normal(size=(50, 4))
    quantized = ql.quantize_model(m, "w8a8", x, target=target)
    assert [step.kind for step in quantized.program.steps[:3]] == ["quantize", "lookup", "gemm"]
    assert np.abs(quantized(x) - m(x)).max() < 0.05
