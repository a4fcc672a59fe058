"""Files of arrays, quantized and plain.

The tensors of a quantized array are ``<name>.codes`` as they are stored, ``<name>.scale`` (float32, float16, or e8m0 as
the exponents' bytes; for two levels ``<name>.scale.codes`` and ``<name>.scale.scale``; none where the codebook is
fitted to the data), ``<name>.zero_point`` if there are any that are not 0, packed like codes, and ``<name>.codebook``
unless the grid's name says it.
"""

import json
import math
from typing import Any

import numpy as np

from qlite import _check
from qlite.arrays.qarray import QArray
from qlite.grids.formats import GRIDS, TWO_LEVELS
from qlite.grids.qparams import QParams
from qlite.grids.scale_codes import ScaleCodes
from qlite.grids.spec import GridSpec
from qlite.io import container

FORMAT_VERSION = 1
#: The name of the array in a file that holds one alone.
ALONE = "array"
E8M0_BIAS = 127

_FIELDS: dict[str, type | tuple[type, ...]] = {
    "shape": list,
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
#: What the first files of version 1 say besides of scales of two levels; it follows from `scale_dtype`.
_NESTED = "scale"


def save_array(path: Any, q: QArray) -> None:
    """Write one array; see `QArray.save`."""
    save_arrays(path, {ALONE: q}, alone=True)


def save_arrays(
    path: Any,
    arrays: dict[str, Any],
    alone: bool = False,
    about: dict[str, Any] | None = None,
    follow_links: bool = True,
) -> None:
    """Write arrays by name, quantized or plain, and a note of where they come from."""
    path = _check.path("path", path)
    described: dict[str, Any] = {}
    tensors: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        if isinstance(array, QArray):
            described[name] = _describe(name, array, tensors)
        else:
            _put(tensors, name, np.asarray(array))
    content = {"version": FORMAT_VERSION, "alone": alone, "arrays": described}
    if about is not None:
        content["about"] = about
    container.write(path, json.dumps(content, separators=(",", ":"), allow_nan=False), tensors, follow_links)


def build(content: dict[str, Any], tensors: dict[str, np.ndarray]) -> Any:
    """The quantized array of a description of one alone, or else a dict of all arrays."""
    if content.get("version") != FORMAT_VERSION:
        raise ValueError(f"expected format version {FORMAT_VERSION}, got {content.get('version')!r}")
    names = {"version", "alone", "arrays"}
    if not names <= set(content) <= {*names, "about"} or not isinstance(content["arrays"], dict):
        raise ValueError(f"the description has the wrong names: {sorted(content)}")
    arrays = {name: _build(name, described, tensors) for name, described in content["arrays"].items()}
    if content["alone"] is True and set(arrays) == {ALONE} and not tensors:
        return arrays[ALONE]
    if content["alone"] is not False:
        raise ValueError("alone: expected false for more than one array")
    return {**arrays, **tensors}


def _put(tensors: dict[str, np.ndarray], name: str, array: np.ndarray) -> None:
    if name in tensors:
        raise ValueError(f"arrays: expected names that differ, got two tensors called {name!r}")
    tensors[name] = np.ascontiguousarray(array).reshape(array.shape)


def _describe(name: str, q: QArray, tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    p = q.qparams
    described: dict[str, Any] = {
        "shape": list(q.shape),
        **{field: getattr(p, field) for field in ("bits", "signed", "narrow", "axis", "group_size", "group_axis")},
        "grid": p.grid,
        "scale_dtype": p.scale_dtype,
        "scale_shape": list(p.scale.shape),
    }
    _put(tensors, f"{name}.codes", q.stored)
    if p.scale_codes is not None:
        _put(tensors, f"{name}.scale.codes", p.scale_codes.codes)
        _put(tensors, f"{name}.scale.scale", p.scale_codes.scale)
    elif not p.is_unscaled:
        _put(tensors, f"{name}.scale", _stored_scale(p))
    if p.zero_point.any():
        codes = QArray(p.zero_point.astype(p.dtype).ravel(), _codes_alone(p.bits, p.signed))
        _put(tensors, f"{name}.zero_point", codes.stored)
    if p.codebook is not None and not p.has_known_codebook:
        _put(tensors, f"{name}.codebook", p.codebook)
    return described


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


def _build(name: str, described: Any, tensors: dict[str, np.ndarray]) -> QArray:
    if isinstance(described, dict) and described.get("scale_dtype") in TWO_LEVELS and _NESTED in described:
        described = {field: value for field, value in described.items() if field != _NESTED}
    if not isinstance(described, dict) or set(described) != set(_FIELDS):
        raise ValueError(f"{name}: expected a description with {sorted(_FIELDS)}, got {described!r:.80}")
    for field, kind in _FIELDS.items():
        value = described[field]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"{name}: {field}: got {value!r:.80}")
    shape, scale_shape = (tuple(_check.integer(f, n) for n in described[f]) for f in ("shape", "scale_shape"))
    if len(shape) > 64 or any(not 0 <= n < 1 << 48 for n in shape + scale_shape):
        raise ValueError(f"{name}: shape: got {shape!r:.80}")

    def take(part: str) -> np.ndarray:
        if f"{name}.{part}" not in tensors:
            raise ValueError(f"{name}: the tensor {part} is missing")
        return tensors.pop(f"{name}.{part}")

    bits, signed, grid = described["bits"], described["signed"], _check.choice("grid", described["grid"], tuple(GRIDS))
    _check.bits(bits)
    book, scale_codes = None, None
    if f"{name}.codebook" in tensors:
        book = take("codebook")
        if book.dtype != np.float32:
            raise ValueError(f"{name}: codebook: expected float32, got {book.dtype}")
    elif not GRIDS[grid].is_fitted and grid != "codebook":
        book = GridSpec.of(bits, grid, False, None, None, None).codebook
    if described["scale_dtype"] in TWO_LEVELS:
        scale_codes = ScaleCodes.of((take("scale.codes"), take("scale.scale")), described["scale_dtype"])
        scale = scale_codes.dequantize()
        if scale.shape != scale_shape:
            raise ValueError(f"{name}: scale: expected shape {scale_shape}, got {scale.shape}")
    elif GRIDS[grid].is_fitted and f"{name}.scale" not in tensors:
        scale = np.ones(_unscaled_shape(book, scale_shape), np.float32)
    else:
        scale = _read_scale(take("scale"), described["scale_dtype"], scale_shape)
    zero_point: Any = 0
    if f"{name}.zero_point" in tensors:
        codes = QArray.from_stored(take("zero_point"), (scale.size,), _codes_alone(bits, signed))
        zero_point = codes.codes.reshape(scale.shape)
    return QArray.from_stored(
        take("codes"),
        shape,
        QParams(
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
        ),
    )
