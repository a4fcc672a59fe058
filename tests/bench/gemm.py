"""u8 x s8 matrices into exact int32, or into codes again, weights prepared beforehand.

The shapes are those of single rows, batches and wide batches through layers of usual size, a few ragged ones and one
narrow one (an output layer). Every contender gets the form that it is fastest with: B packed or laid out before the
clock runs, results written into memory that is already there.

With QLITE_ISA=avx2 or avxvnni, NumPy's float32 product and torch keep to the same instruction set, and targets hold
against these; the others cannot be told to.
"""

from functools import partial
from itertools import product

from . import limits, works_gemm
from .limits import ISA
from .report import Bench
from .tasks import Task, times_as_long
from .works_gemm import NUMPY, OURS, PEERS, TORCH, Product, Requantized

OF_ISA = {"avx2": (NUMPY,), "avxvnni": (TORCH,)}.get(ISA, PEERS)  # the peers that targets hold against

CODE = 1 / 250  # of the greatest value: one code, where the rules or what libraries make of them differ

# (m, k, n): the share of the peak, and the ratio to the best peer, that are to be reached on AVX512-VNNI
SHAPES = {
    (1, 768, 768): (None, 1.3),
    (1, 4096, 4096): (None, 1.15),
    (8, 1024, 1024): (0.88, 1.3),
    (32, 1024, 1024): (0.88, 1.0),
    (64, 1024, 1024): (0.88, 1.0),
    (256, 1024, 1024): (0.88, 1.0),
    (1024, 1024, 1024): (0.88, 1.0),
    (32, 784, 128): (0.88, 1.3),
    (128, 784, 128): (0.88, 1.0),
    (512, 4096, 4096): (0.85, 1.0),
    (127, 333, 77): (0.70, 1.2),
    (33, 1001, 45): (0.70, 1.2),
    (128, 784, 10): (0.40, 1.0),
}
# The same on tiles, and how many times as long AVX512-VNNI is to take
SHAPES_OF_TILES = {
    (1, 768, 768): (None, 1.0, None),
    (1, 4096, 4096): (None, 1.0, None),
    (8, 1024, 1024): (None, 2.0, None),
    **{(m, 1024, 1024): (None, 1.5, 2.5) for m in (32, 64)},
    (256, 1024, 1024): (0.70, 1.5, 2.5),
    (1024, 1024, 1024): (None, 1.3, 2.5),
    (32, 784, 128): (None, 1.5, 2.5),
    (128, 784, 128): (None, 1.5, 2.5),
    (512, 4096, 4096): (None, 1.1, 2.5),
    (127, 333, 77): (None, 1.5, 2.5),
}


def targets(m, k, n):
    """Share and ratio on the instruction set of the kernel; none are set for those that are not named here."""
    if ISA == "amxint8":
        return SHAPES_OF_TILES.get((m, k, n), (None, None))[:2]
    if ISA == "avx512vnni":
        return SHAPES[m, k, n]
    if ISA == "avx2" and m >= 8:
        return min(0.70, SHAPES[m, k, n][0]), 1.5  # the narrow one fills half a tile
    if ISA == "avxvnni" and m >= 8 and k >= 512:
        return min(0.80, SHAPES[m, k, n][0]), 1.2
    return None, None


def peak(m, k, n, least):
    return limits.peak(2 * m * k * n, lambda: works_gemm.qlite(Product.random(1, 1, 1)), least)


def tasks():
    for m, k, n in SHAPES:
        share, ratio = targets(m, k, n)
        yield Task(
            f"{m}x{k}x{n}",
            partial(Product.random, m, k, n),
            2 * m * k * n,
            OURS,
            OF_ISA,
            tuple(peer for peer in PEERS if peer not in OF_ISA),
            target=ratio,
            limit=peak(m, k, n, share),
            below=SHAPES_OF_TILES.get((m, k, n), (None,))[-1] if ISA == "amxint8" else None,
        )


def unpacked_tasks():
    """Weights that come with the call: what laying them out costs."""
    for (order, ours), m in product(works_gemm.UNPACKED.items(), (1, 64, 256)):
        yield Task(
            f"{m}x1024x1024, unpacked {order}",
            partial(Product.random, m, 1024, 1024),
            2 * m * 1024 * 1024,
            ours,
            works_gemm.UNPACKED_PEERS,
            (works_gemm.PACKED,),
            target=0.5,
        )


def requantizing_tasks():
    """Codes in and out: what the epilogue costs over storing the sums, and where a library has one."""
    for m, k, n in ((64, 1024, 1024), (256, 1024, 1024), (1024, 1024, 1024), (64, 512, 512)):
        for rule, requant, most in (("A", "float", 1.03), ("B", "fixed", 1.10)):
            ours, step = works_gemm.requantizing(requant)
            yield Task(
                f"{m}x{k}x{n} to codes, rule {rule}",
                partial(Requantized.random, m, k, n),
                2 * m * k * n,
                ours,
                works_gemm.REQUANTIZING_PEERS,
                (step, works_gemm.INT32_STORE),
                limit=peak(m, k, n, 0.70 if ISA == "amxint8" and m == 1024 else None),
                goals=tuple(times_as_long(name, "int32 store", most) for name in ("qlite", "a step")),
                tolerance=CODE,
            )


BENCH = Bench(
    title="u8 x s8 -> s32, or codes again, M x K x N",
    unit="GOPS = 10^9 multiplications and additions a second",
    tasks=(task for some in (tasks, unpacked_tasks, requantizing_tasks) for task in some()),
    notes=("Of the peak: without the time of a call on 1x1x1, which does next to nothing but be called.",),
)
