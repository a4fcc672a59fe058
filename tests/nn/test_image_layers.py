"""Layers of images: against plain NumPy, gradients, shapes, what they refuse, files and pickles."""

import math
import pickle
import re

import numpy as np
import pytest
from gradients import check_gradients
from reference import image_layers as reference
from reference import resizes
from samples import same_bytes

import qlite as ql
from qlite.ops.activations import ACTIVATIONS

#: Rounding of one float32 operation, relatively: a sum of n products is within (n + 1) of these of the sum of their
#: magnitudes.
UNIT = 2.0**-24
NO_RNG = np.random.default_rng(0)
FULL = ((1, 2), (3, 0))
W = np.ones((3, 3, 2, 4), np.float32)


def normal(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


# ---- what they compute ------------------------------------------------------------------------------


CONVOLUTIONS = {  # samples, weight, options, all by (height, width)
    "3 x 3": ((2, 7, 6, 3), (3, 3, 3, 5), {}),
    "same": ((2, 7, 6, 3), (3, 3, 3, 5), {"padding": "same"}),
    "same, strides": ((2, 7, 10, 3), (3, 4, 3, 5), {"padding": "same", "stride": (2, 3)}),
    "one pixel": ((3, 4, 5, 6), (1, 1, 6, 7), {}),
    "one pixel, stride": ((3, 4, 5, 6), (1, 1, 6, 7), {"stride": 2}),
    "dilation": ((2, 9, 8, 2), (3, 2, 2, 4), {"dilation": (2, 3), "padding": "same"}),
    "sides of their own": ((2, 5, 6, 2), (3, 2, 2, 4), {"padding": FULL, "stride": 2}),
    "padding of 2": ((1, 3, 3, 1), (3, 3, 1, 2), {"padding": 2}),
    "as large as the image": ((2, 5, 4, 3), (5, 4, 3, 2), {}),
    "groups": ((2, 6, 6, 6), (3, 3, 2, 9), {"groups": 3, "padding": 1}),
    "groups of one": ((2, 6, 6, 4), (3, 3, 1, 8), {"groups": 4, "stride": 2, "padding": "same"}),
    "one sample of one pixel": ((1, 1, 1, 1), (1, 1, 1, 1), {}),
    "no samples": ((0, 6, 6, 3), (3, 3, 3, 4), {}),
    "many channels": ((1, 5, 5, 130), (3, 3, 130, 66), {"padding": "same"}),
}


def pairs(value):
    return value if isinstance(value, tuple) else (value, value)


def expected_of(x, w, stride=1, padding="valid", dilation=1, groups=1):
    """What a convolution gives in float64, and the sum of magnitudes that each result is made of."""
    stride, dilation = pairs(stride), pairs(dilation)
    around = reference.sides(padding, x.shape[1:3], w.shape[:2], stride, dilation)
    arguments = stride, around, dilation, groups
    return reference.conv2d(x, w, *arguments), reference.conv2d(abs(x), abs(w), *arguments)


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolutions_are_those_of_the_reference(rng, case):
    shape, kernel, options = CONVOLUTIONS[case]
    x, w, b = normal(rng, *shape), normal(rng, *kernel), normal(rng, kernel[-1])
    layer = ql.Conv2D(w, b, **options)
    y = layer(x)
    assert y.shape[1:] == layer.infer(shape[1:])
    assert y.dtype == np.float32
    if len(x):
        expected, magnitude = expected_of(x, w, **options)
        assert (abs(y - (expected + b)) <= (math.prod(kernel[:3]) + 2) * UNIT * (magnitude + abs(b))).all()


@pytest.mark.parametrize("multiplier", [1, 3])
@pytest.mark.parametrize(
    "options", [{}, {"padding": "same", "stride": 2}, {"padding": FULL, "dilation": (1, 2)}], ids=str
)
def test_depthwise_convolutions_are_convolutions_in_groups(rng, options, multiplier):
    x, w, b = normal(rng, 2, 7, 9, 4), normal(rng, 3, 2, 4, multiplier), normal(rng, 4 * multiplier)
    layer = ql.DepthwiseConv2D(w, b, **options)
    kept = w.reshape(3, 2, 1, 4 * multiplier)
    assert layer.multiplier == multiplier
    assert layer.weight.shape == kept.shape
    expected, magnitude = expected_of(x, kept, groups=4, **options)
    assert (abs(layer(x) - (expected + b)) <= (3 * 2 + 2) * UNIT * (magnitude + abs(b))).all()
    same_bytes(layer(x), ql.DepthwiseConv2D(kept, b, multiplier=multiplier, **options)(x))
    for c in range(4):  # each channel alone
        one = ql.DepthwiseConv2D(w[:, :, c : c + 1], multiplier=multiplier, **options)
        assert one.infer((7, 9, 1))[-1] == multiplier
        np.testing.assert_allclose(
            one(x[..., c : c + 1]) + b[c * multiplier : (c + 1) * multiplier],
            layer(x)[..., c * multiplier : (c + 1) * multiplier],
            atol=1e-5,
        )


def test_separable_convolutions_are_two(rng):
    x, depthwise, pointwise, b = (
        normal(rng, 2, 6, 5, 3),
        normal(rng, 3, 3, 3, 2),
        normal(rng, 1, 1, 6, 4),
        normal(rng, 4),
    )
    options = {"stride": 2, "padding": "same", "dilation": 1}
    layer = ql.SeparableConv2D(depthwise, pointwise, b, "relu", "block", **options)
    first, second = layer.split()
    assert (first.name, second.name) == ("block_depthwise", "block_pointwise")
    same_bytes(layer(x), ql.Conv2D(pointwise, b, "relu")(ql.DepthwiseConv2D(depthwise, **options)(x)))
    same_bytes(layer(x), second(first(x)))
    assert all(
        np.shares_memory(layer.parameters[name], array)
        for name, array in (
            ("depthwise_weight", first.weight),
            ("pointwise_weight", second.weight),
            ("bias", second.bias),
        )
    )
    assert layer.macs((6, 5, 3)) == 3 * 3 * (9 * 6 + 6 * 4)


@pytest.mark.parametrize(
    "options",
    [{}, {"padding": "same", "stride": 2}, {"padding": (4, 0), "dilation": 2}, {"padding": 2}, {"groups": 2}],
    ids=str,
)
def test_convolutions_along_one_axis_are_those_of_images_of_height_1(rng, options):
    x, w, b = normal(rng, 3, 11, 4), normal(rng, 3, 4 // options.get("groups", 1), 6), normal(rng, 6)
    layer = ql.Conv1D(w, b, "tanh", **options)
    assert layer.kernel_shape == (1, *w.shape)
    flat = dict(options)
    for name in {"stride", "dilation"} & set(options):
        flat[name] = (1, options[name])
    if not isinstance(options.get("padding", ""), str):
        flat["padding"] = (0, 0), pairs(options["padding"])
    two = ql.Conv2D(w[None], b, "tanh", **flat)
    same_bytes(layer(x), two(x[:, None])[:, 0])
    assert layer.infer((11, 4)) == two.infer((1, 11, 4))[1:]
    assert layer.fields((11, 4)) == two.fields((1, 11, 4))


POOLS = {
    "2": ((2, 6, 8, 3), {"size": 2}),
    "rest is left": ((2, 7, 5, 3), {"size": 2}),
    "3, stride 2, same": ((2, 7, 8, 20), {"size": 3, "stride": 2, "padding": "same"}),
    "sides of their own": ((1, 5, 6, 2), {"size": (3, 4), "stride": (2, 1), "padding": ((0, 2), (3, 1))}),
    "the whole image": ((2, 5, 4, 3), {"size": (5, 4)}),
    "one pixel": ((2, 3, 3, 1), {"size": 1}),
    "strides over pixels": ((1, 9, 9, 2), {"size": 2, "stride": 3}),
    "padding of 1": ((1, 4, 4, 1), {"size": 2, "padding": 1}),
}


@pytest.mark.parametrize("case", POOLS)
def test_pools_are_those_of_the_reference(rng, case):
    shape, options = POOLS[case]
    x = normal(rng, *shape) - 3  # a zero of the padding would win
    size, stride = pairs(options["size"]), pairs(options.get("stride", options["size"]))
    around = reference.sides(options.get("padding", "valid"), shape[1:3], size, stride, (1, 1))
    for layer, function in ((ql.MaxPool, reference.max_pool), (ql.AveragePool, reference.average_pool)):
        y = layer(**options)(x)
        same_bytes(y, function(x, size, stride, around))
        assert y.shape[1:] == layer(**options).infer(shape[1:])
        same_bytes(layer(**options).forward(x, rng=NO_RNG)[0], y)


@pytest.mark.parametrize("layer", [ql.MaxPool, ql.AveragePool])
@pytest.mark.parametrize(
    "options", [{}, {"size": 3, "stride": 2, "padding": "same"}, {"size": (5, 3), "padding": 1}], ids=str
)
def test_pools_of_samples_of_one_axis_go_by_widths(rng, layer, options):
    x = normal(rng, 2, 9, 4)
    size = pairs(options.get("size", 2))
    flat = {"size": (1, size[1]), "stride": (1, pairs(options.get("stride", size))[1])}
    padding = options.get("padding", "valid")
    flat["padding"] = padding if isinstance(padding, str) else ((0, 0), (padding, padding))
    y = layer(**options)(x)
    same_bytes(y, layer(**flat)(x[:, None])[:, 0])
    assert layer(**options).infer((9, 4)) == y.shape[1:]


@pytest.mark.parametrize("shape", [(5, 7, 6, 3), (2, 9, 4), (3, 4), (2, 3, 2, 3, 2), (0, 4, 4, 2), (2, 1, 1, 1)])
def test_global_average_pool(rng, shape):
    x = normal(rng, *shape)
    y = ql.GlobalAveragePool()(x)
    total = np.zeros((shape[0], shape[-1]))
    pixels = x.reshape(shape[0], math.prod(shape[1:-1]), shape[-1]).astype(np.float64)
    for i in range(pixels.shape[1]):
        total += pixels[:, i]
    same_bytes(y, (total / pixels.shape[1]).astype(np.float32))
    assert ql.GlobalAveragePool().infer(shape[1:]) == y.shape[1:] == shape[-1:]


def test_reshape(rng):
    x = normal(rng, 5, 3, 4, 2)
    for shape, expected in (((24,), (24,)), ((2, -1), (2, 12)), ((-1, 3, 2), (4, 3, 2)), ([3, 8], (3, 8))):
        layer = ql.Reshape(shape)
        assert layer.infer((3, 4, 2)) == expected
        same_bytes(layer(x), x.reshape(5, *expected))
        assert layer(x[:0]).shape == (0, *expected)
        assert np.shares_memory(layer(x), x)


@pytest.mark.parametrize(
    ("padding", "shape", "expected"),
    [
        (1, (4, 5, 2), ((1, 1), (1, 1), (0, 0))),
        (2, (5, 2), ((2, 2), (0, 0))),
        (((1, 2), (3, 0)), (4, 5, 2), (*FULL, (0, 0))),
        ([(2, 0)], (5, 2), ((2, 0), (0, 0))),
        ([(0, 1), (2, 3), (1, 0)], (4, 5, 2), ((0, 1), (2, 3), (1, 0))),
        ([(2, 1)], (3,), ((2, 1),)),
        (0, (4, 5, 2), ((0, 0),) * 3),
    ],
    ids=str,
)
def test_pad(rng, padding, shape, expected):
    layer, x = ql.Pad(padding), normal(rng, 3, *shape)
    y = layer(x)
    same_bytes(y, np.pad(x, ((0, 0), *expected)))
    assert y.shape[1:] == layer.infer(shape)
    assert layer.sides(shape) == expected


@pytest.mark.parametrize(
    "size", [{"scale": 2}, {"scale": (1, 3)}, {"size": (5, 9)}, {"size": (1, 2)}, {"size": 4}], ids=str
)
@pytest.mark.parametrize(
    "mode", [{}, {"align_corners": True}, {"half_pixel_centers": False}, {"align_corners": False}], ids=str
)
def test_resizes_are_those_of_the_reference(rng, mode, size):
    flags = mode.get("align_corners", False), mode.get("half_pixel_centers", not mode.get("align_corners", False))
    for shape in ((4, 6, 3), (7, 1, 2), (1, 5, 1)):
        x = normal(rng, 2, *shape)
        for kind, expected in (
            (ql.ResizeNearest, resizes.resize_nearest),
            (ql.ResizeBilinear, resizes.resize_bilinear_floats),
        ):
            layer = kind(**size, **mode)
            out = layer.infer(shape)
            same_bytes(layer(x), expected(x, out[:2], *flags))
            assert layer(x).shape[1:] == out


@pytest.mark.parametrize("mode", ["reflect", "symmetric"])
def test_pad_as_a_mirror(rng, mode):
    x = normal(rng, 2, 4, 5, 3)
    for padding, expected in ((1, ((1, 1), (1, 1), (0, 0))), ([(0, 3), (4, 1)], ((0, 3), (4, 1), (0, 0)))):
        layer = ql.Pad(padding, mode)
        same_bytes(layer(x), np.pad(x, ((0, 0), *expected), mode))
        assert layer(x).shape[1:] == layer.infer((4, 5, 3))


def test_transpose(rng):
    x = normal(rng, 2, 3, 4, 5)
    for axes, same in (((2, 0, 1),) * 2, ((0, 1, 2),) * 2, ((-1, -2, -3), (2, 1, 0)), ([1, 0, -1], (1, 0, 2))):
        layer = ql.Transpose(axes)
        assert layer.axes == same
        same_bytes(layer(x), np.ascontiguousarray(x.transpose(0, *(i + 1 for i in same))))
        assert layer(x).shape[1:] == layer.infer((3, 4, 5))


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (ql.Slice(), np.s_[:]),
        (ql.Slice(1, 3), np.s_[:, 1:3]),
        (ql.Slice(-2), np.s_[:, -2:]),
        (ql.Slice((1, None), (None, -1)), np.s_[:, 1:, :-1]),
        (ql.Slice(stride=(-1, 2, -3)), np.s_[:, ::-1, ::2, ::-3]),
        (ql.Slice([None, None, 3], stride=[1, 1, -1]), np.s_[:, :, :, 3::-1]),
        (ql.Slice(0, 100), np.s_[:]),
        (ql.Slice((2, 4), (0, 0), (-1, -2)), np.s_[:, 2:0:-1, 4:0:-2]),
    ],
    ids=repr,
)
def test_slices_are_those_of_numpy(rng, layer, expected):
    x = normal(rng, 2, 3, 4, 5)
    same_bytes(layer(x), np.ascontiguousarray(x[expected]))
    assert layer.infer((3, 4, 5)) == x[expected].shape[1:]


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_splits_are_those_of_numpy(rng, axis):
    x = normal(rng, 2, 6, 6, 6)
    of_x = axis if axis < 0 else axis + 1
    for parts, begins in ((3, 3), ([1, 3, 2], [1, 4]), (1, 1)):
        for got, expected in zip(ql.Split(parts, axis)(x), np.split(x, begins, of_x), strict=True):
            same_bytes(got, np.ascontiguousarray(expected))
    symbols = ql.Split([2, 4], axis, name="part")(ql.Input((6, 6, 6)))
    assert [symbol.layer.name for symbol in symbols] == ["part_0", "part_1"]
    assert [symbol.shape[axis] for symbol in symbols] == [2, 4]
    assert repr(ql.Split([2, 4], axis)) == f"Split((2, 4), axis {axis})"


@pytest.mark.parametrize("block", [1, 2, 3])
def test_blocks(rng, block):
    x = normal(rng, 2, 3, 4, 2 * block**2)
    y = ql.DepthToSpace(block)(x)
    for i, j, u, v in np.ndindex(3, 4, block, block):
        first = (u * block + v) * 2
        same_bytes(y[:, i * block + u, j * block + v], x[:, i, j, first : first + 2])
    assert ql.DepthToSpace(block).infer(x.shape[1:]) == y.shape[1:]
    assert ql.SpaceToDepth(block).infer(y.shape[1:]) == x.shape[1:]
    same_bytes(ql.SpaceToDepth(block)(y), x)


@pytest.mark.parametrize("activation", [None, "relu", "relu6"])
def test_add(rng, activation):
    a, b = 4 * normal(rng, 3, 4, 5, 2), 4 * normal(rng, 3, 4, 5, 2)
    expected = a + b if activation is None else ql.Activation(activation)(a + b)
    layer = ql.Add(activation)
    same_bytes(layer(a, b), expected)
    same_bytes(layer(a.transpose(0, 2, 1, 3), b.transpose(0, 2, 1, 3)), expected.transpose(0, 2, 1, 3).copy())
    of_inputs, _ = layer.backward(layer.forward(a, b, rng=NO_RNG)[1], np.ones_like(a))
    assert not np.shares_memory(*of_inputs)  # each is written over by what reads it


@pytest.mark.parametrize("axis", [-3, -1, 0, 1])
def test_concatenate(rng, axis):
    shapes = [[4, 4, 4] for _ in range(3)]
    for shape, length in zip(shapes, (2, 1, 5), strict=True):
        shape[axis] = length
    x, layer = [normal(rng, 2, *shape) for shape in shapes], ql.Concatenate(axis)
    y = layer(*x)
    same_bytes(y, np.concatenate(x, axis=axis if axis < 0 else axis + 1))
    assert layer.infer(*map(tuple, shapes)) == y.shape[1:]
    of_inputs, _ = layer.backward(layer.forward(*x, rng=NO_RNG)[1], y.copy())
    for gradient, array in zip(of_inputs, x, strict=True):
        same_bytes(gradient, array)
    same_bytes(layer(x[0]), x[0])


@pytest.mark.parametrize("order", ["F", "strided", "backwards", "float64", "big-endian"])
def test_samples_in_any_layout(rng, order):
    x = normal(rng, 2, 6, 6, 4)
    given = {
        "F": np.asfortranarray(x),
        "strided": np.repeat(x, 2, axis=2)[:, :, ::2],
        "backwards": x[:, ::-1, ::-1].copy()[:, ::-1, ::-1],
        "float64": x.astype(np.float64),
        "big-endian": x.astype(">f4"),
    }[order]
    w = normal(rng, 3, 3, 4, 2)
    layers = [ql.Conv2D(w), ql.Conv2D(w[:1, :1]), ql.DepthwiseConv2D(w), ql.SeparableConv2D(w, normal(rng, 1, 1, 8, 3))]
    layers += [ql.MaxPool(), ql.AveragePool(), ql.GlobalAveragePool(), ql.Pad(1), ql.Reshape((-1, 3))]
    for layer in layers:
        same_bytes(np.ascontiguousarray(layer(given)), layer(x))
    for layer in (ql.Add("relu"), ql.Concatenate()):
        same_bytes(np.ascontiguousarray(layer(given, given)), layer(x, x))
    same_bytes(ql.Conv1D(w[0])(given[:, 0]), ql.Conv1D(w[0])(x[:, 0].copy()))


# ---- shapes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", ["same", "valid", 0, 1, ((2, 0), (0, 1))])
@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
def test_shapes_of_all_paddings(padding, kernel):
    for stride in (1, 2, 3):
        for dilation in (1, 2):
            layer = ql.Conv2D(filters=2, kernel_size=kernel, stride=stride, padding=padding, dilation=dilation)
            for length in range(9, 14):
                around = reference.sides(padding, (length,) * 2, (kernel,) * 2, (stride,) * 2, (dilation,) * 2)
                span = (kernel - 1) * dilation + 1
                expected = tuple((length + sum(side) - span) // stride + 1 for side in around)
                assert layer.infer((length, length, 3)) == (*expected, 2)
                assert layer.fields((length, length, 3))["padding"] == (*around[0], *around[1])
                if padding == "same":
                    assert expected == (math.ceil(length / stride),) * 2


def test_weights_are_made_for_the_samples():
    shape, makers = (
        (8, 8, 4),
        {
            (3, 3, 4, 6): lambda **o: ql.Conv2D(filters=6, kernel_size=3, **o),
            (3, 2, 2, 6): lambda **o: ql.Conv2D(filters=6, kernel_size=(3, 2), groups=2, **o),
            (3, 3, 1, 8): lambda **o: ql.DepthwiseConv2D(kernel_size=3, multiplier=2, **o),
        },
    )
    for kernel, make in makers.items():
        for initializer, fan in (("he_uniform", "in"), ("glorot_normal", "both")):
            layer, again, other = (make(initializer=initializer) for _ in range(3))
            assert not layer.weight.size
            outputs = layer.infer(shape)[-1]
            for one, seed in ((layer, 1), (again, 1), (other, 2)):
                one.build(np.random.default_rng(seed), shape)
            assert layer.weight.shape == kernel
            assert layer.bias.shape == (outputs,) == (kernel[-1],)
            same_bytes(layer.weight, again.weight)
            assert not np.array_equal(layer.weight, other.weight)
            inputs = math.prod(kernel[:3])
            deviation = math.sqrt(2 / inputs if fan == "in" else 2 / (inputs + math.prod(kernel[:2]) * kernel[3]))
            count = layer.weight.size
            assert abs(layer.weight.std() - deviation) < 4 * deviation / math.sqrt(count)
    separable = ql.SeparableConv2D(filters=5, kernel_size=3, multiplier=2)
    assert separable.infer(shape) == (6, 6, 5)
    separable.build(np.random.default_rng(0), shape)
    assert [a.shape for a in separable.parameters.values()] == [(3, 3, 1, 8), (1, 1, 8, 5), (5,)]
    line = ql.Conv1D(filters=6, kernel_size=3, groups=2)
    line.build(np.random.default_rng(0), (8, 4))
    assert line.weight.shape == (3, 2, 6)


def test_weights_are_not_made_for_samples_that_do_not_fit():
    for layer, shape in (
        (ql.Conv2D(filters=6, kernel_size=3), (2, 8, 4)),
        (ql.Conv2D(filters=6, kernel_size=3), (784,)),
        (ql.Conv2D(filters=6, kernel_size=3, groups=3), (8, 8, 4)),
        (ql.DepthwiseConv2D(kernel_size=9), (8, 8, 4)),
        (ql.SeparableConv2D(filters=6, kernel_size=9), (8, 8, 4)),
        (ql.Conv1D(filters=6, kernel_size=9), (8, 4)),
    ):
        layer.build(np.random.default_rng(0), shape)
        assert not any(name != "bias" and array.size for name, array in layer.parameters.items()), layer


# ---- gradients --------------------------------------------------------------------------------------


def layers_for_gradients(rng):
    """Layers whose results have no corners, and the shapes of their samples."""
    w = normal(rng, 3, 2, 2, 4)
    yield ql.Conv2D(w, normal(rng, 4)), (5, 4, 2)
    yield ql.Conv2D(w, normal(rng, 4), "tanh", stride=2, padding="same"), (5, 4, 2)
    yield ql.Conv2D(w, normal(rng, 4), dilation=(1, 2), padding=FULL), (4, 4, 2)
    yield ql.Conv2D(w, normal(rng, 4), "gelu", groups=2, padding=1), (4, 3, 4)
    yield ql.Conv2D(w[:1, :1], normal(rng, 4), "softmax"), (2, 3, 2)
    yield ql.Conv2D(w[:1, :1], stride=2), (4, 3, 2)
    yield ql.DepthwiseConv2D(w[..., :1], normal(rng, 2), "silu", padding="same"), (4, 3, 2)
    yield ql.DepthwiseConv2D(w, normal(rng, 8), stride=2, dilation=(1, 2), padding=FULL), (4, 5, 2)
    yield ql.SeparableConv2D(w[..., :2], normal(rng, 1, 1, 4, 3), normal(rng, 3), "sigmoid", padding="same"), (4, 3, 2)
    yield ql.Conv1D(w[:, 0], normal(rng, 4), "tanh", stride=2, padding=(2, 1)), (6, 2)
    yield ql.AveragePool(2), (4, 5, 2)
    yield ql.AveragePool((3, 2), stride=(1, 2), padding=((2, 1), (0, 1))), (4, 5, 2)
    yield ql.AveragePool(3, stride=1, padding="same"), (6, 2)
    yield ql.GlobalAveragePool(), (3, 4, 2)
    yield ql.GlobalAveragePool(), (5, 2)
    yield ql.Reshape((-1, 2)), (3, 4, 2)
    yield ql.Pad(1), (3, 2, 2)
    yield ql.Pad([(1, 0), (0, 2), (1, 1)]), (3, 2, 2)
    yield ql.Pad([(1, 0), (3, 2), (1, 1)], "symmetric"), (3, 4, 2)
    yield ql.Pad([(2, 2), (0, 1)], "reflect"), (3, 2, 2)
    yield ql.Transpose((2, 0, 1)), (2, 3, 4)
    yield ql.Slice((0, 2), (2, 0), (1, -1)), (3, 4, 2)
    yield ql.DepthToSpace(2), (2, 3, 8)
    yield ql.SpaceToDepth(2), (4, 6, 2)
    yield ql.ResizeNearest(scale=2), (2, 3, 2)
    yield ql.ResizeNearest((2, 7), half_pixel_centers=False), (3, 3, 2)
    yield ql.ResizeBilinear(scale=(2, 3)), (2, 3, 2)
    yield ql.ResizeBilinear((2, 5), align_corners=True), (3, 3, 2)
    yield ql.Add(), (3, 2), (3, 2)
    yield ql.Concatenate(), (3, 2), (3, 4), (3, 1)
    yield ql.Concatenate(0), (3, 2), (1, 2)


def test_gradients(rng):
    for layer, *shapes in layers_for_gradients(rng):
        x = tuple(normal(rng, 2, *shape) for shape in shapes)
        check_gradients(layer, x, normal(rng, *layer(*x).shape))


@pytest.mark.parametrize("options", [{}, {"size": 3, "stride": 2, "padding": "same"}, {"size": (2, 3), "stride": 1}])
def test_gradients_of_maxima(rng, options):
    for shape in ((6, 5, 2), (8, 3)):
        x = rng.permutation(2 * math.prod(shape)).reshape(2, *shape).astype(np.float32)  # steps do not reach the next
        layer = ql.MaxPool(**options)
        check_gradients(layer, (x,), normal(rng, *layer(x).shape))


def test_of_equal_maxima_the_first_gets_the_gradient():
    layer, x = ql.MaxPool(2), np.zeros((1, 2, 2, 1), np.float32)
    ((dx,), _) = layer.backward(layer.forward(x, rng=NO_RNG)[1], np.full((1, 1, 1, 1), 3, np.float32))
    assert dx.ravel().tolist() == [3, 0, 0, 0]


@pytest.mark.parametrize("activation", ["relu", "relu6"])
def test_the_gradient_of_a_sum_with_a_clamp_is_that_of_a_layer_behind_it(rng, activation):
    a, b, g = 4 * normal(rng, 3, 5, 2), 4 * normal(rng, 3, 5, 2), normal(rng, 3, 5, 2)
    layer, behind = ql.Add(activation), ql.Activation(activation)
    _, saved = behind.forward(a + b, rng=NO_RNG)
    ((expected,), _) = behind.backward(saved, g.copy())
    of_inputs, _ = layer.backward(layer.forward(a, b, rng=NO_RNG)[1], g.copy())
    for gradient in of_inputs:
        same_bytes(gradient, expected)


def inner(a, b):
    return float((a.astype(np.float64) * b).sum()), float((abs(a.astype(np.float64)) * abs(b)).sum())


@pytest.mark.parametrize("case", [case for case in CONVOLUTIONS if case != "no samples"])
def test_gradients_of_convolutions_are_their_adjoints(rng, case):
    """<conv(x, w), g> = <x, dx> = <w, dw>, within the roundings of sums of so many products."""
    shape, kernel, options = CONVOLUTIONS[case]
    layer, x = ql.Conv2D(np.zeros(kernel), **options), normal(rng, *shape)
    w = normal(rng, *kernel)
    y = layer.multiply(x, w)
    g = normal(rng, *y.shape)
    dx, dw = layer.multiply_gradients(x, w, g.copy(), True)
    assert (dx.shape, dw.shape) == (x.shape, w.shape)
    (value, magnitude), depth = inner(y, g), max(math.prod(kernel), math.prod(y.shape[:3]))
    _, all_products = inner(layer.multiply(abs(x), abs(w)), g)
    for left, right in ((x, dx), (w, dw)):
        assert abs(inner(left, right)[0] - value) <= 2 * (depth + 2) * UNIT * max(magnitude, all_products)
    nothing, again = layer.multiply_gradients(x, w, g.copy(), False)
    assert nothing is None
    same_bytes(again, dw)


def test_no_gradient_of_the_input_where_nobody_needs_it(rng):
    for layer, *shapes in [*layers_for_gradients(rng), (ql.MaxPool(2), (4, 4, 2))]:
        x = tuple(normal(rng, 2, *shape) for shape in shapes)
        y, saved = layer.forward(*x, rng=NO_RNG)
        g = normal(rng, *y.shape)
        (_, expected), (dx, gradients) = layer.backward(saved, g.copy()), layer.backward(saved, g.copy(), False)
        assert dx is None
        for name in layer.parameters:
            same_bytes(gradients[name], expected[name])


@pytest.mark.parametrize("name", [None, *ACTIVATIONS])
def test_training_computes_what_inference_does(rng, name):
    x, w = normal(rng, 2, 5, 5, 3), normal(rng, 3, 3, 3, 4)
    separable = ql.SeparableConv2D(w, normal(rng, 1, 1, 12, 4), None, name)
    for layer in (ql.Conv2D(w, None, name), ql.DepthwiseConv2D(w, None, name), separable):
        same_bytes(layer.forward(x, rng=NO_RNG)[0], layer(x))
    line = ql.Conv1D(w[0], None, name)
    same_bytes(line.forward(x[0], rng=NO_RNG)[0], line(x[0]))


# ---- copies -----------------------------------------------------------------------------------------


def made_layers(rng):
    """One layer of each kind and more, with options that are not the default, and its samples."""
    w, image = normal(rng, 3, 2, 2, 4), normal(rng, 2, 7, 6, 2)
    yield ql.Conv2D(w, normal(rng, 4), "relu", stride=(2, 1), padding=FULL, dilation=(1, 2)), image
    yield ql.Conv2D(w, groups=2, padding="same"), normal(rng, 2, 6, 5, 4)
    yield ql.DepthwiseConv2D(w, normal(rng, 8), "tanh", padding=1, stride=2), image
    yield ql.DepthwiseConv2D(w[:, :, :1], multiplier=4), image[..., :1]
    yield ql.SeparableConv2D(w, normal(rng, 1, 1, 8, 3), normal(rng, 3), "relu6", padding="same", stride=2), image
    yield ql.Conv1D(w[:, 0], normal(rng, 4), padding=(2, 0), dilation=2, stride=2), image[0]
    yield ql.MaxPool((3, 2), stride=(2, 1), padding=((1, 0), (0, 1))), image
    yield ql.MaxPool(), image
    yield ql.AveragePool(3, stride=2, padding="same"), image
    yield ql.GlobalAveragePool(), image
    yield ql.Reshape((2, -1)), image
    yield ql.Pad(2), image
    yield ql.Pad([(1, 2), (0, 1)]), image
    yield ql.Pad(2, "reflect"), image
    yield ql.Transpose((-1, 0, 1)), image
    yield ql.Slice((1, None), None, (1, -2)), image
    yield ql.DepthToSpace(1), image
    yield ql.SpaceToDepth(2), image[:, 1:]
    yield ql.ResizeNearest(scale=2), image
    yield ql.ResizeNearest((5, 9), half_pixel_centers=False), image
    yield ql.ResizeBilinear(scale=(2, 1)), image
    yield ql.ResizeBilinear(9, align_corners=True), image
    yield ql.Add("relu"), image, image
    yield ql.Concatenate(0), image, image


def test_pickles(rng):
    for layer, *x in made_layers(rng):
        again = pickle.loads(pickle.dumps(layer))
        assert repr(again) == repr(layer)
        assert type(layer).__module__ == "qlite"
        same_bytes(again(*x), layer(*x))


def test_layers_are_made_again_of_their_options_and_arrays(rng):
    for layer, *x in made_layers(rng):
        options = {name: getattr(layer, name) for name in layer.options}
        again = type(layer)(**options, **layer.parameters, name="again")
        assert repr(again) == repr(layer)
        assert {name: getattr(again, name) for name in layer.options} == options
        same_bytes(again(*x), layer(*x))


def test_texts(rng):
    assert [repr(layer) for layer, *_ in made_layers(rng)] == [
        "Conv2D(2 -> 4, 3x2, stride 2x1, padding ((1, 2), (3, 0)), dilation 1x2, relu)",
        "Conv2D(4 -> 4, 3x2, padding same, groups 2)",
        "DepthwiseConv2D(2 -> 8, 3x2, stride 2, padding 1, tanh)",
        "DepthwiseConv2D(1 -> 4, 3x2)",
        "SeparableConv2D(2 -> 3, 3x2, stride 2, padding same, relu6)",
        "Conv1D(2 -> 4, 3, stride 2, padding (2, 0), dilation 2)",
        "MaxPool(3x2, stride 2x1, padding ((1, 0), (0, 1)))",
        "MaxPool(2)",
        "AveragePool(3, stride 2, padding same)",
        "GlobalAveragePool()",
        "Reshape((2, -1))",
        "Pad(2)",
        "Pad(((1, 2), (0, 1)))",
        "Pad(2, reflect)",
        "Transpose((2, 0, 1))",
        "Slice(begin (1, None), stride (1, -2))",
        "DepthToSpace(1)",
        "SpaceToDepth(2)",
        "ResizeNearest(scale 2)",
        "ResizeNearest(5x9, no half pixel centers)",
        "ResizeBilinear(scale 2x1)",
        "ResizeBilinear(9, align corners)",
        "Add(relu)",
        "Concatenate(axis 0)",
    ]
    assert repr(ql.DepthwiseConv2D(kernel_size=3)) == "DepthwiseConv2D(? -> ?, 3)"
    assert repr(ql.SeparableConv2D(filters=4, kernel_size=3)) == "SeparableConv2D(? -> 4, 3)"


# ---- what they refuse -------------------------------------------------------------------------------

REFUSED = """
weight Conv2D(np.ones((3, 3, 2)))
weight Conv2D(np.ones((3, 0, 2, 4)))
weight Conv2D(np.ones((3, 3, 2, 4), int))
weight Conv2D(np.full((1, 1, 1, 1), np.nan))
weight,.filters,.kernel_size Conv2D()
weight,.filters,.kernel_size Conv2D(filters=3)
weight,.filters,.kernel_size Conv2D(kernel_size=3)
weight,.filters,.kernel_size Conv2D(W, filters=4)
weight,.filters,.kernel_size Conv2D(W, filters=4, kernel_size=3)
bias Conv2D(W, np.ones(3))
bias Conv2D(W, np.ones((1, 4)))
bias Conv2D(filters=4, kernel_size=3, bias=np.ones(3))
activation Conv2D(W, activation="soft")
name Conv2D(W, name=1)
filters Conv2D(filters=0, kernel_size=3)
filters Conv2D(filters=2.0, kernel_size=3)
kernel_size Conv2D(filters=2, kernel_size=0)
kernel_size Conv2D(filters=2, kernel_size=(3, 3, 3))
kernel_size Conv2D(filters=2, kernel_size="3")
stride Conv2D(W, stride=0)
stride Conv2D(W, stride=(1, -1))
stride Conv2D(W, stride=1.5)
dilation Conv2D(W, dilation=0)
dilation Conv2D(W, dilation=True)
padding Conv2D(W, padding="full")
padding Conv2D(W, padding=-1)
padding Conv2D(W, padding=(1, 1))
padding Conv2D(W, padding=((1, 1), (1,)))
padding Conv2D(W, padding=None)
groups Conv2D(W, groups=3)
groups Conv2D(W, groups=0)
groups Conv2D(W, groups=1.0)
groups Conv2D(filters=4, kernel_size=1, groups=8)
initializer Conv2D(filters=4, kernel_size=1, initializer="zeros")
weight DepthwiseConv2D(np.ones((3, 3, 2)))
weight DepthwiseConv2D(np.ones((3, 3, 0, 2)))
weight,.kernel_size DepthwiseConv2D()
weight,.kernel_size DepthwiseConv2D(W, kernel_size=3)
multiplier DepthwiseConv2D(W, multiplier=3)
multiplier DepthwiseConv2D(W[:, :, :1], multiplier=3)
multiplier DepthwiseConv2D(kernel_size=3, multiplier=0)
bias DepthwiseConv2D(W, np.ones(4))
bias DepthwiseConv2D(kernel_size=3, bias=np.ones(4))
depthwise_weight,.pointwise_weight,.filters,.kernel_size SeparableConv2D()
depthwise_weight,.pointwise_weight,.filters,.kernel_size SeparableConv2D(W)
depthwise_weight,.pointwise_weight,.filters,.kernel_size SeparableConv2D(W, filters=3)
depthwise_weight SeparableConv2D(W[0], np.ones((1, 1, 8, 3)))
pointwise_weight SeparableConv2D(W, np.ones((1, 1, 7, 3)))
pointwise_weight SeparableConv2D(W, np.ones((3, 1, 8, 3)))
pointwise_weight SeparableConv2D(W, np.ones((8, 3)))
bias SeparableConv2D(W, np.ones((1, 1, 8, 3)), np.ones(8))
multiplier SeparableConv2D(W, np.ones((1, 1, 8, 3)), multiplier=2)
filters SeparableConv2D(filters=0, kernel_size=3)
padding SeparableConv2D(filters=1, kernel_size=3, padding="sam")
weight Conv1D(W)
weight,.filters,.kernel_size Conv1D()
kernel_size Conv1D(filters=1, kernel_size=(3,))
stride Conv1D(W[0], stride=(1, 1))
dilation Conv1D(W[0], dilation=0)
padding Conv1D(W[0], padding=(1, -1))
padding Conv1D(W[0], padding=(1, 1, 1))
padding Conv1D(W[0], padding=(0.5, 1))
groups Conv1D(W[0], groups=3)
size MaxPool(0)
size MaxPool((2, 2, 2))
size AveragePool(2.0)
stride MaxPool(2, stride=0)
padding MaxPool(2, padding=2)
padding AveragePool((2, 3), padding=((0, 0), (3, 0)))
padding AveragePool(2, padding="SAM")
name GlobalAveragePool(name="")
shape Reshape(4)
shape Reshape(())
shape Reshape((2, 0))
shape Reshape((-1, -1))
shape Reshape((2.0, 2))
padding Pad("same")
padding Pad(-1)
padding Pad(())
padding Pad((1, 1))
padding Pad([(1, -1)])
padding Pad([(1, 1.0)])
padding Pad(None)
mode Pad(1, "edge")
mode Pad(1, mode=None)
axes Transpose(2)
axes Transpose(())
axes Transpose((0, 0))
axes Transpose((1, 2))
axes Transpose((0, 1.0))
axes Transpose((0, -3))
begin Slice("1")
end Slice(0, (1.5,))
stride Slice(stride=0)
stride Slice(stride=(1, True))
parts Split(0)
parts Split([])
parts Split([1, 0])
parts Split("ab")
axis Split(2, "channels")
name Split(2, name="")
x Split(2, 3)(W)
x Split(3)(W)
x Split([1, 2])(W)
block DepthToSpace(0)
block SpaceToDepth(2.0)
size,.scale ResizeNearest()
size,.scale ResizeBilinear(4, scale=2)
size ResizeBilinear(0)
size ResizeNearest((4, 4, 3))
scale ResizeNearest(scale=1.5)
scale ResizeBilinear(scale=(2, 0))
align_corners ResizeBilinear(4, align_corners=1)
half_pixel_centers ResizeBilinear(4, align_corners=True, half_pixel_centers=True)
half_pixel_centers ResizeNearest(4, half_pixel_centers="no")
activation Add("tanh")
axis Concatenate("channels")
axis Concatenate(1.0)
layer Sequential([Conv2D(filters=2, kernel_size=9), Flatten()], input_shape=(8, 8, 1))
"""


@pytest.mark.parametrize("case", REFUSED.strip().splitlines())
def test_bad_arguments(case):
    name, call = case.split(maxsplit=1)
    with pytest.raises((TypeError, ValueError)) as raised:
        eval(call, {"np": np, "W": W, **{key: getattr(ql, key) for key in ql.__all__}})
    assert re.match(rf"{name}( '\w+')?: .*expected .*got ", str(raised.value)), str(raised.value)


BAD_SAMPLES = {
    r"expected 2 channels, got samples of shape \(5, 5, 3\)": (ql.Conv2D(W), (5, 5, 3)),
    r"expected 8 channels, got samples of shape \(5, 5, 2\)": (ql.Conv2D(W, groups=4), (5, 5, 2)),
    r"expected samples of shape \(height, width, channels\) without zeros, got \(25,\)": (
        ql.Conv2D(W),
        (25,),
    ),
    r"expected samples of shape \(height, width, channels\) .* got \(5, 5, 0\)": (
        ql.Conv2D(W[:1, :1]),
        (5, 5, 0),
    ),
    r"expected an image that with its padding holds the window's 3 x 3, got 2 x 5, with padding 2 x 5": (
        ql.Conv2D(W),
        (2, 5, 2),
    ),
    r"expected an image .* window's 5 x 5, got 3 x 3, with padding 4 x 4": (
        ql.Conv2D(W, dilation=2, padding=((1, 0), (0, 1))),
        (3, 3, 2),
    ),
    r"expected 2 channels, got samples of shape \(5, 5, 8\)": (ql.DepthwiseConv2D(W), (5, 5, 8)),
    r"expected 2 channels, got samples of shape \(5, 5, 4\)": (
        ql.SeparableConv2D(W[..., :1], W[:1, :1]),
        (5, 5, 4),
    ),
    r"expected samples of shape \(length, channels\) without zeros, got \(5, 5, 2\)": (
        ql.Conv1D(W[0]),
        (5, 5, 2),
    ),
    r"expected an image .* window's 1 x 3, got 1 x 2, with padding 1 x 2": (ql.Conv1D(W[0]), (2, 2)),
    r"expected samples of shape \(length, channels\) or .* got \(5,\)": (
        ql.MaxPool(),
        (5,),
    ),
    r"expected an image .* window's 2 x 2, got 1 x 5, with padding 1 x 5": (ql.AveragePool(), (1, 5, 3)),
    r"expected samples of shape \(\.\.\., channels\) without zeros, got \(0, 3\)": (ql.GlobalAveragePool(), (0, 3)),
    r"expected samples that \(4, -1\) holds, got \(3, 3\)": (ql.Reshape((4, -1)), (3, 3)),
    r"expected samples that \(4, 2\) holds, got \(3, 3\)": (ql.Reshape((4, 2)), (3, 3)),
    r"expected samples that are as large as padding 3 shows, got \(3, 4, 2\)": (ql.Pad(3, "reflect"), (3, 4, 2)),
    r"expected samples that are as large as padding \(\(0, 4\),\) shows, got \(3, 4\)": (
        ql.Pad([(0, 4)], "symmetric"),
        (3, 4),
    ),
    r"expected samples of 3 axes, got \(3, 4\)": (ql.Transpose((2, 0, 1)), (3, 4)),
    r"expected samples of at least 3 axes, got \(5, 4\)": (ql.Slice((0, 0, 1)), (5, 4)),
    r"expected samples of which Slice\(begin \(3,\)\) leaves something, got \(3, 4\)": (ql.Slice(3), (3, 4)),
    r"expected samples of a multiple of 4 channels, got \(2, 2, 6\)": (ql.DepthToSpace(2), (2, 2, 6)),
    r"expected samples of whole squares of 2 pixels, got \(2, 3, 1\)": (ql.SpaceToDepth(2), (2, 3, 1)),
    r"expected samples of at least 2 axes, got \(3,\)": (ql.Pad(1), (3,)),
    r"expected samples of at least 3 axes, got \(3, 4\)": (ql.Pad([(1, 1)] * 3), (3, 4)),
    r"expected samples of shape \(height, width, channels\) without zeros, got \(3, 4\)": (
        ql.ResizeBilinear(4),
        (3, 4),
    ),
    r"expected samples of shapes that broadcast, got \(3, 4\) and \(4, 3\)": (ql.Add(), (3, 4), (4, 3)),
    r"expected samples that have an axis -3, got \(3, 4\)": (ql.Concatenate(-3), (3, 4), (3, 4)),
    r"expected samples of one shape but for axis 1, got \(3, 4\), \(2, 4\)": (ql.Concatenate(), (3, 4), (2, 4)),
    r"expected samples of one shape but for axis 0, got \(3, 4\), \(3,\)": (ql.Concatenate(0), (3, 4), (3,)),
}


@pytest.mark.parametrize("message", BAD_SAMPLES)
def test_bad_samples(message):
    layer, *shapes = BAD_SAMPLES[message]
    with pytest.raises(ValueError, match=f"^{message}"):
        layer.infer(*shapes)
    with pytest.raises(ValueError, match=f"^x: {message}"):
        layer(*(np.ones((2, *shape)) for shape in shapes))


def test_channels_that_groups_do_not_divide():
    with pytest.raises(ValueError, match=r"^expected channels that 3 groups divide, got samples of shape \(5, 5, 4\)"):
        ql.Conv2D(filters=6, kernel_size=3, groups=3).infer((5, 5, 4))


def test_arrays_that_no_layer_takes(rng):
    for layer, *x in made_layers(rng):
        with pytest.raises(TypeError, match=r"^x: expected a real floating dtype, got int64"):
            layer(*(array.astype(np.int64) for array in x))
        with pytest.raises(TypeError, match=r"^x: expected "):
            layer(*x, *x, *x) if layer.arity else layer()
    with pytest.raises(ValueError, match=r"^x: expected as many samples in each array, got \[3, 1\]"):
        ql.Add()(np.ones((3, 2)), np.ones((1, 2)))
    for layer in (
        ql.Conv2D(filters=2, kernel_size=1),
        ql.DepthwiseConv2D(kernel_size=1),
        ql.Conv1D(filters=2, kernel_size=1),
    ):
        with pytest.raises(ValueError, match=r"^layer: expected one whose weights a model has made, got .*\(\?"):
            layer(np.ones((3, 4, 4, 2)))


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("padding", ql.Conv2D(np.ones((1, 1, 1, 1)), padding=2**30)),
        ("padding", ql.Pad(2**30)),
        ("size", ql.ResizeNearest(2**30)),
        ("scale", ql.ResizeBilinear(scale=2**30)),
    ],
    ids=repr,
)
def test_results_beyond_memory(name, layer):
    with pytest.raises(MemoryError, match=rf"^{name}: expected what \d+ bytes of memory hold"):
        layer(np.ones((1, 2, 2, 1)))


# ---- in models --------------------------------------------------------------------------------------


def graph():
    """A graph of all kinds of layers of images."""
    x = ql.Input((8, 8, 2))
    a = ql.Activation("relu")(ql.BatchNorm()(ql.Conv2D(filters=8, kernel_size=3, padding="same")(x)))
    a = ql.Add("relu")(a, ql.SeparableConv2D(filters=8, kernel_size=3, padding="same")(a))
    a = ql.Concatenate()(a, ql.DepthwiseConv2D(kernel_size=3, padding="same", activation="relu6")(a))
    a = ql.AveragePool(2)(ql.Pad(1)(a))
    line = ql.Conv1D(filters=6, kernel_size=3, activation="tanh")(ql.Reshape((-1, 4))(ql.MaxPool(2)(a)))
    head = ql.Concatenate()(ql.Flatten()(ql.MaxPool(2)(line)), ql.GlobalAveragePool()(a))
    return ql.Model(x, ql.Dense(units=10)(head))


#: Signal to quantization noise in dB of the logits of `graph`, whose weights are not trained: some dB below what is
#: measured.
SCHEMES = {"w8a8": 31.0, "dynamic": 36.0, "w8": 40.0, "w4a8": 13.0}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_all_layers_become_steps(rng, scheme):
    model, x = graph(), normal(rng, 100, 8, 8, 2)
    small = ql.quantize_model(model, scheme, data=x if scheme in ("w8a8", "w4a8") else None)
    assert ql.metrics.sqnr_db(model(x), small(x)) > SCHEMES[scheme]


def test_a_small_network_learns_digits(digits):
    """A network in the words of Keras."""
    x, y = digits
    layers = [
        ql.Conv2D(filters=16, kernel_size=3, padding="same", activation="relu"),
        ql.MaxPool(2),
        ql.Conv2D(filters=32, kernel_size=3, padding="same", activation="relu"),
        ql.MaxPool(2),
        ql.Flatten(),
        ql.Dense(units=10),
    ]
    model = ql.Sequential(layers, input_shape=(8, 8, 1))
    assert model.flops == 2 * (64 * 9 * 16 + 16 * 9 * 16 * 32 + 128 * 10)
    images = x.reshape(-1, 8, 8, 1)
    trained = ql.train(model, images[:1200], y[:1200], epochs=12, batch_size=32, progress=False)
    assert trained.evaluate(images[1200:], y[1200:])["accuracy"] > 0.88
