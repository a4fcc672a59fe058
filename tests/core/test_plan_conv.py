"""The convolution step: every kind of window, channel, code and result, next to the reference on every instruction set;
what it does with other weights; what it refuses."""

from itertools import product

import numpy as np
import pytest
from graphs import Graph, buffer, rule, weights
from samples import codes, same_bytes

import qlite as ql

pytestmark = pytest.mark.products

# image, window, stride, dilation, padding (top, bottom, left, right)
WINDOWS = {
    "3x3": ((9, 13), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    "3x3 stride 2": ((9, 12), (3, 3), (2, 2), (1, 1), (0, 1, 0, 1)),
    "5x2": ((7, 7), (5, 2), (1, 3), (1, 1), (4, 0, 0, 3)),
    "gaps": ((11, 10), (3, 3), (1, 1), (2, 3), (2, 2, 3, 3)),
    "gaps along the height": ((11, 10), (3, 2), (2, 1), (2, 1), (0, 0, 0, 0)),
    "a pixel": ((5, 6), (1, 1), (1, 1), (1, 1), (0, 0, 0, 0)),
    "a pixel, stride 2": ((5, 6), (1, 1), (2, 2), (1, 1), (0, 0, 0, 0)),
    "a pixel and padding": ((5, 6), (1, 1), (1, 1), (1, 1), (0, 1, 2, 0)),
    "all of the image": ((4, 5), (4, 5), (1, 1), (1, 1), (0, 0, 0, 0)),
    "padding alone": ((2, 2), (3, 3), (3, 3), (1, 1), (4, 4, 4, 4)),
}
# channels, outputs, groups
CHANNELS = [(3, 17, 1), (16, 8, 1), (1, 5, 1), (6, 9, 3), (8, 8, 8), (33, 33, 33), (5, 15, 5), (32, 64, 32)]
CHANNELS += [(8, 1, 1), (3, 2, 1)]
RESULTS = ("uint8", "int8", "int32", "float32", "narrow")


def grid(rng, dtype, bits=8):
    lowest = -(2 ** (bits - 1)) if dtype == "int8" else 0
    return float(np.float32(0.02 * 2 ** (8 - bits))), int(rng.integers(lowest, lowest + 2**bits)), -1, -1, bits


def places(image, window, stride, dilation, padding):
    top, bottom, left, right = padding
    sums = zip(image, ((top, bottom), (left, right)), window, stride, dilation, strict=True)
    return tuple((n + sum(p) - (k - 1) * d - 1) // s + 1 for n, p, k, s, d in sums)


def one_step(rng, window, channels, kind="uint8", result="uint8", image=None, rank=3, **changes):
    """A graph of one convolution; `kind` is the dtype of its input, "dynamic", or "narrow"."""
    (own_image, size, stride, dilation, padding), (count, out, groups) = window, channels
    image = image or own_image
    to = places(image, size, stride, dilation, padding)
    shape, target = (*image[3 - rank :], count), (*to[3 - rank :], out)
    graph = Graph(inputs=(0,))
    if kind == "dynamic":
        graph.add_buffer("float32", shape)
        own = [graph.add_buffer(dtype, (1,) * rank) for dtype in ("float32", "int32")]
        x = graph.add_step("quantize_dynamic", (0,), graph.add_buffer("uint8", shape, 0.0, 0, *own))
    elif kind == "narrow":
        dtype, bits = str(rng.choice(["uint8", "int8"])), int(rng.integers(1, 8))
        x = graph.add_buffer(dtype, shape, *grid(rng, dtype, bits))
    else:
        x = graph.add_buffer(kind, shape, *grid(rng, kind))
    fields = weights(rng, size[0] * size[1] * count // groups, out)
    fields["weight"] = fields["weight"].reshape(*size, count // groups, out)
    bias = rng.normal(size=out).astype(np.float32) if kind == "dynamic" else rng.integers(-999, 999, out, np.int32)
    fields |= {"bias": bias, "groups": groups, "stride": stride, "dilation": dilation, "padding": padding}
    if kind == "dynamic" or result in ("int32", "float32"):
        y = graph.add_buffer("float32" if kind == "dynamic" else result, target)
    elif result == "narrow":
        y = graph.add_buffer("int8", target, *grid(rng, "int8", 4))
    else:
        y = graph.add_buffer(result, target, *grid(rng, result))
    if result == "int32" and kind != "dynamic":
        fields["activation"] = None
    graph.add_step("conv", (x,), y, **fields | {"requant": rule(rng)} | changes)
    graph.outputs = (y,)
    return graph


def check(rng, graph, count=3):
    arrays = graph.samples(rng, count)
    same_bytes(graph.plan().run(*arrays), graph.evaluate(*arrays)[graph.outputs[0]])


@pytest.mark.parametrize("channels", CHANNELS, ids=lambda c: "-".join(map(str, c)))
@pytest.mark.parametrize("window", WINDOWS)
def test_every_window(isa, rng, window, channels):
    for kind, result in zip(("uint8", "int8", "narrow", "dynamic"), rng.permutation(RESULTS), strict=False):
        check(rng, one_step(rng, WINDOWS[window], channels, kind, str(result)))


@pytest.mark.parametrize("outputs", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["uint8", "int8", "dynamic"])
def test_few_results_of_many_pixels(isa, rng, kind, outputs):
    """Neighbouring pixels are computed together, as many as divide the width."""
    for width, size, stride in [(48, (3, 3), (1, 1)), (30, (2, 5), (1, 2)), (16, (1, 1), (1, 1)), (24, (3, 2), (2, 3))]:
        window = (10, width), size, stride, (1, 1), (1, 0, 0, 1)
        check(rng, one_step(rng, window, (8, outputs, 1), kind, str(rng.choice(RESULTS[:4]))))


@pytest.mark.parametrize("result", RESULTS)
@pytest.mark.parametrize("kind", ["uint8", "int8", "narrow"])
def test_every_result(isa, rng, kind, result):
    activations = [None] if result == "int32" else [None, "relu", "relu6"]
    for channels, window, activation, requant in product(
        ((6, 20, 1), (40, 40, 40)), ("3x3", "a pixel"), activations, ("float", "fixed")
    ):
        graph = one_step(rng, WINDOWS[window], channels, kind, result, activation=activation, requant=requant)
        check(rng, graph)


@pytest.mark.parametrize("channels", [(6, 20, 1), (40, 40, 40), (6, 6, 2)], ids=str)
@pytest.mark.parametrize("window", ["3x3", "a pixel", "3x3 stride 2"])
def test_samples_have_scales_of_their_own(isa, rng, window, channels):
    for activation, bias in product((None, "relu6"), (True, False)):
        changes = {} if bias else {"bias": None}
        graph = one_step(rng, WINDOWS[window], channels, "dynamic", activation=activation, **changes)
        (x,) = graph.samples(rng, 4)
        x *= np.float32([1e-3, 1, 0, 1e6]).reshape(4, 1, 1, 1)
        same_bytes(graph.plan().run(x), graph.evaluate(x)[graph.outputs[0]])


@pytest.mark.parametrize("kind", ["uint8", "dynamic"])
@pytest.mark.parametrize("channels", [(6, 9, 3), (16, 16, 16), (5, 7, 1)], ids=str)
def test_images_of_lower_rank(isa, rng, channels, kind):
    """(length, channels), of height 1; (channels,), of one pixel."""
    for length, size, stride, dilation, sides in [(20, 3, 1, 1, (1, 1)), (7, 2, 2, 3, (0, 3)), (9, 1, 1, 1, (0, 0))]:
        window = (1, length), (1, size), (1, stride), (1, dilation), (0, 0, *sides)
        check(rng, one_step(rng, window, channels, kind, rank=2))
    tall = (1, 8), (3, 3), (1, 1), (1, 1), (1, 1, 0, 0)
    check(rng, one_step(rng, tall, channels, kind, rank=2))
    check(rng, one_step(rng, ((1, 1), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)), channels, kind, rank=1))
    check(rng, one_step(rng, ((1, 1), (1, 1), (1, 1), (1, 1), (0, 0, 0, 0)), channels, kind, rank=1))


@pytest.mark.parametrize("channels", [(12, 20, 1), (48, 48, 48), (8, 8, 2)], ids=str)
def test_images_larger_than_a_stage(isa, rng, channels):
    """Some rows of an image at a time, on any number of threads."""
    threads = ql.get_num_threads()
    graph = one_step(rng, WINDOWS["3x3"], channels, image=(201, 97))
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


@pytest.mark.parametrize("count", [0, 1, 95, 97, 200])
def test_any_number_of_samples(isa, rng, count):
    for channels in ((4, 6, 1), (9, 9, 9)):
        check(rng, one_step(rng, WINDOWS["3x3"], channels), count)


# ---- other weights ----------------------------------------------------------------------------------


def far(rng, shape, parts):
    """Weights that take so many terms of int8."""
    zero_point = {1: 127, 2: 1, 3: 0}[parts]
    weight = rng.integers(0, 256, shape, np.uint8)
    weight.flat[:2] = 0, 255
    return {"weight": weight, "weight_zero_point": np.full(shape[-1], zero_point, np.int32)}


@pytest.mark.parametrize("window", ["a pixel", "3x3"])
@pytest.mark.parametrize("kind", ["uint8", "dynamic"])
@pytest.mark.parametrize("channels", [(5, 9, 1), (6, 6, 2), (7, 7, 7)], ids=str)
def test_updates_take_any_weights(isa, rng, channels, kind, window):
    """Whatever number of terms these have."""
    graph = one_step(rng, WINDOWS[window], channels, kind)
    step, (_, fields) = len(graph.steps) - 1, graph.steps[-1]
    arrays = graph.samples(rng, 40)
    for first in (1, 2, 3):
        graph.steps[-1] = "conv", fields | far(rng, fields["weight"].shape, first)
        plan = graph.plan()
        for parts in (first, 3, 1, 2):
            changed = fields | far(rng, fields["weight"].shape, parts) | {"bias": -fields["bias"]}
            graph.steps[-1] = "conv", changed
            plan.update([], [(step, changed)])
            same_bytes(plan.run(*arrays), graph.evaluate(*arrays)[graph.outputs[0]])


def test_updates_make_segments_of_a_product(isa, rng):
    """More terms are no plain product any longer, and pixels of 60 channels may need a copy."""
    graph = one_step(rng, WINDOWS["a pixel"], (60, 9, 1), image=(40, 40))
    ((_, fields),) = graph.steps
    fields |= {"weight": fields["weight"].astype(np.int8), "weight_zero_point": None}
    graph.steps[0] = "conv", fields
    arrays = graph.samples(rng, 50)
    plan = graph.plan()
    changed = fields | far(rng, fields["weight"].shape, 2)
    graph.steps[0] = "conv", changed
    plan.update([], [(0, changed)])
    same_bytes(plan.run(*arrays), graph.evaluate(*arrays)[graph.outputs[0]])


def test_an_update_that_fails_changes_nothing(isa, rng):
    graph = one_step(rng, WINDOWS["3x3"], (3, 4, 1))
    ((_, fields),) = graph.steps
    plan, arrays = graph.plan(), graph.samples(rng, 3)
    before = plan.run(*arrays)
    for error, changes in [
        (ValueError, {"weight": np.zeros((3, 3, 3, 5), np.int8)}),
        (ValueError, {"weight_scale": np.full(4, 1e30, np.float32)}),
        (ValueError, {"stride": (2, 1)}),
        (OverflowError, {"bias": np.full(4, 2**31 - 1, np.int32)}),
    ]:
        with pytest.raises(error, match=r"^conv: "):
            plan.update([], [(0, fields | changes)])
        same_bytes(plan.run(*arrays), before)


# ---- what is refused --------------------------------------------------------------------------------


REFUSED = {
    "no groups": {"groups": 0},
    "negative groups": {"groups": -1},
    "groups that do not divide the channels": {"groups": 3},
    "more groups than channels": {"groups": 2**40},
    "a stride of 0": {"stride": (0, 1)},
    "one stride": {"stride": (1,)},
    "three strides": {"stride": (1, 1, 1)},
    "a huge stride": {"stride": (2**40, 1)},
    "a dilation of 0": {"dilation": (1, 0)},
    "a huge dilation": {"dilation": (2**31 - 1, 1)},
    "a dilation with another result": {"dilation": (1, 2)},
    "negative padding": {"padding": (-1, 3, 1, 1)},
    "two paddings": {"padding": (1, 1)},
    "padding with another result": {"padding": (1, 1, 1, 2)},
    "huge padding": {"padding": (2**31 - 1, 1, 1, 1)},
    "weights of rank 2": {"weight": np.zeros((36, 6), np.int8)},
    "weights without a window": {"weight": np.zeros((0, 3, 4, 6), np.int8)},
    "weights of other channels": {"weight": np.zeros((3, 3, 3, 6), np.int8)},
    "weights of other outputs": {"weight": np.zeros((3, 3, 4, 7), np.int8)},
    "weights of float": {"weight": np.zeros((3, 3, 4, 6), np.float32)},
    "a scale of NaN": {"weight_scale": np.full(6, np.nan, np.float32)},
    "scales too short": {"weight_scale": np.ones(5, np.float32)},
    "zero points that are no codes": {"weight_zero_point": np.full(6, 300, np.int32)},
    "a bias of float": {"bias": np.zeros(6, np.float32)},
    "a rule that there is not": {"requant": "double"},
    "an activation that there is not": {"activation": "tanh"},
}


@pytest.mark.parametrize("name", REFUSED)
def test_values_that_are_refused(rng, name):
    graph = one_step(rng, WINDOWS["3x3"], (4, 6, 1))
    kind, fields = graph.steps[0]
    graph.steps[0] = kind, fields | REFUSED[name]
    with pytest.raises(ValueError, match=r"^conv: "):
        graph.plan()


def test_buffers_that_are_refused(rng):
    """Floats, ranks that differ, codes with a scale for each row."""
    graph = one_step(rng, WINDOWS["3x3"], (4, 6, 1))
    floats, words = buffer("float32", (9, 13, 4)), buffer("int16", (9, 13, 4), 0.1, 0)
    for i, b in [(0, floats), (0, words), (1, buffer("uint8", (1, 9, 13, 6), 0.1, 0))]:
        other = Graph([b if i == j else own for j, own in enumerate(graph.buffers)], graph.steps, (0,), (1,))
        with pytest.raises(ValueError, match=r"^conv: "):
            other.plan()
    rows = one_step(rng, WINDOWS["3x3"], (4, 6, 1), "dynamic")
    rows.buffers[1:3] = buffer("float32", (9, 13, 1)), buffer("int32", (9, 13, 1))
    with pytest.raises(ValueError, match=r"^conv: "):
        rows.plan()
    rows.buffers[1] = buffer("float32", (1, 1, 1))
    with pytest.raises(ValueError, match=r"^buffers"):
        rows.plan()


def test_sums_that_could_overflow(rng):
    """A window of 33,000 codes times weights of up to 255."""
    graph = one_step(rng, ((1, 33000), (1, 33000), (1, 1), (1, 1), (0, 0, 0, 0)), (1, 2, 1), bias=None)
    kind, fields = graph.steps[0]
    graph.buffers[0] = buffer("uint8", (1, 33000, 1), 0.1, 0)
    extreme = {"weight": codes(rng, fields["weight"].shape, np.uint8, "highest"), "weight_zero_point": None}
    graph.steps[0] = kind, fields | extreme
    check(rng, graph)
    graph.steps[0] = kind, fields | extreme | {"bias": np.full(2, 2**31 - 1, np.int32)}
    with pytest.raises(OverflowError, match=r"^conv: "):
        graph.plan()


def test_zero_points_of_every_kind(isa, rng):
    """Padding is the zero point, at both ends and between."""
    for dtype, z in [("uint8", 0), ("uint8", 255), ("uint8", 77), ("int8", -128), ("int8", 127), ("int8", -5)]:
        for channels in ((3, 5, 1), (17, 17, 17)):
            graph = one_step(rng, WINDOWS["padding alone"], channels, dtype, "int32")
            graph.buffers[0] = buffer(dtype, (2, 2, channels[0]), 0.02, z)
            check(rng, graph)
