"""Whether a quantized model predicts worse than the float model, or only differently on the samples at hand."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from qlite import _check
from qlite._public import public
from qlite.analysis.bootstrap import Outputs, differences
from qlite.metrics import named
from qlite.nn.predictor import VALUES, Predictor

#: Figures that are no shares of samples or pairs.
NOT_IN_POINTS = (*named.OF_VALUES, "cross_entropy")


@public
@dataclass(frozen=True)
class AccuracyReport:
    """How well a quantized model predicts next to the float model, and how sure that is. Made by `compare_accuracy`.

    Attributes
    ----------
    metric : str
    figure, float_figure : float
        Of the quantized and of the float model.
    interval : tuple of float
        Bounds for ``figure - float_figure`` on all samples of this kind, at the given confidence.
    confidence : float
    samples : int
    agreement : float or None
        Share of samples that get the same label from both; None for values, as the next three.
    lost, gained : int or None
        Samples that only the float model, and that only the quantized model labels right.
    p_value : float or None
        Probability of `lost` and `gained` as far apart or farther, if in truth neither is more frequent.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> x = np.random.default_rng(0).normal(size=(200, 4))
    >>> m = ql.from_weights([(np.eye(4), None)])
    >>> report = ql.compare_accuracy(m, ql.quantize_model(m, "w8"), x, x.argmax(axis=1))
    >>> report.lost, report.difference, report.p_value
    (0, 0.0, 1.0)
    """

    metric: str
    figure: float
    float_figure: float
    interval: tuple[float, float]
    confidence: float
    samples: int
    agreement: float | None = None
    lost: int | None = None
    gained: int | None = None
    p_value: float | None = None

    @property
    def difference(self) -> float:
        """``figure - float_figure``."""
        return self.figure - self.float_figure

    @property
    def drop(self) -> float:
        """How much worse the quantized model is: below 0 if it is better."""
        return named.drop(self.metric, self.float_figure, self.figure)

    @property
    def verdict(self) -> str:
        """What the interval says: "a drop", "a gain" or "within chance"; "unknown" for figures that are NaN."""
        low, high = self.interval
        if low > 0 or high < 0:
            return "a drop" if named.drop(self.metric, 0, low) > 0 else "a gain"
        return "within chance" if low <= high else "unknown"

    def __str__(self) -> str:
        low, high = self.interval
        if self.metric in NOT_IN_POINTS:
            text = f"{self.metric} {self.figure:.4g}, float {self.float_figure:.4g}: {self.difference:+.4g}"
            bounds = f"{low:+.4g} to {high:+.4g}"
        else:
            text = (
                f"{self.metric} {self.figure:.2%}, float {self.float_figure:.2%}: {100 * self.difference:+.2f} points"
            )
            bounds = f"{100 * low:+.2f} to {100 * high:+.2f}"
        text += f", {self.verdict} ({100 * self.confidence:.3g}% interval {bounds}, {self.samples:,} samples"
        if self.agreement is None:
            return f"{text})"
        return (
            f"{text}; {self.lost} lost, {self.gained} gained, p = {self.p_value:.2g}; agreement {self.agreement:.2%})"
        )

    __repr__ = __str__


def compare_accuracy(
    model: Predictor,
    quantized: Predictor,
    x: Any,
    y: Any,
    *,
    metric: str = "accuracy",
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> AccuracyReport:
    """Measure two models on the same labelled samples, and how far their difference can be chance.

    The interval is that of the paired bootstrap; the p-value is McNemar's exact one: of ``lost + gained`` samples that
    only one model labels right, twice the probability of ``min(lost, gained)`` or fewer heads in as many throws of a
    coin, at most 1.

    Parameters
    ----------
    model, quantized : Sequential, QModel
        The float model, and what was made of it; any two models of the same task and classes.
    x, y : array_like
        See `Sequential.evaluate`.
    metric : str
        See `Sequential.evaluate`.
    confidence : float
        Of the interval, between 0 and 1.
    resamples : int
        How often samples are drawn. The time is that of resamples * samples additions, less for figures of labels.
    seed : int
        Of the draws.

    Returns
    -------
    AccuracyReport

    Raises
    ------
    TypeError, ValueError
        Something else than two models of one task and the same classes; samples that do not fit; a metric that there
        is not; a confidence, `resamples` or `seed` out of range.

    References
    ----------
    Efron and Tibshirani, "An introduction to the bootstrap", 1993. McNemar, "Note on the sampling error of the
    difference between correlated proportions or percentages", 1947. Agresti and Min, "Simple improved confidence
    intervals for comparing matched proportions", 2005 (on adding to the counts).

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> rng = np.random.default_rng(0)
    >>> m = ql.from_weights([(rng.normal(size=(8, 3)), None)])
    >>> x = rng.normal(size=(1000, 8))
    >>> y = m.predict(x + 0.3 * rng.normal(size=x.shape))
    >>> ql.compare_accuracy(m, ql.quantize_model(m, "w8a8", data=x), x, y).verdict
    'within chance'
    """
    expect_pair(model, quantized)
    named.checked("metric", metric, model._class_count)
    if not 0 < _check.number("confidence", confidence) < 1:
        raise ValueError(f"confidence: expected more than 0 and less than 1, got {confidence}")
    resamples = _check.integer("resamples", resamples, 1)
    rng = np.random.default_rng(_check.integer("seed", seed, 0))
    raw, quantized_raw = model(x), quantized(x)
    if quantized_raw.shape != raw.shape:
        raise ValueError(f"quantized: expected outputs of shape {raw.shape}, as model's, got {quantized_raw.shape}")
    y = model._expected(y, raw)
    first, second = _outputs(model, raw, metric), _outputs(quantized, quantized_raw, metric)
    drawn = differences(metric, y, first, second, rng, resamples)
    return AccuracyReport(
        metric,
        quantized._figure(metric, y, quantized_raw),
        model._figure(metric, y, raw),
        _interval(drawn, confidence),
        float(confidence),
        len(y),
        *((None,) * 4 if model.task in VALUES else _compare_labels(y, first.predicted, second.predicted)),
    )


def expect_pair(model: Any, quantized: Any) -> None:
    """Refuse what are no two models of the same task and classes."""
    for name, value in (("model", model), ("quantized", quantized)):
        if not isinstance(value, Predictor):
            raise TypeError(f"{name}: expected a model, such as a Sequential or a QModel, got {type(value).__name__}")
    if quantized.task != model.task:
        raise ValueError(f"quantized: expected the task of model, {model.task!r}, got {quantized.task!r}")
    count = model._class_count
    if quantized._class_count != count or not np.array_equal(model._labels(count), quantized._labels(count)):
        raise ValueError(f"quantized: expected the classes of model, {model._labels(count)}, got {quantized.classes}")


def mcnemar(lost: int, gained: int) -> float:
    """Return the exact two-sided p-value of McNemar's test: ``min(1, 2 sum_{k <= fewer} binom(both, k) / 2**both)``."""
    both, fewer = lost + gained, min(lost, gained)
    if 2 * fewer == both:
        return 1.0
    k = np.arange(1, fewer + 1)
    logarithms = np.concatenate([[0.0], np.log((both - k + 1) / k).cumsum()]) - (both - 1) * np.log(2)
    return float(min(1.0, np.exp(logarithms).sum()))


def _interval(drawn: np.ndarray, confidence: float) -> tuple[float, float]:
    """Percentiles of what is no NaN; NaN without any."""
    known = drawn[~np.isnan(drawn)]
    if len(known) == 0:
        return math.nan, math.nan
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2]).tolist()
    return low, high


def _outputs(model: Predictor, raw: np.ndarray, metric: str) -> Outputs:
    probability = model._probability(raw) if named.needs_scores(metric) else raw
    return Outputs(model._decide(raw), probability, model._labels(probability.shape[1]))


def _compare_labels(y: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[float, int, int, float]:
    """Agreement of two predictions, samples that only the first and only the second has right, McNemar's p-value."""
    lost = int(np.count_nonzero((first == y) & (second != y)))
    gained = int(np.count_nonzero((first != y) & (second == y)))
    return float(np.mean(first == second)), lost, gained, mcnemar(lost, gained)
