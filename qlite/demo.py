"""The demonstration behind `qlite demo`: a network is trained, quantized in four ways, measured and checked."""

import importlib
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import qlite as ql
from qlite import metrics
from qlite.nn.model import Model

#: What the float network becomes: scheme, target, what it means.
NETWORKS = {
    "w8a8": ("w8a8", "numpy", "weights and activations in 8 bits; a scale per layer, found on training data"),
    "w8a8 tflite": ("w8a8", "tflite", "the same under TensorFlow Lite's conventions: int8 from end to end"),
    "dynamic": ("dynamic", "numpy", "as w8a8, with a scale per sample that is found at run time: no data needed"),
    "w8": ("w8", "numpy", "weights in 8 bits, activations in float32"),
}
HIDDEN = (128, 64)
HELD_OUT = 0.25
CALIBRATION_ROWS = 1024
#: The training looks at so many samples in all, within bounds: 60 epochs of the digits, 10 of MNIST.
TRAINED_SAMPLES, EPOCHS = 600_000, (10, 60)

BATCHES = (1, 256)
#: A figure of time is the median of so many repetitions, each of at least so many seconds; the networks take turns.
REPETITIONS, REPETITION_TIME = 31, 1e-3

MAX_DROP = 0.5  # percentage points
MIN_AGREEMENT = 99.0  # percent
MAX_FILE_SHARE, FILE_OVERHEAD = 0.28, 4096  # of the float32 weights' bytes; bytes
THREAD_CALLS, THREAD_ROWS = 100, 512


@dataclass
class Measured:
    """What one network costs and gives; shares in percent."""

    loss: float
    accuracy: float
    recall: float
    agreement: float
    sqnr_db: float
    nbytes: int
    microseconds: dict[int, float] = field(default_factory=dict)


def run_demo(data: Any = None, *, seed: int = 0, out: Any = None) -> bool:
    """Train a float network on handwritten digits, quantize it, print what that costs and gives, and check it.

    The network, features-128-64-classes with relu, is trained by scikit-learn. It becomes w8a8 for the targets numpy
    and tflite, dynamic and w8. Each is evaluated on held-out samples, saved, and timed in turn with the float network
    in plain NumPy on one thread.

    Parameters
    ----------
    data : path-like, optional
        Folder with the four IDX files of MNIST or of a data set in its format; scikit-learn's bundled 8 x 8 digits by
        default, of which a quarter is held out, stratified.
    seed : int
        Of the split, the first weights and the order of training: 0 to 2**32 - 1.
    out : path-like, optional
        Folder for the model files, the printed text and the pictures; made if need be. By default nothing is kept.

    Returns
    -------
    bool
        Whether all checks hold: accuracy, agreement, size, the same bits after loading and from two threads.

    Raises
    ------
    ImportError
        A package is missing; the message names the extra that brings it.
    OSError, ValueError
        `data` or `out` cannot be used.
    """
    _need("sklearn", "scikit-learn", "demo")
    lines: list[str] = []

    def say(text: str = "") -> None:
        lines.extend(text.splitlines() or [""])
        print(text, flush=True)

    with tempfile.TemporaryDirectory() if out is None else _folder(out) as folder:
        config: Any = ql.show_config("dict")
        say(f"qlite {config['qlite']} on {config['isa_active']}: a float network goes in, integer networks come out\n")
        what, x, y, x_test, y_test = _digits(seed) if data is None else _idx(data)
        say(f"data     {what}; {len(x):,} samples to train with, {len(x_test):,} held out")
        model = _train(x, y, np.unique(np.concatenate([y, y_test])), seed, say)
        sample = x[np.random.default_rng(seed).permutation(len(x))[:CALIBRATION_ROWS]]
        networks = {
            name: ql.quantize_model(model, scheme, data=sample if scheme == "w8a8" else None, target=target)
            for name, (scheme, target, _) in NETWORKS.items()
        }
        say("\n".join(f"{name:13}{meaning}" for name, (*_, meaning) in NETWORKS.items()) + "\n")

        paths = {name: Path(folder) / f"{name.replace(' ', '_')}.qlite" for name in networks}
        for name, network in networks.items():
            network.save(paths[name])
        with _one_thread() as threads:
            report = ql.compare(model, networks["w8a8"], x_test)
            times = _times({"float32": _plain(model), **networks}, x_test)
        results = {"float32": _measure(model, model, x_test, y_test, sum(la.weight.nbytes for la in model.layers))}
        for name, network in networks.items():
            results[name] = _measure(network, model, x_test, y_test, paths[name].stat().st_size)
        for name, microseconds in times.items():
            results[name].microseconds = microseconds
        say(_table(results))
        say(f"\nfloat32: bytes of the weights alone, time of three lines of NumPy. Timed in turn, {threads}.")
        say(f"\nw8a8, layer by layer, on the {len(x_test):,} held-out samples:\n{report}\n\nchecks")
        checks = _checks(results, networks["w8a8"], paths["w8a8"], x_test)
        width = max(len(what) for _, what, _ in checks)
        say("\n".join(f"  {'ok' if ok else 'FAILED':6}  {what:{width}}  {figure}" for ok, what, figure in checks))
        if out is not None:
            report.plot().savefig(Path(folder) / "report.png", dpi=150)
            first = networks["w8a8"].weights[model.names[0]]
            first.plot(model.layers[0].weight).savefig(Path(folder) / "first_weights.png", dpi=150)
            (Path(folder) / "report.txt").write_text("\n".join([*lines, ""]), encoding="utf-8")
            print(f"\nmodels, pictures and this text: {folder}")
    return all(ok for ok, *_ in checks)


def _need(module: str, package: str, extra: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"demo: {package} is missing ({error}): pip install 'qlite-quant[{extra}]'") from error


@contextmanager
def _folder(out: Any) -> Iterator[Path]:
    _need("matplotlib", "matplotlib", "demo")
    importlib.import_module("matplotlib").use("agg")  # files, no windows
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(f"out: expected a folder, got {out}") from None
    yield Path(out)


def _digits(seed: int) -> tuple[str, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    x, x_test, y, y_test = train_test_split(x, y, test_size=HELD_OUT, stratify=y, random_state=seed)
    return "scikit-learn's handwritten digits, 8 x 8 pixels", x, y, x_test, y_test


def _idx(data: Any) -> tuple[str, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    from qlite.io.idx import load_mnist

    x, y, x_test, y_test = load_mnist(data)
    classes = len(np.unique(y))
    if classes < 2 or not len(x_test):
        raise ValueError(
            f"{data}: expected at least 2 classes to train with and 1 image to test with, "
            f"got {classes} and {len(x_test)}"
        )
    return f"{data}, {x.shape[1]:,} pixels", x, y, x_test, y_test


def _train(x: np.ndarray, y: np.ndarray, classes: np.ndarray, seed: int, say: Callable[[str], None]) -> ql.Sequential:
    from sklearn.neural_network import MLPClassifier

    epochs = int(np.clip(TRAINED_SAMPLES // len(x), *EPOCHS))
    # Given a number, every call of partial_fit would shuffle in the same order.
    classifier = MLPClassifier(HIDDEN, random_state=np.random.RandomState(seed))
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Training interrupted")  # scikit-learn catches Ctrl-C, warns and goes on
        try:
            for _ in _progress(range(epochs), "training"):
                classifier.partial_fit(x, y, classes=classes)
        except UserWarning:
            raise KeyboardInterrupt from None
    seconds = time.perf_counter() - start
    model = ql.from_sklearn(classifier)
    widths = "-".join(str(n) for n in (model.in_features, *(len(layer.bias) for layer in model.layers)))
    say(f"network  {widths} with relu, trained by scikit-learn: {epochs} epochs, seed {seed}, {seconds:.1f} s\n")
    return model


def _progress(steps: Iterable[int], what: str) -> Iterable[int]:
    """Iterate under a progress bar, which shows on a terminal, after a second, and goes when it is done."""
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return steps
    return tqdm(steps, desc=what, delay=1, leave=False, disable=None)


def _plain(model: ql.Sequential) -> Callable[[np.ndarray], np.ndarray]:
    """The float network as one would write it in NumPy."""
    (w1, b1), (w2, b2), (w3, b3) = ((layer.weight, layer.bias) for layer in model.layers)

    def forward(x: np.ndarray) -> np.ndarray:
        h = np.maximum(x @ w1 + b1, 0)
        h = np.maximum(h @ w2 + b2, 0)
        return h @ w3 + b3

    return forward


@contextmanager
def _one_thread() -> Iterator[str]:
    """Hold NumPy to one thread, as qlite is; yields what has come of it, in words."""
    from threadpoolctl import threadpool_info, threadpool_limits  # comes with scikit-learn

    with threadpool_limits(1):
        held = any(library["user_api"] == "blas" for library in threadpool_info())  # not those of every system
        yield "all on one thread" if held else f"NumPy on up to {os.cpu_count()} threads, the others on one"


def _times(networks: dict[str, Callable[[np.ndarray], Any]], x: np.ndarray) -> dict[str, dict[int, float]]:
    """Microseconds per sample, by network and batch."""
    result: dict[str, dict[int, float]] = {name: {} for name in networks}
    for batch in BATCHES:
        samples = np.resize(x, (batch, x.shape[1]))  # repeated where there are fewer
        calls = {name: 1 for name in networks}
        for name, network in networks.items():
            while _seconds(network, samples, calls[name]) < REPETITION_TIME:
                calls[name] *= 2
        seen: dict[str, list[float]] = {name: [] for name in networks}
        for _ in range(REPETITIONS):
            for name, network in networks.items():
                seen[name].append(_seconds(network, samples, calls[name]) / (calls[name] * batch))
        for name, seconds in seen.items():
            result[name][batch] = 1e6 * float(np.median(seconds))
    return result


def _seconds(network: Callable[[np.ndarray], Any], samples: np.ndarray, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        network(samples)
    return time.perf_counter() - start


def _measure(network: Model, model: ql.Sequential, x: np.ndarray, y: np.ndarray, nbytes: int) -> Measured:
    figures = network.evaluate(x, y, ("cross_entropy", "accuracy", "recall"))
    return Measured(
        loss=figures["cross_entropy"],
        accuracy=100 * figures["accuracy"],
        recall=100 * figures["recall"],
        agreement=100 * metrics.accuracy(model.predict(x), network.predict(x)),
        sqnr_db=metrics.sqnr_db(model(x), network(x)),
        nbytes=nbytes,
    )


def _table(results: dict[str, Measured]) -> str:
    """A column for each network: there are more figures than networks, and they need room for their names."""
    every = base, *others = list(results.values())
    rows = [
        ["", *results],
        ["loss (cross-entropy)", *(f"{r.loss:.4f}" for r in every)],
        ["accuracy, %", *(f"{r.accuracy:.2f}" for r in every)],
        ["recall (macro), %", *(f"{r.recall:.2f}" for r in every)],
        ["agreement with float, %", "-", *(f"{r.agreement:.2f}" for r in others)],
        ["logit SQNR, dB", "-", *(f"{r.sqnr_db:.1f}" for r in others)],
        ["bytes on disk", *(f"{r.nbytes:,}" for r in every)],
        ["  smaller by", "-", *(f"{base.nbytes / r.nbytes:.1f}x" for r in others)],
    ]
    for batch in BATCHES:
        times = [r.microseconds[batch] for r in every]
        rows.append([f"us/sample, batch {batch}", *(f"{t:.3g}" for t in times)])
        rows.append(["  faster by", "-", *(f"{times[0] / t:.1f}x" for t in times[1:])])
    label, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    return "\n".join(
        "  ".join([row[0].ljust(label), *(c.rjust(w) for c, w in zip(row[1:], widths, strict=True))]) for row in rows
    )


def _checks(results: dict[str, Measured], network: ql.QModel, path: Path, x: np.ndarray) -> list[tuple[bool, str, str]]:
    """Whether each check holds, what it is, and its figure: the worst of the networks with integer activations."""
    base = results["float32"]
    integer = {name: r for name, r in results.items() if name not in ("float32", "w8")}
    drop, first = max((base.accuracy - r.accuracy, name) for name, r in integer.items())
    agreement, second = min((r.agreement, name) for name, r in integer.items())
    nbytes, third = max((r.nbytes, name) for name, r in integer.items())
    limit = int(MAX_FILE_SHARE * base.nbytes + FILE_OVERHEAD)
    size = f"file at most {MAX_FILE_SHARE:.0%} of the float32 weights + {FILE_OVERHEAD >> 10} KiB"
    loaded = ql.load(path)(x).tobytes() == network(x).tobytes()
    equal, calls = _two_threads(network, x[:THREAD_ROWS])
    return [
        (round(drop, 6) <= MAX_DROP, f"accuracy at most {MAX_DROP} points below float", f"{drop:.2f} ({first})"),
        (agreement >= MIN_AGREEMENT, f"agreement at least {MIN_AGREEMENT:g} %", f"{agreement:.2f} % ({second})"),
        (nbytes <= limit, size, f"{nbytes:,} of {limit:,} bytes ({third})"),
        (loaded, "same bits from the saved and loaded w8a8 model", f"{len(x):,} samples"),
        (equal == calls, "same bits from two threads that share it", f"{equal} of {calls} calls"),
    ]


def _two_threads(network: ql.QModel, x: np.ndarray) -> tuple[int, int]:
    """How many calls give the bits that one thread gives, and how many were made."""
    expected = network(x)

    def equal(part: slice) -> int:
        return sum(network(x[part]).tobytes() == expected[part].tobytes() for _ in range(THREAD_CALLS))

    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(equal, (slice(None, None), slice(len(x) // 2, None)))), 2 * THREAD_CALLS
