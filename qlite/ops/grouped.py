"""Weights whose scales are shared by groups, or that stand on a codebook, as the kernels take them."""

import numpy as np

from qlite import _core
from qlite.arrays.qarray import QArray

#: A codebook of more entries has no form for integer products.
MAX_ENTRIES = 16


def is_grouped(q: QArray) -> bool:
    """Whether products need more of this array than integers and a scale for each column."""
    return q.group_size is not None or q.codebook is not None


def pack_grouped(q: QArray, name: str, purpose: str) -> _core.Packed:
    """Weights (in, out), packed; `name` is for the error."""
    p = q.qparams
    if purpose not in ("integer", "float"):
        raise ValueError("activation_bits: expected 8 for weights with groups or a codebook, got less")
    if q.ndim != 2 or p.bits > 8:
        raise ValueError(
            f"{name}: expected 2 dimensions (in, out) and up to 8 bits for a product (dequantize() makes floats of "
            f"any array), got {q!r}"
        )
    depth, columns = q.shape
    group = p.group_size if p.group_axis == 0 and p.group_size else max(depth, 1)
    if group % 8 and group < depth:
        raise ValueError(f"{name}: expected groups of a multiple of 8 along the depth {depth}, got {q!r}")
    count = -(-depth // group)
    if p.scale.shape[0] not in (1, count):
        raise ValueError(
            f"{name}: expected (in, out) with scales along axis 1, or groups that cut axis 0 (axis=1, "
            f"group_size=32), got {q!r}"
        )
    if purpose == "integer" and p.codebook is not None and p.codebook.shape[-1] > MAX_ENTRIES:
        raise ValueError(
            f"{name}: expected a codebook of up to {MAX_ENTRIES} entries for a product with integers (x @ q takes "
            f"any), got {q!r}"
        )

    def over(parameters: np.ndarray, *last: int) -> np.ndarray:
        if p.group_axis == 1:
            parameters = q._spread(parameters)
        return np.ascontiguousarray(np.broadcast_to(parameters, (count, columns, *last)))

    zero_point = over(p.zero_point) if p.zero_point.any() else None
    book = p.codebook
    if book is not None and book.ndim > 1:
        entries = book.shape[-1]
        book = book.reshape(-1) if book.size == entries else over(book, entries)
    return _core.Packed.grouped(q.codes, over(p.scale), zero_point, book, p.bits, group, purpose)
