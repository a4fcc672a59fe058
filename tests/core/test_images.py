"""Float images: what the core computes equals the reference, byte for byte, on every instruction set."""

import numpy as np
import pytest
from reference import images
from samples import same_bytes

import qlite as ql
from qlite import _core
from qlite.ops.images import Windows

CHANNELS = [1, 2, 3, 7, 8, 9, 16, 17, 33, 64]
#: kernel, stride, dilation, padding
OPTIONS = [
    ((1, 1), (1, 1), (1, 1), (0, 0, 0, 0)),
    ((3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    ((3, 3), (2, 2), (1, 1), (0, 1, 0, 1)),
    ((2, 3), (1, 2), (2, 1), (0, 2, 1, 0)),
    ((3, 2), (3, 1), (1, 3), (4, 0, 3, 5)),
    ((5, 1), (1, 1), (1, 1), (2, 2, 0, 0)),
    ((1, 1), (2, 3), (1, 1), (0, 0, 0, 0)),
]


def floats(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def cases(rng):
    for i, channels in enumerate(CHANNELS):
        for kernel, stride, dilation, padding in OPTIONS:
            x = floats(rng, i % 3, 6 + i % 2, 7 + i % 5, channels)
            yield x, kernel, (stride, dilation, padding), Windows(x.shape, kernel, stride, dilation, padding)


def test_adding_columns(isa, rng):
    """Of all rows of windows, of some, and of some channels."""
    for x, kernel, options, windows in cases(rng):
        rows, channels = len(x) * windows.out[0], x.shape[3]
        shape = (len(x), *windows.out, *kernel, channels)
        for first, last, channel, taken in (
            (0, rows, 0, channels),
            (rows // 3, rows - rows // 4, channels // 2, 1),
        ):
            columns = floats(rng, last - first, windows.out[1], *kernel, taken)
            given = np.zeros((rows, *shape[2:]), np.float32)
            given[first:last, ..., channel : channel + taken] = columns
            back = np.zeros_like(x)
            flat = columns.reshape((last - first) * windows.out[1], kernel[0] * kernel[1] * taken)
            _core.image_add_columns(flat, windows.numbers, (first, last, channel, taken), back)
            same_bytes(back, images.add_columns(given.reshape(shape), x.shape, *options))


def test_adding_columns_does_not_depend_on_the_cut(rng):
    x, options = floats(rng, 2, 9, 8, 3), ((1, 2), (2, 1), (1, 0, 2, 2))
    windows = Windows(x.shape, (3, 3), *options)
    rows = 2 * windows.out[0]
    columns = floats(rng, rows * windows.out[1], 27)
    results = []
    for step in (rows, 1, 3):
        back = np.zeros_like(x)
        for first in range(0, rows, step):
            last = min(rows, first + step)
            part = columns[first * windows.out[1] : last * windows.out[1]]
            _core.image_add_columns(part, windows.numbers, (first, last, 0, 3), back)
        results.append(back)
    for other in results[1:]:
        same_bytes(other, results[0])


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_conv(isa, rng, groups):
    for x, kernel, options, windows in cases(rng):
        if x.shape[3] > 17:
            continue
        for own in (1, 5, 17):
            wide = np.concatenate([x] * groups, axis=3)
            weight = floats(rng, *kernel, x.shape[3], own * groups)
            y = np.full((len(x), *windows.out, own * groups), np.nan, np.float32)
            _core.conv2d_f32(wide, weight, y, groups, windows.numbers)
            same_bytes(y, images.conv(wide, weight, *options, groups))


@pytest.mark.parametrize("multiplier", [1, 3])
def test_depthwise_conv(isa, rng, multiplier):
    for x, kernel, options, windows in cases(rng):
        groups = x.shape[3]
        weight = floats(rng, *kernel, 1, groups * multiplier)
        y = np.full((len(x), *windows.out, groups * multiplier), np.nan, np.float32)
        _core.conv2d_f32(x, weight, y, groups, windows.numbers)
        same_bytes(y, images.conv(x, weight, *options, groups))


@pytest.mark.parametrize("groups", [1, 2, 40])
def test_images_that_are_copied_in_parts(isa, rng, groups):
    """More than a stage holds: some images at a time, some rows of one."""
    for count, height, width, padding in ((9, 20, 30, (1, 1, 1, 1)), (1, 90, 70, (2, 0, 0, 1))):
        x, weight = floats(rng, count, height, width, 40), floats(rng, 3, 3, 40 // groups, 40)
        windows = Windows(x.shape, (3, 3), (1, 1), (1, 1), padding)
        y = np.empty((count, *windows.out, 40), np.float32)
        _core.conv2d_f32(x, weight, y, groups, windows.numbers)
        expected = np.empty_like(y)
        padded = np.pad(x, ((0, 0), padding[:2], padding[2:], (0, 0)))
        for i in range(count):
            for first in range(0, windows.out[0], 8):
                rows = padded[i : i + 1, first : first + min(8, windows.out[0] - first) + 2]
                one = Windows(rows.shape, (3, 3), (1, 1), (1, 1), (0, 0, 0, 0))
                part = np.empty((1, *one.out, 40), np.float32)
                _core.conv2d_f32(np.ascontiguousarray(rows), weight, part, groups, one.numbers)
                expected[i, first : first + one.out[0]] = part[0]
        same_bytes(y, expected)


@pytest.mark.parametrize("groups", [1, 2])
def test_weight_gradients(rng, groups):
    """The same bits on every instruction set; next to float64 in tests/ops/test_images.py."""
    active, isas = _core.info()["isa"], _core.info()["isas_runnable"]
    for x, kernel, _, windows in cases(rng):
        wide = np.concatenate([x] * groups, axis=3)
        gradient, results = floats(rng, len(x), *windows.out, 17 * groups), []
        for isa in isas:
            _core.isa_select(isa)
            of_weight = np.full((*kernel, x.shape[3], 17 * groups), np.nan, np.float32)
            _core.conv2d_weight_gradient(wide, of_weight, gradient, groups, windows.numbers)
            results.append(of_weight)
        _core.isa_select(active)
        for other in results[1:]:
            same_bytes(other, results[0])


def test_depthwise_gradients(isa, rng):
    for x, kernel, options, windows in cases(rng):
        if x.shape[3] > 33:
            continue
        channels = x.shape[3]
        weight, gradient = floats(rng, *kernel, 1, channels), floats(rng, len(x), *windows.out, channels)
        of_x, of_weight = np.full_like(x, np.nan), np.full_like(weight, np.nan)
        _core.depthwise_input_gradient(of_x, weight, gradient, channels, windows.numbers)
        same_bytes(of_x, images.depthwise_input_gradient(gradient, weight[:, :, 0], x.shape, *options))
        _core.depthwise_weight_gradient(x, of_weight, gradient, channels, windows.numbers)
        rows = max(1, len(x) * windows.out[0])
        stretch = max(-(-512 // windows.out[1]), -(-rows // 128))
        same_bytes(of_weight[:, :, 0], images.depthwise_weight_gradient(x, gradient, kernel, *options, stretch))


def test_depthwise_weight_gradients_of_many_rows(rng):
    """More than one stretch is added in float32."""
    x, gradient = floats(rng, 3, 20, 40, 2), floats(rng, 3, 20, 40, 2)
    options = (1, 1), (1, 1), (1, 1, 1, 1)
    of_weight = np.empty((3, 3, 1, 2), np.float32)
    _core.depthwise_weight_gradient(x, of_weight, gradient, 2, Windows(x.shape, (3, 3), *options).numbers)
    same_bytes(of_weight[:, :, 0], images.depthwise_weight_gradient(x, gradient, (3, 3), *options, 13))


# ---- pools ------------------------------------------------------------------------------------------


def pool_cases(rng):
    for i, channels in enumerate(CHANNELS):
        for size, stride, padding in (
            ((1, 1), (1, 1), (0, 0, 0, 0)),
            ((2, 2), (2, 2), (0, 0, 0, 0)),
            ((3, 3), (2, 2), (1, 1, 1, 1)),
            ((3, 3), (1, 1), (0, 2, 1, 1)),
            ((2, 4), (1, 3), (1, 0, 2, 3)),
            ((6, 7), (6, 7), (0, 0, 0, 0)),
        ):
            shape = (i % 3, 6 + i % 2, 7 + i % 5, channels)
            x = rng.integers(-4, 5, shape).astype(np.float32) if i % 2 else floats(rng, *shape)
            yield x, size, stride, padding


def test_max_pool(isa, rng):
    """Ties, NaN, nothing but -inf; with and without places."""
    for x, *options in pool_cases(rng):
        x[rng.random(x.shape) < 0.05] = rng.choice([np.nan, -np.inf, np.inf])
        x[:1, ..., :1] = -np.inf
        y, index = images.max_pool(x, *options)
        windows = Windows(x.shape, *options[:2], (1, 1), options[2])
        got, places = np.zeros_like(y), np.zeros_like(index)
        _core.max_pool_f32(x, windows.numbers, got, places)
        np.testing.assert_array_equal(got, y)
        same_bytes(places, index)
        alone = np.zeros_like(y)
        _core.max_pool_f32(x, windows.numbers, alone, None)
        same_bytes(alone, got)


def test_max_pool_gradient(isa, rng):
    for x, *options in pool_cases(rng):
        y, index = images.max_pool(x, *options)
        gradient, back = floats(rng, *y.shape), np.full_like(x, np.nan)
        _core.max_pool_gradient_f32(gradient, index, Windows(x.shape, *options[:2], (1, 1), options[2]).numbers, back)
        same_bytes(back, images.max_pool_gradient(gradient, index, x.shape))


def test_average_pool(isa, rng):
    for x, *options in pool_cases(rng):
        numbers = Windows(x.shape, *options[:2], (1, 1), options[2]).numbers
        y = images.average_pool(x, *options)
        got, back, gradient = np.zeros_like(y), np.full_like(x, np.nan), floats(rng, *y.shape)
        _core.average_pool_f32(x, numbers, got)
        same_bytes(got, y)
        _core.average_pool_gradient_f32(gradient, numbers, back)
        same_bytes(back, images.average_pool_gradient(gradient, x.shape, *options))


# ---- threads, arguments -----------------------------------------------------------------------------


def test_bits_do_not_depend_on_threads(rng):
    x, weight = floats(rng, 6, 40, 40, 32), floats(rng, 3, 3, 32, 32)
    windows = Windows(x.shape, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1))
    rows = len(x) * windows.out[0]
    columns = floats(rng, rows * windows.out[1], 9 * 32)
    results = []
    before = _core.num_threads()
    try:
        for threads in (1, 4):
            ql.set_num_threads(threads)
            y, lanes, index = np.empty_like(x), np.empty_like(x), np.empty(x.shape, np.int32)
            _core.conv2d_f32(x, weight, y, 1, windows.numbers)
            _core.conv2d_f32(x, weight[:, :, :1].copy(), lanes, 32, windows.numbers)
            back, of_x, of_weight = np.zeros_like(x), np.empty_like(x), np.empty((3, 3, 1, 32), np.float32)
            of_filter = np.empty_like(weight)
            _core.conv2d_weight_gradient(x, of_filter, y, 1, windows.numbers)
            _core.image_add_columns(columns, windows.numbers, (0, rows, 0, 32), back)
            _core.depthwise_input_gradient(of_x, weight[:, :, :1].copy(), y, 32, windows.numbers)
            _core.depthwise_weight_gradient(x, of_weight, y, 32, windows.numbers)
            pooled, means, of_max, of_mean = (np.empty_like(x) for _ in range(4))
            _core.max_pool_f32(x, windows.numbers, pooled, index)
            _core.average_pool_f32(x, windows.numbers, means)
            _core.max_pool_gradient_f32(y, index, windows.numbers, of_max)
            _core.average_pool_gradient_f32(y, windows.numbers, of_mean)
            results.append([y, lanes, of_filter, back, of_x, of_weight, pooled, index, means, of_max, of_mean])
    finally:
        ql.set_num_threads(before)
    for one, other in zip(*results, strict=True):
        same_bytes(one, other)


def test_bad_arguments():
    x, numbers = np.zeros((1, 4, 4, 2), np.float32), (3, 3, 1, 1, 1, 1, 0, 0, 2, 2)
    y, weight = np.zeros((1, 2, 2, 2), np.float32), np.zeros((3, 3, 1, 2), np.float32)
    columns, taps = np.zeros((4, 18), np.float32), np.zeros((3, 3, 1, 4), np.float32)
    four = np.zeros((1, 2, 2, 4), np.float32)
    for message, error, call in [
        ("^x: expected 4 dimensions, got 3", ValueError, lambda: _core.max_pool_f32(x[0], numbers, y, None)),
        ("^x: expected float32, got float64", TypeError, lambda: _core.max_pool_f32(x.astype(float), numbers, y, None)),
        ("^y: ", ValueError, lambda: _core.max_pool_f32(x, numbers, y[:, :1].copy(), None)),
        ("^index: expected a C-contiguous", TypeError, lambda: _core.max_pool_f32(x, numbers, y, y)),
        ("^window: ", ValueError, lambda: _core.max_pool_f32(x, (0, *numbers[1:]), y, None)),
        ("^index: ", ValueError, lambda: _core.max_pool_gradient_f32(y, np.full(y.shape, 16, "i4"), numbers, x.copy())),
        ("^weight: ", ValueError, lambda: _core.conv2d_f32(x, weight, y, 1, numbers)),
        ("^weight: ", ValueError, lambda: _core.conv2d_f32(x, weight, y, 0, numbers)),
        ("^rows: ", ValueError, lambda: _core.image_add_columns(columns, numbers, (0, 3, 0, 2), x)),
        ("^rows: ", ValueError, lambda: _core.image_add_columns(columns, numbers, (0, 2, 1, 2), x)),
        ("^columns: ", ValueError, lambda: _core.image_add_columns(columns, numbers, (0, 1, 0, 2), x)),
        ("^gradient: ", ValueError, lambda: _core.depthwise_weight_gradient(x, weight, x, 2, numbers)),
        ("^groups: ", ValueError, lambda: _core.depthwise_weight_gradient(x, taps, four, 2, numbers)),
    ]:
        with pytest.raises(error, match=message):
            call()
