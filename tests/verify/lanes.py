"""Whether extremes at any two places along k add up rightly, on every instruction set.

All pairs of places below 128, with all combinations of 5 extremes in each of the 4 codes there, and zeros elsewhere:
kernels that add two products in a lane of 16 bits, whichever places share it, are found out.
"""

from itertools import combinations, product

import numpy as np

from .kernels import EXTREMES, NARROW_EXTREMES, SIGNS, compare_in_every_way, on_isa
from .tally import Tally

DEPTH = 128
PAIRS = list(combinations(range(DEPTH), 2))
FEW = [(i, j) for i in (0, 1, 2, 3, 17, 62) for j in range(i + 1, DEPTH) if j - i in (1, 2, 3, 4, 8, 16, 32, 64)]


def verify(checks, isas):
    """Print and check everything."""
    tally = Tally()
    check(tally, isas)
    tally.conclude(checks)


def check(tally, isas, pairs=PAIRS):
    """Count all combinations at these pairs of places."""
    for isa in isas:
        with on_isa(isa):
            for signs, (a_dtype, b_dtype) in SIGNS.items():
                label = f"{isa:11} {signs}"
                _check_pairs(tally, label, pairs, a_dtype, b_dtype, EXTREMES[a_dtype], "integer")
                _check_pairs(tally, label, pairs, a_dtype, b_dtype, NARROW_EXTREMES, "integer7")


def _check_pairs(tally, label, pairs, a_dtype, b_dtype, a_values, purpose):
    a_pairs = np.array(list(product(a_values, repeat=2)), a_dtype)
    b_pairs = np.array(list(product(EXTREMES[b_dtype], repeat=2)), b_dtype).T
    sums = a_pairs.astype(np.int32) @ b_pairs.astype(np.int32)
    for places in pairs:
        a, b = np.zeros((len(a_pairs), DEPTH), a_dtype), np.zeros((DEPTH, b_pairs.shape[1]), b_dtype)
        a[:, places], b[places, :] = a_pairs, b_pairs

        def where(places=places):
            return f"at {places[0]} and {places[1]} of {DEPTH}"

        compare_in_every_way(tally, label, a, b, purpose, sums, where)
