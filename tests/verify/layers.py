"""Layers of images beside those of PyTorch, by random options.

Each layer alone, in float32 on the same numbers: its output, the gradients of its inputs and of its parameters. A line
for each kind of layer has the greatest differences of all its cases, of the largest value.
"""

from typing import Any, NamedTuple

import numpy as np

import qlite as ql

CASES = 60
#: Of the largest value, or of LEAST: sums of up to 10,000 products in float32, added up in different orders.
BUDGET, LEAST = 1e-5, 0.1
#: Activations whose slopes do not jump, and two whose do.
SMOOTH, CLAMPS = (None, "sigmoid", "tanh", "gelu", "silu"), ("relu", "relu6")


class Case:
    """Random options of a layer, and numbers for it.

    Before a clamp these are small multiples of 1/8, whose products add up without rounding: what rounding leaves on
    different sides of a corner has different slopes.
    """

    def __init__(self, rng):
        self.rng = rng
        self.activation = self.one_of(SMOOTH + CLAMPS)

    def one_of(self, values):
        return values[self.rng.integers(len(values))]

    def number(self, low, high):
        return int(self.rng.integers(low, high + 1))

    def pair(self, low, high):
        return self.number(low, high), self.number(low, high)

    def values(self, *shape):
        if self.activation in CLAMPS:
            return (self.rng.integers(-16, 17, shape) / 8).astype(np.float32)
        return self.rng.normal(size=shape).astype(np.float32)

    def images(self, channels):
        return self.values(self.number(1, 6), *self.pair(7, 20), channels)

    def window(self, most):
        """Stride, padding of up to `most`."""
        sides = self.pair(0, most), self.pair(0, most)
        return {"stride": self.pair(1, 3), "padding": self.one_of(("same", "valid", most, sides))}


class Drawn(NamedTuple):
    """A layer, its samples, and PyTorch's function of samples and parameters."""

    layer: Any
    samples: tuple
    function: Any


def act(name, y):
    from torch.nn import functional

    return y if name is None else getattr(functional, name)(y, **({"approximate": "none"} if name == "gelu" else {}))


def around(x, layer, shape, value=0.0):
    """Images (count, channels, height, width) with the padding of a layer."""
    from torch.nn import functional

    top, bottom, left, right = layer.fields(shape)["padding"]
    return functional.pad(x, (left, right, top, bottom), value=value)


def convolution(x, weight, bias, layer):
    """PyTorch's convolution of (count, height, width, channels) by (kernel_h, kernel_w, in, out)."""
    from torch.nn import functional

    shape = tuple(x.shape[1:])
    fields = layer.fields(shape)
    x = around(x.permute(0, 3, 1, 2), layer, shape).contiguous()
    options = {"stride": fields["stride"], "dilation": fields["dilation"], "groups": fields["groups"]}
    return functional.conv2d(x, weight.permute(3, 2, 0, 1).contiguous(), bias, **options).permute(0, 2, 3, 1)


def conv2d(case):
    groups = case.one_of((1, 1, 2, 3))
    channels, filters = groups * case.number(1, 9), groups * case.number(1, 9)
    kernel = case.values(*case.pair(1, 4), channels // groups, filters)
    options = {"groups": groups, "dilation": case.pair(1, 2), **case.window(3)}
    layer = ql.Conv2D(kernel, case.values(filters), case.activation, **options)
    return Drawn(layer, (case.images(channels),), lambda x, w, b: act(case.activation, convolution(x, w, b, layer)))


def depthwise(case):
    channels, multiplier = case.number(2, 20), case.number(1, 3)
    kernel, bias = case.values(*case.pair(1, 4), channels, multiplier), case.values(channels * multiplier)
    layer = ql.DepthwiseConv2D(kernel, bias, case.activation, dilation=case.pair(1, 2), **case.window(3))
    return Drawn(layer, (case.images(channels),), lambda x, w, b: act(case.activation, convolution(x, w, b, layer)))


def separable(case):
    channels, multiplier, filters = case.number(2, 9), case.number(1, 3), case.number(1, 9)
    kernels = case.values(*case.pair(1, 4), channels, multiplier), case.values(1, 1, channels * multiplier, filters)
    layer = ql.SeparableConv2D(*kernels, case.values(filters), case.activation, **case.window(3))

    def function(x, depthwise, pointwise, b):
        between = convolution(x, depthwise, None, layer.depthwise)
        return act(case.activation, convolution(between, pointwise, b, layer.pointwise))

    return Drawn(layer, (case.images(channels),), function)


def conv_transpose(case):
    from torch.nn import functional

    channels, filters, kernel, stride = case.number(1, 9), case.number(1, 9), case.pair(1, 5), case.pair(1, 3)
    sides = tuple((case.number(0, k - 1), case.number(0, k - 1)) for k in kernel)
    options = {"stride": stride, "output_padding": tuple(case.number(0, s - 1) for s in stride)}
    options["padding"] = case.one_of(("same", "valid", sides))
    layer = ql.Conv2DTranspose(
        case.values(*kernel, channels, filters), case.values(filters), case.activation, **options
    )

    images = case.values(case.number(1, 6), *case.pair(3, 8), channels)  # results as large as those of other layers

    def function(x, w, b):
        fields = layer.fields(tuple(x.shape[1:]))
        (top, bottom, left, right), (high, wide) = fields["padding"], fields["output_padding"]
        y = functional.conv_transpose2d(x.permute(0, 3, 1, 2), w.permute(2, 3, 0, 1), None, stride)
        y = functional.pad(y, (-left, wide - right, -top, high - bottom)) + b[:, None, None]
        return act(case.activation, y.permute(0, 2, 3, 1))

    return Drawn(layer, (images,), function)


def conv1d(case):
    from torch.nn import functional

    channels, filters = case.number(1, 9), case.number(1, 9)
    kernel, ends = case.values(case.number(1, 4), channels, filters), case.pair(0, 3)
    options = {"stride": case.number(1, 3), "padding": ends, "dilation": case.number(1, 2)}
    layer = ql.Conv1D(kernel, case.values(filters), case.activation, **options)

    def function(x, w, b):
        x = functional.pad(x.permute(0, 2, 1), ends).contiguous()
        y = functional.conv1d(x, w.permute(2, 1, 0).contiguous(), b, stride=layer.stride, dilation=layer.dilation)
        return act(case.activation, y.permute(0, 2, 1))

    return Drawn(layer, (case.values(case.number(1, 6), case.number(7, 30), channels),), function)


def max_pool(case):
    from torch.nn import functional

    layer, x = ql.MaxPool(case.pair(2, 4), **case.window(1)), case.rng.normal(size=(3, *case.pair(7, 20), 9))

    def function(x):
        padded = around(x.permute(0, 3, 1, 2), layer, tuple(x.shape[1:]), -np.inf)
        return functional.max_pool2d(padded, layer.size, layer.stride).permute(0, 2, 3, 1)

    return Drawn(layer, (x.astype(np.float32),), function)


def average_pool(case):
    import torch
    from torch.nn import functional

    layer = ql.AveragePool(case.pair(2, 4), **case.window(1))

    def function(x):
        images = x.permute(0, 3, 1, 2)
        total, share = (
            functional.avg_pool2d(around(part, layer, tuple(x.shape[1:])), layer.size, layer.stride)
            for part in (images, torch.ones_like(images))
        )
        return (total / share).permute(0, 2, 3, 1)

    return Drawn(layer, (case.images(case.number(1, 20)),), function)


def global_average_pool(case):
    return Drawn(ql.GlobalAveragePool(), (case.images(case.number(1, 20)),), lambda x: x.mean(dim=(1, 2)))


def reduction(case, layer, function):
    """Along one axis of an image, whose values differ: PyTorch gives equal ones a share each."""
    axis, keepdims, x = case.number(-3, 2), bool(case.number(0, 1)), case.rng.normal(size=(3, 5, 6, 7))
    drawn = layer(axis, keepdims), (x.astype(np.float32),)
    return Drawn(*drawn, lambda x: function(x, dim=axis if axis < 0 else axis + 1, keepdim=keepdims))


def mean(case):
    return reduction(case, ql.Mean, lambda x, **axis: x.mean(**axis))


def total(case):
    return reduction(case, ql.Sum, lambda x, **axis: x.sum(**axis))


def greatest(case):
    return reduction(case, ql.Max, lambda x, **axis: x.amax(**axis))


def least(case):
    return reduction(case, ql.Min, lambda x, **axis: x.amin(**axis))


def l2_normalize(case):
    from torch.nn import functional

    x = case.rng.normal(size=(3, *case.pair(1, 9), 12)).astype(np.float32)
    return Drawn(ql.L2Normalize(), (x,), lambda x: functional.normalize(x, dim=-1, eps=1e-6))


def pad(case):
    from torch.nn import functional

    layer = ql.Pad([case.pair(0, 3) for _ in range(3)])
    flat = [n for side in layer.padding[::-1] for n in side]
    return Drawn(layer, (case.images(4),), lambda x: functional.pad(x, flat))


def resize(case):
    """Whole ratios for nearest pixels, since elsewhere PyTorch has them half a pixel away."""
    from torch.nn import functional

    x, is_bilinear = case.images(5), case.rng.random() < 0.7
    if is_bilinear:
        aligned = bool(case.rng.random() < 0.5)
        layer = ql.ResizeBilinear(case.pair(1, 20), align_corners=aligned)
        options = {"size": layer.size, "mode": "bilinear", "align_corners": aligned}
    else:
        layer = ql.ResizeNearest(scale=case.pair(1, 4))
        options = {"scale_factor": layer.scale, "mode": "nearest"}
    return Drawn(layer, (x,), lambda x: functional.interpolate(x.permute(0, 3, 1, 2), **options).permute(0, 2, 3, 1))


def binary(case):
    """A sum, a difference or a product, of images and what broadcasts to them."""
    x, kind = case.images(5), (ql.Add, ql.Subtract, ql.Multiply)[case.number(0, 2)]
    layer, of_torch = kind(case.activation if case.activation in CLAMPS else None), kind.__name__.lower()[:3]
    shape = [n if case.rng.random() < 0.5 else 1 for n in x.shape[1:]]
    return Drawn(layer, (x, case.values(len(x), *shape)), lambda a, b: act(layer.activation, getattr(a, of_torch)(b)))


def concatenate(case):
    import torch

    axis, shape = case.number(-3, 2), [2, *case.pair(3, 6), 4]
    parts = []
    for _ in range(case.number(1, 4)):
        shape[axis if axis < 0 else axis + 1] = case.number(1, 6)
        parts.append(case.values(*shape))
    return Drawn(ql.Concatenate(axis), tuple(parts), lambda *x: torch.cat(x, axis if axis < 0 else axis + 1))


def batch_norm(case):
    from torch.nn import functional

    channels = case.number(1, 20)
    layer = ql.BatchNorm(gamma=case.rng.normal(size=channels), beta=case.rng.normal(size=channels))
    x = case.rng.normal(size=(3, *case.pair(3, 9), channels)).astype(np.float32)

    def function(x, gamma, beta):
        return functional.batch_norm(
            x.permute(0, 3, 1, 2), None, None, gamma, beta, training=True, eps=layer.epsilon
        ).permute(0, 2, 3, 1)

    return Drawn(layer, (x,), function)


KINDS = (conv2d, depthwise, separable, conv1d, max_pool, average_pool, global_average_pool, pad, binary, concatenate)
KINDS += (mean, total, greatest, least, l2_normalize, resize, batch_norm)
KINDS += (conv_transpose,)


def difference(got, expected):
    """Of the largest value, or of LEAST."""
    expected = expected.detach().numpy()
    assert got.shape == expected.shape, (got.shape, expected.shape)
    return float(np.abs(got - expected).max() / max(np.abs(expected).max(), LEAST))


def compare(drawn, rng):
    """The greatest differences of the output, of gradients of inputs, and of parameters."""
    import torch

    layer, samples, function = drawn
    y, saved = layer.forward(*samples, rng=rng)
    given = [torch.from_numpy(x.copy()).requires_grad_() for x in samples]
    parameters = {name: torch.from_numpy(p.copy()).requires_grad_() for name, p in layer.parameters.items()}
    expected = function(*given, *parameters.values())
    gradient = (rng.integers(-16, 17, y.shape) / 8).astype(np.float32)
    expected.backward(torch.from_numpy(gradient.copy()))
    of_inputs, of_parameters = layer.backward(saved, gradient)
    return (
        difference(y, expected),
        max(difference(got, x.grad) for got, x in zip(of_inputs, given, strict=True)),
        max((difference(of_parameters[name], p.grad) for name, p in parameters.items()), default=0.0),
    )


def verify(checks):
    """Go through all kinds of layers."""
    print(f"{'':<20}{'cases':>6}{'output':>10}{'inputs':>10}{'parameters':>12}")
    for kind in KINDS:
        rng = np.random.default_rng(0)
        worst = np.max([compare(kind(Case(rng)), rng) for _ in range(CASES)], axis=0)
        output, inputs, parameters = worst
        line = f"{kind.__name__:<20}{CASES:>6}{output:>10.1e}{inputs:>10.1e}{parameters:>12.1e}"
        checks.line(line, (worst <= BUDGET).all())
