"""Checkpoints of trainings: all that the next epoch depends on, so that it comes out with the same bits.

A file is a container (`qlite.io.container`): its description says of which training it is, by what tells that training
from others, and holds the history and the random generator's state; tensors are ``<group>/<layer>/<array>``.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from qlite import _check
from qlite.training.network import Key
from qlite.training.session import Session

FORMAT_VERSION = 1


def checked_path(path: Any) -> Path:
    """The path of a checkpoint that is there, or that can be."""
    path = _check.path("checkpoint", path)
    if path.exists() and not path.is_file():
        raise OSError(f"checkpoint: expected a file, or a new name, got {path}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"checkpoint: expected a name in a folder that exists, got {path}")
    return path


class TrainingCheckpoint:
    """The file of one training; `identity` is what must be the same to go on with it, by the names of arguments."""

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self.path, self.identity = path, identity

    def save(self, session: Session) -> None:
        """Write the state after an epoch, all of it or nothing."""
        import json  # here: it would slow `import qlite` down

        from qlite.io import container

        history = session.history
        content = {
            "version": FORMAT_VERSION,
            "training": self.identity,
            "step": session.steps.count,
            "rng": session.rng.bit_generator.state,
            "figures": {name: list(map(repr, values)) for name, values in history.figures.items()},
            "best_epoch": history.best_epoch,
            "least": session.least if history.best_epoch else None,
        }
        container.write(self.path, json.dumps(content, separators=(",", ":"), allow_nan=False), _tensors(session))

    def load(self, session: Session) -> None:
        """Bring a session to the state that the file holds.

        Raises
        ------
        ValueError
            No such file, a damaged one, or that of another model or of other options, which the message names.
        """
        from qlite.io import container
        from qlite.io.strict_json import parse

        try:
            description, tensors = container.read(self.path)
            content = parse(description, "the description")
            if content.get("version") != FORMAT_VERSION or not isinstance(content.get("training"), dict):
                raise ValueError(f"expected a training of format version {FORMAT_VERSION}")
            self._compare(content["training"])
            _restore(session, content, tensors)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"checkpoint: {self.path}: {error}") from None

    def _compare(self, found: dict[str, Any]) -> None:
        for name, value in self.identity.items():
            if (before := found.get(name)) != value:
                raise ValueError(f"{name}: expected what the checkpoint was made with, {before!r}, got {value!r}")


def _tensors(session: Session) -> dict[str, np.ndarray]:
    """All arrays of a session, by the names that they have in the file."""
    network, steps = session.network, session.steps
    groups: dict[str, dict[Key, np.ndarray]] = {
        "parameters": network.parameters,
        "statistics": network.statistics,
        "first": steps.first,
        "second": steps.second,
        "best": session.best.arrays if session.best else {},
    }
    return {
        f"{group}/{layer}/{what}": array for group, arrays in groups.items() for (layer, what), array in arrays.items()
    }


def _restore(session: Session, content: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    own = _tensors(session)
    if set(tensors) != set(own):
        raise ValueError(f"expected the tensors {sorted(own)}, got {sorted(tensors)}")
    for name, array in own.items():
        if tensors[name].shape != array.shape or tensors[name].dtype != array.dtype:
            raise ValueError(f"{name}: expected {array.dtype} of shape {array.shape}, got {tensors[name].shape}")
    figures = _figures(content["figures"])
    count = _check.integer("step", content["step"], 0)
    best_epoch, least = _best(content["best_epoch"], content["least"], len(next(iter(figures.values()))))
    _set_state(np.random.default_rng(0), content["rng"])  # refused before anything is changed
    _set_state(session.rng, content["rng"])
    session.steps.count, session.least = count, least
    for name, array in own.items():
        np.copyto(array, tensors[name])
    session.history.figures, session.history.best_epoch = figures, best_epoch
    session.good.keep()


def _figures(content: Any) -> dict[str, list[float]]:
    """The figures of a history, each with one value for each epoch."""
    if not isinstance(content, dict) or not all(isinstance(values, list) for values in content.values()):
        raise ValueError(f"figures: expected lists by name, got {_check.shown(content)}")
    if len(set(map(len, content.values()))) != 1 or not content.get("loss"):
        lengths = {name: len(values) for name, values in content.items()}
        raise ValueError(f"figures: expected 'loss' and others, of one length over 0, got {_check.shown(lengths)}")
    return {name: [float(_check.string(f"figures: {name}", v)) for v in values] for name, values in content.items()}


def _best(epoch: Any, least: Any, epochs: int) -> tuple[int | None, float]:
    """The best epoch and its validation loss; None and infinity where there was none."""
    if epoch is None:
        return None, math.inf
    if _check.integer("best_epoch", epoch, 1) > epochs:
        raise ValueError(f"best_epoch: expected at most {epochs}, got {epoch}")
    return epoch, _check.number("least", least)


def _set_state(rng: "np.random.Generator", state: Any) -> None:
    try:
        rng.bit_generator.state = state
    except (ValueError, TypeError, KeyError, OverflowError):
        raise ValueError(f"rng: expected the state of a generator, got {_check.shown(state)}") from None
