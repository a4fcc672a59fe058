"""Convolutions of 3 x 3 by way of fewer products: the same sums as the reference's, wherever tiles, images and numbers
end; which weights go this way; what becomes of others."""

import numpy as np
import pytest
from graphs import Graph
from samples import same_bytes

import qlite as ql

CHANNELS = [(64, 64), (33, 48), (64, 21), (16, 17)]
IMAGES = [(1, 1), (2, 3), (4, 4), (5, 9), (7, 7), (12, 8), (13, 30)]
SAME = (1, 1, 1, 1)


def graph_of(rng, image, channels, kind="uint8", result="uint8", padding=SAME, weight=None, bias=True, **fields):
    """A graph of one convolution by symmetric int8 weights."""
    (height, width), (count, out), (top, bottom, left, right) = image, channels, padding
    target = (height + top + bottom - 2, width + left + right - 2, out)
    if weight is None:
        weight = rng.integers(-128, 128, (3, 3, count, out)).astype(np.int8)
    scale = rng.uniform(0.5, 1, out).astype(np.float32) / (540 * count)
    graph = Graph(inputs=(0,))
    if kind == "dynamic":
        graph.add_buffer("float32", (height, width, count))
        own = [graph.add_buffer(dtype, (1, 1, 1)) for dtype in ("float32", "int32")]
        codes = graph.add_buffer("uint8", (height, width, count), 0.0, 0, *own)
        x = graph.add_step("quantize_dynamic", (0,), codes)
        bias_of = rng.normal(size=out).astype(np.float32)
    else:
        lowest = -128 if kind == "int8" else 0
        x = graph.add_buffer(kind, (height, width, count), 0.02, int(rng.integers(lowest, lowest + 256)))
        bias_of = rng.integers(-999, 999, out, np.int32)
    if kind == "dynamic" or result in ("int32", "float32"):
        y = graph.add_buffer("float32" if kind == "dynamic" else result, target)
    else:
        y = graph.add_buffer(result, target, 0.02, 3)
    fields = {"weight_zero_point": None, "activation": None, "requant": "float"} | fields
    fields |= {"groups": 1, "stride": (1, 1), "dilation": (1, 1), "padding": padding}
    graph.add_step("conv", (x,), y, weight=weight, weight_scale=scale, bias=bias_of if bias else None, **fields)
    graph.outputs = (y,)
    return graph


def check(graph, *arrays):
    same_bytes(graph.plan().run(*arrays), graph.evaluate(*arrays)[graph.outputs[0]])


@pytest.mark.parametrize("channels", CHANNELS, ids=str)
@pytest.mark.parametrize("image", IMAGES, ids=str)
def test_tiles_end_where_images_do(isa, rng, image, channels):
    paddings = [SAME, (0, 2, 2, 0), (2, 1, 3, 4)]
    for kind, padding in zip(rng.permutation(["uint8", "int8", "dynamic"]), paddings, strict=True):
        graph = graph_of(rng, image, channels, str(kind), padding=padding)
        check(graph, *graph.samples(rng, 3))


@pytest.mark.parametrize("result", ["uint8", "int8", "int32", "float32"])
def test_every_result(isa, rng, result):
    activations = [None] if result == "int32" else [None, "relu", "relu6"]
    for activation in activations:
        for requant in ("float", "fixed"):
            graph = graph_of(rng, (9, 11), (32, 40), result=result, activation=activation, requant=requant)
            check(graph, *graph.samples(rng, 2))


def test_samples_have_scales_of_their_own(isa, rng):
    graph = graph_of(rng, (10, 6), (32, 32), "dynamic", bias=False)
    (x,) = graph.samples(rng, 4)
    check(graph, x * np.float32([1e-3, 1, 0, 1e6]).reshape(4, 1, 1, 1))


@pytest.mark.parametrize("count", [0, 1, 7])
def test_threads(isa, rng, count):
    threads, graph = ql.get_num_threads(), graph_of(rng, (30, 26), (64, 64))
    arrays = graph.samples(rng, count)
    expected = graph.evaluate(*arrays)[graph.outputs[0]]
    plan = graph.plan()
    try:
        for n in (1, 2, 5):
            ql.set_num_threads(n)
            same_bytes(plan.run(*arrays), expected)
            same_bytes(graph.plan().run(*arrays), expected)
    finally:
        ql.set_num_threads(threads)


# The greatest sums of codes and weights that quotients of 576, and of 4, are exact for: 255 * 127 * 9 * channels
MOST_CHANNELS = {4: (2**31 // 64 - 1) // 255 // 127 // 9, 2: (2**31 // 4 - 1) // 255 // 127 // 9}


@pytest.mark.parametrize("side", [4, 2])
def test_the_greatest_sums(isa, rng, side):
    """Of codes and weights at their ends, just where they fit and just where they do not."""
    image = (24, 24) if side == 4 else (8, 8)
    for count in (MOST_CHANNELS[side] - 1, MOST_CHANNELS[side], MOST_CHANNELS[side] + 1):
        shape = (3, 3, count, 32)
        signs = np.where(np.arange(32) % 2, 1, -1)
        weight = np.broadcast_to(np.int8(127) * signs, shape).astype(np.int8)
        graph = graph_of(rng, image, (count, 32), result="int32", weight=weight)
        check(graph, np.full((1, *image, count), 255, np.uint8))


def test_any_pattern_of_ends(isa, rng):
    for _ in range(20):
        weight = rng.choice(np.int8([-128, 127]), (3, 3, 48, 32))
        graph = graph_of(rng, (8, 12), (48, 32), result="int32", weight=weight)
        check(graph, rng.choice(np.uint8([0, 255]), (2, 8, 12, 48)))


def test_updates_change_the_way(isa, rng):
    """Weights with zero points, or too great ones, have none but the plain way; the memory is there for both."""
    graph = graph_of(rng, (12, 12), (128, 32))
    (x,) = graph.samples(rng, 3)
    small = rng.integers(-9, 10, (3, 3, 128, 32)).astype(np.int8)
    great = np.full((3, 3, 128, 32), 127, np.int8)
    others = rng.integers(0, 256, (3, 3, 128, 32), np.uint8)
    ((_, fields),) = graph.steps
    changes = [{"weight": small}, {"weight": great}, {"weight": others, "weight_zero_point": np.full(32, 7, np.int32)}]
    for first in changes:
        graph.steps[0] = "conv", fields | first
        plan = graph.plan()
        for change in changes[::-1]:
            graph.steps[0] = "conv", fields | change
            plan.update([], [(0, fields | change)])
            same_bytes(plan.run(x), graph.evaluate(x)[graph.outputs[0]])


def test_updates_on_more_threads_than_the_plan_was_made_for(isa, rng):
    """The memory is that of the threads there were."""
    threads, graph = ql.get_num_threads(), graph_of(rng, (120, 120), (64, 64))
    arrays = graph.samples(rng, 1)
    expected = graph.evaluate(*arrays)[graph.outputs[0]]
    try:
        ql.set_num_threads(1)
        plan = graph.plan()
        ql.set_num_threads(64)
        plan.update([], [(0, graph.steps[0][1])])
        for _ in range(3):
            same_bytes(plan.run(*arrays), expected)
    finally:
        ql.set_num_threads(threads)
