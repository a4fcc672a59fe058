"""Tables of functions by the rules of runtimes: every code is what their operators give, and what the program has."""

import litert
import numpy as np
import pytest
from samples import same_bytes

import qlite as ql
from qlite.nn.activation_tables import activation_table, known_grid
from qlite.nn.program import Buffer
from qlite.nn.runtime_tables import runtime_table
from qlite.nn.steps import Lookup

#: By qlite's names: the operator, its version, and its options.
OPERATORS = {
    "relu": ("RELU", 2, {}),
    "relu6": ("RELU6", 2, {}),
    "leaky_relu": ("LEAKY_RELU", 2, {}),
    "hard_swish": ("HARD_SWISH", 1, {}),
    "sigmoid": ("LOGISTIC", 2, {}),
    "tanh": ("TANH", 2, {}),
    "elu": ("ELU", 1, {}),
    "gelu": ("GELU", 2, {"approximate": False}),
    "identity": ("QUANTIZE", 2, {}),
}
#: What TensorFlow Lite Micro has; its RELU6 takes two equal grids alone.
MICRO = [name for name in OPERATORS if name not in ("gelu", "relu6")]
ALL_CODES = np.arange(256, dtype=np.uint8).view(np.int8)[None]


def scale(rng, low, high):
    return float(np.float32(2.0 ** (rng.integers(low, high) if rng.random() < 0.4 else rng.uniform(low, high))))


def grids(rng, name):
    """Those of a function, whose results have a known one or any."""
    zero_points = [int(rng.choice([-128, 0, 127, rng.integers(-128, 128)])) for _ in "xy"]
    source = Buffer("x", "x", (256,), "int8", scale(rng, -8, 0), zero_points[0])
    known = known_grid(name)
    grid = (
        (scale(rng, -8, -1), zero_points[1]) if known is None else (known.scale.item(), known.zero_point.item() - 128)
    )
    return source, Buffer("y", "y", (256,), "int8", *grid)


def content(name, slope, source, target):
    operator, version, options = OPERATORS[name]
    options = options | ({"alpha": slope} if name == "leaky_relu" else {})
    y = ALL_CODES
    return litert.model(operator, ALL_CODES, y, source.affine, target.affine, version=version, **options)


@pytest.mark.parametrize("name", OPERATORS)
def test_tables_of_litert(rng, name):
    for _ in range(150):
        source, target = grids(rng, name)
        slope = float(np.float32(rng.uniform(0.005, 1)))
        got = runtime_table(name, slope, source, target, "litert")
        if got is None:
            assert name == "hard_swish" and not 2.0**-8 <= source.affine[0] / target.affine[0] < 128
            continue
        expected = litert.run(content(name, slope, source, target), ALL_CODES)
        same_bytes(got[ALL_CODES.view(np.uint8)], expected)


@pytest.mark.parametrize("name", MICRO)
def test_tables_of_micro(rng, name):
    for _ in range(150):
        source, target = grids(rng, name)
        slope = float(np.float32(rng.uniform(0.005, 1)))
        got = runtime_table(name, slope, source, target, "tflm")
        if got is None:
            continue
        expected = litert.run(content(name, slope, source, target), ALL_CODES, "micro")
        same_bytes(got[ALL_CODES.view(np.uint8)], expected)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("runtime", ["litert", "tflm"])
def test_tables_are_near_the_exact_ones(rng, runtime, dtype):
    """Of functions without an operator the same."""
    for name in (*OPERATORS, "silu", "softplus", "hard_sigmoid"):
        x, y = grids(rng, name)
        source, target = (
            Buffer(b.name, "", (256,), dtype, b.scale, b.zero_point + 128 * (dtype == "uint8")) for b in (x, y)
        )
        exact = activation_table(name, 0.3, source, target).astype(int)
        table = activation_table(name, 0.3, source, target, runtime)
        difference = np.abs(table.astype(int) - exact).max()
        assert difference <= (1 if name != "identity" and name != "leaky_relu" else 2)
        assert difference == 0 or name in OPERATORS
        shifted = activation_table(name, 0.3, x, y, runtime).astype(int)
        flip = 0x80 * (dtype == "uint8")
        assert np.array_equal(table[np.arange(256) ^ flip].astype(int), shifted + flip)


@pytest.mark.parametrize(("target", "runtime"), [("tflite", "litert"), ("tflm", "tflm"), ("numpy", None), ("c", None)])
def test_targets_have_their_tables(rng, target, runtime):
    x = rng.normal(size=(50, 6)).astype(np.float32)
    layers = [ql.Dense(rng.normal(size=(6, 7)), None, "hard_swish"), ql.Dense(rng.normal(size=(7, 2)))]
    program = ql.quantize_model(ql.Sequential(layers), "w8a8", x, target="tflite").retarget(target).program
    (step,) = (step for step in program.steps if isinstance(step, Lookup))
    source, result = program.buffers[step.inputs[0]], program.buffers[step.output]
    expected = activation_table("hard_swish", 0.01, source, result, runtime or "exact")
    same_bytes(step.table, expected)
