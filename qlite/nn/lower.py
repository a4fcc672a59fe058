"""Lowering: from layers to the steps of a program.

A layer says what it computes (`layer.lower(builder, inputs)`), in terms of what a `Builder` offers. How that becomes
steps is the business of a strategy, one for each kind of scheme. The builder keeps the table of buffers, and it alone
names them.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from qlite.arrays.qarray import QArray
from qlite.arrays.quantize import quantize
from qlite.grids.qparams import QParams
from qlite.nn.activation_tables import activation_table
from qlite.nn.program import Buffer, Program, Step
from qlite.nn.scheme import FLOAT_BITS, Scheme
from qlite.nn.steps import (
    Activate,
    DenseF32,
    Dequantize,
    Gemm,
    GemmF32,
    GemmGrouped,
    GemmGroupedF32,
    Lookup,
    Normalize,
    Quantize,
    QuantizeDynamic,
    Requantize,
    Reshape,
    SoftmaxX8,
)
from qlite.nn.ternary import quantize_ternary
from qlite.ops.epilogue import BIAS_ROOM, integer_bias
from qlite.ops.packing import columns_of, idle_columns


class Strategy(Protocol):
    """How a scheme computes what layers ask for."""

    def product(self, builder: "Builder", x: int, weight: np.ndarray, bias: np.ndarray, activation: str | None) -> int:
        """Append ``activation(x @ weight + bias)`` and return the buffer of the result."""


class Static:
    """Activations are codes at scales known ahead: uint8, asymmetric (a target may want others: see retarget.py)."""

    def product(self, builder: "Builder", x: int, weight: np.ndarray, bias: np.ndarray, activation: str | None) -> int:
        name, codes = builder.layer, builder.codes(x)
        input_scale, _ = builder.buffers[codes].affine
        q = with_room_for_bias(builder.quantize_weight(name, weight), weight, bias, input_scale)
        fields = _weight_fields(q)
        fields["bias"] = integer_bias(f"layer {name!r}", bias, input_scale, fields["weight_scale"])
        grid = _affine(builder.qparams[name])
        end: dict[str, Any] = {"activation": activation, "requant": "float"}
        if not builder.keep_sums:
            return builder.append(Gemm, (codes,), name, scales=grid, **fields, **end)
        sums = builder.append(Gemm, (codes,), f"{name}_sums", dtype="int32", **fields, activation=None, requant="float")
        end |= {"input_scale": input_scale, "weight_scale": fields["weight_scale"]}
        return builder.append(Requantize, (sums,), name, scales=grid, **end)


class StaticGrouped:
    """Activations as in `Static`; sums of groups of weights add up as float32, which become codes again."""

    def product(self, builder: "Builder", x: int, weight: np.ndarray, bias: np.ndarray, activation: str | None) -> int:
        name, codes = builder.layer, builder.codes(x)
        fields = _group_fields(builder.quantize_weight(name, weight)) | {"bias": bias, "activation": activation}
        sums = builder.append(GemmGrouped, (codes,), f"{name}_sums", **fields)
        return builder.append(Quantize, (sums,), name, scales=_affine(builder.qparams[name]))


class Dynamic:
    """Activations are float32 between layers; each layer quantizes every row at a scale of the row's own."""

    def product(self, builder: "Builder", x: int, weight: np.ndarray, bias: np.ndarray, activation: str | None) -> int:
        name, source = builder.layer, builder.floats(x)
        rows = (*builder.buffers[source].shape[:-1], 1)
        own = {
            "row_scale": builder.add_buffer(f"{name}_scale", rows, "float32"),
            "row_zero_point": builder.add_buffer(f"{name}_zero_point", rows, "int32"),
        }
        codes = builder.append(QuantizeDynamic, (source,), f"{name}_codes", scales=own)
        fields = _weight_fields(builder.quantize_weight(name, weight))
        fields |= {"bias": bias, "activation": activation, "requant": "float"}
        return builder.append(Gemm, (codes,), name, dtype="float32", **fields)


class DynamicGrouped:
    """As `Dynamic`, with weights in groups; the product finds the scales of rows itself."""

    def product(self, builder: "Builder", x: int, weight: np.ndarray, bias: np.ndarray, activation: str | None) -> int:
        fields = _group_fields(builder.quantize_weight(builder.layer, weight))
        return builder.append(
            GemmGrouped, (builder.floats(x),), builder.layer, **fields, bias=bias, activation=activation
        )


class WeightOnlyGrouped:
    """Activations are float32, weights are in groups."""

    def product(self, builder: "Builder", x: int, weight: np.ndarray, bias: np.ndarray, activation: str | None) -> int:
        fields = _group_fields(builder.quantize_weight(builder.layer, weight))
        return builder.append(
            GemmGroupedF32, (builder.floats(x),), builder.layer, **fields, bias=bias, activation=activation
        )


class Float:
    """Nothing is quantized."""

    def product(self, builder: "Builder", x: int, weight: np.ndarray, bias: np.ndarray, activation: str | None) -> int:
        return builder.append(
            DenseF32, (builder.floats(x),), builder.layer, weight=weight, bias=bias, activation=activation
        )


class WeightOnly:
    """Activations are float32, weights up to 8 bits."""

    def product(self, builder: "Builder", x: int, weight: np.ndarray, bias: np.ndarray, activation: str | None) -> int:
        name, source = builder.layer, builder.floats(x)
        fields = _weight_fields(builder.quantize_weight(name, weight))
        return builder.append(GemmF32, (source,), name, **fields, bias=bias, activation=activation)


def strategy_of(scheme: Scheme) -> Strategy:
    """Return what lowers layers of this scheme."""
    if scheme.weight_bits == FLOAT_BITS:
        return Float()
    if scheme.group_size is not None:
        if scheme.is_static:
            return StaticGrouped()
        return DynamicGrouped() if scheme.dynamic else WeightOnlyGrouped()
    if scheme.is_static:
        return Static()
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
        keep_sums: bool = False,
    ) -> None:
        self.scheme = scheme
        self.weight_method = weight_method
        self.symmetric_weights = symmetric_weights
        self.qparams = qparams or {}
        self.per_layer = per_layer or {}
        self.repair = repair
        self.keep_sums = keep_sums
        self.layer = "input"
        self.buffers: list[Buffer] = []
        self.steps: list[Step] = []
        self._codes: dict[int, int] = {}
        self._floats: dict[int, int] = {}

    # ---- for layers

    def product(self, x: int, weight: np.ndarray, bias: np.ndarray, activation: str | None) -> int:
        """Append ``activation(x @ weight + bias)`` and return the buffer of the result."""
        return strategy_of(self.scheme_of(self.layer)).product(self, x, weight, bias, activation)

    def activation(self, x: int, function: str, slope: float) -> int:
        """Append an activation and return the buffer of the result: a table for codes, float32 for float32."""
        if not self.buffers[x].is_codes:
            return self.append(Activate, (x,), self.layer, function=function, slope=slope)
        source = self.buffers[x]
        grid = _affine(self.qparams[self.layer])
        if function == "softmax":
            return self.append(SoftmaxX8, (x,), self.layer, scales=grid, requant="float")
        target = Buffer(self.layer, self.layer, source.shape, source.dtype, **grid)
        table = activation_table(function, slope, source, target)
        return self.append(Lookup, (x,), self.layer, scales=grid, table=table, function=function, slope=slope)

    def reshape(self, x: int, shape: tuple[int, ...]) -> int:
        """Append a change of shape and return the buffer of the result: codes where the scheme has codes."""
        x = self.codes(x) if self.scheme_of(self.layer).is_static else x
        source = self.buffers[x]
        scales = {"scale": source.scale, "zero_point": source.zero_point, "bits": source.bits}
        return self.append(Reshape, (x,), self.layer, scales=scales, shape=shape)

    def normalize(self, x: int, mean: np.ndarray, scale: np.ndarray) -> int:
        """Append ``(x - mean) / scale`` and return the buffer of the result."""
        return self.append(Normalize, (self.floats(x),), "normalized", mean=mean, scale=scale)

    # ---- for models

    def input(self, shape: tuple[int, ...]) -> int:
        """Add the buffer of samples of this shape."""
        return self.add_buffer("input", shape, "float32")

    def lower(self, name: str, layer: Any, inputs: tuple[int, ...]) -> int:
        """Lower a layer under this name, and return the buffer of its result."""
        self.layer = name
        return layer.lower(self, inputs)

    def program(self, x: int) -> Program:
        """Return the program whose output is the float32 value of buffer `x`."""
        if self.buffers[x].is_codes:
            x = self.append(Dequantize, (x,), "output")
        return Program(self.buffers, self.steps, (0,), (x,))

    # ---- for strategies

    def codes(self, x: int) -> int:
        """Return the buffer of codes of a value, which is quantized once."""
        buffer = self.buffers[x]
        if buffer.is_codes:
            return x
        if x not in self._codes:
            name = "input_codes" if buffer.layer == "input" else f"{buffer.layer}_output_codes"
            scales = _affine(self.qparams[buffer.name])
            self._codes[x] = self.append(Quantize, (x,), name, layer=buffer.layer, scales=scales)
        return self._codes[x]

    def floats(self, x: int) -> int:
        """Return the float32 buffer of a value, which is dequantized once."""
        buffer = self.buffers[x]
        if not buffer.is_codes:
            return x
        if x not in self._floats:
            self._floats[x] = self.append(Dequantize, (x,), f"{buffer.name}_values", layer=buffer.layer)
        return self._floats[x]

    def quantize_weight(self, name: str, weight: np.ndarray) -> QArray:
        """Return a layer's weights (in, out) by its scheme, with a scale per output."""
        repaired = self.repair(name, weight) if self.repair else None
        if repaired is not None:
            return repaired
        scheme = self.scheme_of(name)
        if scheme.ternary:
            return quantize_ternary(weight)
        return quantize(weight, method=self.weight_method, **scheme.weight_options(1, self.symmetric_weights))

    def scheme_of(self, name: str) -> Scheme:
        """Return the scheme of a layer."""
        return self.per_layer.get(name, self.scheme)

    def add_buffer(self, name: str, shape: tuple[int, ...], dtype: str) -> int:
        """Add a buffer without a scale of the layer that is being lowered, and return its number."""
        self.buffers.append(Buffer(name, self.layer, shape, dtype))
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


def _affine(qparams: QParams) -> dict[str, Any]:
    scale, zero_point = float(qparams.scale.item()), int(qparams.zero_point.item())
    return {"scale": scale, "zero_point": zero_point, "bits": qparams.bits}


def _weight_fields(q: QArray) -> dict[str, Any]:
    scale, zero_point = columns_of(q, "weight")
    return {
        "weight": q.codes,
        "weight_scale": scale,
        "weight_zero_point": zero_point if zero_point.any() else None,
        "weight_bits": q.bits,
    }


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
        "group_size": group,
    }


def with_room_for_bias(q: QArray, weight: np.ndarray, bias: np.ndarray, input_scale: float) -> QArray:
    """Quantize the outputs anew whose weights are so small that the bias would not fit int32 at their scale.

    A relu unit that training gave up has weights near 1e-9 and an ordinary bias. At the coarser scale its weights lose
    digits that are some 2**30 times smaller than the bias. A unit without weights has its scale from the bias alone.
    """
    least = np.abs(bias.astype(np.float64)) / (np.float64(input_scale) * BIAS_ROOM)
    idle = idle_columns(q.codes, columns_of(q, "weight")[1])
    is_only_bias = False if idle is None else idle & (least > 0)
    least = np.maximum(least, np.finfo(np.float32).smallest_normal).astype(np.float32)
    scale = np.where(is_only_bias, least, np.maximum(q.scale, least))
    moved = scale != q.scale
    if not moved.any():
        return q
    new = quantize(weight, replace(q.qparams, scale=scale))
    return QArray(np.where(moved, new.codes, q.codes), new.qparams)
