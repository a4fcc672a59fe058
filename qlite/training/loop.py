"""`train`: its arguments, checked, become a session."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from qlite import _check
from qlite.nn.fuse import fuse
from qlite.nn.model import Model
from qlite.nn.predictor import Predictor
from qlite.nn.qmodel import QModel
from qlite.training.batches import Augment, Rows, Source, Stream, is_stream, samples_of, split
from qlite.training.checkpoint import TrainingCheckpoint, checked_path
from qlite.training.history import History
from qlite.training.identity import description_of, name_of
from qlite.training.losses import Loss, Objective, loss_of
from qlite.training.network import FloatNetwork, Network, joined, parts
from qlite.training.optimizers import Steps, optimizer_of
from qlite.training.quantization import Quantization
from qlite.training.schedules import schedule_of
from qlite.training.session import Session, Stopping, TrainingState
from qlite.training.targets import targets_of, weights_of

#: Samples that validation computes at once.
VALIDATION_BATCH = 1024


def train(
    model: Model,
    X: Any,
    y: Any = None,
    *,
    loss: Any = None,
    optimizer: Any = "adam",
    learning_rate: float | None = None,
    momentum: float | None = None,
    weight_decay: float | None = None,
    epochs: int = 10,
    batch_size: int = 128,
    validation: Any = None,
    class_weight: Any = None,
    sample_weight: Any = None,
    label_smoothing: float = 0.0,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    schedule: Any = None,
    frozen: Collection[str] = (),
    callbacks: Sequence[Callable[[TrainingState], Any]] = (),
    augment: Augment | None = None,
    patience: int | None = None,
    restore_best: bool | None = None,
    checkpoint: Any = None,
    teacher: Predictor | None = None,
    teacher_weight: float = 0.5,
    temperature: float = 2.0,
    scheme: str | None = None,
    method: str = "lsq",
    per_layer: Mapping[str, str | None] | None = None,
    observer: str = "mse",
    observe: int = 1024,
    target: str = "numpy",
    seed: int = 0,
    progress: bool = True,
) -> Model:
    """Train a model on labelled samples and return a new one; the given one stays as it is.

    With a `scheme` the model is trained as what `quantize_model` will make of it: see the notes.

    Each step of the optimizer makes the mean loss of one batch smaller; an epoch is one pass over all samples. The same
    seed gives the same bits, on one machine and with one number of threads of NumPy's matrix product.

    Parameters
    ----------
    model : Model
        Of layers that have a gradient, with one output.
    X : array_like of a real floating dtype, or batches
        Samples, also a `numpy.memmap`, of which only a batch at a time is read and made float32; of several inputs,
        here and below, a tuple or a dict by name. Or an iterable of batches ``(x, y)`` or ``(x, y, sample weights)``,
        which begins anew for each epoch (no generator), or a function that returns an iterable for each epoch.
    y : array_like, optional
        Labels of the model's classes; probabilities, (samples, classes); for two classes labels or the probability of
        the second; or values, (samples,) or (samples, units). None where X gives batches.
    loss : {"cross_entropy", "binary_cross_entropy", "mse", "mae", "huber"} or callable, optional
        By default the cross entropy of the model's task, or "mse". The mean over the samples of: ``-sum t_i log
        softmax(raw)_i``; ``log(1 + exp(-raw)) + (1 - t) raw``; ``(raw - y)**2``; ``|raw - y|``; ``e**2 / 2`` where
        ``|e| <= 1``, else ``|e| - 1/2``. Cross entropies are of logits: a softmax or sigmoid that the model ends in is
        left out in training. Or a function ``(raw, y) -> (loss, gradient)`` of a batch's raw outputs, a number
        and an array like raw.
    optimizer : {"adam", "adamw", "sgd", "rmsprop"}, SGD, Adam, AdamW or RMSprop
        By name with PyTorch's defaults.
    learning_rate, momentum, weight_decay : float, optional
        In place of the optimizer's own. With a `scheme` "adam", "adamw" and "sgd" by name take twice their learning
        rate where weights or activations have 3 or 4 bits, four times for 2 bits.
    epochs, batch_size : int
        The last batch of an epoch may be smaller.
    validation : float or (X, y), optional
        Share of the samples that is held out (drawn by `seed`; of each class the same share), or other data; finite.
    class_weight : "balanced" or dict, optional
        How much samples count by their label (1 where the dict has none); "balanced": ``samples / (classes * count)``.
    sample_weight : array_like, (samples,), optional
        How much each sample counts. A batch's loss is ``sum(w_i loss_i) / sum(w_i)``, as in PyTorch (Keras divides by
        the number of samples).
    label_smoothing : float
        Share of each label that is spread over all classes (Szegedy et al. 2016).
    clip_norm, clip_value : float, optional
        Greatest norm of all gradients together, greatest magnitude of each value.
    schedule : {"constant", "cosine", "hold_cosine", "step", "warmup", "warmup_cosine"} or callable, optional
        What the learning rate is multiplied by: 1; from 1 to 0 along half a cosine; the same in the second half of all
        steps; by 1/10 at one half and again at three quarters of them; a rise along the first twentieth, then 1 or the
        cosine. Or a function of the number of steps that are done. By default constant, with a `scheme` "hold_cosine"
        where the number of batches is known.
    frozen : collection of str
        Names of layers whose parameters stay. Of batch norms the running statistics stay too, and normalize.
    callbacks : sequence of callable
        Called with a state after each epoch, which has `epoch`, `epochs`, `model`, `history` and `stop(why)`. From a
        checkpoint a training that one stopped goes on with the next epoch.
    augment : callable, optional
        ``augment(x, rng)`` returns what to train on in place of a batch of samples, of which x is a copy; for several
        inputs x is a tuple.
    patience : int, optional
        Epochs without a smaller validation loss after which training stops.
    restore_best : bool, optional
        Whether the weights of the epoch with the least validation loss are returned: by default with `patience`.
    checkpoint : path-like, optional
        A file that is written after each epoch, whole at every moment. Where it is there, training goes on from it: the
        same bits come out as without a stop. It must be of the same model, samples and options; `epochs` may be more,
        unless the schedule depends on it. Of samples some rows are compared, of a list of batches the first and the
        last, of functions the names and the arguments of a `functools.partial`.
    teacher : Model or QModel, optional
        A model of the same task, samples and outputs to learn from: the loss becomes ``(1 - teacher_weight) loss +
        teacher_weight T**2 cross_entropy(teacher / T, raw / T)``, T the temperature (Hinton et al. 2015); for values
        the second is the mean squared difference.
    teacher_weight, temperature : float
        See `teacher`; without one they have no effect, and others than the defaults are refused.
    scheme : str, optional
        What the model will be quantized to: see `quantize_model`. None: floats.
    method : {"lsq", "ste", "pact"}
        Which scales are trained: all of them (Esser et al. 2020); none, those of the first grids stay; those of
        activations, by what they clip (Choi et al. 2018). That of the model's input stays, and those of results whose
        range is known, as of tanh and sigmoid.
    per_layer : dict of str, optional
        Layers that have another scheme, by name; None or "float32" leaves one in float.
    observer : {"mse", "minmax", "percentile", "entropy"}
        How the first grids of activations are chosen; those of weights have the least squared error.
    observe : int
        On how many samples, by the float model, before training.
    target : {"numpy", "onnx", "tflite", "tflm", "c"}
        Where the model is to run: what `quantize_model` will be told. "tflite" and "tflm" have weights without zero
        points, which others have below 8 bits. "tensorrt" is refused: its activations have no zero points either.
    seed : int
        Of the order of samples, the held-out share, dropout and `augment`.
    progress : bool
        Show a bar where tqdm is installed.

    Returns
    -------
    Model
        Of the given one's class, with `history`, a `History`. After Ctrl-C the model so far, or the best with
        `restore_best`, and ``history.interrupted``. With a `scheme` the fused model, with `grids`:
        ``quantize_model(m)`` makes integers of it, and ``m(x)`` computes with its floats, which lie between the codes.

    Raises
    ------
    TypeError, ValueError
        An argument of another kind, shape or range; options of a scheme without one; a scheme that the target cannot
        run; samples for the first grids that are not finite; a layer without a gradient; a batch that does not fit; a
        checkpoint that is damaged or of another training. Nothing is changed.
    OSError
        A checkpoint that cannot be read or written.
    Exception
        What the batches of X, `augment`, a loss, a schedule or a callback raise, or are refused for, ends training:
        its epochs are lost, but for those that `checkpoint` has.

    Warns
    -----
    RuntimeWarning
        The loss is no longer finite: training stops, and the model has the weights of the last epoch that was (or
        those that it began with). The message names the step and the layer, or "input" for samples that are not finite.

    Notes
    -----
    With a `scheme` batch norms are folded and dropout falls away before training begins (train first in float, with
    both), then the forward pass of each step, and of validation, is the integer program: weights become codes, which
    the kernels of inference multiply. Backwards gradients pass rounding unchanged and stop where a value was clipped
    (Bengio et al. 2013). The gradient of a scale s is ``sum g (code - x / s)`` over the values that were not clipped,
    ``sum g code`` over the others, times LSQ's factor ``1 / sqrt(values * largest code)``. The optimizer moves
    ``log(s) / 10`` in place of s: scales stay positive, and one step changes a large scale and a small one by the same
    share. Codes that only move, are joined or pooled are on one grid with what they come from, whose scale is learned
    once. Training of a model that was trained by the same scheme goes on from its grids; only weights with zero points
    get new ones where the target has none.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(512, 2)).astype(np.float32)
    >>> y = (x[:, 0] * x[:, 1] > 0).astype(int)
    >>> m = ql.Sequential([ql.Dense(units=32, activation="relu"), ql.Dense(units=2)], input_shape=(2,))
    >>> m = ql.train(m, x, y, epochs=30, batch_size=32, learning_rate=0.01, validation=0.25)
    >>> m.history["validation_accuracy"][-1] > 0.9
    True
    >>> m = ql.train(m, x, y, scheme="w4a4", epochs=10, batch_size=32, validation=0.25)
    >>> qm = ql.quantize_model(m)
    >>> qm.scheme, qm.evaluate(x, y, "accuracy")["accuracy"] > 0.9
    ('w4a4', True)
    """
    if not isinstance(model, Model):
        raise TypeError(f"model: expected a Model, got {type(model).__name__}")
    if len(model.outputs) != 1:
        raise ValueError(f"model: expected one output to compare with y, got {list(model.outputs)}")
    if not any(layer.parameters for layer in model.layers):
        raise ValueError("model: expected a layer with parameters, got none")
    epochs, batch_size = _check.integer("epochs", epochs, 1), _check.integer("batch_size", batch_size, 1)
    seed = _check.integer("seed", seed, 0)
    rng = np.random.default_rng(seed)
    label_smoothing = _check.number("label_smoothing", label_smoothing)
    names = _frozen(model, frozen)
    fused = model if scheme is None else fuse(model)
    fused.grids = model.grids
    quantization = Quantization.of(fused, scheme, per_layer, method, observer, observe, target)
    objective = _objective(model, loss, label_smoothing, teacher, teacher_weight, temperature)
    chosen = optimizer_of(optimizer, learning_rate=learning_rate, momentum=momentum, weight_decay=weight_decay)
    if quantization is not None and learning_rate is None and optimizer in ("adam", "adamw", "sgd"):
        chosen = replace(chosen, learning_rate=chosen.learning_rate * quantization.rate)
    norm, limit = _positive("clip_norm", clip_norm), _positive("clip_value", clip_value)
    source, held = _data(model, X, y, validation, class_weight, sample_weight, batch_size, epochs, rng)
    if schedule is None:
        schedule = "constant" if quantization is None or source.steps is None else "hold_cosine"
    factor = schedule_of(schedule, None if source.steps is None else source.steps * epochs)
    stopping = _stopping(patience, restore_best, held is not None)
    if not isinstance(callbacks, Sequence) or not all(map(callable, callbacks)):
        raise TypeError(f"callbacks: expected functions, got {callbacks!r}")
    if augment is not None and not callable(augment):
        raise TypeError(f"augment: expected a function, got {augment!r}")
    shows = _check.flag("progress", progress)
    path = None if checkpoint is None else checked_path(checkpoint)

    trained = fused.copy()
    trained.history = History()
    network: Network
    if quantization is None:
        trained.grids = None
        network = FloatNetwork(trained, names, logits=not callable(loss))
    else:
        network = quantization.network(trained, names, source, logits=not callable(loss))
    steps = Steps(chosen, network.parameters, norm, limit)
    session = Session(trained, network, objective, steps, source, held, factor, augment, rng, stopping)
    if path is not None:
        over = "" if schedule == "constant" or callable(schedule) else f" over {epochs} epochs"
        file = TrainingCheckpoint(
            path,
            {
                "model": description_of(model),
                "X, y": source.identity,
                "validation": None if held is None else held.identity,
                "loss": name_of(loss),
                "optimizer": repr(chosen),
                "batch_size": batch_size,
                "label_smoothing": label_smoothing,
                "clip_norm": norm,
                "clip_value": limit,
                "schedule": f"{name_of(schedule)}{over}",
                "frozen": sorted(names),
                "augment": name_of(augment),
                "patience": stopping.patience,
                "restore_best": stopping.restores,
                "teacher": None if teacher is None else description_of(teacher),
                "teacher_weight": objective.weight,
                "temperature": objective.temperature,
                "quantization": None if quantization is None else repr(quantization),
                "seed": seed,
            },
        )
        session.save = file.save
        if path.exists():
            file.load(session)
    session.run(epochs, callbacks, shows)
    network.publish()
    return trained


def _frozen(model: Model, frozen: Any) -> frozenset[str]:
    if isinstance(frozen, str) or not isinstance(frozen, Collection):
        raise TypeError(f"frozen: expected names of layers, got {frozen!r}")
    if unknown := [name for name in frozen if name not in model.names]:
        raise ValueError(f"frozen: expected names out of {model.names}, got {unknown}")
    return frozenset(frozen)


def _objective(
    model: Model, loss: Any, smoothing: Any, teacher: Any, teacher_weight: Any, temperature: Any
) -> Objective:
    if len(model.output_shape) != 1:
        raise ValueError(
            f"model: expected a result of shape (units,), got {model.output_shape}: Flatten behind it gives one, for "
            f"y of shape (samples, {math.prod(model.output_shape)})"
        )
    base: Loss = loss_of(loss, model.task, smoothing)
    threshold = 0.5 if callable(loss) and model.gives_probabilities else 0.0
    if teacher is None:
        options = {"teacher_weight": teacher_weight, "temperature": temperature}
        _check.expect_defaults(options, {"teacher_weight": 0.5, "temperature": 2.0}, "without a teacher")
        return Objective(base, threshold=threshold)
    if not isinstance(teacher, Predictor):
        raise TypeError(f"teacher: expected a Model or a QModel, got {type(teacher).__name__}")
    if teacher.task != model.task:
        raise ValueError(f"teacher: expected task={model.task!r}, got {teacher.task!r}")
    weight, t = _check.number("teacher_weight", teacher_weight), _check.number("temperature", temperature)
    if not 0 <= weight <= 1:
        raise ValueError(f"teacher_weight: expected 0 <= x <= 1, got {weight}")
    if not 0 < t < math.inf:
        raise ValueError(f"temperature: expected x > 0, got {t}")
    if (takes := _samples_of(teacher)) != (given := _samples_of(model)):
        raise ValueError(f"teacher: expected samples of shape {given}, got one that takes {takes}")
    wanted = teacher(joined(np.zeros((1, *shape), model.dtypes[name]) for name, shape in model.inputs.items())).shape
    if wanted != (1, *model.output_shape):
        raise ValueError(f"teacher: expected outputs of shape {model.output_shape}, got {wanted[1:]}")
    return Objective(base, teacher, weight, t, threshold)


def _samples_of(model: Predictor) -> str:
    """The shapes of the samples that a model takes."""
    assert isinstance(model, (Model, QModel))
    return ", ".join(map(str, model.inputs.values()))


def _positive(name: str, value: Any) -> float | None:
    if value is None:
        return None
    value = _check.number(name, value)
    if not value > 0:
        raise ValueError(f"{name}: expected x > 0 or None, got {value}")
    return value


def _stopping(patience: Any, restore_best: Any, validates: bool) -> Stopping:
    if not validates and (patience is not None or restore_best):
        name = "patience" if patience is not None else "restore_best"
        raise ValueError(f"{name}: expected None without `validation`, got {patience if patience else restore_best!r}")
    if patience is not None:
        patience = _check.integer("patience", patience, 1)
    restores = patience is not None if restore_best is None else _check.flag("restore_best", restore_best)
    return Stopping(patience, restores)


def _data(
    model: Model,
    x: Any,
    y: Any,
    validation: Any,
    class_weight: Any,
    sample_weight: Any,
    batch_size: int,
    epochs: int,
    rng: "np.random.Generator",
) -> tuple[Source, Source | None]:
    """What to train on and what to validate with, checked."""
    is_share = isinstance(validation, (float, np.floating))
    if is_share and not 0 < validation < 1:
        raise ValueError(f"validation: expected 0 < x < 1, or (X, y), got {validation}")
    held = None if validation is None or is_share else _held(model, validation)
    if is_stream(x):
        for name, value in (("y", y), ("class_weight", class_weight), ("sample_weight", sample_weight)):
            if value is not None:
                raise ValueError(f"{name}: expected None where X gives batches, got {type(value).__name__}")
        if is_share:
            raise ValueError("validation: expected (X, y) where X gives batches, got a share")
        if epochs > 1 and iter(x) is x if not callable(x) else False:
            raise ValueError(
                "X: expected a function that returns an iterable for each epoch, got an iterator that ends after one"
            )
        return Stream(model, x, "X"), held
    if y is None:
        raise ValueError("y: expected labels or values of the samples, got None")
    x = samples_of(model, "X", x)
    samples = len(x[0])
    targets = targets_of(model, y, samples)
    weights = weights_of(model, targets, class_weight, sample_weight)
    if weights is not None and not weights.any():
        raise ValueError("sample_weight: expected a sample that counts, got zeros alone")
    rows = np.arange(samples)
    if is_share:
        rows, apart = split(targets, validation, rng)
        held = Rows(x, targets, weights, apart, VALIDATION_BATCH)
        _expect_finite("X", held)
    return Rows(x, targets, weights, rows, batch_size), held


def _held(model: Model, validation: Any) -> Source:
    if not isinstance(validation, (tuple, list)) or len(validation) != 2:
        raise TypeError(f"validation: expected a share, or (X, y), got {type(validation).__name__}")
    x = samples_of(model, "validation: X", validation[0])
    samples = len(x[0])
    targets = targets_of(model, validation[1], samples, "validation: y")
    held = Rows(x, targets, None, np.arange(samples), VALIDATION_BATCH)
    _expect_finite("validation: X", held)
    return held


def _expect_finite(name: str, held: Source) -> None:
    """Refuse samples to validate with that are not finite: patience and the best weights go by them."""
    for x, _, _ in held.epoch(None):
        for array in parts(x):
            _check.finite(name, array)
