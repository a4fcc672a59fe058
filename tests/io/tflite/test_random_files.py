"""Random graphs, written: the runtimes give the bytes that the models give, and the files give the models again."""

import numpy as np
import pytest
from litert import run_all
from models import extra
from random_networks import random_network
from samples import same_bytes

import qlite as ql

extra("flatbuffers"), extra("tflite"), extra("ai_edge_litert.interpreter")

pytestmark = pytest.mark.filterwarnings("ignore:data. samples that stand out:UserWarning")

SEEDS = range(200)
#: What the format has no operators of codes for, and TensorFlow Lite Micro none at all.
WITHOUT = {"tflite": ("layer_norm", "softplus"), "tflm": ("layer_norm", "softplus", "gelu")}
#: The one thing that a random graph may be refused for: scales so far apart that a sum's kernel is a wrong one.
REFUSED = "input scale / output scale of 0.000976562 to below 256"
#: Greatest difference of float outputs, over the greatest value: the runtimes sum in other orders.
TOLERANCE = 1e-5


def as_tuple(values):
    return values if isinstance(values, tuple) else (values,)


def written(seed, target, path):
    """A model and samples, some beyond its grids; its file is there."""
    network, x = random_network(np.random.default_rng(seed), without=WITHOUT[target])
    model = ql.quantize_model(network, "w8a8", x, target=target)
    try:
        model.to_tflite(path)
    except ValueError as error:
        assert REFUSED in str(error)
        pytest.skip(str(error))
    return model, tuple(np.float32(1.5) * array for array in as_tuple(x))


def codes_of_inputs(model, x):
    """What a file of codes is given: by its inputs' names."""
    values = model.intermediates(x if len(x) > 1 else x[0])
    return {name: values.get("normalized", array) for name, array in zip(model.inputs, x, strict=True)}


def check_read_again(model, path, x):
    """The file's model has the outputs of the one that was written, bit by bit."""
    again = ql.from_tflite(path)
    assert again.target == "tflite"
    again = again.retarget(model.target)
    given = codes_of_inputs(model, x)
    for got, expected in zip(as_tuple(again(given)), as_tuple(model(x if len(x) > 1 else x[0])), strict=True):
        same_bytes(got, expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_litert_gives_the_bytes_of_the_model(seed, tmp_path):
    model, x = written(seed, "tflite", tmp_path / "model.tflite")
    found = model.verify(tmp_path / "model.tflite", x if len(x) > 1 else x[0])
    assert found.mismatches == 0, found
    assert found.bytes > 0
    check_read_again(model, tmp_path / "model.tflite", x)


@pytest.mark.parametrize("seed", SEEDS)
def test_micro_gives_the_bytes_of_the_model(seed, tmp_path):
    model, x = written(seed, "tflm", tmp_path / "model.tflite")
    values, program = model.intermediates(x if len(x) > 1 else x[0]), model.program
    writers = {step.output: step for step in program.steps}
    given = [values["input_codes" if name == "input" else f"{name}_codes"] for name in model.inputs]
    expected = [values[program.buffers[writers[i].inputs[0]].name] for i in program.outputs]
    content = (tmp_path / "model.tflite").read_bytes()
    for i in range(3):
        found = run_all(content, tuple(codes[i : i + 1] for codes in given), "micro")
        for got, codes in zip(found, expected, strict=True):
            np.testing.assert_array_equal(got, codes[i : i + 1])
    check_read_again(model, tmp_path / "model.tflite", x)


@pytest.mark.parametrize("seed", range(60))
def test_float_models_compute_the_same_in_litert_and_read_again(seed, tmp_path):
    model, x = random_network(np.random.default_rng(seed), without=())
    path, arrays = tmp_path / "model.tflite", as_tuple(x)
    model.to_tflite(path)
    expected, again = as_tuple(model(x)), as_tuple(ql.from_tflite(path)(x))
    found = [run_all(path.read_bytes(), tuple(array[i : i + 1] for array in arrays)) for i in range(3)]
    for number, values in enumerate(expected):
        limit = TOLERANCE * max(1, np.abs(values).max())
        np.testing.assert_allclose(again[number], values, rtol=0, atol=limit)
        np.testing.assert_allclose(np.concatenate([row[number] for row in found]), values[:3], rtol=0, atol=limit)
