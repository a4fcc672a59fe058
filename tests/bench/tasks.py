"""A bench whose tasks each have contenders of their own: a block per task, and all targets in one table at the end."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from . import harness
from .report import CELL, best_of, figure, measure, seconds_per_row

NAME, WHAT = 14, 54
SHARE = 0.75  # of the speed of memory that every task is to reach which it bounds


@dataclass(frozen=True)
class Task:
    """What is computed from what `case()` makes, and by whom.

    Peers have a function for it; recipes are several calls of a peer that together do the same. `target` is the ratio
    to the best peer that ours is to reach. `memory` names the speed, "read" or "copy", that bounds a task on data
    beyond the caches of one core: that of reading or copying as many float32 values.
    """

    label: str
    case: Callable[[], Any]
    values: int
    ours: harness.Contender
    peers: tuple[harness.Contender, ...] = ()
    recipes: tuple[harness.Contender, ...] = ()
    target: float | None = None
    memory: str | None = None


@dataclass(frozen=True)
class TaskBench:
    title: str
    tasks: Iterable[Task]
    notes: tuple[str, ...] = ()

    def run(self, quick, only):
        """Measure and print every task whose label holds `only`; return the figures."""
        print(f"\n{self.title}\nOne thread; microseconds per call; Ge/s = 10^9 values a second.")
        rows, versions = [], {}
        for task in (task for task in self.tasks if only in task.label):
            everybody = (task.ours, *task.peers, *task.recipes)
            missing = {contender.name: module for contender in everybody if (module := contender.missing())}
            contenders = [contender for contender in everybody if contender.name not in missing]
            versions.update((contender.modules[0], contender.version()) for contender in contenders)
            speeds = harness.memory_speed(task.values) if task.memory else {}
            yardsticks = {task.memory: speeds[task.memory]} if task.memory else {}
            row = _row(task, measure(contenders, task.case(), seconds_per_row(quick), yardsticks))
            rows.append({**row, "missing": missing})
            print("\n" + "\n".join(_block(task, rows[-1])), flush=True)
        print("\n" + "\n".join(_summary(rows)))
        print("\n" + ", ".join(f"{module} {version}" for module, version in versions.items()))
        for note in self.notes:
            print(note)
        return {"title": self.title, "versions": versions, "rows": rows}


def _row(task, measured):
    times, ours = measured["times_us"], task.ours.name
    ratio, peer = best_of([peer.name for peer in task.peers], ours, times)
    recipe_ratio, recipe = best_of([recipe.name for recipe in task.recipes], ours, times)
    share = times[task.memory]["median"] / times[ours]["median"] if task.memory else None
    return {
        "case": task.label,
        **measured,
        "best_peer": peer,
        "ratio": ratio,
        "target": task.target,
        "best_recipe": recipe,
        "recipe_ratio": recipe_ratio,
        "memory": task.memory,
        "share": share,
        "share_target": SHARE if task.memory else None,
        "values": task.values,
        "what": {contender.name: contender.what for contender in (task.ours, *task.peers, *task.recipes)},
    }


def _block(task, row):
    """The lines of one task: who, how, and how fast."""
    ours = row["times_us"][task.ours.name]["median"]
    yield f"{task.label:{NAME + WHAT + 3}}{'median':>{CELL}}{'min':>{CELL}}{'Ge/s':>{CELL}}{'/ qlite':>{CELL}}"
    lines = {**row["what"], task.memory: f"this machine's fastest {task.memory} of the values as float32"}
    for name, what in lines.items():
        if name in row["times_us"]:
            times = row["times_us"][name]
            mark = "~" if name in row["differs_by"] else ""
            ratio = "" if name == task.ours.name else f"{times['median'] / ours:.2f}"
            speed = row["values"] / times["median"] / 1e3
            cells = (mark + figure(times["median"]), figure(times["min"]), f"{speed:.2f}", ratio)
            yield f"  {name:{NAME}} {what:{WHAT}}{''.join(f'{cell:>{CELL}}' for cell in cells)}"
        elif name in row["missing"]:
            yield f"  {name:{NAME}} not measured, there is no module {row['missing'][name]}"
        elif name in row["refused"]:
            yield f"  {name:{NAME}} refuses: {row['refused'][name]}"
    for name, difference in row["differs_by"].items():
        yield f"  ~ {name} does not give the same values: off by up to {difference:g}"


def _summary(rows):
    """One line per task."""
    first = f"{'':41}{'qlite':^{3 * CELL}}  {'its best peer':^26}{'a recipe':^26} speed of memory"
    second = (
        f"{'':41}{'median':>{CELL}}{'min':>{CELL}}{'Ge/s':>{CELL}}"
        f"  {'ratio':>{CELL}}{'target':>{CELL}}  {'peer':12}{'ratio':>6}  {'peer':12}  {'share':>7}{'target':>8}"
    )
    yield from (first.rstrip(), second, "-" * len(second))
    for row in rows:
        ours = next(iter(row["times_us"].values()))
        speed = row["values"] / ours["median"] / 1e3
        cells = f"{figure(ours['median']):>{CELL}}{figure(ours['min']):>{CELL}}{speed:{CELL}.2f}"
        cells += f"  {_reached(row['ratio'], row['target'], CELL)}  {row['best_peer'] or '':12}"
        recipe = row["best_recipe"]
        cells += f"{row['recipe_ratio']:6.2f}  {recipe:12}" if recipe else f"{'':20}"
        cells += f"  {_reached(row['share'], row['share_target'], 7)} {row['memory'] or ''}"
        yield f"{row['case']:41}{cells}".rstrip()
    misses = sum(
        got is not None and target is not None and got < target
        for row in rows
        for got, target in ((row["ratio"], row["target"]), (row["share"], row["share_target"]))
    )
    yield f"* Targets not reached: {misses}" if misses else "All targets are reached"


def _reached(got, target, width):
    """A figure and what it was to be; a star where it is not."""
    if got is None:
        return " " * (2 * width)
    star = "*" if target is not None and got < target else " "
    return f"{got:{width - 1}.2f}{star}{'' if target is None else f'{target:.2f}':>{width}}"
