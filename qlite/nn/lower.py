"""Lowering: from layers to the steps of a program.

A layer says what it computes (`layer.lower(builder, inputs)`), in terms of what a `Builder` offers. How that becomes
steps is the business of a strategy, one for each kind of scheme. The builder keeps the table of buffers, and it alone
names them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Protocol

import numpy as np

from qlite.arrays.qarray import QArray
from qlite.arrays.quantize import quantize
from qlite.grids.codebooks import integer_codebook
from qlite.grids.qparams import QParams
from qlite.nn.activation_tables import activation_table
from qlite.nn.program import Buffer, Program, Step
from qlite.nn.scheme import FLOAT_BITS, Scheme
from qlite.nn.steps import (
    Activate,
    Concatenate,
    Dequantize,
    GemmGrouped,
    GemmGroupedF32,
    JoinDigits,
    Lookup,
    Normalize,
    Quantize,
    QuantizeDigits,
    QuantizeDynamic,
    Requantize,
    SoftmaxX8,
)
from qlite.nn.steps.digits import GREATEST_CODE, MAX_AXES
from qlite.nn.steps.merging import MAX_INPUTS
from qlite.nn.ternary import quantize_ternary
from qlite.ops.activations import SLOPE
from qlite.ops.epilogue import BIAS_ROOM, integer_bias
from qlite.ops.packing import idle_columns


class Multiplying(Protocol):
    """What a layer that multiplies tells of itself: see `Weighted`."""

    weight: np.ndarray
    bias: np.ndarray
    activation: str | None
    integer_step: ClassVar[type[Step]]
    weight_only_step: ClassVar[type[Step]]
    float_step: ClassVar[type[Step]]

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        """The shape of the weights in steps."""

    def fields(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return the fields of the step beside those of the weights."""

    def scale_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the scales that codes of a sample of this shape get at run time."""


class Strategy(Protocol):
    """How a scheme computes what layers ask for."""

    def product(self, builder: "Builder", x: int, layer: Multiplying) -> int:
        """Append ``activation(x @ weight + bias)`` and return the buffer of the result."""


class Static:
    """Activations are codes at scales known ahead: uint8, asymmetric (a target may want others: see retarget.py)."""

    def product(self, builder: "Builder", x: int, layer: Multiplying) -> int:
        name, codes = builder.layer, builder.codes(x)
        input_scale, _ = builder.buffers[codes].affine
        q = builder.quantize_weight(name, layer.weight)
        step = 1.0 if q.codebook is None else float(integer_codebook(q.codebook)[1])
        is_given = builder.repair is not None or q.codebook is not None
        q = with_room_for_bias(q, layer.weight, layer.bias, float(input_scale * step), is_given)
        fields = builder.weight_fields(layer.integer_step, q, x, layer)
        fields["bias"] = builder.integer_bias(layer.bias, input_scale, fields["weight_scale"])
        grid = affine_of(builder.qparams[name])
        end: dict[str, Any] = {"activation": layer.activation, "requant": "float"}
        kind = layer.integer_step
        if not builder.keep_sums:
            return builder.append(kind, (codes,), name, scales=grid, **fields, **end)
        sums = builder.append(kind, (codes,), f"{name}_sums", dtype="int32", **fields, activation=None, requant="float")
        end |= {"input_scale": input_scale, "weight_scale": fields["weight_scale"]}
        return builder.append(Requantize, (sums,), name, scales=grid, **end)


class StaticGrouped:
    """Activations as in `Static`; sums of groups of weights add up as float32, which become codes again."""

    def product(self, builder: "Builder", x: int, layer: Multiplying) -> int:
        name, codes = builder.layer, builder.codes(x)
        fields = _group_fields(builder.quantize_weight(name, layer.weight))
        fields |= {"bias": layer.bias, "activation": layer.activation}
        sums = builder.append(GemmGrouped, (codes,), f"{name}_sums", **fields)
        return builder.append(Quantize, (sums,), name, scales=affine_of(builder.qparams[name]))


class Dynamic:
    """Activations are float32 between layers; each layer quantizes every row, or image, at a scale of its own."""

    def product(self, builder: "Builder", x: int, layer: Multiplying) -> int:
        name, source = builder.layer, builder.floats(x)
        codes = builder.codes_with_scales(source, layer.scale_shape(builder.buffers[source].shape))
        q = builder.quantize_weight(name, layer.weight)
        fields = builder.weight_fields(layer.integer_step, q, x, layer)
        fields |= {"bias": layer.bias, "activation": layer.activation, "requant": "float"}
        return builder.append(layer.integer_step, (codes,), name, dtype="float32", **fields)


class DynamicGrouped:
    """As `Dynamic`, with weights in groups; the product finds the scales of rows itself."""

    def product(self, builder: "Builder", x: int, layer: Multiplying) -> int:
        fields = _group_fields(builder.quantize_weight(builder.layer, layer.weight))
        fields |= {"bias": layer.bias, "activation": layer.activation}
        return builder.append(GemmGrouped, (builder.floats(x),), builder.layer, **fields)


class WeightOnlyGrouped:
    """Activations are float32, weights are in groups."""

    def product(self, builder: "Builder", x: int, layer: Multiplying) -> int:
        fields = _group_fields(builder.quantize_weight(builder.layer, layer.weight))
        fields |= {"bias": layer.bias, "activation": layer.activation}
        return builder.append(GemmGroupedF32, (builder.floats(x),), builder.layer, **fields)


class Wide:
    """Activations are float32 between layers; each layer takes 16-bit codes at a scale known ahead, as two digits."""

    def product(self, builder: "Builder", x: int, layer: Multiplying) -> int:
        name, codes = builder.layer, builder.digits(x)
        input_scale, _ = builder.buffers[codes].affine
        fields = builder.weight_fields(layer.integer_step, builder.quantize_weight(name, layer.weight), x, layer)
        fields |= {"bias": None, "activation": None, "requant": "float"}
        sums = builder.append(layer.integer_step, (codes,), f"{name}_sums", dtype="int32", **fields)
        end = {"input_scale": input_scale, "weight_scale": fields["weight_scale"], "bias": layer.bias}
        return builder.joined(sums, name, **end, activation=layer.activation)


class Float:
    """Nothing is quantized."""

    def product(self, builder: "Builder", x: int, layer: Multiplying) -> int:
        source = builder.floats(x)
        fields = layer.fields(builder.buffers[source].shape)
        fields |= {"weight": layer.weight.reshape(layer.kernel_shape), "bias": layer.bias}
        return builder.append(layer.float_step, (source,), builder.layer, **fields, activation=layer.activation)


class WeightOnly:
    """Activations are float32, weights up to 8 bits."""

    def product(self, builder: "Builder", x: int, layer: Multiplying) -> int:
        name, source = builder.layer, builder.floats(x)
        q = builder.quantize_weight(name, layer.weight)
        fields = builder.weight_fields(layer.weight_only_step, q, source, layer)
        fields |= {"bias": layer.bias, "activation": layer.activation}
        return builder.append(layer.weight_only_step, (source,), name, **fields)


def strategy_of(scheme: Scheme, layer: Multiplying) -> Strategy:
    """Return what lowers a layer by this scheme; groups of weights are for matrices."""
    if scheme.weight_bits == FLOAT_BITS:
        return Float()
    if scheme.group_size is not None and layer.weight.ndim == 2:
        if scheme.is_static:
            return StaticGrouped()
        return DynamicGrouped() if scheme.dynamic else WeightOnlyGrouped()
    if scheme.is_wide:
        return Wide()
    if scheme.is_static:
        return Static()
    if scheme.grid != "uniform" and layer.weight.ndim == 2 and not scheme.dynamic:
        return WeightOnlyGrouped()  # of one group
    return Dynamic() if scheme.dynamic else WeightOnly()


class Builder:
    """Collects the buffers and steps of a program while layers lower themselves.

    Parameters
    ----------
    scheme : Scheme
    weight_method : str
        How ranges of weights are chosen: see `choose_qparams`.
    qparams : dict of QParams
        The scale and zero point of every activation that may become codes, by the name of its buffer.
    per_layer : dict of Scheme
        Layers that have a scheme of their own, by name.
    symmetric_weights : bool
        Whether weights have no zero points at any width.
    repair : callable, optional
        ``repair(name, weight)`` returns the quantized weights (in, out) of a layer, or None for the usual ones.
    biases : dict of ndarray of int32, optional
        Biases in units of sums, by layer, where they are known.
    weights : dict of QArray, optional
        What `quantize_weight` has given, by layer: builders of one model by one scheme may share it.
    input_dtype : {"float32", "uint8"}
        What samples are; bytes stand for the numbers 0 to 255.
    keep_sums : bool
        Whether static products leave their sums in a buffer of their own, ``<layer>_sums``, int32, before they become
        codes: the same codes, for training.

    Attributes
    ----------
    layer : str
        The layer that is being lowered, whose name its result gets.
    """

    def __init__(
        self,
        scheme: Scheme,
        *,
        weight_method: str = "minmax",
        symmetric_weights: bool = False,
        qparams: dict[str, QParams] | None = None,
        per_layer: dict[str, Scheme] | None = None,
        repair: Callable[[str, np.ndarray], QArray | None] | None = None,
        biases: Mapping[str, np.ndarray] | None = None,
        weights: dict[str, QArray] | None = None,
        keep_sums: bool = False,
        input_dtype: str = "float32",
    ) -> None:
        self.scheme = scheme
        self.weight_method = weight_method
        self.symmetric_weights = symmetric_weights
        self.qparams = dict(qparams or {})
        self.per_layer = per_layer or {}
        self.repair = repair
        self.biases = biases or {}
        self.weights = {} if weights is None else weights
        self.keep_sums = keep_sums
        self.input_dtype = input_dtype
        self.layer = "input"
        self.buffers: list[Buffer] = []
        self.steps: list[Step] = []
        self._inputs: list[int] = []
        self._codes: dict[int, int] = {}
        self._floats: dict[int, int] = {}
        self._digits: dict[int, int] = {}
        self._joined: set[int] = set()
        self._codes_with_scales: dict[tuple[int, tuple[int, ...]], int] = {}

    # ---- for layers

    @property
    def is_static(self) -> bool:
        """Whether the layer that is being lowered computes with codes on grids that are known ahead."""
        return self.scheme_of(self.layer).is_static

    def product(self, x: int, layer: Multiplying) -> int:
        """Append ``activation(x @ weight + bias)``, or a convolution, and return the buffer of the result."""
        return strategy_of(self.scheme_of(self.layer), layer).product(self, x, layer)

    def activation(self, x: int, function: str, slope: float) -> int:
        """Append an activation and return the buffer of the result: a table for codes, float32 for float32."""
        if self.is_static:
            x = self.codes(x)
        if not self.buffers[x].is_codes:
            return self.append(Activate, (x,), self.layer, function=function, slope=slope)
        grid = affine_of(self.qparams[self.layer])
        if function == "softmax":
            return self.append(SoftmaxX8, (x,), self.layer, scales=grid, requant="float")
        return self._lookup(x, self.layer, grid, function, slope)

    def computed(self, kind: type[Step], inputs: Sequence[int], **fields: Any) -> int:
        """Append a step and return the buffer of the result: codes on a grid of its own where the scheme has codes."""
        if not self.is_static:
            return self.append(kind, tuple(self.floats(x) for x in inputs), self.layer, **fields)
        grid = affine_of(self.qparams[self.layer])
        return self.append(kind, tuple(self.codes(x) for x in inputs), self.layer, scales=grid, **fields)

    def moved(self, kind: type[Step], x: int, **fields: Any) -> int:
        """Append a step that leaves values on their grid and return the buffer of the result: codes where the scheme
        has codes, or `x` has; but floats where these come from a product of 16-bit codes, which the next may read."""
        is_wide = x in self._joined
        x = self.codes(x) if self.is_static and not is_wide else x
        moved = self.append(kind, (x,), self.layer, scales=self._grid_of(x), **fields)
        if is_wide:
            self._joined.add(moved)
        return moved

    def concatenate(self, inputs: Sequence[int], axis: int) -> int:
        """Append inputs joined along an axis of samples and return the buffer of the result."""
        name, scales = self.layer, None
        if self.is_static:
            scales = affine_of(self.qparams[name])
            inputs = [self._on_grid(self.codes(x), f"{name}_{i}_codes", scales) for i, x in enumerate(inputs)]
        else:
            inputs = [self.floats(x) for x in inputs]
        part = 0
        while len(inputs) > MAX_INPUTS:
            first, part = tuple(inputs[:MAX_INPUTS]), part + 1
            joined = self.append(Concatenate, first, f"{name}_part_{part}", scales=scales, axis=axis)
            inputs = [joined, *inputs[MAX_INPUTS:]]
        return self.append(Concatenate, tuple(inputs), name, scales=scales, axis=axis)

    def _grid_of(self, x: int) -> dict[str, Any]:
        source = self.buffers[x]
        return {"scale": source.scale, "zero_point": source.zero_point, "bits": source.bits}

    def _on_grid(self, x: int, name: str, grid: dict[str, Any]) -> int:
        """Return codes on a grid: those of `x`, or a new buffer of this name."""
        return x if self._grid_of(x) == grid else self._lookup(x, name, grid, "identity", SLOPE)

    def _lookup(self, x: int, name: str, grid: dict[str, Any], function: str, slope: float) -> int:
        source = self.buffers[x]
        target = Buffer(name, self.layer, source.shape, source.dtype, **grid)
        table = activation_table(function, slope, source, target)
        return self.append(Lookup, (x,), name, scales=grid, table=table, function=function, slope=slope)

    def normalize(self, x: int, mean: np.ndarray, scale: np.ndarray) -> int:
        """Append ``(x - mean) / scale`` and return the buffer of the result."""
        return self.append(Normalize, (self.floats(x),), "normalized", mean=mean, scale=scale)

    # ---- for models

    def input(self, name: str, shape: tuple[int, ...], dtype: str) -> int:
        """Add the buffer of an input of samples of this shape, and return that of its values in float32, or int32."""
        self.layer = name
        if dtype == "int32":
            self._inputs.append(self.add_buffer(name, shape, dtype))
            return self._inputs[-1]
        is_bytes = self.input_dtype == "uint8"
        grid: dict[str, Any] = {"scale": 1.0, "zero_point": 0} if is_bytes else {}
        self._inputs.append(self.add_buffer(name, shape, self.input_dtype, **grid))
        values = self.floats(self._inputs[-1])
        if name in self.qparams:
            self.qparams[self.buffers[values].name] = self.qparams[name]
        return values

    def lower(self, name: str, layer: Any, inputs: tuple[int, ...]) -> int:
        """Lower a layer under this name, and return the buffer of its result."""
        self.layer = name
        return layer.lower(self, inputs)

    def program(self, outputs: Sequence[int]) -> Program:
        """Return the program whose outputs are the float32 values of these buffers."""
        (first, *others) = outputs
        if others or not self.buffers[first].is_codes:
            results = [self.floats(x) for x in outputs]
        else:
            results = [self.append(Dequantize, (first,), "output", layer=self.buffers[first].layer)]
        return Program(self.buffers, self.steps, tuple(self._inputs), tuple(results))

    # ---- for strategies

    def codes(self, x: int) -> int:
        """Return the buffer of codes of a value, which is quantized once."""
        buffer = self.buffers[x]
        if buffer.is_codes:
            return x
        if x not in self._codes:
            is_input = any(self.buffers[i].layer == buffer.layer for i in self._inputs)
            name = f"{buffer.layer}_codes" if is_input else f"{buffer.layer}_output_codes"
            scales = affine_of(self.qparams[buffer.name])
            self._codes[x] = self.append(Quantize, (x,), name, layer=buffer.layer, scales=scales)
        return self._codes[x]

    def digits(self, x: int) -> int:
        """Return the buffer of a value as 16-bit codes in two digits, which is quantized once.

        They reach as far as the value's 8-bit grid, and a step of that more: its ends were rounded to a zero point.
        """
        buffer = self.buffers[x]
        if len(buffer.shape) > MAX_AXES:
            raise ValueError(
                f"layer {self.layer!r}: expected samples of up to {MAX_AXES} axes for activations of 16 bits, got "
                f"shape {buffer.shape}"
            )
        if x not in self._digits:
            grid = self._grid_of(x) if buffer.is_codes else affine_of(self.qparams[buffer.name])
            reach = max(grid["zero_point"], (1 << grid["bits"]) - 1 - grid["zero_point"]) + 1
            scale = np.float32(grid["scale"] * reach / GREATEST_CODE)
            scales = {"scale": float(max(scale, np.finfo(np.float32).smallest_normal)), "zero_point": 128}
            self._digits[x] = self.append(QuantizeDigits, (self.floats(x),), f"{self.layer}_digits", scales=scales)
        return self._digits[x]

    def joined(self, sums: int, name: str, **fields: Any) -> int:
        """Append the float32 that sums of products of digits stand for and return their buffer."""
        self._joined.add(result := self.append(JoinDigits, (sums,), name, **fields))
        return result

    def codes_with_scales(self, x: int, shape: tuple[int, ...]) -> int:
        """Return the buffer of codes of float32, at scales of this shape that are found at run time; layers that read
        the same value share it, and it has the name of the first."""
        if (x, shape) not in self._codes_with_scales:
            own = {
                "row_scale": self.add_buffer(f"{self.layer}_scale", shape, "float32"),
                "row_zero_point": self.add_buffer(f"{self.layer}_zero_point", shape, "int32"),
            }
            codes = self.append(QuantizeDynamic, (x,), f"{self.layer}_codes", scales=own)
            self._codes_with_scales[x, shape] = codes
        return self._codes_with_scales[x, shape]

    def floats(self, x: int) -> int:
        """Return the float32 buffer of a value, which is dequantized once."""
        buffer = self.buffers[x]
        if not buffer.is_codes:
            return x
        if x not in self._floats:
            self._floats[x] = self.append(Dequantize, (x,), f"{buffer.name}_values", layer=buffer.layer)
        return self._floats[x]

    def quantize_weight(self, name: str, weight: np.ndarray) -> QArray:
        """Return a layer's weights by its scheme, with a scale per output, the last axis."""
        if name not in self.weights:
            self.weights[name] = self._quantized(name, weight)
        return self.weights[name]

    def _quantized(self, name: str, weight: np.ndarray) -> QArray:
        repaired = self.repair(name, weight) if self.repair else None
        if repaired is not None:
            return repaired
        scheme = self.scheme_of(name)
        if scheme.ternary:
            return quantize_ternary(weight)
        options = scheme.weight_options(weight.ndim - 1, self.symmetric_weights)
        if weight.ndim != 2:
            options["group_size"] = None
        return quantize(weight, method=self.weight_method, **options)

    def integer_bias(self, bias: np.ndarray, input_scale: float, weight_scale: np.ndarray) -> np.ndarray:
        """Return the bias of the layer that is being lowered in units of its sums."""
        if self.layer in self.biases:
            return self.biases[self.layer]
        return integer_bias(f"layer {self.layer!r}", bias, input_scale, weight_scale)

    def weight_fields(self, kind: type[Step], q: QArray, x: int, layer: Multiplying) -> dict[str, Any]:
        """Return the fields of a layer's step of some kind that multiplies buffer `x` by such weights, all but bias and
        end."""
        scale, zero_point = _columns(q)
        codebook = q.codebook
        if codebook is not None and kind is layer.integer_step:
            codebook, unit = integer_codebook(codebook)
            scale = np.maximum(scale * unit, np.finfo(np.float32).smallest_normal)
        return layer.fields(self.buffers[x].shape) | {
            "weight": q.codes.reshape(layer.kernel_shape),
            "weight_scale": scale,
            "weight_zero_point": zero_point if zero_point.any() else None,
            "weight_bits": q.bits,
            "codebook": codebook,
        }

    def scheme_of(self, name: str) -> Scheme:
        """Return the scheme of a layer."""
        return self.per_layer.get(name, self.scheme)

    def add_buffer(self, name: str, shape: tuple[int, ...], dtype: str, **grid: Any) -> int:
        """Add a buffer of the layer that is being lowered, on a grid if it holds codes, and return its number."""
        self.buffers.append(Buffer(name, self.layer, shape, dtype, **grid))
        return len(self.buffers) - 1

    def append(
        self,
        kind: type[Step],
        inputs: tuple[int, ...],
        name: str,
        *,
        layer: str | None = None,
        dtype: str | None = None,
        scales: dict[str, Any] | None = None,
        **fields: Any,
    ) -> int:
        """Append a step and the buffer that it writes, and return the buffer's number.

        The shape and, by default, the dtype follow from the step; `scales` are the buffer's scale and zero point, or
        its row buffers; `fields` are the step's.
        """
        step = kind(inputs, len(self.buffers), **fields)
        shape, dtypes = step.infer(*(self.buffers[i] for i in inputs))
        self.steps.append(step)
        self.buffers.append(Buffer(name, layer or self.layer, shape, dtype or dtypes[0], **(scales or {})))
        return step.output


def affine_of(qparams: QParams) -> dict[str, Any]:
    """Scale, zero point and width of a grid for all samples, as buffers take them."""
    scale, zero_point = float(qparams.scale.item()), int(qparams.zero_point.item())
    return {"scale": scale, "zero_point": zero_point, "bits": qparams.bits}


def _columns(q: QArray) -> tuple[np.ndarray, np.ndarray]:
    """Scale and zero point of each output, the last axis."""
    scale, zero_point = (np.broadcast_to(p.ravel(), q.shape[-1]) for p in (q.scale, q.zero_point))
    return np.ascontiguousarray(scale), np.ascontiguousarray(zero_point)


def _group_fields(q: QArray) -> dict[str, Any]:
    rows, columns = q.shape
    group = q.qparams.group_size or rows
    shape = -(-rows // group), columns
    zero_point = np.broadcast_to(q.zero_point, shape) if q.zero_point.any() else None
    return {
        "weight": q.codes,
        "weight_scale": np.broadcast_to(q.scale, shape),
        "weight_zero_point": zero_point,
        "weight_bits": q.bits,
        "codebook": q.codebook,
        "group_size": group,
    }


def with_room_for_bias(
    q: QArray, weight: np.ndarray, bias: np.ndarray, input_scale: float, is_given: bool = False
) -> QArray:
    """Quantize the outputs anew whose weights are so small that the bias would not fit int32 at their scale.

    A relu unit that training gave up has weights near 1e-9 and an ordinary bias. At the coarser scale its weights lose
    digits that are some 2**30 times smaller than the bias. A unit without weights has its scale from the bias alone,
    unless scales are given.
    """
    least = np.abs(bias.astype(np.float64)) / (np.float64(input_scale) * BIAS_ROOM)
    idle = None if is_given else idle_columns(q.codes, _columns(q)[1])
    is_only_bias = False if idle is None else idle & (least > 0)
    least = np.maximum(least, np.finfo(np.float32).smallest_normal).astype(np.float32)
    scale = np.where(is_only_bias, least, np.maximum(q.scale, least))
    moved = scale != q.scale
    if not moved.any():
        return q
    new = quantize(weight, replace(q.qparams, scale=scale))
    return QArray(np.where(moved, new.codes, q.codes), new.qparams)
