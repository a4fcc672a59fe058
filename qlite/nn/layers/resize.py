"""Layers that resize images: ResizeNearest, ResizeBilinear."""

from typing import Any, ClassVar

import numpy as np

from qlite import _check
from qlite._public import public
from qlite.nn import steps
from qlite.nn.layers.layer import Layer, Shape
from qlite.nn.layers.windows import check_rank, shown
from qlite.nn.lower import Builder
from qlite.nn.program import Step
from qlite.ops.window import Pair, pair

#: The two neighbours of each place of a result along an axis, and how near the second one is.
Taps = tuple[np.ndarray, np.ndarray, np.ndarray]


class Resize(Layer):
    """A layer that gives images another height and width.

    Attributes
    ----------
    size, scale : (int, int) or None
        One of them.
    align_corners, half_pixel_centers : bool
    """

    options: ClassVar[tuple[str, ...]] = ("size", "scale", "align_corners", "half_pixel_centers")
    step: ClassVar[type[Step]]
    keeps_grid = True

    def __init__(
        self, size: Any, scale: Any, align_corners: bool, half_pixel_centers: bool | None, name: str | None
    ) -> None:
        super().__init__(name)
        if (size is None) == (scale is None):
            raise ValueError(f"size, scale: expected one of them, got {size!r} and {scale!r}")
        self.size = None if size is None else pair("size", size)
        self.scale = None if scale is None else pair("scale", scale)
        self.align_corners = _check.flag("align_corners", align_corners)
        is_centered = not self.align_corners if half_pixel_centers is None else half_pixel_centers
        self.half_pixel_centers = _check.flag("half_pixel_centers", is_centered)
        if self.align_corners and self.half_pixel_centers:
            raise ValueError("half_pixel_centers: expected False with align_corners, got True")

    def infer(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        check_rank(shape, 3)
        result = (*self._size(shape), shape[-1])
        _check.memory("scale" if self.scale else "size", result, np.float32)
        return result

    def _size(self, shape: Shape) -> Pair:
        if self.scale is None:
            assert self.size is not None
            return self.size
        return shape[0] * self.scale[0], shape[1] * self.scale[1]

    def places(self, length: int, out: int) -> Taps:
        """Return for each of `out` places along an axis which two of `length` ones it lies between, and where."""
        raise NotImplementedError

    def _step(self, length: int, out: int) -> np.float32:
        """How far apart neighbours of the result are in the input."""
        less = int(self.align_corners and out > 1)
        return np.float32(length - less) / np.float32(out - less)

    def _taps(self, shape: Shape) -> tuple[Taps, Taps]:
        """Places along height and width, for samples of this shape."""
        height, width, _ = self.infer(shape)
        return self.places(shape[0], height), self.places(shape[1], width)

    def forward(self, *x: np.ndarray, rng: "np.random.Generator") -> tuple[np.ndarray, Any]:
        return self.compute(*x), x[0].shape

    def backward(
        self, saved: Any, gradient: np.ndarray, needs_input: bool = True
    ) -> tuple[tuple[np.ndarray, ...] | None, dict[str, np.ndarray]]:
        """See `Layer`; `saved` is the shape of the input."""
        if not needs_input:
            return None, {}
        for axis, taps in zip((1, 2), self._taps(saved[1:]), strict=True):
            gradient = _scattered(gradient, axis, taps, saved[axis])
        return (gradient,), {}

    def lower(self, builder: Builder, inputs: tuple[int, ...]) -> int:
        (x,) = inputs
        height, width, _ = self.infer(builder.buffers[x].shape)
        return builder.moved(self.step, x, size=(height, width), **self.fields())

    def fields(self) -> dict[str, Any]:
        """Return the fields of the step but for its size."""
        return {"align_corners": self.align_corners, "half_pixel_centers": self.half_pixel_centers}

    def __repr__(self) -> str:
        size = "" if self.size is None else shown(self.size)
        size += "" if self.scale is None else f"scale {shown(self.scale)}"
        plain = "" if self.half_pixel_centers else ", no half pixel centers"
        return f"{type(self).__name__}({size}{', align corners' if self.align_corners else plain})"


def _scattered(gradient: np.ndarray, axis: int, taps: Taps, length: int) -> np.ndarray:
    """The gradient of what lies between neighbours along an axis, given back to these."""
    result = np.zeros((*gradient.shape[:axis], length, *gradient.shape[axis + 1 :]), np.float32)
    to, given = np.moveaxis(result, axis, 0), np.moveaxis(gradient, axis, 0)
    for i, (first, second, weight) in enumerate(zip(*taps, strict=True)):
        if weight:
            to[second] += given[i] * weight
        to[first] += given[i] * (1 - weight)
    return result


@public
class ResizeNearest(Resize):
    """Images of another height and width, of the nearest pixels: ``y[i, j] = x[rows[i], columns[j]]``.

    ``rows[i] = floor((i + 0.5) * in / out)``; without half pixel centers ``floor(i * in / out)``; with aligned corners
    ``(i * (in - 1) / (out - 1))`` rounded half away from zero. Float32 arithmetic. (TensorFlow Lite
    RESIZE_NEAREST_NEIGHBOR. PyTorch's Upsample is that without half pixel centers, its "nearest-exact" and Keras'
    UpSampling2D this; by a whole number they are the same.)

    Samples are float32 (height, width, channels). A quantized model does the same on codes, exactly.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of the result; one number is for both.
    scale : int or (int, int)
        In place of `size`: times as high and wide.
    align_corners : bool
        Whether the centers of the outermost pixels stay where they are.
    half_pixel_centers : bool, optional
        Whether a pixel lies at its center rather than at its upper left corner; by default unless corners are aligned.
    name : str, optional
        What reports call the layer; a model numbers its layers otherwise.

    Raises
    ------
    TypeError, ValueError
        Both or none of `size` and `scale`, lengths below 1, flags that are none or are both set, a name that is no
        string; samples that are no images.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> ql.ResizeNearest(scale=2)(np.array([[[[1.0], [2.0]]]]))[0, :, :, 0]
    array([[1., 1., 2., 2.],
           [1., 1., 2., 2.]], dtype=float32)
    >>> ql.ResizeNearest(7).infer((3, 4, 5))
    (7, 7, 5)
    """

    kind = "resize_nearest"
    step = steps.ResizeNearest

    def __init__(
        self,
        size: Any = None,
        *,
        scale: Any = None,
        align_corners: bool = False,
        half_pixel_centers: bool | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(size, scale, align_corners, half_pixel_centers, name)

    def places(self, length: int, out: int) -> Taps:
        p = (np.arange(out, dtype=np.float32) + np.float32(0.5 * self.half_pixel_centers)) * self._step(length, out)
        near = np.minimum(np.floor(p + np.float64(0.5 * self.align_corners)).astype(np.intp), length - 1)
        return near, near, np.zeros(out, np.float32)

    def compute(self, *x: np.ndarray) -> np.ndarray:
        (rows, *_), (columns, *_) = self._taps(x[0].shape[1:])
        return np.take(np.take(x[0], rows, axis=1), columns, axis=2)


@public
class ResizeBilinear(Resize):
    """Images of another height and width, each pixel between four others.

    Place i of an axis lies at ``p = (i + 0.5) * in / out - 0.5`` of the input, without half pixel centers at
    ``i * in / out``, with aligned corners at ``i * (in - 1) / (out - 1)``, and not outside of it. Along each axis
    ``x[j] + (x[j + 1] - x[j]) * (p - j)`` with ``j = floor(p)``, the width first. Float32 arithmetic. (TensorFlow Lite
    RESIZE_BILINEAR; PyTorch's Upsample and Keras' UpSampling2D with "bilinear".)

    Samples are float32 (height, width, channels). A quantized model sums codes exactly and rounds once, onto the grid
    that they have; weights have 11 bits, or for targets that compute in integers alone 10.

    Parameters
    ----------
    size, scale, align_corners, half_pixel_centers, name
        As in `ResizeNearest`.

    Raises
    ------
    TypeError, ValueError
        As `ResizeNearest`.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> x = np.array([0.0, 4.0]).reshape(1, 1, 2, 1)
    >>> ql.ResizeBilinear(scale=(1, 2))(x).ravel()
    array([0., 1., 3., 4.], dtype=float32)
    >>> ql.ResizeBilinear((1, 3), align_corners=True)(x).ravel()
    array([0., 2., 4.], dtype=float32)
    """

    kind = "resize_bilinear"
    step = steps.ResizeBilinear

    def __init__(
        self,
        size: Any = None,
        *,
        scale: Any = None,
        align_corners: bool = False,
        half_pixel_centers: bool | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(size, scale, align_corners, half_pixel_centers, name)

    def places(self, length: int, out: int) -> Taps:
        step = self._step(length, out)
        p = np.arange(out, dtype=np.float32) * step
        if self.half_pixel_centers:
            p = np.maximum(p + (np.float32(0.5) * step - np.float32(0.5)), np.float32(0))
        p = np.minimum(p, np.float32(length - 1))
        first = np.minimum(p.astype(np.intp), length - 1)
        return first, np.minimum(first + 1, length - 1), p - first.astype(np.float32)

    def compute(self, *x: np.ndarray) -> np.ndarray:
        rows, columns = self._taps(x[0].shape[1:])
        return _between(_between(x[0], 2, columns), 1, rows)

    def fields(self) -> dict[str, Any]:
        return super().fields() | {"requant": "float"}


def _between(x: np.ndarray, axis: int, taps: Taps) -> np.ndarray:
    """What lies between neighbours along an axis."""
    first, second, weight = taps
    y = np.take(x, second, axis)
    a = np.take(x, first, axis)
    y -= a
    y *= weight.reshape(-1, *(1,) * (x.ndim - axis - 1))
    y += a
    return y
