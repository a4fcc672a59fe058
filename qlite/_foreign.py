"""Arrays of other kinds and of other libraries: taken over with their values, or refused with what to call.

None of these libraries is imported. Tensors of torch are known by their `detach`; all else by NumPy's own protocols,
`__array__` and its like, the buffer protocol, sequences, and `__dlpack__`. Dtypes that NumPy does not define, such as
bfloat16 of ml_dtypes, become the first of `HOLDERS` that holds all of their values.
"""

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any

import numpy as np

#: Numbers of the dtypes that are taken as they are: numbers, strings and times of NumPy, which callers tell apart.
OWN_DTYPES = frozenset(np.dtype(char).num for char in "?bBhHiIlLqQefdgFDGSUMm")
HOLDERS = (np.uint8, np.int8, np.float32)
#: Dtypes of tensors that NumPy lacks and float32 holds, by the start of their names.
NARROW_FLOATS = ("bfloat16", "float8")
MAX_NDIM = 64
#: What NumPy makes of parts of these types is what they are.
PLAIN_TYPES = frozenset((bool, int, float, complex, str, bytes, np.ndarray))
#: What to call on an object that does not give its values by itself, by an attribute that tells its kind.
CALLS = {
    "is_quantized": ".dequantize(), or .int_repr() for its codes",
    "is_sparse": ".to_dense()",
    "is_sparse_csr": ".to_dense()",
    "toarray": ".toarray()",
    "detach": ".detach().cpu()",
    "__cuda_array_interface__": ".get()",
    "to_numpy": ".to_numpy(np.float32)",
    "numpy": ".numpy()",
}


def as_array(name: str, value: Any, *, may_be_objects: bool = False, within: str = "") -> np.ndarray:
    """Return `value` as an ndarray of numbers, strings or times; of Python objects only where these may come.

    Messages say `within` what it came.

    Raises
    ------
    TypeError, ValueError
        It forms no such array, or has masked values; the message names what came and what to call.
    """
    if isinstance(value, (str, bytes)):
        raise TypeError(f"{name}: expected an array, got the string {value!r:.60} (numpy.load opens files)")
    if isinstance(value, (list, tuple)):
        array = _of_sequence(name, value)
    else:
        try:
            array = _values(value)
        except MemoryError:
            raise
        except Exception as error:  # whatever the code of another library raises
            raise TypeError(
                f"{name}: expected an array, got {within}{_kind(value)}, which gives none{_what_to_call(value)}"
            ) from error
    if type(array) is not np.ndarray:
        if np.ma.is_masked(array):
            raise TypeError(
                f"{name}: expected an array without a mask, got {within or 'one with '}masked values: call "
                f".filled(value)"
            )
        array = np.asarray(array)
    if array.dtype.num in OWN_DTYPES or (may_be_objects and array.dtype == object and array.ndim):
        return array
    return _of_other_dtype(name, array, value, within)


def is_array(value: Any) -> bool:
    """Whether an object is one array, by itself, and no sequence of any."""
    if any(_attribute(value, a) is not None for a in ("__array__", "__array_interface__", "__dlpack__")):
        return True
    try:
        memoryview(value)
    except TypeError:
        return False
    return True


def _values(value: Any) -> np.ndarray:
    """What an object gives, which may be an array of a subclass or of any dtype."""
    if callable(_attribute(value, "detach")):
        value = value.detach()
        if str(value.dtype).rpartition(".")[2].startswith(NARROW_FLOATS):
            value = value.float()
    elif _attribute(value, "__array__") is None and _attribute(value, "__dlpack__") is not None:
        return np.from_dlpack(value)
    return np.asanyarray(value)


def _of_sequence(name: str, value: Any) -> np.ndarray:
    parts = _parts(name, value, 1)
    try:
        return np.asanyarray(parts)
    except (ValueError, TypeError):
        raise ValueError(
            f"{name}: expected an array, got a {type(value).__name__} whose parts differ in shape"
        ) from None


def _parts(name: str, value: Any, depth: int) -> Any:
    """A list or tuple with every part taken over, by this function, that NumPy would not take as it is."""
    if depth > MAX_NDIM:
        raise ValueError(f"{name}: expected at most {MAX_NDIM} dimensions, got a list that is nested more deeply")
    kinds = {kind for kind in set(map(type, value)) if kind not in PLAIN_TYPES and not issubclass(kind, np.generic)}
    if not kinds:
        return value
    parts = []
    for part in value:
        if isinstance(part, (list, tuple)):
            part = _parts(name, part, depth + 1)
        elif type(part) in kinds:
            part = as_array(name, part, within="a list with ")
        parts.append(part)
    return parts


def _of_other_dtype(name: str, array: np.ndarray, value: Any, within: str) -> np.ndarray:
    """An array of a dtype that is none of NumPy's numbers in one that holds its values."""
    if array.dtype == object:
        if isinstance(value, np.ndarray):
            raise TypeError(f"{name}: expected numbers, got an array of objects: call .astype(np.float32)")
        if isinstance(value, (list, tuple, int)):
            raise TypeError(f"{name}: expected numbers, got objects, or integers greater than 64 bits hold")
        raise TypeError(f"{name}: expected an array of numbers, got {within}{_kind(value)}{_what_to_call(value)}")
    if array.dtype.names:
        raise TypeError(
            f"{name}: expected numbers, got a structured array of {', '.join(array.dtype.names)}: choose a field, such "
            f"as {name}[{array.dtype.names[0]!r}]"
        )
    for dtype in HOLDERS:
        if np.can_cast(array.dtype, dtype):
            return array.astype(dtype)
    raise TypeError(f"{name}: expected numbers, got {array.dtype}: call .astype(np.float32)")


def _kind(value: Any) -> str:
    """What an object is, in messages."""
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    dtype = _attribute(value, "dtype")
    of = "" if dtype is None or isinstance(dtype, type) else f" of {dtype!s:.20}"
    return f"{type(value).__name__}{of}"


def _what_to_call(value: Any) -> str:
    """What turns an object into an array that can be taken, for the end of a message; or nothing."""
    if isinstance(value, type):
        return ""
    for attribute, call in CALLS.items():
        found = _attribute(value, attribute)
        if found is not None and found is not False:
            return f": call {call}"
    if isinstance(value, PathLike):
        return ": numpy.load opens files"
    if isinstance(value, Mapping):
        return f": choose one of {', '.join(map(repr, list(value)[:4]))}" if value else ""
    if isinstance(value, Iterable):
        return ": call list() on it, or np.concatenate() on that list of arrays if it gives batches"
    return ": call float() on it" if _attribute(value, "__float__") is not None else ""


def _attribute(value: Any, name: str) -> Any:
    """An attribute, or None: that of a foreign object may raise anything."""
    try:
        return getattr(value, name, None)
    except Exception:
        return None
