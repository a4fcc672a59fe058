"""Steps of codes: byte for byte what LiteRT's operators give, by the rule "float" those of its default path, by "fixed"
those of its reference kernels."""

from itertools import product

import litert
import numpy as np
import pytest
import reference
from samples import codes, same_bytes, scales_of_ties

from qlite.nn.plan import Plan
from qlite.nn.program import Buffer, Program
from qlite.nn.steps import Add, Gemm, Mean, Requantize

DTYPES = ["int8", "uint8"]
RESOLVERS = {"float": "default", "fixed": "reference"}
#: Above the lowest code: even and odd, at the low end, and so far from it that codes end before six.
ZERO_POINTS = [0, 1, 127, 128, 129, 200]


def lowest(dtype):
    return int(np.iinfo(dtype).min)


def any_grid(rng, dtype, near=None):
    """A grid whose scale is a power of two, which makes ties, as often as not."""
    scale = 2.0 ** (rng.integers(-8, 3) if rng.random() < 0.5 else rng.uniform(-8, 3))
    if near is not None:
        scale = near * 2.0 ** (rng.integers(-5, 6) if rng.random() < 0.5 else rng.uniform(-5, 6))
    zero_point = lowest(dtype) + int(rng.choice([0, 128, 255, rng.integers(0, 256)]))
    return float(np.float32(scale)), zero_point


def computed(step, dtype, inputs, grids, grid, shape):
    """What a step makes of samples on these grids."""
    buffers = [Buffer(f"x{i}", "x", x.shape[1:], dtype, *g) for i, (x, g) in enumerate(zip(inputs, grids, strict=True))]
    numbers = tuple(range(len(inputs)))
    program = Program([*buffers, Buffer("y", "y", shape, dtype, *grid)], [step(numbers, len(inputs))], numbers)
    return Plan(program).run(*inputs)


@pytest.mark.parametrize("activation", [None, "relu", "relu6"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("requant", RESOLVERS)
def test_add(rng, requant, dtype, activation):
    """All pairs of codes."""
    a, b = (np.array(v, np.uint8).view(dtype)[None] for v in zip(*product(range(256), repeat=2), strict=True))
    for _ in range(15):
        grid_y = any_grid(rng, dtype)
        grids = [any_grid(rng, dtype, near=grid_y[0]) for _ in range(2)]
        options = {"options_type": "AddOptions", "version": 2}
        options["fusedActivationFunction"] = litert.ACTIVATIONS[activation]
        content = litert.model("ADD", (a, b), a, tuple(grids), grid_y, **options)
        expected = litert.run(content, (a, b), RESOLVERS[requant])
        got = computed(lambda i, o: Add(i, o, activation, requant), dtype, (a, b), grids, grid_y, a.shape[1:])
        same_bytes(got, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("requant", RESOLVERS)
def test_add_where_six_is_between_two_codes(isa, rng, requant, dtype):
    a, b = (codes(rng, (1, 200), np.dtype(dtype)) for _ in "ab")
    options = {"options_type": "AddOptions", "version": 2, "fusedActivationFunction": litert.ACTIVATIONS["relu6"]}
    for scale, above in product(scales_of_ties(6), ZERO_POINTS):
        grids, grid_y = [(0.125, lowest(dtype) + 7), (0.25, lowest(dtype) + 140)], (scale, lowest(dtype) + above)
        content = litert.model("ADD", (a, b), a, tuple(grids), grid_y, **options)
        expected = litert.run(content, (a, b), RESOLVERS[requant])
        got = computed(lambda i, o: Add(i, o, "relu6", requant), dtype, (a, b), grids, grid_y, a.shape[1:])
        same_bytes(got, expected)


@pytest.mark.parametrize("requant", RESOLVERS)
def test_gemm_where_six_is_between_two_codes(isa, rng, requant):
    """At once and by way of its sums."""
    x, weight, scale_x = codes(rng, (40, 3), np.int8), codes(rng, (5, 3), np.int8), 2.0**-10
    options = {"options_type": "FullyConnectedOptions", "version": 4, "constants": (weight,)}
    options["fusedActivationFunction"] = litert.ACTIVATIONS["relu6"]
    weight_scale, end = np.ones(5, np.float32), ("relu6", requant)
    product_fields = np.ascontiguousarray(weight.T), weight_scale, None, None
    sums = Buffer("sums", "y", (5,), "int32")
    for scale, above in product(scales_of_ties(6), ZERO_POINTS):
        grid_x, grid_y = (scale_x, 9), (scale, lowest("int8") + above)
        y = np.empty((40, 5), np.int8)
        expected = litert.run(litert.model("FULLY_CONNECTED", x, y, grid_x, grid_y, **options), x, RESOLVERS[requant])
        source, target = Buffer("x", "x", (3,), "int8", *grid_x), Buffer("y", "y", (5,), "int8", *grid_y)
        at_once = Program([source, target], [Gemm((0,), 1, *product_fields, *end)])
        of_sums = Requantize((1,), 2, scale_x, weight_scale, *end)
        in_two = Program([source, sums, target], [Gemm((0,), 1, *product_fields, None, requant), of_sums])
        for program in (at_once, in_two):
            same_bytes(Plan(program).run(x), expected)
            same_bytes(reference.evaluate(program, x)[-1], expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("requant", RESOLVERS)
def test_mean(rng, requant, dtype):
    for _ in range(60):
        height, width, channels = (int(rng.choice(n)) for n in ([1, 2, 3, 4, 7, 8, 16], [1, 2, 5, 7, 8], [1, 5, 300]))
        x = codes(rng, (1, height, width, channels), np.dtype(dtype))
        grid, grid_y = any_grid(rng, dtype), any_grid(rng, dtype)
        axes = np.array([1, 2], np.int32)
        options = {"options_type": "ReducerOptions", "keepDims": False, "version": 2, "constants": (axes,)}
        content = litert.model("MEAN", x, x[:, 0, 0], grid, grid_y, **options)
        expected = litert.run(content, x, RESOLVERS[requant])
        same_bytes(computed(lambda i, o: Mean(i, o, requant), dtype, (x,), [grid], grid_y, (channels,)), expected)
