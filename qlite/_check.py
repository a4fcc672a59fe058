"""Checks of arguments that several modules share. Every message names the argument, what came and what was expected."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_FLOAT32 = np.dtype(np.float32)


def choice(name: str, value: Any, allowed: Sequence[Any]) -> Any:
    """Return `value` if it is one of `allowed`."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value


def flag(name: str, value: Any) -> bool:
    """Return `value` if it is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, got {value!r}")
    return bool(value)


def integer(name: str, value: Any) -> int:
    """Return `value` if it is an integer, which a bool is not."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    return int(value)


def as_array(name: str, value: Any) -> np.ndarray:
    """Return `value` as an array that is not one of Python objects."""
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{name}: expected an array, got {type(value).__name__} whose parts differ in shape") from None
    if array.dtype == object and not isinstance(value, np.ndarray):
        raise TypeError(f"{name}: expected an array of numbers, got {type(value).__name__}")
    return array


def number(name: str, value: Any) -> float:
    """Return `value` if it is a real number, which a bool is not."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    return float(value)


def numbers(name: str, value: Any) -> np.ndarray:
    """Return `value` as an array of integers or real floating numbers."""
    array = as_array(name, value)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name}: expected real numbers, got {array.dtype}")
    return array


def real_array(name: str, value: Any) -> np.ndarray:
    """Return `value`, of a real floating dtype, as float32: rounded once, and not copied if it is that already.

    What lies beyond float32 becomes an infinity, for the caller to refuse or to saturate.
    """
    if type(value) is np.ndarray and value.dtype is _FLOAT32:
        return value
    array = as_array(name, value)
    if array.dtype.kind != "f":
        raise TypeError(f"{name}: expected a real floating dtype, got {array.dtype}")
    with np.errstate(over="ignore", under="ignore"):
        return array.astype(np.float32, copy=False)


def scales(name: str, value: Any) -> np.ndarray:
    """Return `value`, of integers or a real floating dtype, as float32."""
    array = numbers(name, value)
    return real_array(name, array if array.dtype.kind == "f" else array.astype(np.float64))


def finite(name: str, array: np.ndarray) -> np.ndarray:
    """Return `array` if it has neither NaN nor infinities."""
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite values, got NaN or infinity (as float32)")
    return array


def axis(value: Any, ndim: int) -> int | None:
    """Return an axis counted from the front, or None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"axis: expected an integer or None, got {value!r}")
    if not -ndim <= value < ndim:
        raise ValueError(f"axis: expected -{ndim} to {ndim - 1} for {ndim} dimensions, got {value}")
    return int(value) % ndim


def eight_bits(bits: Any) -> int:
    """Return `bits`, which is 8: the storage and the kernels for other widths are still to come."""
    if integer("bits", bits) != 8:
        raise ValueError(f"bits: expected 8, the only width so far, got {bits}")
    return 8


def no_groups(group_size: Any) -> None:
    """Refuse a group size: scales per group come with the narrower widths that need them."""
    if group_size is not None:
        raise ValueError(f"group_size: expected None (groups are not supported so far), got {group_size!r}")


def left_alone(options: Mapping[str, Any], defaults: Mapping[str, Any], why: str) -> None:
    """Refuse options that have another value than their default, because of `why` they have no effect."""
    for name, value in options.items():
        default = defaults[name]
        if value is not default and (default is None or value != default):
            raise ValueError(f"{name}: expected {default!r}, the default, {why}, got {value!r}")
