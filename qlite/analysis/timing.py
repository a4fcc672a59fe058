"""Times that can be compared: functions take turns, so that whatever else the machine does falls on all of them."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from qlite.config import on_threads

#: A time is the median of so many repetitions, each of at least so many seconds.
REPETITIONS, REPETITION_TIME = 31, 1e-3


def in_turn(functions: Sequence[Callable[[], Any]]) -> list[float]:
    """Return the seconds that a call of each takes: medians over repetitions in which they take turns."""
    calls = [1] * len(functions)
    for i, function in enumerate(functions):
        while _seconds(function, calls[i]) < REPETITION_TIME:
            calls[i] *= 2
    seen = [[_seconds(f, n) / n for f, n in zip(functions, calls, strict=True)] for _ in range(REPETITIONS)]
    return np.median(seen, axis=0).tolist()


def _seconds(function: Callable[[], Any], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return time.perf_counter() - start


@contextmanager
def one_thread() -> Iterator[str]:
    """Hold qlite and, as far as it can be, NumPy to one thread; yields in words what has come of it."""
    unheld = f"NumPy on up to {os.cpu_count()} threads, the others on one"
    with on_threads(1):
        try:
            from threadpoolctl import threadpool_info, threadpool_limits
        except ImportError:
            yield unheld
            return
        with threadpool_limits(1):
            held = any(library["user_api"] == "blas" for library in threadpool_info())  # not every BLAS lets itself be
            yield "all on one thread" if held else unheld
