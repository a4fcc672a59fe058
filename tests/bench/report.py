"""Runs a bench and prints its figures as they come.

A bench is anything with a `run(quick, only)` that prints, and returns figures fit for JSON. `Bench` is the usual one:
the same contenders in every row of a table. In `tasks.py` every task has its own.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from . import harness

CELL = 9
SECONDS_PER_ROW = 2.0
SECONDS_PER_ROW_QUICK = 0.2


def seconds_per_row(quick):
    return SECONDS_PER_ROW_QUICK if quick else SECONDS_PER_ROW


@dataclass(frozen=True)
class Bench:
    """`cases` are (label, case); the contenders are `ours` and those that it is held against."""

    title: str
    cases: Iterable[tuple[str, Any]]
    ours: harness.Contender
    peers: tuple[harness.Contender, ...]

    def run(self, quick, only):
        """Measure and print every case whose label holds `only`; return the figures."""
        missing = {peer.name: peer.missing() for peer in self.peers}
        contenders = [self.ours, *(peer for peer in self.peers if not missing[peer.name])]
        print(f"\n{self.title}\nOne thread; microseconds per call; ratio = the best peer's median / qlite's.\n")
        print(_header(contenders))
        rows = []
        for label, case in (case for case in self.cases if only in case[0]):
            row = measure(contenders, case, seconds_per_row(quick))
            ratio, best = best_of([peer.name for peer in self.peers], self.ours.name, row["times_us"])
            rows.append({"case": label, **row, "best_peer": best, "ratio": ratio})
            print(_line(rows[-1], contenders), flush=True)
        versions = {contender.name: contender.version() for contender in contenders}
        print("\n" + "\n".join(_notes(contenders, versions, missing, rows)))
        return {"title": self.title, "versions": versions, "missing": missing, "rows": rows}


def measure(contenders, case, seconds, yardsticks=None):
    """Times of all, and how far each peer's result is from that of the first, or why a peer does not take the case.

    `yardsticks` are calls by name that are timed beside them and computed by nobody.
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
            refused[contender.name] = (str(error) or repr(error)).splitlines()[0]
    harness.check_threads()
    times = harness.time_in_turn({**{name: work.call for name, work in works.items()}, **(yardsticks or {})}, seconds)
    for name in peers:
        if name in works and works[name].result and works[ours].result:
            expected, got = works[ours].result(), works[name].result()
            if not np.array_equal(got, expected):
                differs[name] = float(np.abs(got.astype(np.float64) - expected).max())
    return {
        "times_us": {name: asdict(value) for name, value in times.items()},
        "differs_by": differs,
        "refused": refused,
    }


def best_of(names, ours, times):
    """How many times as long as ours the fastest of `names` takes, and which one that is; None where there is none."""
    best = min((name for name in names if name in times), key=lambda name: times[name]["median"], default=None)
    return (times[best]["median"] / times[ours]["median"], best) if best else (None, None)


def figure(microseconds):
    """At least three digits, none that only measure noise."""
    digits = 2 if microseconds < 10 else 1 if microseconds < 100 else 0
    return f"{microseconds:,.{digits}f}"


def _header(contenders):
    groups = "".join(f"   {contender.name:^{2 * CELL}}" for contender in contenders)
    columns = f"   {'median':>{CELL}}{'min':>{CELL}}" * len(contenders)
    first, second = f"{'':16}{groups}", f"{'':16}{columns}   ratio  best peer"
    return f"{first.rstrip()}\n{second}\n{'-' * len(second)}"


def _line(row, contenders):
    cells = ""
    for contender in contenders:
        times = row["times_us"].get(contender.name)
        mark = "~" if contender.name in row["differs_by"] else ""
        if times:
            cells += f"   {mark + figure(times['median']):>{CELL}}{figure(times['min']):>{CELL}}"
        else:
            cells += f"   {'-':>{CELL}}{'-':>{CELL}}"
    ratio = f"{row['ratio']:8.2f}  {row['best_peer']}" if row["best_peer"] else ""
    return f"{row['case']:16}{cells}{ratio}"


def _notes(contenders, versions, missing, rows):
    titles = [f"{name} {version}" for name, version in versions.items()]
    for title, contender in zip(titles, contenders, strict=True):
        yield f"{title:{max(map(len, titles))}}  {contender.what}"
    for name, module in missing.items():
        if module:
            yield f"{name}: not measured, there is no module {module} (pip install '.[bench]')"
        if differs := {row["case"]: row["differs_by"][name] for row in rows if name in row["differs_by"]}:
            worst = max(differs, key=differs.get)
            yield f"~ {name} is not exact in {len(differs)} of {len(rows)}: off by up to {differs[worst]:g} at {worst}"
        if refused := {row["case"]: row["refused"][name] for row in rows if name in row["refused"]}:
            yield f"- {name} refuses {', '.join(refused)}: {next(iter(refused.values()))}"
