"""The convolution step of floats: every kind of window, channel and weight, next to the reference on every instruction
set; what it refuses."""

import numpy as np
import pytest
from graphs import Graph, buffer, weights
from samples import same_bytes

import qlite as ql

# image, window, stride, dilation, padding (top, bottom, left, right), result
WINDOWS = {
    "3x3": ((9, 13), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), (9, 13)),
    "3x3 stride 2": ((9, 12), (3, 3), (2, 2), (1, 1), (0, 1, 0, 1), (4, 6)),
    "5x2": ((7, 7), (5, 2), (1, 3), (1, 1), (4, 0, 0, 3), (7, 3)),
    "gaps": ((11, 10), (3, 3), (1, 1), (2, 3), (2, 2, 3, 3), (11, 10)),
    "gaps along the height": ((11, 10), (3, 2), (2, 1), (2, 1), (0, 0, 0, 0), (4, 9)),
    "a pixel": ((5, 6), (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), (5, 6)),
    "a pixel, stride 2": ((5, 6), (1, 1), (2, 2), (1, 1), (0, 0, 0, 0), (3, 3)),
    "a pixel and padding": ((5, 6), (1, 1), (1, 1), (1, 1), (0, 1, 2, 0), (6, 8)),
    "all of the image": ((4, 5), (4, 5), (1, 1), (1, 1), (0, 0, 0, 0), (1, 1)),
    "padding alone": ((2, 2), (3, 3), (3, 3), (1, 1), (4, 4, 4, 4), (3, 3)),
}
# channels, outputs, groups
CHANNELS = [(3, 17, 1), (16, 8, 1), (1, 5, 1), (6, 9, 3), (8, 8, 8), (33, 33, 33), (5, 15, 5), (32, 64, 32)]


def one_step(rng, window, channels, rank=3, is_float=True, **changes):
    """A graph of one convolution."""
    (image, size, stride, dilation, padding, places), (count, out, groups) = window, channels
    graph = Graph(inputs=(0,), outputs=(1,))
    graph.add_buffer("float32", (*image[3 - rank :], count))
    graph.add_buffer("float32", (*places[3 - rank :], out))
    shape = (*size, count // groups, out)
    fields = weights(rng, size[0] * size[1] * count // groups, out)
    fields["weight"] = fields["weight"].reshape(shape)
    if is_float:
        weight = rng.normal(size=shape).astype(np.float32)
        fields |= {"weight": weight, "weight_scale": None, "weight_zero_point": None}
    bias = rng.normal(size=out).astype(np.float32)
    fields |= {"bias": bias, "groups": groups, "stride": stride, "dilation": dilation, "padding": padding}
    graph.add_step("conv_f32", (0,), 1, **fields | changes)
    return graph


def check(rng, graph, count=3):
    (x,) = graph.samples(rng, count)
    same_bytes(graph.plan().run(x), graph.evaluate(x)[1])


@pytest.mark.parametrize("is_float", [True, False], ids=["floats", "codes"])
@pytest.mark.parametrize("channels", CHANNELS, ids=lambda c: "-".join(map(str, c)))
@pytest.mark.parametrize("window", WINDOWS)
def test_every_window(isa, rng, window, channels, is_float):
    check(rng, one_step(rng, WINDOWS[window], channels, is_float=is_float))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8], ids=["int8", "uint8"])
@pytest.mark.parametrize("channels", [(5, 20, 1), (20, 40, 20)], ids=str)
def test_codes_become_floats_once(isa, rng, channels, dtype):
    """The product float32(code - zero point) * scale is rounded before it is multiplied."""
    info = np.iinfo(dtype)
    for zero_point in (None, info.min, info.max, "any"):
        graph = one_step(rng, WINDOWS["3x3"], channels, is_float=False, activation=None, bias=None)
        kind, fields = graph.steps[0]
        own = zero_point
        if zero_point is not None:
            own = rng.integers(info.min, info.max + 1, channels[1], np.int32)
            own[:] = own if zero_point == "any" else zero_point
        weight = rng.integers(info.min, info.max + 1, fields["weight"].shape, dtype)
        graph.steps[0] = kind, fields | {"weight": weight, "weight_zero_point": own}
        check(rng, graph)


@pytest.mark.parametrize("channels", [(6, 20, 1), (40, 40, 40), (6, 6, 2)], ids=str)
@pytest.mark.parametrize("window", ["3x3", "a pixel"])
def test_activations(isa, rng, window, channels):
    for activation in (None, "relu", "relu6"):
        for named in ({}, {"bias": None}):
            check(rng, one_step(rng, WINDOWS[window], channels, activation=activation, **named))


@pytest.mark.parametrize("channels", [(6, 9, 3), (16, 16, 16), (5, 7, 1)], ids=str)
def test_images_of_lower_rank(isa, rng, channels):
    """(length, channels), of height 1; (channels,), of one pixel."""
    for window in (
        ((1, 20), (1, 3), (1, 1), (1, 1), (0, 0, 1, 1), (1, 20)),
        ((1, 7), (1, 2), (1, 2), (1, 3), (0, 0, 0, 3), (1, 4)),
        ((1, 8), (3, 3), (1, 1), (1, 1), (1, 1, 0, 0), (1, 6)),
    ):
        check(rng, one_step(rng, window, channels, rank=2))
    check(rng, one_step(rng, ((1, 1), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), (1, 1)), channels, rank=1))
    check(rng, one_step(rng, ((1, 1), (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), (1, 1)), channels, rank=1))


@pytest.mark.parametrize("channels", [(12, 20, 1), (48, 48, 48), (8, 8, 2)], ids=str)
def test_images_larger_than_a_stage(isa, rng, channels):
    """Some rows of an image at a time, on any number of threads."""
    threads = ql.get_num_threads()
    graph = one_step(rng, ((201, 97), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), (201, 97)), channels)
    arrays = graph.samples(rng, 2)
    expected = graph.evaluate(*arrays)[1]
    try:
        for count in (1, 4):
            ql.set_num_threads(count)
            same_bytes(graph.plan().run(*arrays), expected)
    finally:
        ql.set_num_threads(threads)


@pytest.mark.parametrize("count", [0, 1, 95, 97, 200])
def test_any_number_of_samples(isa, rng, count):
    for channels in ((4, 6, 1), (9, 9, 9)):
        check(rng, one_step(rng, WINDOWS["3x3"], channels), count)


def test_results_beyond_float32(isa, rng):
    """Sums that overflow, cancel, or become smaller than any normal number."""
    for scale in (1e19, 1e-22, 1e-30):
        graph = one_step(rng, WINDOWS["3x3"], (4, 18, 1), bias=None, activation=None)
        kind, fields = graph.steps[0]
        graph.steps[0] = kind, fields | {"weight": fields["weight"] * np.float32(scale)}
        (x,) = graph.samples(rng, 2)
        x *= np.float32(scale)
        got, expected = graph.plan().run(x), graph.evaluate(x)[1]
        np.testing.assert_array_equal(got, expected)


REFUSED = {
    "no groups": {"groups": 0},
    "groups that do not divide the channels": {"groups": 3},
    "a stride of 0": {"stride": (0, 1)},
    "a dilation of 0": {"dilation": (1, 0)},
    "padding with another result": {"padding": (1, 1, 1, 2)},
    "weights of rank 2": {"weight": np.zeros((36, 6), np.float32)},
    "weights of other channels": {"weight": np.zeros((3, 3, 3, 6), np.float32)},
    "weights of NaN": {"weight": np.full((3, 3, 4, 6), np.nan, np.float32)},
    "codes without scales": {"weight": np.zeros((3, 3, 4, 6), np.int8)},
    "floats with scales": {"weight_scale": np.ones(6, np.float32)},
    "floats with zero points": {"weight_zero_point": np.zeros(6, np.int32)},
    "words": {"weight": np.zeros((3, 3, 4, 6), np.int32), "weight_scale": np.ones(6, np.float32)},
    "a bias of int": {"bias": np.zeros(6, np.int32)},
    "a bias of infinity": {"bias": np.full(6, np.inf, np.float32)},
    "an activation that there is not": {"activation": "tanh"},
}


@pytest.mark.parametrize("name", REFUSED)
def test_values_that_are_refused(rng, name):
    graph = one_step(rng, WINDOWS["3x3"], (4, 6, 1))
    kind, fields = graph.steps[0]
    graph.steps[0] = kind, fields | REFUSED[name]
    with pytest.raises(ValueError, match=r"^conv_f32: "):
        graph.plan()


def test_buffers_that_are_refused(rng):
    graph = one_step(rng, WINDOWS["3x3"], (4, 6, 1))
    for i, b in [(0, buffer("uint8", (9, 13, 4), 0.1, 0)), (1, buffer("uint8", (9, 13, 6), 0.1, 0))]:
        other = Graph([b if i == j else own for j, own in enumerate(graph.buffers)], graph.steps, (0,), (1,))
        with pytest.raises(ValueError, match=r"^conv_f32: "):
            other.plan()


def test_inputs_must_be_finite(rng):
    graph = one_step(rng, WINDOWS["3x3"], (4, 6, 1))
    (x,) = graph.samples(rng, 2)
    x[1, 8, 12, 3] = np.nan
    with pytest.raises(ValueError, match=r"^x: expected finite"):
        graph.plan().run(x)
