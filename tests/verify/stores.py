"""Products whose sums become float32 or codes on the way out, and what they must be."""

from dataclasses import dataclass

import numpy as np
import reference

from qlite import _core

from .kernels import ZERO

COLUMNS = 256  # at most
INPUT_SCALE, OUTPUT_SCALE = 0.02, 0.7
# From such that small sums matter to such that the greatest stay on the grid.
WEIGHT_SCALE = (2.0 ** -(np.arange(COLUMNS) * 7 % 23)).astype(np.float32) * np.float32(0.9)
_PRODUCT = np.float32(INPUT_SCALE) * WEIGHT_SCALE
_RULE_A = _PRODUCT / np.float32(OUTPUT_SCALE)
_REAL = np.float64(np.float32(INPUT_SCALE)) * WEIGHT_SCALE / np.float64(np.float32(OUTPUT_SCALE))
_RULE_B = np.array([reference.quantize_multiplier(float(real)) for real in _REAL])


@dataclass(frozen=True)
class Store:
    """One way out: `rule` is the core's name for it, qmin and qmax are the ends of codes."""

    name: str
    rule: str
    dtype: type
    zero_point: int = 0
    qmin: int = 0
    qmax: int = 0
    activation: str | None = None

    def product(self, a, b, zero_point=ZERO, b_zero_point=None, bias=None, purpose="integer", out=None):
        n = b.shape[1]
        fields = (self.rule, self.dtype is np.int8, self.activation, INPUT_SCALE, WEIGHT_SCALE[:n])
        fields += (None, OUTPUT_SCALE, self.zero_point, self.qmin, self.qmax)
        return _core.linear_static(a, _core.Packed.matrix(b, b_zero_point, purpose), zero_point, bias, fields, out)

    def expected(self, sums):
        """What becomes of exact sums."""
        columns = slice(sums.shape[1])
        if self.rule == "float32":
            return reference.scale_sums(sums, 1, _PRODUCT[columns], 0, *reference.CLAMPS[self.activation])
        limits = self.zero_point, self.qmin, self.qmax
        if self.rule == "float":
            codes = reference.requantize_float(sums, _RULE_A[columns], *limits)
        else:
            codes = reference.requantize_fixed(sums, *_RULE_B[columns].T, *limits)
        return codes.astype(self.dtype)


STORES = (
    Store("float32", "float32", np.float32),
    Store("float32 clamped", "float32", np.float32, activation="relu6"),
    Store("codes A", "float", np.int8, -5, -128, 127),
    Store("codes A clamped", "float", np.uint8, 17, 17, 200),
    Store("codes B", "fixed", np.uint8, 131, 0, 255),
    Store("codes B clamped", "fixed", np.int8, 3, 3, 90),
)
