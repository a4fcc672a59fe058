"""Windows that slide over images: what convolution and pooling share."""

from functools import lru_cache
from typing import Any

from qlite import _check

Pair = tuple[int, int]
Sides = tuple[Pair, Pair]
_MOST = 2**31 - 1


def window(
    name_prefix: str, in_hw: Any, kernel_hw: Any, stride: Any, padding: Any, dilation: Any
) -> tuple[Pair, Pair, Sides, Pair]:
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
    is_plain = _is_plain(stride) and _is_plain(padding) and _is_plain(dilation)
    return (_known if is_plain else _resolved)(name_prefix, in_hw, kernel_hw, stride, padding, dilation)


def _is_plain(option: Any) -> bool:
    """Whether an option can be looked up: True and 1.0 would be found as 1."""
    kind = type(option)
    return kind is int or kind is str or (kind is tuple and all(map(_is_plain, option)))


def _resolved(
    name_prefix: str, in_hw: Any, kernel_hw: Any, stride: Any, padding: Any, dilation: Any
) -> tuple[Pair, Pair, Sides, Pair]:
    stride, dilation = pair(f"{name_prefix}stride", stride), pair(f"{name_prefix}dilation", dilation)
    spans = (kernel_hw[0] - 1) * dilation[0] + 1, (kernel_hw[1] - 1) * dilation[1] + 1
    given = check_padding(f"{name_prefix}padding", padding)
    sides = _named_sides(given, in_hw, spans, stride) if isinstance(given, str) else given
    height, width = in_hw[0] + sum(sides[0]), in_hw[1] + sum(sides[1])
    if 0 in in_hw or height < spans[0] or width < spans[1]:
        raise ValueError(
            f"{name_prefix}x: expected an image that with its padding holds the window's {spans[0]} x {spans[1]}, got "
            f"{in_hw[0]} x {in_hw[1]}, with padding {height} x {width}"
        )
    return stride, dilation, sides, ((height - spans[0]) // stride[0] + 1, (width - spans[1]) // stride[1] + 1)


_known = lru_cache(1024)(_resolved)  # a network asks for the same few again and again: 0.7 us instead of 3


def pair(name: str, value: Any) -> Pair:
    """Return a height and a width of at least 1; one number is for both."""
    if not isinstance(value, (tuple, list)):
        height = width = _check.integer(name, value)
    elif len(value) == 2:
        height, width = _check.integer(name, value[0]), _check.integer(name, value[1])
    else:
        raise ValueError(f"{name}: expected one number or two, got {value!r}")
    if not (1 <= height <= _MOST and 1 <= width <= _MOST):
        raise ValueError(f"{name}: expected 1 to {_MOST}, got {value!r}")
    return height, width


def _same(length: int, span: int, stride: int) -> Pair:
    """Return the padding before and after with which there are ``ceil(length / stride)`` windows."""
    total = max((-(-length // stride) - 1) * stride + span - length, 0)
    return total // 2, total - total // 2


def _named_sides(name: str, in_hw: Pair, spans: Pair, stride: Pair) -> Sides:
    if name == "valid":
        return (0, 0), (0, 0)
    return _same(in_hw[0], spans[0], stride[0]), _same(in_hw[1], spans[1], stride[1])


def check_padding(name: str, value: Any) -> str | Sides:
    """Return "same", "valid" or ((top, bottom), (left, right)); one number is for all four."""
    if isinstance(value, str):
        return str(_check.choice(name, value, ("same", "valid")))
    expected = "expected a number, 'same', 'valid' or ((top, bottom), (left, right))"
    if not isinstance(value, (tuple, list)):
        number = _check.integer(name, value)
        sides = (number, number), (number, number)
    elif len(value) == 2 and all(isinstance(side, (tuple, list)) and len(side) == 2 for side in value):
        (top, bottom), (left, right) = value
        sides = (
            (_check.integer(name, top), _check.integer(name, bottom)),
            (_check.integer(name, left), _check.integer(name, right)),
        )
    else:
        raise ValueError(f"{name}: {expected}, got {value!r}")
    if not (min(map(min, sides)) >= 0 and max(map(max, sides)) <= _MOST):
        raise ValueError(f"{name}: expected 0 to {_MOST}, got {value!r}")
    return sides
