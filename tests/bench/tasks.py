"""What a bench consists of: tasks, who does them, what bounds them, and the goals that their figures are to reach."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from . import harness
from .beside import under
from .harness import Contender, Times, Work


@dataclass(frozen=True)
class Limit:
    """What a machine allows at most: a call that does nothing but that, timed beside the contenders.

    `make()` returns it, and how much it does, counted as `amount` counts what the task needs of it; `unit` is that of
    its speed. The share that the task reaches is (amount / its time) / (the limit's amount / its time). `call` makes a
    call of the same function that has next to nothing to do; where it is given, its time is taken off: the kernel alone
    is what is bounded.
    """

    name: str
    what: str
    make: Callable[[], tuple[Work, float]]
    amount: float
    unit: str
    call: Callable[[], Work] | None = None
    least: float | None = None


@dataclass(frozen=True)
class Goal:
    """A figure `of(times)`, the times of all contenders by name, and what it is to be at least or at most."""

    name: str
    of: Callable[[dict[str, Times]], float | None]
    least: float | None = None
    most: float | None = None

    def row(self, times):
        got = self.of(times)
        if got is None:
            return {}
        missed = (self.least is not None and got < self.least) or (self.most is not None and got > self.most)
        return {"name": self.name, "got": got, "least": self.least, "most": self.most, "missed": missed}


def times_as_long(ours, base, most=None):
    """The goal that `ours` takes at most so many times as long as `base`, by their minima; both are qlite's."""
    return Goal(f"{ours} / {base}", lambda times: times[ours].min / times[base].min, most=most)


@dataclass(frozen=True)
class Task:
    """What is computed from what `case()` makes, and by whom; `amount` is how much that is, in the bench's unit.

    Peers are what ours is held against: the ratio to the best of them is to be `target`. Others are shown beside them:
    recipes of several calls that together do the same, or relatives with which no ratio would be fair. A result is the
    same if it is off by no more than `tolerance` times the greatest value. Under a lower instruction set, where that is
    timed too, ours is to take `below` times as long. `yardsticks` are timed as well, for goals.
    """

    label: str
    case: Callable[[], Any]
    amount: float
    ours: Contender
    peers: tuple[Contender, ...] = ()
    others: tuple[Contender, ...] = ()
    target: float | None = None
    limit: Limit | None = None
    below: float | None = None
    goals: tuple[Goal, ...] = ()
    yardsticks: tuple[Contender, ...] = ()
    tolerance: float = 0.0
    threads: int = 1

    @property
    def contenders(self):
        return (self.ours, *self.peers, *self.others)

    def measure(self, seconds, pause=0, isa=None):
        """All figures of the task, fit for JSON. `pause`: between calls; `isa`: what ours is timed under as well."""
        everyone, goals = list(self.contenders), list(self.goals)
        if isa:
            everyone.append(under(self.ours, isa))
            goals.append(Goal(f"times {isa}", lambda times: self._times(isa, times), self.below))
        missing = {contender.name: module for contender in everyone if (module := contender.missing())}
        contenders = [contender for contender in everyone if contender.name not in missing]
        what = {contender.name: contender.what for contender in everyone}
        amounts, yardsticks = dict.fromkeys(what, self.amount), {}
        for yardstick in self.yardsticks:
            yardsticks[yardstick.name], what[yardstick.name] = yardstick.make(None), yardstick.what
        if self.limit:
            yardsticks[self.limit.name], at_once = self.limit.make()
            what[self.limit.name], amounts[self.limit.name] = self.limit.what, at_once
            if self.limit.call:
                yardsticks["a call"], what["a call"] = self.limit.call(), "of our function on next to nothing"
            goals.append(Goal(f"of {self.limit.name}", lambda times: self._share(times, at_once), self.limit.least))
        settle = 0 if self.threads == 1 else harness.SETTLE_SECONDS
        time = partial(harness.time_in_turn, seconds=seconds, settle=settle, pause=pause)
        measured = measure(contenders, self.case(), yardsticks, self.tolerance, self.threads, time)
        times = measured.pop("times")
        ratio, peer = best_of(self.peers, self.ours, times)
        other_ratio, other = best_of(self.others, self.ours, times)
        return {
            "case": self.label,
            "times_us": {name: asdict(value) for name, value in times.items()},
            **measured,
            "missing": missing,
            "amounts": amounts,
            "units": {self.limit.name: self.limit.unit} if self.limit else {},
            "ratio": Goal("ratio", lambda _: ratio, self.target).row(times),
            "best_peer": peer,
            "other_ratio": other_ratio,
            "best_other": other,
            "goals": [row for goal in goals if (row := goal.row(times))],
            "what": what,
        }

    def _times(self, name, times):
        return times[name].median / times[self.ours.name].median if name in times else None

    def _share(self, times, at_once):
        ours = times[self.ours.name].min - (times["a call"].min if self.limit.call else 0)
        speed = at_once / times[self.limit.name].min
        return self.limit.amount / ours / speed if ours > 0 else None


def measure(contenders, case, yardsticks, tolerance, threads, time):
    """Times of all, and how far each one's result is from that of the first, or why one does not take the case.

    `yardsticks` are works by name that nobody computes. They are timed right after ours, by `time(works)`: a core that
    has worked hard runs at a lower clock for a while.
    """
    works, refused, differs = {}, {}, {}
    ours, *peers = [contender.name for contender in contenders]
    for contender in contenders:
        try:
            works[contender.name] = contender.make(case)
            works[contender.name].call()
        except Exception as error:  # whatever a peer raises says why it is not in the row
            if contender.name == ours:
                raise
            works.pop(contender.name, None)
            refused[contender.name] = (str(error).strip() or repr(error)).splitlines()[-1]  # the cause, of several
    harness.use_threads(threads)
    times = time({ours: works[ours], **yardsticks, **works})
    for name in peers:
        if name in works and works[name].result and works[ours].result:
            expected, got = np.float64(works[ours].result()), works[name].result()
            off = np.abs(got - expected).max()
            if not off <= tolerance * np.abs(expected).max():
                differs[name] = float(off)
    return {"times": times, "differs_by": differs, "refused": refused}


def best_of(contenders, ours, times):
    """How many times as long as ours the fastest of the contenders takes, and which one that is; or None, None."""
    names = [contender.name for contender in contenders if contender.name in times]
    best = min(names, key=lambda name: times[name].median, default=None)
    return (times[best].median / times[ours.name].median, best) if best else (None, None)
