"""Whether integer products are right in every shape, and touch nothing around their arrays.

M and N in 1..17 and around 32 and 64, K from 0 to 130 and around powers of two up to 1025, three fills: any codes, both
ends of the range at random, the code of the greatest magnitude everywhere. Every operand touches a protected page with
its start or its end, and the result lies in bytes that must stay. Signs, zero points, sides and stores are drawn for
each. What is expected is computed in float64, where all these sums are exact.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
import reference
from guard import SIDES, Slot

from qlite import _core

from .kernels import SIGNS, on_isa
from .stores import STORES
from .tally import Tally

EDGES = (*range(1, 18), 31, 32, 33, 63, 64, 65)
DEPTHS = (*range(131), *(2**n + d for n in (8, 9, 10) for d in (-1, 0, 1)))
FILLS = ("random", "extreme", "greatest")
SHAPES = list(product(EDGES, EDGES, DEPTHS, FILLS))
ALL = range(len(SHAPES))
FEW = ALL[::43]  # shares no factor with the numbers of fills, depths and edges
MOST = max(EDGES) * max(DEPTHS)
CANARY = 0xA5
SEED = 1


def verify(checks, isas):
    """Print and check everything."""
    print(f"\n{len(SHAPES):,} shapes and fills")
    tally = Tally()
    check(tally, isas)
    tally.conclude(checks)


def check(tally, isas, numbers=ALL):
    """Count the products of these cases, each of which depends on its number alone."""
    memory = Memory()
    for number in numbers:
        case = Case.draw(np.random.default_rng([SEED, number]), memory, number)
        for isa in isas:
            with on_isa(isa):
                case.compare(tally, isa, memory)


class Memory:
    """Where the operands and results of all cases lie in turn, and the codes that fill them."""

    def __init__(self):
        self.a, self.b, self.x = Slot(MOST), Slot(MOST), Slot(4 * MOST)
        self.a_zero_point, self.b_zero_point, self.bias, self.scale = (Slot(4 * max(EDGES)) for _ in range(4))
        self.result = Slot(4 * max(EDGES) ** 2)
        self.result.bytes[:] = CANARY
        self.untouched = self.result.bytes.tobytes()
        rng = np.random.default_rng(SEED)
        self.pools = {(dtype, fill): pool(rng, dtype, fill) for dtype in (np.int8, np.uint8) for fill in FILLS}
        self.floats = rng.normal(size=2 * MOST).astype(np.float32)

    def codes(self, rng, slot, shape, dtype, fill, side):
        first = int(rng.integers(MOST))
        return slot.copy(self.pools[dtype, fill][first : first + shape[0] * shape[1]].reshape(shape), side)


def pool(rng, dtype, fill):
    """More codes than an operand has."""
    limits = np.iinfo(dtype)
    if fill == "random":
        return rng.integers(limits.min, limits.max, 2 * MOST, dtype, endpoint=True)
    if fill == "extreme":
        return rng.choice(np.array([limits.min, limits.max], dtype), 2 * MOST)
    return np.full(2 * MOST, limits.min or limits.max, dtype)


@dataclass
class Case:
    """Operands, what is drawn with them, and the exact sums."""

    words: str
    side: str
    a: np.ndarray
    b: np.ndarray
    a_zero_point: np.ndarray
    b_zero_point: np.ndarray | None
    bias: np.ndarray
    purposes: tuple[str, ...]
    sums: np.ndarray
    others: list  # (name, what multiplies, what is expected)

    @classmethod
    def draw(cls, rng, memory, number):
        m, n, k, fill = SHAPES[number]
        signs = str(rng.choice(list(SIGNS)))
        side, a_points, has_b_points = SIDES[rng.integers(2)], rng.integers(3), rng.integers(2)
        is_narrow = rng.integers(3) == 0
        a_dtype, b_dtype = SIGNS[signs]
        a = memory.codes(rng, memory.a, (m, k), a_dtype, fill, side)
        b = memory.codes(rng, memory.b, (k, n), b_dtype, fill, side)
        if is_narrow:
            a &= 127
        za = np.zeros(1, np.int32) if a_points == 0 else zero_points(rng, m if a_points == 2 else 1, a_dtype)
        za = memory.a_zero_point.copy(za, side)
        zb = memory.b_zero_point.copy(zero_points(rng, n, b_dtype), side) if has_b_points else None
        bias = memory.bias.copy(rng.integers(-(2**20), 2**20, n, np.int32), side)
        words = (
            f"case {number}: {m}x{k}x{n} {signs} {fill}, pages {side}, zero points: "
            f"{('none', 'one', 'of rows')[a_points]}, {('none', 'of columns')[has_b_points]}"
        )
        purposes = ("integer", "integer7") if is_narrow else ("integer",)
        case = cls(words, side, a, b, za, zb, bias, purposes, exact(a, za, b, zb), [])
        case.others = [case._static(rng)]
        if number % 4 == 0:
            case.others.append(case._dynamic(rng, memory))
        return case

    def _static(self, rng):
        store = STORES[rng.integers(len(STORES))]

        def multiply(purpose, out):
            store.product(self.a, self.b, self.a_zero_point, self.b_zero_point, self.bias, purpose, out)

        return store.name, multiply, store.expected(self.sums + self.bias)

    def _dynamic(self, rng, memory):
        """Floats, whose rows are quantized on the way."""
        m, k = self.a.shape
        first = int(rng.integers(MOST))
        x = memory.x.copy(memory.floats[first : first + m * k].reshape(m, k), self.side)
        scale = memory.scale.copy(rng.uniform(0.01, 1, self.b.shape[1]).astype(np.float32), self.side)

        def multiply(purpose, out):
            packed = _core.Packed.matrix(self.b, self.b_zero_point, "integer")
            _core.linear(x, packed, scale, None, "relu", False, out)

        codes, row_scale, row_zero_point = reference.quantize_rows(x)
        sums = exact(codes, row_zero_point.ravel(), self.b, self.b_zero_point)
        return "dynamic", multiply, reference.scale_sums(sums, row_scale, scale, 0, 0)

    def compare(self, tally, isa, memory):
        """Count what the active instruction set gives."""
        for purpose in self.purposes:
            self._compare(tally, f"{isa:11} {purpose} sums", self._multiply, purpose, self.sums, memory)
        for name, multiply, expected in self.others:
            for purpose in self.purposes if name != "dynamic" else self.purposes[:1]:
                self._compare(tally, f"{isa:11} {purpose} {name}", multiply, purpose, expected, memory)

    def _multiply(self, purpose, out):
        packed = _core.Packed.matrix(self.b, self.b_zero_point, purpose)
        _core.matmul_integer(self.a, packed, self.a_zero_point, out)

    def _compare(self, tally, name, multiply, purpose, expected, memory):
        out = memory.result.empty(expected.shape, expected.dtype, self.side)
        multiply(purpose, out)
        wrong = np.argwhere(out != expected)
        out.view(np.uint8)[...] = CANARY
        is_clean = memory.result.bytes.tobytes() == memory.untouched
        memory.result.bytes[:] = CANARY

        def example():
            return f"{self.words}, " + (f"first at {tuple(wrong[0])}" if len(wrong) else "bytes around the result")

        tally.add(name, 1, bool(len(wrong)) or not is_clean, example)


def zero_points(rng, count, dtype):
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, count, dtype, endpoint=True).astype(np.int32)


def exact(a, a_zero_point, b, b_zero_point):
    """The sums, in float64: all are below 2**53."""
    a = a.astype(np.float64) - a_zero_point[:, None]
    b = b.astype(np.float64)
    return (a @ (b if b_zero_point is None else b - b_zero_point)).astype(np.int32)
