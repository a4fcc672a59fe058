"""The way back through an integer program: for each kind of step what a gradient becomes.

Gradients are those of the real values that buffers stand for. Rounding lets them through as they are and clipping stops
them (the straight-through estimator, Bengio et al. 2013); the scales of grids get theirs from both.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any

import numpy as np

from qlite.arrays.qarray import QArray
from qlite.grids.qparams import QParams
from qlite.nn.layers.layer import Layer
from qlite.nn.layers.weighted import Weighted
from qlite.nn.lower import BIAS_ROOM, with_room_for_bias
from qlite.nn.program import Program
from qlite.nn.steps import Requantize
from qlite.ops.epilogue import integer_bias
from qlite.training import kernels
from qlite.training.learned_grid import LearnedGrid
from qlite.training.network import Key, apart

#: What an activation of a product lets through.
CLAMPS = {None: (-math.inf, math.inf), "relu": (0.0, math.inf), "relu6": (0.0, 6.0)}


class Batch:
    """A batch on its way back: what buffers hold, and the gradients that have come to them.

    Attributes
    ----------
    held : dict of ndarray
        What was kept of the way forward, by the numbers of buffers.
    parameters : dict of ndarray
        The gradients of parameters that were found.
    column_sums : dict of ndarray
        Sums of a gradient over the samples, where a pass over it has made them.
    """

    def __init__(
        self, program: Program, held: dict[int, np.ndarray], needed: Collection[int], rng: "np.random.Generator"
    ) -> None:
        self.program, self.held, self._needed, self.rng = program, held, needed, rng
        self.parameters: dict[Key, np.ndarray] = {}
        self.column_sums: dict[int, np.ndarray] = {}
        self._gradients: dict[int, np.ndarray] = {}

    def real(self, i: int) -> np.ndarray:
        """Return what a buffer stands for, as float32."""
        buffer, codes = self.program.buffers[i], self.held[i]
        if not buffer.is_codes:
            return codes
        if buffer.row_scale is not None and buffer.row_zero_point is not None:
            return kernels.dequantize(codes, self.held[buffer.row_scale], self.held[buffer.row_zero_point], None)
        scale, zero_point = buffer.affine
        return kernels.dequantize(codes, np.array([scale], np.float32), np.array([zero_point], np.int32), None)

    def needs(self, i: int) -> bool:
        """Return whether a gradient at this buffer is of use."""
        return i in self._needed

    def give(self, i: int, gradient: np.ndarray) -> None:
        """Add a gradient to those that have come to a buffer."""
        before = self._gradients.get(i)
        self._gradients[i] = gradient if before is None else before + gradient

    def take(self, i: int) -> np.ndarray:
        """Return the gradient of a buffer, contiguous and to be written over, and forget it."""
        return np.ascontiguousarray(self._gradients.pop(i))


class Back(ABC):
    """The way back through one step."""

    #: The buffers whose content it needs, and whether it has something to train.
    reads: tuple[int, ...] = ()
    trains: bool = False

    @abstractmethod
    def __call__(self, batch: Batch) -> None:
        """Take the gradient of the step's result, and give those of its inputs and of parameters."""


class Through(Back):
    """Steps between floats and codes that clip nothing: dequantize, and quantize_dynamic, which takes each row's own
    range."""

    def __init__(self, step: Any) -> None:
        self.step = step

    def __call__(self, batch: Batch) -> None:
        batch.give(self.step.inputs[0], batch.take(self.step.output))


class Rounding(Back):
    """Floats, or codes on another grid, to codes at a learned grid."""

    def __init__(self, step: Any, grid: LearnedGrid) -> None:
        self.step, self.grid = step, grid
        self.reads, self.trains = step.inputs, grid.learns

    def __call__(self, batch: Batch) -> None:
        (x,) = self.step.inputs
        gradient = batch.take(self.step.output)
        through_grid(batch.real(x), gradient, self.grid)
        batch.give(x, gradient)


def through_grid(x: np.ndarray, gradient: np.ndarray, grid: LearnedGrid) -> None:
    """Stop what a grid with one scale clips of a gradient, in place."""
    p, columns = grid.qparams, x.shape[-1]
    scale, zero_point = np.full((1, columns), grid.scale), np.full((1, columns), p.zero_point)
    shape, rows, of_scale = (-1, columns), x.size // columns, np.empty((1, columns), np.float32)
    ends = rows, p.qmin, p.qmax, grid.moves_inside
    kernels.quantize_gradient(x.reshape(shape), gradient.reshape(shape), scale, zero_point, *ends, of_scale)
    grid.add(of_scale.sum(dtype=np.float64))


class Requantizing(Back):
    """Sums to codes at a learned grid, or to floats, behind an activation that is a clamp."""

    def __init__(self, number: int, step: Requantize, grid: LearnedGrid | None) -> None:
        self.number, self.step, self.grid = number, step, grid
        self.reads, self.trains = (step.output,) if grid is None else step.inputs, grid is not None and grid.learns

    def __call__(self, batch: Batch) -> None:
        (sums,), gradient = self.step.inputs, batch.take(self.step.output)
        if self.grid is None:
            batch.give(sums, clamped(self.step.activation, gradient, batch.held[self.step.output]))
            return
        step: Any = batch.program.steps[self.number]
        buffer = batch.program.buffers[step.output]
        scale, zero_point = buffer.affine
        multiplier = np.float32(step.input_scale) * step.weight_scale / np.float32(scale)
        (lowest, highest), (floor, ceiling) = buffer.code_range, CLAMPS[step.activation]
        ends = lowest - zero_point, highest - zero_point, floor, ceiling / scale
        shape, column_sum = (-1, len(multiplier)), np.empty(len(multiplier), np.float32)
        held = batch.held[sums].reshape(shape)
        self.grid.add(
            kernels.requantize_gradient(
                held, gradient.reshape(shape), multiplier, ends, self.grid.moves_inside, column_sum
            )
        )
        batch.column_sums[sums] = column_sum
        batch.give(sums, gradient)


def clamped(activation: str | None, gradient: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Stop what an activation that is a clamp does not let through, in place; `y` is its result."""
    floor, ceiling = CLAMPS[activation]
    if activation is not None:
        gradient *= (y > floor) & (y < ceiling)
    return gradient


class Product(Back):
    """A product with a layer's weights: makes codes of them on the way forward.

    Parameters
    ----------
    number : int
        Of the step.
    step : Step
    name : str
        Of the layer.
    layer : Weighted
        Has the weights and the bias, as floats.
    grid : LearnedGrid or None
        That of the weights; None where they stay floats.
    trains : bool
        Whether its weights and its bias are trained.
    """

    def __init__(
        self, number: int, step: Any, name: str, layer: Weighted, grid: LearnedGrid | None, trains: bool
    ) -> None:
        self.number, self.step, self.name, self.layer, self.grid, self.trains = number, step, name, layer, grid, trains
        self.reads = step.inputs if step.activation is None else (*step.inputs, step.output)
        self.has_integer_bias = isinstance(step.bias, np.ndarray) and step.bias.dtype == np.int32
        if grid is not None:
            self.codes, self.scale = step.weight.reshape(layer.weight.shape), grid.scale
            self._groups = (0, 0) if grid.qparams.group_size is None else (grid.qparams.group_size, 0)

    def fields(self, input_scale: float | None) -> dict[str, Any]:
        """Return the fields of the step for the parameters of now; `input_scale` where the bias is one of sums."""
        bias, shape = self.layer.bias, self.step.weight.shape
        if self.grid is None:
            return {"weight": own(self.layer.weight.reshape(shape)), "bias": own(bias)}
        grid = self.grid
        p, self.scale = grid.qparams, grid.scale
        self.codes = kernels.quantize(
            self.layer.weight, self.scale, p.zero_point, p.qmin, p.qmax, True, None, "weight", *self._groups
        )
        self.codes.flags.writeable = False
        if input_scale is not None:
            bias = np.rint(bias / (np.float64(input_scale) * self.scale.ravel()))
            if np.abs(bias).max() > BIAS_ROOM:
                bias = self._make_room(grid.found, input_scale)
            bias = bias.astype(np.int32)
        codes = self.codes if self.codes.shape == shape else own(self.codes.reshape(shape))
        scale = self.scale if p.group_size else self.scale.ravel()
        return {"weight": codes, "weight_scale": own(scale), "bias": own(bias)}

    def _make_room(self, qparams: QParams, input_scale: float) -> np.ndarray:
        """Quantize outputs anew whose weights are too small beside the bias, as lowering does; returns the bias."""
        q = with_room_for_bias(QArray(self.codes, qparams), self.layer.weight, self.layer.bias, input_scale, True)
        self.codes, self.scale = q.codes, np.ascontiguousarray(q.scale)
        return integer_bias(f"layer {self.name!r}", self.layer.bias, input_scale, q.scale.ravel())

    def __call__(self, batch: Batch) -> None:
        (x,), y = self.step.inputs, self.step.output
        gradient = batch.take(y)
        if self.step.activation is not None:
            clamped(self.step.activation, gradient, batch.held[y])
        of_bias = batch.column_sums.get(y) if self.trains else None
        if self.trains and of_bias is None:
            of_bias = gradient.reshape(-1, gradient.shape[-1]).sum(axis=0)
        needs_input, weight = batch.needs(x), self.layer.weight
        if needs_input and self.grid is not None:
            weight = kernels.dequantize(self.codes, self.scale, self.grid.qparams.zero_point, None, *self._groups)
        of_x, of_weight = self.layer.multiply_gradients(batch.real(x), weight, gradient, needs_input)
        if of_x is not None:
            batch.give(x, of_x)
        if of_bias is not None:
            if self.grid is not None:
                of_weight = self._through_grid(of_weight, self.grid)
            batch.parameters |= {(self.name, "bias"): of_bias, (self.name, "weight"): of_weight}

    def _through_grid(self, gradient: np.ndarray, grid: LearnedGrid) -> np.ndarray:
        """Return the gradient of the weights as floats, and note that of their scales."""
        p, columns = grid.qparams, gradient.shape[-1]
        gradient = np.ascontiguousarray(gradient)
        weight, rows, scale, zero_point, of_scale = (
            a.reshape(-1, columns) for a in (self.layer.weight, gradient, self.scale, p.zero_point, grid.of_scale)
        )
        ends = p.group_size or len(rows), p.qmin, p.qmax, grid.moves_inside
        kernels.quantize_gradient(weight, rows, scale, zero_point, *ends, of_scale)
        return gradient


def own(array: np.ndarray) -> np.ndarray:
    """Return a copy that nobody can write to."""
    copy = array.copy()
    copy.flags.writeable = False
    return copy


class Unweighted(Back):
    """A step of a layer without weights: its gradients as floats, behind the grid of its codes if it rounds to one.

    Parameters
    ----------
    step : Step
    name : str
        Of the layer.
    layer : Layer
    grid : LearnedGrid or None
        That of its codes.
    moves : bool
        Whether it has parameters that are trained.
    """

    def __init__(self, step: Any, name: str, layer: Layer, grid: LearnedGrid | None, moves: bool) -> None:
        self.step, self.name, self.layer, self.grid, self.moves = step, name, layer, grid, moves
        self.reads, self.trains = step.inputs, moves or (grid is not None and grid.learns)

    def __call__(self, batch: Batch) -> None:
        inputs, gradient = self.step.inputs, batch.take(self.step.output)
        y, saved = self.layer.forward(*map(batch.real, inputs), rng=batch.rng)
        if self.grid is not None:
            through_grid(y, gradient, self.grid)
        needs_input = any(map(batch.needs, inputs))
        if not needs_input and not self.moves:
            return
        gradients, of_parameters = self.layer.backward(saved, gradient, needs_input)
        if self.moves:
            batch.parameters |= {(self.name, what): array for what, array in of_parameters.items()}
        for x, own in zip(inputs, apart(gradients) if needs_input else (), strict=needs_input):
            if batch.needs(x):
                batch.give(x, own)
