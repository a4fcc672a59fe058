"""Windows that slide over images: what convolution and pooling share."""

from collections.abc import Sequence
from typing import Any

from qlite import _check

Pair = tuple[int, int]
_MOST = 2**31 - 1


def window(
    name_prefix: str, in_hw: Pair, kernel_hw: Pair, stride: Any, padding: Any, dilation: Any
) -> tuple[Pair, Pair, tuple[Pair, Pair], Pair]:
    """Resolve the options of a window of `kernel_hw` elements over an image of `in_hw`.

    ``out = (in + before + after - ((kernel - 1) * dilation + 1)) // stride + 1`` for each of height and width.

    Parameters
    ----------
    name_prefix : str
        Put before the names of arguments in errors.
    in_hw, kernel_hw : (int, int)
        Height and width, the kernel's at least 1.
    stride, dilation : int or (int, int)
        At least 1; one number is for both.
    padding : int or {"same", "valid"} or ((top, bottom), (left, right))
        One number is for all four sides, "valid" is 0. "same" pads until ``out = ceil(in / stride)``, an odd element
        at the bottom and right, as TensorFlow does.

    Returns
    -------
    stride, dilation : (int, int)
    padding : ((top, bottom), (left, right))
    out_hw : (int, int)

    Raises
    ------
    TypeError, ValueError
        Options that are not as above, an empty image, a window that does not fit into the padded image.
    """
    stride = pair(f"{name_prefix}stride", stride)
    dilation = pair(f"{name_prefix}dilation", dilation)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel_hw, dilation, strict=True)]
    if isinstance(padding, str) and _check.choice(f"{name_prefix}padding", padding, ("same", "valid")) == "same":
        totals = [max((-(-n // s) - 1) * s + span - n, 0) for n, s, span in zip(in_hw, stride, spans, strict=True)]
        sides = [(total // 2, total - total // 2) for total in totals]
    else:
        sides = _sides(f"{name_prefix}padding", 0 if isinstance(padding, str) else padding)
    padded = [n + sum(side) for n, side in zip(in_hw, sides, strict=True)]
    if 0 in in_hw or any(n < span for n, span in zip(padded, spans, strict=True)):
        raise ValueError(
            f"{name_prefix}x: expected an image that with its padding holds the window's {spans[0]} x {spans[1]}, got "
            f"{in_hw[0]} x {in_hw[1]}, with padding {padded[0]} x {padded[1]}"
        )
    out = [(n - span) // s + 1 for n, span, s in zip(padded, spans, stride, strict=True)]
    return stride, dilation, (sides[0], sides[1]), (out[0], out[1])


def pair(name: str, value: Any) -> Pair:
    """Return a height and a width of at least 1; one number is for both."""
    numbers = value if isinstance(value, Sequence) and not isinstance(value, str) else (value, value)
    if len(numbers) != 2:
        raise ValueError(f"{name}: expected one number or two, got {value!r}")
    height, width = (_check.integer(name, n) for n in numbers)
    if not (1 <= height <= _MOST and 1 <= width <= _MOST):
        raise ValueError(f"{name}: expected 1 to {_MOST}, got {value!r}")
    return height, width


def _sides(name: str, value: Any) -> list[Pair]:
    """Return ((top, bottom), (left, right)), from that or one number for all."""
    expected = "expected a number, 'same', 'valid' or ((top, bottom), (left, right))"
    if not isinstance(value, Sequence):
        value = ((value, value), (value, value))
    if len(value) != 2 or any(not isinstance(side, Sequence) or len(side) != 2 for side in value):
        raise ValueError(f"{name}: {expected}, got {value!r}")
    sides = [(_check.integer(name, before), _check.integer(name, after)) for before, after in value]
    if any(not 0 <= n <= _MOST for side in sides for n in side):
        raise ValueError(f"{name}: expected 0 to {_MOST}, got {value!r}")
    return sides
