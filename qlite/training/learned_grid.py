"""Grids whose scales training finds."""

import math
from dataclasses import replace

import numpy as np

from qlite.grids.qparams import QParams

#: What learns scales: both from rounding and clipping (Esser et al. 2020), none, or those of activations from clipping
#: alone (Choi et al. 2018).
METHODS = ("lsq", "ste", "pact")
#: How many times a step of the optimizer moves the logarithm of a scale. A learning rate that suits weights is slow for
#: scales, which at 2 bits have to change by half. Of 1, 10 and 30 the middle one was best or next to it for w4a4, w2a8,
#: ternary and w2a2 on digits; the differences to the others are below 0.5 points.
SPEED = 10.0
#: Bounds of a scale's logarithm, between which the product of two scales is a normal float32.
LOG_LIMIT = 40.0
#: Pull on the clipping value in the method "pact": the factor of its square in the loss.
PACT_DECAY = 1e-4


class LearnedGrid:
    """A grid, and its scales as an optimizer moves them: ``scale = exp(SPEED * parameter)``.

    A scale stays positive and normal whatever a step does, and a step moves it by a share of itself, whether it is 1e-3
    or 1e3. (A clipped step of the scale itself would do neither: Adam's steps have the size of the learning rate.)

    Parameters
    ----------
    qparams : QParams
        The grid to begin with; zero points and the range of codes stay.
    values : int
        How many values share a scale: of the inputs of an output, or of a sample.
    learns : bool
        Whether the scales move; else there is no `parameter`.
    moves_inside : bool
        Whether rounding moves them too, not clipping alone.
    """

    def __init__(self, qparams: QParams, values: int, learns: bool, moves_inside: bool = True) -> None:
        if qparams.codebook is not None:
            raise ValueError(f"scheme: expected uniform grids to train on, got {qparams!r}")
        self.qparams = qparams
        self.moves_inside = moves_inside
        self.parameter: np.ndarray | None = None
        self.scale = qparams.scale
        zero_point = qparams.zero_point
        self.farthest = max(qparams.qmax - int(zero_point.min()), int(zero_point.max()) - qparams.qmin)
        self._share = np.float32(1 / math.sqrt(values * self.farthest))
        if learns:
            self.parameter = np.log(np.clip(qparams.scale, math.exp(-LOG_LIMIT), math.exp(LOG_LIMIT)))
            self.parameter /= np.float32(SPEED)
            self.refresh()

    def refresh(self) -> None:
        """Compute `scale` anew, after a step."""
        if self.parameter is not None:
            logarithm = np.clip(self.parameter * np.float32(SPEED), -LOG_LIMIT, LOG_LIMIT)
            self.scale = np.exp(logarithm)

    def gradient(self, of_scale: np.ndarray) -> np.ndarray:
        """Return the gradient of `parameter`, from that of the scale.

        It makes a step of plain gradient descent on the scale, at the learning rate ``1 / sqrt(values * farthest)`` of
        Esser et al., a step of the logarithm. Optimizers that divide by a gradient's size see the sign alone.
        """
        if not self.moves_inside:
            of_scale = of_scale + np.float32(2 * PACT_DECAY * self.farthest**2) * self.scale
        return of_scale * self._share / (self.scale * np.float32(SPEED))

    @property
    def found(self) -> QParams:
        """The grid as it is now."""
        return replace(self.qparams, scale=self.scale)
