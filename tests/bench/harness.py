"""Times several ways to compute the same thing against each other.

They take turns within one run, because a machine's speed drifts by more from minute to minute than good libraries
differ. A turn is a batch of calls that together take long enough for the clock. Some before it are not timed: the
others have just emptied the caches, and whoever multiplies by the same weights again does not pay for that. Each turn
begins with another contender, so that nobody always comes after the same one.
"""

import gc
import importlib
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from itertools import repeat
from statistics import median
from time import perf_counter, sleep
from typing import Any

import numpy as np

BATCH_SECONDS = 200e-6  # two readings of the clock are 0.05 % of it
WARM_SECONDS = 1e-3  # of calls before: the first one alone leaves weights of 10 MB half outside of a shared cache
FEWEST_TURNS = 5  # fewer have no median to speak of
MOST_TURNS = 2000
SETTLE_SECONDS = 0.05  # after which OpenMP's and onnxruntime's idle threads have stopped to spin


@dataclass(frozen=True)
class Work:
    """`call()` computes once; `result()` is what it computed last, in the form that all contenders agree on.

    Without `result` there is nothing to compare: what is computed is random, or nobody can read the type. `prepare()`
    comes before each turn and is not timed: for what holds for a whole library, as its number of threads.
    `elsewhere(count, pause)` is `seconds_per_call` of a call that another process makes.
    """

    call: Callable[[], Any]
    result: Callable[[], np.ndarray] | None = None
    prepare: Callable[[], Any] | None = None
    elsewhere: Callable[[int, float], float] | None = None

    def seconds_per_call(self, count, pause=0):
        return self.elsewhere(count, pause) if self.elsewhere else seconds_per_call(self.call, count, pause)


@dataclass(frozen=True)
class Contender:
    """A way to compute a case: `make(case)` prepares it. `modules` are what it imports, its own package first."""

    name: str
    what: str
    modules: tuple[str, ...]
    make: Callable[[Any], Work]

    def missing(self):
        """Which of the modules cannot be imported, or None."""
        for module in self.modules:
            try:
                importlib.import_module(module)
            except ImportError:
                return module
        return None

    def version(self):
        distributions = metadata.packages_distributions().get(self.modules[0], ())
        return metadata.version(distributions[0]) if distributions else "(not installed)"


@dataclass(frozen=True)
class Times:
    """Of one call, in microseconds."""

    median: float
    min: float


def time_in_turn(works, seconds, settle=0, pause=0):
    """The times of each of `works`, a dict by name, within about this many seconds.

    Between turns nobody does anything for `settle` seconds: threads that wait for more work take their time to give up.
    `pause`: of `seconds_per_call`.
    """
    works = list(works.items())
    inner = {}
    for name, work in works:
        _begin_turn(work, settle)
        inner[name] = math.ceil(BATCH_SECONDS / (work.seconds_per_call(1) + pause))
    samples = {name: [] for name, _ in works}
    collecting = gc.isenabled()
    gc.disable()
    try:
        begin = perf_counter()
        for turn in range(MOST_TURNS):
            first = turn % len(works)
            for name, work in works[first:] + works[:first]:
                _begin_turn(work, settle)
                samples[name].append(work.seconds_per_call(inner[name], pause))
            if turn + 1 >= FEWEST_TURNS and perf_counter() - begin > seconds:
                break
    finally:
        if collecting:
            gc.enable()
    return {name: Times(median(values) * 1e6, min(values) * 1e6) for name, values in samples.items()}


def _begin_turn(work, settle):
    if settle:
        sleep(settle)
    if work.prepare:
        work.prepare()
    begin = perf_counter()
    work.call()
    while perf_counter() - begin < WARM_SECONDS:
        work.call()


def seconds_per_call(call, count, pause=0):
    """The mean of `count` calls. Before each the thread spins for `pause` seconds: units of the core that are not used
    fall asleep, the clock stays as it is."""
    if not pause:
        begin = perf_counter()
        for _ in repeat(None, count):
            call()
        return (perf_counter() - begin) / count
    total = 0.0
    for _ in repeat(None, count):
        until = perf_counter() + pause
        while (begin := perf_counter()) < until:
            pass
        call()
        total += perf_counter() - begin
    return total / count


def fastest(calls, seconds=0.05):
    """The fastest of `calls`, a dict: for a contender that has several ways and does not say which is best."""
    times = time_in_turn({name: Work(call) for name, call in calls.items()}, seconds)
    return calls[min(times, key=lambda name: times[name].median)]


def pin(threads):
    """Keep this process on as many cores as it has threads, as far as the system can: nobody gets another one."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])


def use_threads(count):
    """Let the libraries that are loaded have this many threads, those below NumPy and its peers, and see that they do.

    One is what they have from the start. The switches that a library has of its own are its contender's business.
    """
    try:
        import threadpoolctl
    except ImportError:
        if count == 1:
            return
        raise SystemExit("more than one thread: there is no module threadpoolctl (pip install '.[bench]')") from None
    if count > 1:
        threadpoolctl.threadpool_limits(count)
    pools = threadpoolctl.threadpool_info()
    if wide := [pool["filepath"] for pool in pools if pool["num_threads"] > count]:
        raise SystemExit(f"more than {count} threads in {', '.join(wide)}")
