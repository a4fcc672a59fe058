"""Layers that give values other places: Transpose, Slice, Split, DepthToSpace, SpaceToDepth."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from qlite import _check
from qlite._public import public
from qlite.nn import steps
from qlite.nn.layers.layer import Layer, Shape
from qlite.nn.layers.windows import check_rank
from qlite.nn.lower import Builder
from qlite.nn.program import MAX_RANK, Step
from qlite.nn.symbol import Symbol


class Move(Layer):
    """A layer that computes nothing.

    Attributes
    ----------
    step : type of Step
        What it becomes.
    """

    step: ClassVar[type[Step]]
    keeps_grid = True

    @abstractmethod
    def fields(self, shape: Shape) -> dict[str, Any]:
        """Return the fields of the step for samples of this shape."""

    def forward(self, *x: np.ndarray, rng: "np.random.Generator") -> tuple[np.ndarray, Any]:
        return self.compute(*x), x[0].shape

    def backward(
        self, saved: Any, gradient: np.ndarray, needs_input: bool = True
    ) -> tuple[tuple[np.ndarray, ...] | None, dict[str, np.ndarray]]:
        """See `Layer`; `saved` is the shape of the input."""
        return ((np.ascontiguousarray(self.moved_back(gradient, saved)),) if needs_input else None), {}

    @abstractmethod
    def moved_back(self, gradient: np.ndarray, shape: Shape) -> np.ndarray:
        """Return the gradient of the input, which has this shape."""

    def lower(self, builder: Builder, inputs: tuple[int, ...]) -> int:
        (x,) = inputs
        return builder.moved(self.step, x, **self.fields(builder.buffers[x].shape))


@public
class Transpose(Move):
    """The axes of samples in another order: axis i of the result is axis ``axes[i]`` of the sample.

    Samples are float32. A quantized model does the same on codes, exactly. (NumPy's transpose; TensorFlow Lite
    TRANSPOSE.)

    Parameters
    ----------
    axes : sequence of int
        Each axis of a sample once, without the axis of samples; negative ones are counted from the last.
    name : str, optional
        What reports call the layer; a model numbers its layers otherwise.

    Raises
    ------
    TypeError, ValueError
        No sequence of integers, axes that come twice or are missing, a name that is no string; samples of another
        number of axes.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> ql.Transpose((2, 0, 1))(np.zeros((5, 28, 30, 3), np.float32)).shape  # channels first
    (5, 3, 28, 30)
    """

    kind = "transpose"
    step = steps.Transpose
    options: ClassVar[tuple[str, ...]] = ("axes",)

    def __init__(self, axes: Any, *, name: str | None = None) -> None:
        super().__init__(name)
        given = _integers("axes", axes)
        count = len(given)
        if not 1 <= count <= MAX_RANK or sorted(i % count for i in given) != list(range(count)):
            raise ValueError(f"axes: expected each axis of a sample once, got {axes!r}")
        if not all(-count <= i < count for i in given):
            raise ValueError(f"axes: expected {-count} to {count - 1}, got {axes!r}")
        self.axes = tuple(i % count for i in given)

    def infer(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if len(shape) != len(self.axes):
            raise ValueError(f"expected samples of {len(self.axes)} axes, got {shape}")
        return tuple(shape[i] for i in self.axes)

    def compute(self, *x: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(x[0].transpose(0, *(i + 1 for i in self.axes)))

    def fields(self, shape: Shape) -> dict[str, Any]:
        return {"axes": self.axes}

    def moved_back(self, gradient: np.ndarray, shape: Shape) -> np.ndarray:
        return gradient.transpose(0, *(1 + i for i in np.argsort(self.axes)))

    def __repr__(self) -> str:
        return f"Transpose({self.axes})"


@public
class Slice(Move):
    """A part of samples: ``x[:, begin[0]:end[0]:stride[0], begin[1]:end[1]:stride[1], ...]``.

    Samples are float32. A quantized model does the same on codes, exactly. (NumPy's slices; TensorFlow Lite
    STRIDED_SLICE.)

    Parameters
    ----------
    begin, end, stride : int or None or sequence of these
        For the axes of a sample from the first on, as Python has them: negative places are counted from the end, None
        is as far as it goes, what is missing is all of an axis. One number is for the first axis.
    name : str, optional
        What reports call the layer; a model numbers its layers otherwise.

    Raises
    ------
    TypeError, ValueError
        Values that are no integers, a stride of 0, a name that is no string; samples of fewer axes, or of which nothing
        is left.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> x = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    >>> ql.Slice((0, 1), (2, 3))(x)[0]
    array([[1., 2.],
           [5., 6.]], dtype=float32)
    >>> ql.Slice(stride=(1, -2))(x)[0]
    array([[ 3.,  1.],
           [ 7.,  5.],
           [11.,  9.]], dtype=float32)
    """

    kind = "slice"
    step = steps.Slice
    options: ClassVar[tuple[str, ...]] = ("begin", "end", "stride")

    def __init__(self, begin: Any = None, end: Any = None, stride: Any = None, *, name: str | None = None) -> None:
        super().__init__(name)
        self.begin, self.end, self.stride = _ends("begin", begin), _ends("end", end), _ends("stride", stride)
        if 0 in self.stride:
            raise ValueError(f"stride: expected others than 0, got {stride!r}")

    def _places(self, shape: Shape) -> list[tuple[int, int, int]]:
        """Where a slice of each axis begins and ends, and from which place to which it goes."""
        least = max(map(len, (self.begin, self.end, self.stride)))
        if len(shape) < least:
            raise ValueError(f"expected samples of at least {least} axes, got {shape}")
        given = ((*ends, *[None] * (len(shape) - len(ends))) for ends in (self.begin, self.end, self.stride))
        return [slice(*ends).indices(n) for n, *ends in zip(shape, *given, strict=True)]

    def infer(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        result = tuple(len(range(*places)) for places in self._places(shape))
        if 0 in result:
            raise ValueError(f"expected samples of which {self!r} leaves something, got {shape}")
        return result

    def _view(self, x: np.ndarray) -> np.ndarray:
        parts = (slice(b, None if e < 0 else e, s) for b, e, s in self._places(x.shape[1:]))
        return x[:, *parts]

    def compute(self, *x: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(self._view(x[0]))

    def fields(self, shape: Shape) -> dict[str, Any]:
        return dict(zip(("begin", "end", "stride"), zip(*self._places(shape), strict=True), strict=True))

    def moved_back(self, gradient: np.ndarray, shape: Shape) -> np.ndarray:
        result = np.zeros(shape, np.float32)
        self._view(result)[...] = gradient
        return result

    def __repr__(self) -> str:
        given = {name: getattr(self, name) for name in self.options}
        return f"Slice({', '.join(f'{name} {value}' for name, value in given.items() if value)})"


def _integers(name: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{name}: expected a sequence of integers, got {_check.shown(value)}")
    return tuple(_check.integer(name, n) for n in value)


def _ends(name: str, value: Any) -> tuple[int | None, ...]:
    given = value if isinstance(value, (tuple, list)) else () if value is None else (value,)
    return tuple(None if n is None else _check.integer(name, n) for n in given)


@public
class Split:
    """Samples in parts along an axis: called like a layer, it gives a list, each of a `Slice` of its own.

    Parameters
    ----------
    parts : int or sequence of int
        How many parts of one length, or the length of each.
    axis : int
        Of a sample, without the axis of samples; negative ones are counted from the last, the channels.
    name : str, optional
        What reports call the layers, with ``_0``, ``_1``... behind it.

    Raises
    ------
    TypeError, ValueError
        Parts that are no lengths of at least 1, an axis that is no integer, a name that is no string; samples without
        that axis, or of a length that parts do not add up to.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> a, b = ql.Split(2)(np.array([[1.0, 2.0, 3.0, 4.0]]))
    >>> b
    array([[3., 4.]], dtype=float32)
    >>> ql.Split([1, 3])(ql.Input((8, 8, 4)))[1].shape
    (8, 8, 3)
    """

    def __init__(self, parts: Any, axis: int = -1, *, name: str | None = None) -> None:
        if not isinstance(parts, (tuple, list)):
            self.parts: int | tuple[int, ...] = _check.integer("parts", parts, 1)
        else:
            self.parts = tuple(_check.integer("parts", n, 1) for n in parts)
            if not self.parts:
                raise ValueError("parts: expected at least one length, got none")
        self.axis = _check.integer("axis", axis)
        if name is not None and not (isinstance(name, str) and name):
            raise TypeError(f"name: expected a string that is not empty, or None, got {name!r}")
        self.name = name

    def __call__(self, x: Any) -> list[Any]:
        """Return the parts: symbols of a symbol, float32 arrays of an array (samples, ...)."""
        x = x if isinstance(x, Symbol) else _check.real_array("x", x)
        shape = x.shape if isinstance(x, Symbol) else x.shape[1:]
        if not -len(shape) <= self.axis < len(shape):
            raise ValueError(f"x: expected samples that have an axis {self.axis}, got {shape}")
        axis = self.axis % len(shape)
        lengths = self._lengths(shape, shape[axis])
        everything, begin, result = (None,) * axis, 0, []
        for i, length in enumerate(lengths):
            name = None if self.name is None else f"{self.name}_{i}"
            layer = Slice((*everything, begin), (*everything, begin + length), name=name)
            result.append(layer(x))
            begin += length
        return result

    def _lengths(self, shape: Shape, length: int) -> Sequence[int]:
        if isinstance(self.parts, int):
            if length % self.parts:
                raise ValueError(f"x: expected samples of {self.parts} parts along axis {self.axis}, got {shape}")
            return (length // self.parts,) * self.parts
        if sum(self.parts) != length:
            raise ValueError(f"x: expected samples of {sum(self.parts)} along axis {self.axis}, got {shape}")
        return self.parts

    def __repr__(self) -> str:
        return f"Split({self.parts}, axis {self.axis})"


class Blocks(Move):
    """A layer of images, and squares of `block` x `block` pixels."""

    options: ClassVar[tuple[str, ...]] = ("block",)

    def __init__(self, block: int, *, name: str | None = None) -> None:
        super().__init__(name)
        self.block = _check.integer("block", block, 1)

    def fields(self, shape: Shape) -> dict[str, Any]:
        return {"block": self.block}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.block})"


def _to_space(x: np.ndarray, block: int) -> np.ndarray:
    samples, height, width, channels = x.shape
    squares = x.reshape(samples, height, width, block, block, channels // block**2).transpose(0, 1, 3, 2, 4, 5)
    return squares.reshape(samples, height * block, width * block, channels // block**2)


def _to_depth(x: np.ndarray, block: int) -> np.ndarray:
    samples, height, width, channels = x.shape
    rows = x.reshape(samples, height // block, block, width // block, block, channels).transpose(0, 1, 3, 2, 4, 5)
    return rows.reshape(samples, height // block, width // block, channels * block**2)


@public
class DepthToSpace(Blocks):
    """The channels of each pixel as a square of pixels: (h, w, block**2 * C) becomes (h * block, w * block, C).

    ``y[i * block + u, j * block + v, c] = x[i, j, (u * block + v) * C + c]``. Samples are float32 images. A quantized
    model does the same on codes, exactly. (TensorFlow's depth_to_space, ONNX DepthToSpace of mode DCR. PyTorch's
    PixelShuffle is of mode CRD: its channels are in another order.)

    Parameters
    ----------
    block : int
        Height and width of a square, at least 1.
    name : str, optional
        What reports call the layer; a model numbers its layers otherwise.

    Raises
    ------
    TypeError, ValueError
        A block that is no length, a name that is no string; samples that are no images, or whose channels do not fill
        squares.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> ql.DepthToSpace(2)(np.array([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 1, 4))[0, :, :, 0]
    array([[1., 2.],
           [3., 4.]], dtype=float32)
    """

    kind = "depth_to_space"
    step = steps.DepthToSpace

    def infer(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        check_rank(shape, 3)
        height, width, channels = shape
        if channels % self.block**2:
            raise ValueError(f"expected samples of a multiple of {self.block**2} channels, got {shape}")
        return height * self.block, width * self.block, channels // self.block**2

    def compute(self, *x: np.ndarray) -> np.ndarray:
        return _to_space(x[0], self.block)

    def moved_back(self, gradient: np.ndarray, shape: Shape) -> np.ndarray:
        return _to_depth(gradient, self.block)


@public
class SpaceToDepth(Blocks):
    """Squares of pixels as the channels of one: (h * block, w * block, C) becomes (h, w, block**2 * C).

    ``y[i, j, (u * block + v) * C + c] = x[i * block + u, j * block + v, c]``, the reverse of `DepthToSpace`. Samples
    are float32 images. A quantized model does the same on codes, exactly. (TensorFlow's space_to_depth.)

    Parameters
    ----------
    block, name
        As in `DepthToSpace`.

    Raises
    ------
    TypeError, ValueError
        As `DepthToSpace`; samples that do not consist of whole squares.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> ql.SpaceToDepth(2)(np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1)).ravel()
    array([1., 2., 3., 4.], dtype=float32)
    """

    kind = "space_to_depth"
    step = steps.SpaceToDepth

    def infer(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        check_rank(shape, 3)
        height, width, channels = shape
        if height % self.block or width % self.block:
            raise ValueError(f"expected samples of whole squares of {self.block} pixels, got {shape}")
        return height // self.block, width // self.block, channels * self.block**2

    def compute(self, *x: np.ndarray) -> np.ndarray:
        return _to_depth(x[0], self.block)

    def moved_back(self, gradient: np.ndarray, shape: Shape) -> np.ndarray:
        return _to_space(gradient, self.block)
