"""Products of codes beside those of one input and constant weights: transposed convolutions and products of two inputs,
byte for byte what LiteRT gives; and what only TensorFlow Lite Micro rounds as the rule "fixed" does."""

import litert
import numpy as np
import pytest
from samples import codes, same_bytes

from qlite.nn.plan import Plan
from qlite.nn.program import Buffer, Program
from qlite.nn.steps import ConvTranspose, Gemm, MatMul, Multiply, Sum

#: Kernels of each rule. All of "fixed" give the same where both widths of a multiplier do.
RESOLVERS = [("float", "default"), ("fixed", "reference"), ("fixed", "micro")]
SAME, VALID = 0, 1


def grid_of(rng, scale=1.0):
    """A grid of about this scale: a power of two times it, which makes ties, as often as not."""
    power = rng.integers(-4, 3) if rng.random() < 0.5 else rng.uniform(-4, 2)
    return float(np.float32(scale * 2.0**power)), int(rng.choice([-128, 0, 127, rng.integers(-128, 128)]))


def computed(step, inputs, grids, grid, shape):
    """What a step makes of samples on these grids."""
    buffers = [
        Buffer(f"x{i}", "x", x.shape[1:], "int8", *g) for i, (x, g) in enumerate(zip(inputs, grids, strict=True))
    ]
    numbers = tuple(range(len(inputs)))
    program = Program([*buffers, Buffer("y", "y", shape, "int8", *grid)], [step(numbers, len(inputs))], numbers)
    return Plan(program).run(*inputs)


def sides_of(length, out, kernel, stride, padding):
    """What is cut off before and after the products of an axis, and how much longer than these the result is."""
    whole = (length - 1) * stride + kernel
    before = max(whole - out, 0) // 2 if padding == SAME else 0
    after = whole - before - out
    return before, max(after, 0), max(-after, 0)


@pytest.mark.parametrize("activation", litert.ACTIVATIONS)
@pytest.mark.parametrize("requant, resolver", RESOLVERS)
def test_conv_transpose(rng, requant, resolver, activation):
    """Results of any size that belongs to the input's, with all strides that are not longer than the kernel."""
    for _ in range(60):
        shape = tuple(int(n) for n in rng.integers(1, 7, 3))
        stride = tuple(int(n) for n in rng.integers(1, 4, 2))
        kernel = tuple(int(rng.integers(s, s + 3)) for s in stride)
        padding = int(rng.choice([SAME, VALID]))
        if padding == SAME:
            result = tuple(int(rng.integers((n - 1) * s + 1, n * s + 1)) for n, s in zip(shape, stride, strict=False))
        else:
            result = tuple((n - 1) * s + k for n, s, k in zip(shape, stride, kernel, strict=False))
        rows, columns = (sides_of(*axis, padding) for axis in zip(shape[:2], result, kernel, stride, strict=True))
        out, x = int(rng.integers(1, 20)), codes(rng, (2, *shape), np.int8)
        grid, grid_y = grid_of(rng), grid_of(rng)
        weight = rng.integers(-127, 128, (*kernel, shape[2], out)).astype(np.int8)
        scale = rng.uniform(0.2, 1, out) * grid_y[0] / grid[0] / (32 * (kernel[0] * kernel[1] * shape[2]) ** 0.5)
        scale, bias = scale.astype(np.float32), rng.integers(-3000, 3000, out).astype(np.int32)

        y = np.zeros((2, *result, out), np.int8)
        constants = (
            np.array(y.shape, np.int32),
            litert.Weights(np.ascontiguousarray(np.moveaxis(weight, 3, 0)), scale),
            x,
            litert.Weights(bias, np.float32(grid[0]) * scale),
        )
        options = {"padding": padding, "strideH": stride[0], "strideW": stride[1], "version": 4}
        options["fusedActivationFunction"] = litert.ACTIVATIONS[activation]
        content = litert.model("TRANSPOSE_CONV", x, y, grid, grid_y, operands=constants, **options)
        fields = {"stride": stride, "padding": (*rows[:2], *columns[:2]), "output_padding": (rows[2], columns[2])}
        fields |= {"weight": weight, "weight_scale": scale, "weight_zero_point": None, "bias": bias}
        fields |= {"activation": activation, "requant": requant}
        got = computed(lambda i, o, f=fields: ConvTranspose(i, o, **f), (x,), [grid], grid_y, y.shape[1:])
        same_bytes(got, litert.run(content, x, resolver))


@pytest.mark.parametrize("requant, resolver", [("float", "default"), ("fixed", "micro")])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_matmul(rng, transpose_b, requant, resolver):
    """The default path multiplies so where the second zero point is 0."""
    for _ in range(60):
        heads, m, k, n = (int(length) for length in rng.integers(1, (4, 20, 40, 20)))
        a, b = (
            codes(rng, (2, heads, m, k), np.int8),
            codes(rng, (2, heads, *((n, k) if transpose_b else (k, n))), np.int8),
        )
        grids, y = [grid_of(rng), (grid_of(rng)[0], 0)], np.zeros((2, heads, m, n), np.int8)
        grid_y = grid_of(rng, grids[0][0] * grids[1][0] * 64 * k**0.5)
        content = litert.model("BATCH_MATMUL", (a, b), y, tuple(grids), grid_y, version=2, adjY=transpose_b)
        got = computed(lambda i, o: MatMul(i, o, transpose_b, requant=requant), (a, b), grids, grid_y, y.shape[1:])
        same_bytes(got, litert.run(content, (a, b), resolver))


def test_multiply_by_doubles(rng):
    """Multipliers of "fixed", which those of float32 differ from."""
    a, b = (v.reshape(1, -1) for v in np.meshgrid(*[np.arange(-128, 128, dtype=np.int8)] * 2))
    for _ in range(60):
        grids = [grid_of(rng), grid_of(rng)]
        grid_y = grid_of(rng, grids[0][0] * grids[1][0] * 64)
        content = litert.model("MUL", (a, b), a, tuple(grids), grid_y, version=2)
        got = computed(lambda i, o: Multiply(i, o, None, "fixed"), (a, b), grids, grid_y, a.shape[1:])
        same_bytes(got, litert.run(content, (a, b), "micro"))


def test_sum_of_fixed_rule(rng):
    for _ in range(60):
        x = codes(rng, (2, *(int(n) for n in rng.integers(1, 9, 3))), np.int8)
        grid, axes = grid_of(rng), np.array([1, 2], np.int32)
        grid_y = grid_of(rng, grid[0] * x[0, ..., 0].size ** 0.5)
        content = litert.model("SUM", x, x[:, 0, 0], grid, grid_y, version=2, constants=(axes,), keepDims=False)
        got = computed(lambda i, o: Sum(i, o, (0, 1), False, "fixed"), (x,), [grid], grid_y, x.shape[3:])
        same_bytes(got, litert.run(content, x, "micro"))


@pytest.mark.parametrize("activation", litert.ACTIVATIONS)
def test_gemm_of_fixed_rule(rng, activation):
    for _ in range(60):
        rows, depth, out = (int(n) for n in rng.integers(1, (9, 60, 30)))
        x, weight = codes(rng, (rows, depth), np.int8), rng.integers(-127, 128, (depth, out)).astype(np.int8)
        grid, grid_y = grid_of(rng), grid_of(rng)
        scale = np.full(out, rng.uniform(0.2, 1) * grid_y[0] / grid[0] / (32 * depth**0.5), np.float32)
        bias, y = rng.integers(-3000, 3000, out).astype(np.int32), np.zeros((rows, out), np.int8)
        constants = (
            litert.Weights(np.ascontiguousarray(weight.T), scale[:1]),
            litert.Weights(bias, np.float32(grid[0]) * scale[:1]),
        )
        fused = litert.ACTIVATIONS[activation]
        options = {"version": 4, "constants": constants, "fusedActivationFunction": fused}
        content = litert.model("FULLY_CONNECTED", x, y, grid, grid_y, **options)
        fields = (weight, scale, None, bias, activation, "fixed")
        got = computed(lambda i, o, f=fields: Gemm(i, o, *f), (x,), [grid], grid_y, (out,))
        same_bytes(got, litert.run(content, x, "micro"))
