"""The names of schemes: what they say, and what is none."""

import re

import numpy as np
import pytest

import qlite as ql
from qlite.nn.scheme import Scheme

NAMES = ["w8", "w8a8", "dynamic", "w4", "w4g32", "w4g32a8", "w1", "w16a16", "w3g7a5"]
NAMES += ["ternary", "ternary-dynamic", "w4a8-dynamic", "w4g32a8-dynamic", "float32"]
NAMES += ["nf4", "nf4g64", "fp4a8", "nf3g8a8-dynamic", "fp8_e4m3", "fp6_e2m3g16"]


@pytest.mark.parametrize("name", NAMES)
def test_every_scheme_is_read_and_written(name):
    assert Scheme.parse(name).name == name


def test_what_schemes_say():
    assert Scheme.parse("w4g32a8") == Scheme(4, 32, 8, dynamic=False)
    assert Scheme.parse("w8a8", "dynamic") == Scheme.parse("dynamic") == Scheme(8, None, 8, dynamic=True)
    assert Scheme.parse("w8").weight_options(0) == {"bits": 8, "symmetric": True, "axis": 0, "group_size": None}
    assert Scheme.parse("w4g32").weight_options(1) == {"bits": 4, "symmetric": False, "axis": 1, "group_size": 32}
    symmetric = [Scheme.parse(f"w{bits}").weight_options(0)["symmetric"] for bits in range(1, 17)]
    assert symmetric == [True] + 6 * [False] + 9 * [True]


@pytest.mark.parametrize(
    "name",
    ["", "8", "a8", "w", "w8a", "w8g", "w08", "w8g0", "w8a8 ", "W8", "w8a8g32", "w²", "w-1", "ternary8", "-dynamic"],
)
def test_what_is_no_scheme(name):
    with pytest.raises(ValueError, match=r"^scheme: expected w<bits>\[g<group>\]\[a<bits>\]"):
        Scheme.parse(name)


@pytest.mark.parametrize(
    "name, meant",
    [("int8", "w8a8"), ("uint8", "w8a8"), ("INT4", "w4a8"), ("8-bit", "w8a8"), ("W8A8", "w8a8"), ("w4G32 ", "w4g32"),
     ("Dynamic", "dynamic"), ("ternery", "ternary"), ("float16", ""), ("int16", ""), ("w", ""), ("best", "")],
)  # fmt: skip
def test_schemes_in_other_words_are_told_what_is_meant(name, meant):
    hint = f": did you mean '{meant}'?" if meant else ""
    with pytest.raises(ValueError, match=rf"^scheme: .* or 'dynamic', got '{name}'{re.escape(hint)}$"):
        Scheme.of_model(name)


@pytest.mark.parametrize("name", ["w17", "w8a17", "w999999999g1"])
def test_widths_that_there_are_not(name):
    with pytest.raises(ValueError, match=r"^scheme: expected widths of 1 to 16 bits"):
        Scheme.parse(name)


@pytest.mark.parametrize("name", ["w8", "w4g32", "w4a4", "w8g32a16"])
def test_schemes_that_cannot_be_dynamic(name):
    with pytest.raises(ValueError, match=r"^activations: expected 'static' but for"):
        Scheme.parse(name, "dynamic")
    with pytest.raises(ValueError, match=r"^scheme: expected 'a8'"):
        Scheme.parse(f"{name}-dynamic")


@pytest.mark.parametrize(
    "name, expected",
    [
        *[(name, "2 to 8 bits") for name in ("w16", "w1", "w16a16", "w8a1", "w9", "w9g32", "w1a1")],
        *[(name, "groups of a multiple of 8") for name in ("w4g4", "w4g12a8", "w3g7")],
        ("w4g32a16", "no groups for activations of 16 bits"),
        *[(name, "weights of up to 4 bits, or activations='dynamic'") for name in ("w8g32a8", "w5g32a4")],
        ("float32", "widths, such as 'w8a8', for a model"),
    ],
)
def test_schemes_that_no_model_runs_by(name, expected):
    network = ql.from_weights([(np.eye(3), None)])
    with pytest.raises(ValueError, match=rf"^scheme: expected {expected}"):
        ql.quantize_model(network, name, np.eye(3))


@pytest.mark.parametrize("scheme", ["w8", "dynamic"])
@pytest.mark.parametrize("option", [{"requant": "fixed"}, {"output_dtype": "float32"}])
def test_conventions_of_what_is_not_there(scheme, option):
    m = ql.Sequential([ql.Dense(np.eye(6))])
    for call in (
        lambda: ql.quantize_model(m, scheme, **option),
        lambda: ql.quantize_model(m, scheme).retarget("numpy", **option),
    ):
        with pytest.raises(ValueError, match=rf"^{next(iter(option))}: "):
            call()
