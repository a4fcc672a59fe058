"""Files of one operator whose rule in LiteRT's default path is another on AArch64 than on x86-64."""

from typing import Any, NamedTuple

import litert
import numpy as np

from qlite.nn.plan import Plan
from qlite.nn.program import Buffer, Program
from qlite.nn.steps import Multiply, SoftmaxX8

#: Of products: the scales of the inputs and of the result, powers of two among them, which make ties.
SCALES = [
    (0.25, 0.5, 0.5),
    (2.0**-6, 2.0**-4, 0.125),
    (1.0, 2.0**-7, 1.0),
    (0.0625, 0.0625, 0.5),
    (2.0**-11, 1.0, 1.0),
    (0.037, 0.21, 0.91),
    (0.5, 0.031, 0.0155),
    (1 / 255, 1 / 255, 1 / 255),
    (0.0123, 6 / 255, 0.0021),
    (3.0, 2.0, 0.12),
    (2.0**-8, 2.0**-8, 1.0),
    (1.7, 0.9, 0.0171),
]
ZERO_POINTS = [(-128, -128, -128), (0, 0, 0), (127, -128, 5), (-3, 17, -100)]
#: Of softmaxes: classes and the scale.
CLASSES = [(2, 0.11), (5, 0.03), (16, 0.0625), (40, 0.2), (64, 1 / 32), (70, 0.009), (256, 0.05), (301, 0.017)]
ROWS = 200


class Case(NamedTuple):
    name: str
    file: bytes
    inputs: tuple[np.ndarray, ...]
    expected: np.ndarray  # by the rule there
    other: np.ndarray  # by that of x86-64


def cases():
    """Yield a case for each set of grids."""
    yield from products()
    yield from softmaxes()


def products():
    """Of all pairs of codes."""
    a, b = (np.array(v, np.uint8).view(np.int8).reshape(1, -1) for v in np.meshgrid(np.arange(256), np.arange(256)))
    for i, scales in enumerate(SCALES):
        for zero_points in ZERO_POINTS:
            activation = (None, "relu", "relu6")[i % 3]
            *grids, grid = ((float(np.float32(s)), z) for s, z in zip(scales, zero_points, strict=True))
            options = {"version": 2, "fusedActivationFunction": litert.ACTIVATIONS[activation]}
            file = litert.model("MUL", (a, b), a, tuple(grids), grid, **options)
            codes = [computed(Multiply, (a, b), grids, grid, activation, rule) for rule in ("aarch64", "float")]
            yield Case(f"MUL of {scales}, {zero_points}, {activation}", file, (a, b), *codes)


def softmaxes():
    for classes, scale in CLASSES:
        mixed = np.arange(ROWS * classes, dtype=np.uint32) * np.uint32(2654435761)
        x = (mixed >> np.uint32(24)).astype(np.uint8).view(np.int8).reshape(1, ROWS, classes)
        grid, result = (float(np.float32(scale)), 3), (1 / 256, -128)
        file = litert.model("SOFTMAX", x, x, grid, result, version=2, beta=1.0)
        codes = [computed(SoftmaxX8, (x,), [grid], result, rule) for rule in ("aarch64", "float")]
        yield Case(f"SOFTMAX of {classes}, {scale}", file, (x,), *codes)


def computed(step: Any, inputs, grids, grid, *fields):
    """What a step makes of codes on these grids."""
    pairs = enumerate(zip(inputs, grids, strict=True))
    buffers = [Buffer(f"x{i}", "x", x.shape[1:], "int8", *g) for i, (x, g) in pairs]
    numbers = tuple(range(len(inputs)))
    result = Buffer("y", "y", inputs[0].shape[1:], "int8", *grid)
    return Plan(Program([*buffers, result], [step(numbers, len(inputs), *fields)], numbers)).run(*inputs)
