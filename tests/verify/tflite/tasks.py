"""What a published network is for, in figures: how far other outputs are from the float model's there.

A detector keeps a sample's detection where its best anchor's score stays above one half. Landmarks count for the
samples where the float model is sure of what it shows. Each figure has a number, of which less is better.
"""

import re
from typing import NamedTuple

import numpy as np


class Figure(NamedTuple):
    """A figure in words, and the number by which two are compared."""

    text: str
    error: float


def figure_of(name, exact, found, x):
    """What outputs of a network of this name lose, next to the float model's for inputs `x`."""
    task = next(task for pattern, task in TASKS if re.search(pattern, name))
    return task(exact, found, x)


def _detector(exact, found, x):
    (boxes, scores), (other_boxes, other_scores) = (sorted(outputs, key=lambda a: -a.shape[-1]) for outputs in (exact, found))
    scores, other_scores = (s.reshape(len(s), -1) for s in (scores, other_scores))
    seen = np.flatnonzero(scores.max(axis=1) > 0)
    if not len(seen):
        return Figure("nothing to find", 0.0)
    best = scores[seen].argmax(axis=1)
    kept = (other_scores[seen].max(axis=1) > 0).sum()
    same = (other_scores[seen].argmax(axis=1) == best).sum()
    off = np.abs(boxes[seen, best, :4] - other_boxes[seen, best, :4]).mean()
    return Figure(f"kept {kept}/{len(seen)}, anchor {same}/{len(seen)}, box {off:.2f} px", len(seen) - kept + off / 1000)


def _landmarks(exact, found, x):
    points = [(a, b) for a, b in zip(exact, found, strict=True) if a[0].size % 3 == 0 and a[0].ndim in (1, 3)]
    points = [(a.reshape(len(a), -1, 3), b.reshape(len(b), -1, 3)) for a, b in points if a[0].size < 2000]
    scores = next((a.ravel() for a in exact if a[0].size == 1), None)
    sure = np.ones(len(x), bool) if scores is None else scores > (0.5 if 0 <= scores.min() and scores.max() <= 1 else 0)
    what = f"{sure.sum()} sure of" if sure.any() else "of"
    sure = sure if sure.any() else ~sure
    width = np.concatenate([np.ptp(a[sure], axis=(0, 1)) for a, _ in points]).max()
    off = [np.linalg.norm(a[sure, :, :2] - b[sure, :, :2], axis=-1) for a, b in points if np.ptp(a[sure]) > width / 10]
    off = np.concatenate(off, axis=1)
    mean = off.mean()
    return Figure(f"{mean:.2f} px, 95 % {np.percentile(off, 95):.2f} ({what} {len(x)})", mean)


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
