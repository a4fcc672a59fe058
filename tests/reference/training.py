"""Steps of optimizers in float32, operation by operation; losses and their gradients in float64."""

from dataclasses import dataclass

import numpy as np

F32 = np.float32


@dataclass
class Update:
    """The fields of ql_update."""

    gradient_scale: float = 1.0
    limit: float = np.inf
    decay: float = 0.0
    shrink: float = 1.0
    rate: float = 0.01
    momentum: float = 0.0
    memory: float = 0.0
    root: float = 1.0
    epsilon: float = 0.0
    nesterov: bool = False


def optimize(optimizer, u, p, g, first=None, second=None):
    """The parameter and both moments after a step."""
    with np.errstate(all="ignore"):
        g = np.clip(F32(u.gradient_scale) * g, -F32(u.limit), F32(u.limit)) + F32(u.decay) * p
        if optimizer == "sgd":
            direction = g
            if first is not None:
                first = F32(u.momentum) * first + g
                direction = g + F32(u.momentum) * first if u.nesterov else first
        elif optimizer == "adam":
            first = first + F32(1 - u.momentum) * (g - first)
            second = F32(u.memory) * second + F32(1 - u.memory) * (g * g)
            direction = first / (np.sqrt(second) * F32(u.root) + F32(u.epsilon))
        else:
            second = F32(u.memory) * second + F32(1 - u.memory) * (g * g)
            direction = g / (np.sqrt(second) + F32(u.epsilon))
            if first is not None:
                first = direction = F32(u.momentum) * first + direction
        return F32(u.shrink) * p - F32(u.rate) * direction, first, second


def cross_entropy(raw, targets, share, smoothing=0.0):
    """The loss and its gradient, in float64; integer targets are labels."""
    raw = raw.astype(np.float64)
    if targets.dtype.kind == "i":
        targets = np.eye(raw.shape[1])[targets] * (1 - smoothing) + smoothing / raw.shape[1]
    below = raw - raw.max(axis=1, keepdims=True)
    log_softmax = below - np.log(np.exp(below).sum(axis=1, keepdims=True))
    gradient = np.exp(log_softmax) * targets.sum(axis=1, keepdims=True) - targets
    return float(-(share * (targets * log_softmax).sum(axis=1)).sum()), share[:, None] * gradient
