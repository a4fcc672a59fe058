"""The command line: `qlite demo` and `qlite info`."""

import argparse
import os
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0, 1 if a check of the demo fails, 2 for an error of the user's.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after the program's name; those of the process by default.
    """
    options = _parser().parse_args(argv)
    try:
        status = options.run(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader, such as `head`, has seen enough; there is nothing left to flush at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, ImportError) as error:
        print(f"qlite: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="qlite", description="Quantization for people who work in NumPy.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(required=True, dest="command", title="commands")

    demo = commands.add_parser(
        "demo",
        help="train a network on handwritten digits, quantize it, show what that costs and gives",
        description="Train a float network on handwritten digits with scikit-learn, quantize it to 8 bits in four "
        "ways, and show loss, accuracy, size and speed next to float. Exit status 1 if a check fails. Needs the extra "
        "'demo'.",
    )
    demo.add_argument(
        "--data", metavar="DIR", help="folder with MNIST-format IDX files, gzipped or not (default: bundled digits)"
    )
    demo.add_argument("--seed", metavar="N", type=_seed, default=0, help="of the split and the training (default: 0)")
    demo.add_argument("--out", metavar="DIR", help="keep the model files, the printed text and pictures in this folder")
    demo.set_defaults(run=_demo)

    info = commands.add_parser(
        "info",
        help="show versions, CPU features, and which instruction set serves each kernel",
        description="Show how qlite was built and what serves it on this machine; the same as qlite.show_config().",
    )
    info.set_defaults(run=_info)
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from qlite.config import version

        print(f"qlite {version()}")
        parser.exit()


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 1 << 32:
        raise argparse.ArgumentTypeError(f"expected an integer from 0 to {(1 << 32) - 1}, got {text!r}")
    return int(text)


def _demo(options: argparse.Namespace) -> int:
    from qlite.demo import run_demo

    return 0 if run_demo(options.data, seed=options.seed, out=options.out) else 1


def _info(_: argparse.Namespace) -> int:
    from qlite.config import show_config

    show_config()
    return 0
