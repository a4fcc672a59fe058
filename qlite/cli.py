"""The command line: `qlite demo`, `qlite quantize`, `qlite convert`, `qlite inspect` and `qlite info`."""

import argparse
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any


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
    except (TypeError, ValueError, OverflowError, OSError, ImportError) as error:
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
        description="Train a float network on handwritten digits, quantize it to 8 bits in four ways, train it on with "
        "quantization in the loop in 8, 4 and 2 bits, and show loss, accuracy, size and speed next to float. Exit "
        "status 1 if a check fails. Needs the extra 'demo'.",
    )
    demo.add_argument(
        "--data",
        metavar="DIR",
        help="folder with MNIST-format IDX files, gzipped or not, or with Keras' mnist.npz (default: bundled digits)",
    )
    demo.add_argument(
        "--model",
        choices=("dense", "cnn"),
        default="dense",
        help="a network of dense layers, or of convolutions, pools and a dense layer (default: %(default)s)",
    )
    demo.add_argument("--seed", metavar="N", type=_seed, default=0, help="of the split and the training (default: 0)")
    demo.add_argument("--out", metavar="DIR", help="keep the model files, the printed text and pictures in this folder")
    demo.set_defaults(run=_demo)

    _add_quantize(commands)
    _add_tflite(commands)

    info = commands.add_parser(
        "info",
        help="show versions, CPU features, and which instruction set serves each kernel",
        description="Show how qlite was built and what serves it on this machine; the same as qlite.show_config().",
    )
    info.set_defaults(run=_info)
    return parser


def _add_quantize(commands: Any) -> None:
    quantize = commands.add_parser(
        "quantize",
        help="quantize a folder of safetensors shards, tensor by tensor",
        description="Quantize the weights of a checkpoint, a folder of safetensors shards or one such file, into a new "
        "folder that qlite.load() opens. Needs memory for its largest tensor alone. After an interruption the same "
        "command does what is missing. Exit status 2 if a shard or a tensor is bad; all others are done then.",
    )
    quantize.add_argument("src", metavar="SRC", help="folder of *.safetensors, or one such file")
    quantize.add_argument("dst", metavar="DST", help="folder for the result: a new one, or that of an unfinished run")
    quantize.add_argument(
        "--scheme", metavar="NAME", help="w<bits>[g<group>], such as w4g32 (default: w8, or the width of the grid)"
    )
    quantize.add_argument(
        "--method",
        metavar="NAME",
        default="minmax",
        help="how ranges are chosen: minmax, percentile, mse or entropy (default: %(default)s)",
    )
    quantize.add_argument(
        "--grid", metavar="NAME", default="uniform", help="uniform, nf4, fp4, mxfp4, kmeans, ... (default: %(default)s)"
    )
    quantize.add_argument(
        "--symmetric",
        action=argparse.BooleanOptionalAction,
        help="whether zero is the middle code (default: from 8 bits on)",
    )
    quantize.add_argument(
        "--scale-dtype", metavar="NAME", help="float32, float16, e8m0, uint8 or fp8_e4m3 (default: the grid's)"
    )
    quantize.add_argument(
        "--axis",
        metavar="N",
        type=int,
        default=0,
        help="the axis that keeps a scale per index (default: %(default)s, the outputs in files of PyTorch)",
    )
    quantize.add_argument(
        "--skip",
        metavar="PATTERN",
        action="append",
        default=[],
        help="copy tensors of such a name, for example 'lm_head.*'; may be repeated",
    )
    quantize.add_argument(
        "--saturate", action="store_true", help="clip infinities and zero NaN instead of refusing their tensors"
    )
    quantize.add_argument(
        "--follow-links",
        action="store_true",
        help="read shards that are symbolic links, as in the cache of the Hugging Face hub",
    )
    quantize.set_defaults(run=_quantize)


def _add_tflite(commands: Any) -> None:
    convert = commands.add_parser(
        "convert",
        help="quantize a TensorFlow Lite file of floats",
        description="Quantize the network of a TensorFlow Lite file of floats and write it as one of integers, with "
        "floats in and out. Needs the extra 'tflite'.",
    )
    convert.add_argument("src", metavar="SRC", help="a TensorFlow Lite file of floats")
    convert.add_argument("dst", metavar="DST", help="the file to write")
    convert.add_argument(
        "--data",
        metavar="X.npy",
        required=True,
        help="samples to calibrate with, (samples, ...), floats as in training; an .npz of several inputs by name",
    )
    convert.add_argument(
        "--scheme", metavar="NAME", default="w8a8", help="widths of codes, such as w8a8 and w4a8 (default: %(default)s)"
    )
    convert.add_argument(
        "--method", metavar="NAME", default="auto", help="how ranges are chosen (default: %(default)s)"
    )
    convert.add_argument(
        "--report",
        action="store_true",
        help="print what the bytes of both files hold, how ranges were chosen, and the outputs' SQNR on the samples",
    )
    convert.set_defaults(run=_convert)

    inspect = commands.add_parser(
        "inspect",
        help="show what a TensorFlow Lite file holds",
        description="Show the operators of a TensorFlow Lite file with the shapes, dtypes and scales of their results. "
        "Needs the extra 'tflite'.",
    )
    inspect.add_argument("path", metavar="FILE")
    inspect.set_defaults(run=_inspect)


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

    return 0 if run_demo(options.data, model=options.model, seed=options.seed, out=options.out) else 1


def _quantize(options: argparse.Namespace) -> int:
    from qlite.io.checkpoint import quantize_checkpoint

    summary = quantize_checkpoint(
        options.src,
        options.dst,
        options.scheme,
        method=options.method,
        grid=options.grid,
        axis=options.axis,
        symmetric=options.symmetric,
        scale_dtype=options.scale_dtype,
        nonfinite="saturate" if options.saturate else "raise",
        skip=options.skip,
        follow_links=options.follow_links,
    )
    print(summary)
    return 0


def _convert(options: argparse.Namespace) -> int:
    from qlite.io.tflite import from_tflite
    from qlite.nn.model import Model
    from qlite.nn.quantize import quantize_model
    from qlite.nn.scheme import Scheme

    model = from_tflite(options.src)
    if not isinstance(model, Model):
        raise ValueError(f"{options.src}: expected a file of floats, got one of integers")
    samples = _samples(options.data, model.dtypes)
    scheme = Scheme.of_model(options.scheme)
    if not scheme.is_static or scheme.group_size is not None or scheme.activation_bits != 8:
        raise ValueError(
            f"--scheme: expected activations of 8 bits and no groups, such as 'w8a8' or 'w4a8', got {options.scheme!r}"
        )
    with warnings.catch_warnings(record=True, action="always") as doubts:
        quantized = quantize_model(model, options.scheme, samples, target="tflite", method=options.method)
    for doubt in doubts:
        print(f"qlite: warning: {doubt.message}", file=sys.stderr)
    quantized.to_tflite(options.dst, dtype="float32")
    if options.report:
        print(_compared_sizes(options.src, options.dst))
        print(f"scheme {quantized.scheme}, {quantized.calibration}")
        results = (y if isinstance(y, tuple) else (y,) for y in (model(samples), quantized(samples)))
        for name, exact, rounded in zip(quantized.outputs, *results, strict=True):
            print(f"{name}: median SQNR {median_sqnr(exact, rounded):.1f} dB")
    return 0


def _compared_sizes(src: str, dst: str) -> str:
    """What the bytes of both files are for: in small networks scales and the new operators outweigh the weights."""
    from qlite.io.tflite.file import measured

    before, after = measured(src), measured(dst)
    rows = {
        "bytes": (before.total, after.total),
        "  weights and other constants": (before.constants, after.constants),
        "  scales and zero points": (before.grids, after.grids),
        "  names, shapes, operators": (before.rest, after.rest),
        "operators": (before.operators, after.operators),
    }
    return "\n".join(f"{what}: {a:,} -> {b:,}" for what, (a, b) in rows.items())


def _samples(path: str, dtypes: Mapping[str, str]) -> Any:
    """An array, or several by the names of their inputs."""
    import zipfile
    import zlib

    import numpy as np

    try:
        with open(path, "rb") as file:
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                return _expect_floats(path, content, next(iter(dtypes.values())))
            return {name: _expect_floats(path, content[name], dtypes.get(name)) for name in content}
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        raise ValueError(f"{path}: expected an array or arrays that NumPy saved, .npy or .npz") from None


def _expect_floats(path: str, array: Any, dtype: str | None) -> Any:
    """Refuse whole numbers, such as pixels before they were scaled, for an input of floats."""
    if array.dtype.kind in "biu" and dtype != "int32":
        raise TypeError(f"{path}: expected floats, got {array.dtype}: save x.astype(np.float32), scaled as in training")
    return array


def median_sqnr(exact: Any, rounded: Any) -> float:
    """Signal over error of each sample in dB, the median of them."""
    import numpy as np

    signal, error = (np.square(a, dtype=np.float64).reshape(len(a), -1).sum(axis=1) for a in (exact, exact - rounded))
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.median(np.where(error == 0, np.inf, 10 * np.log10(signal / error))))


def _inspect(options: argparse.Namespace) -> int:
    from qlite.io.tflite.file import inspected

    print(inspected(options.path))
    return 0


def _info(_: argparse.Namespace) -> int:
    from qlite.config import show_config

    show_config()
    return 0
