"""The kinds of steps of the integer program.

A new kind is a dataclass here and its name in `STEPS`, a file in csrc/core/program with the same field names, and a
function in the reference.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from qlite.nn.program import CODE_RANGES, SMALLEST_SCALE, Buffer, Step
from qlite.ops.activations import ACTIVATIONS, ELEMENTWISE

#: The 8-bit codes that products read and write.
CODES_8 = ("uint8", "int8")
INT32_MAX = 2**31 - 1
#: Most classes that the fixed softmax takes: each adds at most 2**19 to an int32.
MAX_FIXED_SOFTMAX = 4095
#: Multipliers of requantization are below this.
MULTIPLIER_LIMIT = 2.0**30
#: Weights that are looked at together: bounds the memory of a check.
WEIGHTS_AT_ONCE = 1 << 18


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _vector(name: str, value: Any, dtype: Any, length: int) -> None:
    """Refuse what is no finite vector of this dtype and length."""
    if not isinstance(value, np.ndarray) or value.dtype != dtype or value.shape != (length,):
        got = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        raise ValueError(f"{name}: expected {np.dtype(dtype)} ({length},), got {got}")
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise ValueError(f"{name}: expected finite values, got {value[~np.isfinite(value)][0]}")


def _scales(name: str, value: Any, length: int) -> None:
    _vector(name, value, np.float32, length)
    if not (value >= SMALLEST_SCALE).all():
        raise ValueError(f"{name}: expected normal and positive values, got {value.min()}")


def _one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, allowed))}, got {value!r}")


def _one_shape(inputs: Sequence[Buffer], count: int, dtypes: tuple[str, ...]) -> tuple[int, ...]:
    """The one shape of `count` inputs of certain dtypes."""
    _expect(len(inputs) == count, f"inputs: expected {count}, got {len(inputs)}")
    for b in inputs:
        _expect(b.dtype in dtypes, f"inputs: expected {' or '.join(dtypes)}, got {b.name!r} of {b.dtype}")
        _expect(b.shape == inputs[0].shape, f"inputs: expected shape {inputs[0].shape}, got {b.name!r} of {b.shape}")
    return inputs[0].shape


@dataclass(frozen=True, eq=False)
class Normalize(Step):
    """``(x - mean) / scale``, float32 to float32, with a mean and a scale for each feature, the last axis."""

    kind: ClassVar[str] = "normalize"
    mean: np.ndarray
    scale: np.ndarray

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = _one_shape(inputs, 1, ("float32",))
        _expect(len(shape) > 0, "inputs: expected at least one axis, got none")
        _vector("mean", self.mean, np.float32, shape[-1])
        _scales("scale", self.scale, shape[-1])
        return shape, ("float32",)


@dataclass(frozen=True, eq=False)
class Quantize(Step):
    """float32 to codes at the output's scale and zero point."""

    kind: ClassVar[str] = "quantize"

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        return _one_shape(inputs, 1, ("float32",)), CODES_8

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        _expect(output.scale is not None, "output: expected one scale for all samples, got one for each row")


@dataclass(frozen=True, eq=False)
class QuantizeDynamic(Step):
    """float32 to uint8 at a scale and zero point of each row's own, which are written to the output's row buffers."""

    kind: ClassVar[str] = "quantize_dynamic"

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = _one_shape(inputs, 1, ("float32",))
        _expect(len(shape) > 0, "inputs: expected at least one axis, got none")
        return shape, ("uint8",)

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        _expect(output.row_scale is not None, "output: expected a scale for each row, got one for all samples")


@dataclass(frozen=True, eq=False)
class Dequantize(Step):
    """Codes to float32."""

    kind: ClassVar[str] = "dequantize"

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = _one_shape(inputs, 1, CODES_8)
        _expect(inputs[0].scale is not None, "inputs: expected one scale for all samples, got one for each row")
        return shape, ("float32",)


@dataclass(frozen=True, eq=False)
class _Product(Step):
    """By 8-bit weights (in, out), with a scale and perhaps a zero point for each output, along the last axis."""

    weight: np.ndarray
    weight_scale: np.ndarray
    weight_zero_point: np.ndarray | None
    bias: np.ndarray | None
    activation: str | None

    def _infer_product(self, x: Buffer) -> tuple[int, ...]:
        w = self.weight
        _expect(len(x.shape) > 0, "inputs: expected at least one axis, got none")
        if not isinstance(w, np.ndarray) or w.dtype not in (np.int8, np.uint8) or w.ndim != 2 or 0 in w.shape:
            got = f"{w.dtype} {w.shape}" if isinstance(w, np.ndarray) else type(w).__name__
            raise ValueError(f"weight: expected int8 or uint8 of shape (in, out), got {got}")
        _expect(w.shape[0] == x.shape[-1], f"weight: expected {x.shape[-1]} rows as {x.name!r}, got {w.shape[0]}")
        units = w.shape[1]
        _scales("weight_scale", self.weight_scale, units)
        if self.weight_zero_point is not None:
            _vector("weight_zero_point", self.weight_zero_point, np.int32, units)
            lowest, highest = CODE_RANGES[w.dtype.name]
            if not ((lowest <= self.weight_zero_point) & (self.weight_zero_point <= highest)).all():
                raise ValueError(f"weight_zero_point: expected {lowest} to {highest}, got {self.weight_zero_point}")
        _one_of("activation", self.activation, (None, "relu", "relu6"))
        return (*x.shape[:-1], units)


@dataclass(frozen=True, eq=False)
class Gemm(_Product):
    """Codes by 8-bit weights, exact sums, then codes again or float32.

    `bias` is int32 at the scale ``input scale * weight_scale``, or float32 where each row has its own scale.
    `activation` clamps, `requant` is the rule by which sums become codes: see `requantize`.
    """

    kind: ClassVar[str] = "gemm"
    requant: str

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        _one_shape(inputs, 1, CODES_8)
        (x,) = inputs
        _expect(
            x.dtype == "uint8" or x.row_scale is None,
            f"inputs: expected uint8 with a scale for each row, got {x.dtype}",
        )
        shape = self._infer_product(x)
        if self.bias is not None:
            _vector("bias", self.bias, np.int32 if x.row_scale is None else np.float32, shape[-1])
        _one_of("requant", self.requant, ("float", "fixed"))
        return shape, (*CODES_8, "float32") if x.row_scale is None else ("float32",)

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        (x,) = inputs
        self._check_sums(x)
        if x.scale is None:
            return
        with np.errstate(over="ignore", under="ignore"):
            product = np.float32(x.scale) * self.weight_scale
            if not output.is_codes:
                _expect(bool(np.isfinite(product).all()), "weight_scale: times the input's scale it leaves float32")
                return
            _expect(output.scale is not None, "output: expected one scale for all samples, got one for each row")
            multiplier = product / np.float32(output.scale)
            real = np.float64(x.scale) * self.weight_scale / np.float64(output.scale or 1)
        greatest = multiplier.max() if self.requant == "float" else real.max()
        _expect(
            bool(greatest < MULTIPLIER_LIMIT),
            f"weight_scale: expected input scale * weight_scale / output scale below 2**30, got {greatest}",
        )

    def _check_sums(self, x: Buffer) -> None:
        """Refuse sums, with the bias, that some input could lead out of int32."""
        zero_point = x.zero_point
        reach = 255
        if zero_point is not None:
            lowest, highest = CODE_RANGES[x.dtype]
            reach = max(zero_point - lowest, highest - zero_point)
        bias = self.bias if self.bias is not None and self.bias.dtype == np.int32 else np.zeros(1, np.int32)
        most = reach * self._column_sums() + np.abs(bias.astype(np.int64))
        if (most > INT32_MAX).any():
            raise OverflowError(
                f"expected sums that int32 holds for all inputs, got up to {most.max()} for output {most.argmax()}, at "
                f"depth {len(self.weight)}"
            )

    def _column_sums(self) -> np.ndarray:
        """Sums of abs(weight - zero point) over the inputs, for each output."""
        zero_point = 0 if self.weight_zero_point is None else self.weight_zero_point
        rows = max(1, WEIGHTS_AT_ONCE // self.weight.shape[1])
        total = np.zeros(self.weight.shape[1], np.int64)
        for first in range(0, len(self.weight), rows):
            total += np.abs(self.weight[first : first + rows].astype(np.int32) - zero_point).sum(axis=0)
        return total


@dataclass(frozen=True, eq=False)
class GemmF32(_Product):
    """float32 by 8-bit weights: the weight-only product."""

    kind: ClassVar[str] = "gemm_f32"

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        _one_shape(inputs, 1, ("float32",))
        shape = self._infer_product(inputs[0])
        if self.bias is not None:
            _vector("bias", self.bias, np.float32, shape[-1])
        return shape, ("float32",)


@dataclass(frozen=True, eq=False)
class Add(Step):
    """The sum of two float32 buffers of one shape, element by element."""

    kind: ClassVar[str] = "add"

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        return _one_shape(inputs, 2, ("float32",)), ("float32",)


def _slope(value: Any) -> None:
    _expect(isinstance(value, float) and 0 < value <= 1, f"slope: expected a number over 0, at most 1, got {value!r}")


@dataclass(frozen=True, eq=False)
class Activate(Step):
    """An activation of float32; softmax over the last axis. `slope` is that of leaky_relu."""

    kind: ClassVar[str] = "activate"
    function: str
    slope: float

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = _one_shape(inputs, 1, ("float32",))
        _expect(len(shape) > 0, "inputs: expected at least one axis, got none")
        _one_of("function", self.function, ACTIVATIONS)
        _slope(self.slope)
        return shape, ("float32",)


@dataclass(frozen=True, eq=False)
class Lookup(Step):
    """Codes to codes by a table of 256: see `lookup_table`.

    `function` and `slope` say what it tabulates, so that it can be made anew for other grids; None: only the table.
    """

    kind: ClassVar[str] = "lookup"
    table: np.ndarray
    function: str | None
    slope: float

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = _one_shape(inputs, 1, CODES_8)
        _expect(inputs[0].scale is not None, "inputs: expected one scale for all samples, got one for each row")
        t = self.table
        if not isinstance(t, np.ndarray) or t.dtype not in (np.int8, np.uint8) or t.shape != (256,):
            got = f"{t.dtype} {t.shape}" if isinstance(t, np.ndarray) else type(t).__name__
            raise ValueError(f"table: expected int8 or uint8 (256,), got {got}")
        if self.function is not None:
            _one_of("function", self.function, ELEMENTWISE)
        _slope(self.slope)
        return shape, (t.dtype.name,)

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        _expect(output.scale is not None, "output: expected one scale for all samples, got one for each row")


@dataclass(frozen=True, eq=False)
class Softmax(Step):
    """Softmax of codes over the last axis by one of two rules, whose grid the result has: see `softmax`."""

    kind: ClassVar[str] = "softmax"
    requant: str

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = _one_shape(inputs, 1, CODES_8)
        (x,) = inputs
        _expect(len(shape) > 0, "inputs: expected at least one axis, got none")
        _expect(x.scale is not None, "inputs: expected one scale for all samples, got one for each row")
        _one_of("requant", self.requant, ("float", "fixed"))
        if self.requant == "fixed":
            _expect(shape[-1] <= MAX_FIXED_SOFTMAX, f"inputs: expected at most {MAX_FIXED_SOFTMAX} classes for 'fixed'")
            _expect(x.affine[0] > 2.0**-26, f"inputs: expected a scale over 2**-26 for 'fixed', got {x.scale}")
        return shape, (x.dtype,)

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        expected = (1 / 256, CODE_RANGES[output.dtype][0])
        got = (output.scale, output.zero_point)
        _expect(got == expected, f"output: expected scale and zero point {expected}, got {got}")


@dataclass(frozen=True, eq=False)
class Reshape(Step):
    """The same values in another shape per sample, in C order."""

    kind: ClassVar[str] = "reshape"
    shape: tuple[int, ...]

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = _one_shape(inputs, 1, ("float32", *CODES_8))
        _expect(
            inputs[0].row_scale is None and math.prod(self.shape) == math.prod(shape),
            f"shape: expected as many elements as {inputs[0].name!r} of {shape}, got {self.shape!r}",
        )
        return self.shape, (inputs[0].dtype,)

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        (x,) = inputs
        got = (output.scale, output.zero_point)
        expected = (x.scale, x.zero_point)
        _expect(got == expected, f"output: expected scale and zero point {expected}, got {got}")


STEPS: dict[str, type[Step]] = {
    cls.kind: cls
    for cls in (
        *(Normalize, Quantize, QuantizeDynamic, Gemm, GemmF32, Dequantize, Add),
        *(Activate, Lookup, Softmax, Reshape),
    )
}
