"""python -m tests.verify VERIFIER

A verifier is a module of this package with a `verify(checks)` in it; the first line of its documentation is its help. A
new one is that file and its name here. The exit status is 1 if a promise is not kept.
"""

import argparse
import importlib

import qlite

from .checks import Checks

NAMES = ("theory", "kmeans")


def main():
    parser = argparse.ArgumentParser("python -m tests.verify", description="Whether qlite keeps its promises.")
    commands = parser.add_subparsers(required=True, metavar="VERIFIER")
    for name in NAMES:
        module = importlib.import_module(f"{__package__}.{name}")
        command = commands.add_parser(name, help=module.__doc__.splitlines()[0], description=module.__doc__)
        command.set_defaults(verify=module.verify)
    options = parser.parse_args()

    qlite.show_config()
    checks = Checks()
    options.verify(checks)
    raise SystemExit(checks.conclude())


main()
