"""Inputs of published networks: what calibrates them, and other ones to compare on.

Pictures are those that scikit-learn, scikit-image and matplotlib bring along, cropped, flipped, lighter and darker.
Those that calibrate are not those that are compared on, nor are the faces: one of each. None of them shows a hand: two
that do are files of the package ultralytics, which are taken where they are there. Nothing is downloaded.
"""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .speech import cepstrum

COUNTS = {"calibration": 56, "evaluation": 28}
#: Numbers of pictures of scikit-learn, names of scikit-image's, a file of matplotlib's.
PICTURES = {
    "calibration": ("astronaut", "coffee", "motorcycle_left", "rocket", 0),
    "evaluation": ("grace_hopper.jpg", "chelsea", 1),
}


class Square(NamedTuple):
    """A part of a picture: its first row and column, its side, and quarters of a turn that stand it upright."""

    picture: Any
    top: int
    left: int
    side: int
    turns: int = 0


FACE = {
    "calibration": [Square("astronaut", 56, 153, 144)],
    "evaluation": [Square("grace_hopper.jpg", 90, 116, 297)],
}
EYES = {
    "calibration": [Square("astronaut", 81, 182, 45), Square("astronaut", 83, 226, 45)],
    "evaluation": [Square("grace_hopper.jpg", 148, 175, 90), Square("grace_hopper.jpg", 145, 262, 90)],
}
PEOPLE = {
    "calibration": [Square("astronaut", 0, 0, 512)],
    "evaluation": [Square("grace_hopper.jpg", 0, 0, 512)],
}
HAND = {
    "calibration": [Square("ultralytics:bus.jpg", 482, 221, 77, 3)],
    "evaluation": [Square("ultralytics:zidane.jpg", 352, 980, 175, 1)],
}
HAND_AFAR = {
    "calibration": [Square("ultralytics:bus.jpg", 405, 144, 231, 3)],
    "evaluation": [Square("ultralytics:zidane.jpg", 177, 755, 525, 1)],
}
#: What networks look for, by patterns of a file's name, and the share of inputs that show it.
SOUGHT = (
    ("face_landmark", FACE, 0.75),
    ("iris", EYES, 1.0),
    ("palm", HAND_AFAR, 0.75),
    ("hand", HAND, 0.75),
    ("face|pose|selfie", PEOPLE, 0.5),
    ("", {}, 0.0),
)
#: The lowest and the highest number of a picture, by such patterns.
RANGES = (("resnet8", 0, 255), ("face_detection|pose_detection", -1, 1), ("", 0, 1))


def inputs_of(path, shapes):
    """Inputs of a file that has inputs of these shapes: to calibrate with, and to compare on."""
    recorded = path.with_name(f"{path.stem.split('_')[0]}_input_f32.bin")
    if recorded.exists():
        found = np.fromfile(recorded, np.float32).reshape(-1, *shapes[0])
        held = np.arange(len(found)) % 3 == 2
        return [found[~held]], [found[held]]
    rng = np.random.default_rng(0)
    return [[_made(path.stem, shape, use, count, rng) for shape in shapes] for use, count in COUNTS.items()]


def _made(name, shape, use, count, rng):
    if shape == (49, 10, 1):
        return np.stack([cepstrum(rng)[..., None] for _ in range(count)])
    if len(shape) != 3 or shape[-1] != 3:
        return rng.normal(size=(count, *shape)).astype(np.float32)
    squares, share = _first(SOUGHT, name)
    squares = [square for square in squares.get(use, ()) if _is_there(square.picture)]
    low, high = _first(RANGES, name)
    crops = []
    for i in range(count):
        if squares and rng.random() < share:
            crops.append(_around(squares[i % len(squares)], shape, rng))
        else:
            crops.append(_anywhere(picture(PICTURES[use][i % len(PICTURES[use])]), shape, rng))
    return (np.stack(crops) / 255 * (high - low) + low).astype(np.float32)


def _first(table, name):
    """What a table says of the first pattern that is in a name."""
    return next(rest for pattern, *rest in table if re.search(pattern, name))


# ---- pictures


def _is_there(which):
    return not str(which).startswith("ultralytics:") or find_spec("ultralytics") is not None


@cache
def picture(which):
    """A picture, bytes of (rows, columns, 3)."""
    if isinstance(which, int):
        from sklearn.datasets import load_sample_images

        return load_sample_images().images[which]
    if which.endswith(".jpg"):
        from matplotlib import cbook, image

        package, _, name = which.rpartition(":")
        found = Path(find_spec(package).origin).parent / "assets" / name if package else cbook.get_sample_data(name)
        return image.imread(found)
    from skimage import data, io

    return io.imread(Path(data.__file__).with_name(f"{which}{'.jpg' if which == 'rocket' else '.png'}"))


def _around(square, shape, rng):
    """A crop about a square, 0.8 to 1.25 times as large and up to a tenth beside it."""
    side = square.side * float(rng.uniform(0.8, 1.25))
    beside = (square.side - side) / 2 + rng.uniform(-0.1, 0.1, 2) * square.side
    return _resized(
        picture(square.picture), square.top + beside[0], square.left + beside[1], side, shape, rng, square.turns
    )


def _anywhere(pixels, shape, rng):
    side = float(rng.uniform(0.4, 1.0)) * min(pixels.shape[:2])
    top, left = (rng.uniform(0, n - side) for n in pixels.shape[:2])
    return _resized(pixels, top, left, side, shape, rng)


def _resized(pixels, top, left, side, shape, rng, turns=0):
    """A square between its pixels, turned, perhaps flipped, at 0.7 to 1.3 times the brightness."""
    places = []
    for start, n, most in zip((top, left), shape[:2], pixels.shape[:2], strict=True):
        at = np.clip(start + (np.arange(n) + 0.5) * side / n - 0.5, 0, most - 1.001)
        places.append((at.astype(int), at % 1))
    (rows, down), (columns, right) = places
    pixels = pixels.astype(np.float32)
    mixed = pixels[rows] + (pixels[rows + 1] - pixels[rows]) * down[:, None, None]
    mixed = mixed[:, columns] + (mixed[:, columns + 1] - mixed[:, columns]) * right[:, None]
    mixed = np.rot90(mixed, turns)
    if rng.random() < 0.5:
        mixed = mixed[:, ::-1]
    return np.clip(mixed * rng.uniform(0.7, 1.3), 0, 255)
