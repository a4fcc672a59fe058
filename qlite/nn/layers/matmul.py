"""Products of two values that are both computed."""

import math
from typing import Any, ClassVar

import numpy as np

from qlite import _check
from qlite._public import public
from qlite.nn import steps
from qlite.nn.layers.layer import Layer, Shape
from qlite.nn.lower import Builder
from qlite.nn.steps.matmul import product_shape


@public
class MatMul(Layer):
    """The product of two inputs: ``a @ b``, or ``a @ b.T``, for each of the leading axes, which are equal.

    Samples are float32, matrices (..., m, k) and (..., k, n), or (..., n, k) if b is transposed; the result is
    (..., m, n). In a quantized model each has a grid of its own.

    With `heads` no axis has to be moved for attention (Vaswani et al. 2017): a matrix (rows, heads * n) stands for so
    many (rows, n) side by side. b is one. Either a is one, (m, heads * k), and the result is (heads, m, n); or a is
    (heads, m, k), and the result is one, (m, heads * n).

    Parameters
    ----------
    transpose_b : bool
    heads : int, optional
        How many matrices lie side by side; none by default.
    name : str, optional
        What reports call the layer; a model numbers its layers otherwise.

    Raises
    ------
    TypeError, ValueError
        `transpose_b` is no bool, `heads` no integer of at least 1, a name that is no string; samples whose shapes do
        not fit together.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> a, b = np.ones((1, 2, 3)), np.ones((1, 3, 4))
    >>> ql.MatMul()(a, b).shape
    (1, 2, 4)
    >>> scores = ql.MatMul(transpose_b=True, heads=6)
    >>> scores.infer((128, 384), (100, 384))
    (6, 128, 100)
    """

    kind = "matmul"
    arity = 2
    options: ClassVar[tuple[str, ...]] = ("transpose_b", "heads")

    def __init__(self, transpose_b: bool = False, *, heads: int | None = None, name: str | None = None) -> None:
        super().__init__(name)
        self.transpose_b = bool(_check.flag("transpose_b", transpose_b))
        self.heads = None if heads is None else _check.integer("heads", heads, 1)

    def infer(self, *shapes: Shape) -> Shape:
        a, b = shapes
        return product_shape(a, b, self.transpose_b, self.heads)

    def macs(self, *shapes: Shape) -> int:
        a, b = shapes
        rows, columns = (math.prod(a[:-1]), b[-2] if self.transpose_b else b[-1])
        return rows * a[-1] * (columns if self.heads is None or self.transpose_b else columns // self.heads)

    def _matrices(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Views of both as stacks of matrices, b as it is multiplied."""
        if self.heads is not None:
            a, b = a if a.ndim == 4 else split_heads(a, self.heads), split_heads(b, self.heads)
        return a, np.swapaxes(b, -1, -2) if self.transpose_b else b

    def compute(self, *x: np.ndarray) -> np.ndarray:
        y = np.matmul(*self._matrices(*x))
        return merge_heads(y) if self.heads is not None and x[0].ndim == 4 else y

    def forward(self, *x: np.ndarray, rng: "np.random.Generator") -> tuple[np.ndarray, Any]:
        return self.compute(*x), x

    def backward(
        self, saved: Any, gradient: np.ndarray, needs_input: bool = True
    ) -> tuple[tuple[np.ndarray, ...] | None, dict[str, np.ndarray]]:
        """See `Layer`; `saved` are both inputs."""
        if not needs_input:
            return None, {}
        is_merged = self.heads is not None and saved[0].ndim == 4
        a, b = self._matrices(*saved)
        if self.heads is not None and is_merged:
            gradient = split_heads(gradient, self.heads)
        of_a, of_b = np.matmul(gradient, np.swapaxes(b, -1, -2)), np.matmul(np.swapaxes(a, -1, -2), gradient)
        if self.transpose_b:
            of_b = np.swapaxes(of_b, -1, -2)
        if self.heads is not None:
            of_a, of_b = of_a if is_merged else merge_heads(of_a), merge_heads(of_b)
        return (np.ascontiguousarray(of_a), np.ascontiguousarray(of_b)), {}

    def lower(self, builder: Builder, inputs: tuple[int, ...]) -> int:
        options = {"transpose_b": self.transpose_b, "heads": self.heads or 0}
        return builder.computed(steps.MatMul, inputs, **options, requant="float")

    def __repr__(self) -> str:
        shown = ["b.T"] * self.transpose_b + [f"{self.heads} heads"] * (self.heads is not None)
        return f"MatMul({', '.join(shown)})"


def split_heads(x: np.ndarray, heads: int) -> np.ndarray:
    """Return a view of (samples, rows, heads * n) as (samples, heads, rows, n)."""
    samples, rows, columns = x.shape
    return x.reshape(samples, rows, heads, columns // heads).transpose(0, 2, 1, 3)


def merge_heads(x: np.ndarray) -> np.ndarray:
    """Return (samples, heads, rows, n) as (samples, rows, heads * n)."""
    samples, heads, rows, columns = x.shape
    return x.transpose(0, 2, 1, 3).reshape(samples, rows, heads * columns)
