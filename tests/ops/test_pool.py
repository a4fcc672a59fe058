"""Pooling: equal to the reference on every instruction set, to LiteRT and to onnxruntime."""

import litert
import numpy as np
import pytest
from models import onnxruntime
from reference import pool as reference
from samples import LAYOUTS, codes, same_bytes

import qlite as ql
from qlite import _core
from qlite.ops.window import window

DTYPES = [np.int8, np.uint8]
NAMES = ["int8", "uint8"]
FUNCTIONS = {"max": (ql.max_pool2d, reference.max_pool), "avg": (ql.avg_pool2d, reference.avg_pool)}
CHANNELS = [1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 130]
# size, stride, padding
OPTIONS = [
    (1, None, 0),
    (2, None, 0),
    (3, 1, "same"),
    (3, 2, "same"),
    (3, 2, 1),
    (2, 3, 0),
    ((2, 4), (1, 3), ((1, 0), (2, 3))),
    ((5, 1), 2, ((4, 2), (0, 0))),
    ((6, 7), None, "valid"),
    (7, 1, 6),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=NAMES)
@pytest.mark.parametrize("kind", FUNCTIONS)
def test_pooling(isa, rng, kind, dtype):
    function, expected = FUNCTIONS[kind]
    for i, channels in enumerate(CHANNELS):
        for size, stride, padding in OPTIONS:
            x = codes(rng, (1 + i % 3, 6 + i % 2, 7 + i % 5, channels), dtype, ("random", "extreme")[i % 5 == 0])
            kernel = size if isinstance(size, tuple) else (size, size)
            s, _, sides, out = window("", x.shape[1:3], kernel, stride or kernel, padding, 1)
            y = function(x, size, stride=stride, padding=padding)
            same_bytes(y, expected(x, kernel, s, sides))
            assert y.shape[1:3] == out


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_large_images(rng, kind):
    """On as many threads as there are."""
    function, _ = FUNCTIONS[kind]
    x = codes(rng, (8, 60, 60, 64), np.int8)
    alone = [function(image[None], 3, stride=1, padding="same") for image in x]
    same_bytes(function(x, 3, stride=1, padding="same"), np.concatenate(alone))


def test_average_rounds_half_away(isa):
    for count in range(1, 40):
        for total in range(-3 * count, 3 * count + 1):
            x = np.full(count, total // count, np.int8)
            x[: total % count] += 1
            got = ql.avg_pool2d(x.reshape(1, count, 1, 1), (count, 1)).item()
            assert got == int(np.sign(total)) * ((abs(total) + count // 2) // count)


@pytest.mark.parametrize("dtype", DTYPES, ids=NAMES)
def test_great_windows(isa, dtype):
    """Sums at the end of what is exact, and one pixel of another value at the end."""
    shape = (1, 2048, 4095, 1)
    for fill in (np.iinfo(dtype).min, np.iinfo(dtype).max):
        x = np.full(shape, fill, dtype)
        assert ql.avg_pool2d(x, shape[1:3]).item() == fill
        x[0, -1, -1] = 3
        assert ql.max_pool2d(x, shape[1:3]).item() == max(fill, 3)
    with pytest.raises(OverflowError, match=r"^size: "):
        ql.avg_pool2d(np.zeros((1, 2048, 4096, 1), dtype), (2048, 4096))


def test_ties_of_great_windows(isa, rng):
    for rows, cols in [(200, 300), (256, 256), (257, 511)]:
        x = codes(rng, (1, rows, cols, 5), np.int8)
        same_bytes(ql.avg_pool2d(x, (rows, cols)), reference.avg_pool(x, (rows, cols), (1, 1), ((0, 0), (0, 0))))
        x = np.zeros((1, rows, cols, 1), np.int8)
        x.reshape(-1)[: rows * cols // 2] = 1  # just half, or just below
        assert ql.avg_pool2d(x, (rows, cols)).item() == (rows * cols % 2 == 0)
        assert ql.avg_pool2d(-x, (rows, cols)).item() == -(rows * cols % 2 == 0)


TFLITE = {"max": "MAX_POOL_2D", "avg": "AVERAGE_POOL_2D"}


@pytest.mark.parametrize("dtype", DTYPES, ids=NAMES)
@pytest.mark.parametrize("kind", FUNCTIONS)
def test_pooling_is_litert_s(rng, kind, dtype):
    function, _ = FUNCTIONS[kind]
    for trial in range(60):
        shape = rng.integers(1, 4), *rng.integers(4, 20, 2), rng.choice([1, 3, 8, 17, 64])
        x = codes(rng, tuple(map(int, shape)), dtype)
        size, stride = (tuple(map(int, rng.integers(1, most, 2))) for most in (5, 4))
        padding = ("same", "valid")[trial % 2]
        y = function(x, size, stride=stride, padding=padding)
        content = litert.model(
            TFLITE[kind],
            x,
            y,
            (0.1, 3),
            (0.1, 3),
            2,
            padding=trial % 2,
            filterHeight=size[0],
            filterWidth=size[1],
            strideH=stride[0],
            strideW=stride[1],
            fusedActivationFunction=0,
        )
        for resolver in litert.RESOLVERS:
            same_bytes(y, litert.run(content, x, resolver))


@pytest.mark.parametrize("dtype", DTYPES, ids=NAMES)
def test_max_pool_is_onnxruntime_s(rng, dtype):
    for _ in range(20):
        x = codes(rng, (2, *map(int, rng.integers(5, 15, 2)), 3), dtype)
        size, stride = (tuple(map(int, rng.integers(1, most, 2))) for most in (5, 4))
        (top, bottom), (left, right) = padding = tuple(tuple(map(int, rng.integers(0, k, 2))) for k in size)
        attributes = {"kernel_shape": size, "strides": stride, "pads": (top, left, bottom, right)}
        expected = onnxruntime("MaxPool", [x.transpose(0, 3, 1, 2)], dtype, **attributes)
        same_bytes(ql.max_pool2d(x, size, stride=stride, padding=padding), expected.transpose(0, 2, 3, 1).copy())


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_layouts_and_outs(isa, rng, kind):
    function, expected = FUNCTIONS[kind]
    x = codes(rng, (2, 5, 6, 9), np.int8)
    y = expected(x, (2, 2), (1, 1), ((0, 0), (0, 0)))
    for layout in LAYOUTS.values():
        same_bytes(function(layout(x), 2, stride=1), y)
    wide = np.zeros((2, 4, 5, 18), np.int8)
    assert function(x, 2, stride=1, out=wide[..., ::2]).base is wide
    same_bytes(wide[..., ::2].copy(), y)
    memory = np.zeros(x.size + 5, np.int8)
    source, out = memory[5:].reshape(x.shape), memory[: y.size].reshape(y.shape)
    source[...] = x
    same_bytes(function(source, 2, stride=1, out=out), y)  # over its own input
    for shape in [(0, 4, 4, 3), (2, 4, 4, 0)]:
        assert function(np.zeros(shape, np.uint8), 2).shape == (shape[0], 2, 2, shape[3])


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_qarrays(rng, kind):
    function, _ = FUNCTIONS[kind]
    values = rng.normal(size=(2, 6, 6, 5)).astype(np.float32)
    for options in ({}, {"axis": 3}, {"axis": 0}, {"symmetric": False}, {"bits": 4}, {"bits": 5, "axis": 3}):
        q = ql.quantize(values, **options)
        y = function(q, 2)
        same_bytes(y.codes, function(q.codes, 2))
        assert y.shape == (2, 3, 3, 5) and np.array_equal(y.scale, q.scale) and y.bits == q.bits
        if kind == "max":
            true = np.asarray(q).reshape(2, 3, 2, 3, 2, 5).max(axis=(2, 4))
            assert np.array_equal(np.asarray(y), true)


@pytest.mark.parametrize("pool", [_core.max_pool, _core.avg_pool])
@pytest.mark.parametrize("image", [(0, 2), (2, 0)])
def test_the_core_refuses_windows_with_nothing_inside(pool, image):
    with pytest.raises(ValueError, match=r"^size, stride, padding: "):
        pool(np.zeros((1, *image, 1), np.int8), (2, 2), (1, 1), (1, 1), (1, 1), None)


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_refuses(rng, kind):
    function, _ = FUNCTIONS[kind]
    x = codes(rng, (1, 4, 4, 2), np.int8)
    values = rng.normal(size=(1, 4, 4, 2))
    out = np.full((1, 2, 2, 2), 7, np.int8)
    for error, name, args, options in [
        (TypeError, "x", (x.astype(np.int16), 2), {}),
        (TypeError, "x", (values, 2), {}),
        (ValueError, "x", (x[0], 2), {}),
        (ValueError, "x", (x, 5), {"out": out}),
        (ValueError, "x", (ql.quantize(values, axis=1), 2), {}),
        (ValueError, "x", (ql.quantize(values, grid="nf4"), 2), {}),
        (ValueError, "x", (ql.quantize(values, 4, axis=3, group_size=2), 2), {}),
        (ValueError, "size", (x, 0), {}),
        (TypeError, "size", (x, 2.0), {}),
        (ValueError, "size", (x, (1, 2, 3)), {}),
        (ValueError, "stride", (x, 2), {"stride": 0}),
        (ValueError, "padding", (x, 2), {"padding": 2}),
        (ValueError, "padding", (x, 2), {"padding": "full"}),
        (ValueError, "padding", (x, (1, 3)), {"padding": ((0, 1), (0, 0))}),
        (TypeError, "out", (x, 2), {"out": out.view(np.uint8)}),
        (ValueError, "out", (x, 2), {"out": out[:, :1]}),
    ]:
        with pytest.raises(error, match=f"^{name}: expected"):
            function(*args, **options)
    assert (out == 7).all()
    with pytest.raises(TypeError, match=r"^x: expected a QArray, or .* got float64 \(ql\.quantize\(x\) makes"):
        function(values, 2)
