"""What happened in training: figures of every epoch."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qlite import _check
from qlite._public import public

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN_ROWS = 20


@public
@dataclass(repr=False, eq=False)
class History:
    """Figures of every epoch of a training: ``history["loss"]`` is a list.

    There are "loss" (of the batches as they came, with dropout and the like), "accuracy" (the same, where there are
    labels), "validation_loss", "validation_accuracy" or "validation_mse" (after the epoch, where there is something to
    validate with; the latter for values, whatever the loss), "learning_rate" (at the end) and "seconds".

    Raises
    ------
    KeyError
        A figure that is not there; the message lists those that are.

    Attributes
    ----------
    figures : dict of list of float
    stopped : str or None
        Why training ended before its last epoch.
    interrupted : bool
        Whether Ctrl-C ended it.
    best_epoch : int or None
        The epoch with the least validation loss, counted from 1; with `restore_best` the model has its weights.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> x = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]
    >>> m = ql.Sequential([ql.Dense(units=1)], input_shape=(1,), task="regression")
    >>> m = ql.train(m, x, 3 * x, optimizer="sgd", learning_rate=0.1, epochs=50, batch_size=16)
    >>> len(m.history), m.history["loss"][-1] < 1e-3
    (50, True)
    """

    figures: dict[str, list[float]] = field(default_factory=dict, init=False)
    stopped: str | None = field(default=None, init=False)
    interrupted: bool = field(default=False, init=False)
    best_epoch: int | None = field(default=None, init=False)

    def __getitem__(self, name: str) -> list[float]:
        if name not in self.figures:
            known = tuple(self.figures)
            raise KeyError(f"name: expected one of {known}, got {name!r}{_check.close(name, known)}")
        return self.figures[name]

    def __contains__(self, name: str) -> bool:
        return name in self.figures

    def __len__(self) -> int:
        """How many epochs there were."""
        return max(map(len, self.figures.values()), default=0)

    def append(self, figures: dict[str, float]) -> None:
        """Add the figures of an epoch."""
        for name, value in figures.items():
            self.figures.setdefault(name, []).append(value)

    def plot(self) -> "Figure":
        """Draw the loss of every epoch, that of validation too.

        Returns
        -------
        matplotlib.figure.Figure
            In a notebook it shows when it is a cell's last line; elsewhere ``.savefig(path)`` or ``pyplot.show()``.

        Raises
        ------
        ImportError
            matplotlib is missing; the message names the extra that brings it.
        """
        from qlite.analysis.plot import plot_history

        return plot_history(self)

    def __repr__(self) -> str:
        end = f", {self.stopped}" if self.stopped else ""
        if not len(self):
            return f"History(no epochs{end})"
        columns = [["epoch", *map(str, range(1, len(self) + 1))]]
        columns += [[name, *(f"{value:.4g}" for value in values)] for name, values in self.figures.items()]
        widths = [max(map(len, column)) for column in columns]
        rows = ["  ".join(map(str.rjust, row, widths)) for row in zip(*columns, strict=True)]
        if len(rows) > SHOWN_ROWS + 1:
            rows[1:-SHOWN_ROWS] = ["..."]
        return "\n  ".join([f"History({len(self)} epochs{end})", *rows])
