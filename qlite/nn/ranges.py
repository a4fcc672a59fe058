"""The ways to find ranges of activations, and the choice between them.

No way is the best for all networks: extremes of a few samples ask for another one than outliers among channels, and
some networks lose by any clipping. "auto" makes an integer program for each of four ways, lets it compute some of the
samples, and keeps what comes closest to the float model. That takes one pass of all samples through the float model,
and of some through four integer programs.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from qlite import metrics
from qlite.grids.qparams import QParams
from qlite.grids.spec import METHODS
from qlite.nn.calibrate import grids_of
from qlite.nn.model import Model
from qlite.nn.observe import Observations, Outlier
from qlite.nn.plan import Plan
from qlite.nn.program import Program
from qlite.nn.retarget import convert
from qlite.nn.scheme import TARGETS

#: What "auto" tries; of equals the first.
CANDIDATES = ("minmax", "percentile", "mse", "trimmed")
RANGES = ("auto", *METHODS, "trimmed")
#: Samples that candidates are compared on, at most.
COMPARED = 128
#: Outliers that a message names.
SHOWN = 5


@dataclass(frozen=True)
class Calibration:
    """How the grids of a model's activations were found.

    Attributes
    ----------
    method : str
        How ranges were chosen: what "auto" kept, or what was asked for.
    samples : int
    sqnr_db : dict of float
        What "auto" found for each way that it tried: the mean over outputs of the median over samples.
    outliers : tuple of Outlier
        The samples that reach more than three times as far as the median one in some value, those that do so most
        first.
    """

    method: str
    samples: int
    sqnr_db: Mapping[str, float] = field(default_factory=dict)
    outliers: tuple[Outlier, ...] = ()

    def __str__(self) -> str:
        tried = ", ".join(f"{name} {value:.1f}" for name, value in self.sqnr_db.items())
        text = f"ranges by {self.method!r} of {self.samples} samples" + (f" (dB: {tried})" if tried else "")
        return "; ".join([text, *([self.outliers_text] if self.outliers else [])])

    @property
    def outliers_text(self) -> str:
        """The outliers in words, of many the first ones."""
        shown = ", ".join(map(str, self.outliers[:SHOWN]))
        more = len(self.outliers) - SHOWN
        return f"samples that stand out: {shown}" + (f" and {more} more" if more > 0 else "")


def chosen(
    model: Model,
    seen: Observations,
    method: str,
    bits: Mapping[str, int],
    percentile: float,
    lower: Callable[[dict[str, QParams]], Program],
    gives_codes: bool,
) -> tuple[Program, Calibration]:
    """Return the program that `lower` gives for the grids which a method finds, and how that went.

    Candidates are compared by the conventions of one target, with codes as outputs if there are any, so that the choice
    is the same for all targets.
    """
    outliers = tuple(seen.outliers())
    if method != "auto":
        program = lower(grids_of(model, seen, method, bits, percentile))
        return program, Calibration(method, seen.spread.count, outliers=outliers)
    arrays = seen.spread.arrays
    inputs, results = arrays[: len(model.inputs)], arrays[len(model.inputs) :]
    target = replace(TARGETS["numpy"], integer_output=gives_codes)
    programs = {name: lower(grids_of(model, seen, name, bits)) for name in CANDIDATES}
    found = {name: closeness(results, _run(convert(p, target), inputs)) for name, p in programs.items()}
    best = max(CANDIDATES, key=lambda name: found[name])
    return programs[best], Calibration(best, seen.spread.count, found, outliers)


def closeness(exact: Sequence[np.ndarray], approximate: Sequence[np.ndarray]) -> float:
    """Return the signal to quantization noise in dB: the mean over outputs of the median over samples.

    The median: one sample of great values would outweigh all others in a sum. Samples whose result is zero everywhere
    say nothing about a ratio and are left out.
    """
    medians = []
    for real, values in zip(exact, approximate, strict=True):
        real, values = real.reshape(len(real), -1), values.reshape(len(real), -1)
        told = real.any(axis=1)
        medians.append(float(np.median(metrics.sqnr_db(real[told], values[told], axis=1))) if told.any() else 0.0)
    return float(np.mean(medians))


def _run(program: Program, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The outputs of a program."""
    given = [x.astype(program.buffers[i].dtype, copy=False) for i, x in zip(program.inputs, inputs, strict=True)]
    results = Plan(program).run(*given)
    return [results] if len(program.outputs) == 1 else list(results)


def warn_of(calibration: Calibration) -> None:
    """Warn of samples that stand out: they make the ranges that all others are coded on coarse."""
    if calibration.outliers:
        warnings.warn(f"data: {calibration.outliers_text}; see `QModel.calibration`", UserWarning, stacklevel=3)
