"""What `train` is told of quantization: a scheme, and where its grids come from."""

from dataclasses import dataclass, replace
from typing import Any

from qlite import _check
from qlite.grids.qparams import QParams
from qlite.grids.spec import METHODS as RANGES
from qlite.nn.calibrate import activation_bits, calibrate
from qlite.nn.lower import Builder
from qlite.nn.model import Model
from qlite.nn.model_grids import ModelGrids
from qlite.nn.per_layer import own_schemes
from qlite.nn.retarget import resolve_target
from qlite.nn.scheme import FLOAT_BITS, TARGETS, Scheme
from qlite.training.batches import Source
from qlite.training.learned_grid import METHODS
from qlite.training.network import joined, parts
from qlite.training.qat import QuantizedNetwork

#: By what the optimizer's learning rate is multiplied unless it is given, up to this narrowest width of weights or
#: activations: weights have to move by whole steps of their grid. Found on digits in 5 epochs of "hold_cosine"; a
#: factor of 2 more or less costs up to half a point at 2 bits, less above.
RATES = {2: 4.0, 4: 2.0, 8: 1.0}
#: What `train` takes where it is told of no scheme.
DEFAULTS = {"method": "lsq", "per_layer": None, "observer": "mse", "observe": 1024, "target": "numpy"}


@dataclass(frozen=True)
class Quantization:
    """The checked arguments of `train` that speak of quantization."""

    scheme: Scheme
    per_layer: dict[str, Scheme]
    method: str
    observer: str
    observe: int
    symmetric_weights: bool

    @classmethod
    def of(
        cls, model: Model, scheme: Any, per_layer: Any, method: Any, observer: Any, observe: Any, target: Any
    ) -> "Quantization | None":
        """Check the arguments for a fused model; None without a scheme."""
        _check.choice("method", method, METHODS)
        _check.choice("observer", observer, RANGES)
        observe = _check.integer("observe", observe, 1)
        conventions = TARGETS[_check.choice("target", target, tuple(TARGETS))]
        if scheme is None:
            options = {"method": method, "per_layer": per_layer, "observer": observer, "observe": observe}
            _check.expect_defaults(options | {"target": target}, DEFAULTS, "without a scheme")
            return None
        if conventions.symmetric:
            raise ValueError(f"target: expected one whose activations may have zero points, got {target!r}")
        parsed, own = Scheme.of_model(scheme), own_schemes(model, per_layer)
        for name, found in [("scheme", parsed), *((f"per_layer[{name!r}]", other) for name, other in own.items())]:
            if found.grid != "uniform" or found.is_wide:
                what = "activations of up to 8 bits" if found.is_wide else "weights on a uniform grid"
                raise ValueError(f"{name}: expected {what} in training, got {found.name!r}")
        resolve_target(target, None, None, {name: own.get(name, parsed) for name in model.names})
        return cls(parsed, own, method, observer, observe, conventions.symmetric_weights)

    @property
    def rate(self) -> float:
        """By what a learning rate that was not given is multiplied."""
        schemes = (self.scheme, *self.per_layer.values())
        widths = [min(s.weight_bits, s.activation_bits or 8) for s in schemes if s.weight_bits != FLOAT_BITS]
        return next(factor for most, factor in RATES.items() if min(widths, default=8) <= most)

    def network(self, model: Model, frozen: frozenset[str], source: Source, logits: bool = True) -> QuantizedNetwork:
        """Return a fused model, whose arrays will be trained, as a network.

        It begins on the grids that the model was trained on before, if by this scheme, or on those that suit its
        weights and some samples. Those of weights are not taken over where the target knows none with zero points.
        """
        per_layer = {name: scheme.name for name, scheme in self.per_layer.items()}
        schemes = [self.per_layer.get(name, self.scheme) for name in model.names]
        samples = None
        if any(scheme.is_static for scheme in schemes):
            samples = joined(_check.finite("X", array) for array in parts(source.some(self.observe)))
        grids = model.grids
        if grids is None or (grids.scheme, dict(grids.per_layer)) != (self.scheme.name, per_layer):
            activations = {}
            if samples is not None:
                activations = calibrate(model, samples, self.observer, activation_bits(model, schemes))
            grids = ModelGrids(self.scheme.name, per_layer, self._weight_grids(model), activations)
        elif self.symmetric_weights and any(p.zero_point.any() for p in grids.weights.values()):
            grids = replace(grids, weights=self._weight_grids(model))
        return QuantizedNetwork(model, grids, self.method, frozen, samples, logits)

    def _weight_grids(self, model: Model) -> dict[str, QParams]:
        """Grids of the least squared error for the weights that become codes."""
        builder = Builder(
            self.scheme,
            per_layer=self.per_layer,
            weight_method="mse",
            symmetric_weights=self.symmetric_weights,
        )
        return {
            name: builder.quantize_weight(name, layer.parameters["weight"]).qparams
            for name, layer in zip(model.names, model.layers, strict=True)
            if "weight" in layer.parameters and builder.scheme_of(name).weight_bits != FLOAT_BITS
        }
