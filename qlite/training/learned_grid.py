"""Grids whose scales training finds."""

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from qlite.grids.qparams import QParams

#: Which scales are learned: all, from rounding and clipping (Esser et al. 2020); none; or those of activations, from
#: clipping alone (Choi et al. 2018).
METHODS = ("lsq", "ste", "pact")
#: How many times as far as a weight a step of the optimizer moves the logarithm of a scale. At learning rates that suit
#: weights, scales, which at 2 bits have to change by half, would take too long. Of 1, 10 and 30 the middle one was the
#: best or next to it for w4a4, w2a8, ternary and w2a2 on digits; between 10 and 30 lay less than 0.6 points.
SPEED = 10.0
#: Bounds of a scale's logarithm, between which the product of two scales is a normal float32.
LOG_LIMIT = 40.0
#: Greatest magnitude of the gradient of what stands for a scale. Plain gradient descent with momentum would leave every
#: bound at 8 bits, where rounding is noise that a small scale divides; at the default rates a step moves a scale by at
#: most a twentieth of itself.
GRADIENT_LIMIT = 0.05
#: Pull on the clipping value in the method "pact": the factor of its square in the loss.
PACT_DECAY = 1e-4


class LearnedGrid:
    """A grid in training.

    Parameters
    ----------
    qparams : QParams
        The grid to begin with; zero points and the range of codes stay.
    values : int
        How many values share a scale: the weights of an output, or the elements of a sample.
    learns : bool
        Whether the scales move.
    moves_inside : bool
        Whether rounding moves them too, not clipping alone.

    Attributes
    ----------
    scale, of_scale : ndarray
        The scales of now, and their gradients, to be written.
    parameter, gradient : ndarray or None
        What the optimizer moves in place of the scales, and its gradient: see `Scales`.
    """

    def __init__(self, qparams: QParams, values: int, learns: bool, moves_inside: bool = True) -> None:
        if qparams.codebook is not None:
            raise ValueError(f"scheme: expected uniform grids to train on, got {qparams!r}")
        self.qparams, self.values, self.learns, self.moves_inside = qparams, values, learns, moves_inside
        self.scale, self.of_scale = qparams.scale, np.zeros_like(qparams.scale)
        self.parameter: np.ndarray | None = None
        self.gradient: np.ndarray | None = None

    def add(self, of_scale: float) -> None:
        """Add to the gradient of the one scale, to which several steps may round."""
        if self.learns:
            self.of_scale += np.float32(of_scale)

    @property
    def farthest(self) -> int:
        """How many steps from zero the farther end of the grid lies."""
        p = self.qparams
        return max(p.qmax - int(p.zero_point.min()), int(p.zero_point.max()) - p.qmin)

    @property
    def found(self) -> QParams:
        """The grid as it is now."""
        return replace(self.qparams, scale=self.scale)


class Scales:
    """The scales of all learned grids, in one piece of memory: ``scale = exp(SPEED * parameter)``.

    So a scale is positive and normal whatever a step does, and a step moves it by a share of itself, be it 1e-3 or 1e3.
    (Clipped steps of the scale itself would not: Adam's have the size of the learning rate.) The gradient of the
    parameter makes a step of plain gradient descent on the scale, at the rate ``1 / sqrt(values * farthest)`` of Esser
    et al., a step of the logarithm; optimizers that divide by a gradient's size see little but its sign.
    """

    def __init__(self, grids: Iterable[LearnedGrid]) -> None:
        self._grids = [grid for grid in grids if grid.learns]
        sizes = [grid.scale.size for grid in self._grids]
        ends = np.cumsum([0, *sizes])
        self._parameter, self._scale, self._of_scale, self._gradient = np.zeros((4, ends[-1]), np.float32)
        shares = [1 / (SPEED * math.sqrt(grid.values * grid.farthest)) for grid in self._grids]
        pulls = [0.0 if grid.moves_inside else 2 * PACT_DECAY * grid.farthest**2 for grid in self._grids]
        self._share, self._pull = (np.repeat(np.array(each, np.float32), sizes) for each in (shares, pulls))
        for grid, first, end in zip(self._grids, ends, ends[1:], strict=False):
            shape = grid.scale.shape
            start = np.clip(grid.scale, math.exp(-LOG_LIMIT), math.exp(LOG_LIMIT))
            self._parameter[first:end] = np.log(start).ravel() / np.float32(SPEED)
            grid.parameter, grid.scale, grid.of_scale, grid.gradient = (
                block[first:end].reshape(shape)
                for block in (self._parameter, self._scale, self._of_scale, self._gradient)
            )
        self.refresh()

    def refresh(self) -> None:
        """Compute all scales anew, after a step."""
        np.multiply(self._parameter, np.float32(SPEED), out=self._scale)
        self._scale.clip(-LOG_LIMIT, LOG_LIMIT, out=self._scale)
        np.exp(self._scale, out=self._scale)

    def begin(self) -> None:
        """Forget the gradients of the scales."""
        self._of_scale[...] = 0

    def differentiate(self) -> None:
        """Compute the gradients of all parameters from those of the scales."""
        np.multiply(self._pull, self._scale, out=self._gradient)
        self._gradient += self._of_scale
        self._gradient *= self._share
        self._gradient /= self._scale
        self._gradient.clip(-GRADIENT_LIMIT, GRADIENT_LIMIT, out=self._gradient)
