"""Runs the tasks of a bench and prints their figures as they come, a block per task, then all in one table."""

from collections.abc import Iterable
from dataclasses import dataclass

from .tasks import Task

CELL, NAME, WHAT, LABEL = 9, 15, 54, 41
SECONDS_PER_TASK = 2.0
SECONDS_PER_TASK_QUICK = 0.2
NOTES = (
    "Ratio: the best peer's median / qlite's. Shares of a limit, and goals among our own, are of minima.",
    "Others compute the same in several calls, or something alike; no target holds against them.",
)


@dataclass(frozen=True)
class Bench:
    """`unit`: what an amount divided by its time is counted in, 10^9 a second. `pause`, `beside`: of `Task.measure`."""

    title: str
    unit: str
    tasks: Iterable[Task]
    notes: tuple[str, ...] = ()
    threads: int = 1
    pause: float = 0
    beside: str | None = None

    def run(self, quick, only):
        """Measure and print every task whose label holds `only`; return the figures."""
        threads = "One thread" if self.threads == 1 else f"{self.threads} threads"
        pauses = f", each after {self.pause * 1e6:g} of a pause" if self.pause else ""
        print(f"\n{self.title}\n{threads}; microseconds per call{pauses}; {self.unit}.")
        rows, versions = [], {}
        tasks = list(self.tasks)
        if not any(only in task.label for task in tasks):
            raise SystemExit(f"--only: no label has {only!r}: {', '.join(task.label for task in tasks)}")
        for task in (task for task in tasks if only in task.label):
            row = task.measure(SECONDS_PER_TASK_QUICK if quick else SECONDS_PER_TASK, self.pause, self.beside)
            for contender in task.contenders:
                if contender.name not in row["missing"]:
                    versions[contender.modules[0]] = contender.version()
            rows.append(row)
            print("\n" + "\n".join(self._block(row)), flush=True)
        print("\n" + "\n".join(self._summary(rows)))
        print("\n" + ", ".join(f"{module} {version}" for module, version in versions.items()))
        for note in (*NOTES, *self.notes):
            print(note)
        return {"title": self.title, "versions": versions, "rows": rows}

    @property
    def _unit(self):
        return self.unit.split()[0]

    def _block(self, row):
        """The lines of one task: who, how, and how fast."""
        our_name, ours = _ours(row)
        columns = "".join(f"{column:>{CELL}}" for column in ("median", "min", self._unit, "/ qlite"))
        yield f"{row['case']:{NAME + WHAT + 3}}{columns}"
        for name, what in row["what"].items():
            if name in row["times_us"]:
                times = row["times_us"][name]
                mark = "~" if name in row["differs_by"] else ""
                ratio = "" if name == our_name else f"{times['median'] / ours['median']:.2f}"
                cells = (mark + figure(times["median"]), figure(times["min"]), _speed(row, name), ratio)
                yield f"  {name:{NAME}} {what:{WHAT}}{''.join(f'{cell:>{CELL}}' for cell in cells)}"
            elif name in row["missing"]:
                yield f"  {name:{NAME}} not measured: no module {row['missing'][name]} (pip install '.[bench]')"
            elif name in row["refused"]:
                yield f"  {name:{NAME}} refuses: {row['refused'][name]}"
        for name, difference in row["differs_by"].items():
            yield f"  ~ {name} does not give the same values: off by up to {difference:g}"

    def _summary(self, rows):
        """One line per task."""
        first = f"{'':{LABEL}}{'qlite':^{3 * CELL}}  {'its best peer':^{2 * CELL + 14}}{'others':>11}"
        second = (
            f"{'':{LABEL}}{'median':>{CELL}}{'min':>{CELL}}{self._unit:>{CELL}}"
            f"  {'ratio':>{CELL - 1}} {'target':>{CELL}}  {'peer':14}{'ratio':>6}  {'':{NAME}}goals (target)"
        )
        yield from (first.rstrip(), second, "-" * len(second))
        for row in rows:
            name, ours = _ours(row)
            cells = f"{figure(ours['median']):>{CELL}}{figure(ours['min']):>{CELL}}{_speed(row, name):>{CELL}}"
            ratio, least = row["ratio"], row["ratio"].get("least")
            got = f"{ratio['got']:{CELL - 1}.2f}{_star(ratio)}" if ratio else " " * CELL
            cells += f"  {got}{f'{least:.2f}' if least else '':>{CELL}}  {row['best_peer'] or '':14}"
            other = f"{row['other_ratio']:6.2f}" if row["best_other"] else ""
            cells += f"{other:6}  {row['best_other'] or '':{NAME}}"
            yield f"{row['case']:{LABEL}}{cells}{', '.join(map(_goal, row['goals']))}".rstrip()
        missed = sum(goal["missed"] for row in rows for goal in (row["ratio"], *row["goals"]) if goal)
        absent = ", ".join(sorted({name for row in rows for name in row["missing"]}))
        yield f"* Targets not reached: {missed}" if missed else "All targets are reached"
        if absent:
            yield f"Ratios are those to the peers that are here: without {absent}"


def figure(microseconds):
    """At least three digits, none that only measure noise."""
    digits = 2 if microseconds < 10 else 1 if microseconds < 100 else 0
    return f"{microseconds:,.{digits}f}"


def _ours(row):
    return next(iter(row["times_us"].items()))


def _speed(row, name):
    """10^9 a second of what the contender, or the limit, counts."""
    amount = row["amounts"].get(name)
    if not amount:
        return ""
    unit = row["units"].get(name)
    return f"{amount / row['times_us'][name]['median'] / 1e3:{'.0f' if unit else ',.2f'}} {unit or ''}".rstrip()


def _star(goal):
    return "*" if goal["missed"] else " "


def _goal(goal):
    """A figure and what it was to be; a star where it is not."""
    if goal["least"] is not None:
        return f"{goal['got']:.2f}{_star(goal)}{goal['name']} (>= {goal['least']:.2f})"
    if goal["most"] is not None:
        return f"{goal['got']:.2f}{_star(goal)}{goal['name']} (<= {goal['most']:.2f})"
    return f"{goal['got']:.2f} {goal['name']}"
