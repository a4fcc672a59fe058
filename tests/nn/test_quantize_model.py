"""Quantized models: they compute what the reference computes, on every target, and are as good as they should be."""

import copy
import hashlib
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import reference
from models import (
    SCHEME_TARGETS,
    TARGETS,
    digits,
    digits_network,
    integer_network,
    mnist,
    mnist_network,
    same_program,
    small_network,
)
from samples import LAYOUTS, same_bytes

import qlite as ql
from qlite import _core
from qlite.nn.lower import Builder
from qlite.nn.program import Buffer, Program
from qlite.nn.scheme import Scheme
from qlite.nn.steps import Add, Dequantize, Gemm, Quantize

SCHEMES = list(dict.fromkeys(scheme for scheme, _ in SCHEME_TARGETS))
SEEDS = range(5)
MAX_DROP = 0.005  # of accuracy: two of the 450 held-out digits
MIN_AGREEMENT = 0.99
# Min-max 8 bits with float32 logits reach 42 to 47 dB on these networks; a wrong scale, zero point or bias costs 10.
MIN_SQNR_DB = {"w8a8": 40.0, "dynamic": 40.0, "w8": 42.0}
# With the logits in codes too, on a grid that their largest value sets, some decibels less.
MIN_INTEGER_SQNR_DB = 36.0
# A network of random weights, whose units are not as alike as trained ones: 35 to 45 dB.
MIN_MIXED_SQNR_DB = 30.0
MAX_FILE_SHARE, FILE_OVERHEAD = 0.28, 4096  # of the float32 weights' bytes; bytes


def sqnr_db(exact, approximate):
    exact = exact.astype(np.float64)
    return 10 * np.log10(np.sum(exact**2) / np.sum((exact - approximate) ** 2))


def check(quantized, x):
    """Every buffer of a model equals the reference's."""
    expected = reference.evaluate(quantized.program, x)
    got = quantized.intermediates(x)
    assert list(got) == [buffer.name for buffer in quantized.program.buffers]
    for value, reference_value in zip(got.values(), expected, strict=True):
        same_bytes(value, reference_value)
    same_bytes(quantized(x), expected[quantized.program.outputs[0]])


# ---- the numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme, target", SCHEME_TARGETS)
def test_a_small_network_equals_the_reference(isa, scheme, target):
    network, x = small_network()
    quantized = ql.quantize_model(network, scheme, x if scheme == "w8a8" else None, target=target)
    check(quantized, x)
    check(quantized, 3 * x)  # clipped


@pytest.mark.parametrize("scheme, target", SCHEME_TARGETS)
def test_the_digits_equal_the_reference(scheme, target):
    check(integer_network(scheme, target), digits().x_held[:100])


@pytest.mark.parametrize(
    "options", [{"output_dtype": "integer"}, {"requant": "fixed"}, {"output_dtype": "integer", "requant": "fixed"}]
)
def test_conventions_one_by_one(options):
    network, x = small_network()
    quantized = ql.quantize_model(network, data=x, **options)
    check(quantized, x)
    assert isinstance(quantized.program.steps[-1], Dequantize) == ("output_dtype" in options)
    assert all((s.requant == "fixed") == ("requant" in options) for s in quantized.program.steps if isinstance(s, Gemm))
    assert same_program(quantized.program, ql.quantize_model(network, data=x).retarget("numpy", **options).program)


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse", "entropy"])
def test_methods_choose_the_grids(method):
    network, x = small_network()
    quantized = ql.quantize_model(network, data=x, method=method, weight_method=method)
    check(quantized, x)
    values = network.intermediates(x)
    for buffer in quantized.program.buffers[1:]:
        expected = ql.Calibrator().update(values[buffer.layer]).qparams(method)
        assert (np.float32(buffer.scale), buffer.zero_point) == (expected.scale.item(), expected.zero_point.item())
    for layer, q in zip(network.layers, quantized.weights.values(), strict=True):
        expected = ql.quantize(layer.weight, axis=1, method=method)
        same_bytes(q.codes, expected.codes)
        same_bytes(q.scale, expected.scale)


def test_the_static_program():
    """Weights in [-127, 127] per output, bias in int32 at the scale of the sums, activations uint8, logits float32."""
    network, x = small_network()
    program = ql.quantize_model(network, data=x).program
    assert [b.dtype for b in program.buffers] == ["float32", "uint8", "uint8", "float32"]
    for step, layer in zip(program.steps[1:], network.layers, strict=True):
        assert step.weight.dtype == np.int8 and step.weight.min() >= -127
        assert step.weight_zero_point is None
        same_bytes(step.weight_scale, (np.abs(layer.weight).max(axis=0) / np.float32(127)).astype(np.float32))
        scale = np.float64(program.buffers[step.inputs[0]].scale) * step.weight_scale
        same_bytes(step.bias, np.rint(layer.bias / scale).astype(np.int32))


def test_case_o_intermediates_of_codes_are_those_of_their_floats():
    network, x = small_network()
    quantized = ql.quantize_model(network, data=x)
    codes = ql.quantize(x, quantized.input_qparams)
    of_codes, of_floats = quantized.intermediates(codes), quantized.intermediates(x)
    assert [name for name in of_floats if of_codes[name].tobytes() != of_floats[name].tobytes()] == ["input"]


@pytest.mark.parametrize("scheme", ["w8a8", "dynamic", "w8"])
def test_case_o_raw_bytes_get_a_hint(scheme):
    network, x = small_network()
    quantized = ql.quantize_model(network, scheme, x if scheme == "w8a8" else None)
    with pytest.raises(TypeError, match=r"^x: expected a real floating dtype, got uint8 \(QArray\(x, model.input_qpar"):
        quantized(np.zeros((2, 6), np.uint8))
    with pytest.raises(
        TypeError, match=r"^x: expected a real floating dtype, got int64 \(\.astype\(np\.float32\) makes floats\)$"
    ):
        quantized(np.zeros((2, 6), np.int64))


def test_many_calibration_samples_count_as_one_batch(rng):
    network, x = small_network()
    many = np.concatenate([x, rng.normal(size=(10_000, 6)).astype(np.float32)])
    quantized = ql.quantize_model(network, data=many, method="mse")
    expected = ql.Calibrator().update(many).qparams("mse")
    assert np.float32(quantized.program.buffers[1].scale) == expected.scale.item()


@pytest.mark.parametrize("scheme, target", SCHEME_TARGETS)
def test_codes_are_taken_as_they_are(isa, scheme, target):
    network, x = small_network()
    quantized = ql.quantize_model(network, scheme, x if scheme == "w8a8" else None, target=target)
    grid = quantized.input_qparams
    assert (grid is None) == (scheme != "w8a8" or network.mean is not None)
    other = ql.quantize(x, 8)
    for call in (quantized, quantized.predict, quantized.intermediates):
        with pytest.raises(ValueError, match=r"^x: expected .*floats, which x\.dequantize\(\) makes, got QArray"):
            call(other)
    if grid is not None:
        codes = ql.quantize(x, grid)
        same_bytes(quantized(codes), quantized(x))
        same_bytes(quantized(ql.QArray(codes.codes, pickle.loads(pickle.dumps(grid)))), quantized(x))
        same_bytes(quantized.predict(codes), quantized.predict(x))
        with pytest.raises(ValueError, match=r"^x: expected shape"):
            quantized(codes[:, :1])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_any_number_of_threads_gives_the_same_bits(scheme):
    rng = np.random.default_rng(0)
    network = ql.from_weights([(rng.normal(size=(300, 200)), None), (rng.normal(size=(200, 7)), None)], "relu")
    x = rng.normal(size=(1000, 300)).astype(np.float32)
    quantized = ql.quantize_model(network, scheme, x if scheme == "w8a8" else None)
    bad = x.copy()
    bad[-1, -1] = np.nan
    results = []
    try:
        for threads in (1, 2, 3, 20):
            ql.set_num_threads(threads)
            results.append((quantized(x), quantized(x[:97])))
            with pytest.raises(ValueError, match=r"^x: expected finite values"):
                quantized(bad)
    finally:
        ql.set_num_threads(None)
    for whole, part in results:
        same_bytes(whole, results[0][0])
        same_bytes(part, results[0][0][:97])


@pytest.mark.parametrize("scheme", ["w8a8", "dynamic", "w8"])
def test_an_output_without_weights_is_its_bias(scheme):
    """A pruned unit has no scale of its own to keep its bias on."""
    network, x = small_network()
    first, last = network.layers
    weight, bias = last.weight.copy(), np.float32([0.3, -2, 1e-3, 70])
    weight[:, :3] = 0
    pruned = ql.Sequential([ql.Dense(first.weight, first.bias, "relu"), ql.Dense(weight, bias)])
    for factor in (1, 1000):
        quantized = ql.quantize_model(pruned, scheme, factor * x if scheme == "w8a8" else None)
        np.testing.assert_allclose(quantized(factor * x)[:, :3], np.tile(bias[:3], (len(x), 1)), rtol=1e-3)


@pytest.mark.filterwarnings("ignore:data. .input. is 0 throughout:UserWarning")
@pytest.mark.parametrize("target", ["numpy", "tflm", "tensorrt"])
def test_case_a_inputs_that_were_all_zeros_leave_the_bias(rng, target):
    """Units that training gave up, and inputs that were zeros, have no range to keep the next bias on."""
    bias = np.float32([0.0015, -1, 0, 2])
    given_up = ql.Dense(rng.normal(size=(8, 16)), np.full(16, -1000.0), "relu")
    layers = [given_up, given_up, ql.Dense(30 * rng.normal(size=(16, 4)), bias)]
    x = rng.normal(size=(50, 8)).astype(np.float32)
    cases = [(layers[1:], x), ([given_up, ql.Dense(np.ones((16, 8)), None, "relu"), *layers[1:]], x)]
    cases.append(([ql.Dense(rng.normal(size=(8, 4)), bias)], 0 * x))
    for parts, samples in cases:
        quantized = ql.quantize_model(ql.Sequential(parts), data=samples, target=target, output_dtype="float32")
        np.testing.assert_allclose(quantized(samples), np.tile(bias, (50, 1)), rtol=1e-3)


def test_codes_of_every_shape_of_network(rng):
    for widths in ([1, 1], [3, 1, 2], [70, 33, 17, 5, 2], [300, 20]):
        layers = [(rng.normal(size=w), rng.normal(size=w[1])) for w in pairwise(widths)]
        network = ql.from_weights(layers, task="regression")
        x = rng.normal(size=(40, widths[0])).astype(np.float32)
        for scheme in ("w8a8", "dynamic", "w8"):
            check(ql.quantize_model(network, scheme, x if scheme == "w8a8" else None), x)


# ---- when weights are packed ------------------------------------------------------------------------


@pytest.fixture
def packed(monkeypatch):
    """The kinds of the steps with weights that have been packed, one after the other."""
    seen = []

    class Plan(_core.Plan):
        def add(self, kind, fields):
            seen.extend([kind] if "weight" in fields else [])
            super().add(kind, fields)

        def update(self, step, fields):
            seen.append("update")
            super().update(step, fields)

    monkeypatch.setattr("qlite.nn.plan._core", SimpleNamespace(Plan=Plan))
    return seen


@pytest.mark.parametrize("scheme, target", SCHEME_TARGETS)
def test_weights_are_packed_once_at_the_first_run(packed, tmp_path, scheme, target):
    network, x = small_network()
    built = ql.quantize_model(network, scheme, x if scheme == "w8a8" else None, target=target)
    built.save(tmp_path / "model.qlite")
    loaded = ql.load(tmp_path / "model.qlite")
    packed.clear()  # those of the programs that were compared
    copies = [built, built.retarget(target), loaded, pickle.loads(pickle.dumps(built)), copy.deepcopy(built)]
    assert packed == []
    for model in copies:
        expected = model(x)
        assert len(packed) == len(network.layers)
        model.predict(x), model.intermediates(x), ql.compare(network, model, x)
        if scheme == "w8a8":
            same_bytes(model(ql.quantize(x, model.input_qparams)), expected)
        assert len(packed) == len(network.layers)
        packed.clear()


def test_codes_alone_pack_once_too(packed):
    network, x = small_network()
    model = ql.quantize_model(network, data=x)
    packed.clear()  # those of the programs that were compared
    for _ in range(2):
        model(ql.quantize(x, model.input_qparams))
        assert packed == ["gemm", "gemm"]


def test_threads_that_begin_together_pack_once(packed):
    network, x = small_network()
    for _ in range(20):
        model = ql.quantize_model(network, "dynamic")
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(model, [x] * 4))
        assert packed == ["gemm", "gemm"]
        packed.clear()


# ---- layers of their own scheme ---------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("own", SCHEMES)
@pytest.mark.parametrize("name", ["dense_1", "dense_2", "dense_3"])
def test_layers_with_a_scheme_of_their_own(rng, scheme, own, name):
    layers = [(rng.normal(size=(a, b)), rng.normal(size=b)) for a, b in pairwise([6, 9, 7, 4])]
    network, x = ql.from_weights(layers), rng.normal(size=(60, 6)).astype(np.float32)
    mixed = ql.quantize_model(network, scheme, x, per_layer={name: own})
    check(mixed, x)
    assert sqnr_db(network(x), mixed(x)) > MIN_MIXED_SQNR_DB
    plain = ql.quantize_model(network, scheme, x)
    assert same_program(mixed.program, plain.program) == (own == scheme)
    gemms = {mixed.program.buffers[s.output].layer: s.kind for s in mixed.program.steps if hasattr(s, "weight")}
    assert gemms[name] == ("gemm_f32" if own == "w8" else "gemm")


def test_an_output_that_a_layer_of_floats_reads(rng):
    x = ql.Input((4,))
    h = ql.Dense(units=6, activation="relu", name="h")(x)
    model = ql.Model(x, [h, ql.Dense(units=3, name="end")(ql.Concatenate()(h, ql.Dense(units=2, name="side")(h)))])
    data = rng.normal(size=(200, 4)).astype(np.float32)
    qm = ql.quantize_model(model, "w8a8", data, per_layer={"side": None})
    for value, other in zip(qm.intermediates(data).values(), reference.evaluate(qm.program, data), strict=True):
        same_bytes(value, other)
    assert [b.name for b in qm.program.buffers].count("h_values") == 1
    for found, expected in zip(qm(data), model(data), strict=True):
        assert ql.metrics.sqnr_db(expected, found) > 30


def test_shapes_are_those_of_the_float_model(rng):
    x, y = ql.Input((4, 6, 3), name="x"), ql.Input((3,), name="y")
    pooled = ql.GlobalAveragePool()(x)
    one = ql.Model(x, ql.Dense(units=2)(pooled))
    two = ql.Model([x, y], [pooled, ql.Dense(units=2, name="end")(ql.Add()(pooled, y))])
    data = rng.normal(size=(20, 4, 6, 3)), rng.normal(size=(20, 3))
    for target in ("numpy", "tflite"):
        quantized = ql.quantize_model(one, data=data[0], target=target)
        assert quantized.input_shape == one.input_shape == (4, 6, 3)
        assert quantized.output_shape == one.output_shape == (2,)
        quantized = ql.quantize_model(two, data=data, target=target)
        assert quantized.inputs == two.inputs
        with pytest.raises(ValueError, match=r"^model: expected one with one input, got 'x', 'y'"):
            quantized.input_shape  # noqa: B018
        with pytest.raises(ValueError, match=r"^model: expected one with one output, got "):
            quantized.output_shape  # noqa: B018


def test_schemes_for_layers_that_there_are_not():
    network, x = small_network()
    for error, message, per_layer, options in [
        (TypeError, "^per_layer: expected a dict", ["dense_1"], {}),
        (ValueError, "^per_layer: .*'dense_1', 'dense_2', got 'dense_9'", {"dense_9": "w8"}, {}),
        (ValueError, r"^per_layer\['dense_1'\]: scheme: ", {"dense_1": "w9"}, {}),
        (ValueError, r"^per_layer\['dense_1'\]: scheme: ", {"dense_1": "int8"}, {}),
        (TypeError, r"^per_layer\['dense_1'\]: scheme: ", {"dense_1": 8}, {}),
        (
            ValueError,
            "^target: expected 'numpy' for layer 'dense_1' of scheme 'float32'",
            {"dense_1": None},
            {"target": "tflite"},
        ),
        (ValueError, "^output_dtype: .*'dense_2', which gives float32", {"dense_2": "w8"}, {"output_dtype": "integer"}),
        (ValueError, "^requant: expected None for 'w8'", dict.fromkeys(network.names, "w8"), {"requant": "fixed"}),
        (
            ValueError,
            "^target: expected 'numpy' for layer 'dense_1' of scheme 'w8'",
            {"dense_1": "w8"},
            {"target": "tflite"},
        ),
        (ValueError, "^data: .*'dense_1'", {"dense_1": "w8a8"}, {"scheme": "w8", "data": None}),
    ]:
        with pytest.raises(error, match=message):
            ql.quantize_model(network, per_layer=per_layer, **{"data": x} | options)


def test_a_model_has_outputs_of_floats():
    x, y, z = (Buffer(name, name, (3,), "float32") for name in "xyz")
    codes = Buffer("codes", "codes", (3,), "uint8", 0.1, 0)
    names = {"scheme": "w8", "target": "numpy", "task": "regression"}
    ql.QModel(Program([x, y], [Add((0, 0), 1)]), **names)
    for message, program, options in [
        ("^task: ", Program([x, y, z], [Add((0, 0), 1), Add((1, 1), 2)], (0,), (1, 2)), {"task": "multiclass"}),
        ("^program: expected outputs of float32, got 'codes' of uint8", Program([x, codes], [Quantize((0,), 1)]), {}),
        ("^scheme: ", Program([x, y], [Add((0, 0), 1)]), {"scheme": "w9"}),
        ("^target: ", Program([x, y], [Add((0, 0), 1)]), {"target": "torch"}),
    ]:
        with pytest.raises(ValueError, match=message):
            ql.QModel(program, **names | options)


def test_retargeting_keeps_the_output():
    """Or refuses where a step of floats gives it."""
    x, y = (Buffer(name, name, (3,), "float32") for name in "xy")
    codes, back = Buffer("codes", "codes", (3,), "uint8", 0.1, 0), Buffer("back", "codes", (3,), "float32")
    program = Program([x, y, codes, back], [Add((0, 0), 1), Quantize((1,), 2), Dequantize((2,), 3)], (0,), (1,))
    model = ql.QModel(program, scheme="w8a8", target="numpy", task="regression")
    with pytest.raises(ValueError, match=r"^output_dtype: expected codes from the last layer, .* got 'y'"):
        model.retarget("onnx")


def test_layers_of_floats_keep_a_model_from_other_targets():
    network, x = small_network()
    mixed = ql.quantize_model(network, data=x, per_layer={"dense_1": "w8"})
    with pytest.raises(
        ValueError, match=r"^target: expected 'numpy' for layer 'dense_1' of scheme 'w8', .*got 'tflite'"
    ):
        mixed.retarget("tflite")
    check(mixed.retarget("numpy", requant="fixed"), x)
    all_static = ql.quantize_model(network, "w8", x, per_layer=dict.fromkeys(network.names, "w8a8"), target="tflite")
    assert same_program(all_static.program, ql.quantize_model(network, data=x, target="tflite").program)


def test_weights_of_a_repair(rng):
    """What the hook gives is what the program holds; where it gives None, the usual weights."""
    network, _ = small_network()
    own = ql.quantize(network.layers[1].weight, axis=1, method="mse")
    builder = Builder(Scheme.parse("w8"), repair=lambda name, weight: own if name == "dense_2" else None)
    first, second = builder.program(network.lower(builder)).steps
    same_bytes(first.weight, ql.quantize(network.layers[0].weight, axis=1).codes)
    same_bytes(second.weight, own.codes)
    same_bytes(second.weight_scale, own.scale.ravel())


# ---- targets ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
def test_retarget_is_quantizing_for_the_target(target):
    direct, moved = integer_network("w8a8", target), integer_network("w8a8").retarget(target)
    assert same_program(moved.program, direct.program)
    assert (moved.target, moved.scheme, moved.task) == (target, "w8a8", direct.task)
    same_bytes(moved(digits().x_held), direct(digits().x_held))


@pytest.mark.parametrize("scheme, target", SCHEME_TARGETS)
def test_retarget_to_its_own_target_changes_nothing(scheme, target):
    start = integer_network(scheme, target)
    assert same_program(start.retarget(target).program, start.program)


@pytest.mark.parametrize("there", [target for target in TARGETS if target != "tensorrt"])
@pytest.mark.parametrize("back", [target for target in TARGETS if target != "tensorrt"])
def test_retarget_there_and_back(there, back):
    start = integer_network("w8a8", back)
    moved = start.retarget(there)
    assert same_program(moved.retarget(back).program, start.program)
    assert same_program(moved.retarget("tensorrt").program, start.retarget("tensorrt").program)
    assert start.target == back  # as it was


def test_retarget_of_schemes_that_have_one_target():
    for scheme in ("w8", "dynamic"):
        quantized = integer_network(scheme)
        same_bytes(quantized.retarget("numpy")(digits().x_held), quantized(digits().x_held))
        for target in TARGETS[1:]:
            with pytest.raises(ValueError, match=rf"^target: .*{scheme}.*{target}"):
                quantized.retarget(target)
            with pytest.raises(ValueError, match=rf"^target: .*{scheme}"):
                ql.quantize_model(digits_network(), scheme, target=target)
        for options in ({"output_dtype": "integer"}, {"requant": "fixed"}):
            with pytest.raises(ValueError):
                quantized.retarget("numpy", **options)
            with pytest.raises(ValueError):
                ql.quantize_model(digits_network(), scheme, **options)


def test_targets_have_their_conventions():
    for target in TARGETS:
        quantized = integer_network("w8a8", target)
        codes = [b for b in quantized.program.buffers if b.dtype in ("int8", "uint8")]
        assert {b.dtype for b in codes} == {"uint8" if target in ("numpy", "onnx") else "int8"}
        assert isinstance(quantized.program.steps[-1], Dequantize) == (target != "numpy")
        assert {s.requant == "fixed" for s in quantized.program.steps if isinstance(s, Gemm)} == {
            target in ("tflm", "c")
        }
        lowest = 0 if target in ("numpy", "onnx", "tensorrt") else -128  # digits and relus start at 0.0
        assert {b.zero_point for b in codes[:3]} == {lowest}
        assert target != "tensorrt" or not any(b.zero_point for b in codes)


# ---- how good ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scheme", ["w8a8", "dynamic", "w8"])
def test_digits(scheme, seed, tmp_path, record_property):
    data, network = digits(seed), digits_network(seed)
    quantized = integer_network(scheme, seed=seed)
    exact, raw = network(data.x_held), quantized(data.x_held)
    record_property("sqnr_db", sqnr_db(exact, raw))
    print(f"seed {seed}, {scheme}: logit SQNR {sqnr_db(exact, raw):.1f} dB")
    drop = (
        network.evaluate(data.x_held, data.y_held)["accuracy"]
        - quantized.evaluate(data.x_held, data.y_held)["accuracy"]
    )
    assert drop <= MAX_DROP
    assert np.mean(quantized.predict(data.x_held) == network.predict(data.x_held)) >= MIN_AGREEMENT
    assert sqnr_db(exact, raw) >= MIN_SQNR_DB[scheme]
    quantized.save(tmp_path / "model.qlite")
    weights = sum(layer.weight.nbytes for layer in network.layers)
    assert (tmp_path / "model.qlite").stat().st_size <= MAX_FILE_SHARE * weights + FILE_OVERHEAD


@pytest.mark.parametrize("target", TARGETS[1:])
def test_digits_on_every_target(target):
    data, network, quantized = digits(), digits_network(), integer_network("w8a8", target)
    assert np.mean(quantized.predict(data.x_held) == network.predict(data.x_held)) >= MIN_AGREEMENT
    assert sqnr_db(network(data.x_held), quantized(data.x_held)) >= MIN_INTEGER_SQNR_DB


def test_mnist():
    data, network = mnist(), mnist_network()
    quantized = ql.quantize_model(network, data=data.x[:1000])
    assert np.mean(quantized.predict(data.x_held) == network.predict(data.x_held)) >= MIN_AGREEMENT
    assert sqnr_db(network(data.x_held), quantized(data.x_held)) >= MIN_SQNR_DB["w8a8"]
    check(quantized, data.x_held[:50])


# ---- the same bits everywhere -----------------------------------------------------------------------

ON_ISA = """
import hashlib, pickle, sys
import numpy as np
import qlite as ql
from qlite import _core
network, x = pickle.load(sys.stdin.buffer)
digest = hashlib.sha256()
for scheme, target in {cases!r}:
    quantized = ql.quantize_model(network, scheme, x if scheme == "w8a8" else None, target=target)
    for value in quantized.intermediates(x).values():
        digest.update(value.tobytes())
print(_core.info()["isa"], digest.hexdigest())
"""


def test_same_bits_under_every_isa():
    """From the float model and the samples on: calibration, weights and results, in processes that know one ISA."""
    work = pickle.dumps((digits_network(), digits().x[:200]))
    program = ON_ISA.format(cases=SCHEME_TARGETS)
    digests = {}
    for name in _core.info()["isas_runnable"]:
        environment = os.environ | {"QLITE_ISA": name}
        result = subprocess.run(
            [sys.executable, "-c", program], input=work, env=environment, capture_output=True, check=True
        )
        active, digests[name] = result.stdout.decode().split()
        assert active == name
    digest = hashlib.sha256()
    for scheme, target in SCHEME_TARGETS:
        quantized = ql.quantize_model(
            digits_network(), scheme, digits().x[:200] if scheme == "w8a8" else None, target=target
        )
        for value in quantized.intermediates(digits().x[:200]).values():
            digest.update(value.tobytes())
    assert set(digests.values()) == {digest.hexdigest()}


@pytest.mark.parametrize("scheme", ["w8a8", "dynamic", "w8"])
def test_two_threads_share_a_model(scheme):
    quantized, x = integer_network(scheme), digits().x
    expected = quantized(x)
    with ThreadPoolExecutor(2) as pool:
        for got in pool.map(lambda rows: quantized(x[:rows]), [len(x), 1, 97, 500] * 20):
            same_bytes(got, expected[: len(got)])


@pytest.mark.parametrize("scheme", ["w8a8", "dynamic", "w8"])
def test_a_row_does_not_depend_on_its_batch(scheme):
    quantized, x = integer_network(scheme), digits().x_held[:130]
    together = quantized(x)
    for i in range(0, 130, 13):
        same_bytes(quantized(x[i : i + 1]), together[i : i + 1])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_and_dtypes(layout):
    quantized, x = integer_network("w8a8"), digits().x_held[:20]
    same_bytes(quantized(LAYOUTS[layout](x)), quantized(x))
    same_bytes(quantized(x.astype(np.float64)), quantized(x.tolist()))


# ---- bad input --------------------------------------------------------------------------------------

CASES = """
TypeError  model  quantize_model(None, data=X)
TypeError  model  quantize_model(QM, data=X)
ValueError scheme  quantize_model(M, "w1", X)
ValueError scheme  quantize_model(M, "w4g12", X)
ValueError scheme  quantize_model(M, "float32", X)
ValueError scheme  quantize_model(M, "w8a17", X)
ValueError scheme  quantize_model(M, "w8g32a8", X)
ValueError scheme  quantize_model(M, "int8", X)
TypeError  scheme  quantize_model(M, 8, X)
ValueError activations  quantize_model(M, data=X, activations="float")
ValueError activations  quantize_model(M, "w8", activations="dynamic")
ValueError target  quantize_model(M, data=X, target="torch")
ValueError target  quantize_model(M, data=X, target=None)
ValueError method  quantize_model(M, data=X, method="ema")
ValueError weight_method  quantize_model(M, data=X, weight_method="max")
ValueError output_dtype  quantize_model(M, data=X, output_dtype="codes")
ValueError requant  quantize_model(M, data=X, requant="double")
ValueError data  quantize_model(M)
ValueError data  quantize_model(M, data=X[:0])
ValueError data  quantize_model(M, data=X[0])
ValueError data  quantize_model(M, data=X[:, :5])
ValueError data  quantize_model(M, data=X * np.nan)
ValueError data  quantize_model(M, data=X * np.inf)
TypeError  data  quantize_model(M, data=X.astype(int))
TypeError  data  quantize_model(M, data="text")
OverflowError .*'dense_1'  quantize_model(DEEP, data=np.tile([-1.0, 1.0], (1, 70_000)))
ValueError target  QM.retarget("torch")
ValueError target  QM.retarget(None)
ValueError output_dtype  QM.retarget("tflite", output_dtype="codes")
ValueError requant  QM.retarget("tflite", requant=True)
TypeError  x  QM(X.astype(int))
ValueError x  QM(X[0])
ValueError x  QM(X[:, :5])
ValueError x  QM.predict(X * np.nan)
ValueError x  QM.intermediates(X[None])
ValueError y  QM.evaluate(X, [0, 1])
ValueError metrics  QM.evaluate(X, np.zeros(len(X), int), ["mse"])
"""


@pytest.mark.parametrize("case", [line for line in CASES.splitlines() if line])
def test_bad_arguments(case):
    m, x = small_network()
    deep = ql.from_weights([(np.tile([[1.0], [-1.0]], (70_000, 1)), None)], task="regression")
    known = {"M": m, "X": x, "QM": ql.quantize_model(m, data=x), "DEEP": deep, "quantize_model": ql.quantize_model}
    error, name, call = case.split(maxsplit=2)
    with pytest.raises((TypeError, ValueError, OverflowError), match=rf"^{name}: ") as raised:
        eval(call, {"np": np}, known)
    assert type(raised.value).__name__ == error


# ---- the object -------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme, target", SCHEME_TARGETS)
def test_pickles(scheme, target):
    quantized, x = integer_network(scheme, target), digits().x_held
    twin = pickle.loads(pickle.dumps(quantized))
    assert same_program(twin.program, quantized.program)
    assert (twin.scheme, twin.target, twin.task) == (scheme, target, quantized.task)
    same_bytes(twin(x), quantized(x))
    assert twin.predict(x).tolist() == quantized.predict(x).tolist()


def test_what_it_says_about_itself():
    network, quantized = digits_network(), integer_network("w8a8")
    assert (quantized.in_features, quantized.input_shape, quantized.output_shape) == (64, (64,), (10,))
    assert list(quantized.weights) == network.names
    assert quantized.weights["dense_1"].shape == (64, 128) and quantized.weights["dense_1"].axis == 1
    sizes = [layer.weight.size + 8 * layer.bias.size for layer in network.layers]  # codes, scales, int32 biases
    assert quantized.nbytes == sum(sizes)
    for text in ("w8a8", "target numpy", f"{sum(sizes):,} bytes", "quantize: input float32 -> input_codes uint8[64]"):
        assert text in repr(quantized)
