"""What the verifiers of products share: pairs of signs, extremes, instruction sets, and the ways to a product."""

from contextlib import contextmanager

import numpy as np

from qlite import _core

SIGNS = {
    "u8s8": (np.uint8, np.int8),
    "s8s8": (np.int8, np.int8),
    "u8u8": (np.uint8, np.uint8),
    "s8u8": (np.int8, np.uint8),
}
EXTREMES = {np.uint8: (0, 1, 127, 128, 255), np.int8: (-128, -127, -1, 1, 127)}
NARROW_EXTREMES = (0, 1, 63, 126, 127)  # of left operands of 7 bits
ZERO = np.zeros(1, np.int32)

# Rows and columns of the pieces that a product is made of: each has tiles of its own.
WAYS = {"whole": (1 << 20, 1 << 20), "row by row": (1, 1 << 20), "by 8 columns": (1 << 20, 8)}


@contextmanager
def on_isa(name):
    """Select an instruction set for a while."""
    before = _core.info()["isa"]
    _core.isa_select(name)
    try:
        yield
    finally:
        _core.isa_select(before)


def product(a, b, purpose, rows, columns):
    """a @ b, so many rows and columns at a time."""
    out = np.empty((len(a), b.shape[1]), np.int32)
    for j in range(0, b.shape[1], columns):
        packed = _core.Packed.matrix(np.ascontiguousarray(b[:, j : j + columns]), None, purpose)
        for i in range(0, len(a), rows):
            out[i : i + rows, j : j + columns] = _core.matmul_integer(a[i : i + rows], packed, ZERO, None)
    return out


def compare_in_every_way(tally, label, a, b, purpose, expected, where):
    """Count a @ b, in all WAYS, against what is expected; `where` formats what is special about the operands."""
    for way, (rows, columns) in WAYS.items():
        got = product(a, b, purpose, rows, columns)
        wrong = np.argwhere(got != expected)

        def example(wrong=wrong, got=got):
            i, j = wrong[0]
            return f"{where()}, row {i}, column {j}: {got[i, j]}, expected {expected[i, j]}"

        tally.add(f"{label} {purpose}, {way}", expected.size, len(wrong), example)
