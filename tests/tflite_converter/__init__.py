"""Networks that TensorFlow's converter wrote, in float32 and in int8, and the samples on which it calibrated these."""

from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent

#: Shapes of samples, by network.
SHAPES = {"residual": (8, 8, 3), "joined": (8, 8, 3), "gated": (5, 5, 2)}
SAMPLES = 50


def samples(shape):
    """Numbers with eight bits behind the point: the same on every machine."""
    return (np.random.default_rng(len(shape)).integers(-700, 900, (SAMPLES, *shape)) / 256).astype(np.float32)
