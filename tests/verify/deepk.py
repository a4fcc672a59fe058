"""Whether sums are exact up to the last depth that int32 can hold, and refused beyond, on every instruction set.

All pairs of codes and zero points from the ends of their ranges: at the greatest depth whose sums fit whatever the left
codes are, the sum is exact; one deeper is an OverflowError. The same with the greatest bias; and with one group of
weights of 4 and of 8 bits.
"""

from itertools import product

import numpy as np

from qlite import _core

from .kernels import SIGNS, on_isa
from .stores import Store
from .tally import Tally

INT32_MAX = 2**31 - 1
ROW_CODE = 127  # of rows that are multiplied with groups
SIZES = ((1, 1), (2, 9), (13, 33))  # rows and columns
FEW = ((2, 3),)


def verify(checks, isas):
    """Print and check everything."""
    tally = Tally()
    check(tally, isas)
    tally.conclude(checks)


def check(tally, isas, sizes=SIZES):
    """Count products at the limit, and one deeper."""
    for isa in isas:
        with on_isa(isa):
            for signs, (a_dtype, b_dtype) in SIGNS.items():
                ends = [[int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)] for dtype in (a_dtype, b_dtype)]
                for b_code, a_point, b_point in product(ends[1], {0, *ends[0]}, {0, *ends[1]}):
                    reach = max(ends[0][1] - a_point, a_point - ends[0][0]) * abs(b_code - b_point)
                    for size in sizes if reach else ():
                        deep = Deep(size, a_dtype, b_dtype, ends[0], b_code, a_point, b_point, reach)
                        deep.compare(tally, f"{isa:11} {signs}")
            _check_groups(tally, f"{isa:11} groups")


def _check_groups(tally, label):
    """One group of the greatest codes, times the greatest codes of rows."""
    for bits in (4, 8):
        code = (1 << bits) - 1
        limit = INT32_MAX // (code * ROW_CODE)
        for k in (limit, limit + 1):
            x = np.full((2, k), ROW_CODE, np.float32)
            x[:, 0] = 1  # else each row is constant, and has codes of 1
            codes, scale = np.full((k, 3), code, np.uint8), np.ones((1, 3), np.float32)
            packed = _core.Packed.grouped(codes, scale, None, None, bits, -(-k // 8) * 8, "integer")
            words = f"{k} codes of {bits} bits"
            if k > limit:
                is_refused = refuses(lambda x=x, packed=packed: linear_of_groups(x, packed))
                tally.add(f"{label} beyond", 1, not is_refused, lambda words=words: words)
            else:
                expected = np.float32(((k - 1) * ROW_CODE + 1) * code)
                wrong = not (linear_of_groups(x, packed) == expected).all()
                tally.add(f"{label} at the limit", 1, wrong, lambda words=words: words)


def linear_of_groups(x, packed):
    return _core.linear_grouped(x, packed, None, None, None)


class Deep:
    """Weights of one code, as deep as sums fit; `reach`: the greatest magnitude of a term."""

    def __init__(self, size, a_dtype, b_dtype, a_codes, b_code, a_point, b_point, reach):
        self.m, self.n = size
        self.limit = INT32_MAX // reach
        self.slack = INT32_MAX - self.limit * reach
        self.a_dtype, self.a_codes, self.a_point = a_dtype, a_codes, np.array([a_point], np.int32)
        self.distance, self.b_point = b_code - b_point, np.full(self.n, b_point, np.int32)
        self.words = f"{self.m} rows, {self.n} columns of {b_code}, zero points {a_point}, {b_point}"
        self.b = np.full((self.limit + 1, self.n), b_code, b_dtype)

    def compare(self, tally, label):
        fitting = self.b[: self.limit]
        for code in self.a_codes:
            a = np.full((self.m, self.limit), code, self.a_dtype)
            expected = self.limit * (code - int(self.a_point[0])) * self.distance
            for purpose in ("integer", "integer7") if 0 <= code <= 127 else ("integer",):
                got = _core.matmul_integer(a, _core.Packed.matrix(fitting, self.b_point, purpose), self.a_point, None)
                tally.add(f"{label} at the limit", 1, not (got == expected).all(), lambda: self.words)
            self._compare_bias(tally, label, a, fitting, expected)
        deeper = np.full((self.m, self.limit + 1), self.a_codes[0], self.a_dtype)
        packed = _core.Packed.matrix(self.b, self.b_point, "integer")
        is_refused = refuses(lambda: _core.matmul_integer(deeper, packed, self.a_point, None))
        tally.add(f"{label} beyond", 1, not is_refused, lambda: self.words)

    def _compare_bias(self, tally, label, a, b, expected):
        """The greatest bias that fits, and one more, of both signs."""
        store = Store("float32", "float32", np.float32)
        for sign in (1, -1):
            bias = np.full(self.n, sign * self.slack, np.int32)
            sums = np.full((self.m, self.n), expected + sign * self.slack, np.int32)
            got = store.product(a, b, self.a_point, self.b_point, bias)
            tally.add(f"{label} bias", 1, not (got == store.expected(sums)).all(), lambda: self.words)
            bias += sign
            is_refused = refuses(lambda bias=bias: store.product(a, b, self.a_point, self.b_point, bias))
            tally.add(f"{label} bias beyond", 1, not is_refused, lambda: self.words)


def refuses(call):
    try:
        call()
    except OverflowError:
        return True
    return False
