"""Inputs of published networks: what calibrates them, and other ones to compare on.

Pictures are those that scikit-learn, scikit-image and matplotlib bring along, cropped, flipped, lighter and darker.
Those that calibrate are not those that are compared on, nor are the faces: one of each. Nothing is downloaded.
"""

import re

import numpy as np

from .speech import cepstrum

COUNTS = {"calibration": 56, "evaluation": 28}
#: Numbers of the pictures of scikit-learn; names of scikit-image's; a file of matplotlib's.
PICTURES = {
    "calibration": ("astronaut", "coffee", "motorcycle_left.png", "rocket", 0),
    "evaluation": ("grace_hopper.jpg", "chelsea", 1),
}
#: The rows, columns and sides of squares around the face of the first picture of each, and around its eyes.
FACES = {"calibration": ((56, 153, 144),), "evaluation": ((90, 116, 297),)}
EYES = {"calibration": ((81, 182, 45), (83, 226, 45)), "evaluation": ((148, 175, 90), (145, 262, 90))}
#: The lowest and the highest number of a picture, by patterns of the file's name.
RANGES = (("resnet8", (0, 255)), ("face_detection|pose_detection", (-1, 1)), ("", (0, 1)))
#: What a network looks at, by such patterns: the squares of the first picture, the share of the inputs that show one.
SHOWN = (
    ("face_landmark", (FACES, 0.75)),
    ("iris", (EYES, 1.0)),
    ("face|pose|palm|selfie", ({"calibration": ((0, 0, 512),), "evaluation": ((0, 0, 512),)}, 0.5)),
    ("", ({}, 0.0)),
)


def inputs_of(path, shapes):
    """Inputs of a file that has inputs of these shapes, to calibrate with and to compare on, and what they are."""
    recorded = path.with_name(f"{path.stem.split('_')[0]}_input_f32.bin")
    if recorded.exists():
        found = np.fromfile(recorded, np.float32).reshape(-1, *shapes[0])
        held = np.arange(len(found)) % 3 == 2
        return [found[~held]], [found[held]], "recorded"
    rng = np.random.default_rng(0)
    made = [[_made(path.stem, shape, use, count, rng) for shape in shapes] for use, count in COUNTS.items()]
    return *made, _words(path.stem, shapes[0])


def first_of(table, name):
    """What a table says of the first pattern that a name has."""
    return next(value for pattern, value in table if re.search(pattern, name))


def _words(name, shape):
    if len(shape) != 3 or shape[-1] != 3:
        return "synthetic"
    return "no hand seen" if "hand" in name or "palm" in name else "pictures"


def _made(name, shape, use, count, rng):
    if shape == (49, 10, 1):
        return np.stack([cepstrum(rng)[..., None] for _ in range(count)])
    if len(shape) != 3 or shape[-1] != 3:
        return rng.normal(size=(count, *shape)).astype(np.float32)
    pictures, (squares, share) = [picture(p) for p in PICTURES[use]], first_of(SHOWN, name)
    low, high = first_of(RANGES, name)
    crops = []
    for i in range(count):
        if rng.random() < share:
            crops.append(_around(pictures[0], squares[use][i % len(squares[use])], shape, rng))
        else:
            crops.append(_anywhere(pictures[i % len(pictures)], shape, rng))
    return (np.stack(crops) / 255 * (high - low) + low).astype(np.float32)


def picture(which):
    """A picture of bytes."""
    if isinstance(which, int):
        from sklearn.datasets import load_sample_images

        return load_sample_images().images[which]
    if which.endswith(".jpg"):
        from matplotlib import cbook, image

        return image.imread(cbook.get_sample_data(which, asfileobj=False))
    from pathlib import Path

    from skimage import data, io

    return getattr(data, which)() if hasattr(data, which) else io.imread(Path(data.__file__).with_name(which))


def _around(pixels, square, shape, rng):
    """A crop about a square, 0.8 to 1.25 times as large and up to a tenth beside it."""
    top, left, side = square
    found = side * float(rng.uniform(0.8, 1.25))
    moved = (side - found) / 2 + rng.uniform(-0.1, 0.1, 2) * side
    return _resized(pixels, top + moved[0], left + moved[1], found, shape, rng)


def _anywhere(pixels, shape, rng):
    side = float(rng.uniform(0.4, 1.0)) * min(pixels.shape[:2])
    top, left = (rng.uniform(0, n - side) for n in pixels.shape[:2])
    return _resized(pixels, top, left, side, shape, rng)


def _resized(pixels, top, left, side, shape, rng):
    """A square as the bilinear mean of pixels, perhaps flipped, at 0.7 to 1.3 times the brightness."""
    places = []
    for start, n, most in zip((top, left), shape[:2], pixels.shape[:2], strict=True):
        at = np.clip(start + (np.arange(n) + 0.5) * side / n - 0.5, 0, most - 1.001)
        places.append((at.astype(int), at % 1))
    (rows, down), (columns, right) = places
    blocks = pixels.astype(np.float64)
    upper, lower = blocks[rows], blocks[rows + 1]
    mixed = upper + (lower - upper) * down[:, None, None]
    mixed = mixed[:, columns] + (mixed[:, columns + 1] - mixed[:, columns]) * right[:, None]
    if rng.random() < 0.5:
        mixed = mixed[:, ::-1]
    return np.clip(mixed * rng.uniform(0.7, 1.3), 0, 255)
