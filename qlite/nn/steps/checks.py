"""What steps refuse, and in which words."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from qlite.nn.program import LARGEST_SCALE, SMALLEST_SCALE, Buffer

#: Greatest length of a window, a stride or a padding.
MAX_LENGTH = 2**31 - 1
#: What the scale of an input over that of a sum or mean must be below.
RATIO_LIMIT = 2.0**20


def expect(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def of_shape(name: str, value: Any, dtype: Any, shape: tuple[int, ...]) -> None:
    """Refuse what is no array of this dtype and shape."""
    if not isinstance(value, np.ndarray) or value.dtype != dtype or value.shape != shape:
        got = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        raise ValueError(f"{name}: expected {np.dtype(dtype)} {shape}, got {got}")


def finite_vector(name: str, value: Any, dtype: Any, length: int) -> None:
    """Refuse what is no finite vector of this dtype and length."""
    of_shape(name, value, dtype, (length,))
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise ValueError(f"{name}: expected finite values, got {value[~np.isfinite(value)][0]}")


def scales(name: str, value: Any, shape: tuple[int, ...]) -> None:
    of_shape(name, value, np.float32, shape)
    lowest, highest = value.min(), value.max()
    if not SMALLEST_SCALE <= lowest <= highest <= LARGEST_SCALE:
        raise ValueError(f"{name}: expected normal, positive, finite values, got {lowest} to {highest}")


def in_range(name: str, codes: np.ndarray, allowed: tuple[int, int]) -> None:
    lowest, highest = codes.min(), codes.max()
    if not allowed[0] <= lowest <= highest <= allowed[1]:
        raise ValueError(f"{name}: expected {allowed[0]} to {allowed[1]}, got {lowest} to {highest}")


def one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, allowed))}, got {value!r}")


def one_shape(inputs: Sequence[Buffer], count: int, dtypes: tuple[str, ...]) -> tuple[int, ...]:
    """The one shape of `count` inputs of certain dtypes."""
    expect(len(inputs) == count, f"inputs: expected {count}, got {len(inputs)}")
    for b in inputs:
        if b.dtype not in dtypes:
            raise ValueError(f"inputs: expected {' or '.join(dtypes)}, got {b.name!r} of {b.dtype}")
        if b.shape != inputs[0].shape:
            raise ValueError(f"inputs: expected shape {inputs[0].shape}, got {b.name!r} of {b.shape}")
    return inputs[0].shape


def broadcast_shape(inputs: Sequence[Buffer], dtypes: tuple[str, ...]) -> tuple[int, ...]:
    """The shape that those of two inputs of certain dtypes broadcast to."""
    expect(len(inputs) == 2, f"inputs: expected 2, got {len(inputs)}")
    for b in inputs:
        if b.dtype not in dtypes:
            raise ValueError(f"inputs: expected {' or '.join(dtypes)}, got {b.name!r} of {b.dtype}")
    first, second = (b.shape for b in inputs)
    try:
        return np.broadcast_shapes(first, second)
    except ValueError:
        raise ValueError(f"inputs: expected shapes that broadcast, got {first} and {second}") from None


def lengths(name: str, value: Any, count: int, least: int) -> None:
    """Refuse what are no `count` lengths of at least `least`."""
    is_plain = isinstance(value, tuple) and len(value) == count and all(type(n) is int for n in value)
    if not is_plain or not all(least <= n <= MAX_LENGTH for n in value):
        raise ValueError(f"{name}: expected {count} integers of at least {least}, got {value!r}")


def with_one_scale(inputs: Sequence[Buffer], output: Buffer) -> None:
    """Refuse codes with a scale for each row."""
    for name, buffers in (("inputs", inputs), ("output", (output,))):
        if any(b.row_scale is not None for b in buffers):
            raise ValueError(f"{name}: expected one scale for all samples, got one for each row")


def one_grid(inputs: Sequence[Buffer], output: Buffer) -> None:
    """Refuse codes that are on another grid than the output's."""
    with_one_scale(inputs, output)
    got = output.scale, output.zero_point, output.bits
    for b in inputs if output.is_codes else ():
        expected = b.scale, b.zero_point, b.bits
        expect(got == expected, f"output: expected scale, zero point and bits {expected} as {b.name!r}, got {got}")


def small_ratios(inputs: Sequence[Buffer], output: Buffer) -> None:
    """Refuse codes whose scale is so much greater than the output's that factors of sums and means leave int32."""
    with_one_scale(inputs, output)
    scale, _ = output.affine
    for b in inputs:
        with np.errstate(over="ignore", under="ignore"):
            ratio = np.float32(b.affine[0]) / np.float32(scale)
        if not ratio < RATIO_LIMIT:
            raise ValueError(f"inputs: expected scale / output scale below 2**20, got {ratio} for {b.name!r}")


def small_product(inputs: Sequence[Buffer], output: Buffer) -> None:
    """Refuse codes the product of whose scales is so much greater than the output's that its multiplier has no use."""
    with_one_scale(inputs, output)
    a, b, y = (np.float32(buffer.affine[0]) for buffer in (*inputs, output))
    with np.errstate(over="ignore", under="ignore"):
        ratio = a * b / y
    if not ratio < RATIO_LIMIT:
        raise ValueError(f"inputs: expected product of scales / output scale below 2**20, got {ratio}")


def one_dtype(inputs: Sequence[Buffer]) -> str:
    """The one dtype of all inputs."""
    dtype = inputs[0].dtype
    for b in inputs:
        if b.dtype != dtype:
            raise ValueError(f"inputs: expected {dtype} as {inputs[0].name!r}, got {b.name!r} of {b.dtype}")
    return dtype
