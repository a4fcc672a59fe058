"""The ways to find ranges of activations, and the choice between them.

No way is the best for all networks: extremes of a few samples ask for another one than outliers among channels, and
some networks lose by any clipping. "auto" makes an integer program for each of four ways, lets it compute some of the
samples, and keeps what comes closest to the float model, for the median sample as well as in total: the median alone
would let a range clip those that reach far, the total alone would hear only these. That takes one pass of all samples
through the float model, and of some through four integer programs. Outputs keep their least and greatest values: that
costs no more than 0.1 dB, and what a user looks for lies there, such as a detector's best score. Corrected biases (see
bias_correction.py) are tried last, with the ranges that were kept, in a fifth program.

On 23 trained networks (digits, MNIST, ResNet-8 of CIFAR-10, an autoencoder, three tables; 512 samples) w8a8 gains 0.6
dB for the median of other samples and loses on none, and 0.5 dB in total, -0.4 at worst. "percentile" alone loses up to
3.7 dB, "mse" 2.4, and "trimmed" up to 18 in total. The margin may be 0.1 to 0.3.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from qlite import metrics
from qlite.grids.qparams import QParams
from qlite.grids.spec import METHODS
from qlite.nn.calibrate import grids_of
from qlite.nn.model import Model
from qlite.nn.observe import Observations, Outlier
from qlite.nn.plan import Plan
from qlite.nn.program import Program
from qlite.nn.retarget import convert, gives_codes
from qlite.nn.scheme import TARGETS

#: What "auto" tries beside "minmax", of which one has to be so many dB better: less is chance.
OTHERS, MARGIN_DB = ("percentile", "mse", "trimmed"), 0.3
#: Where a result counts as exact: differences beyond say nothing.
EXACT_DB = 150.0
RANGES = ("auto", *METHODS, "trimmed")
#: Samples that candidates are compared on, at most.
COMPARED = 128
#: Makes a program of grids, with corrected biases or the model's own.
Lower = Callable[[dict[str, QParams], bool], Program]
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
    gain_db : dict of float
        What "auto" found for each way that it tried and whose sums cannot overflow: by how much its signal to
        quantization noise is above that of "minmax", in the median over samples or in total, whichever is less.
    outliers : tuple of Outlier
        The samples that reach more than three times as far as the median one in some value, those that do so most
        first.
    constant : dict of float
        The inputs that are one number in all samples, and that number: hardly what the model will meet.
    are_same : bool
        Whether all samples are one and the same.
    bias_gain_db : float, optional
        The same as `gain_db` for corrected biases, against the model's own, where both were tried.
    is_bias_corrected : bool
        Whether biases make up for rounded weights.
    """

    method: str
    samples: int
    gain_db: Mapping[str, float] = field(default_factory=dict)
    outliers: tuple[Outlier, ...] = ()
    bias_gain_db: float | None = None
    is_bias_corrected: bool = False
    constant: Mapping[str, float] = field(default_factory=dict)
    are_same: bool = False

    def __str__(self) -> str:
        tried = ", ".join(f"{name} {gain:+.1f} dB" for name, gain in self.gain_db.items())
        count = "1 sample" if self.samples == 1 else f"{self.samples} samples"
        others = f"none over {MARGIN_DB} dB better" if self.method == "minmax" else "against minmax"
        text = f"ranges by {self.method!r} of {count}" + (f" ({others}: {tried})" if tried else "")
        if self.is_bias_corrected:
            text += "; biases corrected" + ("" if self.bias_gain_db is None else f" ({self.bias_gain_db:+.1f} dB)")
        return "; ".join([text, *self.doubts])

    @property
    def doubts(self) -> list[str]:
        """What speaks against the samples, in words."""
        found = [f"{name!r} is {number:.6g} throughout" for name, number in self.constant.items()]
        if self.are_same and (self.samples == 1 or not found):
            count = "1 sample alone" if self.samples == 1 else "samples that are all the same"
            found.append(f"{count} cannot tell how far others reach")
        return [*found, self._outliers_text()] if self.outliers else found

    def _outliers_text(self) -> str:
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
    bias_correction: bool | str,
    lower: Lower,
    is_static: bool,
) -> tuple[Program, Calibration]:
    """Return the program that `lower` gives for the grids which a method finds, and how that went.

    Candidates are compared by the conventions of one target, with codes as outputs where all layers are static and the
    last ones give codes, so that the choice is the same for all targets. Those beside "minmax" may overflow, and are
    left out then.
    """
    outliers = tuple(seen.outliers())
    constant = {name: low + 0.0 for name, (low, high) in seen.ranges.items() if low == high}  # no -0.0
    made = partial(Calibration, samples=seen.spread.count, outliers=outliers, constant=constant, are_same=seen.are_same)
    if method != "auto":
        program = lower(grids_of(model, seen, method, bits, percentile), bias_correction is True)
        return program, made(method, is_bias_corrected=bias_correction is True)
    arrays = seen.spread.without({outlier.sample for outlier in outliers})
    inputs, results = arrays[: len(model.inputs)], arrays[len(model.inputs) :]
    grids = grids_of(model, seen, "minmax", bits)
    best = lower(grids, False)
    target = replace(TARGETS["numpy"], integer_output=is_static and gives_codes(best))

    def tried(program: Program) -> np.ndarray:
        return closeness(results, _run(convert(program, target), inputs))

    name, most, found = "minmax", MARGIN_DB, {}
    least = reached = tried(best)
    for other in OTHERS:
        with suppress(OverflowError):  # of sums, as another zero point lets codes lie farther from it
            candidate = grids_of(model, seen, other, bits, of_outputs="minmax")
            program = lower(candidate, False)
            close = tried(program)
            found[other] = float(np.min(close - least))
            if found[other] > most:
                name, most, best, grids, reached = other, found[other], program, candidate, close
    gain, is_corrected = None, bias_correction is True
    if bias_correction == "auto":
        with suppress(OverflowError):
            program = lower(grids, True)
            gain = float(np.min(tried(program) - reached))
            is_corrected = gain >= 0
            best = program if is_corrected else best
    elif is_corrected:
        best = lower(grids, True)
    return best, made(name, gain_db=found, bias_gain_db=gain, is_bias_corrected=is_corrected)


def closeness(exact: Sequence[np.ndarray], approximate: Sequence[np.ndarray]) -> np.ndarray:
    """Return the signal to quantization noise in dB, of the median sample and of all together: means over outputs.

    Samples whose result is zero everywhere say nothing about a ratio and are left out.
    """
    found = []
    for real, values in zip(exact, approximate, strict=True):
        real, values = real.reshape(len(real), -1), values.reshape(len(real), -1)
        told = real.any(axis=1)
        if told.any():
            real, values = real[told], values[told]
            found.append([np.median(metrics.sqnr_db(real, values, axis=1)), metrics.sqnr_db(real, values)])
    return np.minimum(found, EXACT_DB).mean(axis=0) if found else np.zeros(2)


def _run(program: Program, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The outputs of a program."""
    given = [x.astype(program.buffers[i].dtype, copy=False) for i, x in zip(program.inputs, inputs, strict=True)]
    results = Plan(program).run(*given)
    return [results] if len(program.outputs) == 1 else list(results)


def warn_of(calibration: Calibration) -> None:
    """Warn of samples from which ranges come that others do not fit."""
    if calibration.doubts:
        warnings.warn(f"data: {'; '.join(calibration.doubts)}; see `QModel.calibration`", UserWarning, stacklevel=3)
