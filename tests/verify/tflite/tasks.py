"""What a published network is for, in figures: how far other outputs are from the float model's there.

A detector keeps a sample's detection where its best anchor's score, of more than one half, stays at least that.
Landmarks count for the samples where the float model is sure of what it shows. Each figure has a number, of which less
is better.
"""

import itertools
import re
from typing import NamedTuple

import numpy as np

#: Numbers of a point, by the size of outputs that are landmarks: eyes and brows, irises, hands, faces, bodies.
NUMBERS = {213: 3, 15: 3, 63: 3, 1404: 3, 195: 5}


class Figure(NamedTuple):
    """A figure in words, and the number by which two are compared."""

    text: str
    error: float


def figure_of(name, exact, found, x):
    """What outputs of a network of this name lose, next to the float model's for inputs `x`."""
    task = next(task for pattern, task in TASKS if re.search(pattern, name))
    return task(exact, found, x)


def _detector(exact, found, x):
    by_size = [sorted(outputs, key=lambda values: -values.shape[-1]) for outputs in (exact, found)]
    (boxes, scores), (other_boxes, other_scores) = by_size
    scores, other_scores = (s.reshape(len(s), -1) for s in (scores, other_scores))
    seen = np.flatnonzero(scores.max(axis=1) > 0)
    if not len(seen):
        return Figure("nothing to find", 0.0)
    best = scores[seen].argmax(axis=1)
    kept = (other_scores[seen].max(axis=1) >= 0).sum()
    same = (other_scores[seen].argmax(axis=1) == best).sum()
    off = float(np.abs(boxes[seen, best, :4] - other_boxes[seen, best, :4]).mean())
    text = f"kept {kept}/{len(seen)}, anchor {same}/{len(seen)}, box {off:.2f} px"
    return Figure(text, len(seen) - kept + off / 1000)


def _landmarks(exact, found, x):
    pairs = list(itertools.takewhile(lambda pair: pair[0][0].size in NUMBERS, zip(exact, found, strict=True)))
    if not pairs:
        return _distance(exact, found, x)
    scores = next((a.ravel() for a in exact if a[0].size == 1), np.ones(len(x)))
    is_logit = scores.min() < 0 or scores.max() > 1
    sure = scores > (0 if is_logit else 0.5)
    words = f"{sure.sum()} of {len(x)} sure" if sure.any() else f"none of {len(x)} sure"
    sure = sure if sure.any() else ~sure
    moved = [_points(a[sure]) - _points(b[sure]) for a, b in pairs]
    off = np.concatenate([np.linalg.norm(m, axis=-1) for m in moved], axis=1)
    return Figure(f"{off.mean():.2f} px, 95 %: {np.percentile(off, 95):.2f} ({words})", float(off.mean()))


def _points(values):
    """The first two numbers of each point."""
    numbers = NUMBERS[values[0].size]
    return values.reshape(len(values), -1, numbers)[..., :2]


def _mask(exact, found, x):
    a, b = (values[0] > 0.5 for values in (exact, found))
    overlap = (a & b).sum() / max(1, (a | b).sum())
    return Figure(f"overlap {overlap:.3f}", 1 - overlap)


def _anomaly(exact, found, x):
    a, b = (np.square(values[0] - x).mean(axis=1) for values in (exact, found))
    off = (np.abs(b - a) / a).mean()
    return Figure(f"score off by {off:.2%}", off)


def _classes(exact, found, x):
    a, b = (values[0].argmax(axis=-1) for values in (exact, found))
    return Figure(f"same class {(a == b).sum()}/{len(a)}", (a != b).mean())


def _distance(exact, found, x):
    off = np.mean([np.abs(a - b).mean() for a, b in zip(exact, found, strict=True)])
    return Figure(f"off by {off:.3g}", off)


TASKS = (
    ("detection", _detector),
    ("landmark", _landmarks),
    ("selfie|segmentation", _mask),
    ("^ad_|autoencoder", _anomaly),
    ("resnet|kws|cifar|vww", _classes),
    ("", _distance),
)
