"""Two threads for everybody, on large products and a convolution; qlite with one beside them.

Threads that wait for work get time to give up before the next turn. NumKong, whose function has none, is left as it is.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import qlite as ql
from qlite import _core

from . import limits
from . import works_conv as conv
from . import works_gemm as gemm
from . import works_int4 as int4
from . import works_linear as linear
from .harness import Contender, Work
from .report import Bench
from .tasks import Goal, Task, times_as_long

THREADS = 2
ONE = "one thread"
SPEEDUP = 1.8  # of qlite, from one thread to two
PEAK_CALLS = 20  # at once: beside them it takes no time to hand them to threads
GAIN = 0.9  # of what the second thread gains where there is nothing but multiply-adds in registers


def with_threads(contender, count, **names):
    """A contender of qlite with this many threads."""

    def make(case):
        ql.set_num_threads(count)
        return replace(contender.make(case), prepare=partial(ql.set_num_threads, count))

    return replace(contender, make=make, **names)


def peak(count):
    """So many threads, each with the same multiply-adds in registers."""

    def make(_):
        pool = ThreadPoolExecutor(count)
        calls = [partial(_core.peak, PEAK_CALLS * limits.ROUNDS, 1, 1)] * count
        return Work(lambda: [future.result() for future in [pool.submit(call) for call in calls]])

    return Contender(f"peak of {count}", "multiply-adds in registers, in each thread", ("qlite",), make)


def gain(times):
    """What the second thread gains / what it gains at the peak."""
    at_the_peak = 2 * times["peak of 1"].median / times["peak of 2"].median
    return times[ONE].median / times["qlite"].median / at_the_peak


def task(label, case, operations, works, peers, tolerance=0.0, target=None, speedup=None):
    goals = (times_as_long("qlite", ONE, speedup and 1 / speedup),)
    return Task(
        label,
        case,
        operations,
        with_threads(works.OURS, THREADS),
        peers,
        (with_threads(works.OURS, 1, name=ONE),),
        target=target,
        goals=(*goals, Goal("of the peak's gain", gain, GAIN)) if speedup else goals,
        yardsticks=(peak(1), peak(THREADS)) if speedup else (),
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
