"""python -m tests.bench BENCH [--quick] [--only TEXT] [--json FILE] [--pauses US] [--beside ISA]

A bench is a module of this package with a `BENCH` in it: `report.Bench`, or anything with its `threads` and
`run(quick, only)`. The first line of the module's documentation is its help. A new one is that file and its name here.
"""

import argparse
import importlib
import json
from dataclasses import replace
from pathlib import Path

import qlite

from . import harness
from .report import Bench

NAMES = ("gemm", "linear", "int4", "conv", "overhead", "memory", "threads", "arrays", "activations", "calibration")
NAMES += ("train", "networks", "networks_float", "layers")


def main():
    parser = argparse.ArgumentParser("python -m tests.bench", description="qlite and its peers, in turn in one run.")
    commands = parser.add_subparsers(dest="name", required=True, metavar="BENCH")
    for name in NAMES:
        module = importlib.import_module(f"{__package__}.{name}")
        command = commands.add_parser(name, help=module.__doc__.splitlines()[0], description=module.__doc__)
        command.add_argument("--quick", action="store_true", help="less time, for a first impression")
        command.add_argument("--only", default="", metavar="TEXT", help="only what has this in its label")
        command.add_argument("--json", type=Path, metavar="FILE", help="also write all figures to FILE")
        command.set_defaults(bench=module.BENCH)
        if isinstance(module.BENCH, Bench):
            command.add_argument("--pauses", type=float, default=0, metavar="US", help="microseconds between two calls")
            command.add_argument("--beside", metavar="ISA", help="also time qlite with QLITE_ISA=ISA")
    options = parser.parse_args()

    bench = options.bench
    if isinstance(bench, Bench):
        bench = replace(bench, pause=options.pauses * 1e-6, beside=options.beside)
    harness.pin(bench.threads)
    qlite.show_config()
    figures = bench.run(options.quick, options.only)
    if options.json:
        figures = {"bench": options.name, "config": qlite.show_config("dict"), **figures}
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


main()
