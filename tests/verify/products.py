"""Whether every pair of 8-bit codes is multiplied rightly, at every place along k, on every instruction set.

All 65,536 pairs stand in turn at each of 128 places, with zeros around them. The result is computed whole, row by row
and 8 columns at a time; at some places also by the stores that make float32 and codes of the sums.
"""

import numpy as np

from .kernels import SIGNS, compare_in_every_way, on_isa
from .stores import STORES
from .tally import Tally

DEPTH = 128
STORED = (0, 1, 2, 3, 4, 63, 64, 127)  # places whose sums go through every store
FEW = (0, 1, 2, 3, 17, 66, 127)


def verify(checks, isas):
    """Print and check everything."""
    tally = Tally()
    check(tally, isas)
    tally.conclude(checks)


def check(tally, isas, places=range(DEPTH), stored=STORED):
    """Count all pairs at these places along k."""
    for isa in isas:
        with on_isa(isa):
            for signs, dtypes in SIGNS.items():
                for place in places:
                    _check_place(tally, f"{isa:11} {signs}", dtypes, place, place in stored)


def _check_place(tally, label, dtypes, place, is_stored):
    all_a, all_b = (np.arange(256, dtype=np.uint8).view(dtype) for dtype in dtypes)
    a, b = np.zeros((256, DEPTH), dtypes[0]), np.zeros((DEPTH, 256), dtypes[1])
    a[:, place], b[place] = all_a, all_b
    sums = np.multiply.outer(all_a.astype(np.int32), all_b.astype(np.int32))

    def where():
        return f"at {place} of {DEPTH}"

    compare_in_every_way(tally, label, a, b, "integer", sums, where)
    compare_in_every_way(tally, label, a[:128], b, "integer7", sums[:128], where)
    if is_stored:
        for store in STORES:
            wrong = np.count_nonzero(store.product(a, b) != store.expected(sums))
            tally.add(f"{label} {store.name}", sums.size, wrong, where)
