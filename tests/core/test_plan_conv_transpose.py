"""The steps of transposed convolutions: every kind of kernel, channel, code and result, next to the reference on every
instruction set; what they do with other weights; what they refuse."""

from itertools import product

import numpy as np
import pytest
from graphs import Graph, buffer, rule, weights
from samples import codes, same_bytes

import qlite as ql

pytestmark = pytest.mark.products

# image, kernel, stride, padding (top, bottom, left, right), output padding
KERNELS = {
    "2x2 stride 2": ((7, 5), (2, 2), (2, 2), (0, 0, 0, 0), (0, 0)),
    "3x3 stride 2": ((6, 7), (3, 3), (2, 2), (0, 1, 0, 1), (0, 0)),
    "3x3 stride 2, an odd result": ((6, 7), (3, 3), (2, 2), (1, 1, 1, 1), (0, 0)),
    "4x4 stride 2": ((5, 8), (4, 4), (2, 2), (1, 1, 1, 1), (0, 0)),
    "3x3": ((5, 4), (3, 3), (1, 1), (1, 1, 1, 1), (0, 0)),
    "a pixel": ((5, 4), (1, 1), (1, 1), (0, 0, 0, 0), (0, 0)),
    "a pixel, stride 2": ((3, 4), (1, 1), (2, 2), (0, 0, 0, 0), (1, 1)),
    "gaps": ((3, 2), (2, 1), (4, 3), (1, 0, 0, 0), (2, 5)),
    "5x2 by 3x1": ((4, 6), (5, 2), (3, 1), (4, 0, 0, 1), (0, 1)),
    "1x7 by 2x3": ((3, 3), (1, 7), (2, 3), (0, 0, 5, 6), (0, 0)),
    "a pixel of the image": ((1, 1), (4, 3), (2, 2), (1, 2, 0, 1), (0, 0)),
    "most is cut off": ((1, 2), (5, 4), (3, 3), (4, 0, 3, 3), (0, 0)),
    "in place": ((4, 5), (3, 3), (2, 2), (1, 2, 1, 2), (0, 0)),
}
CHANNELS = [(3, 17), (16, 8), (1, 5), (33, 1), (8, 4), (20, 48), (80, 32)]
RESULTS = ("uint8", "int8", "int32", "float32", "narrow")
KINDS = ("uint8", "int8", "narrow", "dynamic", "floats", "codes")


def grid(rng, dtype, bits=8):
    lowest = -(2 ** (bits - 1)) if dtype == "int8" else 0
    return float(np.float32(0.02 * 2 ** (8 - bits))), int(rng.integers(lowest, lowest + 2**bits)), -1, -1, bits


def lengths(image, kernel, stride, padding, more):
    sides = padding[:2], padding[2:]
    sums = zip(image, kernel, stride, sides, more, strict=True)
    return tuple((n - 1) * s + k - sum(side) + m for n, k, s, side, m in sums)


def one_step(rng, kernel, channels, kind="uint8", result="uint8", image=None, **changes):
    """A graph of one step; `kind` is the dtype of its input, "dynamic", "narrow", or weights of an input of floats."""
    own_image, size, stride, padding, more = kernel
    count, out = channels
    image = image or own_image
    shape, target = (*image, count), (*lengths(image, size, stride, padding, more), out)
    graph = Graph(inputs=(0,))
    is_float = kind in ("floats", "codes")
    fields = weights(rng, size[0] * size[1] * count, out)
    fields["weight"] = fields["weight"].reshape(*size, count, out)
    fields |= {"stride": stride, "padding": padding, "output_padding": more}
    fields["bias"] = rng.normal(size=out).astype(np.float32)
    if is_float or kind == "dynamic":
        result = "float32"
    else:
        fields["bias"] = rng.integers(-999, 999, out, np.int32)
    if kind == "floats":
        floats = rng.normal(size=fields["weight"].shape).astype(np.float32)
        fields |= {"weight": floats, "weight_scale": None, "weight_zero_point": None}
    if kind == "dynamic":
        graph.add_buffer("float32", shape)
        own = [graph.add_buffer(dtype, (1, 1, 1)) for dtype in ("float32", "int32")]
        x = graph.add_step("quantize_dynamic", (0,), graph.add_buffer("uint8", shape, 0.0, 0, *own))
    elif kind == "narrow":
        dtype, bits = str(rng.choice(["uint8", "int8"])), int(rng.integers(1, 8))
        x = graph.add_buffer(dtype, shape, *grid(rng, dtype, bits))
    else:
        x = graph.add_buffer("float32", shape) if is_float else graph.add_buffer(kind, shape, *grid(rng, kind))
    if result == "narrow":
        y = graph.add_buffer("int8", target, *grid(rng, "int8", 4))
    elif result in ("int32", "float32"):
        y = graph.add_buffer(result, target)
    else:
        y = graph.add_buffer(result, target, *grid(rng, result))
    if result == "int32":
        fields["activation"] = None
    if not is_float:
        fields["requant"] = rule(rng)
    graph.add_step("conv_transpose_f32" if is_float else "conv_transpose", (x,), y, **fields | changes)
    graph.outputs = (y,)
    return graph


def check(rng, graph, count=3):
    arrays = graph.samples(rng, count)
    same_bytes(graph.plan().run(*arrays), graph.evaluate(*arrays)[graph.outputs[0]])


@pytest.mark.parametrize("channels", CHANNELS, ids=lambda c: "-".join(map(str, c)))
@pytest.mark.parametrize("kernel", KERNELS)
def test_every_kernel(isa, rng, kernel, channels):
    for kind, result in zip(KINDS, [*rng.permutation(RESULTS), ""], strict=True):
        check(rng, one_step(rng, KERNELS[kernel], channels, kind, str(result)))


@pytest.mark.parametrize("result", RESULTS)
@pytest.mark.parametrize("kind", ["uint8", "int8", "narrow"])
def test_every_result(isa, rng, kind, result):
    activations = [None] if result == "int32" else [None, "relu", "relu6"]
    for channels, kernel, activation, requant in product(
        ((6, 20), (40, 3)), ("2x2 stride 2", "3x3 stride 2"), activations, ("float", "fixed")
    ):
        check(rng, one_step(rng, KERNELS[kernel], channels, kind, result, activation=activation, requant=requant))


@pytest.mark.parametrize("kind", ["dynamic", "floats", "codes"])
@pytest.mark.parametrize("channels", [(6, 20), (40, 1)], ids=str)
def test_floats(isa, rng, channels, kind):
    """With scales of samples, and as they are; with and without a bias."""
    for kernel, activation, bias in product(("2x2 stride 2", "4x4 stride 2"), (None, "relu6"), (True, False)):
        changes = {} if bias else {"bias": None}
        graph = one_step(rng, KERNELS[kernel], channels, kind, activation=activation, **changes)
        (x,) = graph.samples(rng, 4)
        x *= np.float32([1e-3, 1, 0, 1e6]).reshape(4, 1, 1, 1)
        same_bytes(graph.plan().run(x), graph.evaluate(x)[graph.outputs[0]])


@pytest.mark.parametrize("kind", ["uint8", "dynamic", "floats"])
@pytest.mark.parametrize("kernel", ["2x2 stride 2", "3x3 stride 2, an odd result"])
def test_images_larger_than_a_stage(isa, rng, kernel, kind):
    """Some rows of an image at a time, on any number of threads."""
    threads = ql.get_num_threads()
    graph = one_step(rng, KERNELS[kernel], (24, 5), kind, image=(101, 97))
    arrays = graph.samples(rng, 2)
    expected = graph.evaluate(*arrays)[graph.outputs[0]]
    try:
        for count in (1, 2, 5):
            ql.set_num_threads(count)
            plan = graph.plan()
            for other in (count, 1, 7):
                ql.set_num_threads(other)
                same_bytes(plan.run(*arrays), expected)
    finally:
        ql.set_num_threads(threads)


@pytest.mark.parametrize("kind", ["int8", "floats"])
@pytest.mark.parametrize("count", [0, 1, 95, 97, 200])
def test_any_number_of_samples(isa, rng, count, kind):
    for channels in ((4, 6), (9, 1)):
        check(rng, one_step(rng, KERNELS["3x3 stride 2"], channels, kind), count)


def test_zero_points_of_every_kind(isa, rng):
    """Where the image ends its codes are zeros."""
    for dtype, z in [("uint8", 0), ("uint8", 255), ("uint8", 77), ("int8", -128), ("int8", 127), ("int8", -5)]:
        for kernel in ("a pixel of the image", "3x3 stride 2"):
            graph = one_step(rng, KERNELS[kernel], (3, 5), dtype, "int32")
            graph.buffers[0] = buffer(dtype, graph.buffers[0][1], 0.02, z)
            check(rng, graph)


# ---- other weights ----------------------------------------------------------------------------------


def far(rng, shape, parts):
    """Weights that take so many terms of int8."""
    zero_point = {1: 127, 2: 1, 3: 0}[parts]
    weight = rng.integers(0, 256, shape, np.uint8)
    weight.flat[:2] = 0, 255
    return {"weight": weight, "weight_zero_point": np.full(shape[-1], zero_point, np.int32)}


@pytest.mark.parametrize("kernel", ["2x2 stride 2", "3x3 stride 2"])
@pytest.mark.parametrize("kind", ["uint8", "dynamic", "codes"])
def test_updates_take_any_weights(isa, rng, kind, kernel):
    """Whatever number of terms these have."""
    graph = one_step(rng, KERNELS[kernel], (5, 9), kind)
    number, (step, fields) = len(graph.steps) - 1, graph.steps[-1]
    arrays = graph.samples(rng, 40)
    for first in (1, 2, 3):
        graph.steps[-1] = step, fields | far(rng, fields["weight"].shape, first)
        plan = graph.plan()
        for parts in (first, 3, 1, 2):
            changed = fields | far(rng, fields["weight"].shape, parts) | {"bias": -fields["bias"]}
            graph.steps[-1] = step, changed
            plan.update([], [(number, changed)])
            same_bytes(plan.run(*arrays), graph.evaluate(*arrays)[graph.outputs[0]])


def test_an_update_that_fails_changes_nothing(isa, rng):
    for kind in ("uint8", "floats"):
        graph = one_step(rng, KERNELS["3x3 stride 2"], (3, 4), kind)
        ((_, fields),) = graph.steps
        plan, arrays = graph.plan(), graph.samples(rng, 3)
        before = plan.run(*arrays)
        refused = [{"weight": fields["weight"][..., :3]}, {"stride": (2, 1)}]
        refused += [{"weight_scale": np.full(4, 1e30, np.float32)}] if kind == "uint8" else []
        for changes in refused:
            with pytest.raises(ValueError, match=r"^conv_transpose"):
                plan.update([], [(0, fields | changes)])
            same_bytes(plan.run(*arrays), before)


# ---- what is refused --------------------------------------------------------------------------------


REFUSED = {
    "a stride of 0": {"stride": (0, 2)},
    "one stride": {"stride": (2,)},
    "a huge stride": {"stride": (2**31 - 1, 2)},
    "a stride with another result": {"stride": (2, 3)},
    "negative padding": {"padding": (-1, 2, 0, 1)},
    "two paddings": {"padding": (0, 1)},
    "padding with another result": {"padding": (0, 1, 0, 0)},
    "padding of a kernel": {"padding": (3, 0, 0, 1), "output_padding": (2, 0)},
    "negative output padding": {"padding": (0, 0, 0, 1), "output_padding": (-1, 0)},
    "one output padding": {"output_padding": (0,)},
    "output padding with another result": {"output_padding": (1, 0)},
    "weights of rank 2": {"weight": np.zeros((36, 6), np.int8)},
    "weights without a kernel": {"weight": np.zeros((0, 3, 4, 6), np.int8)},
    "weights of other channels": {"weight": np.zeros((3, 3, 3, 6), np.int8)},
    "weights of other outputs": {"weight": np.zeros((3, 3, 4, 7), np.int8)},
    "a scale of NaN": {"weight_scale": np.full(6, np.nan, np.float32)},
    "scales too short": {"weight_scale": np.ones(5, np.float32)},
    "zero points that are no codes": {"weight_zero_point": np.full(6, 300, np.int32)},
    "a bias of another type": {"bias": np.zeros(6, np.int16)},
    "an activation that there is not": {"activation": "tanh"},
}


@pytest.mark.parametrize("kind", ["uint8", "codes"])
@pytest.mark.parametrize("name", REFUSED)
def test_values_that_are_refused(rng, name, kind):
    graph = one_step(rng, KERNELS["3x3 stride 2"], (4, 6), kind)
    step, fields = graph.steps[0]
    graph.steps[0] = step, fields | REFUSED[name]
    with pytest.raises(ValueError, match=f"^{step}: "):
        graph.plan()


def test_rules_that_are_refused(rng):
    graph = one_step(rng, KERNELS["3x3 stride 2"], (4, 6), requant="double")
    with pytest.raises(ValueError, match=r"^conv_transpose: "):
        graph.plan()


def test_floats_that_are_refused(rng):
    for changes in (
        {"weight": np.full((3, 3, 4, 6), np.nan, np.float32)},
        {"weight_scale": np.ones(6, np.float32)},
        {"weight_zero_point": np.zeros(6, np.int32)},
    ):
        graph = one_step(rng, KERNELS["3x3 stride 2"], (4, 6), "floats", **changes)
        with pytest.raises(ValueError, match=r"^conv_transpose_f32: "):
            graph.plan()


def test_buffers_that_are_refused(rng):
    """Floats for codes and the other way round, ranks that differ, codes with a scale for each row."""
    for kind, others in {
        "uint8": [(0, buffer("float32", (6, 7, 4))), (0, buffer("int16", (6, 7, 4), 0.1, 0)), (1, None)],
        "floats": [(0, buffer("uint8", (6, 7, 4), 0.1, 0)), (1, buffer("uint8", (12, 14, 6), 0.1, 0)), (1, None)],
    }.items():
        graph = one_step(rng, KERNELS["3x3 stride 2"], (4, 6), kind)
        for i, other in others:
            dtype, shape, *rest = graph.buffers[i]
            changed = other or (dtype, (1, *shape), *rest)
            buffers = [changed if i == j else own for j, own in enumerate(graph.buffers)]
            with pytest.raises(ValueError, match=r"^conv_transpose"):
                Graph(buffers, graph.steps, (0,), (1,)).plan()
    rows = one_step(rng, KERNELS["3x3 stride 2"], (4, 6), "dynamic")
    rows.buffers[1:3] = buffer("float32", (6, 7, 1)), buffer("int32", (6, 7, 1))
    with pytest.raises(ValueError, match=r"^conv_transpose: "):
        rows.plan()


def test_sums_that_could_overflow(rng):
    """A phase of 33,000 codes times weights of up to 255."""
    graph = one_step(rng, ((1, 33000), (1, 66000), (1, 2), (0, 0, 65998, 65998), (0, 0)), (1, 1), bias=None)
    kind, fields = graph.steps[0]
    graph.buffers[0] = buffer("uint8", (1, 33000, 1), 0.1, 0)
    extreme = {"weight": codes(rng, fields["weight"].shape, np.uint8, "highest"), "weight_zero_point": None}
    graph.steps[0] = kind, fields | extreme
    graph.plan()
    graph.steps[0] = kind, fields | extreme | {"bias": np.full(1, 2**31 - 1, np.int32)}
    with pytest.raises(OverflowError, match=r"^conv_transpose: "):
        graph.plan()
