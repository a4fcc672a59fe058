"""Schemes of single layers: by names and patterns, which come first, and names that no layer has."""

import numpy as np
import pytest
from models import same_program

import qlite as ql
from qlite.nn.per_layer import own_schemes


def network(rng):
    x = ql.Input((6,))
    body = ql.Dense(rng.normal(size=(6, 8)), activation="relu", name="body/1")(x)
    body = ql.Dense(rng.normal(size=(8, 8)), activation="relu", name="body/2")(body)
    heads = [ql.Dense(rng.normal(size=(8, n)), name=name)(body) for name, n in (("head/boxes", 4), ("head[0]", 2))]
    return ql.Model(x, heads), rng.normal(size=(50, 6)).astype(np.float32)


MEANT = {
    "head/*": ["head/boxes"],
    "body/?": ["body/1", "body/2"],
    "*": ["body/1", "body/2", "head/boxes", "head[0]"],
    "head[0]": ["head[0]"],  # the name, though as a pattern it means another
    "head[[]*": ["head[0]"],
    "body/[!1]": ["body/2"],
}


@pytest.mark.parametrize("pattern", MEANT)
def test_what_a_pattern_means(pattern, rng):
    model, x = network(rng)
    assert list(own_schemes(model, {pattern: "w8"})) == MEANT[pattern]
    quantized = ql.quantize_model(model, "w8a8", x, per_layer={pattern: None})
    floats = {layer.name for layer in quantized.summary().layers if layer.arithmetic == "float32"}
    assert floats == set(MEANT[pattern])
    by_name = ql.quantize_model(model, "w8a8", x, per_layer=dict.fromkeys(MEANT[pattern]))
    assert same_program(quantized.program, by_name.program)


def test_names_come_before_patterns_and_of_these_the_first(rng):
    model, _ = network(rng)
    own = own_schemes(model, {"body/*": "w4", "*": None, "body/2": "w8a8", "head*": "w2"})
    assert {name: scheme.name for name, scheme in own.items()} == {
        "body/1": "w4",
        "body/2": "w8a8",
        "head/boxes": "float32",
        "head[0]": "float32",
    }


@pytest.mark.parametrize("name, near", [("head/bxes", "'head/boxes'"), ("Body/1", "'body/1', 'body/2'"), ("tail*", "")])
def test_a_name_that_no_layer_has(name, near, rng):
    model, x = network(rng)
    with pytest.raises(ValueError, match=r"^per_layer: expected a layer or a pattern of layers, such as ") as raised:
        ql.quantize_model(model, "w8a8", x, per_layer={name: "w8"})
    assert near in str(raised.value) and str(raised.value).endswith(f"got {name!r}")


def test_a_layer_that_became_part_of_others(rng):
    x = ql.Input((6,))
    parts = ql.Split(2, name="part")(ql.Dense(rng.normal(size=(6, 8)), name="whole")(x))
    with pytest.raises(
        ValueError, match=r"'part_0', 'part_1', got 'whole', which became part of others when the model"
    ):
        ql.quantize_model(ql.Model(x, parts), "w8a8", rng.normal(size=(50, 6)), per_layer={"whole": "w8"})


@pytest.mark.parametrize("key", [3, None, ("body/1",)])
def test_a_key_that_is_no_name(key, rng):
    model, x = network(rng)
    with pytest.raises(TypeError, match=r"^per_layer: expected names of layers, got "):
        ql.quantize_model(model, "w8a8", x, per_layer={key: "w8"})
