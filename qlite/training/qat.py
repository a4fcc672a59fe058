"""Training with quantization in the loop: the forward pass is the integer program that will be deployed."""

import math
from collections import defaultdict
from collections.abc import Collection
from typing import Any

import numpy as np

from qlite.arrays.quantize import quantize
from qlite.grids.qparams import QParams
from qlite.nn.activation_tables import activation_table, known_grid
from qlite.nn.layers.layer import Layer
from qlite.nn.layers.weighted import Weighted
from qlite.nn.lower import Builder
from qlite.nn.model import Model
from qlite.nn.model_grids import ModelGrids
from qlite.nn.per_layer import own_schemes
from qlite.nn.plan import Plan
from qlite.nn.program import Buffer, Program
from qlite.nn.retarget import convert
from qlite.nn.scheme import TARGETS, Scheme
from qlite.nn.steps import Dequantize, Lookup, Quantize, QuantizeDynamic, Requantize
from qlite.training.learned_grid import LearnedGrid, Scales
from qlite.training.network import Key, Samples, parts
from qlite.training.straight_through import Back, Batch, Product, Requantizing, Rounding, Through, Unweighted
from qlite.training.tied_grids import fixed, tied


class QuantizedNetwork:
    """A fused model as the loop trains it: floats that an optimizer moves, computed with as integers.

    On the way forward weights become codes on their grids and the program runs with these. On the way back gradients
    pass rounding as if it were not there and stop where values were clipped.

    Parameters
    ----------
    model : Model
        Its arrays are changed in place.
    grids : ModelGrids
        Those to begin with. That of the model's input stays, and those whose range is known, as of tanh.
    method : {"lsq", "ste", "pact"}
        Which scales are trained: see `METHODS`.
    frozen : collection of str
        Layers whose parameters and scales stay.
    samples : ndarray or tuple of ndarray, optional
        What ranges are measured on of results that are float32 in training, for targets that make codes of them.
    logits : bool
        Whether raw outputs are those before the softmax or sigmoid that the model ends in.

    Attributes
    ----------
    parameters : dict of ndarray
        Weights and biases as floats, and what scales are computed from: ``(layer, "weight_scale")`` and ``(layer,
        "output_scale")``.
    """

    def __init__(
        self,
        model: Model,
        grids: ModelGrids,
        method: str = "lsq",
        frozen: Collection[str] = (),
        samples: Samples | None = None,
        logits: bool = True,
    ) -> None:
        self.model, self._first, self._method, self._frozen = model, grids, method, frozenset(frozen)
        self._samples = samples
        layers = model.logits_layers if logits else model.layers
        self._layers = dict(zip(model.names, layers, strict=False))
        self.plan = Plan(self._lowered())
        self._weight_grids: dict[str, LearnedGrid] = {}
        self._output_grids = self._grids_of_outputs()
        self._products: list[Product] = []
        self._moving: list[tuple[int, str, Layer]] = []  # without weights: the number of the step, the layer
        steps = self.plan.program.steps
        self._requantized = {step.inputs[0]: i for i, step in enumerate(steps) if isinstance(step, Requantize)}
        self._tables = [(i, step) for i, step in enumerate(steps) if isinstance(step, Lookup)]
        backs = [self._back(number, step) for number, step in enumerate(steps)]
        self._needed = self._buffers_to_reach(backs)
        self._ways = [
            back
            for back, step in zip(reversed(backs), reversed(steps), strict=True)
            if back is not None and step.output in self._needed
        ]
        self._kept = self._buffers_to_keep()
        self._learned = self._learned_grids()
        self._scales = Scales(self._learned.values())
        self.parameters = self._parameters()
        self.statistics: dict[Key, np.ndarray] = {}

    def _lowered(self) -> Program:
        """The program that `quantize_model` makes of the first grids, but that products leave their sums."""
        grids = self._first
        scheme = Scheme.of_model(grids.scheme)
        own = own_schemes(self.model, grids.per_layer)
        self._schemes = {name: own.get(name, scheme) for name in self.model.names}
        builder = Builder(
            scheme,
            qparams=dict(grids.activations),
            per_layer=own,
            repair=lambda name, weight: quantize(weight, grids.weights[name]) if name in grids.weights else None,
            keep_sums=True,
        )
        program = builder.program(self.model.part(list(self._layers.values())).lower(builder))
        return convert(program, TARGETS["numpy"]) if grids.activations else program

    # ---- what is trained

    def _grids_of_outputs(self) -> dict[int, LearnedGrid]:
        """The grids of the codes that layers give, by the numbers of buffers, some of which share one."""
        program, first = self.plan.program, tied(self.plan.program)
        stay = {first[i] for step in program.steps for i in fixed(step)}
        rounded = defaultdict(list)
        for step in program.steps:
            own = first[step.output]
            layer = program.buffers[step.output].layer
            if layer not in self._layers or layer in self._frozen:
                stay.add(own)
            if step.grids != "one":
                rounded[own].append(math.prod(program.buffers[step.output].shape))
        grids: dict[int, LearnedGrid] = {}
        for i, buffer in enumerate(program.buffers):
            if not buffer.is_codes or buffer.scale is None or buffer.layer not in self._layers:
                continue
            own = first[i]
            learns, moves_inside = self._method != "ste" and own not in stay, self._method != "pact"
            grids[i] = grids.get(own) or LearnedGrid(qparams_of(buffer), sum(rounded[own]), learns, moves_inside)
        return grids

    def _back(self, number: int, step: Any) -> Back | None:
        """The way back through a step; None before the first layer."""
        buffers = self.plan.program.buffers
        output = buffers[step.output]
        layer = self._layers.get(output.layer)
        if layer is None:
            return None
        grid = self._output_grids.get(step.output)
        if isinstance(step, (Dequantize, QuantizeDynamic)):
            return Through(step)
        if grid is not None and (isinstance(step, Quantize) or getattr(step, "function", None) == "identity"):
            return Rounding(step, grid)
        if isinstance(step, Requantize):
            return Requantizing(number, step, grid)
        if isinstance(layer, Weighted) and hasattr(step, "weight"):
            own = self._weight_grid(output.layer, layer)
            product = Product(number, step, output.layer, layer, own, output.layer not in self._frozen)
            self._products.append(product)
            return product
        moves = bool(layer.parameters) and output.layer not in self._frozen
        if moves:
            self._moving.append((number, output.layer, layer))
        return Unweighted(step, output.layer, layer, None if step.grids == "one" else grid, moves)

    def _weight_grid(self, name: str, layer: Weighted) -> LearnedGrid | None:
        """The grid of a layer's weights."""
        p = self._first.weights.get(name)
        if p is None:
            return None
        learns = self._method == "lsq" and name not in self._frozen
        of_an_output = layer.weight.size // layer.weight.shape[-1]
        self._weight_grids[name] = LearnedGrid(p, p.group_size or of_an_output, learns)
        return self._weight_grids[name]

    def _learned_grids(self) -> dict[Key, LearnedGrid]:
        """The grids that are learned, by the names that their scales have among the parameters: of those of outputs the
        name of the first layer that has it."""
        buffers = self.plan.program.buffers
        grids = {(name, "weight_scale"): grid for name, grid in self._weight_grids.items() if grid.learns}
        for i, grid in self._output_grids.items():
            if grid.learns and grid not in grids.values():
                grids[buffers[i].layer, "output_scale"] = grid
        return grids

    def _parameters(self) -> dict[Key, np.ndarray]:
        trained: list[tuple[str, Layer]] = [(name, layer) for _, name, layer in self._moving]
        trained += [(product.name, product.layer) for product in self._products if product.trains]
        own = {(name, what): array for name, layer in trained for what, array in layer.parameters.items()}
        return own | {key: grid.parameter for key, grid in self._learned.items() if grid.parameter is not None}

    def _buffers_to_reach(self, backs: list[Back | None]) -> set[int]:
        """The buffers whose gradient is of use: something that is trained comes before them."""
        needed: set[int] = set()
        for back, step in zip(backs, self.plan.program.steps, strict=True):
            if back is not None and (back.trains or not needed.isdisjoint(step.inputs)):
                needed.add(step.output)
        if not needed:
            raise ValueError("frozen: expected a layer that is trained, got all that have parameters")
        return needed

    def _buffers_to_keep(self) -> tuple[int, ...]:
        """The buffers that are read on the way back, and the result, which is the last."""
        program = self.plan.program
        kept: set[int] = set()
        for back in self._ways:
            for i in back.reads:
                b = program.buffers[i]
                kept |= {i, *(n for n in (b.row_scale, b.row_zero_point) if n is not None)}
        (output,) = program.outputs
        return (*sorted(kept - {output}), output)

    # ---- what the loop asks for

    def __call__(self, x: Samples) -> np.ndarray:
        values = self._run(x)
        return self._nothing(x) if values is None else values[-1]

    def forward(self, x: Samples, rng: "np.random.Generator") -> tuple[np.ndarray, Any]:
        values = self._run(x, self._kept)
        if values is None:
            return self._nothing(x), None
        return values[-1], Batch(self.plan.program, dict(zip(self._kept, values, strict=True)), self._needed, rng)

    def backward(self, saved: Any, gradient: np.ndarray) -> dict[Key, np.ndarray]:
        if saved is None:  # a loss of the user's that takes NaN for a number
            return {key: np.full_like(array, np.nan) for key, array in self.parameters.items()}
        self._scales.begin()
        saved.give(self._kept[-1], gradient)
        for back in self._ways:
            back(saved)
        self._scales.differentiate()
        saved.parameters |= {key: grid.gradient for key, grid in self._learned.items()}
        return saved.parameters

    def fault(self, x: Samples) -> str | None:
        for name, array in zip(self.model.inputs, parts(x), strict=True):
            if not np.isfinite(array).all():
                return f"the result of {name!r} is not finite"
        if (why := self._take()) is not None:
            return f"no integers can be made of the parameters ({why})"
        layers = {b.name: b.layer for b in self.plan.program.buffers}
        for name, values in self.plan.intermediates(*parts(x)).items():
            if not np.isfinite(values).all():
                return f"the result of {layers[name]!r} is not finite"
        return None

    def _run(self, x: Samples, wanted: tuple[int, ...] = ()) -> tuple[np.ndarray, ...] | None:
        """Return the output for samples, or the buffers `wanted`; None where parameters or samples are at fault."""
        if self._take() is not None:
            return None
        program = self.plan.program
        try:
            if not wanted:
                return (self.plan.run(*parts(x)),)
            return self.plan.run_steps(0, len(program.steps), program.inputs, parts(x), wanted)
        except ValueError:
            if self.fault(x) is None:
                raise
            return None

    def _nothing(self, x: Samples) -> np.ndarray:
        """Return outputs that end training: `fault` says why."""
        return np.full((len(parts(x)[0]), *self.model.output_shape), np.nan, np.float32)

    def _take(self) -> str | None:
        """Bring the program up to the parameters; returns why none can be made of these, or None."""
        try:
            self._scales.refresh()
            self.plan.update(self._changed())
        except (ValueError, OverflowError) as error:
            return str(error)
        return None

    def _changed(self) -> Program:
        """The program for the parameters of now."""
        program = self.plan.program
        learned = {i: grid for i, grid in self._output_grids.items() if grid.learns}
        moved = {i: (grid.scale.item(), program.buffers[i].affine[1]) for i, grid in learned.items()}
        steps: dict[int, dict[str, Any]] = {}
        for product in self._products:
            (x,), output = product.step.inputs, product.step.output
            input_scale = moved[x][0] if x in moved else program.buffers[x].scale
            fields = steps[product.number] = self._fields(product, input_scale)
            if output in self._requantized:
                own = {"input_scale": input_scale, "weight_scale": fields["weight_scale"]}
                steps[self._requantized[output]] = own
        for i, step in self._tables:
            if not moved.keys().isdisjoint((*step.inputs, step.output)):
                source, target = (
                    program.buffers[n].with_grid(*moved[n]) if n in moved else program.buffers[n]
                    for n in (*step.inputs, step.output)
                )
                steps[i] = {"table": activation_table(str(step.function), step.slope, source, target)}
        for i, name, layer in self._moving:
            is_codes = program.buffers[program.steps[i].output].is_codes
            steps[i] = layer.trained_fields(is_codes, self._schemes[name])
        return program.with_changes(steps, moved)

    def _fields(self, product: Product, input_scale: float | None) -> dict[str, Any]:
        try:
            return product.fields(input_scale if product.has_integer_bias else None)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"layer {product.name!r}: {error}") from None

    def publish(self) -> None:
        self.model.grids = self.grids()

    def grids(self) -> ModelGrids:
        """Return the grids as they are now."""
        self._take()
        program, first = self.plan.program, self._first
        activations = dict(first.activations)
        for step in program.steps:
            grid, name = self._output_grids.get(step.output), program.buffers[step.output].name
            if name not in activations and isinstance(step, Quantize):
                name = program.buffers[step.inputs[0]].name
            if grid is not None and name in activations:
                activations[name] = grid.found
        activations |= self._ranges_of_floats()
        weights = {name: grid.found for name, grid in self._weight_grids.items()}
        return ModelGrids(first.scheme, first.per_layer, weights, activations)

    def _ranges_of_floats(self) -> dict[str, QParams]:
        """8-bit grids of results that are float32 in training, but may be codes elsewhere: of the last layer or two."""
        program = self.plan.program
        functions = {name: getattr(layer, "activation", layer.kind) for name, layer in self._layers.items()}
        wanted = [
            i
            for i, b in enumerate(program.buffers)
            if b.dtype == "float32" and b.scale is not None and known_grid(str(functions[b.layer])) is None
        ]
        if not wanted or self._samples is None:
            return {}
        all_steps = 0, len(program.steps)
        results = self.plan.run_steps(*all_steps, program.inputs, parts(self._samples), tuple(wanted))
        return {
            program.buffers[i].name: QParams.from_range(y.min(), y.max(), symmetric=False, signed=False)
            for i, y in zip(wanted, results, strict=True)
        }


def qparams_of(buffer: Buffer) -> QParams:
    """The grid of a buffer of codes with one scale."""
    scale, zero_point = buffer.affine
    return QParams(np.full(1, scale, np.float32), np.full(1, zero_point), buffer.bits, buffer.dtype == "int8")
