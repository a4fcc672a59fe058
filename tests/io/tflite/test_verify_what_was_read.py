"""A model that was read from a file of integers, held against that file: LiteRT gives its bytes."""

import numpy as np
import pytest
from models import extra

import qlite as ql

extra("flatbuffers"), extra("tflite"), extra("ai_edge_litert.interpreter")


@pytest.fixture
def network(rng):
    """A network of two inputs and two outputs, and samples."""
    a, b = ql.Input((6,), name="a"), ql.Input((6,), name="b")
    h = ql.Dense(rng.normal(size=(6, 8)), activation="relu", name="h")(ql.Add()(a, b))
    m = ql.Model([a, b], [ql.Dense(rng.normal(size=(8, 3)), name="p")(h), ql.Activation("sigmoid", name="q")(h)])
    x = {name: rng.normal(size=(40, 6)).astype(np.float32) for name in "ab"}
    return ql.quantize_model(m, data=x, target="tflite"), x


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_a_file_is_that_of_the_model_read_from_it(network, dtype, tmp_path):
    written, x = network
    path = tmp_path / "m.tflite"
    for _ in range(2):
        written.to_tflite(path, dtype=dtype)
        read = ql.from_tflite(path)
        x = dict(zip(read.inputs, x.values(), strict=True))
        assert read.verify(path, x).mismatches == 0
        assert (list(read.inputs), read.outputs) == (["a", "b"], ("p", "q"))
        written = read


def test_another_models_file_is_refused(network, tmp_path, rng):
    written, x = network
    path = tmp_path / "m.tflite"
    other = ql.Sequential([ql.Dense(rng.normal(size=(6, 8)))])
    ql.quantize_model(other, data=x["a"], target="tflite").to_tflite(path)
    with pytest.raises(ValueError, match="expected a file that this model wrote, of 2 inputs, got 1"):
        written.verify(path, x)


def test_samples_have_to_be_there(network, tmp_path):
    written, x = network
    written.to_tflite(tmp_path / "m.tflite")
    with pytest.raises(ValueError, match="x: expected at least one sample, got none"):
        written.verify(tmp_path / "m.tflite", {name: values[:0] for name, values in x.items()})


def test_a_file_of_floats_is_no_file_of_the_model(rng, tmp_path):
    model, x = ql.Sequential([ql.Dense(rng.normal(size=(6, 8)))]), rng.normal(size=(40, 6)).astype(np.float32)
    model.to_tflite(tmp_path / "m.tflite")
    with pytest.raises(ValueError, match=r"m.tflite: expected a file of integers, got one of floats"):
        ql.quantize_model(model, data=x, target="tflite").verify(tmp_path / "m.tflite", x)
