"""Batch normalization."""

from typing import Any, NamedTuple

import numpy as np

from qlite import _check
from qlite._public import public
from qlite.nn.layers.layer import Layer, Shape, finite_float32
from qlite.nn.lower import Builder


class _Saved(NamedTuple):
    """What `backward` needs: the normalized values, 1 / deviation, and whether these were the batch's own."""

    normalized: np.ndarray
    inverse: np.ndarray
    is_batch: bool


@public
class BatchNorm(Layer):
    """Batch normalization: ``gamma * (x - mean) / sqrt(variance + epsilon) + beta``, for each feature of the last axis.

    In training mean and variance are those of the batch, and the running ones, which are used otherwise, move:
    ``running = momentum * running + (1 - momentum) * batch``, with the variance of n values divided by n - 1 (Ioffe and
    Szegedy 2015; PyTorch's convention, whose momentum is 1 less this one). A batch of a single row has no variance: it
    is normalized by the running statistics, which stay; so are all batches where the layer is frozen, as in Keras.
    Samples are float32, of any shape.

    `quantize_model` folds it into a layer with weights before it that has no activation, or into a dense one behind it;
    where there is none it becomes a factor and a summand for each channel.

    Parameters
    ----------
    momentum : float
        From 0 to below 1. After k batches the first values weigh ``momentum ** k``.
    epsilon : float
        Over 0.
    gamma, beta, mean, variance : array_like of a real floating dtype, (features,), optional
        Ones, zeros, zeros and ones by default, for as many features as the layer before gives.
    name : str, optional
        What reports call the layer; a model numbers its layers otherwise.

    Raises
    ------
    TypeError, ValueError
        A number outside its range, vectors that are not finite or of different lengths, a negative variance, a name
        that is no string.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> ql.BatchNorm(mean=np.ones(2), variance=np.full(2, 4.0))(np.array([[1.0, 5.0]], np.float32)).round(3)
    array([[0., 2.]], dtype=float32)
    >>> ql.Sequential([ql.Dense(units=3), ql.BatchNorm()], input_shape=(2,))
    Sequential(84 bytes, multiclass)
      dense_1: Dense(2 -> 3)
      batch_norm_1: BatchNorm(3)
    """

    kind = "batch_norm"
    options = ("momentum", "epsilon")

    def __init__(
        self,
        *,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        gamma: Any = None,
        beta: Any = None,
        mean: Any = None,
        variance: Any = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.momentum, self.epsilon = _check.number("momentum", momentum), _check.number("epsilon", epsilon)
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum: expected a number from 0 to below 1, got {momentum!r}")
        with np.errstate(over="ignore"):
            is_finite = 0 < np.float32(self.epsilon) < np.inf
        if not is_finite:
            raise ValueError(f"epsilon: expected a finite number over 0 (as float32), got {epsilon!r}")
        vectors = {"gamma": gamma, "beta": beta, "mean": mean, "variance": variance}
        given = {what: finite_float32(what, value) for what, value in vectors.items() if value is not None}
        shapes = {value.shape for value in given.values()}
        for what, value in given.items():
            if len(shapes) > 1 or value.ndim != 1 or not value.size:
                got = {what: value.shape for what, value in given.items()}
                raise ValueError(f"{what}: expected shape (features,), the same for all, got {got}")
        if (given.get("variance", np.zeros(1)) < 0).any():
            raise ValueError(f"variance: expected values of at least 0, got {given['variance'].min()}")
        self._make(len(next(iter(given.values()), ())), given)

    def _make(self, features: int, given: dict[str, np.ndarray]) -> None:
        """Take the vectors that were given, and make those that were not."""
        self.gamma = given.get("gamma", np.ones(features, np.float32))
        self.beta = given.get("beta", np.zeros(features, np.float32))
        self.mean = given.get("mean", np.zeros(features, np.float32))
        self.variance = given.get("variance", np.ones(features, np.float32))

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        return {"gamma": self.gamma, "beta": self.beta}

    @property
    def statistics(self) -> dict[str, np.ndarray]:
        return {"mean": self.mean, "variance": self.variance}

    @property
    def input_shape(self) -> Shape | None:
        return (len(self.gamma),) if self.gamma.size else None

    def build(self, rng: "np.random.Generator", *shapes: Shape) -> None:
        if not self.gamma.size and shapes[0]:
            self._make(shapes[0][-1], {})

    def infer(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if self.gamma.size and shape[-1:] != (len(self.gamma),):
            raise ValueError(f"expected {len(self.gamma)} features, got samples of shape {shape}")
        return shape

    def affine(self) -> tuple[np.ndarray, np.ndarray]:
        """Factor and summand, float64 (features,), of ``factor * x + summand`` by the running statistics."""
        factor = self.gamma / np.sqrt(self.variance.astype(np.float64) + self.epsilon)
        return factor, self.beta - self.mean * factor

    def compute(self, *x: np.ndarray) -> np.ndarray:
        return self._normalize(x[0], self.mean, self.variance, False)[0]

    def _normalize(
        self, x: np.ndarray, mean: np.ndarray, variance: np.ndarray, is_batch: bool
    ) -> tuple[np.ndarray, _Saved]:
        inverse = (1 / np.sqrt(variance + np.float32(self.epsilon))).astype(np.float32)
        normalized = (x - mean) * inverse
        return normalized * self.gamma + self.beta, _Saved(normalized, inverse, is_batch)

    def forward(self, *x: np.ndarray, rng: "np.random.Generator") -> tuple[np.ndarray, Any]:
        rows = x[0].reshape(-1, x[0].shape[-1])
        if len(rows) < 2:
            return self._normalize(x[0], self.mean, self.variance, False)
        mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        centred = rows - mean
        squares = np.einsum("ij,ij->j", centred, centred)
        for running, batch in ((self.mean, mean), (self.variance, squares / np.float32(len(rows) - 1))):
            running *= np.float32(self.momentum)
            running += np.float32(1 - self.momentum) * batch
        return self._normalize(x[0], mean, squares / np.float32(len(rows)), True)

    def forward_frozen(self, *x: np.ndarray, rng: "np.random.Generator") -> tuple[np.ndarray, Any]:
        return self._normalize(x[0], self.mean, self.variance, False)

    def backward(
        self, saved: Any, gradient: np.ndarray, needs_input: bool = True
    ) -> tuple[tuple[np.ndarray, ...] | None, dict[str, np.ndarray]]:
        """See `Layer`: ``gamma / deviation * (g - mean(g) - normalized * mean(g * normalized))``, means over rows."""
        rows = gradient.reshape(-1, gradient.shape[-1])
        normalized = saved.normalized.reshape(rows.shape)
        gamma, beta = np.einsum("ij,ij->j", rows, normalized), rows.sum(axis=0)
        gradients = {"gamma": gamma, "beta": beta}
        if not needs_input:
            return None, gradients
        if saved.is_batch:
            count = np.float32(len(rows))
            rows = rows - normalized * (gamma / count) - beta / count
        return ((rows * (self.gamma * saved.inverse)).reshape(gradient.shape),), gradients

    def lower(self, builder: Builder, inputs: tuple[int, ...]) -> int:
        raise ValueError(f"layer {builder.layer!r}: expected no BatchNorm, which fuse() takes out")

    def __repr__(self) -> str:
        return f"BatchNorm({len(self.gamma) or '?'})"
