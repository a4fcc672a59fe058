"""What the names of schemes and targets mean: a scheme says widths, a target says conventions."""

import re
from dataclasses import dataclass
from typing import Any

from qlite import _check

#: The names that a quantized model goes by.
SCHEMES = ("w8a8", "w8", "dynamic")


@dataclass(frozen=True)
class Scheme:
    """Widths: ``w<bits>[g<group>][a<bits>]``, and whether activations get their scales at run time."""

    weight_bits: int
    group_size: int | None
    activation_bits: int | None
    dynamic: bool

    @property
    def name(self) -> str:
        """The scheme as it is written."""
        if self.dynamic:
            return "dynamic"
        return f"w{self.weight_bits}" + (f"a{self.activation_bits}" if self.activation_bits else "")

    @property
    def is_static(self) -> bool:
        """Whether activations are codes on grids that are known ahead."""
        return self.activation_bits is not None and not self.dynamic

    @classmethod
    def parse(cls, scheme: Any, activations: str) -> "Scheme":
        """Read ``"w8a8"``, ``"w8"`` or ``"dynamic"``, which is short for w8a8 with ``activations="dynamic"``."""
        _check.choice("activations", activations, ("static", "dynamic"))
        if not isinstance(scheme, str):
            raise TypeError(
                f"scheme: expected a string such as 'w8a8', got {type(scheme).__name__} (samples are given as data=...)"
            )
        match = re.fullmatch(r"w(\d+)(?:g(\d+))?(?:a(\d+))?", "w8a8" if scheme == "dynamic" else scheme)
        if match is None:
            raise ValueError(f"scheme: expected 'w8a8', 'w8' or 'dynamic', got {scheme!r}")
        weight_bits, group_size, activation_bits = (int(n) if n else None for n in match.groups())
        if weight_bits != 8 or group_size is not None or activation_bits not in (None, 8):
            raise ValueError(f"scheme: expected 'w8a8', 'w8' or 'dynamic', the ones there are so far, got {scheme!r}")
        is_dynamic = scheme == "dynamic" or activations == "dynamic"
        if is_dynamic and activation_bits is None:
            raise ValueError(f"activations: expected 'static' for the weight-only scheme {scheme!r}, got 'dynamic'")
        return cls(weight_bits, group_size, activation_bits, is_dynamic)


@dataclass(frozen=True)
class Target:
    """Conventions of where a program is to run."""

    signed: bool  # activations are int8, else uint8
    symmetric: bool  # zero points are 0
    integer_output: bool  # the last layer gives codes too, which a last step dequantizes
    fixed: bool  # requantize by rule B, else by rule A


TARGETS = {
    "numpy": Target(signed=False, symmetric=False, integer_output=False, fixed=False),
    "onnx": Target(signed=False, symmetric=False, integer_output=True, fixed=False),
    "tflite": Target(signed=True, symmetric=False, integer_output=True, fixed=False),
    "tflm": Target(signed=True, symmetric=False, integer_output=True, fixed=True),
    "c": Target(signed=True, symmetric=False, integer_output=True, fixed=True),
    "tensorrt": Target(signed=True, symmetric=True, integer_output=True, fixed=False),
}
