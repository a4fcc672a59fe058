"""Layers that make one value of all that lie along axes: Mean, Sum, Max, Min, and pools over whole images."""

import math
from typing import Any, ClassVar

import numpy as np

from qlite import _check
from qlite._public import public
from qlite.nn import steps
from qlite.nn.layers.layer import Layer, Shape
from qlite.nn.lower import Builder
from qlite.nn.program import Step
from qlite.ops import images

Gradients = tuple[tuple[np.ndarray, ...] | None, dict[str, np.ndarray]]


class Lines:
    """Arrays of a shape in another one: (before, 1, along, behind) the axes that become one value, in C order.

    What is kept lies before and behind axes that are neighbours, else before them.
    """

    def __init__(self, shape: Shape, axes: tuple[int, ...]) -> None:
        kept = [i for i in range(len(shape)) if i not in axes]
        are_neighbours = not axes or axes[-1] - axes[0] + 1 == len(axes)
        first = axes[0] if axes and are_neighbours else len(kept)
        self.order = (*kept[:first], *axes, *kept[first:])
        self.lengths = tuple(shape[i] for i in self.order)
        before, along, behind = (math.prod(shape[i] for i in part) for part in (kept[:first], axes, kept[first:]))
        self.shape = (before, 1, along, behind)

    def of(self, x: np.ndarray) -> np.ndarray:
        """Return an array in this shape."""
        return np.ascontiguousarray(x.transpose(self.order)).reshape(self.shape)

    def back(self, lines: np.ndarray) -> np.ndarray:
        """Return an array of this shape as it was."""
        return np.ascontiguousarray(lines.reshape(self.lengths).transpose(np.argsort(self.order)))

    @property
    def windows(self) -> dict[str, Any]:
        """Windows over images, one for each line."""
        return {"size": (1, self.shape[2]), "stride": (1, 1), "padding": (0, 0, 0, 0)}


class Reduction(Layer):
    """A layer that leaves one value of all that lie along some axes of a sample.

    Attributes
    ----------
    keepdims : bool
    step : type of Step
        What it becomes.
    """

    step: ClassVar[type[Step]]

    def __init__(self, keepdims: bool, name: str | None) -> None:
        super().__init__(name)
        self.keepdims = _check.flag("keepdims", keepdims)

    def reduced(self, shape: Shape) -> tuple[int, ...]:
        """Return the axes of a sample of this shape, ascending."""
        raise NotImplementedError

    def infer(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        axes = self.reduced(shape)
        return tuple(1 if i in axes else n for i, n in enumerate(shape) if self.keepdims or i not in axes)

    def lines(self, shape: Shape) -> Lines:
        """Return how arrays of samples of this shape, (samples, ...), are lines."""
        return Lines(shape, tuple(axis + 1 for axis in self.reduced(shape[1:])))

    def lower(self, builder: Builder, inputs: tuple[int, ...]) -> int:
        (x,) = inputs
        fields = {"axes": self.reduced(builder.buffers[x].shape), "keepdims": self.keepdims}
        if self.keeps_grid:
            return builder.moved(self.step, x, **fields)
        return builder.computed(self.step, inputs, **fields, requant="float")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'keepdims' if self.keepdims else ''})"


class AlongAxes(Reduction):
    """A reduction along axes that it is given.

    Attributes
    ----------
    axes : tuple of int
        Of a sample, without the axis of samples; negative ones are counted from the last, the channels.
    """

    options: ClassVar[tuple[str, ...]] = ("axes", "keepdims")

    def __init__(self, axes: Any, keepdims: bool = False, *, name: str | None = None) -> None:
        super().__init__(keepdims, name)
        several = axes if isinstance(axes, (tuple, list)) else (axes,)
        self.axes = tuple(_check.integer("axes", axis) for axis in several)
        if not self.axes or len(set(self.axes)) < len(self.axes):
            raise ValueError(f"axes: expected at least one, each once, got {axes!r}")

    def reduced(self, shape: Shape) -> tuple[int, ...]:
        rank = len(shape)
        axes = {axis % rank for axis in self.axes if -rank <= axis < rank}
        if len(axes) < len(self.axes) or 0 in shape:
            raise ValueError(f"expected samples that have the axes {self.axes}, none of length 0, got {shape}")
        if len(axes) == rank and not self.keepdims:
            raise ValueError(f"expected samples that have axes beside {self.axes}, or keepdims, got {shape}")
        return tuple(sorted(axes))

    def __repr__(self) -> str:
        axes = self.axes[0] if len(self.axes) == 1 else self.axes
        return f"{type(self).__name__}({axes}{', keepdims' if self.keepdims else ''})"


class OverImage(Reduction):
    """A reduction along all axes of a sample but the last."""

    options: ClassVar[tuple[str, ...]] = ("keepdims",)

    def __init__(self, *, keepdims: bool = False, name: str | None = None) -> None:
        super().__init__(keepdims, name)

    def reduced(self, shape: Shape) -> tuple[int, ...]:
        if not shape or 0 in shape:
            raise ValueError(f"expected samples of shape (..., channels) without zeros, got {shape}")
        return tuple(range(len(shape) - 1))


class Averaging(Reduction):
    """The mean."""

    step = steps.Mean

    def compute(self, *x: np.ndarray) -> np.ndarray:
        lines = self.lines(x[0].shape)
        y = images.average_pool_f32(lines.of(x[0]), **lines.windows)
        return y.reshape(len(x[0]), *self.infer(x[0].shape[1:]))

    def forward(self, *x: np.ndarray, rng: "np.random.Generator") -> tuple[np.ndarray, Any]:
        return self.compute(*x), x[0].shape

    def backward(self, saved: Any, gradient: np.ndarray, needs_input: bool = True) -> Gradients:
        """See `Layer`; `saved` is the shape of the input."""
        if not needs_input:
            return None, {}
        lines = self.lines(saved)
        before, _, along, behind = lines.shape
        shares = (gradient / np.float32(along)).reshape(before, 1, 1, behind)
        return (lines.back(np.repeat(shares, along, axis=2)),), {}


class Greatest(Reduction):
    """The greatest value, or with a sign of -1 the least."""

    keeps_grid = True
    sign: ClassVar[int] = 1

    def _pooled(self, x: np.ndarray, keep_index: bool) -> tuple[np.ndarray, np.ndarray | None]:
        lines = self.lines(x.shape)
        y, index = images.max_pool_f32(lines.of(x if self.sign > 0 else -x), **lines.windows, keep_index=keep_index)
        y = y if self.sign > 0 else np.negative(y, out=y)
        return y.reshape(len(x), *self.infer(x.shape[1:])), index

    def compute(self, *x: np.ndarray) -> np.ndarray:
        return self._pooled(x[0], False)[0]

    def forward(self, *x: np.ndarray, rng: "np.random.Generator") -> tuple[np.ndarray, Any]:
        y, index = self._pooled(x[0], True)
        return y, (x[0].shape, index)

    def backward(self, saved: Any, gradient: np.ndarray, needs_input: bool = True) -> Gradients:
        """See `Layer`; `saved` is the shape of the input, and where along its lines each element of the result was."""
        if not needs_input:
            return None, {}
        shape, index = saved
        lines = self.lines(shape)
        given = np.ascontiguousarray(gradient).reshape(index.shape), index, lines.shape
        return (lines.back(images.max_pool_gradient_f32(*given, **lines.windows)),), {}


@public
class Mean(AlongAxes, Averaging):
    """The mean along axes of a sample: ``numpy.mean(x, axes, keepdims=keepdims)``.

    Samples are float32; sums are added in float64, in C order, divided and rounded once. In a quantized model the mean
    has a grid of its own. (TensorFlow Lite MEAN, byte for byte; ONNX ReduceMean.)

    Parameters
    ----------
    axes : int or sequence of int
        Of a sample, without the axis of samples; negative ones are counted from the last, the channels.
    keepdims : bool
        Whether these axes stay, with a length of 1.
    name : str, optional
        What reports call the layer; a model numbers its layers otherwise.

    Raises
    ------
    TypeError, ValueError
        Axes that are no integers, none, or one twice; a keepdims that is no bool; a name that is no string; samples
        that do not have the axes, or no others and no keepdims.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)  # two samples (3, 4)
    >>> ql.Mean(0)(x)
    array([[ 4.,  5.,  6.,  7.],
           [16., 17., 18., 19.]], dtype=float32)
    >>> ql.Mean((0, -1), keepdims=True)(x).shape
    (2, 1, 1)
    """

    kind = "mean"


@public
class Sum(AlongAxes):
    """The sum along axes of a sample: ``numpy.sum(x, axes, keepdims=keepdims)``.

    Samples are float32; sums are added in float64 and rounded once. In a quantized model the sum has a grid of its own.
    (TensorFlow Lite SUM, byte for byte; ONNX ReduceSum.)

    Parameters
    ----------
    axes, keepdims, name
        As in `Mean`.

    Raises
    ------
    TypeError, ValueError
        As `Mean`.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> ql.Sum(-1)(np.array([[[1.0, 2.0], [3.0, 4.0]]]))
    array([[3., 7.]], dtype=float32)
    """

    kind = "sum"
    step = steps.Sum

    def compute(self, *x: np.ndarray) -> np.ndarray:
        axes = tuple(axis + 1 for axis in self.reduced(x[0].shape[1:]))
        return np.asarray(np.sum(x[0], axes, np.float64, keepdims=self.keepdims), np.float32)

    def forward(self, *x: np.ndarray, rng: "np.random.Generator") -> tuple[np.ndarray, Any]:
        return self.compute(*x), x[0].shape

    def backward(self, saved: Any, gradient: np.ndarray, needs_input: bool = True) -> Gradients:
        """See `Layer`; `saved` is the shape of the input."""
        if not needs_input:
            return None, {}
        axes = tuple(axis + 1 for axis in self.reduced(saved[1:]))
        each = gradient if self.keepdims else np.expand_dims(gradient, axes)
        return (np.ascontiguousarray(np.broadcast_to(each, saved)),), {}


@public
class Max(AlongAxes, Greatest):
    """The greatest value along axes of a sample: ``numpy.max(x, axes, keepdims=keepdims)``.

    Samples are float32. A quantized model does the same on codes, exactly. (TensorFlow Lite REDUCE_MAX, ONNX
    ReduceMax.) In training the gradient goes to the first of equal values.

    Parameters
    ----------
    axes, keepdims, name
        As in `Mean`.

    Raises
    ------
    TypeError, ValueError
        As `Mean`.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> ql.Max(0)(np.array([[[1.0, 5.0], [3.0, 4.0]]]))
    array([[3., 5.]], dtype=float32)
    """

    kind = "max"
    step = steps.ReduceMax


@public
class Min(AlongAxes, Greatest):
    """The least value along axes of a sample: ``numpy.min(x, axes, keepdims=keepdims)``.

    Samples are float32. A quantized model does the same on codes, exactly. (TensorFlow Lite REDUCE_MIN, ONNX
    ReduceMin.) In training the gradient goes to the first of equal values.

    Parameters
    ----------
    axes, keepdims, name
        As in `Mean`.

    Raises
    ------
    TypeError, ValueError
        As `Mean`.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> ql.Min(0, keepdims=True)(np.array([[[1.0, 5.0], [3.0, 4.0]]]))
    array([[[1., 4.]]], dtype=float32)
    """

    kind = "min"
    step = steps.ReduceMin
    sign = -1


@public
class GlobalAveragePool(OverImage, Averaging):
    """The mean of each channel over all other axes of a sample: (..., channels) becomes (channels,).

    ``y[c] = sum(x[..., c]) / n``: `Mean` along all axes but the last. Samples are float32 of any shape. (ONNX
    GlobalAveragePool, with channels last; TensorFlow Lite MEAN.)

    Parameters
    ----------
    keepdims : bool
        Whether the other axes stay, with a length of 1, as before 1x1 convolutions: (height, width, channels) becomes
        (1, 1, channels).
    name : str, optional
        What reports call the layer; a model numbers its layers otherwise.

    Raises
    ------
    TypeError, ValueError
        A keepdims that is no bool, a name that is no string; samples without an axis.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> x = np.array([[[[1.0, 10.0], [2.0, 20.0]]]], np.float32)
    >>> ql.GlobalAveragePool()(x)
    array([[ 1.5, 15. ]], dtype=float32)
    >>> ql.GlobalAveragePool(keepdims=True)(x).shape
    (1, 1, 1, 2)
    """

    kind = "global_average_pool"


@public
class GlobalMaxPool(OverImage, Greatest):
    """The greatest value of each channel over all other axes of a sample: (..., channels) becomes (channels,).

    ``y[c] = max(x[..., c])``: `Max` along all axes but the last. Samples are float32 of any shape. (ONNX GlobalMaxPool,
    with channels last.)

    Parameters
    ----------
    keepdims, name
        As in `GlobalAveragePool`.

    Raises
    ------
    TypeError, ValueError
        As `GlobalAveragePool`.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> ql.GlobalMaxPool()(np.array([[[[1.0, 30.0], [2.0, 20.0]]]], np.float32))
    array([[ 2., 30.]], dtype=float32)
    """

    kind = "global_max_pool"
    step = steps.ReduceMax
