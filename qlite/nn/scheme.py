"""What the names of schemes and targets mean: a scheme says widths, a target says conventions."""

import re
from dataclasses import dataclass
from typing import Any

from qlite import _check

#: The names that a quantized model goes by.
SCHEMES = ("w8a8", "w8", "dynamic")

_NUMBER = "([1-9][0-9]{0,8})"
_PATTERN = re.compile(f"w{_NUMBER}(?:g{_NUMBER})?(?:a{_NUMBER})?")


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
        parts = (("w", self.weight_bits), ("g", self.group_size), ("a", self.activation_bits))
        return "".join(f"{letter}{number}" for letter, number in parts if number is not None)

    @property
    def is_static(self) -> bool:
        """Whether activations are codes on grids that are known ahead."""
        return self.activation_bits is not None and not self.dynamic

    @classmethod
    def parse(cls, scheme: Any, activations: str = "static") -> "Scheme":
        """Read ``w<bits>[g<group>][a<bits>]``, or ``"dynamic"``, short for w8a8 with ``activations="dynamic"``."""
        _check.choice("activations", activations, ("static", "dynamic"))
        if not isinstance(scheme, str):
            raise TypeError(
                f"scheme: expected a string such as 'w8a8', got {type(scheme).__name__} (samples are given as data=...)"
            )
        match = _PATTERN.fullmatch("w8a8" if scheme == "dynamic" else scheme)
        if match is None:
            raise ValueError(
                f"scheme: expected w<bits>[g<group>][a<bits>], such as 'w8a8', or 'dynamic', got {scheme!r}"
            )
        weight_bits, group_size, activation_bits = (int(n) if n else None for n in match.groups())
        if weight_bits is None or max(weight_bits, activation_bits or 1) > 16:
            raise ValueError(f"scheme: expected widths of 1 to 16 bits, got {scheme!r}")
        is_dynamic = scheme == "dynamic" or activations == "dynamic"
        if is_dynamic and activation_bits is None:
            raise ValueError(f"activations: expected 'static' for the weight-only scheme {scheme!r}, got 'dynamic'")
        if is_dynamic and (weight_bits, group_size, activation_bits) != (8, None, 8):
            raise ValueError(
                f"activations: expected 'static' unless the scheme is 'w8a8', got 'dynamic' for {scheme!r}"
            )
        return cls(weight_bits, group_size, activation_bits, is_dynamic)

    @classmethod
    def of_model(cls, scheme: Any, activations: str) -> "Scheme":
        """As `parse`, for the schemes that models run by."""
        parsed = cls.parse(scheme, activations)
        if parsed.name not in SCHEMES:
            raise ValueError(f"scheme: expected 'w8a8', 'w8' or 'dynamic', the ones there are so far, got {scheme!r}")
        return parsed

    @classmethod
    def of_weights(cls, scheme: Any) -> "Scheme":
        """As `parse`, for weights alone."""
        if isinstance(scheme, str) and scheme != "dynamic" and not _PATTERN.fullmatch(scheme):
            width = re.fullmatch(r"\D{0,5}(\d{1,2})(bits?)?", scheme, re.IGNORECASE)
            hint = f": did you mean 'w{int(width[1])}'?" if width and 0 < int(width[1]) <= 16 else ""
            raise ValueError(f"scheme: expected w<bits>[g<group>], such as 'w8' or 'w4g32', got {scheme!r}{hint}")
        parsed = cls.parse(scheme)
        if parsed.activation_bits is not None:
            raise ValueError(f"scheme: expected weights alone, such as 'w{parsed.weight_bits}', got {scheme!r}")
        return parsed

    def weight_options(self, axis: int | None) -> dict[str, Any]:
        """Return the options of `quantize` for weights whose outputs lie along `axis`; groups cut the last other axis.

        Symmetric without the lowest code from 8 bits on, as runtimes expect; asymmetric on all codes below, where one
        code more or less counts. One bit is the sign.
        """
        symmetric = self.weight_bits >= 8 or self.weight_bits == 1
        return {"bits": self.weight_bits, "symmetric": symmetric, "axis": axis, "group_size": self.group_size}


@dataclass(frozen=True)
class Target:
    """Conventions of where a program is to run."""

    signed: bool  # activations are int8, else uint8
    symmetric: bool  # zero points are 0
    integer_output: bool  # the last layer gives codes too, which a last step dequantizes
    requant: str  # the rule by which sums become codes: "float" (A) or "fixed" (B)


TARGETS = {
    "numpy": Target(signed=False, symmetric=False, integer_output=False, requant="float"),
    "onnx": Target(signed=False, symmetric=False, integer_output=True, requant="float"),
    "tflite": Target(signed=True, symmetric=False, integer_output=True, requant="float"),
    "tflm": Target(signed=True, symmetric=False, integer_output=True, requant="fixed"),
    "c": Target(signed=True, symmetric=False, integer_output=True, requant="fixed"),
    "tensorrt": Target(signed=True, symmetric=True, integer_output=True, requant="float"),
}
