"""Two threads for everybody, on large products and a convolution; qlite with one beside them.

Threads that wait for work get time to give up before the next turn. NumKong, whose function has none, is left as it is.
"""

from dataclasses import replace
from functools import partial

import qlite as ql

from . import works_conv as conv
from . import works_gemm as gemm
from . import works_int4 as int4
from . import works_linear as linear
from .report import Bench
from .tasks import Task, times_as_long

THREADS = 2
ONE = "one thread"
SPEEDUP = 1.8  # of qlite, from one thread to two


def with_threads(contender, count, **names):
    """A contender of qlite with this many threads."""

    def make(case):
        ql.set_num_threads(count)
        return replace(contender.make(case), prepare=partial(ql.set_num_threads, count))

    return replace(contender, make=make, **names)


def task(label, case, operations, works, peers, tolerance=0.0, target=None, speedup=None):
    return Task(
        label,
        case,
        operations,
        with_threads(works.OURS, THREADS),
        peers,
        (with_threads(works.OURS, 1, name=ONE),),
        target=target,
        goals=(times_as_long("qlite", ONE, speedup and 1 / speedup),),
        tolerance=tolerance,
        threads=THREADS,
    )


def tasks():
    for m, goals in ((64, {}), (1024, {"target": 1.0, "speedup": SPEEDUP})):
        case, peers = partial(gemm.Product.random, m, 1024, 1024, THREADS), gemm.PEERS
        yield task(f"gemm {m}x1024x1024", case, 2 * m * 1024**2, gemm, peers, **goals)
    case = partial(linear.Dynamic.random, 256, 1024, 1024, THREADS)
    yield task("linear 256x1024x1024", case, 2 * 256 * 1024**2, linear, linear.PEERS, linear.TOLERANCE)
    case = partial(int4.Grouped.random, 128, 4096, 4096, 32, THREADS)
    yield task("int4 128x4096x4096, groups of 32", case, 2 * 128 * 4096**2, int4, int4.PEERS, int4.TOLERANCE)
    layer = conv.Layer(56, 64, 64, threads=THREADS)
    yield task("conv 3x3, 56x56x64 -> 64", lambda: layer, layer.operations, conv, conv.PEERS, conv.TOLERANCE)


BENCH = Bench(
    title="With two threads",
    unit="GOPS = 10^9 multiplications and additions a second",
    tasks=tasks(),
    threads=THREADS,
)
