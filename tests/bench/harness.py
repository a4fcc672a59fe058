"""Times several ways to compute the same thing against each other.

They take turns within one run, because a machine's speed drifts by more from minute to minute than good libraries
differ. A turn is a batch of calls that together take long enough for the clock. One call before it is not timed: the
others have just emptied the caches, and whoever multiplies by the same weights again does not pay for that. Each turn
begins with another contender, so that nobody always comes after the same one.
"""

import gc
import importlib
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from itertools import repeat
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

BATCH_SECONDS = 200e-6  # two readings of the clock are 0.05 % of it
FEWEST_TURNS = 5  # fewer have no median to speak of
MOST_TURNS = 2000


@dataclass(frozen=True)
class Work:
    """`call()` computes once; `result()` is what it computed last, in the form that all contenders agree on.

    Without `result` there is nothing to compare: what is computed is random, or nobody can read the type.
    """

    call: Callable[[], Any]
    result: Callable[[], np.ndarray] | None = None


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


def time_in_turn(calls, seconds):
    """The times of each of `calls`, a dict by name, within about this many seconds."""
    calls = list(calls.items())
    inner = {}
    for name, call in calls:
        call()
        inner[name] = math.ceil(BATCH_SECONDS / _seconds_per_call(call, 1))
    samples = {name: [] for name, _ in calls}
    collecting = gc.isenabled()
    gc.disable()
    try:
        begin = perf_counter()
        for turn in range(MOST_TURNS):
            first = turn % len(calls)
            for name, call in calls[first:] + calls[:first]:
                call()
                samples[name].append(_seconds_per_call(call, inner[name]))
            if turn + 1 >= FEWEST_TURNS and perf_counter() - begin > seconds:
                break
    finally:
        if collecting:
            gc.enable()
    return {name: Times(median(values) * 1e6, min(values) * 1e6) for name, values in samples.items()}


def _seconds_per_call(call, count):
    begin = perf_counter()
    for _ in repeat(None, count):
        call()
    return (perf_counter() - begin) / count


def fastest(calls, seconds=0.05):
    """The fastest of `calls`, a dict: for a contender that has several ways and does not say which is best."""
    times = time_in_turn(calls, seconds)
    return calls[min(times, key=lambda name: times[name].median)]


def memory_speed(values):
    """{"read": ..., "copy": ...}: calls that go once over this many float32 values, each the fastest way we know.

    They are what the memory of this machine allows, and take turns with the contenders like anybody else. Reading ends
    in memchr (a byte that is not there), in a dot product, or in a comparison; copying is memcpy, called in two ways.
    """
    source, target = np.ones(values, np.float32), np.empty(values, np.float32)
    haystack, bits = bytearray(source.tobytes()), source.view(np.uint32)
    reads = {
        "find": partial(haystack.find, 255),
        "dot": partial(np.dot, source, source),
        "max": partial(np.max, source),
        "or": partial(np.bitwise_or.reduce, bits),
    }
    copies = {
        "copyto": partial(np.copyto, target, source),
        "slice": partial(memoryview(target).__setitem__, slice(None), memoryview(source)),
    }
    return {"read": fastest(reads), "copy": fastest(copies)}


def pin_to_one_core():
    """Keep this process on one core, as far as the system can: nobody gets a second one, nobody moves."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def check_threads():
    """Make sure that no loaded library keeps more than one thread. Its own switch is each contender's own business."""
    try:
        import threadpoolctl
    except ImportError:
        return
    wide = [pool["filepath"] for pool in threadpoolctl.threadpool_info() if pool["num_threads"] != 1]
    if wide:
        raise SystemExit(f"more than one thread in {', '.join(wide)}")
