"""What a runtime would refuse, die from or compute otherwise is refused by the layer's name, before any file is."""

import subprocess
import sys

import numpy as np
import pytest
from litert import Weights
from litert import model as file_of
from models import extra

import qlite as ql

extra("flatbuffers"), extra("tflite"), extra("ai_edge_litert.interpreter")

RUN = """
import sys
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=sys.argv[1])
interpreter.allocate_tensors()
interpreter.invoke()
"""
X = np.random.default_rng(0).normal(size=(40, 4, 4, 3)).astype(np.float32)


def quantized(*layers, target="tflite"):
    return ql.quantize_model(
        ql.Sequential(list(layers), input_shape=(4, 4, 3), task="regression"), data=X, target=target
    )


def status_of(content, tmp_path):
    """The exit status of a process that runs a file."""
    (tmp_path / "model.tflite").write_bytes(content)
    command = [sys.executable, "-c", RUN, str(tmp_path / "model.tflite")]
    return subprocess.run(command, capture_output=True).returncode


@pytest.mark.parametrize(
    "layer, target, why",
    [
        (ql.Activation("softplus", name="bent"), "tflite", "softplus"),
        (ql.Activation("gelu", name="bent"), "tflm", "Micro has no operator for gelu"),
        (ql.LayerNorm(np.ones(3), np.zeros(3), name="bent"), "tflite", "layer_norm"),
        (ql.Function(np.cbrt, name="bent"), "tflite", "table of an unknown function"),
    ],
    ids=["softplus", "gelu", "layer_norm", "function"],
)
def test_a_layer_without_operator_is_named_and_nothing_written(layer, target, why, tmp_path):
    with pytest.raises(ValueError, match=f"^layer 'bent.*{why}"):
        quantized(ql.Dense(np.eye(3)), layer, ql.Dense(np.eye(3)), target=target).to_tflite(tmp_path / "model.tflite")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("last", [ql.Dense(np.eye(3), name="last"), ql.Conv2D(np.ones((3, 3, 3, 2)), name="last")])
@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_a_product_that_gives_floats_is_named(last, dtype, tmp_path):
    """Runtimes have no product from codes to floats."""
    model = ql.Sequential([last], input_shape=(4, 4, 3), task="regression")
    floats = ql.quantize_model(model, data=X, target="tflite", output_dtype="float32")
    with pytest.raises(ValueError, match=r"last.*output_dtype='integer'|output 'last'.*float32"):
        floats.to_tflite(tmp_path / "model.tflite", dtype=dtype)
    assert list(tmp_path.iterdir()) == []


def test_scales_that_the_runtime_refuses_are_refused(tmp_path):
    x = np.zeros((1, 4), np.int8)
    weights = Weights(np.ones((2, 4), np.int8), np.full(2, 256, np.float32))
    bias = Weights(np.zeros(2, np.int32), np.full(2, 256, np.float32))
    content = file_of("FULLY_CONNECTED", x, np.zeros((1, 2), np.int8), constants=(weights, bias), version=4)
    assert status_of(content, tmp_path) != 0
    from qlite.io.tflite.limits import refusal
    from qlite.nn.program import Buffer
    from qlite.nn.steps import Gemm, MatMul

    step = Gemm(
        inputs=(0,),
        output=1,
        weight=np.ones((4, 2), np.int8),
        weight_scale=np.full(2, 256, np.float32),
        weight_zero_point=None,
        weight_bits=8,
        bias=None,
        activation=None,
        requant="float",
    )
    buffers = [Buffer("x", "x", (4,), "int8", 1.0, 0), Buffer("y", "y", (2,), "int8", 1.0, 0)]
    assert "to below 256" in refusal(step, buffers[:1], buffers[1], False)
    wide = [Buffer("x", "x", (2, 2), "int8", 16.0, 0)] * 2
    assert "to below 256" in refusal(MatMul((0, 1), 2), wide, Buffer("y", "y", (2, 2), "int8", 1.0, 0), False)


def test_a_difference_of_nearly_equal_values_is_refused(tmp_path):
    x = ql.Input((4, 4, 3))
    network = ql.Model(x, ql.Subtract(name="nothing")(x, ql.Dense(0.999 * np.eye(3))(x)), task="regression")
    with pytest.raises(ValueError, match=r"^layer 'nothing': expected input scale / output scale"):
        ql.quantize_model(network, data=X, target="tflite").to_tflite(tmp_path / "model.tflite")


def test_a_transposed_convolution_needs_a_batch_size(tmp_path):
    layer = ql.Conv2DTranspose(np.ones((2, 2, 3, 2), np.float32), stride=2, name="spread")
    with pytest.raises(ValueError, match=r"^layer 'spread': batch"):
        quantized(layer).to_tflite(tmp_path / "model.tflite", batch=None)


@pytest.mark.parametrize(
    "layer",
    [
        ql.MaxPool(2, stride=3),
        ql.Conv2D(np.ones((2, 2, 3, 2), np.float32), None),
        ql.Conv2DTranspose(np.ones((1, 2, 3, 2), np.float32), stride=3, padding="same"),
        ql.Conv2DTranspose(np.ones((1, 2, 3, 2), np.float32), stride=(2, 3), padding="same", output_padding=(1, 2)),
        ql.MatMul(transpose_b=True),
        ql.Activation("silu"),
        ql.Activation("hard_sigmoid"),
    ],
    ids=lambda layer: f"{layer.kind}_{getattr(layer, 'activation', None)}_{getattr(layer, 'output_padding', None)}",
)
def test_what_a_runtime_takes_in_another_way_has_its_bytes(layer, tmp_path):
    x = ql.Input((4, 4, 3))
    network = ql.Model(x, layer(x, x) if layer.arity == 2 else layer(x), task="regression")
    qm = ql.quantize_model(network, data=X, target="tflite")
    for dtype in ("int8", "float32"):
        qm.to_tflite(tmp_path / "model.tflite", dtype=dtype)
        assert qm.verify(tmp_path / "model.tflite", X).mismatches == 0


@pytest.mark.parametrize("function", ["silu", "hard_sigmoid"])
def test_functions_of_several_steps_are_tables_for_other_targets(function):
    start = quantized(ql.Activation(function), target="numpy")
    again = start.retarget("tflite").retarget("numpy")
    assert [step.kind for step in again.program.steps] == [step.kind for step in start.program.steps]
    np.testing.assert_array_equal(again(X), start(X))


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_bytes_in(dtype, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 3), dtype=np.uint8)
    kernel = np.random.default_rng(1).normal(size=(2, 2, 3, 2)).astype(np.float32)
    network = ql.Sequential([ql.Conv2D(kernel, None)], input_shape=(4, 4, 3), task="regression")
    qm = ql.quantize_model(network, data=pixels, target="tflite", input_dtype="uint8")
    qm.to_tflite(tmp_path / "model.tflite", dtype=dtype)
    assert qm.verify(tmp_path / "model.tflite", pixels).mismatches == 0


def test_models_for_other_targets_are_told_what_to_do(tmp_path):
    """The call that gives another model, or the layer that keeps this one from it."""
    model = ql.Sequential([ql.Flatten(), ql.Dense(units=5), ql.Dense(units=2)], input_shape=(4, 4, 3))
    for per_layer, message in [
        ({}, r"^target: expected a model for 'tflite' or 'tflm', got 'numpy': qm\.retarget\('tflite'\) gives it"),
        (
            {"dense_2": None},
            r"^target: expected 'numpy' for layer 'dense_2' of scheme 'float32', .*'w8a8' for the layer",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            ql.quantize_model(model, data=X, per_layer=per_layer).to_tflite(tmp_path / "m.tflite")
    assert not (tmp_path / "m.tflite").exists()
