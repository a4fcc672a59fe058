"""A training at work: epochs of steps, validation, and when to stop."""

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qlite import _check
from qlite.nn.model import Model
from qlite.nn.predictor import VALUES
from qlite.progress import note, progress
from qlite.training.batches import Augment, Batch, Source, augmented
from qlite.training.history import History
from qlite.training.losses import Objective
from qlite.training.network import Network, Samples, parts
from qlite.training.optimizers import Steps


@dataclass
class Stopping:
    """When to stop early, and whether to go back to the best weights."""

    patience: int | None
    restores: bool


@dataclass
class TrainingState:
    """What callbacks see after an epoch, which is counted from 1."""

    epoch: int
    epochs: int
    history: History
    network: Network

    @property
    def model(self) -> Model:
        """The model as it is now."""
        self.network.publish()
        return self.network.model

    def stop(self, why: str = "a callback stopped it") -> None:
        """End training after this epoch; from a checkpoint it goes on with the next."""
        if not _check.string("why", why):
            raise ValueError("why: expected a reason, got ''")
        self.history.stopped = why


class NotFinite(Exception):
    """The loss, or a parameter, is NaN or infinite."""


class Weights:
    """A copy of all that training changes in a network."""

    def __init__(self, network: Network) -> None:
        self._live = network.parameters | network.statistics
        self.arrays = {key: array.copy() for key, array in self._live.items()}

    def keep(self) -> None:
        """Take the values of now."""
        for key, array in self._live.items():
            np.copyto(self.arrays[key], array)

    def restore(self) -> None:
        """Bring back the values that were kept."""
        for key, array in self._live.items():
            np.copyto(array, self.arrays[key])


class Session:
    """One training: what is trained, on what, and how far it has come."""

    def __init__(
        self,
        model: Model,
        network: Network,
        objective: Objective,
        steps: Steps,
        source: Source,
        held: Source | None,
        factor: Callable[[int], float],
        augment: Augment | None,
        rng: "np.random.Generator",
        stopping: Stopping,
    ) -> None:
        self.model, self.network, self.objective, self.steps = model, network, objective, steps
        self.source, self.held, self.factor, self.augment, self.rng = source, held, factor, augment, rng
        self.history: History = model.history
        self.stopping = stopping
        self.good = Weights(network)
        self.best = Weights(network) if stopping.restores else None
        self.least = math.inf
        self.save: Callable[[Session], None] | None = None

    def run(self, epochs: int, callbacks: Sequence[Callable[[TrainingState], Any]], shows: bool) -> None:
        """Train from the epoch that is reached to the last one."""
        self._heed_patience()
        ahead = range(len(self.history), len(self.history) if self.history.stopped else epochs)
        shown = progress(ahead, "training", "epoch") if shows else ahead
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # the loss tells
                for epoch in shown:
                    figures = self._epoch()
                    note(shown, figures)
                    self._judge(figures.get("validation_loss"), epoch)
                    state = TrainingState(epoch + 1, epochs, self.history, self.network)
                    for callback in callbacks:
                        callback(state)
                    if self.save:
                        self.save(self)
                    if self.history.stopped:
                        break
        except KeyboardInterrupt:
            self.history.interrupted, self.history.stopped = True, "interrupted"
        except NotFinite as error:
            self.good.restore()
            self.history.stopped = str(error)
            why = f"training stopped: {error}; the model has the last good weights"
            warnings.warn(why, RuntimeWarning, stacklevel=3)
        if self.best and self.history.best_epoch:
            self.best.restore()

    def _epoch(self) -> dict[str, float]:
        """Go through all batches once, and return the figures."""
        began = time.perf_counter()
        total, weight, right, count = 0.0, 0.0, 0, 0
        rate = 0.0
        for batch in self.source.epoch(self.rng):
            value, own, hits, rate = self._step(batch)
            total, weight, right, count = total + value * own, weight + own, right + hits, count + len(batch[1])
        if not all(np.isfinite(p).all() for p in self.network.parameters.values()):
            raise self._not_finite(batch[0], self.steps.count)
        figures = {"loss": total / weight if weight else 0.0}
        if self.model.task not in VALUES:
            figures["accuracy"] = right / count
        if self.held is not None:
            figures |= self.validate(self.held)
        figures |= {"learning_rate": rate, "seconds": time.perf_counter() - began}
        self.good.keep()
        self.history.append(figures)
        return figures

    def _step(self, batch: Batch) -> tuple[float, float, int, float]:
        """One step: returns the batch's loss and weight, how many labels were right, and the learning rate."""
        given, targets, weights = batch
        x = given if self.augment is None else augmented(self.augment, given, self.rng)
        share, weight = shares(len(targets), weights)
        raw, saved = self.network.forward(x, self.rng)
        hits = hits_of(self.model.task, raw, targets, self.objective.threshold)
        value, gradient = self.objective(x, raw, targets, share)
        if not math.isfinite(value):
            if are_finite(given) and not are_finite(x):
                raise NotFinite(f"the result of 'augment' is not finite {self._at(self.steps.count + 1)}")
            raise self._not_finite(x, self.steps.count + 1)
        factor = self.factor(self.steps.count)
        self.steps.make(self.network.backward(saved, gradient), factor)
        return value, weight, hits, factor * self.steps.optimizer.learning_rate

    def _at(self, step: int) -> str:
        return f"in step {step}, epoch {len(self.history) + 1}"

    def _not_finite(self, x: Samples, step: int) -> NotFinite:
        """Say where values ceased to be finite."""
        at = self._at(step)
        for (layer, what), array in self.network.parameters.items():
            if not np.isfinite(array).all():
                return NotFinite(f"{what} of layer {layer!r} is not finite {at}")
        return NotFinite(f"{self.network.fault(x) or 'the loss is not finite'} {at}")

    def validate(self, source: Source) -> dict[str, float]:
        """Return the loss and the figure of the task on other samples, at inference."""
        loss, weight, right, squares, count = 0.0, 0.0, 0, 0.0, 0
        for x, targets, weights in source.epoch(None):
            raw = self.network(x)
            share, own = shares(len(targets), weights)
            loss, weight = loss + own * self.objective.loss(raw, targets, share)[0], weight + own
            right += hits_of(self.model.task, raw, targets, self.objective.threshold)
            squares += squares_of(self.model.task, raw, targets)
            count += len(targets)
        is_values = self.model.task in VALUES
        figures = {"validation_loss": loss / weight if weight else 0.0}
        return figures | ({"validation_mse": squares / count} if is_values else {"validation_accuracy": right / count})

    def _judge(self, loss: float | None, epoch: int) -> None:
        """Keep the best weights, and stop where nothing has got better for a while."""
        if loss is not None and loss < self.least:
            self.least, self.history.best_epoch = loss, epoch + 1
            if self.best:
                self.best.keep()
        self._heed_patience()

    def _heed_patience(self) -> None:
        """Stop where nothing has got better for a while."""
        patience, best = self.stopping.patience, self.history.best_epoch
        if patience is not None and len(self.history) - (best or 0) >= patience:
            since = f"no smaller validation loss since epoch {best}"
            self.history.stopped = since if best else f"no validation loss was finite in {patience} epochs"


def are_finite(x: Samples) -> bool:
    """Whether the samples of every input are finite."""
    return all(bool(np.isfinite(array).all()) for array in parts(x))


def shares(samples: int, weights: np.ndarray | None) -> tuple[np.ndarray, float]:
    """Return what each sample's share of a mean is, and the weight of all."""
    if weights is None:
        return np.full(samples, 1 / samples, np.float32), float(samples)
    weight = float(weights.sum(dtype=np.float64))
    return ((weights / np.float64(weight)).astype(np.float32) if weight else weights), weight


def hits_of(task: str, raw: np.ndarray, targets: np.ndarray, threshold: float) -> int:
    """Return for how many samples the likeliest class is predicted; 0 for values."""
    if task in VALUES:
        return 0
    if task == "binary":
        return int(np.count_nonzero((raw > threshold) == (targets > 0.5)))
    wanted = targets if targets.ndim == 1 else targets.argmax(axis=1)
    return int(np.count_nonzero(raw.argmax(axis=1) == wanted))


def squares_of(task: str, raw: np.ndarray, targets: np.ndarray) -> float:
    """Return the mean squared errors of the samples, added up; 0 for labels."""
    if task not in VALUES:
        return 0.0
    return float(np.square(raw - targets, dtype=np.float64).mean(axis=1).sum())
