"""The demonstration behind `qlite demo`: a network is trained, quantized in eight ways, measured and checked."""

import importlib
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import qlite as ql
from qlite import _check, metrics
from qlite.analysis.timing import in_turn, one_thread
from qlite.nn.layers.layer import Layer
from qlite.nn.predictor import Predictor

#: What the float network becomes after training: scheme, target, what it means.
QUANTIZED = {
    "w8a8": ("w8a8", "numpy", "weights and activations in 8 bits; a scale per layer, found on training data"),
    "w8a8 tflite": ("w8a8", "tflite", "the same under TensorFlow Lite's conventions: int8 from end to end"),
    "dynamic": ("dynamic", "numpy", "as w8a8, with a scale per sample that is found at run time: no data needed"),
    "w8": ("w8", "numpy", "weights in 8 bits, activations in float32"),
}
CONTROL = "float32, longer"
#: What it becomes by training on with quantization in the loop.
TRAINED = {
    "w8a8 trained": ("w8a8", "trained on as w8a8: the forward pass is that of the integers"),
    "w4a4 trained": ("w4a4", "weights and activations in 4 bits, the input in 8"),
    "w2a2 trained": ("w2a2", "in 2 bits, the input in 8"),
}
#: The networks that can be trained, and what they have beside their widths.
MODELS = {"dense": "relu", "cnn": "relu, filters 3 x 3, max pools of 2 x 2"}
HIDDEN, FILTERS = (128, 64), (16, 32)
HELD_OUT = 0.25
CALIBRATION_ROWS = 1024
#: Training looks at so many samples in all, within bounds: 60 epochs of the digits, 10 of MNIST; half as many follow.
TRAINED_SAMPLES, EPOCHS = 600_000, (10, 60)

BATCHES = (1, 256)
MAX_DROP, MIN_AGREEMENT = 0.005, 0.99
#: 4 bits may cost some of the held-out digits, of which there are few.
MAX_TRAINED_DROP = 0.015
MAX_FILE_SHARE, FILE_OVERHEAD = 0.28, 4096  # of the float32 weights' bytes; bytes
THREAD_CALLS, THREAD_ROWS = 100, 512


class Data(NamedTuple):
    """Samples, rows or images, and their labels; a part is held out."""

    what: str
    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


class Measured(NamedTuple):
    """What one network costs and gives."""

    scores: dict[str, float]
    agreement: float
    sqnr_db: float
    nbytes: int
    microseconds: dict[int, float]  # per sample, by batch


def run_demo(data: Any = None, *, model: str = "dense", seed: int = 0, out: Any = None) -> bool:
    """Train a float network on handwritten digits, quantize it, print what that costs and gives, and check it.

    The network is trained with Adam on the cross-entropy, in batches of 128. It
    becomes w8a8 for the targets numpy and tflite, dynamic and w8. Then it is trained on, once in float, as a control,
    and with quantization in the loop as w8a8, w4a4 and w2a2. Each is evaluated on held-out samples, saved, and timed in
    turn with the float network on one thread.

    Parameters
    ----------
    data : path-like, optional
        MNIST or a data set in its format: a folder with the four IDX files, or Keras' ``mnist.npz``. By default
        scikit-learn's bundled 8 x 8 digits, of which a quarter is held out, stratified.
    model : {"dense", "cnn"}
        features-128-64-classes with relu; or convolutions of 16 and 32 filters, 3 x 3 with relu, each before a max pool
        of 2 x 2, and a dense layer.
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
        `data`, `model` or `out` cannot be used.
    """
    _check.choice("model", model, tuple(MODELS))
    lines: list[str] = []

    def say(text: str) -> None:
        lines.append(text)
        print(text, flush=True)

    digits = _digits(seed) if data is None else _mnist(data)
    if model == "cnn":
        digits = _as_images(digits)
    with _folder(out) as folder, one_thread() as threads:
        config: Any = ql.show_config("dict")
        say(f"qlite {config['qlite']} on {config['isa_active']}: a float network goes in, integer networks come out\n")
        say(f"data     {digits.what}; {len(digits.x):,} samples to train with, {len(digits.x_test):,} held out")
        trained, training = _train(model, digits, seed)
        units = [layer.parameters["bias"].size for layer in trained.layers if layer.parameters]
        widths = "-".join(map(str, ["x".join(map(str, trained.input_shape)), *units]))
        say(f"network  {widths} with {MODELS[model]}; Adam, batches of 128, {training}\n")

        networks: dict[str, Predictor] = {"float32": trained}
        for name, (scheme, target, meaning) in QUANTIZED.items():
            networks[name] = ql.quantize_model(trained, scheme, data=digits.x[:CALIBRATION_ROWS], target=target)
            say(f"{name:17}{meaning}")
        networks |= _train_on(trained, digits, seed, say)
        paths = _save(networks, folder)
        quantized: Any = networks["w8a8"]
        report = ql.compare(trained, quantized, digits.x_test)
        results = _measure(networks, paths, digits)
        say(f"\n{_table(results)}")
        timed = "three lines of NumPy" if model == "dense" else "its layers"
        say(f"\nfloat32: bytes of the weights alone, time of {timed}. agree: with float32 or, of what was")
        say(f"trained longer, with {CONTROL}. us: of a sample, in batches of so many. Timed in turn, {threads}.")
        say(f"\nw8a8, layer by layer, on the {len(digits.x_test):,} held-out samples:\n{report}")

        checks = _checks(results, quantized, paths["w8a8"], digits.x_test)
        say("\nchecks, the worst of w8a8, w8a8 tflite and dynamic")
        for holds, what, figure in checks:
            say(f"  {'ok' if holds else 'FAILED':6}  {what:55}  {figure}")
        if out is not None:
            (folder / "report.txt").write_text("\n".join([*lines, ""]), encoding="utf-8")
            _draw(folder, report, trained, quantized)
            print(f"\nmodels, pictures and this text: {folder}")
    return all(holds for holds, *_ in checks)


def _need(module: str, package: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"demo: {package} is missing ({error}): pip install 'qlite-quant[demo]'") from error


@contextmanager
def _folder(out: Any) -> Iterator[Path]:
    if out is None:
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)
        return
    _need("matplotlib", "matplotlib")
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(f"out: expected a folder, got the file {out}") from None
    yield Path(out)


def _digits(seed: int) -> Data:
    _need("sklearn", "scikit-learn")
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    x, x_test, y, y_test = train_test_split(x, y, test_size=HELD_OUT, stratify=y, random_state=seed)
    return Data("scikit-learn's handwritten digits, 8 x 8 pixels", x, y, x_test, y_test)


def _mnist(path: Any) -> Data:
    from qlite.io.mnist import load_mnist

    data = Data(f"MNIST's format, {os.fspath(path)}", *load_mnist(path))
    classes = len(np.unique(data.y))
    if classes < 2 or not len(data.x_test):
        raise ValueError(f"{path}: expected 2 classes or more and a test image, got {classes} and {len(data.x_test)}")
    return data


def _as_images(data: Data) -> Data:
    """The same data as square images of one channel."""
    features = data.x.shape[1]
    side = math.isqrt(features)
    if side * side != features:
        raise ValueError(f"data: expected square images for model 'cnn', got {features} pixels")
    x, x_test = (array.reshape(-1, side, side, 1) for array in (data.x, data.x_test))
    return data._replace(x=x, x_test=x_test)


def _epochs(data: Data) -> int:
    return int(np.clip(TRAINED_SAMPLES // len(data.x), *EPOCHS))


def _hidden(model: str) -> list[Layer]:
    """The layers before the last one."""
    if model == "dense":
        return [ql.Dense(units=units, activation="relu") for units in HIDDEN]
    blocks = ((ql.Conv2D(filters=n, kernel_size=3, padding="same", activation="relu"), ql.MaxPool(2)) for n in FILTERS)
    return [*(layer for block in blocks for layer in block), ql.Flatten()]


def _train(kind: str, data: Data, seed: int) -> tuple[ql.Sequential, str]:
    """The float network, and in words how it was trained."""
    classes = np.unique(np.concatenate([data.y, data.y_test]))
    layers = [*_hidden(kind), ql.Dense(units=len(classes))]
    model: Any = ql.Sequential(layers, input_shape=data.x.shape[1:], seed=seed, classes=classes)
    start = time.perf_counter()
    model = _finished(ql.train(model, data.x, data.y, epochs=_epochs(data), seed=seed))
    return model, f"{_epochs(data)} epochs, seed {seed}, {time.perf_counter() - start:.1f} s"


def _train_on(model: ql.Sequential, data: Data, seed: int, say: Callable[[str], None]) -> dict[str, Predictor]:
    """The control, and the networks that are trained with quantization in the loop, for half as many epochs."""
    epochs = _epochs(data) // 2
    say(f"{CONTROL:17}{epochs} epochs more in float, as the next three have with quantization in the loop")
    options: dict[str, Any] = {"epochs": epochs, "seed": seed}
    networks: dict[str, Predictor] = {
        CONTROL: _finished(ql.train(model, data.x, data.y, schedule="hold_cosine", **options))
    }
    for name, (scheme, meaning) in TRAINED.items():
        networks[name] = ql.quantize_model(_finished(ql.train(model, data.x, data.y, scheme=scheme, **options)))
        say(f"{name:17}{meaning}")
    return networks


def _finished(model: Any) -> Any:
    """A trained model; Ctrl-C, which leaves the model so far, ends the demonstration."""
    if model.history is not None and model.history.interrupted:
        raise KeyboardInterrupt
    return model


def _save(networks: dict[str, Predictor], folder: Path) -> dict[str, Path]:
    """Write the integer networks to files."""
    paths = {}
    for name, network in networks.items():
        if isinstance(network, ql.QModel):
            paths[name] = folder / f"{name.replace(' ', '_')}.qlite"
            network.save(paths[name])
    return paths


def _plain(model: ql.Sequential) -> Callable[[np.ndarray], np.ndarray]:
    """The float network as one would write it in NumPy; one of images as it is."""
    if not all(isinstance(layer, ql.Dense) for layer in model.layers):
        return model
    (w1, b1), (w2, b2), (w3, b3) = (layer.parameters.values() for layer in model.layers)

    def forward(x: np.ndarray) -> np.ndarray:
        h = np.maximum(x @ w1 + b1, 0)
        h = np.maximum(h @ w2 + b2, 0)
        return h @ w3 + b3

    return forward


def _measure(networks: dict[str, Predictor], paths: dict[str, Path], data: Data) -> dict[str, Measured]:
    x, y = data.x_test, data.y_test
    timed: dict[str, Callable[[np.ndarray], Any]] = {
        name: _plain(network) if isinstance(network, ql.Sequential) else network for name, network in networks.items()
    }
    times: dict[str, dict[int, float]] = {name: {} for name in timed}
    for batch in BATCHES:
        samples = np.resize(x, (batch, *x.shape[1:]))  # repeated where there are fewer
        seconds = in_turn([partial(network, samples) for network in timed.values()])
        for name, figure in zip(timed, seconds, strict=True):
            times[name][batch] = 1e6 * figure / batch
    nbytes = {name: path.stat().st_size for name, path in paths.items()}
    results, base = {}, "float32"
    for name, network in networks.items():
        if isinstance(network, ql.Sequential):
            base = name
            nbytes[name] = sum(layer.parameters["weight"].nbytes for layer in network.layers if layer.parameters)
        results[name] = Measured(
            scores=network.evaluate(x, y, ("cross_entropy", "accuracy", "recall")),
            agreement=metrics.accuracy(networks[base].predict(x), network.predict(x)),
            sqnr_db=metrics.sqnr_db(networks[base](x), network(x)),
            nbytes=nbytes[name],
            microseconds=times[name],
        )
    return results


def _table(results: dict[str, Measured]) -> str:
    """A row for each network."""
    base = results["float32"]
    few, many = BATCHES
    head = ["", "loss", "accuracy", "recall", "agree", "SQNR", "bytes", "", f"us, {few}", "", f"us, {many}", ""]
    rows = [head]
    for name, r in results.items():
        is_float = name in ("float32", CONTROL)
        cells = [f"{r.scores['cross_entropy']:.4f}", f"{r.scores['accuracy']:.2%}", f"{r.scores['recall']:.2%}"]
        cells += ["-", "-"] if is_float else [f"{r.agreement:.1%}", f"{r.sqnr_db:.1f} dB"]
        cells += [f"{r.nbytes:,}", "" if is_float else f"{base.nbytes / r.nbytes:.1f}x"]
        for batch in BATCHES:
            faster = base.microseconds[batch] / r.microseconds[batch]
            cells += [f"{r.microseconds[batch]:.3f}", "" if is_float else f"{faster:.1f}x"]
        rows.append([name, *cells])
    label, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    return "\n".join(
        "  ".join([row[0].ljust(label), *(c.rjust(w) for c, w in zip(row[1:], widths, strict=True))]).rstrip()
        for row in rows
    )


def _checks(results: dict[str, Measured], network: Predictor, path: Path, x: np.ndarray) -> list[tuple[bool, str, str]]:
    """Whether each check holds, what it is, and its figure: the worst of the networks that compute with integers."""
    base, integer = results["float32"], [results[name] for name in QUANTIZED if name != "w8"]
    trained = min(results[name].scores["accuracy"] for name in ("w8a8 trained", "w4a4 trained"))
    trained_drop = results[CONTROL].scores["accuracy"] - trained
    drop = base.scores["accuracy"] - min(r.scores["accuracy"] for r in integer)
    agreement = min(r.agreement for r in integer)
    nbytes, limit = max(r.nbytes for r in integer), int(MAX_FILE_SHARE * base.nbytes + FILE_OVERHEAD)
    size = f"file at most {MAX_FILE_SHARE:.0%} of the float32 weights + {FILE_OVERHEAD >> 10} KiB"
    loaded = ql.load(path)(x).tobytes() == network(x).tobytes()
    equal, calls = _two_threads(network, x[:THREAD_ROWS])
    return [
        (drop <= MAX_DROP, f"accuracy at most {100 * MAX_DROP} points below float", f"{max(100 * drop, 0):.2f} points"),
        (
            trained_drop <= MAX_TRAINED_DROP,
            f"w8a8 and w4a4 trained at most {100 * MAX_TRAINED_DROP} points below control",
            f"{max(100 * trained_drop, 0):.2f} points",
        ),
        (agreement >= MIN_AGREEMENT, f"agreement with float at least {MIN_AGREEMENT:.0%}", f"{agreement:.2%}"),
        (nbytes <= limit, size, f"{nbytes:,} of {limit:,} bytes"),
        (loaded, "same bits from the saved and loaded w8a8 model", f"{len(x):,} samples"),
        (equal == calls, "same bits from two threads that share it", f"{equal} of {calls} calls"),
    ]


def _two_threads(network: Predictor, x: np.ndarray) -> tuple[int, int]:
    """How many calls give the bits that one thread gives, and how many were made."""
    expected = network(x)

    def equal(part: slice) -> int:
        return sum(network(x[part]).tobytes() == expected[part].tobytes() for _ in range(THREAD_CALLS))

    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(equal, (slice(None, None), slice(len(x) // 2, None)))), 2 * THREAD_CALLS


def _draw(folder: Path, report: ql.Report, model: ql.Sequential, network: Any) -> None:
    from matplotlib import pyplot

    pyplot.switch_backend("agg")  # files, no windows
    name, layer = next((n, la) for n, la in zip(model.names, model.layers, strict=True) if isinstance(la, ql.Dense))
    for figure, file in (
        (report.plot(), "report.png"),
        (network.weights[name].plot(layer.weight), f"{name}_weights.png"),
    ):
        figure.savefig(folder / file, dpi=150)
        pyplot.close(figure)
