"""What the names of schemes and targets mean: a scheme says widths, a target says conventions."""

import re
from dataclasses import dataclass
from typing import Any

from qlite import _check

_NUMBER = "([1-9][0-9]{0,8})"
_PATTERN = re.compile(f"(?:w{_NUMBER}(?:g{_NUMBER})?(?:a{_NUMBER})?|(ternary))(-dynamic)?")
#: The width that stands for float32.
FLOAT_BITS = 32


@dataclass(frozen=True)
class Scheme:
    """Widths, ``w<bits>[g<group>][a<bits>]``, and whether activations get their scales at run time.

    ``"ternary"`` is w2a8 with the weights -1, 0 and 1 alone; ``-dynamic`` behind a name says when activations get their
    scales, and ``"dynamic"`` is short for w8a8-dynamic. ``"float32"`` is for layers that stay as they are.
    """

    weight_bits: int
    group_size: int | None
    activation_bits: int | None
    dynamic: bool
    ternary: bool = False

    @property
    def name(self) -> str:
        """The scheme as it is written."""
        if self.weight_bits == FLOAT_BITS:
            return "float32"
        parts = (("w", self.weight_bits), ("g", self.group_size), ("a", self.activation_bits))
        widths = "".join(f"{letter}{number}" for letter, number in parts if number is not None)
        name = ("ternary" if self.ternary else widths) + ("-dynamic" if self.dynamic else "")
        return "dynamic" if name == "w8a8-dynamic" else name

    @property
    def is_static(self) -> bool:
        """Whether activations are codes on grids that are known ahead."""
        return self.activation_bits is not None and not self.dynamic

    @classmethod
    def parse(cls, scheme: Any, activations: str = "static") -> "Scheme":
        """Read a name; ``activations="dynamic"`` is as ``-dynamic`` behind it."""
        _check.choice("activations", activations, ("static", "dynamic"))
        if not isinstance(scheme, str):
            raise TypeError(
                f"scheme: expected a string such as 'w8a8', got {type(scheme).__name__} (samples are given as data=...)"
            )
        if scheme == "float32" and activations == "static":
            return cls(FLOAT_BITS, None, None, False)
        match = _PATTERN.fullmatch("w8a8-dynamic" if scheme == "dynamic" else scheme)
        if match is None:
            raise ValueError(
                f"scheme: expected w<bits>[g<group>][a<bits>], such as 'w8a8', 'ternary' or 'dynamic', got {scheme!r}"
            )
        *numbers, ternary, suffix = match.groups()
        weight_bits, group_size, activation_bits = (2, None, 8) if ternary else (int(n) if n else None for n in numbers)
        if weight_bits is None or max(weight_bits, activation_bits or 1) > 16:
            raise ValueError(f"scheme: expected widths of 1 to 16 bits, got {scheme!r}")
        is_dynamic = bool(suffix) or activations == "dynamic"
        if is_dynamic and activation_bits != 8:
            where, what = ("scheme", "'a8'") if suffix else ("activations", "'static' but for activations of 8 bits")
            raise ValueError(f"{where}: expected {what}, which scales at run time are for, got {scheme!r}")
        return cls(weight_bits, group_size, activation_bits, is_dynamic, bool(ternary))

    @classmethod
    def of_model(cls, scheme: Any, activations: str = "static", may_be_float: bool = False) -> "Scheme":
        """As `parse`, for the schemes that models run by, or one layer of a model.

        Weights have 2 to 8 bits, activations 2 to 8 or none. Groups are multiples of 8, and with activations whose
        scales are known ahead for weights of up to 4 bits: the kernels for wider weights have no room for a zero point.
        """
        parsed = cls.parse(scheme, activations)
        if parsed.weight_bits == FLOAT_BITS:
            if may_be_float:
                return parsed
            raise ValueError("scheme: expected widths, such as 'w8a8', for a model (per_layer leaves layers in float)")
        if not (2 <= parsed.weight_bits <= 8 and 2 <= (parsed.activation_bits or 8) <= 8):
            raise ValueError(f"scheme: expected 2 to 8 bits for what a model computes with, got {scheme!r}")
        if parsed.group_size is not None and parsed.group_size % 8:
            raise ValueError(f"scheme: expected groups of a multiple of 8, got {scheme!r}")
        if parsed.group_size is not None and parsed.is_static and parsed.weight_bits > 4:
            raise ValueError(
                f"scheme: expected weights of up to 4 bits, or activations='dynamic', for groups, got {scheme!r}"
            )
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

    def weight_options(self, axis: int | None, symmetric: bool = False) -> dict[str, Any]:
        """Return the options of `quantize` for weights whose outputs lie along `axis`; groups cut the last other axis.

        Symmetric without the lowest code from 8 bits on, as runtimes expect; asymmetric on all codes below, where one
        code more or less counts, unless all have to be `symmetric`. One bit is the sign.
        """
        symmetric = symmetric or self.weight_bits >= 8 or self.weight_bits == 1 or self.ternary
        return {"bits": self.weight_bits, "symmetric": symmetric, "axis": axis, "group_size": self.group_size}


@dataclass(frozen=True)
class Target:
    """Conventions of where a program is to run."""

    integer_output: bool  # the last layer gives codes too, which a last step dequantizes
    requant: str = "float"  # the rule by which sums become codes: "float" (A) or "fixed" (B)
    signed: bool = False  # activations are int8, else uint8
    symmetric: bool = False  # zero points of activations are 0
    symmetric_weights: bool = False  # and those of weights
    narrow_activations: bool = False  # activations may have fewer than 8 bits
    curves: bool = False  # products apply activations with a bend or a gate before their sums become codes
    tables: str = "exact"  # functions of codes: rounded once, or as the runtimes "litert" or "tflm" have them


TARGETS = {
    "numpy": Target(integer_output=False, narrow_activations=True, curves=True),
    "onnx": Target(integer_output=True),
    "tflite": Target(integer_output=True, signed=True, symmetric_weights=True, tables="litert"),
    "tflm": Target(integer_output=True, requant="fixed", signed=True, symmetric_weights=True, tables="tflm"),
    "c": Target(integer_output=True, requant="fixed", signed=True, narrow_activations=True),
    "tensorrt": Target(integer_output=True, signed=True, symmetric=True, symmetric_weights=True),
}
