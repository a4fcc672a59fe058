"""The paired bootstrap: how far the difference of two models' figures varies from sample to sample.

The samples are drawn anew, with replacement, and each draw is measured with both models. A draw is a row of weights:
how often each sample, or each group of samples that no figure can tell apart, is in it. Figures of many draws at once
are then sums by weights.

Hits, as those of the accuracy, are drawn from the samples and one more, half of it lost and half gained. With one in
100 samples lost and one in 500 gained, the plain bootstrap's intervals for 95 % hold the truth in 63 of 100 cases (it
often sees no loss at all, and nothing can be drawn from that), these in over 99.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from qlite.metrics import named
from qlite.metrics.labels import averaged, class_numbers
from qlite.metrics.scores import auc_classes, auc_columns, log_losses, top_k_hits
from qlite.metrics.values import explained

#: Weights of draws that are in memory at once: half a MiB, which caches hold. Flat from 1 << 14 to 1 << 16 on a Zen 3;
#: with 1 << 20 losses take six times as long.
BLOCK = 1 << 16
#: Samples in a group, on average, from which on how many of a group are drawn instead of each sample.
GROUPED = 8

Figures = Callable[[np.ndarray], np.ndarray]


class Outputs(NamedTuple):
    """What a model gives for samples: labels or values, and for figures of scores probabilities of the classes."""

    predicted: np.ndarray
    probability: np.ndarray
    classes: np.ndarray


def differences(
    metric: str, y: np.ndarray, first: Outputs, second: Outputs, rng: "np.random.Generator", resamples: int
) -> np.ndarray:
    """Return the second's figure less the first's, for each of so many draws; NaN where a draw lacks a class."""
    if metric == "accuracy" or metric.endswith("_micro") or named.top_k(metric):
        return _hit_differences(_hits(metric, y, first), _hits(metric, y, second), rng, resamples)
    if metric in named.OF_LABELS:
        group, figures = _of_labels(metric, y, first.predicted, second.predicted)
    else:
        group, figures = np.arange(len(y)), [_of_samples(metric, y, outputs) for outputs in (first, second)]
    with np.errstate(invalid="ignore"):
        parts = [figures[1](weights) - figures[0](weights) for weights in _draws(group, rng, resamples)]
    return np.concatenate(parts)


def _hits(metric: str, y: np.ndarray, outputs: Outputs) -> np.ndarray:
    if k := named.top_k(metric):
        return top_k_hits(y, outputs.probability, k, outputs.classes)
    return y == outputs.predicted


def _hit_differences(first: np.ndarray, second: np.ndarray, rng: "np.random.Generator", resamples: int) -> np.ndarray:
    samples, lost, gained = len(first), (first & ~second).sum(), (second & ~first).sum()
    shares = np.array([lost + 0.5, gained + 0.5, samples - lost - gained]) / (samples + 1)
    drawn = rng.multinomial(samples, shares, resamples)
    return (drawn[:, 1] - drawn[:, 0]) / samples


def _draws(group: np.ndarray, rng: "np.random.Generator", resamples: int) -> Iterator[np.ndarray]:
    """Yield blocks of draws (draws, groups): how many samples of each group they hold."""
    counts = np.bincount(group)
    samples, groups = len(group), len(counts)
    is_grouped = groups * GROUPED <= samples
    block = max(1, BLOCK // (groups if is_grouped else samples))
    for start in range(0, resamples, block):
        draws = min(block, resamples - start)
        if is_grouped:
            yield rng.multinomial(samples, counts / samples, draws).astype(np.float64)
        else:
            bins = group[rng.integers(samples, size=(draws, samples))] + groups * np.arange(draws)[:, None]
            yield np.bincount(bins.ravel(), minlength=groups * draws).reshape(draws, groups).astype(np.float64)


def _sums(weights: np.ndarray, numbers: np.ndarray, count: int) -> np.ndarray:
    """Sum each row of weights by the numbers 0..count-1 of its columns: (rows, count)."""
    rows = len(weights)
    bins = numbers + count * np.arange(rows)[:, None]
    return np.bincount(bins.ravel(), weights.ravel(), count * rows).reshape(rows, count)


def _of_labels(metric: str, y: np.ndarray, *predicted: np.ndarray) -> tuple[np.ndarray, list[Figures]]:
    """Groups of samples with the same labels, and figures of weighted groups for each of two predictions."""
    actual, given, classes = class_numbers(np.concatenate([y, y]), np.concatenate(predicted))
    count, (actual, _), givens = len(classes), np.split(actual, 2), np.split(given, 2)
    _, members, group = np.unique(
        (actual * count + givens[0]) * count + givens[1], return_index=True, return_inverse=True
    )
    kind, _, average = metric.partition("_")
    actual = actual[members]

    def of(given: np.ndarray) -> Figures:
        is_right = given == actual

        def figures(weights: np.ndarray) -> np.ndarray:
            right = _sums(weights * is_right, actual, count)
            occurs, predicted = _sums(weights, actual, count), _sums(weights, given, count)
            return averaged(kind, right, predicted, occurs, average or "macro", occurs + predicted > 0)

        return figures

    return group, [of(given[members]) for given in givens]


def _of_samples(metric: str, y: np.ndarray, outputs: Outputs) -> Figures:
    """Figures of weighted samples."""
    if metric == "roc_auc":
        return _areas(*auc_columns(y, outputs.probability, outputs.classes))
    if metric == "cross_entropy":
        losses = log_losses(y, outputs.probability, outputs.classes)
        return lambda weights: weights @ losses / len(y)
    values = y.astype(np.float64).reshape(len(y), -1)
    error = values - outputs.predicted.reshape(values.shape)
    if metric == "mae":
        return lambda weights: (weights @ np.abs(error)).mean(axis=1) / len(y)
    squares = np.square(error)
    if metric == "mse":
        return lambda weights: (weights @ squares).mean(axis=1) / len(y)
    if metric == "rmse":
        return lambda weights: np.sqrt(weights @ squares / len(y)).mean(axis=1)
    centred = values - values.mean(axis=0)  # sums of large values would leave nothing of their spread

    def r2(weights: np.ndarray) -> np.ndarray:
        spread = weights @ np.square(centred) - np.square(weights @ centred) / len(y)
        return explained(weights @ squares, spread).mean(axis=1)

    return r2


def _areas(column: np.ndarray, score: np.ndarray) -> Figures:
    """Areas under ROC curves, one class against the rest, averaged over the classes."""
    areas = [_area(column == i, score[:, i]) for i in auc_classes(score.shape[1])]
    return lambda weights: np.mean([area(weights) for area in areas], axis=0)


def _area(is_positive: np.ndarray, score: np.ndarray) -> Figures:
    """The share of pairs of weighted samples, one of the class and one of the rest, in the right order."""
    order, positives = np.argsort(score), np.flatnonzero(is_positive)
    lower, upper = (np.searchsorted(score[order], score[positives], side) for side in ("left", "right"))

    def figures(weights: np.ndarray) -> np.ndarray:
        others = np.zeros((len(weights), len(score) + 1))  # the weight of the rest up to each place
        np.cumsum(weights[:, order] * ~is_positive[order], axis=1, out=others[:, 1:])
        own = weights[:, positives]
        pairs = (own * (others[:, lower] + others[:, upper])).sum(axis=1) / 2
        return pairs / (own.sum(axis=1) * others[:, -1])

    return figures
