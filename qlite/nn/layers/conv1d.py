"""Convolutions along one axis."""

from typing import Any

from qlite import _check
from qlite._public import public
from qlite.nn.layers.conv import GroupedConvolution, expect_either
from qlite.ops.window import Pair, Sides, check_padding


@public
class Conv1D(GroupedConvolution):
    """A convolution along one axis: ``activation(conv(x, weight) + bias)``.

    ``conv[i, o] = sum(x[i * stride - before + u * dilation, c] * weight[u, c, o])`` over u and the channels c of the
    group of o, zeros outside; ``out = (in + before + after - ((kernel - 1) * dilation + 1)) // stride + 1``. (PyTorch's
    Conv1d with channels last; Keras' Conv1D.)

    Samples are float32 (length, channels). A quantized model takes them as images of height 1. Made of weights, or of
    the number of filters and the size of the kernel: then the model that it becomes part of makes the weights.

    Parameters
    ----------
    weight : array_like of a real floating dtype, (kernel size, channels / groups, filters), optional
    bias, activation, name, filters, groups, initializer
        As in `Conv2D`.
    kernel_size : int, optional
        In place of `weight`.
    stride, dilation : int
        From window to window, and from element to element of one.
    padding : int or {"same", "valid"} or (before, after)
        Zeros at the ends; one number is for both. "same" pads until ``out = ceil(in / stride)``, an odd element behind.
        (``((kernel_size - 1) * dilation, 0)`` lets no result see what comes after it.)

    Raises
    ------
    TypeError, ValueError
        As `Conv2D`.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> sums = ql.Conv1D(np.ones((2, 1, 1)), padding=(1, 0))
    >>> sums(np.array([1.0, 2.0, 3.0]).reshape(1, 3, 1)).ravel()
    array([1., 3., 5.], dtype=float32)
    >>> ql.Conv1D(filters=8, kernel_size=5, stride=2, padding="same")
    Conv1D(? -> 8, 5, stride 2, padding same)
    """

    kind = "conv1d"
    rank = 2
    kernel_size: int
    stride: int
    padding: str | Pair
    dilation: int

    def __init__(
        self,
        weight: Any = None,
        bias: Any = None,
        activation: str | None = None,
        name: str | None = None,
        *,
        filters: int | None = None,
        kernel_size: int | None = None,
        stride: int = 1,
        padding: Any = "valid",
        dilation: int = 1,
        groups: int = 1,
        initializer: str = "he_uniform",
    ) -> None:
        super().__init__(name, activation, initializer)
        expect_either({"weight": weight}, {"filters": filters, "kernel_size": kernel_size})
        self._take(weight, bias, filters, groups, "(kernel size, channels / groups, filters)")
        size = self.weight.shape[0] if kernel_size is None else kernel_size
        self.kernel_size = _check.integer("kernel_size", size, 1)
        self.stride, self.dilation = _check.integer("stride", stride, 1), _check.integer("dilation", dilation, 1)
        is_ends = isinstance(padding, (tuple, list)) and not any(isinstance(end, (tuple, list)) for end in padding)
        given = check_padding("padding", (padding, padding) if is_ends else padding)
        self.padding = given if isinstance(given, str) else given[1]

    def window(self) -> tuple[Pair, Pair, str | Sides, Pair]:
        padding = self.padding if isinstance(self.padding, str) else ((0, 0), self.padding)
        return (1, self.kernel_size), (1, self.stride), padding, (1, self.dilation)
