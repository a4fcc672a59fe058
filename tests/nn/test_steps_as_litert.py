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
from qlite.nn.steps import (
    Add,
    AveragePool,
    Concatenate,
    Conv,
    DepthToSpace,
    Gemm,
    L2Normalize,
    MaxPool,
    Mean,
    MirrorPad,
    Multiply,
    Pad,
    ReduceMax,
    ReduceMin,
    Requantize,
    ResizeBilinear,
    ResizeNearest,
    Slice,
    SpaceToDepth,
    Subtract,
    Sum,
    Transpose,
)
from qlite.ops.window import window

DTYPES = ["int8", "uint8"]
RESOLVERS = {"float": "default", "fixed": "reference"}
PADDINGS = {"same": 0, "valid": 1}
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


#: Steps of two inputs, and the versions of LiteRT's operators that take both dtypes.
BINARY = {"ADD": (Add, 2), "SUB": (Subtract, 2), "MUL": (Multiply, 2)}


def any_grids(rng, op, dtype, requant):
    """Grids of two inputs and the output, of ratios at which the default path hands codes to XNNPACK.

    LiteRT's reference of MUL has a multiplier of float32, but that of TensorFlow Lite Micro, which "fixed" follows, is
    a double: with two scales that are powers of two it is the same.
    """
    grid_y, other = any_grid(rng, dtype), any_grid(rng, dtype)
    if op != "MUL":
        return [any_grid(rng, dtype, near=grid_y[0]) for _ in "ab"], grid_y
    if requant == "fixed":
        grid_y, other = ((2.0 ** np.rint(np.log2(scale)), z) for scale, z in (grid_y, other))
    return [other, any_grid(rng, dtype, near=grid_y[0] / other[0])], grid_y


def binary(op, a, b, y, grids, grid_y, requant, activation):
    """What LiteRT makes of two arrays of codes, and this step."""
    step, version = BINARY[op]
    options = {"version": version, "fusedActivationFunction": litert.ACTIVATIONS[activation]}
    expected = litert.run(litert.model(op, (a, b), y, tuple(grids), grid_y, **options), (a, b), RESOLVERS[requant])
    dtype, shape = a.dtype.name, y.shape[1:]
    got = computed(lambda i, o: step(i, o, activation, requant), dtype, (a, b), grids, grid_y, shape)
    return expected, got


@pytest.mark.parametrize("activation", [None, "relu", "relu6"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("requant", RESOLVERS)
@pytest.mark.parametrize("op", BINARY)
def test_two_inputs(rng, op, requant, dtype, activation):
    """All pairs of codes."""
    a, b = (np.array(v, np.uint8).view(dtype)[None] for v in zip(*product(range(256), repeat=2), strict=True))
    for _ in range(15):
        expected, got = binary(op, a, b, a, *any_grids(rng, op, dtype, requant), requant, activation)
        same_bytes(got, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("requant", RESOLVERS)
@pytest.mark.parametrize("op", BINARY)
def test_two_inputs_that_broadcast(rng, op, requant, dtype):
    for first, second in [
        ((5, 6, 7), (1, 1, 7)),
        ((5, 6, 1), (5, 6, 7)),
        ((1, 1, 1), (4, 3, 9)),
        ((4, 1, 9), (1, 3, 9)),
    ]:
        shape = np.broadcast_shapes(first, second)
        for _ in range(8):
            a, b = (codes(rng, (1, *s), np.dtype(dtype)) for s in (first, second))
            y = np.zeros((1, *shape), dtype)
            expected, got = binary(op, a, b, y, *any_grids(rng, op, dtype, requant), requant, None)
            same_bytes(got, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("requant", RESOLVERS)
@pytest.mark.parametrize("op", BINARY)
def test_two_inputs_where_six_is_between_two_codes(isa, rng, op, requant, dtype):
    a, b = (codes(rng, (1, 200), np.dtype(dtype)) for _ in "ab")
    for scale, above in product(scales_of_ties(6), ZERO_POINTS):
        grids, grid_y = [(0.125, lowest(dtype) + 7), (0.25, lowest(dtype) + 140)], (scale, lowest(dtype) + above)
        same_bytes(*binary(op, a, b, a, grids, grid_y, requant, "relu6")[::-1])


@pytest.mark.parametrize("requant", RESOLVERS)
def test_gemm_where_six_is_between_two_codes(isa, rng, requant):
    """At once and by way of its sums."""
    x, weight, scale_x = codes(rng, (40, 3), np.int8), codes(rng, (5, 3), np.int8), 2.0**-10
    options = {
        "version": 4,
        "constants": (litert.Weights(weight, np.ones(1, np.float32), 0),),
    }
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


def some_axes(rng):
    """Samples of one to three axes and some of these; whether they stay."""
    rank = int(rng.integers(1, 4))
    shape = (*(int(n) for n in rng.choice([1, 2, 3, 5, 7, 8, 16], rank - 1)), int(rng.choice([1, 5, 300])))
    axes = tuple(sorted(rng.choice(rank, int(rng.integers(1, rank + 1)), replace=False).tolist()))
    return shape, axes, bool(rng.random() < 0.5)


def reduced(op, x, axes, keepdims, grid, grid_y, resolver):
    """LiteRT's."""
    constants = (np.array([axis + 1 for axis in axes], np.int32),)
    options = {"options_type": "ReducerOptions", "keepDims": keepdims, "version": 2, "constants": constants}
    y = x.max(axis=tuple(axis + 1 for axis in axes), keepdims=keepdims)
    return litert.run(litert.model(op, x, y, grid, grid_y, **options), x, resolver)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("requant", RESOLVERS)
def test_mean(rng, requant, dtype):
    for _ in range(60):
        shape, axes, keepdims = some_axes(rng)
        x = codes(rng, (2, *shape), np.dtype(dtype))
        grid, grid_y = any_grid(rng, dtype), any_grid(rng, dtype)
        expected = reduced("MEAN", x, axes, keepdims, grid, grid_y, RESOLVERS[requant])
        step = lambda i, o, a=axes, k=keepdims: Mean(i, o, a, k, requant)  # noqa: E731
        same_bytes(computed(step, dtype, (x,), [grid], grid_y, expected.shape[1:]), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sum(rng, dtype):
    """The default path: the reference kernels divide sums by their number, and Micro has the fixed rule."""
    for _ in range(60):
        shape, axes, keepdims = some_axes(rng)
        x = codes(rng, (2, *shape), np.dtype(dtype))
        grid = any_grid(rng, dtype)
        grid_y = any_grid(rng, dtype, near=grid[0] * int(np.prod([shape[a] for a in axes])))
        expected = reduced("SUM", x, axes, keepdims, grid, grid_y, "default")
        step = lambda i, o, a=axes, k=keepdims: Sum(i, o, a, k, "float")  # noqa: E731
        same_bytes(computed(step, dtype, (x,), [grid], grid_y, expected.shape[1:]), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("resolver", RESOLVERS.values())
@pytest.mark.parametrize("op", ["REDUCE_MAX", "REDUCE_MIN"])
def test_extremes(rng, op, resolver, dtype):
    for _ in range(60):
        shape, axes, keepdims = some_axes(rng)
        x, grid = codes(rng, (2, *shape), np.dtype(dtype)), any_grid(rng, dtype)
        expected = reduced(op, x, axes, keepdims, grid, grid, resolver)
        kind = ReduceMax if op == "REDUCE_MAX" else ReduceMin
        step = lambda i, o, s=kind, a=axes, k=keepdims: s(i, o, a, k)  # noqa: E731
        same_bytes(computed(step, dtype, (x,), [grid], grid, expected.shape[1:]), expected)


@pytest.mark.parametrize("resolver", RESOLVERS.values())
def test_l2_normalize(rng, resolver):
    """Of int8; uint8 has another rule there."""
    for _ in range(60):
        shape = (int(rng.integers(1, 4)), int(rng.choice([1, 2, 3, 16, 64, 200, 1000])))
        zero_point = int(rng.integers(-128, 128))
        spread = int(rng.choice([1, 2, 30, 255]))
        x = np.clip(zero_point + rng.integers(-spread, spread + 1, (40, *shape)), -128, 127).astype(np.int8)
        grid, grid_y = (0.1, zero_point), (1 / 128, 0)
        options = {"options_type": "L2NormOptions", "version": 2, "fusedActivationFunction": 0}
        expected = litert.run(litert.model("L2_NORMALIZATION", x, x, grid, grid_y, **options), x, resolver)
        same_bytes(computed(L2Normalize, "int8", (x,), [grid], grid_y, shape), expected)


# ---- convolutions -----------------------------------------------------------------------------------


def image(rng, dtype="int8", channels=None):
    height, width = (int(n) for n in rng.integers(1, 9, 2))
    return codes(rng, (2, height, width, channels or int(rng.choice([1, 2, 3, 8, 17]))), np.dtype(dtype))


def windows(rng, x, dilations=(1,)):
    """Size, stride, dilation, "same" or "valid", and the sides and number of windows over images, whatever fits."""
    while True:
        size, stride = (tuple(int(n) for n in rng.integers(1, 4, 2)) for _ in range(2))
        dilation = tuple(int(rng.choice(dilations)) for _ in range(2))
        padding = str(rng.choice(list(PADDINGS)))
        try:
            *_, sides, out = window("x", x.shape[1:3], size, stride, padding, dilation)
        except ValueError:
            continue
        return size, stride, dilation, padding, (*sides[0], *sides[1]), out


@pytest.mark.parametrize("activation", litert.ACTIVATIONS)
@pytest.mark.parametrize("multiplier", [0, 1, 2], ids=["groups of all", "depthwise", "depthwise, 2 each"])
@pytest.mark.parametrize("requant", RESOLVERS)
def test_conv(rng, requant, multiplier, activation):
    """Weights of int8 with a scale for each output, CONV_2D and DEPTHWISE_CONV_2D."""
    for _ in range(40):
        x = image(rng)
        size, stride, dilation, padding, sides, shape = windows(rng, x, (1, 1, 2, 3) if multiplier < 2 else (1,))
        channels = x.shape[-1]
        out = channels * multiplier or int(rng.integers(1, 20))
        weight = rng.integers(-127, 128, (*size, 1 if multiplier else channels, out)).astype(np.int8)
        bias = rng.integers(-3000, 3000, out).astype(np.int32)
        grid, grid_y = any_grid(rng, "int8"), any_grid(rng, "int8")
        depth = weight[..., 0].size
        scale = rng.choice([2.0 ** rng.integers(-8, 0, out), rng.uniform(0.01, 1, out)]) / (8 * depth**0.5)
        scale = (scale * grid_y[0] / grid[0]).astype(np.float32)
        options = {"strideH": stride[0], "strideW": stride[1], "padding": PADDINGS[padding]}
        options |= {"dilationHFactor": dilation[0], "dilationWFactor": dilation[1]}
        options |= {"fusedActivationFunction": litert.ACTIVATIONS[activation], "version": 3}
        if multiplier:
            constant = litert.Weights(weight.reshape(1, *size, out), scale, 3)
            options["depthMultiplier"] = multiplier
        else:
            constant = litert.Weights(np.ascontiguousarray(np.moveaxis(weight, 3, 0)), scale, 0)
        constants = constant, litert.Weights(bias, np.float32(grid[0]) * scale, 0)
        y = np.zeros((2, *shape, out), np.int8)
        op = "DEPTHWISE_CONV_2D" if multiplier else "CONV_2D"
        expected = litert.run(
            litert.model(op, x, y, grid, grid_y, constants=constants, **options), x, RESOLVERS[requant]
        )
        fields = {"stride": stride, "dilation": dilation, "padding": sides, "groups": channels if multiplier else 1}
        fields |= {"weight": weight, "weight_scale": scale, "weight_zero_point": None, "bias": bias}
        fields |= {"activation": activation, "requant": requant}
        got = computed(lambda i, o, f=fields: Conv(i, o, **f), "int8", (x,), [grid], grid_y, y.shape[1:])
        same_bytes(got, expected)


# ---- what moves codes -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("resolver", RESOLVERS.values())
@pytest.mark.parametrize("op", ["MAX_POOL_2D", "AVERAGE_POOL_2D"])
def test_pool(rng, op, resolver, dtype):
    for _ in range(60):
        x = image(rng, dtype)
        size, stride, _, padding, sides, shape = windows(rng, x)
        options = {"filterHeight": size[0], "filterWidth": size[1], "strideH": stride[0], "strideW": stride[1]}
        options |= {"padding": PADDINGS[padding], "version": 2}
        grid, y = any_grid(rng, dtype), np.zeros((2, *shape, x.shape[-1]), dtype)
        expected = litert.run(litert.model(op, x, y, grid, grid, **options), x, resolver)
        step = MaxPool if op == "MAX_POOL_2D" else AveragePool
        fields = {"size": size, "stride": stride, "padding": sides}
        got = computed(lambda i, o, s=step, f=fields: s(i, o, **f), dtype, (x,), [grid], grid, y.shape[1:])
        same_bytes(got, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("resolver", RESOLVERS.values())
def test_pad(rng, resolver, dtype):
    for _ in range(40):
        x, padding = image(rng, dtype), rng.integers(0, 4, (3, 2))
        sides = np.concatenate([[[0, 0]], padding]).astype(np.int32)
        grid, y = any_grid(rng, dtype), np.pad(x, sides)
        options = {"version": 2, "constants": (sides,)}
        expected = litert.run(litert.model("PAD", x, y, grid, grid, **options), x, resolver)
        flat = tuple(padding.ravel().tolist())
        got = computed(lambda i, o, p=flat: Pad(i, o, p), dtype, (x,), [grid], grid, y.shape[1:])
        same_bytes(got, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("resolver", RESOLVERS.values())
def test_concatenation(rng, resolver, dtype):
    for _ in range(40):
        axis, count = int(rng.integers(3)), int(rng.integers(2, 9))
        shape = [int(n) for n in rng.integers(1, 6, 3)]
        x = []
        for length in rng.integers(1, 6, count):
            shape[axis] = int(length)
            x.append(codes(rng, (2, *shape), np.dtype(dtype)))
        x, y, grid = tuple(x), np.concatenate(x, axis=axis + 1), any_grid(rng, dtype)
        options = {"version": 2, "axis": axis + 1}
        expected = litert.run(litert.model("CONCATENATION", x, y, (grid,) * count, grid, **options), x, resolver)
        got = computed(lambda i, o, a=axis: Concatenate(i, o, a), dtype, x, [grid] * count, grid, y.shape[1:])
        same_bytes(got, expected)


@pytest.mark.parametrize("mode", ["reflect", "symmetric"])
@pytest.mark.parametrize("resolver", RESOLVERS.values())
def test_mirror_pad(rng, resolver, mode):
    for _ in range(40):
        x = image(rng)
        sides = np.array([[0, 0], *(rng.integers(0, n + (mode == "symmetric"), 2) for n in x.shape[1:])], np.int32)
        grid, y = any_grid(rng, "int8"), np.pad(x, sides, mode)
        options = {"options_type": "MirrorPadOptions", "version": 2, "constants": (sides,)}
        options["mode"] = ["reflect", "symmetric"].index(mode)
        expected = litert.run(litert.model("MIRROR_PAD", x, y, grid, grid, **options), x, resolver)
        flat = tuple(sides[1:].ravel().tolist())
        got = computed(lambda i, o, p=flat: MirrorPad(i, o, p, mode), "int8", (x,), [grid], grid, y.shape[1:])
        same_bytes(got, expected)


@pytest.mark.parametrize("requant", RESOLVERS)
def test_transpose(rng, requant):
    for _ in range(40):
        x, axes = image(rng), tuple(int(i) for i in rng.permutation(3))
        y, grid = x.transpose(0, *(i + 1 for i in axes)).copy(), any_grid(rng, "int8")
        options = {"options_type": "TransposeOptions", "version": 2}
        options["constants"] = (np.array([0, *(i + 1 for i in axes)], np.int32),)
        expected = litert.run(litert.model("TRANSPOSE", x, y, grid, grid, **options), x, RESOLVERS[requant])
        got = computed(lambda i, o, a=axes: Transpose(i, o, a), "int8", (x,), [grid], grid, y.shape[1:])
        same_bytes(got, expected)


@pytest.mark.parametrize("requant", RESOLVERS)
def test_slice(rng, requant):
    """Backwards too. LiteRT has -1 count from the end: forwards ends are masked where all is wanted."""
    for _ in range(60):
        x = image(rng)
        stride = tuple(int(n) for n in rng.choice([-2, -1, 1, 1, 2, 3], 3))
        begin = tuple(int(rng.integers(n)) for n in x.shape[1:])
        end = tuple(n if s > 0 else -1 for n, s in zip(x.shape[1:], stride, strict=True))
        y = x[:, *(slice(b, None, s) for b, s in zip(begin, stride, strict=True))].copy()
        grid, vectors = any_grid(rng, "int8"), ((0, *begin), x.shape, (1, *stride))
        options = {"options_type": "StridedSliceOptions", "version": 2, "beginMask": 1, "endMask": 0b1111}
        options["constants"] = tuple(np.array(v, np.int32) for v in vectors)
        expected = litert.run(litert.model("STRIDED_SLICE", x, y, grid, grid, **options), x, RESOLVERS[requant])
        fields = {"begin": begin, "end": end, "stride": stride}
        got = computed(lambda i, o, f=fields: Slice(i, o, **f), "int8", (x,), [grid], grid, y.shape[1:])
        same_bytes(got, expected)


@pytest.mark.parametrize("requant", RESOLVERS)
@pytest.mark.parametrize("op", ["DEPTH_TO_SPACE", "SPACE_TO_DEPTH"])
def test_blocks(rng, op, requant):
    for _ in range(40):
        block, (height, width, channels) = int(rng.integers(1, 4)), (int(n) for n in rng.integers(1, 6, 3))
        deep, wide = (height, width, channels * block**2), (height * block, width * block, channels)
        before, after, kind = (deep, wide, DepthToSpace) if op == "DEPTH_TO_SPACE" else (wide, deep, SpaceToDepth)
        x, y, grid = codes(rng, (2, *before), np.int8), np.zeros((2, *after), np.int8), any_grid(rng, "int8")
        name = "DepthToSpaceOptions" if kind is DepthToSpace else "SpaceToDepthOptions"
        options = {"options_type": name, "version": 1, "blockSize": block}
        expected = litert.run(litert.model(op, x, y, grid, grid, **options), x, RESOLVERS[requant])
        got = computed(lambda i, o, k=kind, b=block: k(i, o, b), "int8", (x,), [grid], grid, after)
        same_bytes(got, expected)


#: align_corners, half_pixel_centers
RESIZES = [(False, False), (True, False), (False, True)]


def resized(rng, op, x, requant, mode):
    """What LiteRT makes of images, and this step."""
    dtype, size = x.dtype.name, tuple(int(n) for n in rng.integers(1, 20, 2))
    if rng.random() < 0.5:  # as networks do: twice or four times as large
        size = tuple(int(n * rng.choice([2, 4])) for n in x.shape[1:3])
    grid, y = any_grid(rng, dtype), np.zeros((2, *size, x.shape[-1]), dtype)
    kind = {"RESIZE_BILINEAR": "ResizeBilinearOptions", "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions"}[op]
    options = {"options_type": kind, "version": 3, "constants": (np.array(size, np.int32),)}
    options |= {"alignCorners": mode[0], "halfPixelCenters": mode[1]}
    expected = litert.run(litert.model(op, x, y, grid, grid, **options), x, RESOLVERS[requant])
    if op == "RESIZE_BILINEAR":
        return expected, lambda i, o: ResizeBilinear(i, o, size, *mode, requant), grid
    return expected, lambda i, o: ResizeNearest(i, o, size, *mode), grid


@pytest.mark.parametrize("mode", RESIZES, ids=str)
@pytest.mark.parametrize("requant", RESOLVERS)
@pytest.mark.parametrize("op", ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"])
def test_resize(rng, op, requant, mode):
    for _ in range(60):
        x = image(rng)
        expected, step, grid = resized(rng, op, x, requant, mode)
        same_bytes(computed(step, "int8", (x,), [grid], grid, expected.shape[1:]), expected)
