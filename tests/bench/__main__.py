"""python -m tests.bench BENCH [--quick] [--json FILE]

A bench is a module of this package with a `BENCH` in it; the first line of its documentation is its help. A new one is
that file and its name here.
"""

import argparse
import importlib
import json
from pathlib import Path

import qlite

from . import harness, report

NAMES = ("gemm",)
SECONDS_PER_ROW = 2.0
SECONDS_PER_ROW_QUICK = 0.2


def main():
    parser = argparse.ArgumentParser("python -m tests.bench", description="qlite and its peers, in turn in one run.")
    commands = parser.add_subparsers(dest="name", required=True, metavar="BENCH")
    for name in NAMES:
        module = importlib.import_module(f"{__package__}.{name}")
        command = commands.add_parser(name, help=module.__doc__.splitlines()[0], description=module.__doc__)
        command.add_argument("--quick", action="store_true", help="a tenth of the time, for a first impression")
        command.add_argument("--json", type=Path, metavar="FILE", help="also write all figures to FILE")
        command.set_defaults(bench=module.BENCH)
    options = parser.parse_args()

    harness.pin_to_one_core()
    qlite.show_config()
    figures = report.run(options.bench, SECONDS_PER_ROW_QUICK if options.quick else SECONDS_PER_ROW)
    if options.json:
        figures = {"bench": options.name, "config": qlite.show_config("dict"), **figures}
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


main()
