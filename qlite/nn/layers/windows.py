"""Windows over samples (height, width, channels), or (length, channels): those are images of height 1."""

import numpy as np

from qlite import _check
from qlite.nn.layers.layer import Shape
from qlite.ops.window import Pair, Sides, window

#: What samples of a rank are, in errors.
AXES = {2: "(length, channels)", 3: "(height, width, channels)"}


def check_rank(shape: Shape, *ranks: int) -> None:
    """Refuse samples of other ranks, of which `AXES` has the names, and such without values."""
    if len(shape) not in ranks or 0 in shape:
        expected = " or ".join(AXES[rank] for rank in ranks)
        raise ValueError(f"expected samples of shape {expected} without zeros, got {shape}")


def placed(
    shape: Shape, kernel: Pair, stride: Pair, padding: str | Sides, dilation: Pair
) -> tuple[tuple[int, int, int, int], Shape]:
    """Return padding (top, bottom, left, right) and the shape of a sample's result, one pixel per window, but for its
    channels.

    Raises
    ------
    ValueError
        A window that does not fit into the padded image.
    MemoryError
        A padding with which a channel of the result is larger than the machine's memory.
    """
    image = shape[:2] if len(shape) == 3 else (1, shape[0])
    try:
        _, _, ((top, bottom), (left, right)), out = window("", image, kernel, stride, padding, dilation)
    except ValueError as error:
        raise ValueError(str(error).removeprefix("x: ")) from None
    _check.memory("padding", out, "float32")
    return (top, bottom, left, right), out[3 - len(shape) :]


def as_images(x: np.ndarray) -> np.ndarray:
    """Samples (samples, height, width, channels) in C order."""
    return np.ascontiguousarray(x.reshape(images_shape(x.shape)))


def images_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of samples as images."""
    return shape if len(shape) == 4 else (shape[0], 1, *shape[1:])


def like(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Images as samples of the rank of `x`."""
    return y if x.ndim == 4 else y[:, 0]


def shown(option: int | Pair) -> str:
    """A size in a layer's text: one number where both are the same."""
    if isinstance(option, int):
        return f"{option}"
    return f"{option[0]}" if option[0] == option[1] else f"{option[0]}x{option[1]}"


def shown_padding(padding: str | Pair | Sides) -> str:
    """A padding in a layer's text: one number where all are the same."""
    if isinstance(padding, str):
        return padding
    numbers = np.ravel(padding)
    return f"{numbers[0]}" if (numbers == numbers[0]).all() else f"{padding}"
