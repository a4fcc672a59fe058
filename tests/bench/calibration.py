"""Calibrating on a stream: time and memory from 100 batches of 10^6 values to a grid.

Each contender runs in a process of its own, which makes the batches before it starts the clock; its memory is what the
peak rises by from there. All contenders take turns, several times. Then qlite sees ten times as many values.
"""

import json
import subprocess
import sys
from statistics import median

from . import harness, works_calibration
from .works_calibration import BATCHES, CONTENDERS, REPEATS, SIZE, STREAM

ROUNDS = 3
SECONDS, MEBIBYTES = 0.1, 10.0  # that the state and every method's answer may take
STREAM_MEBIBYTES = 8.0  # that a stream of REPEATS times as many values may take


class CalibrationBench:
    """See the module."""

    threads = 1

    def run(self, quick, only):
        """Measure and print every contender whose name holds `only`; return the figures."""
        names = [name for name in CONTENDERS if only in name]
        missing = {name: module for name in names if (module := _missing(name))}
        names = [name for name in names if name not in missing]
        print(f"\nCalibrating on {BATCHES} batches of {SIZE:,} float32. One thread; medians of rounds.\n")
        rounds = [{name: _in_process(name) for name in names} for _ in range(1 if quick else ROUNDS)]
        header = f"{'':18}{'ms':>9}{'fastest':>9}{'MiB more':>10}   of which ms"
        print(f"{header}\n{'-' * (len(header) + 30)}")
        rows = [_row(name, [results[name] for results in rounds]) for name in names]
        for row in rows:
            parts = ", ".join(f"{name} {1e3 * seconds:,.1f}" for name, seconds in row["parts"].items())
            print(
                f"{row['case']:18}{1e3 * row['median']:9,.1f}{1e3 * row['min']:9,.1f}{row['mebibytes']:10.1f}   {parts}"
            )
        print()
        for row in rows:
            print(f"{row['case']:18}{CONTENDERS[row['case']][0]}")
        for name, module in missing.items():
            print(f"{name}: not measured, there is no module {module} (pip install '.[bench]')")
        figures = {"title": "Calibration", "rows": rows, "missing": missing}
        if "qlite" in names:
            print("\n" + "\n".join(_promises(rows[names.index("qlite")], stream := _in_process(STREAM))))
            figures["stream"] = stream
        return figures


def _missing(name):
    _, module, make = CONTENDERS[name]
    return harness.Contender(name, "", (module,), make).missing()


def _row(name, results):
    totals = [sum(result["parts"].values()) for result in results]
    middle = min(results, key=lambda result: abs(sum(result["parts"].values()) - median(totals)))
    return {
        "case": name,
        "median": median(totals),
        "min": min(totals),
        "mebibytes": max(result["mebibytes"] for result in results),
        "parts": middle["parts"],
    }


def _promises(row, stream):
    values = f"{BATCHES * SIZE:,}"
    for text, got, most in (
        (f"seconds for {values} values and every method's answer", row["median"], SECONDS),
        ("MiB more", row["mebibytes"], MEBIBYTES),
        (f"MiB more over {REPEATS} times {values} values", stream["mebibytes"], STREAM_MEBIBYTES),
    ):
        yield f"{text:65}{got:8.3f}, target {most:5.2f}: {'reached' if got <= most else 'not reached'}"


def _in_process(name):
    """The parts' seconds and the memory of one contender in a process of its own."""
    command = [sys.executable, works_calibration.__file__, name]  # by its path: see tests/__init__.py
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


BENCH = CalibrationBench()
