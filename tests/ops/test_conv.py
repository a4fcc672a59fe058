"""Convolutions equal the reference for every shape, sign, zero point and instruction set; and what LiteRT and
onnxruntime give, byte for byte."""

import itertools

import litert
import numpy as np
import pytest
from models import onnxruntime
from reference.conv import conv_codes, conv_dynamic, conv_float, conv_integer
from reference.requantization import code_clamps
from samples import LAYOUTS, codes, same_bytes, scales_of_ties, zero_points

import qlite as ql
from qlite import _core

TYPES = list(itertools.product([np.uint8, np.int8], repeat=2))
TYPE_IDS = ["u8u8", "u8s8", "s8u8", "s8s8"]
FILLS = ["random", "extreme", "lowest", "highest"]
KERNELS = [(1, 1), (3, 3), (5, 5), (2, 3), (1, 7), (7, 1), (4, 4), (7, 7)]
STRIDES = [(1, 1), (2, 2), (1, 3), (3, 1)]
DILATIONS = [(1, 1), (2, 2), (1, 2), (3, 1)]
PADDINGS = [((0, 0), (0, 0)), ((1, 1), (1, 1)), ((0, 2), (3, 0)), ((4, 4), (5, 5))]
WIDTHS = [1, 2, 3, 4, 5, 7, 11, 12, 13, 14, 24, 25, 28, 29, 56, 65]  # output pixels of a row, around the tiles
# channels per group, outputs per group, groups: plain, grouped, depthwise with one result per channel and with several
CHANNELS = [(1, 1, 1), (3, 8, 1), (4, 17, 1), (16, 33, 1), (64, 64, 1), (5, 70, 1), (1, 16, 1)]
GROUPED = [(2, 3, 2), (4, 4, 3), (3, 1, 5), (16, 40, 2)]
DEPTHWISE = [(1, 1, n) for n in (2, 3, 8, 15, 16, 17, 24, 32, 33, 64, 65, 96, 128, 200)]
DEPTHWISE += [(1, 2, 3), (1, 3, 16), (1, 2, 32)]


def length(outputs, kernel, stride, dilation, padding):
    """The shortest image that has so many outputs, but at least 1."""
    return max((outputs - 1) * stride + (kernel - 1) * dilation + 1 - sum(padding), 1)


class Walk:
    """Values of several lists, each walked through with a stride of its own, so that every pair meets somewhere."""

    def __init__(self):
        self.count = 0

    def __call__(self, *lists):
        self.count += 1
        return [
            values[self.count * step % len(values)] for values, step in zip(lists, (1, 3, 7, 5, 11, 13), strict=False)
        ]


def check(rng, channels, out_hw, kernel, stride, dilation, padding, types, fill="random", images=1, asymmetric=True):
    per_group, outputs, groups = channels
    shape = [length(*args) for args in zip(out_hw, kernel, stride, dilation, padding, strict=True)]
    x = codes(rng, (images, *shape, per_group * groups), types[0], fill)
    w = codes(rng, (*kernel, per_group, outputs * groups), types[1], fill)
    zx = int(zero_points(rng, 1, types[0])[0])
    zw = zero_points(rng, outputs * groups, types[1]) if asymmetric else np.int32(0)
    expected = conv_integer(x, w, zx, zw, 0, stride, padding, dilation, groups)
    options = {"stride": stride, "dilation": dilation, "padding": padding, "groups": groups}
    same_bytes(ql.conv2d_integer(x, w, zx, zw, **options), expected)


# ---- exact sums -------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", CHANNELS + GROUPED + DEPTHWISE, ids=lambda c: "x".join(map(str, c)))
@pytest.mark.parametrize("types", TYPES, ids=TYPE_IDS)
def test_every_option(isa, rng, channels, types):
    walk = Walk()
    for kernel in KERNELS:
        for _ in range(2):
            stride, dilation, padding, fill, asymmetric = walk(STRIDES, DILATIONS, PADDINGS, FILLS, (False, True))
            check(rng, channels, (3, 6), kernel, stride, dilation, padding, types, fill, asymmetric=asymmetric)


@pytest.mark.parametrize("channels", [(3, 33, 1), (1, 1, 3), (1, 1, 32), (1, 1, 65)], ids=str)
def test_every_width(isa, rng, channels):
    for width, stride in itertools.product(WIDTHS, (1, 2)):
        check(rng, channels, (2, width), (3, 3), (1, stride), (1, 1), PADDINGS[1], TYPES[width % 4])


@pytest.mark.parametrize("width", [9, 25])
@pytest.mark.parametrize("channels", [(40, 161, 1), (120, 545, 1)], ids=str)
def test_deep_windows_of_many_results(isa, rng, channels, width):
    """Rows that kernels read again and again, and more k and columns than stay in the first cache."""
    check(rng, channels, (2, width), (3, 3), (1, 1), (1, 1), PADDINGS[1], TYPES[1], asymmetric=False)


@pytest.mark.parametrize("channels", [(8, 20, 1), (1, 1, 40), (2, 2, 4)], ids=str)
def test_images_larger_than_a_stage(isa, rng, channels):
    """Bands of one image, several images at once, and a rest of both."""
    check(rng, channels, (301, 117), (3, 3), (1, 1), (1, 1), PADDINGS[1], TYPES[1])
    check(rng, channels, (67, 40), (3, 5), (3, 2), (2, 1), PADDINGS[2], TYPES[3])
    check(rng, channels, (7, 7), (3, 3), (1, 1), (1, 1), PADDINGS[1], TYPES[1], images=150)


def test_one_pixel_windows_are_products(isa, rng):
    for types, images in itertools.product(TYPES, (1, 3)):
        for channels in ((5, 9, 1), (4, 6, 3)):
            check(rng, channels, (7, 11), (1, 1), (1, 1), (1, 1), PADDINGS[0], types, images=images)


@pytest.mark.parametrize("groups", [1, 3])
def test_every_distance_of_weights(isa, groups):
    """Weights at -255 to 255 from their zero points, which are split into int8 terms."""
    w = np.array([0, 255, 0, 255, 128, 127], np.uint8).reshape(1, 1, 2 if groups == 1 else 1, -1)
    x = np.arange(256, dtype=np.uint8).reshape(1, 256, 1, 1).repeat(w.shape[2] * groups, axis=3)
    for zw in (0, 1, 127, 128, 254, 255):
        same_bytes(
            ql.conv2d_integer(x, w, 7, zw, groups=groups), conv_integer(x, w, 7, np.full(w.shape[3], zw), groups=groups)
        )


def test_threads_give_the_same_bits(rng):
    threads = ql.get_num_threads()
    try:
        for channels in ((16, 80, 1), (1, 1, 48), (8, 8, 4)):
            for count in (1, 2, 5):
                ql.set_num_threads(count)
                check(rng, channels, (90, 61), (3, 3), (1, 1), (1, 1), PADDINGS[1], TYPES[1], images=2)
    finally:
        ql.set_num_threads(threads)


@pytest.mark.parametrize("groups", [1, 2])
def test_the_largest_window_and_one_more(groups):
    most = (2**31 - 1) // (255 * 128)
    x, w = np.full((1, 1, most + 1, groups), 255, np.uint8), np.full((1, most + 1, 1, groups), -128, np.int8)
    fitting = ql.conv2d_integer(x[:, :, 1:], w[:, 1:], groups=groups)
    assert np.all(fitting == -255 * 128 * most)
    out = np.full((1, 1, 1, groups), 7, np.int32)
    with pytest.raises(OverflowError, match=r"^x, w: "):
        ql.conv2d_integer(x, w, groups=groups, out=out)
    assert np.all(out == 7)


# ---- floats and codes -------------------------------------------------------------------------------


def images(rng, shape, signed=False, scale=0.03):
    dtype = np.int8 if signed else np.uint8
    return ql.QArray.from_codes(codes(rng, shape, dtype), scale, int(zero_points(rng, 1, dtype)[0]))


def weights(rng, shape, axis=3):
    count = shape[3] if axis == 3 else 1
    scale = rng.uniform(0.001, 0.02, count).astype(np.float32)
    return ql.QArray.from_codes(codes(rng, shape, np.int8), scale, axis=axis)


GRIDS = {
    "u8": ql.QParams(np.float32([0.4]), 130, signed=False),
    "s8": ql.QParams(np.float32([0.7]), -11),
    "narrow": ql.QParams(np.float32([0.7]), 0, narrow=True),
    "coarse": ql.QParams(np.float32([3e4]), 3),
    "fine": ql.QParams(np.float32([1e-6]), 3),  # multipliers above a half
}


@pytest.mark.parametrize("groups", [1, 2, 70], ids=["plain", "grouped", "depthwise"])
@pytest.mark.parametrize("activation", [None, "relu", "relu6"])
@pytest.mark.parametrize("signed", [False, True])
def test_every_result(isa, rng, groups, activation, signed):
    x = images(rng, (2, 5, 9, 70), signed)
    for axis, stride in ((3, 1), (None, 2)):
        w = weights(rng, (3, 3, 70 // groups, 70), axis)
        bias = rng.integers(-9999, 9999, 70, dtype=np.int32)
        where = {"stride": (stride, stride), "padding": PADDINGS[1], "groups": groups}
        acc = conv_integer(x.codes, w.codes, x.zero_point, 0, bias, **where)
        scales = x.scale.item(), w.scale.ravel()
        low, high = {None: (-np.inf, np.inf), "relu": (0, np.inf), "relu6": (0, 6)}[activation]
        same_bytes(ql.conv2d(x, w, bias, activation=activation, **where), conv_float(acc, *scales, low, high))
        for grid, rule in itertools.product(GRIDS.values(), ("float", "fixed")):
            z = grid.zero_point.item()
            qmin, qmax = code_clamps((low, high), grid.scale.item(), z, grid.qmin, grid.qmax, rule == "fixed")
            y = ql.conv2d(x, w, bias, activation=activation, output_qparams=grid, requant=rule, **where)
            expected = conv_codes(acc, *scales, grid.scale.item(), z, qmin, qmax, rule == "fixed")
            same_bytes(y.codes, expected.astype(grid.dtype))
            assert np.array_equal(y.scale.ravel(), grid.scale) and y.zero_point.item() == z


def test_a_float_bias_becomes_sums(rng):
    x, w = images(rng, (1, 4, 4, 3)), weights(rng, (3, 3, 3, 5))
    bias = rng.normal(size=5)
    integers = np.rint(bias.astype(np.float32) / (x.scale.item() * w.scale.ravel().astype(np.float64))).astype(np.int32)
    same_bytes(ql.conv2d(x, w, bias), ql.conv2d(x, w, integers))


@pytest.mark.parametrize("per", ["image", "tensor"])
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_floats_are_quantized_on_the_way(isa, rng, groups, per):
    x = rng.normal(0.3, 1, (4, 6, 5, 6)).astype(np.float32) * np.float32([1, 30, 0.01, 0]).reshape(4, 1, 1, 1)
    for kernel in ((3, 3), (1, 1)):
        w, bias = weights(rng, (*kernel, 6 // groups, 6)), rng.normal(size=6).astype(np.float32)
        for b in (None, bias):
            expected = conv_dynamic(x, w.codes, w.scale.ravel(), b, per, groups=groups)
            same_bytes(ql.conv2d(x, w, b, groups=groups, per=per), expected)
            same_bytes(ql.conv2d(x.astype(np.float64), w, b, groups=groups, per=per), expected)


def test_an_image_gives_the_same_in_every_batch(isa, rng):
    x = rng.normal(0, 1, (5, 9, 8, 4)).astype(np.float32) * np.float32([1, 100, 1e-3, 0, 7]).reshape(5, 1, 1, 1)
    w, grid = weights(rng, (3, 3, 4, 8)), GRIDS["u8"]
    for bias in (None, rng.normal(size=8), rng.integers(-99, 99, 8, dtype=np.int32)):
        options = {"bias": bias, "padding": "same", "activation": "relu"}
        alone = np.concatenate([ql.conv2d(x[i : i + 1], w, **options) for i in range(5)])
        same_bytes(ql.conv2d(x, w, **options), alone)
        out = np.zeros((8, 5, 9, 8), np.float32).transpose(1, 2, 3, 0)
        assert ql.conv2d(x, w, **options, out=out) is out and np.array_equal(out, alone)
        for rule in ("float", "fixed"):
            options |= {"output_qparams": grid, "requant": rule}
            alone = np.concatenate([ql.conv2d(x[i : i + 1], w, **options).codes for i in range(5)])
            same_bytes(ql.conv2d(x, w, **options).codes, alone)


def test_images_are_refused_before_anything_is_written(rng):
    w = weights(rng, (3, 3, 2, 4))
    x = rng.normal(size=(3, 5, 5, 2)).astype(np.float32)
    x[2] *= np.float32(1e30)  # what does not fit the grid comes last
    out = np.full((3, 3, 3, 4), 7, np.uint8)
    with pytest.raises(ValueError, match=r"^output_qparams: "):
        ql.conv2d(x, w, output_qparams=ql.QParams(np.float32([1e-30]), 0, signed=False), out=out)
    x[2] = 0.5
    with pytest.raises(OverflowError, match=r"^x, w: "):
        ql.conv2d(x, w, np.full(4, 2**31 - 1, np.int32), output_qparams=GRIDS["u8"], out=out)
    x[2] = np.nan
    with pytest.raises(ValueError, match=r"^x: "):
        ql.conv2d(x, w, output_qparams=GRIDS["u8"], out=out)
    assert np.all(out == 7)


def test_packed_weights_serve_many_images(isa, rng):
    for groups, dilation in ((1, 1), (1, 2), (4, 1), (4, (1, 3))):
        w = weights(rng, (3, 3, 4 // groups, 8))
        plain = w.codes.copy()
        packed, bare = ql.pack(w, groups=groups, dilation=dilation), ql.pack(plain, groups=groups, dilation=dilation)
        assert packed.shape == w.shape and packed.nbytes >= w.size and packed.isa == _core.info()["isa"]
        for size in (7, 9):
            x = images(rng, (1, size, size, 4))
            options = {"groups": groups, "dilation": dilation}
            same_bytes(ql.conv2d(x, packed, **options), ql.conv2d(x, w, **options))
            same_bytes(ql.conv2d_integer(x.codes, bare, 3, **options), ql.conv2d_integer(x.codes, plain, 3, **options))
            same_bytes(ql.conv2d_integer(x.codes, w, 3, **options), ql.conv2d_integer(x.codes, plain, 3, **options))


# ---- arrays -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_any_memory_layout(rng, layout):
    x, w = codes(rng, (2, 6, 5, 4), np.uint8), codes(rng, (3, 3, 4, 7), np.int8)
    expected = conv_integer(x, w, 3, 0)
    same_bytes(ql.conv2d_integer(layout(x), layout(w), 3), expected)
    out = layout(np.zeros_like(expected))
    if out.flags.writeable and out.dtype == np.int32:
        assert ql.conv2d_integer(x, w, 3, out=out) is out
        assert np.array_equal(out, expected)


def test_out_may_overlap_what_is_read(rng):
    memory = codes(rng, (1, 8, 8, 16), np.uint8)
    x, out = memory[..., :8], memory[:, 1:7, 1:7, 4:12]
    w, grid = weights(rng, (3, 3, 8, 8)), GRIDS["u8"]
    expected = ql.conv2d(ql.QArray.from_codes(x, 0.1), w, output_qparams=grid).codes
    q = ql.QArray(x, ql.QParams(np.float32([0.1]), 0, signed=False))
    y = ql.conv2d(q, w, output_qparams=grid, out=out)
    same_bytes(out.copy(), expected)
    assert np.shares_memory(y.codes, out)


def test_nothing_to_do(rng):
    w = weights(rng, (3, 3, 2, 4))
    assert ql.conv2d(images(rng, (0, 5, 5, 2)), w).shape == (0, 3, 3, 4)
    assert ql.conv2d(np.zeros((0, 5, 5, 2), np.float32), w).shape == (0, 3, 3, 4)
    assert ql.conv2d_integer(np.zeros((0, 5, 5, 2), np.uint8), w).shape == (0, 3, 3, 4)


def message(error, **changes):
    """What an argument that does not fit is told."""
    rng = np.random.default_rng(0)
    arguments = {"x": images(rng, (1, 5, 5, 4)), "w": weights(rng, (3, 3, 4, 6))} | changes
    with pytest.raises(error) as caught:
        ql.conv2d(**arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    "error, name, changes",
    [
        (ValueError, "x", {"x": np.zeros((5, 5, 4), np.float32)}),
        (TypeError, "x", {"x": np.zeros((1, 5, 5, 4), np.int32)}),
        (ValueError, "x", {"x": np.zeros((1, 5, 5, 3), np.float32)}),
        (ValueError, "x", {"x": np.full((1, 5, 5, 4), np.nan, np.float32)}),
        (ValueError, "x", {"x": ql.QArray.from_codes(np.zeros((1, 5, 5, 4), np.int16), 1.0)}),
        (ValueError, "x", {"x": ql.QArray.from_codes(np.zeros((1, 5, 5, 4), np.int8), [1.0] * 4, axis=3)}),
        (ValueError, "x", {"x": np.zeros((1, 2, 2, 4), np.float32)}),
        (ValueError, "x", {"x": np.zeros((1, 0, 5, 4), np.float32)}),
        (TypeError, "w", {"w": np.zeros((3, 3, 4, 6), np.float32)}),
        (TypeError, "w", {"w": np.zeros((3, 3, 4, 6), np.int8)}),
        (ValueError, "w", {"w": ql.QArray.from_codes(np.zeros((4, 6), np.int8), 1.0)}),
        (ValueError, "w", {"w": ql.QArray.from_codes(np.zeros((3, 3, 4, 0), np.int8), 1.0)}),
        (ValueError, "w", {"w": ql.QArray.from_codes(np.zeros((0, 3, 4, 6), np.int8), 1.0)}),
        (ValueError, "w", {"w": ql.QArray.from_codes(np.zeros((3, 3, 4, 6), np.int8), [1.0] * 4, axis=2)}),
        (ValueError, "w", {"w": ql.pack(ql.QArray.from_codes(np.zeros((4, 6), np.int8), 1.0))}),
        (ValueError, "w", {"w": ql.pack(np.zeros((3, 3, 4, 6), np.int8))}),
        (ValueError, "w", {"w": ql.pack(ql.QArray.from_codes(np.zeros((3, 3, 4, 6), np.int8), 1.0), groups=2)}),
        (ValueError, "w", {"w": ql.pack(ql.QArray.from_codes(np.zeros((3, 3, 4, 6), np.int8), 1.0), dilation=2)}),
        (ValueError, "bias", {"bias": np.zeros(5, np.float32)}),
        (ValueError, "bias", {"bias": np.full(6, np.inf, np.float32)}),
        (TypeError, "bias", {"bias": np.zeros(6, np.int64)}),
        (ValueError, "stride", {"stride": 0}),
        (TypeError, "stride", {"stride": 1.5}),
        (ValueError, "padding", {"padding": -1}),
        (ValueError, "padding", {"padding": "full"}),
        (ValueError, "dilation", {"dilation": (1, 2, 3)}),
        (ValueError, "groups", {"groups": 4}),
        (ValueError, "groups", {"groups": 0}),
        (TypeError, "groups", {"groups": 2.0}),
        (ValueError, "activation", {"activation": "gelu"}),
        (TypeError, "output_qparams", {"output_qparams": 0.5}),
        (ValueError, "output_qparams", {"output_qparams": ql.QParams(np.float32([[1, 2]]), 0)}),
        (ValueError, "per", {"x": np.zeros((1, 5, 5, 4), np.float32), "per": "row"}),
        (ValueError, "per", {"per": "tensor"}),
        (ValueError, "requant", {"requant": "double", "output_qparams": GRIDS["u8"]}),
        (TypeError, "out", {"out": np.zeros((1, 3, 3, 6), np.float64)}),
        (ValueError, "out", {"out": np.zeros((1, 3, 3, 5), np.float32)}),
        (TypeError, "out", {"out": np.zeros((1, 3, 3, 6), np.int8), "output_qparams": GRIDS["u8"]}),
    ],
)
def test_errors_name_the_argument(error, name, changes):
    assert message(error, **changes).startswith(f"{name}: ")


def test_errors_say_what_would_do():
    images, kernel = np.zeros((1, 5, 5, 3), np.float32), np.ones((3, 3, 1, 2), np.float32)
    expected = r"^x: expected 1 channel for w of shape \(3, 3, 1, 2\) and groups=1, got 3$"
    with pytest.raises(ValueError, match=expected):
        ql.conv2d(images, ql.quantize(kernel, axis=3))
    with pytest.raises(TypeError, match=r"^w: .*\(ql\.quantize\(w, axis=3\)\)"):
        ql.conv2d(images, kernel)
    grouped = ql.quantize(np.ones((3, 3, 64, 2)), 4, axis=3, group_size=32)
    for w in (grouped, ql.quantize(np.ones((3, 3, 3, 2)), grid="nf4")):
        with pytest.raises(ValueError, match=r"^w: .*conv2d takes one scale or one per output, axis=3"):
            ql.conv2d(images, w)
    with pytest.raises(TypeError, match=r"^x: .* got uint8 \(QArray\.from_codes\(x, scale\)"):
        ql.conv2d(images.astype(np.uint8), ql.quantize(kernel, axis=3))
    packed = ql.pack(ql.quantize(kernel, axis=3))
    with pytest.raises(ValueError, match=r"^w: expected .*\(pack\(w, groups=2, dilation=1\)\), got groups=1 and"):
        ql.conv2d(images, packed, groups=2)


@pytest.mark.parametrize(
    "arguments, name",
    [
        ((np.zeros((1, 3, 3, 1), np.int8), np.zeros((1, 1, 1, 1), np.int8), 128), "x_zero_point"),
        ((np.zeros((1, 3, 3, 1), np.uint8), np.zeros((1, 1, 1, 1), np.int8), -1), "x_zero_point"),
        ((np.zeros((1, 3, 3, 1), np.uint8), np.zeros((1, 1, 1, 1), np.int8), 0, 128), "w_zero_point"),
        ((np.zeros((1, 3, 3, 1), np.uint8), np.zeros((1, 1, 1, 2), np.int8), 0, [1, 2, 3]), "w_zero_point"),
        ((np.zeros((1, 3, 3, 1), np.uint8), ql.pack(np.zeros((1, 1, 1, 2), np.int8)), 0, 1), "w_zero_point"),
        ((np.zeros((3, 3, 1), np.uint8), np.zeros((1, 1, 1, 2), np.int8)), "x"),
        ((np.zeros((1, 3, 3, 1), np.uint8), np.zeros((1, 1, 2), np.int8)), "w"),
    ],
)
def test_errors_of_integers_name_the_argument(arguments, name):
    with pytest.raises(ValueError, match=rf"^{name}: "):
        ql.conv2d_integer(*arguments)


def test_sizes_cannot_wrap():
    """What does not fit the memory is told so; nothing wraps to a small size. The first result is beyond NumPy, of the
    second the row of pixels beyond any memory."""
    x, w = np.zeros((1, 1, 1, 1), np.uint8), np.zeros((1, 1, 1, 1), np.int8)
    most = 2**31 - 1
    with pytest.raises(MemoryError, match=r"^padding: "):
        ql.conv2d_integer(x, w, padding=((most, most), (most, most)))
    wide = np.zeros((1, 2, 2, 65536), np.uint8)
    with pytest.raises(MemoryError, match=r"^padding: "):
        ql.conv2d_integer(wide, np.zeros((1, 1, 1, 65536), np.int8), stride=most, padding=most, groups=65536)


# ---- peers ------------------------------------------------------------------------------------------


def as_onnx(x):
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))


PEER_OPTIONS = [
    ((3, 3), (1, 1), (1, 1), PADDINGS[1]),
    ((3, 3), (2, 2), (1, 1), ((0, 1), (0, 1))),
    ((5, 3), (1, 2), (2, 1), PADDINGS[2]),
    ((1, 1), (1, 1), (1, 1), PADDINGS[0]),
]
PEER_CHANNELS = [(8, 16, 1), (3, 5, 1), (2, 6, 4), (1, 1, 32), (1, 2, 6)]


@pytest.mark.parametrize("channels", PEER_CHANNELS, ids=str)
@pytest.mark.parametrize("kernel, stride, dilation, padding", PEER_OPTIONS)
def test_onnxruntime(rng, channels, kernel, stride, dilation, padding):
    per_group, outputs, groups = channels
    x = codes(rng, (2, 9, 8, per_group * groups), np.uint8)
    # Weights in 7 bits: without VNNI the peer adds pairs of products in 16 bits, which saturate.
    w = rng.integers(-63, 64, (*kernel, per_group, outputs * groups), dtype=np.int8)
    attributes = {
        "strides": stride,
        "dilations": dilation,
        "pads": [side[0] for side in padding] + [side[1] for side in padding],
        "group": groups,
    }
    options = {"stride": stride, "dilation": dilation, "padding": padding, "groups": groups}
    w_onnx = np.ascontiguousarray(w.transpose(3, 2, 0, 1))
    zx, scale, bias = np.uint8(77), np.float32(0.03), rng.integers(-9999, 9999, w.shape[3], dtype=np.int32)
    sums = onnxruntime("ConvInteger", [as_onnx(x), w_onnx, zx], np.int32, **attributes)
    same_bytes(as_onnx(ql.conv2d_integer(x, w, int(zx), **options)), sums)

    w_scale, zeros = rng.uniform(0.001, 0.02, w.shape[3]).astype(np.float32), np.zeros(w.shape[3], np.int8)
    inputs = [as_onnx(x), scale, zx, w_onnx, w_scale, zeros, np.float32(0.2), np.uint8(120), bias]
    expected = onnxruntime("QLinearConv", inputs, np.uint8, **attributes)
    y = ql.conv2d(
        ql.QArray.from_codes(x, scale, int(zx)),
        ql.QArray.from_codes(w, w_scale, axis=3),
        bias,
        output_qparams=ql.QParams(np.float32([0.2]), 120, signed=False),
        **options,
    )
    same_bytes(as_onnx(y.codes), expected)


def litert_model(x, w, bias, y, stride=(1, 1), dilation=(1, 1), groups=1, activation=None):
    """CONV_2D, or DEPTHWISE_CONV_2D, of one's own padding: none. x, w, y are QArrays, bias int32."""
    depthwise = groups > 1
    options = {"fusedActivationFunction": litert.ACTIVATIONS[activation], "padding": 1, "version": 3}
    options |= {"strideH": stride[0], "strideW": stride[1]}
    options |= {"dilationHFactor": dilation[0], "dilationWFactor": dilation[1]}
    if depthwise:
        options["depthMultiplier"] = w.shape[3] // groups
    data = w.codes.transpose(2, 0, 1, 3) if depthwise else w.codes.transpose(3, 0, 1, 2)
    scale = w.scale.ravel()
    options["constants"] = (
        litert.Weights(data, scale, 3 if depthwise else 0),
        litert.Weights(bias, np.float32(x.scale.item()) * scale),
    )
    grids = ((q.scale.item(), q.zero_point.item()) for q in (x, y))
    return litert.model("DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", x.codes, y.codes, *grids, **options)


@pytest.mark.parametrize("resolver, rule", [("default", "float"), ("reference", "fixed")])
@pytest.mark.parametrize("channels", [c for c in PEER_CHANNELS if c[2] == 1 or c[0] == 1], ids=str)
@pytest.mark.parametrize("stride, dilation", [((1, 1), (1, 1)), ((2, 2), (1, 1)), ((1, 1), (2, 2))])
def test_litert(rng, resolver, rule, channels, stride, dilation):
    per_group, outputs, groups = channels
    x = images(rng, (2, 9, 8, per_group * groups), signed=True)
    w = ql.quantize(rng.normal(size=(3, 3, per_group, outputs * groups)).astype(np.float32), axis=3)
    bias = rng.integers(-9999, 9999, w.shape[3], dtype=np.int32)
    grid = ql.QParams(np.float32([0.2]), 7)
    y = ql.conv2d(x, w, bias, stride=stride, dilation=dilation, groups=groups, output_qparams=grid, requant=rule)
    content = litert_model(x, w, bias, y, stride, dilation, groups)
    same_bytes(y.codes, litert.run(content, x.codes, resolver))


@pytest.mark.parametrize("resolver, rule", [("default", "float"), ("reference", "fixed")])
@pytest.mark.parametrize("groups", [1, 4])
def test_litert_where_six_is_between_two_codes(rng, resolver, rule, groups):
    x = ql.QArray.from_codes(codes(rng, (1, 5, 5, 4), np.int8), 0.5, 3)
    w = ql.QArray.from_codes(codes(rng, (2, 2, 4 // groups, 4), np.int8), np.float32([0.01, 0.02, 0.03, 0.04]), axis=3)
    bias = np.zeros(4, np.int32)
    for scale, z in itertools.product(scales_of_ties(6), (-128, -3, 0, 1)):
        options = {"groups": groups, "activation": "relu6"}
        y = ql.conv2d(x, w, bias, output_qparams=ql.QParams(np.float32([scale]), z), requant=rule, **options)
        same_bytes(y.codes, litert.run(litert_model(x, w, bias, y, **options), x.codes, resolver))
