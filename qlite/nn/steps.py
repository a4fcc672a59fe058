"""The kinds of steps of the integer program.

A new kind is a dataclass here and its name in `STEPS`, a file in csrc/core/program with the same field names, and a
function in the reference.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from qlite.nn.program import CODE_RANGES, CODES_8, LARGEST_SCALE, SMALLEST_SCALE, Buffer, Step
from qlite.ops.activations import ACTIVATIONS, ELEMENTWISE

INT32_MAX = 2**31 - 1
#: Most classes that the fixed softmax takes: each adds at most 2**19 to an int32.
MAX_FIXED_SOFTMAX = 4095
#: No weight of 8 bits is farther from its zero point.
FARTHEST_WEIGHT = 255
#: Multipliers of requantization are below this.
MULTIPLIER_LIMIT = 2.0**30
#: The same, before the roundings to float32.
FLOAT_MULTIPLIER_LIMIT = MULTIPLIER_LIMIT * (1 - 2.0**-21)
#: Weights that are looked at together: bounds the memory of a check.
WEIGHTS_AT_ONCE = 1 << 18


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _of_shape(name: str, value: Any, dtype: Any, shape: tuple[int, ...]) -> None:
    """Refuse what is no array of this dtype and shape."""
    if not isinstance(value, np.ndarray) or value.dtype != dtype or value.shape != shape:
        got = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        raise ValueError(f"{name}: expected {np.dtype(dtype)} {shape}, got {got}")


def _vector(name: str, value: Any, dtype: Any, length: int) -> None:
    """Refuse what is no finite vector of this dtype and length."""
    _of_shape(name, value, dtype, (length,))
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise ValueError(f"{name}: expected finite values, got {value[~np.isfinite(value)][0]}")


def _scales(name: str, value: Any, shape: tuple[int, ...]) -> None:
    _of_shape(name, value, np.float32, shape)
    lowest, highest = value.min(), value.max()
    if not SMALLEST_SCALE <= lowest <= highest <= LARGEST_SCALE:
        raise ValueError(f"{name}: expected normal, positive, finite values, got {lowest} to {highest}")


def _check_range(name: str, codes: np.ndarray, allowed: tuple[int, int]) -> None:
    lowest, highest = codes.min(), codes.max()
    if not allowed[0] <= lowest <= highest <= allowed[1]:
        raise ValueError(f"{name}: expected {allowed[0]} to {allowed[1]}, got {lowest} to {highest}")


def _one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, allowed))}, got {value!r}")


def _one_shape(inputs: Sequence[Buffer], count: int, dtypes: tuple[str, ...]) -> tuple[int, ...]:
    """The one shape of `count` inputs of certain dtypes."""
    _expect(len(inputs) == count, f"inputs: expected {count}, got {len(inputs)}")
    for b in inputs:
        if b.dtype not in dtypes:
            raise ValueError(f"inputs: expected {' or '.join(dtypes)}, got {b.name!r} of {b.dtype}")
        if b.shape != inputs[0].shape:
            raise ValueError(f"inputs: expected shape {inputs[0].shape}, got {b.name!r} of {b.shape}")
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
        _scales("scale", self.scale, shape[-1:])
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
    """By weights (in, out) along the last axis, of up to 8 bits: bytes here, of which `weight_bits` are stored."""

    weight: np.ndarray
    weight_scale: np.ndarray
    weight_zero_point: np.ndarray | None
    bias: np.ndarray | None
    activation: str | None
    weight_bits: int = field(default=8, kw_only=True)

    def _infer_product(self, x: Buffer) -> tuple[int, ...]:
        w = self.weight
        _expect(len(x.shape) > 0, "inputs: expected at least one axis, got none")
        if not isinstance(w, np.ndarray) or w.dtype not in (np.int8, np.uint8) or w.ndim != 2 or 0 in w.shape:
            got = f"{w.dtype} {w.shape}" if isinstance(w, np.ndarray) else type(w).__name__
            raise ValueError(f"weight: expected int8 or uint8 of shape (in, out), got {got}")
        if w.shape[0] != x.shape[-1]:
            raise ValueError(f"weight: expected {x.shape[-1]} rows as {x.name!r}, got {w.shape[0]}")
        _one_of("activation", self.activation, (None, "relu", "relu6"))
        if self.weight_bits != 8:
            _one_of("weight_bits", self.weight_bits, tuple(range(1, 9)))
            _check_range("weight", w, self.weight_range)
        self._check_parameters(w.shape)
        return (*x.shape[:-1], w.shape[1])

    def _check_parameters(self, shape: tuple[int, ...]) -> None:
        """Check scales and zero points for weights of this shape: one for each output."""
        _scales("weight_scale", self.weight_scale, shape[1:])
        if self.weight_zero_point is not None:
            _of_shape("weight_zero_point", self.weight_zero_point, np.int32, shape[1:])
            _check_range("weight_zero_point", self.weight_zero_point, self.weight_range)

    @property
    def weight_range(self) -> tuple[int, int]:
        """The least and the greatest code that weights may be."""
        lowest = -(1 << (self.weight_bits - 1)) if self.weight.dtype == np.int8 else 0
        return lowest, lowest + (1 << self.weight_bits) - 1

    @property
    def nbytes(self) -> int:
        rows, columns = self.weight.shape
        return super().nbytes - self.weight.nbytes + columns * (-(-rows * self.weight_bits // 8))


@dataclass(frozen=True, eq=False)
class Gemm(_Product):
    """Codes by 8-bit weights, exact sums, then codes again or float32; or the sums, which a `Requantize` may follow.

    `bias` is int32 at the scale ``input scale * weight_scale``, or float32 where each row has its own scale.
    `activation` clamps, `requant` is the rule by which sums become codes: see `requantize`.
    """

    kind: ClassVar[str] = "gemm"
    requant: str

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        _one_shape(inputs, 1, CODES_8)
        (x,) = inputs
        if x.dtype != "uint8" and x.row_scale is not None:
            raise ValueError(f"inputs: expected uint8 with a scale for each row, got {x.dtype}")
        shape = self._infer_product(x)
        if self.bias is not None:
            _vector("bias", self.bias, np.int32 if x.row_scale is None else np.float32, shape[-1])
        _one_of("requant", self.requant, ("float", "fixed"))
        return shape, (*CODES_8, "float32", "int32") if x.row_scale is None else ("float32",)

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        (x,) = inputs
        self._check_sums(x)
        if output.dtype == "int32":
            _one_of("activation", self.activation, (None,))
        elif x.scale is not None:
            _check_multipliers(x.scale, self.weight_scale, output, self.requant)

    def _check_sums(self, x: Buffer) -> None:
        """Refuse sums, with the bias, that some input could lead out of int32: whatever codes its memory may hold."""
        zero_point = x.zero_point
        reach = 255
        if zero_point is not None:
            lowest, highest = CODE_RANGES[x.dtype]
            reach = max(zero_point - lowest, highest - zero_point)
        bias = self.bias if self.bias is not None and self.bias.dtype == np.int32 else np.zeros(1, np.int32)
        greatest_bias = max(int(bias.max()), -int(bias.min()))
        if reach * FARTHEST_WEIGHT * len(self.weight) + greatest_bias <= INT32_MAX:
            return
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


def _check_multipliers(input_scale: float, weight_scale: np.ndarray, output: Buffer, requant: str) -> None:
    """Refuse scales whose product leaves float32, or whose quotient is too great to requantize by; both grow with the
    weights' scale, so the greatest decides."""
    product = input_scale * float(weight_scale.max())
    if not output.is_codes:
        _expect(product <= LARGEST_SCALE, "weight_scale: times the input's scale it leaves float32")
        return
    if output.scale is None:
        raise ValueError("output: expected one scale for all samples, got one for each row")
    multiplier = product / output.scale
    if multiplier >= (MULTIPLIER_LIMIT if requant == "fixed" else FLOAT_MULTIPLIER_LIMIT):
        raise ValueError(
            f"weight_scale: expected input scale * weight_scale / output scale below 2**30, got {multiplier}"
        )


@dataclass(frozen=True, eq=False)
class Requantize(Step):
    """A product's sums to what the product makes of them itself, codes or float32: bit for bit the same.

    ``input_scale * weight_scale`` is the scale of the sums, `input_scale` that of the codes which were multiplied.
    """

    kind: ClassVar[str] = "requantize"
    input_scale: float
    weight_scale: np.ndarray
    activation: str | None
    requant: str

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = _one_shape(inputs, 1, ("int32",))
        _expect(len(shape) > 0, "inputs: expected at least one axis, got none")
        if not SMALLEST_SCALE <= self.input_scale <= LARGEST_SCALE:
            raise ValueError(f"input_scale: expected a normal, positive float32, got {self.input_scale}")
        _scales("weight_scale", self.weight_scale, shape[-1:])
        _one_of("activation", self.activation, (None, "relu", "relu6"))
        _one_of("requant", self.requant, ("float", "fixed"))
        return shape, (*CODES_8, "float32")

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        _check_multipliers(self.input_scale, self.weight_scale, output, self.requant)


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
class _GroupedProduct(_Product):
    """By weights whose scales and zero points, (groups, out), are shared by `group_size` neighbours along `in`."""

    group_size: int

    def _check_parameters(self, shape: tuple[int, ...]) -> None:
        rows, columns = shape
        if self.group_size < 1 or (self.group_size % 8 and self.group_size < rows):
            raise ValueError(f"group_size: expected a multiple of 8, got {self.group_size}")
        groups = -(-rows // self.group_size), columns
        _scales("weight_scale", self.weight_scale, groups)
        if self.weight_zero_point is not None:
            _of_shape("weight_zero_point", self.weight_zero_point, np.int32, groups)
            _check_range("weight_zero_point", self.weight_zero_point, self.weight_range)
        if self.bias is not None:
            _vector("bias", self.bias, np.float32, columns)


@dataclass(frozen=True, eq=False)
class GemmGrouped(_GroupedProduct):
    """By weights in groups, each of which is summed as integers; the sums of groups add up as float32.

    float32 inputs become int8 at a scale of each row's own, as in `linear`. Codes at one scale are for weights of up to
    4 bits.
    """

    kind: ClassVar[str] = "gemm_grouped"

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        _one_shape(inputs, 1, (*CODES_8, "float32"))
        (x,) = inputs
        _expect(x.row_scale is None, "inputs: expected one scale for all samples, got one for each row")
        _expect(not x.is_codes or self.weight_bits <= 4, "weight_bits: expected up to 4 for codes, got more")
        return self._infer_product(x), ("float32",)

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        depth = min(self.group_size, len(self.weight))
        if depth * 128 * FARTHEST_WEIGHT > INT32_MAX:
            raise OverflowError(f"expected groups whose sums int32 holds, got {depth} weights")


@dataclass(frozen=True, eq=False)
class GemmGroupedF32(_GroupedProduct):
    """float32 by weights in groups: the weight-only product."""

    kind: ClassVar[str] = "gemm_grouped_f32"

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        _one_shape(inputs, 1, ("float32",))
        return self._infer_product(inputs[0]), ("float32",)


@dataclass(frozen=True, eq=False)
class DenseF32(Step):
    """float32 by float32 weights (in, out): a layer that stays as it is, one fused multiply-add per input, in order."""

    kind: ClassVar[str] = "dense_f32"
    weight: np.ndarray
    bias: np.ndarray | None
    activation: str | None

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = _one_shape(inputs, 1, ("float32",))
        _expect(len(shape) > 0, "inputs: expected at least one axis, got none")
        units = self.weight.shape[-1] if isinstance(self.weight, np.ndarray) and self.weight.ndim == 2 else 0
        _of_shape("weight", self.weight, np.float32, (shape[-1], max(units, 1)))
        _expect(bool(np.isfinite(self.weight).all()), "weight: expected finite values")
        if self.bias is not None:
            _vector("bias", self.bias, np.float32, units)
        _one_of("activation", self.activation, (None, "relu", "relu6"))
        return (*shape[:-1], units), ("float32",)


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
        lowest, highest = output.code_range
        least, most = int(self.table.min()), int(self.table.max())
        _expect(lowest <= least <= most <= highest, f"table: expected {lowest} to {highest}, got {least} to {most}")


@dataclass(frozen=True, eq=False)
class SoftmaxX8(Step):
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
        expected = (1 / 256, CODE_RANGES[output.dtype][0], 8)
        got = (output.scale, output.zero_point, output.bits)
        _expect(got == expected, f"output: expected scale, zero point and bits {expected}, got {got}")


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
        got, expected = (output.scale, output.zero_point, output.bits), (x.scale, x.zero_point, x.bits)
        _expect(got == expected, f"output: expected scale, zero point and bits {expected}, got {got}")


#: The steps that multiply by quantized weights.
PRODUCTS = (Gemm, GemmF32, GemmGrouped, GemmGroupedF32)

STEPS: dict[str, type[Step]] = {
    cls.kind: cls
    for cls in (
        *(Normalize, Quantize, QuantizeDynamic, Requantize, *PRODUCTS, DenseF32, Dequantize, Add),
        *(Activate, Lookup, SoftmaxX8, Reshape),
    )
}
