"""Layer normalization."""

from typing import Any, ClassVar

import numpy as np

from qlite import _check
from qlite._public import public
from qlite.nn import steps
from qlite.nn.layers.layer import Layer, Shape, finite_float32
from qlite.nn.lower import Builder
from qlite.nn.scheme import Scheme


@public
class LayerNorm(Layer):
    """Layer normalization (Ba et al. 2016): ``(x - mean) / sqrt(variance + epsilon) * gamma + beta`` of each row.

    Mean and variance are those of the last axis of samples, float32 of any shape. It stays float32 in every quantized
    model: codes become float32 before it and back behind it.

    Parameters
    ----------
    gamma, beta : array_like of a real floating dtype, (features,), optional
        Ones and zeros by default, made by the model that the layer becomes part of.
    epsilon : float
        Over 0 and below 1.
    name : str, optional
        What reports call the layer; a model numbers its layers otherwise.

    Raises
    ------
    TypeError, ValueError
        Another dtype or shape, NaN or infinity, an epsilon outside its range, a name that is no string.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> ql.LayerNorm([1.0, 1.0], [0.0, 0.5])(np.array([[1.0, 3.0]]))
    array([[-0.999995,  1.499995]], dtype=float32)
    """

    kind = "layer_norm"
    options: ClassVar[tuple[str, ...]] = ("epsilon",)

    def __init__(self, gamma: Any = None, beta: Any = None, epsilon: float = 1e-5, *, name: str | None = None) -> None:
        super().__init__(name)
        self.epsilon = _check.number("epsilon", epsilon)
        if not 0 < self.epsilon < 1:
            raise ValueError(f"epsilon: expected a number over 0 and below 1, got {epsilon!r}")
        vectors = {"gamma": gamma, "beta": beta}
        given = {what: finite_float32(what, value) for what, value in vectors.items() if value is not None}
        features = len(next(iter(given.values()), ()))
        for what, value in given.items():
            if value.shape != (features,) or not features:
                got = {what: value.shape for what, value in given.items()}
                raise ValueError(f"{what}: expected shape (features,), the same for both, got {got}")
        self.gamma = given.get("gamma", np.ones(features, np.float32))
        self.beta = given.get("beta", np.zeros(features, np.float32))

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        return {"gamma": self.gamma, "beta": self.beta}

    @property
    def input_shape(self) -> Shape | None:
        return (len(self.gamma),) if self.gamma.size else None

    def build(self, rng: "np.random.Generator", *shapes: Shape) -> None:
        if not self.gamma.size and shapes[0]:
            self.gamma, self.beta = np.ones(shapes[0][-1], np.float32), np.zeros(shapes[0][-1], np.float32)

    def infer(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if not shape or (self.gamma.size and shape[-1] != len(self.gamma)):
            raise ValueError(f"expected {len(self.gamma) or 'some'} features, got samples of shape {shape}")
        return shape

    def _normalized(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows without gamma and beta, and what they were multiplied by, float64."""
        mean = x.mean(axis=-1, keepdims=True, dtype=np.float64)
        centred = x - mean
        factor = 1 / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + self.epsilon)
        return (centred * factor).astype(np.float32), factor

    def compute(self, *x: np.ndarray) -> np.ndarray:
        y = self._normalized(x[0])[0]
        y *= self.gamma
        y += self.beta
        return y

    def forward(self, *x: np.ndarray, rng: "np.random.Generator") -> tuple[np.ndarray, Any]:
        normalized, factor = self._normalized(x[0])
        return normalized * self.gamma + self.beta, (normalized, factor)

    def backward(
        self, saved: Any, gradient: np.ndarray, needs_input: bool = True
    ) -> tuple[tuple[np.ndarray, ...] | None, dict[str, np.ndarray]]:
        """See `Layer`: ``factor * (h - mean(h) - normalized * mean(h * normalized))`` with ``h = gamma * gradient``."""
        normalized, factor = saved
        axes = tuple(range(gradient.ndim - 1))
        gradients = {"gamma": (gradient * normalized).sum(axis=axes), "beta": gradient.sum(axis=axes)}
        if not needs_input:
            return None, gradients
        h = gradient * self.gamma
        along = (h * normalized).mean(axis=-1, keepdims=True)
        of_x = factor.astype(np.float32) * (h - h.mean(axis=-1, keepdims=True) - normalized * along)
        return (of_x,), gradients

    def trained_fields(self, is_codes: bool, scheme: Scheme) -> dict[str, Any]:
        return dict(self.parameters)

    def lower(self, builder: Builder, inputs: tuple[int, ...]) -> int:
        x, arrays = builder.floats(inputs[0]), self.parameters
        return builder.append(steps.LayerNorm, (x,), builder.layer, **arrays, epsilon=self.epsilon)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"LayerNorm({len(self.gamma) or '?'})"
