"""Graphs of steps as the core takes them, by hand and random, and what the reference makes of them."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
from reference.program import STEPS
from samples import codes, zero_points

from qlite import _core

CODES = ("int8", "uint8")


#: Elements of a buffer that is not made greater: chains of steps could make one of millions.
MOST_TO_PAD = 1000


def buffer(dtype, shape, scale=0.0, zero_point=0, row_scale=-1, row_zero_point=-1, bits=8):
    return dtype, shape, scale, zero_point, row_scale, row_zero_point, bits


@dataclass
class Graph:
    """Buffers and steps."""

    buffers: list = field(default_factory=list)
    steps: list = field(default_factory=list)
    inputs: tuple = ()
    outputs: tuple = ()

    def add_buffer(self, *fields, **named):
        self.buffers.append(buffer(*fields, **named))
        return len(self.buffers) - 1

    def add_step(self, kind, inputs, output, **fields):
        self.steps.append((kind, {"inputs": inputs, "output": output, **fields}))
        return output

    def plan(self):
        plan = _core.Plan(self.buffers, self.inputs, self.outputs)
        for kind, fields in self.steps:
            plan.add(kind, fields)
        plan.finish()
        return plan

    def evaluate(self, *arrays):
        names = ("dtype", "shape", "scale", "zero_point", "row_scale", "row_zero_point", "bits")
        buffers = [SimpleNamespace(**dict(zip(names, b, strict=True))) for b in self.buffers]
        for b in buffers:
            b.row_scale, b.row_zero_point = (None if i < 0 else i for i in (b.row_scale, b.row_zero_point))
        values = [None] * len(buffers)
        for i, array in zip(self.inputs, arrays, strict=True):
            values[i] = array
        for kind, fields in self.steps:
            STEPS[kind](buffers, SimpleNamespace(kind=kind, **fields), values)
        return values

    def with_rows(self, i):
        return {i, *(row for row in self.buffers[i][4:6] if row >= 0)}

    def read(self, first, last):
        return {i for _, fields in self.steps[first:last] for n in fields["inputs"] for i in self.with_rows(n)}

    def written(self, first, last):
        return set().union(*(self.with_rows(fields["output"]) for _, fields in self.steps[first:last]))

    def with_values(self):
        """The buffers that are given or that a step writes."""
        return {*self.inputs, *self.written(0, len(self.steps))}

    def samples(self, rng, count):
        """Values for the inputs."""
        arrays = []
        for i in self.inputs:
            dtype, shape, *_ = self.buffers[i]
            if dtype == "float32":
                arrays.append(rng.normal(size=(count, *shape)).astype(np.float32))
            else:
                arrays.append(codes(rng, (count, *shape), np.dtype(dtype)))
        return arrays


# ---- random graphs ----------------------------------------------------------------------------------


def weights(rng, k, n):
    dtype = np.dtype(rng.choice(CODES))
    return {
        "weight": codes(rng, (k, n), dtype),
        "weight_scale": rng.uniform(0.5, 1, n).astype(np.float32) / (60 * k),
        "weight_zero_point": zero_points(rng, n, dtype) if rng.random() < 0.5 else None,
        "activation": (None, "relu", "relu6")[rng.integers(3)],
    }


def affine(rng, shape):
    """A buffer of codes of this shape: of any dtype and width, with a scale and a zero point."""
    dtype, bits = str(rng.choice(CODES)), int(rng.choice([8, 8, rng.integers(1, 8)]))
    lowest = -(2 ** (bits - 1)) if dtype == "int8" else 0
    scale, zero_point = float(np.float32(rng.uniform(0.01, 0.05))), int(rng.integers(lowest, lowest + 2**bits))
    return buffer(dtype, shape, scale * 2 ** (8 - bits), zero_point, bits=bits)


def normalize(rng, graph, x):
    shape = graph.buffers[x][1]
    mean, scale = rng.normal(size=shape[-1]), rng.uniform(0.7, 1.5, shape[-1])
    fields = {"mean": mean.astype(np.float32), "scale": scale.astype(np.float32)}
    return graph.add_step("normalize", (x,), graph.add_buffer("float32", shape), **fields)


def quantize(rng, graph, x):
    return graph.add_step("quantize", (x,), graph.add_buffer(*affine(rng, graph.buffers[x][1])))


def quantize_dynamic(rng, graph, x):
    """On a grid for each row, or for each sample."""
    shape = graph.buffers[x][1]
    own = (*shape[:-1], 1) if rng.random() < 0.5 else (1,) * len(shape)
    rows = [graph.add_buffer(dtype, own) for dtype in ("float32", "int32")]
    return graph.add_step("quantize_dynamic", (x,), graph.add_buffer("uint8", shape, 0.0, 0, *rows))


def dequantize(rng, graph, x):
    return graph.add_step("dequantize", (x,), graph.add_buffer("float32", graph.buffers[x][1]))


def gemm(rng, graph, x):
    (_, (*rows, k), *_, row_scale, _, _), n = graph.buffers[x], int(rng.integers(1, 40))
    is_dynamic = row_scale >= 0
    bias = rng.normal(size=n).astype(np.float32) if is_dynamic else rng.integers(-5000, 5000, n, dtype=np.int32)
    fields = weights(rng, k, n) | {"bias": bias if rng.random() < 0.7 else None, "requant": rule(rng)}
    if not is_dynamic and rng.random() < 0.3:
        return graph.add_step("gemm", (x,), graph.add_buffer("int32", (*rows, n)), **fields | {"activation": None})
    output = graph.add_buffer(*(buffer("float32", (*rows, n)) if is_dynamic else result(rng, (*rows, n))))
    return graph.add_step("gemm", (x,), output, **fields)


def places(rng, length, size):
    """Stride, dilation and padding of windows of a size that fit along an axis, and how many there are."""
    stride, dilation, before = (int(n) for n in rng.integers((1, 1, 0), (3, 3, 3)))
    span = (size - 1) * dilation + 1
    after = max(span - length - before, 0) + int(rng.integers(0, 2))
    return stride, dilation, (before, after), (before + length + after - span) // stride + 1


def convolution(rng, graph, x):
    """Fields of windows of any kind, with codes as weights, and the output's shape; windows of one place along the axes
    that an image of lower rank lacks."""
    (_, (*lead, channels), *_), is_product = graph.buffers[x], rng.random() < 0.2
    image = (*(1,) * (2 - len(lead)), *lead)
    size = (1, 1) if is_product else tuple(int(n) for n in rng.integers(1, 4, 2))
    options = [(1, 1, (0, 0), n) if is_product else places(rng, n, k) for n, k in zip(image, size, strict=True)]
    for axis in range(2 - len(lead)):
        while options[axis][3] != 1:
            options[axis] = places(rng, 1, size[axis])
    stride, dilation, padding, out_hw = zip(*options, strict=True)
    groups = int(rng.choice([n for n in (1, 2, 3, channels) if channels % n == 0]))
    out = groups * int(rng.integers(1, 20 if groups == 1 else 4))
    fields = weights(rng, channels // groups * size[0] * size[1], out)
    fields["weight"] = fields["weight"].reshape(*size, channels // groups, out)
    fields |= {"groups": groups, "stride": stride, "dilation": dilation, "padding": padding[0] + padding[1]}
    return fields, (*out_hw[2 - len(lead) :], out)


def conv(rng, graph, x):
    return of_sums(rng, graph, x, "conv", *convolution(rng, graph, x))


def of_sums(rng, graph, x, kind, fields, shape):
    is_dynamic, out = graph.buffers[x][4] >= 0, shape[-1]
    bias = rng.normal(size=out).astype(np.float32) if is_dynamic else rng.integers(-5000, 5000, out, dtype=np.int32)
    fields |= {"bias": bias if rng.random() < 0.7 else None, "requant": rule(rng)}
    if not is_dynamic and rng.random() < 0.3:
        return graph.add_step(kind, (x,), graph.add_buffer("int32", shape), **fields | {"activation": None})
    output = graph.add_buffer(*(buffer("float32", shape) if is_dynamic else result(rng, shape)))
    return graph.add_step(kind, (x,), output, **fields)


def conv_f32(rng, graph, x):
    return of_floats(rng, graph, x, "conv_f32", *convolution(rng, graph, x))


def of_floats(rng, graph, x, kind, fields, shape):
    """By codes or by floats."""
    fields["bias"] = rng.normal(size=shape[-1]).astype(np.float32) if rng.random() < 0.7 else None
    if rng.random() < 0.5:
        weight = rng.normal(size=fields["weight"].shape).astype(np.float32) / fields["weight"].size
        fields |= {"weight": weight, "weight_scale": None, "weight_zero_point": None}
    return graph.add_step(kind, (x,), graph.add_buffer("float32", shape), **fields)


def transposed(rng, graph, x):
    """Fields of a transposed convolution, and the shape of its result."""
    *lengths, channels = graph.buffers[x][1]
    size, stride, more = (tuple(int(n) for n in rng.integers(low, high, 2)) for low, high in ((1, 4), (1, 4), (0, 2)))
    sides = [(int(rng.integers(k)), 0) if rng.random() < 0.5 else (0, int(rng.integers(k))) for k in size]
    out = int(rng.integers(1, 20))
    fields = weights(rng, size[0] * size[1] * channels, out)
    fields["weight"] = fields["weight"].reshape(*size, channels, out)
    fields |= {"stride": stride, "padding": sides[0] + sides[1], "output_padding": more}
    sums = zip(lengths, size, stride, sides, more, strict=True)
    return fields, (*((n - 1) * s + k - sum(side) + m for n, k, s, side, m in sums), out)


def conv_transpose(rng, graph, x):
    return of_sums(rng, graph, x, "conv_transpose", *transposed(rng, graph, x))


def conv_transpose_f32(rng, graph, x):
    return of_floats(rng, graph, x, "conv_transpose_f32", *transposed(rng, graph, x))


def rule(rng):
    return ("float", "fixed")[rng.integers(2)]


def result(rng, shape):
    """A buffer for what becomes of sums."""
    return buffer("float32", shape) if rng.random() < 0.3 else affine(rng, shape)


def requantize(rng, graph, x):
    shape = graph.buffers[x][1]
    fields = {"input_scale": 0.02, "requant": rule(rng), "activation": (None, "relu", "relu6")[rng.integers(3)]}
    fields["weight_scale"] = rng.uniform(0.5, 1, shape[-1]).astype(np.float32) / 60
    return graph.add_step("requantize", (x,), graph.add_buffer(*result(rng, shape)), **fields)


def gemm_f32(rng, graph, x):
    (_, (*rows, k), *_), n = graph.buffers[x], int(rng.integers(1, 40))
    bias = rng.normal(size=n).astype(np.float32) if rng.random() < 0.7 else None
    return graph.add_step("gemm_f32", (x,), graph.add_buffer("float32", (*rows, n)), **weights(rng, k, n), bias=bias)


def add(rng, graph, x):
    dtype, shape, *_ = graph.buffers[x]
    output = graph.add_buffer(*(buffer("float32", shape) if dtype == "float32" else grid_of(rng, dtype, shape)))
    fields = {"activation": (None, "relu", "relu6")[rng.integers(3)], "requant": rule(rng)}
    return graph.add_step("add", (x, like(rng, graph, x)), output, **fields)


def grid_of(rng, dtype, shape):
    """A buffer of codes of this dtype and shape."""
    while (made := affine(rng, shape))[0] != dtype:
        pass
    return made


def like(rng, graph, x):
    """A buffer that has a value, of the dtype and shape of another one, with one scale if these are codes."""
    filled = graph.with_values()
    alike = [i for i, b in enumerate(graph.buffers) if i in filled and b[:2] == graph.buffers[x][:2] and b[4] < 0]
    return int(rng.choice(alike))


def mean(rng, graph, x):
    dtype, shape, *_ = graph.buffers[x]
    output = buffer("float32", shape[-1:]) if dtype == "float32" else grid_of(rng, dtype, shape[-1:])
    fields = {"axes": tuple(range(len(shape) - 1)), "keepdims": False, "requant": rule(rng)}
    return graph.add_step("mean", (x,), graph.add_buffer(*output), **fields)


def reshaped(graph, x, shape):
    """A buffer like another one, of another shape."""
    dtype, _, *rest = graph.buffers[x]
    return graph.add_buffer(dtype, shape, *rest)


def concatenate(rng, graph, x):
    """Up to three times the same, or what has its grid."""
    filled, shape = graph.with_values(), graph.buffers[x][1]
    alike = [i for i, b in enumerate(graph.buffers) if i in filled and b == graph.buffers[x]]
    inputs = (x, *(int(i) for i in rng.choice(alike, rng.integers(0, 3))))
    axis = int(rng.integers(len(shape)))
    shape = (*shape[:axis], shape[axis] * len(inputs), *shape[axis + 1 :])
    return graph.add_step("concatenate", inputs, reshaped(graph, x, shape), axis=axis)


def pad(rng, graph, x):
    shape = graph.buffers[x][1]
    padding = tuple(int(n) for n in rng.integers(0, 3, 2 * len(shape)))
    padded = tuple(n + before + after for n, before, after in zip(shape, padding[::2], padding[1::2], strict=True))
    return graph.add_step("pad", (x,), reshaped(graph, x, padded), padding=padding)


def pool(rng, graph, x):
    """Windows over images of rank 1 to 3; what has no height or width has one window along it."""
    shape = graph.buffers[x][1]
    image = (1,) * (3 - len(shape)) + shape
    size, stride, padding, out = [], [], [], []
    for axis in (0, 1):
        size.append(int(rng.integers(1, image[axis] + 2)))
        before, after = (int(n) for n in rng.integers(0, size[-1], 2))
        after = max(after, size[-1] - image[axis] - before)
        stride.append(int(rng.integers(1, 4)) if axis + len(shape) >= 3 else 9)
        padding += [before, after]
        out.append((image[axis] + before + after - size[-1]) // stride[-1] + 1)
    fields = {"size": tuple(size), "stride": tuple(stride), "padding": tuple(padding)}
    kind = ("max_pool", "average_pool")[rng.integers(2)]
    return graph.add_step(kind, (x,), reshaped(graph, x, (*out[3 - len(shape) :], shape[-1])), **fields)


def reshape(rng, graph, x):
    dtype, shape, *rest = graph.buffers[x]
    shape = (int(np.prod(shape)),) if len(shape) > 3 or rng.random() < 0.5 else (1, *shape)
    return graph.add_step("reshape", (x,), graph.add_buffer(dtype, shape, *rest), shape=shape)


def activate(rng, graph, x):
    function = str(rng.choice(["relu6", "leaky_relu", "sigmoid", "softmax"]))
    return graph.add_step(
        "activate", (x,), graph.add_buffer("float32", graph.buffers[x][1]), function=function, slope=0.1
    )


def lookup(rng, graph, x):
    y = graph.add_buffer(*affine(rng, graph.buffers[x][1]))
    dtype, *_, bits = graph.buffers[y]
    lowest = -(2 ** (bits - 1)) if dtype == "int8" else 0
    table = rng.integers(lowest, lowest + 2**bits, 256).astype(dtype)
    return graph.add_step("lookup", (x,), y, table=table, function=None, slope=1.0)


def softmax(rng, graph, x):
    dtype, shape, *_ = graph.buffers[x]
    y = graph.add_buffer(dtype, shape, 2**-8, -128 if dtype == "int8" else 0)
    return graph.add_step("softmax", (x,), y, requant=rule(rng))


def fitting(graph, x):
    """The steps that can read a buffer."""
    dtype, shape, *_, row_scale, _, _ = graph.buffers[x]
    if dtype == "int32":
        return [requantize]
    own = None if row_scale < 0 else graph.buffers[row_scale][1]
    products = [gemm] if shape and own in (None, (*shape[:-1], 1)) else []
    products += [conv] if 1 <= len(shape) <= 3 and own in (None, (1,) * len(shape)) else []
    is_small_image = len(shape) == 3 and np.prod(shape) < MOST_TO_PAD
    products += [conv_transpose] if is_small_image and own in (None, (1, 1, 1)) else []
    if row_scale >= 0:
        return products
    steps = [add, quantize, reshape] if dtype == "float32" else [*products, add, dequantize, lookup, reshape]
    if shape:
        dynamic = [quantize_dynamic] if len(shape) <= 3 else []
        steps += [normalize, *dynamic, gemm_f32, activate] if dtype == "float32" else [softmax]
        steps += [mean, concatenate] + ([pool] if len(shape) <= 3 else [])
        steps += [conv_f32] if len(shape) <= 3 and dtype == "float32" else []
        steps += [conv_transpose_f32] if is_small_image and dtype == "float32" else []
    return [*steps, pad] if np.prod(shape) < MOST_TO_PAD else steps


def random_graph(rng, step_count):
    """Steps that often read what the last ones wrote, on one to three inputs; with one to four outputs."""
    graph = Graph()
    for _ in range(rng.integers(1, 4)):
        shape = tuple(int(n) for n in rng.integers(1, 6, rng.integers(0, 5)))
        if rng.random() < 0.7:
            graph.add_buffer("float32", shape)
        else:
            graph.add_buffer(*affine(rng, shape))
    live = list(range(len(graph.buffers)))
    graph.inputs = tuple(live)
    for _ in range(step_count):
        x = live[rng.integers(max(0, len(live) - 5), len(live))] if rng.random() < 0.7 else int(rng.choice(live))
        steps = fitting(graph, x)
        live.append(steps[rng.integers(len(steps))](rng, graph, x))
    written = sorted(graph.written(0, step_count))
    graph.outputs = tuple(int(i) for i in rng.permutation(written)[: rng.integers(1, 5)])
    return graph


def as_tuple(result):
    return result if isinstance(result, tuple) else (result,)


def layers(rng, count, width, dtype="uint8"):
    """Equal layers from codes to codes."""
    graph = Graph(inputs=(0,), outputs=(count,))
    for _ in range(count + 1):
        graph.add_buffer(dtype, (width,), 0.02, 7)
    for i in range(count):
        fields = weights(rng, width, width) | {"bias": None, "requant": "float"}
        graph.add_step("gemm", (i,), i + 1, **fields)
    return graph
