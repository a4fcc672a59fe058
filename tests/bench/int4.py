"""float32 layers by 4-bit weights in groups, activations quantized on the way.

NumPy multiplies the dequantized weights in float32; torch the 4-bit ones by bfloat16. A codebook of 16 entries is held
against the even steps of plain int4.
"""

from functools import partial

from . import limits, works_int4
from .limits import ISA
from .report import Bench
from .tasks import Goal, Task, times_as_long
from .works_int4 import CODEBOOK, OURS, PEERS, PLAIN, TOLERANCE, Grouped

READ_SHARE, PEAK_SHARE = 0.65, 0.70  # of the speed at which one row's weights are read, and of the peak for more rows
CODEBOOK_TIMES = 1.10  # as long as plain int4, at most

# (m, k, n, group): the ratio to onnxruntime, whose groups are the same, to be reached; None: no share either
SHAPES = {
    (1, 1024, 1024, 32): None,
    (1, 4096, 4096, 32): 1.5,
    (16, 4096, 4096, 32): 2.6,
    (128, 4096, 4096, 32): 2.6,
    (1, 4096, 4096, 128): None,
    (16, 4096, 4096, 128): None,
    (128, 4096, 4096, 64): None,
    (128, 4096, 4096, 128): None,
}


def bound(m, k, n, group, has_target):
    """One row is bound by reading codes and scales, more rows by the peak."""

    def call():
        return works_int4.qlite(Grouped.random(1, group, 8, group))

    if m == 1:
        return limits.memory("read", k * n // 2 + 4 * n * k // group, READ_SHARE if has_target else None, call)
    return limits.peak(2 * m * k * n, call, PEAK_SHARE if has_target and ISA != "amxint8" else None)


def against(peer, least):
    def of(times):
        return times[peer].median / times["qlite"].median if peer in times else None

    return Goal(f"of {peer}'s speed", of, least=least)


def tasks():
    for (m, k, n, group), ratio in SHAPES.items():
        task = partial(Task, case=partial(Grouped.random, m, k, n, group), amount=2 * m * k * n, tolerance=TOLERANCE)
        yield task(
            f"{m}x{k}x{n}, groups of {group}",
            ours=OURS,
            peers=PEERS,
            limit=bound(m, k, n, group, ratio is not None),
            goals=(
                against("onnxruntime", ratio),
                against("OpenVINO", 1.5 if ISA == "amxint8" and m == 128 else None),
            ),
        )
        if group == 32 and k == 4096:
            yield task(
                f"{m}x{k}x{n}, 16 entries, groups of {group}",
                ours=CODEBOOK,
                others=(PLAIN,),
                goals=(times_as_long("qlite", "plain int4", CODEBOOK_TIMES),),
            )


BENCH = Bench(
    title="float32 -> float32 by 4-bit weights in groups, M x K x N",
    unit="GOPS = 10^9 multiplications and additions a second",
    tasks=tasks(),
    notes=("Of reading: codes and scales once, at the machine's speed / the call without what a smallest one takes.",),
)
