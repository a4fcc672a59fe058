"""Graphs of 22 operators of codes: every value between them byte for byte what LiteRT gives by the rule "float", and
what TensorFlow Lite Micro gives by "fixed"; and what the reference does."""

import litert
import numpy as np
import pytest
import reference
from litert_file import Operator, Tensor
from litert_file import model as file_of
from samples import codes, same_bytes

from qlite.nn.activation_tables import activation_table
from qlite.nn.plan import Plan
from qlite.nn.program import Buffer, Program
from qlite.nn.steps import (
    Add,
    AveragePool,
    Concatenate,
    Conv,
    ConvTranspose,
    Gemm,
    Lookup,
    MaxPool,
    Mean,
    Multiply,
    Pad,
    Prelu,
    Reshape,
    ResizeBilinear,
    SpaceToDepth,
    Subtract,
    Transpose,
)

RESOLVERS = {"float": "default", "fixed": "micro"}
TABLES = {"float": "litert", "fixed": "tflm"}
SAMPLES = 2
SAME, VALID = 0, 1


class Twins:
    """The same random operators as steps of a program and as operators of a file. Values are numbered as they come."""

    def __init__(self, rng, requant, shape):
        self.rng, self.requant = rng, requant
        self.buffers, self.steps, self.operators, self.tensors = [], [], [], []
        self.value(shape, (2.0 ** rng.uniform(-6, -2), int(rng.integers(-128, 128))))

    def value(self, shape, grid):
        scale, zero_point = float(np.float32(grid[0])), int(grid[1])
        name = f"v{len(self.buffers)}"
        self.buffers.append(Buffer(name, name, tuple(shape), "int8", scale, zero_point))
        self.tensors.append(Tensor((SAMPLES, *shape), np.int8, None, scale, zero_point))
        return len(self.buffers) - 1

    def grid(self, scale, activation=None):
        """A grid of about this scale: one in two times a power of two of it, which makes ties."""
        power = self.rng.integers(-1, 2) if self.rng.random() < 0.5 else self.rng.uniform(-1, 1)
        zero_point = -128 if activation else self.rng.integers(-50, 50)
        if self.rng.random() < 0.1:
            zero_point = self.rng.choice([-128, 0, 127])
        return scale * 2.0**power, int(zero_point)

    def scale(self, x):
        return self.buffers[x].scale

    def grid_of(self, x):
        return self.buffers[x].affine

    def shape(self, x):
        return self.buffers[x].shape

    def append(self, op, step, inputs, shape, grid, operands=None, version=2, **options):
        """`operands`: what the operator reads, numbers of values and constants, where that is not `inputs`."""
        y = self.value(shape, grid)
        self.steps.append(step(inputs, y))
        operands = inputs if operands is None else operands
        tensors = [self.tensors[i] if isinstance(i, int) else litert.constant(i) for i in operands]
        self.operators.append(Operator(op, tensors, self.tensors[y], options, version))
        return y

    def weights(self, shape, x, y_scale, axis):
        """Weights, their scales and a bias, such that results spread over the codes."""
        weight = self.rng.integers(-127, 128, shape).astype(np.int8)
        n = shape[axis]
        depth = weight.size / n
        scale = (self.rng.uniform(0.5, 1, n) * y_scale / self.scale(x) / (64 * depth**0.5)).astype(np.float32)
        bias = self.rng.integers(-2000, 2000, n).astype(np.int32)
        return weight, scale, bias, litert.Weights(bias, np.float32(self.scale(x)) * scale)

    def activation(self):
        return str(self.rng.choice(["none", "none", "relu", "relu6"])).replace("none", "") or None

    def conv(self, x, out=None, size=3, padding=SAME):
        """Depthwise without `out`."""
        height, width, channels = self.shape(x)
        activation = self.activation()
        grid = self.grid(0.05, activation)
        shape = (size, size, channels if out else 1, out or channels)
        weight, scale, bias, of_bias = self.weights(shape, x, grid[0], 3)
        side = (size - 1) // 2 if padding == SAME else 0
        fields = {"stride": (1, 1), "dilation": (1, 1), "padding": (side, side, side, side)}
        fields |= {"groups": 1 if out else channels, "weight": weight, "weight_scale": scale, "bias": bias}
        fields |= {"weight_zero_point": None, "activation": activation, "requant": self.requant}
        less = 0 if padding == SAME else size - 1
        options = {"padding": padding, "strideH": 1, "strideW": 1, "version": 3}
        options["fusedActivationFunction"] = litert.ACTIVATIONS[activation]
        if out:
            op, constant = "CONV_2D", litert.Weights(np.ascontiguousarray(np.moveaxis(weight, 3, 0)), scale, 0)
        else:
            op, constant = "DEPTHWISE_CONV_2D", litert.Weights(np.moveaxis(weight, 2, 0), scale, 3)
            options["depthMultiplier"] = 1
        result = (height - less, width - less, shape[3])
        return self.append(op, lambda i, o: Conv(i, o, **fields), (x,), result, grid, (x, constant, of_bias), **options)

    def conv_transpose(self, x, out, stride):
        height, width, channels = self.shape(x)
        size, grid = int(self.rng.integers(stride, 4)), self.grid(0.1)
        weight, scale, bias, of_bias = self.weights((size, size, channels, out), x, grid[0], 3)
        result = (height * stride, width * stride, out)
        cut = size - stride
        fields = {"stride": (stride, stride), "output_padding": (0, 0), "weight_zero_point": None}
        fields |= {"padding": (cut // 2, cut - cut // 2) * 2, "weight": weight, "weight_scale": scale, "bias": bias}
        fields |= {"activation": None, "requant": self.requant}
        constant = litert.Weights(np.ascontiguousarray(np.moveaxis(weight, 3, 0)), scale, 0)
        operands = (np.array((SAMPLES, *result), np.int32), constant, x, of_bias)
        options = {"padding": SAME, "strideH": stride, "strideW": stride, "version": 3}
        return self.append(
            "TRANSPOSE_CONV", lambda i, o: ConvTranspose(i, o, **fields), (x,), result, grid, operands, **options
        )

    def binary(self, op, kind, a, b, scale):
        activation = self.activation()
        shape = np.broadcast_shapes(self.shape(a), self.shape(b))
        fused = litert.ACTIVATIONS[activation]
        return self.append(
            op,
            lambda i, o: kind(i, o, activation, self.requant),
            (a, b),
            shape,
            self.grid(scale, activation),
            fusedActivationFunction=fused,
        )

    def function(self, op, name, x, grid, slope=0.01, version=1, **options):
        y = len(self.buffers)

        def step(inputs, output):
            table = activation_table(name, slope, self.buffers[x], self.buffers[y], TABLES[self.requant])
            return Lookup(inputs, output, table, name, slope)

        return self.append(op, step, (x,), self.shape(x), grid, version=version, **options)

    def moved(self, op, step, x, shape, *constants, **options):
        return self.append(op, step, (x,), shape, self.grid_of(x), (x, *constants), **options)


def graph(rng, requant):
    """22 operators of random shapes and grids."""
    height, width, channels = (int(n) for n in rng.integers((2, 2, 1), (6, 6, 7)))
    g = Twins(rng, requant, (height, width, int(rng.integers(1, 7))))
    first = g.conv(0, channels)
    leaky = g.function("LEAKY_RELU", "leaky_relu", first, g.grid(g.scale(first)), slope=0.125, version=2, alpha=0.125)
    sides = np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32)
    padded = (height + 2, width + 2, channels)
    pad = g.moved("PAD", lambda i, o: Pad(i, o, (1, 1, 1, 1, 0, 0)), leaky, padded, sides)
    inner = g.conv(pad, size=3, padding=VALID)

    axes = np.array([1, 2], np.int32)
    mean = g.append(
        "MEAN",
        lambda i, o: Mean(i, o, (0, 1), True, requant),
        (inner,),
        (1, 1, channels),
        g.grid(g.scale(inner) / 2),
        (inner, axes),
        keepDims=True,
    )
    gate = g.function("LOGISTIC", "sigmoid", mean, (1 / 256, -128), version=2)
    gated = g.binary("MUL", Multiply, inner, gate, g.scale(inner) / 2)
    added = g.binary("ADD", Add, gated, leaky, 1.5 * max(g.scale(gated), g.scale(leaky)))

    window = {"padding": SAME, "strideH": 2, "strideW": 2, "filterHeight": 2, "filterWidth": 2}
    halves = ((height + 1) // 2, (width + 1) // 2, channels)
    fields = {"size": (2, 2), "stride": (2, 2), "padding": (0, height % 2, 0, width % 2)}
    pooled = g.moved("MAX_POOL_2D", lambda i, o: MaxPool(i, o, **fields), added, halves, **window)
    half_pixels, size = bool(rng.integers(2)), np.array([height, width], np.int32)
    resized = g.moved(
        "RESIZE_BILINEAR",
        lambda i, o: ResizeBilinear(i, o, (height, width), False, half_pixels, requant),
        pooled,
        g.shape(added),
        size,
        version=3,
        halfPixelCenters=half_pixels,
    )
    difference = g.binary("SUB", Subtract, resized, added, g.scale(added))
    requantized = g.function("QUANTIZE", "identity", difference, g.grid_of(resized))
    joined = g.append(
        "CONCATENATION",
        lambda i, o: Concatenate(i, o, 2),
        (requantized, resized),
        (height, width, 2 * channels),
        g.grid_of(resized),
        axis=3,
    )
    swish = g.function("HARD_SWISH", "hard_swish", joined, g.grid(g.scale(joined)))
    up = g.conv_transpose(swish, int(rng.integers(1, 5)), 2)
    out = g.shape(up)[2]
    deep = g.moved(
        "SPACE_TO_DEPTH", lambda i, o: SpaceToDepth(i, o, 2), up, (height, width, 4 * out), blockSize=2, version=2
    )
    window = {"padding": SAME, "strideH": 1, "strideW": 1, "filterHeight": 3, "filterWidth": 3}
    fields = {"size": (3, 3), "stride": (1, 1), "padding": (1, 1, 1, 1)}
    smooth = g.moved("AVERAGE_POOL_2D", lambda i, o: AveragePool(i, o, **fields), deep, g.shape(deep), **window)
    curved = g.function("TANH", "tanh", smooth, (1 / 128, 0), version=2)

    slope = litert.Weights(
        codes(rng, (1, 1, 4 * out), np.int8), np.array([2.0 ** rng.uniform(-9, -6)], np.float32), 0, 3
    )
    bent = {"slope": slope.array.ravel(), "slope_scale": float(slope.scale[0]), "slope_zero_point": 3}
    prelu = g.append(
        "PRELU",
        lambda i, o: Prelu(i, o, **bent, requant=requant),
        (curved,),
        g.shape(curved),
        g.grid(g.scale(curved)),
        (curved, slope),
        version=1,
    )
    turned = g.moved(
        "TRANSPOSE",
        lambda i, o: Transpose(i, o, (1, 0, 2)),
        prelu,
        (width, height, 4 * out),
        np.array([0, 2, 1, 3], np.int32),
    )
    rows = (height * width, 4 * out)
    flat = g.moved(
        "RESHAPE",
        lambda i, o: Reshape(i, o, rows),
        turned,
        rows,
        np.array((SAMPLES, *rows), np.int32),
        newShape=[SAMPLES, *rows],
        version=1,
    )
    grid, units = g.grid(0.1), int(rng.integers(1, 9))
    weight, scale, bias, _ = g.weights((rows[1], units), flat, grid[0], 1)
    scale[:] = scale[0]  # TensorFlow Lite Micro has one
    operands = (
        flat,
        litert.Weights(np.ascontiguousarray(weight.T), scale[:1]),
        litert.Weights(bias, np.float32(g.scale(flat)) * scale[:1]),
    )
    g.append(
        "FULLY_CONNECTED",
        lambda i, o: Gemm(i, o, weight, scale, None, bias, None, requant),
        (flat,),
        (rows[0], units),
        grid,
        operands,
        version=5,
        keepNumDims=True,
    )
    return g


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("requant", RESOLVERS)
def test_graph_of_22(requant, seed):
    g = graph(np.random.default_rng([22, seed]), requant)
    assert len(g.operators) == 22
    x = codes(np.random.default_rng(seed), (SAMPLES, *g.buffers[0].shape), np.int8)
    results = [step.output for step in g.steps]
    program = Program(g.buffers, g.steps, (0,), tuple(results))
    content = file_of(g.operators, g.tensors[:1], [g.tensors[i] for i in results])
    expected = litert.run_all(content, x, RESOLVERS[requant])
    got, plain = Plan(program).run(x), reference.evaluate(program, x)
    for operator, number, ours, theirs in zip(g.operators, results, got, expected, strict=True):
        try:
            same_bytes(ours, theirs)
        except AssertionError as error:
            raise AssertionError(f"{operator.name}: {error}") from None
        same_bytes(ours, plain[number])
