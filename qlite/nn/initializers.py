"""First weights of layers."""

import math

import numpy as np

#: The rule of the variance, by the inputs alone (He et al. 2015) or by inputs and outputs (Glorot and Bengio 2010), and
#: whether the distribution is uniform.
INITIALIZERS = {
    "he_uniform": ("he", True),
    "he_normal": ("he", False),
    "glorot_uniform": ("glorot", True),
    "glorot_normal": ("glorot", False),
}


def initialize(name: str, shape: tuple[int, ...], rng: "np.random.Generator", taps: float | None = None) -> np.ndarray:
    """Draw float32 weights (..., in, out) with variance 2 / in (He) or 2 / (in + out) (Glorot).

    The leading lengths are those of a filter: each multiplies `in` and `out`; `in` counts `taps` times where that is
    given, those of the filter that reach a result.
    """
    rule, is_uniform = INITIALIZERS[name]
    field = math.prod(shape[:-2])
    inputs, outputs = (field if taps is None else taps) * shape[-2], field * shape[-1]
    deviation = math.sqrt(2 / inputs if rule == "he" else 2 / (inputs + outputs))
    if is_uniform:
        limit = math.sqrt(3) * deviation
        return rng.uniform(-limit, limit, shape).astype(np.float32)
    return (deviation * rng.standard_normal(shape)).astype(np.float32)
