"""python -m tests.verify VERIFIER [--isa ISA]...

A verifier is a module of this package with a `verify(checks)` in it, or a `verify(checks, isas)` if it goes through the
instruction sets, or a `verify(checks, models)` if it goes through folders of files, or a `verify(checks, python)` if it
needs the Python of another machine; the first line of its documentation is its help. A new one is that file and its
name here. The exit status is 1 if a promise is not kept.
"""

import argparse
import importlib
import sys
import time
from pathlib import Path

import qlite

from .checks import Checks

NAMES = ("theory", "kmeans", "gradients", "layers", "training", "qat", "generalization", "quotients")
ON_FILES = ("tflite",)
ON_OTHERS = ("aarch64",)
ON_ISAS = ("products", "lanes", "shapes", "deepk", "int4", "threads")

sys.path.append(str(Path(__file__).resolve().parents[1]))  # reference, arrays and guard, as pytest's pythonpath has it


def main():
    parser = argparse.ArgumentParser("python -m tests.verify", description="Whether qlite keeps its promises.")
    commands = parser.add_subparsers(required=True, metavar="VERIFIER")
    runnable = qlite.show_config("dict")["isas_runnable"]
    for name in NAMES + ON_FILES + ON_OTHERS + ON_ISAS:
        module = importlib.import_module(f"{__package__}.{name}")
        command = commands.add_parser(name, help=module.__doc__.splitlines()[0], description=module.__doc__)
        command.set_defaults(verify=module.verify, isa=None)
        if name in ON_FILES:
            command.add_argument("--models", action="append", metavar="DIR", help="folder of files; may be repeated")
        if name in ON_OTHERS:
            command.add_argument("--python", required=True, metavar="PATH", help="as .ci/arm litert makes it")
        if name in ON_ISAS:
            command.add_argument("--isa", action="append", choices=runnable, help="only on this one; may be repeated")
            command.set_defaults(isas=runnable)
    options = parser.parse_args()

    qlite.show_config()
    checks = Checks()
    start = time.perf_counter()
    isas = options.isa or getattr(options, "isas", None)
    places = [isas, getattr(options, "models", None), getattr(options, "python", None)]
    options.verify(checks, *(value for value in places if value is not None))
    print(f"\n{time.perf_counter() - start:.0f} s", end="")
    raise SystemExit(checks.conclude())


main()
