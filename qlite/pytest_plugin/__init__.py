"""The pytest plugin: the fixture `qlite_report`, the option --qlite-max-drop, a table at the end of the run.

pytest imports its plugins at every start, in projects that never quantize anything too. `setup.py` therefore installs
this package under the name `pytest_qlite`: inside `qlite` it would import the core first. It imports qlite where the
fixture is used.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

#: The user property of a test's report that holds a row of the table, as JSON. Reports bring their properties from the
#: workers of pytest-xdist, and into JUnit's XML.
PROPERTY = "qlite"
HEAD = ("model", "float", "quantized", "points", "interval", "lost", "gained", "agreement", "samples")


class Recorder:
    """What the fixture `qlite_report` gives to a test."""

    def __init__(self, properties: list[tuple[str, Any]], max_drop: float | None) -> None:
        self._properties = properties
        self._max_drop = max_drop

    def add(self, name: str, model: Any, quantized: Any, x: Any, y: Any) -> Any:
        """Compare the accuracy of two models on labelled samples, for the table at the end of the run.

        Parameters
        ----------
        name : str
            What the table calls it.
        model, quantized, x, y
            See `qlite.compare_accuracy`.

        Returns
        -------
        AccuracyReport

        Raises
        ------
        AssertionError
            The accuracy drops by more than --qlite-max-drop points. The message names the layer that loses most.
        TypeError, ValueError
            `name` is no string; see `qlite.compare_accuracy`.
        """
        __tracebackhide__ = True
        import qlite

        if not isinstance(name, str):
            raise TypeError(f"name: expected a string, got {type(name).__name__}")
        report = qlite.compare_accuracy(model, quantized, x, y)
        self._properties.append((PROPERTY, json.dumps({"name": name} | vars(report))))
        if self._max_drop is not None and report.drop > self._max_drop / 100:
            qlite.testing.assert_accuracy(model, quantized, x, y, max_drop=self._max_drop / 100)
        return report


@pytest.fixture
def qlite_report(request: Any) -> Recorder:
    """Compare models by ``qlite_report.add(name, model, quantized, x, y)``, for a table at the end of the run."""
    return Recorder(request.node.user_properties, request.config.getoption("qlite_max_drop"))


def pytest_addoption(parser: Any) -> None:
    parser.getgroup("qlite").addoption(
        "--qlite-max-drop",
        type=float,
        metavar="POINTS",
        help="fail tests whose qlite_report has a model that loses more percentage points of accuracy",
    )


def pytest_terminal_summary(terminalreporter: Any) -> None:
    rows = [_cells(json.loads(row)) for row in _recorded(terminalreporter.stats)]
    if not rows:
        return
    widths = [max(map(len, column)) for column in zip(HEAD, *rows, strict=True)]
    terminalreporter.section("qlite: accuracy of quantized models")
    for row in (HEAD, *rows):
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        terminalreporter.write_line("  ".join([row[0].ljust(widths[0]), *cells[1:]]))


def _recorded(stats: dict[str, list[Any]]) -> Iterator[str]:
    """The rows of all tests; a report of what comes after a test holds those of its setup and of the test itself."""
    for reports in stats.values():
        for report in reports:
            if getattr(report, "when", None) == "teardown":
                yield from (value for name, value in report.user_properties if name == PROPERTY)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    low, high = (f"{100 * end:+.2f}" for end in row["interval"])
    return (
        row["name"],
        f"{row['float_figure']:.2%}",
        f"{row['figure']:.2%}",
        f"{100 * (row['figure'] - row['float_figure']):+.2f}",
        f"{low} to {high}",
        str(row["lost"]),
        str(row["gained"]),
        f"{row['agreement']:.2%}",
        f"{row['samples']:,}",
    )
