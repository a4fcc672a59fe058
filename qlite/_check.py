"""Checks of arguments. Every message names the argument, what came and what was expected."""

import math
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from qlite._foreign import OWN_DTYPES
from qlite._foreign import as_array as foreign_array

if TYPE_CHECKING:
    from pathlib import Path

_FLOAT32 = np.dtype(np.float32)
SMALLEST_NORMAL = np.finfo(np.float32).smallest_normal


def choice(name: str, value: Any, allowed: Sequence[Any], synonyms: Mapping[str, str] | None = None) -> Any:
    """Return `value` if it is one of `allowed`, which are strings or None; messages know `synonyms` of these."""
    if (value is None or isinstance(value, str)) and value in allowed:
        return value
    expected = ("one of " if len(allowed) > 1 else "") + ", ".join(map(repr, allowed))
    raise ValueError(f"{name}: expected {expected}, got {value!r}{close(value, allowed, synonyms)}")


def close(value: Any, allowed: Sequence[Any], synonyms: Mapping[str, str] | None = None) -> str:
    """What `value` may be meant to be, for the end of a message; or nothing."""
    from difflib import get_close_matches

    text, allowed = str(value).lower(), [name for name in allowed if name is not None]
    text = (synonyms or {}).get(text, text)
    found = get_close_matches(text, allowed, 1, 0.75) or [name for name in allowed if text and name.startswith(text)]
    return f": did you mean {found[0]!r}?" if found else ""


def shown(value: Any) -> str:
    """A value in messages: in one line, and short."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def flag(name: str, value: Any) -> bool:
    """Return `value` if it is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, got {shown(value)}")
    return bool(value)


def integer(name: str, value: Any, lowest: int | None = None) -> int:
    """Return `value` if it is an integer, which a bool is not, and at least `lowest`."""
    if type(value) is int and lowest is None:
        return value
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: expected an integer, got {shown(value)}")
    if lowest is not None and value < lowest:
        raise ValueError(f"{name}: expected at least {lowest}, got {value}")
    return int(value)


def string(name: str, value: Any) -> str:
    """Return `value` if it is a string."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a string, got {value!r:.80}")
    return value


def path(name: str, value: Any) -> "Path":
    """Return a string, bytes or an object with ``__fspath__`` as a path."""
    try:
        text = os.fsdecode(value)
    except TypeError:
        hint = ": give its name, not the open file" if hasattr(value, "read") else ""
        raise TypeError(f"{name}: expected a path, such as a string, got {type(value).__name__}{hint}") from None
    if not text or "\0" in text:
        raise ValueError(f"{name}: expected a path, got {text!r:.80}")
    from pathlib import Path  # here: it would slow `import qlite` down

    return Path(text)


def shape(name: str, value: Any) -> tuple[int, ...]:
    """Return a sequence of lengths as a tuple."""
    if not isinstance(value, Sequence):
        raise TypeError(f"{name}: expected a sequence of integers, got {shown(value)}")
    lengths = tuple(integer(name, n) for n in value)
    if any(n < 0 for n in lengths):
        raise ValueError(f"{name}: expected lengths of at least 0, got {lengths}")
    return lengths


def memory(name: str, shape: Sequence[int], dtype: Any) -> None:
    """Refuse elements that no data stands behind, repeated or declared, where they are more than the machine's memory.

    The system may promise them all the same, and end the process when they are written to.
    """
    if math.prod(shape) * np.dtype(dtype).itemsize > _memory_bytes():
        raise MemoryError(
            f"{name}: expected what {_memory_bytes()} bytes of memory hold, got shape {tuple(shape)} of "
            f"{np.dtype(dtype)}"
        )


@cache
def _memory_bytes() -> int:
    if not hasattr(os, "sysconf"):
        return sys.maxsize
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def as_array(name: str, value: Any) -> np.ndarray:
    """Return `value` as an array of numbers, strings or times: all arrays that users give come in here."""
    if type(value) is np.ndarray and value.dtype.num in OWN_DTYPES:
        return value
    return foreign_array(name, value)


def codes(name: str, value: Any) -> np.ndarray:
    """Return codes of 8 bits as an array; messages say that a QArray is taken too."""
    array = as_array(name, value)
    if array.dtype.char not in "bB":
        hint = f" (ql.quantize({name}) makes a QArray of floats)" if array.dtype.kind == "f" else ""
        raise TypeError(f"{name}: expected a QArray, or codes of int8 or uint8, got {array.dtype}{hint}")
    return array


def labels(name: str, value: Any) -> np.ndarray:
    """Return `value` as an array of integers, floats, strings or bools."""
    array = foreign_array(name, value, may_be_objects=True)
    if array.dtype == object:  # strings of pandas, for example
        with suppress(ValueError):  # parts of different shapes
            plain = np.asarray(array.tolist())
            array = plain if plain.tolist() == array.tolist() else array
    if array.dtype == object:
        array = foreign_array(name, value)  # which refuses it, and says what to call
    if array.dtype.kind not in "iufUb":
        raise TypeError(f"{name}: expected labels (integers, floats, strings or bools), got {array.dtype}")
    return array


def number(name: str, value: Any) -> float:
    """Return `value` if it is a real number, which a bool is not."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name}: expected a number, got {shown(value)}")
    return float(value)


def numbers(name: str, value: Any) -> np.ndarray:
    """Return `value` as an array of integers or real floating numbers."""
    array = as_array(name, value)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name}: expected real numbers, got {array.dtype}{_to_floats(array)}")
    return array


def integers(name: str, value: Any) -> np.ndarray:
    """Return `value` as an array of integers."""
    array = as_array(name, value)
    if array.dtype.kind not in "iu":
        hint = " (.astype(np.int32) rounds towards 0)" if array.dtype.kind == "f" else ""
        raise TypeError(f"{name}: expected integers, got {array.dtype}{hint}")
    return array


def real_array(name: str, value: Any, *, may_be_codes: bool = False) -> np.ndarray:
    """Return `value`, of a real floating dtype, as float32: rounded once, and not copied if it is that already.

    Values beyond float32 become infinities, for the caller to refuse or to saturate. With `may_be_codes` the message
    for codes says how they become a QArray, which the caller takes too.
    """
    if type(value) is np.ndarray and value.dtype is _FLOAT32:
        return value
    array = as_array(name, value)
    if array.dtype.kind != "f":
        is_codes = may_be_codes and array.dtype.char in "bB"
        hint = f" (QArray.from_codes({name}, scale) says what codes stand for)" if is_codes else _to_floats(array)
        raise TypeError(f"{name}: expected a real floating dtype, got {array.dtype}{hint}")
    if not array.flags.forc:
        memory(name, array.shape, np.float32)
    with np.errstate(over="ignore", under="ignore"):
        return array.astype(np.float32, copy=False)


def _to_floats(array: np.ndarray) -> str:
    """What makes floats of an array of another dtype, for the end of a message."""
    return " (.real is the real part)" if array.dtype.kind == "c" else " (.astype(np.float32) makes floats)"


def scales(name: str, value: Any) -> np.ndarray:
    """Return `value`, of integers or a real floating dtype, as float32."""
    array = numbers(name, value)
    return real_array(name, array if array.dtype.kind == "f" else array.astype(np.float64))


def finite(name: str, array: np.ndarray) -> np.ndarray:
    """Return `array` if it has neither NaN nor infinities."""
    is_finite = np.isfinite(array)
    if not is_finite.all():
        raise ValueError(f"{name}: expected finite values, got {array[~is_finite].flat[0]} (as float32)")
    return array


def has_changed(name: str) -> RuntimeError:
    """The error for an array in which something was found that is not there any more."""
    return RuntimeError(f"{name}: expected an array that stays as it is, got one that was changed during the call")


def normal(name: str, array: np.ndarray) -> np.ndarray:
    """Return float32 `array` if its values are finite, normal and positive."""
    is_normal = (array >= SMALLEST_NORMAL) & (array < np.inf)
    if not is_normal.all():
        raise ValueError(f"{name}: expected finite, normal and positive values, got {array[~is_normal].flat[0]}")
    return array


def axis(value: Any, ndim: int, name: str = "axis") -> int | None:
    """Return an axis counted from the front, or None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: expected an integer or None, got {shown(value)}")
    if not -ndim <= value < ndim:
        expected = f"{-ndim} to {ndim - 1}" if ndim else "None"
        raise ValueError(f"{name}: expected {expected} for {ndim} dimensions, got {value}")
    return int(value) % ndim


def bits(value: Any, widths: Sequence[int] = range(1, 17), why: str = "") -> int:
    """Return the width of a code if there are codes of that width."""
    if integer("bits", value) not in widths:
        expected = f"{widths[0]} to {widths[-1]}" if len(widths) > 4 else " or ".join(map(str, widths))
        raise ValueError(f"bits: expected {expected}{why}, got {value}")
    return int(value)


def out(value: Any, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """Return `value` if it is a writable array of this dtype and shape."""
    if not isinstance(value, np.ndarray):
        raise TypeError(f"out: expected an ndarray, got {type(value).__name__}")
    if value.dtype != dtype:
        raise TypeError(f"out: expected {dtype}, got {value.dtype}")
    if value.shape != shape:
        raise ValueError(f"out: expected shape {shape}, got {value.shape}")
    if not value.flags.writeable:
        raise ValueError("out: expected a writable array, got a read-only one")
    return value


def expect_defaults(options: Mapping[str, Any], defaults: Mapping[str, Any], why: str) -> None:
    """Refuse options that differ from their defaults, where `why` keeps them from having an effect."""
    for name, value in options.items():
        default = defaults[name]
        if value is default:
            continue
        is_plain = isinstance(value, (str, int, float, tuple, np.generic))  # == of other objects may be an array
        if not (is_plain and value == default):
            raise ValueError(f"{name}: expected {default!r}, the default, {why}, got {shown(value)}")
