"""Layers that change the shape of samples: Reshape, Pad."""

import math
from typing import Any, ClassVar

import numpy as np

from qlite import _check
from qlite._public import public
from qlite.nn import steps
from qlite.nn.layers.layer import Layer, Shape
from qlite.nn.lower import Builder

_MOST = 2**31 - 1

#: How samples are padded, as NumPy calls it.
MODES = ("constant", "reflect", "symmetric")


@public
class Reshape(Layer):
    """Samples in another shape, in C order: (samples, ...) becomes (samples, *shape). It computes nothing.

    Samples are float32 of as many values.

    Parameters
    ----------
    shape : tuple of int
        Lengths of at least 1; one of them may be -1, which is then what is left.
    name : str, optional
        What reports call the layer; a model numbers its layers otherwise.

    Raises
    ------
    TypeError, ValueError
        No sequence of lengths, more than one -1, a name that is no string; samples of another number of values.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> ql.Reshape((28, 28, 1))(np.zeros((5, 784), np.float32)).shape
    (5, 28, 28, 1)
    >>> ql.Reshape((-1, 2)).infer((3, 4))
    (6, 2)
    """

    kind = "reshape"
    keeps_grid = True
    options: ClassVar[tuple[str, ...]] = ("shape",)

    def __init__(self, shape: Any, *, name: str | None = None) -> None:
        super().__init__(name)
        if not isinstance(shape, (tuple, list)):
            raise TypeError(f"shape: expected a sequence of integers, got {_check.shown(shape)}")
        self.shape = tuple(_check.integer("shape", n) for n in shape)
        if not self.shape or any(n < 1 and n != -1 for n in self.shape) or self.shape.count(-1) > 1:
            raise ValueError(f"shape: expected lengths of at least 1, one of them may be -1, got {self.shape}")

    def infer(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        size, known = math.prod(shape), math.prod(n for n in self.shape if n != -1)
        if size != known if -1 not in self.shape else size % known or not size:
            raise ValueError(f"expected samples that {self.shape} holds, got {shape}")
        return tuple(size // known if n == -1 else n for n in self.shape)

    def compute(self, *x: np.ndarray) -> np.ndarray:
        return x[0].reshape(len(x[0]), *self.infer(x[0].shape[1:]))

    def forward(self, *x: np.ndarray, rng: "np.random.Generator") -> tuple[np.ndarray, Any]:
        return self.compute(*x), x[0].shape

    def backward(
        self, saved: Any, gradient: np.ndarray, needs_input: bool = True
    ) -> tuple[tuple[np.ndarray, ...] | None, dict[str, np.ndarray]]:
        """See `Layer`; `saved` is the shape of the input."""
        return ((gradient.reshape(saved),) if needs_input else None), {}

    def lower(self, builder: Builder, inputs: tuple[int, ...]) -> int:
        (x,) = inputs
        return builder.moved(steps.Reshape, x, shape=self.infer(builder.buffers[x].shape))

    def __repr__(self) -> str:
        return f"Reshape({self.shape})"


@public
class Pad(Layer):
    """Samples with something around them: ``y[i + before, ...] = x[i, ...]``, along several axes at once.

    Samples are float32. A quantized model pads with the code of zero, or with codes. Zeros in front of a convolution
    become part of it when a model is quantized. (NumPy's pad; TensorFlow Lite PAD and MIRROR_PAD.)

    Parameters
    ----------
    padding : int or sequence of (int, int)
        Zeros before and after, of at least 0: a pair for each axis of a sample, from the first on, and none for those
        behind. ((1, 1), (2, 2)) pads height and width. One number is for both sides of every axis but the channels.
    mode : {"constant", "reflect", "symmetric"}
        Zeros, or what lies inside as in a mirror: without the values at the end (``c b | a b c | b a``), or with these
        (``b a | a b c | c b``).
    name : str, optional
        What reports call the layer; a model numbers its layers otherwise.

    Raises
    ------
    TypeError, ValueError
        A padding or a mode that is not as above, a name that is no string; samples of fewer axes, or with less inside
        than a mirror shows.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> ql.Pad(1)(np.ones((1, 1, 2, 1), np.float32))[0, :, :, 0]
    array([[0., 0., 0., 0.],
           [0., 1., 1., 0.],
           [0., 0., 0., 0.]], dtype=float32)
    >>> ql.Pad([(2, 0)])(np.ones((1, 1, 1), np.float32))[0, :, 0]  # (length, channels)
    array([0., 0., 1.], dtype=float32)
    >>> ql.Pad([(2, 1)], "reflect")(np.array([[1.0, 2.0, 3.0]]))
    array([[3., 2., 1., 2., 3., 2.]], dtype=float32)
    """

    kind = "pad"
    keeps_grid = True
    options = ("padding", "mode")
    later_options = ("mode",)

    def __init__(self, padding: Any, mode: str = "constant", *, name: str | None = None) -> None:
        super().__init__(name)
        self.mode = _check.choice("mode", mode, MODES)
        self.padding: int | tuple[tuple[int, int], ...]
        if not isinstance(padding, (tuple, list)):
            self.padding = _check.integer("padding", padding)
            given: tuple[int, ...] = (self.padding,)
        elif padding and all(isinstance(side, (tuple, list)) and len(side) == 2 for side in padding):
            self.padding = tuple((_check.integer("padding", a), _check.integer("padding", b)) for a, b in padding)
            given = tuple(n for side in self.padding for n in side)
        else:
            raise ValueError(f"padding: expected a number or pairs (before, after), got {_check.shown(padding)}")
        if not (min(given) >= 0 and max(given) <= _MOST):
            raise ValueError(f"padding: expected 0 to {_MOST}, got {padding!r}")

    def sides(self, shape: Shape) -> tuple[tuple[int, int], ...]:
        """Return zeros before and after every axis of a sample of this shape."""
        if isinstance(self.padding, int):
            return ((self.padding, self.padding),) * (len(shape) - 1) + ((0, 0),)
        return self.padding + ((0, 0),) * (len(shape) - len(self.padding))

    def infer(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        least = 2 if isinstance(self.padding, int) else len(self.padding)
        if len(shape) < least:
            raise ValueError(f"expected samples of at least {least} axes, got {shape}")
        for n, sides in zip(shape, self.sides(shape), strict=True):
            if self.mode != "constant" and max(sides) > n - (self.mode == "reflect"):
                raise ValueError(f"expected samples that are as large as padding {self.padding} shows, got {shape}")
        result = tuple(n + before + after for n, (before, after) in zip(shape, self.sides(shape), strict=True))
        _check.memory("padding", result, np.float32)
        return result

    def compute(self, *x: np.ndarray) -> np.ndarray:
        return np.pad(x[0], ((0, 0), *self.sides(x[0].shape[1:])), self.mode)

    def forward(self, *x: np.ndarray, rng: "np.random.Generator") -> tuple[np.ndarray, Any]:
        return self.compute(*x), x[0].shape

    def backward(
        self, saved: Any, gradient: np.ndarray, needs_input: bool = True
    ) -> tuple[tuple[np.ndarray, ...] | None, dict[str, np.ndarray]]:
        """See `Layer`; `saved` is the shape of the input."""
        if not needs_input:
            return None, {}
        for axis, (n, (before, after)) in enumerate(zip(saved[1:], self.sides(saved[1:]), strict=True), 1):
            gradient = _unpadded(gradient, axis, n, before, after, self.mode)
        return (np.ascontiguousarray(gradient),), {}

    def lower(self, builder: Builder, inputs: tuple[int, ...]) -> int:
        (x,) = inputs
        padding = tuple(n for side in self.sides(builder.buffers[x].shape) for n in side)
        if self.mode == "constant":
            return builder.moved(steps.Pad, x, padding=padding)
        return builder.moved(steps.MirrorPad, x, padding=padding, mode=self.mode)

    def __repr__(self) -> str:
        return f"Pad({self.padding}{'' if self.mode == 'constant' else f', {self.mode}'})"


def _unpadded(gradient: np.ndarray, axis: int, length: int, before: int, after: int, mode: str) -> np.ndarray:
    """The gradient of what was padded along an axis, from that of the result, which is written over."""
    along = np.moveaxis(gradient, axis, 0)
    inside, skipped = along[before : before + length], int(mode == "reflect")
    if mode != "constant" and before:
        inside[skipped : skipped + before] += along[:before][::-1]
    if mode != "constant" and after:
        end = length - skipped
        inside[end - after : end] += along[before + length :][::-1]
    return np.moveaxis(inside, 0, axis)
