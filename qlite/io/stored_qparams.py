"""Quantization parameters in files.

Their tensors are ``<name>.scale`` (float32, float16, or e8m0 as the exponents' bytes; for two levels
``<name>.scale.codes`` and ``<name>.scale.scale``; none where the codebook is fitted to the data), ``<name>.zero_point``
if there are any that are not 0, packed like codes, and ``<name>.codebook`` unless the grid's name says it.
"""

import math
from typing import Any

import numpy as np

from qlite import _check
from qlite.arrays.qarray import QArray
from qlite.grids.formats import GRIDS, TWO_LEVELS
from qlite.grids.qparams import QParams
from qlite.grids.scale_codes import ScaleCodes
from qlite.grids.spec import GridSpec

E8M0_BIAS = 127

_FIELDS: dict[str, type | tuple[type, ...]] = {
    "bits": int,
    "signed": bool,
    "narrow": bool,
    "axis": (int, type(None)),
    "group_size": (int, type(None)),
    "group_axis": (int, type(None)),
    "grid": str,
    "scale_dtype": str,
    "scale_shape": list,
}
#: What the first files say besides of scales of two levels; it follows from `scale_dtype`.
_NESTED = "scale"


def put(tensors: dict[str, np.ndarray], name: str, array: np.ndarray) -> None:
    """Add a tensor under a name that none has yet."""
    if name in tensors:
        raise ValueError(f"arrays: expected names that differ, got two tensors called {name!r}")
    tensors[name] = np.ascontiguousarray(array).reshape(array.shape)


def take(tensors: dict[str, np.ndarray], name: str, part: str) -> np.ndarray:
    """Take out the tensor ``<name>.<part>``."""
    if f"{name}.{part}" not in tensors:
        raise ValueError(f"{name}: the tensor {part} is missing")
    return tensors.pop(f"{name}.{part}")


def lengths(name: str, field: str, value: Any) -> tuple[int, ...]:
    """A shape from a list of JSON; `name` and `field` are for the error."""
    if not isinstance(value, list):
        raise ValueError(f"{name}: {field}: got {value!r:.80}")
    shape = tuple(_check.integer(f"{name}: {field}", n) for n in value)
    if len(shape) > 64 or any(not 0 <= n < 1 << 48 for n in shape):
        raise ValueError(f"{name}: {field}: got {shape!r:.80}")
    return shape


def describe(name: str, p: QParams, tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return what JSON holds of parameters, and add their arrays to the tensors."""
    if p.scale_codes is not None:
        put(tensors, f"{name}.scale.codes", p.scale_codes.codes)
        put(tensors, f"{name}.scale.scale", p.scale_codes.scale)
    elif not p.is_unscaled:
        put(tensors, f"{name}.scale", _stored_scale(p))
    if p.zero_point.any():
        codes = QArray(p.zero_point.astype(p.dtype).ravel(), _codes_alone(p.bits, p.signed))
        put(tensors, f"{name}.zero_point", codes.stored)
    if p.codebook is not None and not p.has_known_codebook:
        put(tensors, f"{name}.codebook", p.codebook)
    return {
        **{field: getattr(p, field) for field in ("bits", "signed", "narrow", "axis", "group_size", "group_axis")},
        "grid": p.grid,
        "scale_dtype": p.scale_dtype,
        "scale_shape": list(p.scale.shape),
    }


def _codes_alone(bits: int, signed: bool) -> QParams:
    """Parameters for zero points, which are stored as codes are."""
    return QParams(np.ones(1, np.float32), np.zeros(1, np.int32), bits, signed)


def _stored_scale(p: QParams) -> np.ndarray:
    if p.scale_dtype == "e8m0":
        _, exponent = np.frexp(p.scale)
        return (exponent - 1 + E8M0_BIAS).astype(np.uint8)
    return p.scale.astype(p.scale_dtype)


def _read_scale(stored: np.ndarray, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    expected = {"float32": np.float32, "float16": np.float16, "e8m0": np.uint8}.get(dtype)
    if expected is None or stored.dtype != expected or stored.shape != shape:
        raise ValueError(f"scale: expected {dtype} of shape {shape}, got {stored.dtype} of {stored.shape}")
    if dtype == "e8m0":
        with np.errstate(over="ignore"):  # the code of NaN becomes an infinity, which `QParams` refuses
            return np.ldexp(np.float32(1), stored.astype(np.int32) - E8M0_BIAS)
    return stored.astype(np.float32)


def _unscaled_shape(book: np.ndarray | None, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of scales that are not in the file, held against the codebooks that are: one for each scale."""
    count = 1 if book is None else math.prod(book.shape[:-1])
    if math.prod(shape) != count:
        raise ValueError(f"scale_shape: expected lengths for {count} codebooks, got {shape}")
    return shape


def build(name: str, described: Any, tensors: dict[str, np.ndarray]) -> QParams:
    """The parameters of a description; their tensors are taken out."""
    if isinstance(described, dict) and described.get("scale_dtype") in TWO_LEVELS and _NESTED in described:
        described = {field: value for field, value in described.items() if field != _NESTED}
    if not isinstance(described, dict) or set(described) != set(_FIELDS):
        raise ValueError(f"{name}: expected a description with {sorted(_FIELDS)}, got {described!r:.80}")
    for field, kind in _FIELDS.items():
        value = described[field]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"{name}: {field}: got {value!r:.80}")
    scale_shape = lengths(name, "scale_shape", described["scale_shape"])
    bits, signed, grid = described["bits"], described["signed"], _check.choice("grid", described["grid"], tuple(GRIDS))
    _check.bits(bits)
    book, scale_codes = None, None
    if f"{name}.codebook" in tensors:
        book = take(tensors, name, "codebook")
        if book.dtype != np.float32:
            raise ValueError(f"{name}: codebook: expected float32, got {book.dtype}")
    elif not GRIDS[grid].is_fitted and grid != "codebook":
        book = GridSpec.of(bits, grid, False, None, None, None).codebook
    if described["scale_dtype"] in TWO_LEVELS:
        codes = take(tensors, name, "scale.codes"), take(tensors, name, "scale.scale")
        scale_codes = ScaleCodes.of(codes, described["scale_dtype"])
        scale = scale_codes.dequantize()
        if scale.shape != scale_shape:
            raise ValueError(f"{name}: scale: expected shape {scale_shape}, got {scale.shape}")
    elif GRIDS[grid].is_fitted and f"{name}.scale" not in tensors:
        scale = np.ones(_unscaled_shape(book, scale_shape), np.float32)
    else:
        scale = _read_scale(take(tensors, name, "scale"), described["scale_dtype"], scale_shape)
    zero_point: Any = 0
    if f"{name}.zero_point" in tensors:
        stored = take(tensors, name, "zero_point")
        zero_point = QArray.from_stored(stored, (scale.size,), _codes_alone(bits, signed)).codes.reshape(scale.shape)
    return QParams(
        scale,
        zero_point,
        bits,
        signed,
        described["narrow"],
        described["axis"],
        described["group_size"],
        described["group_axis"],
        book,
        grid,
        described["scale_dtype"],
        scale_codes,
    )
