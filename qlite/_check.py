"""Checks of arguments that several modules share. Every message names the argument, what came and what was expected."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def choice(name: str, value: Any, allowed: Sequence[Any]) -> Any:
    """Return `value` if it is one of `allowed`."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value


def real_array(name: str, value: Any) -> np.ndarray:
    """Return `value` as an array of a real floating dtype; it is not copied if it is one."""
    array = np.asarray(value)
    if array.dtype.kind != "f":
        raise TypeError(f"{name}: expected a real floating dtype, got {array.dtype}")
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
    if isinstance(bits, bool) or not isinstance(bits, (int, np.integer)):
        raise TypeError(f"bits: expected an integer, got {bits!r}")
    if bits != 8:
        raise ValueError(f"bits: expected 8, the only width so far, got {bits}")
    return 8


def no_groups(group_size: Any) -> None:
    """Refuse a group size: scales per group come with the narrower widths that need them."""
    if group_size is not None:
        raise ValueError(f"group_size: expected None (groups are not supported so far), got {group_size!r}")
