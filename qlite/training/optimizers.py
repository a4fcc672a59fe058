"""Optimizers: what becomes of parameters and gradients, by PyTorch's rules and with its defaults."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np

from qlite import _check
from qlite._public import public
from qlite.training import kernels
from qlite.training.kernels import Update
from qlite.training.network import Key


@dataclass(frozen=True)
class Optimizer(ABC):
    """The options of an optimizer; it is `Steps` that has a state."""

    learning_rate: float
    weight_decay: float = 0.0

    #: The name of the core's rule, and which moments of the gradients it keeps.
    rule: ClassVar[str]

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "nesterov":
                object.__setattr__(self, field.name, _check.flag(field.name, value))
                continue
            value = _check.number(field.name, value)
            object.__setattr__(self, field.name, value)
            is_share = field.name in ("momentum", "alpha", "beta1", "beta2")
            if not (0 <= value < 1 if is_share else 0 <= value < math.inf):
                raise ValueError(f"{field.name}: expected {'0 <= x < 1' if is_share else 'x >= 0'}, got {value}")

    @property
    def moments(self) -> tuple[bool, bool]:
        """Whether the first and the second moments of gradients are kept."""
        return True, True

    @abstractmethod
    def update(self, step: int, rate: float, decay: float) -> Update:
        """The numbers of step 1, 2, 3..., at a learning rate and a weight decay."""


@public
@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent with momentum, as in PyTorch.

    ``g += weight_decay p; v = momentum v + g; p -= learning_rate v``, with `nesterov` (Sutskever et al. 2013)
    ``p -= learning_rate (g + momentum v)``. v begins with zeros.

    Parameters
    ----------
    learning_rate : float
    weight_decay : float
        L2, of weights alone: not of biases, of batch normalization or of scales.
    momentum : float
    nesterov : bool

    Raises
    ------
    TypeError, ValueError
        No number; a momentum outside [0, 1); another negative or infinite option; `nesterov` without momentum.

    Examples
    --------
    >>> import qlite as ql
    >>> ql.SGD(0.1, momentum=0.9)
    SGD(learning_rate=0.1, weight_decay=0.0, momentum=0.9, nesterov=False)
    """

    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    momentum: float = 0.0
    nesterov: bool = False

    rule = "sgd"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov: expected False without momentum, got True")

    @property
    def moments(self) -> tuple[bool, bool]:
        return self.momentum > 0, False

    def update(self, step: int, rate: float, decay: float) -> Update:
        return Update(rate=rate, decay=decay, momentum=self.momentum, nesterov=self.nesterov)


@public
@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015), as in PyTorch.

    ``g += weight_decay p; m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g**2;
    p -= learning_rate m' / (sqrt(v') + epsilon)`` with ``m' = m / (1 - beta1**t), v' = v / (1 - beta2**t)`` in step t.

    Parameters
    ----------
    learning_rate : float
    weight_decay : float
        L2, of weights alone: not of biases, of batch normalization or of scales. See `AdamW` for the decoupled one.
    beta1, beta2, epsilon : float

    Raises
    ------
    TypeError, ValueError
        No number; a beta outside [0, 1); another negative or infinite option.

    Examples
    --------
    >>> import qlite as ql
    >>> ql.Adam(beta2=0.99).learning_rate
    0.001
    """

    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    rule = "adam"

    def update(self, step: int, rate: float, decay: float) -> Update:
        return Update(
            rate=rate / (1 - self.beta1**step),
            decay=decay,
            momentum=self.beta1,
            memory=self.beta2,
            root=1 / math.sqrt(1 - self.beta2**step),
            epsilon=self.epsilon,
        )


@public
@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), as in PyTorch.

    ``p -= learning_rate weight_decay p`` in each step, and then as `Adam` without decay.

    Parameters
    ----------
    learning_rate : float
    weight_decay : float
        Of weights alone: not of biases, of batch normalization or of scales.
    beta1, beta2, epsilon : float
        See `Adam`.

    Raises
    ------
    TypeError, ValueError
        See `Adam`.

    Examples
    --------
    >>> import qlite as ql
    >>> ql.AdamW().weight_decay
    0.01
    """

    weight_decay: float = 0.01

    def update(self, step: int, rate: float, decay: float) -> Update:
        return replace(super().update(step, rate, 0.0), shrink=1 - rate * decay)


@public
@dataclass(frozen=True)
class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton 2012), as in PyTorch.

    ``g += weight_decay p; v = alpha v + (1 - alpha) g**2; d = g / (sqrt(v) + epsilon); p -= learning_rate d``, with
    `momentum` ``b = momentum b + d; p -= learning_rate b``.

    Parameters
    ----------
    learning_rate : float
    weight_decay : float
        L2, of weights alone: not of biases, of batch normalization or of scales.
    alpha, epsilon, momentum : float

    Raises
    ------
    TypeError, ValueError
        No number; `alpha` or `momentum` outside [0, 1); another negative or infinite option.

    Examples
    --------
    >>> import qlite as ql
    >>> ql.RMSprop().alpha
    0.99
    """

    learning_rate: float = 0.01
    weight_decay: float = 0.0
    alpha: float = 0.99
    epsilon: float = 1e-8
    momentum: float = 0.0

    rule = "rmsprop"

    @property
    def moments(self) -> tuple[bool, bool]:
        return self.momentum > 0, True

    def update(self, step: int, rate: float, decay: float) -> Update:
        return Update(rate=rate, decay=decay, momentum=self.momentum, memory=self.alpha, epsilon=self.epsilon)


OPTIMIZERS: dict[str, Callable[[], Optimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW, "rmsprop": RMSprop}


def optimizer_of(optimizer: Any, **options: Any) -> Optimizer:
    """The optimizer of this name, or that is given; options that are not None take the place of its own."""
    if not isinstance(optimizer, Optimizer):
        optimizer = OPTIMIZERS[_check.choice("optimizer", optimizer, tuple(OPTIMIZERS))]()
    given = {name: value for name, value in options.items() if value is not None}
    known = {field.name for field in fields(optimizer)}
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"{name}: expected None for {type(optimizer).__name__}, which has none, got {value!r}")
    return replace(optimizer, **given)


class Steps:
    """An optimizer at work: the moments of the gradients of these parameters, and how many steps were made."""

    def __init__(
        self,
        optimizer: Optimizer,
        parameters: dict[Key, np.ndarray],
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        self.optimizer, self.parameters = optimizer, parameters
        self.clip_norm, self.limit = clip_norm, math.inf if clip_value is None else clip_value
        self.count = 0
        self.first, self.second = (
            {key: np.zeros_like(p) for key, p in parameters.items()} if keeps else {} for keeps in optimizer.moments
        )

    def make(self, gradients: dict[Key, np.ndarray], factor: float = 1.0) -> None:
        """Make one step, at `factor` times the learning rate.

        Gradients are scaled together where their norm is more than `clip_norm`, then clipped to `clip_value`.
        """
        self.count += 1
        rate, scale = self.optimizer.learning_rate * factor, self._gradient_scale(gradients)
        updates = {decay: self._update(rate, scale, decay) for decay in {0.0, self.optimizer.weight_decay}}
        for key, parameter in self.parameters.items():
            update = updates[self.optimizer.weight_decay if key[1] == "weight" else 0.0]
            first, second = self.first.get(key), self.second.get(key)
            kernels.optimize(self.optimizer.rule, update, parameter, gradients[key], first, second)

    def _update(self, rate: float, scale: float, decay: float) -> Update:
        update = self.optimizer.update(self.count, rate, decay)
        update.gradient_scale, update.limit = scale, self.limit
        return update

    def _gradient_scale(self, gradients: dict[Key, np.ndarray]) -> float:
        if self.clip_norm is None:
            return 1.0
        norm = math.sqrt(sum(kernels.square_sum(gradients[key]) for key in self.parameters))
        return min(1.0, self.clip_norm / (norm + 1e-6))
