"""Steps that multiply by weights, and the one that follows sums."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from qlite.grids.codebooks import INTEGER_ENTRIES
from qlite.nn.program import CODE_RANGES, CODES_8, LARGEST_SCALE, SMALLEST_SCALE, Buffer, Step
from qlite.nn.steps.checks import expect, finite_vector, in_range, of_shape, one_of, one_shape, scales
from qlite.nn.steps.curves import Curved
from qlite.nn.steps.residuals import Summed

INT32_MAX = 2**31 - 1
#: No weight of 8 bits is farther from its zero point.
FARTHEST_WEIGHT = 255
#: Multipliers of requantization are below this.
MULTIPLIER_LIMIT = 2.0**30
#: The same, before the roundings to float32.
FLOAT_MULTIPLIER_LIMIT = MULTIPLIER_LIMIT * (1 - 2.0**-21)
#: Scales of sums that go through a gate are below this.
GATED_LIMIT = 2.0**90
#: The fields that only other targets need, or that become others.
KEPT_FOR_OTHERS = (
    *("slope_scale", "slope_zero_point", "inner_name", "inner_scale", "inner_zero_point"),
    *("residual_place", "product_name", "product_scale", "product_zero_point"),
)
#: Weights that are looked at together: bounds the memory of a check.
WEIGHTS_AT_ONCE = 1 << 18


@dataclass(frozen=True, eq=False)
class Product(Step):
    """By weights (in, out) along the last axis, of up to 8 bits: bytes here, of which `weight_bits` are stored.

    With a `codebook`, (entries,), weights are uint8 and stand for its entries: int8 in products of integers, else
    float32.
    """

    grids: ClassVar[str] = "any"
    codebook_dtype: ClassVar[type[np.generic] | None] = None
    weight: np.ndarray
    weight_scale: np.ndarray
    weight_zero_point: np.ndarray | None
    bias: np.ndarray | None
    activation: str | None
    weight_bits: int = field(default=8, kw_only=True)
    codebook: np.ndarray | None = field(default=None, kw_only=True)

    def _infer_product(self, x: Buffer) -> tuple[int, ...]:
        expect(len(x.shape) > 0, "inputs: expected at least one axis, got none")
        self._check_codes("in, out")
        if self.weight.shape[0] != x.shape[-1]:
            raise ValueError(f"weight: expected {x.shape[-1]} rows as {x.name!r}, got {self.weight.shape[0]}")
        self._check_fields()
        return (*x.shape[:-1], self.weight.shape[-1])

    def _check_codes(self, lengths: str) -> None:
        """Refuse weights that are no codes of such lengths."""
        w = self.weight
        ndim = lengths.count(",") + 1
        if not isinstance(w, np.ndarray) or w.dtype not in (np.int8, np.uint8) or w.ndim != ndim or 0 in w.shape:
            got = f"{w.dtype} {w.shape}" if isinstance(w, np.ndarray) else type(w).__name__
            raise ValueError(f"weight: expected int8 or uint8 of shape ({lengths}), got {got}")

    def _check_fields(self) -> None:
        """Check what goes with weights whose shape is right."""
        one_of("activation", self.activation, (None, "relu", "relu6"))
        if self.weight_bits != 8:
            one_of("weight_bits", self.weight_bits, tuple(range(1, 9)))
            in_range("weight", self.weight, self.weight_range)
        if self.codebook is not None:
            self._check_codebook(self.codebook)
        self._check_parameters(self.weight.shape)

    def _check_codebook(self, codebook: np.ndarray) -> None:
        expect(self.codebook_dtype is not None, "codebook: expected None for this kind of step")
        entries, most = len(codebook) if codebook.ndim else 0, 1 << self.weight_bits
        expect(2 <= entries <= most, f"codebook: expected 2 to {most} entries, got shape {codebook.shape}")
        of_shape("codebook", codebook, self.codebook_dtype, (entries,))
        expect(self.weight.dtype == np.uint8, f"weight: expected uint8 for a codebook, got {self.weight.dtype}")
        expect(self.weight_zero_point is None, "weight_zero_point: expected None with a codebook")
        in_range("weight", self.weight, (0, entries - 1))
        expect(bool(np.isfinite(codebook)[self.weight].all()), "weight: expected codes of finite entries")

    def _check_parameters(self, shape: tuple[int, ...]) -> None:
        """Check scales and zero points for weights of this shape: one for each output."""
        scales("weight_scale", self.weight_scale, shape[-1:])
        if self.weight_zero_point is not None:
            of_shape("weight_zero_point", self.weight_zero_point, np.int32, shape[-1:])
            in_range("weight_zero_point", self.weight_zero_point, self.weight_range)

    @property
    def weight_range(self) -> tuple[int, int]:
        """The least and the greatest code that weights may be."""
        lowest = -(1 << (self.weight_bits - 1)) if self.weight.dtype == np.int8 else 0
        return lowest, lowest + (1 << self.weight_bits) - 1

    @property
    def depth(self) -> int:
        """How many weights each output has."""
        return self.weight.size // self.weight.shape[-1]

    def computed_fields(self) -> dict[str, Any]:
        """All but how weights are stored."""
        fields = super().computed_fields()
        del fields["weight_bits"], fields["codebook"]
        return fields if self.codebook is None else fields | {"weight": self.codebook[self.weight]}

    @property
    def without_codebook(self) -> "Product":
        """The step with the entries of its codebook as weights."""
        if self.codebook is None:
            return self
        return replace(self, weight=self.codebook[self.weight], weight_bits=8, codebook=None)

    @property
    def nbytes(self) -> int:
        stored = self.weight.shape[-1] * (-(-self.depth * self.weight_bits // 8))
        return super().nbytes - self.weight.nbytes + stored


@dataclass(frozen=True, eq=False)
class IntegerProduct(Curved, Summed, Product):
    """Codes by 8-bit weights, exact sums, then codes again or float32; or the sums, which a `Requantize` may follow.

    `bias` is int32 at the scale ``input scale * weight_scale``, or float32 where the codes' scale is found at run time.
    `activation` clamps, or `curve` is applied, see `Curved`: of codes by "float" alone. `requant` is the rule by which
    sums, and the ends of the clamp, become codes: see `requantize` and `linear`. A second input is a residual, see
    `Summed`: for results by "float" alone, codes or float32.
    """

    codebook_dtype = np.int8
    requant: str

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        one_shape(inputs[:1], 1, CODES_8)
        x, *others = inputs
        if x.dtype != "uint8" and x.row_scale is not None:
            raise ValueError(f"inputs: expected uint8 with a scale for each {self.scale_per}, got {x.dtype}")
        shape = self._infer_product(x)
        if self.bias is not None:
            finite_vector("bias", self.bias, np.int32 if x.row_scale is None else np.float32, shape[-1])
        one_of("requant", self.requant, ("float", "fixed"))
        self.check_curve(shape[-1])
        self.check_residual(others, shape)
        if others:
            expect(self.takes_residual, f"inputs: expected 1, got {len(inputs)}")
            is_plain = self.requant == "float" and x.row_scale is None
            expect(is_plain, "inputs: expected a residual for 'float' and one scale for all samples alone")
        if self.curve is not None:
            is_plain = self.activation is None and self.requant == "float" and x.row_scale is None
            expect(is_plain, "curve: expected None but for 'float', one scale for all samples and no activation")
            return shape, CODES_8
        if others:
            return shape, (*CODES_8, "float32")
        return shape, (*CODES_8, "float32", "int32") if x.row_scale is None else ("float32",)

    @property
    def takes_residual(self) -> bool:
        """Whether such a step may have a residual."""
        return True

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        x, *others = inputs
        self._check_sums(x, *others)
        if output.dtype == "int32":
            one_of("activation", self.activation, (None,))
        elif x.scale is not None:
            check_multipliers(x.scale, self.weight_scale, output, self.requant)
            slopes = self.slopes(len(self.weight_scale))
            if self.curve is not None and slopes is None:
                greatest = x.scale * float(self.weight_scale.max())
                expect(greatest < GATED_LIMIT, f"weight_scale: expected a scale of sums below 2**90, got {greatest}")
            if slopes is not None:
                steepest = np.maximum(np.abs(slopes), np.float32(SMALLEST_SCALE)).max(keepdims=True)
                check_multipliers(x.scale, self.weight_scale.max() * steepest, output, self.requant)

    def computed_fields(self) -> dict[str, Any]:
        """The curve with its slopes as float32: that of "leaky_relu" has one for all outputs."""
        fields = super().computed_fields()
        for name in KEPT_FOR_OTHERS:
            del fields[name]
        curve = "prelu" if self.curve == "leaky_relu" else self.curve
        return fields | {"curve": curve, "slope": self.slopes(len(self.weight_scale))}

    def _check_sums(self, x: Buffer, residual: Buffer | None = None) -> None:
        """Refuse sums, with bias and residual, that an input could lead out of int32: whatever its memory may hold."""
        zero_point = x.zero_point
        reach = 255
        if zero_point is not None:
            lowest, highest = CODE_RANGES[x.dtype]
            reach = max(zero_point - lowest, highest - zero_point)
        bias = self.bias if self.bias is not None and self.bias.dtype == np.int32 else np.zeros(1, np.int32)
        beside = np.abs(bias.astype(np.int64))
        if residual is not None:
            beside = beside + self.residual_reach(x, residual, self.weight_scale)
        if reach * FARTHEST_WEIGHT * self.depth + int(beside.max()) <= INT32_MAX:
            return
        sums = reach * self._column_sums()
        # The core takes the greatest sum and the greatest residual, whatever outputs they are of.
        most = (sums if residual is None else sums.max()) + beside
        if (most > INT32_MAX).any():
            raise OverflowError(
                f"expected sums that int32 holds for all inputs, got up to {most.max()} for output {most.argmax()}, at "
                f"depth {self.depth}"
            )

    def _column_sums(self) -> np.ndarray:
        """Sums of abs(weight - zero point) for each output."""
        return self._sums_of(self.weight)

    def _sums_of(self, weight: np.ndarray) -> np.ndarray:
        """Sums of abs(weight - zero point) for each output of some of the weights."""
        zero_point = 0 if self.weight_zero_point is None else self.weight_zero_point
        weight = weight.reshape(-1, weight.shape[-1])
        rows = max(1, WEIGHTS_AT_ONCE // weight.shape[1])
        total = np.zeros(weight.shape[1], np.int64)
        for first in range(0, len(weight), rows):
            part = weight[first : first + rows]
            part = part if self.codebook is None else self.codebook[part]
            total += np.abs(part.astype(np.int32) - zero_point).sum(axis=0)
        return total


@dataclass(frozen=True, eq=False)
class Gemm(IntegerProduct):
    """The integer product along the last axis; scales that are found at run time are those of rows."""

    kind: ClassVar[str] = "gemm"


def check_multipliers(input_scale: float, weight_scale: np.ndarray, output: Buffer, requant: str) -> None:
    """Refuse scales whose product leaves float32, or whose quotient is too great to requantize by; both grow with the
    weights' scale, so the greatest decides."""
    product = input_scale * float(weight_scale.max())
    if not output.is_codes:
        expect(product <= LARGEST_SCALE, "weight_scale: times the input's scale it leaves float32")
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
    grids: ClassVar[str] = "any"
    input_scale: float
    weight_scale: np.ndarray
    activation: str | None
    requant: str

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = one_shape(inputs, 1, ("int32",))
        expect(len(shape) > 0, "inputs: expected at least one axis, got none")
        if not SMALLEST_SCALE <= self.input_scale <= LARGEST_SCALE:
            raise ValueError(f"input_scale: expected a normal, positive float32, got {self.input_scale}")
        scales("weight_scale", self.weight_scale, shape[-1:])
        one_of("activation", self.activation, (None, "relu", "relu6"))
        one_of("requant", self.requant, ("float", "fixed"))
        return shape, (*CODES_8, "float32")

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        check_multipliers(self.input_scale, self.weight_scale, output, self.requant)


@dataclass(frozen=True, eq=False)
class GemmF32(Product):
    """float32 by 8-bit weights: the weight-only product."""

    kind: ClassVar[str] = "gemm_f32"

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        one_shape(inputs, 1, ("float32",))
        shape = self._infer_product(inputs[0])
        if self.bias is not None:
            finite_vector("bias", self.bias, np.float32, shape[-1])
        return shape, ("float32",)


@dataclass(frozen=True, eq=False)
class GroupedProduct(Product):
    """By weights whose scales and zero points, (groups, out), are shared by `group_size` neighbours along `in`."""

    codebook_dtype = np.float32
    group_size: int

    def computed_fields(self) -> dict[str, Any]:
        return super().computed_fields() | {"weight": self.weight, "codebook": self.codebook}

    def _check_parameters(self, shape: tuple[int, ...]) -> None:
        rows, columns = shape
        if self.group_size < 1 or (self.group_size % 8 and self.group_size < rows):
            raise ValueError(f"group_size: expected a multiple of 8, got {self.group_size}")
        groups = -(-rows // self.group_size), columns
        scales("weight_scale", self.weight_scale, groups)
        if self.weight_zero_point is not None:
            of_shape("weight_zero_point", self.weight_zero_point, np.int32, groups)
            in_range("weight_zero_point", self.weight_zero_point, self.weight_range)
        if self.bias is not None:
            finite_vector("bias", self.bias, np.float32, columns)


@dataclass(frozen=True, eq=False)
class GemmGrouped(GroupedProduct):
    """By weights in groups, each of which is summed as integers; the sums of groups add up as float32.

    float32 inputs become int8 at a scale of each row's own, as in `linear`. Codes at one scale are for uniform weights
    of up to 4 bits. Codebooks become integers, see `integer_codebook`.
    """

    kind: ClassVar[str] = "gemm_grouped"

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        one_shape(inputs, 1, (*CODES_8, "float32"))
        (x,) = inputs
        expect(x.row_scale is None, "inputs: expected one scale for all samples, got one for each row")
        expect(not x.is_codes or self.weight_bits <= 4, "weight_bits: expected up to 4 for codes, got more")
        if self.codebook is not None:
            expect(not x.is_codes, "codebook: expected None for codes at one scale")
            expect(len(self.codebook) <= INTEGER_ENTRIES, f"codebook: expected up to {INTEGER_ENTRIES} entries")
        return self._infer_product(x), ("float32",)

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        depth = min(self.group_size, len(self.weight))
        if depth * 128 * FARTHEST_WEIGHT > INT32_MAX:
            raise OverflowError(f"expected groups whose sums int32 holds, got {depth} weights")


@dataclass(frozen=True, eq=False)
class GemmGroupedF32(GroupedProduct):
    """float32 by weights in groups: the weight-only product."""

    kind: ClassVar[str] = "gemm_grouped_f32"

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        one_shape(inputs, 1, ("float32",))
        return self._infer_product(inputs[0]), ("float32",)


@dataclass(frozen=True, eq=False)
class DenseF32(Step):
    """float32 by float32 weights (in, out): a layer that stays as it is, one fused multiply-add per input, in order."""

    kind: ClassVar[str] = "dense_f32"
    grids: ClassVar[str] = "any"
    weight: np.ndarray
    bias: np.ndarray | None
    activation: str | None

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = one_shape(inputs, 1, ("float32",))
        expect(len(shape) > 0, "inputs: expected at least one axis, got none")
        units = self.weight.shape[-1] if isinstance(self.weight, np.ndarray) and self.weight.ndim == 2 else 0
        of_shape("weight", self.weight, np.float32, (shape[-1], max(units, 1)))
        expect(bool(np.isfinite(self.weight).all()), "weight: expected finite values")
        if self.bias is not None:
            finite_vector("bias", self.bias, np.float32, units)
        one_of("activation", self.activation, (None, "relu", "relu6"))
        return (*shape[:-1], units), ("float32",)
