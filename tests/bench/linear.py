"""float32 layers by 8-bit weights: quantized, multiplied and dequantized in one call.

qlite quantizes each row on a grid of its own, onnxruntime and torch all rows on one: results differ by what that grid
rounds.
"""

from functools import partial

from . import limits, works_linear
from .limits import ISA
from .report import Bench
from .tasks import Task
from .works_linear import OURS, PEERS, TOLERANCE, Dynamic

# (m, k, n): the share of the peak, and the ratio to the best peer, that are to be reached
SHAPES = {
    (1, 768, 768): (None, 1.4),
    **{(m, 1024, 1024): (0.85, ratio) for m, ratio in ((8, 1.4), (16, 1.4), (32, 1.4), (64, 1.1), (256, 1.05))},
    (1, 1024, 1024): (None, 1.4),
    (1024, 1024, 1024): (0.85, 1.05),
    (32, 784, 128): (None, 1.4),
    (128, 784, 128): (None, None),
}
SHAPES_OF_TILES = {(m, 1024, 1024): (None, 1.2) for m in (8, 32, 64, 256, 1024)}  # the same on tiles


def tasks():
    for m, k, n in sorted(SHAPES):
        share, ratio = SHAPES_OF_TILES.get((m, k, n), (None, None)) if ISA == "amxint8" else SHAPES[m, k, n]
        yield Task(
            f"{m}x{k}x{n}",
            partial(Dynamic.random, m, k, n),
            2 * m * k * n,
            OURS,
            PEERS,
            target=ratio,
            tolerance=TOLERANCE,
            limit=limits.peak(2 * m * k * n, lambda: works_linear.qlite(Dynamic.random(1, 1, 1)), share),
        )


BENCH = Bench(
    title="float32 -> float32 by 8-bit weights, M x K x N",
    unit="GOPS = 10^9 multiplications and additions a second",
    tasks=tasks(),
    notes=("Of the peak: without the time of a call on 1x1x1, which does next to nothing but be called.",),
)
