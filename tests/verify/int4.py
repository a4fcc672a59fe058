"""Whether codes of 2 and 4 bits are packed, unpacked and multiplied rightly, on every instruction set.

All pairs of bytes, rows of 0 to 513 codes; products with weights in groups of 8 to 64, whole and ragged.
"""

from itertools import product

import numpy as np
import reference
from reference import grouped

from qlite import _core

from .kernels import on_isa
from .tally import Tally

LENGTHS = range(514)
GROUPS = range(8, 65, 8)
ROWS, COLUMNS, DEPTHS = (1, 2, 3, 4, 5, 6, 7, 8, 13, 17), (1, 7, 8, 9, 16, 31, 32, 33, 65), (1, 8, 63, 64, 65, 130, 200)
SEED = 1


def verify(checks, isas):
    """Print and check everything."""
    tally = Tally()
    check(tally, isas)
    tally.conclude(checks)


def check(tally, isas, groups=GROUPS, rows=ROWS, columns=COLUMNS, depths=DEPTHS):
    """Count all codes, and the products of these groups and shapes."""
    for isa in isas:
        with on_isa(isa):
            for bits, is_signed in product((4, 2), (False, True)):
                label = f"{isa:11} {'s' if is_signed else 'u'}{bits}"
                _check_bytes(tally, label, bits, is_signed)
                _check_lengths(tally, label, bits, is_signed)
    for group in groups:
        rng = np.random.default_rng([SEED, group])
        for m, n, k in product(rows, columns, depths):
            GroupedCase(rng, m, k, n, group).compare(tally, isas)


def codes_of(packed, bits, is_signed):
    """The codes of bytes, low bits first, by division."""
    codes = packed[..., None].astype(np.int16) // (1 << bits * np.arange(8 // bits)) % (1 << bits)
    if is_signed:
        codes = codes - (codes >= 1 << (bits - 1)) * (1 << bits)
    return codes.reshape(*packed.shape[:-1], -1).astype(np.int8 if is_signed else np.uint8)


def _check_bytes(tally, label, bits, is_signed):
    """All pairs of bytes, each pair in a row of its own, and all in one."""
    pairs = np.stack(np.divmod(np.arange(65536), 256), axis=1).astype(np.uint8)
    for packed in (pairs, pairs.reshape(1, -1)):
        expected = codes_of(packed, bits, is_signed)
        codes = _core.unpack_bits(packed, bits, is_signed, 0, expected.shape[1])
        wrong = (codes != expected).reshape(len(pairs), -1).any(axis=1)
        wrong |= (_core.pack_bits(codes, bits) != packed).reshape(len(pairs), -1).any(axis=1)
        first = int(np.argmax(wrong))
        tally.add(f"{label} pairs of bytes", len(pairs), wrong.sum(), lambda first=first: f"bytes {divmod(first, 256)}")


def _check_lengths(tally, label, bits, is_signed):
    """Rows of every length, beginning at every code of a byte."""
    per_byte = 8 // bits
    for length, first in product(LENGTHS, range(per_byte)):
        packed = (np.arange(-(-(first + length) // per_byte)) * 37 + length).astype(np.uint8)
        expected = codes_of(packed, bits, is_signed)[first : first + length]
        codes = _core.unpack_bits(packed, bits, is_signed, first, length)
        wrong = not np.array_equal(codes, expected)
        wrong |= not np.array_equal(_core.pack_bits(codes, bits), reference.pack_bits(expected, bits))
        tally.add(f"{label} lengths", 1, wrong, lambda length=length, first=first: f"{length} codes from {first} on")


class GroupedCase:
    """Weights of 4 bits in groups, drawn: signs, zero points, bias."""

    def __init__(self, rng, m, k, n, group):
        is_signed, has_zero_points = rng.integers(2, size=2)
        low, dtype = (-8, np.int8) if is_signed else (0, np.uint8)
        self.words = f"{m}x{k}x{n} in groups of {group}, {np.dtype(dtype)}, zero points: {bool(has_zero_points)}"
        self.x = rng.normal(size=(m, k)).astype(np.float32)
        codes = rng.choice([low, low + 15, *range(low, low + 16)], (k, n)).astype(dtype)
        scale = rng.uniform(0.001, 0.1, (-(-k // group), n)).astype(np.float32)
        zero_point = rng.integers(low, low + 16, scale.shape, np.int32) if has_zero_points else None
        self.bias = rng.normal(size=n).astype(np.float32)
        self.weights = codes, scale, zero_point, None, 4, group
        z = 0 if zero_point is None else zero_point
        self.linear = grouped.linear_grouped(self.x, codes, scale, z, group, self.bias, 0)
        floats = reference.dequantize(codes, scale, z, group_size=group, group_axis=0)
        self.weight_only = grouped.matmul_grouped(self.x, floats)

    def compare(self, tally, isas):
        for isa in isas:
            with on_isa(isa):
                packed = _core.Packed.grouped(*self.weights, "integer")
                got = _core.linear_grouped(self.x, packed, self.bias, "relu", None)
                self._add(tally, f"{isa:11} linear of groups", got, self.linear)
                got = _core.matmul_grouped(self.x, _core.Packed.grouped(*self.weights, "float"), None)
                self._add(tally, f"{isa:11} weight-only of groups", got, self.weight_only)

    def _add(self, tally, name, got, expected):
        wrong = got.tobytes() != expected.tobytes()
        tally.add(name, 1, wrong, lambda: f"{self.words}: {np.count_nonzero(got != expected)} of {got.size} differ")
