"""What the names of schemes and targets mean: a scheme says widths, a target says conventions."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from qlite import _check
from qlite.grids.codebooks import INTEGER_ENTRIES, integer_codebook
from qlite.grids.formats import GRIDS

#: Grids of a codebook that weights of models may have, by which schemes are called.
CODEBOOKS = ("nf3", "nf4", "fp4", "fp6_e2m3", "fp6_e3m2", "fp8_e4m3", "fp8_e5m2")

_NUMBER = "([1-9][0-9]{0,8})"
_WEIGHTS = f"(?:w{_NUMBER}|({'|'.join(CODEBOOKS)}))"
_PATTERN = re.compile(f"(?:{_WEIGHTS}(?:g{_NUMBER})?(?:a{_NUMBER})?|(ternary))(-dynamic)?")
#: The width that stands for float32.
FLOAT_BITS = 32
#: The width of activations, next to 2 to 8, that products of models have a way for: as two digits.
WIDE_BITS = 16


@dataclass(frozen=True)
class Scheme:
    """Widths, ``w<bits>[g<group>][a<bits>]``, and whether activations get their scales at run time.

    The name of a codebook, such as ``nf4`` and ``fp4``, stands for ``w<bits>`` where weights are codes of its entries.
    ``"ternary"`` is w2a8 with the weights -1, 0 and 1 alone; ``-dynamic`` behind a name says when activations get their
    scales, and ``"dynamic"`` is short for w8a8-dynamic. ``"float32"`` is for layers that stay as they are.
    """

    weight_bits: int
    group_size: int | None
    activation_bits: int | None
    dynamic: bool
    ternary: bool = False
    grid: str = "uniform"

    @property
    def name(self) -> str:
        """The scheme as it is written."""
        if self.weight_bits == FLOAT_BITS:
            return "float32"
        widths = f"w{self.weight_bits}" if self.grid == "uniform" else self.grid
        parts = (("g", self.group_size), ("a", self.activation_bits))
        widths += "".join(f"{letter}{number}" for letter, number in parts if number is not None)
        name = ("ternary" if self.ternary else widths) + ("-dynamic" if self.dynamic else "")
        return "dynamic" if name == "w8a8-dynamic" else name

    @property
    def is_wide(self) -> bool:
        """Whether products take codes of 16 bits, and all else is float32."""
        return self.activation_bits == WIDE_BITS

    @property
    def is_static(self) -> bool:
        """Whether activations are codes on grids that are known ahead, from product to product."""
        return self.needs_ranges and not self.is_wide

    @property
    def needs_ranges(self) -> bool:
        """Whether grids of activations have to be known ahead."""
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
                f"{_meant(scheme)}"
            )
        width, grid, *sizes, ternary, suffix = match.groups()
        weight_bits = GRIDS[grid].widths[0] if grid else int(width or 2)
        group_size, activation_bits = (None, 8) if ternary else (int(n) if n else None for n in sizes)
        if max(weight_bits, activation_bits or 1) > 16:
            raise ValueError(f"scheme: expected widths of 1 to 16 bits, got {scheme!r}")
        is_dynamic = bool(suffix) or activations == "dynamic"
        if is_dynamic and activation_bits != 8:
            where, what = ("scheme", "'a8'") if suffix else ("activations", "'static' but for activations of 8 bits")
            raise ValueError(f"{where}: expected {what}, which scales at run time are for, got {scheme!r}")
        return cls(weight_bits, group_size, activation_bits, is_dynamic, bool(ternary), grid or "uniform")

    @classmethod
    def of_model(cls, scheme: Any, activations: str = "static", may_be_float: bool = False) -> "Scheme":
        """As `parse`, for the schemes that models run by, or one layer of a model.

        Weights have 2 to 8 bits, activations 2 to 8, or 16 without groups, or none. Groups are multiples of 8, and with
        activations whose scales are known ahead for uniform weights of up to 4 bits: the kernels for others have no
        room for a zero point. Codebooks of up to 16 entries have a form for integer products.
        """
        parsed = cls.parse(scheme, activations)
        if parsed.weight_bits == FLOAT_BITS:
            if may_be_float:
                return parsed
            raise ValueError("scheme: expected widths, such as 'w8a8', for a model (per_layer leaves layers in float)")
        is_known = parsed.is_wide or 2 <= (parsed.activation_bits or 8) <= 8
        if not (2 <= parsed.weight_bits <= 8 and is_known):
            raise ValueError(
                f"scheme: expected 2 to 8 bits for what a model computes with, or 16 of activations, got {scheme!r}"
            )
        if parsed.is_wide and parsed.group_size is not None:
            raise ValueError(f"scheme: expected no groups for activations of 16 bits, got {scheme!r}")
        if parsed.group_size is not None and parsed.group_size % 8:
            raise ValueError(f"scheme: expected groups of a multiple of 8, got {scheme!r}")
        if parsed.grid != "uniform" and parsed.activation_bits and 1 << parsed.weight_bits > INTEGER_ENTRIES:
            raise ValueError(
                f"scheme: expected a codebook of up to {INTEGER_ENTRIES} entries, or weights alone ({parsed.grid!r}), "
                f"got {scheme!r}"
            )
        if parsed.group_size is not None and parsed.is_static and parsed.grid != "uniform":
            raise ValueError(f"scheme: expected activations='dynamic' for groups on a codebook, got {scheme!r}")
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
        if parsed.grid != "uniform":
            raise ValueError(f"scheme: expected w<bits>[g<group>], such as 'w8' or 'w4g32', got {scheme!r}")
        if parsed.activation_bits is not None:
            raise ValueError(f"scheme: expected weights alone, such as 'w{parsed.weight_bits}', got {scheme!r}")
        return parsed

    def weight_options(self, axis: int | None, symmetric: bool = False) -> dict[str, Any]:
        """Return the options of `quantize` for weights whose outputs lie along `axis`; groups cut the last other axis.

        Symmetric without the lowest code from 8 bits on, as runtimes expect; asymmetric on all codes below, where one
        code more or less counts, unless all have to be `symmetric`. One bit is the sign.
        """
        symmetric = symmetric or self.weight_bits >= 8 or self.weight_bits == 1 or self.ternary
        options = {"bits": self.weight_bits, "symmetric": symmetric, "axis": axis, "group_size": self.group_size}
        return options if self.grid == "uniform" else options | {"symmetric": True, "grid": self.grid}


def _meant(scheme: str) -> str:
    """What a scheme in other words may be meant to be, for the end of a message; or nothing."""
    plain = scheme.strip().lower()
    width = re.fullmatch(r"(?:u?int|[iq])?-?([2-8])[ -]?(?:bits?)?", plain)
    if width or _PATTERN.fullmatch(plain):
        return f": did you mean {f'w{width[1]}a8' if width else plain!r}?"
    return _check.close(scheme, ("ternary", "dynamic"))


def grid_of(codebook: np.ndarray | None) -> str:
    """Return the name of a codebook of entries, or of their integers; "uniform" without one."""
    if codebook is None:
        return "uniform"
    for name in CODEBOOKS:
        book = GRIDS[name].book
        own = book if codebook.dtype.kind == "f" else integer_codebook(book)[0]
        if np.array_equal(codebook, own, equal_nan=codebook.dtype.kind == "f"):
            return name
    return "codebook"


@dataclass(frozen=True)
class Target:
    """Conventions of where a program is to run."""

    integer_output: bool  # the last layer gives codes too, which a last step dequantizes
    requant: str = "float"  # the rule by which sums become codes: "float" (A) or "fixed" (B)
    signed: bool = False  # activations are int8, else uint8
    symmetric: bool = False  # zero points of activations are 0
    symmetric_weights: bool = False  # and those of weights
    narrow_activations: bool = False  # activations may have fewer than 8 bits
    codebooks: bool = False  # weights are codes of the entries of a codebook
    curves: bool = False  # products apply activations with a bend or a gate before their sums become codes
    residuals: bool = False  # products add another value to their sums before these become codes
    tables: str = "exact"  # functions of codes: rounded once, or as the runtimes "litert" or "tflm" have them
    cpu: str | None = None  # where a runtime has other rules on another one: the one that it runs on

    @property
    def requant_on_cpu(self) -> str:
        """The rule of the steps for which the runtime has another one on each processor."""
        return RULES_OF_CPUS[self.cpu] if self.cpu is not None and self.requant == "float" else self.requant


#: The processors that targets have rules for, and how steps call the rule that counts on one of them alone.
RULES_OF_CPUS = {"x86-64": "float", "aarch64": "aarch64"}
#: What others call these processors.
CPU_SYNONYMS = {"arm64": "aarch64", "armv8": "aarch64", "amd64": "x86-64", "x64": "x86-64"}

TARGETS = {
    "numpy": Target(integer_output=False, narrow_activations=True, codebooks=True, curves=True, residuals=True),
    "onnx": Target(integer_output=True),
    "tflite": Target(integer_output=True, signed=True, symmetric_weights=True, tables="litert", cpu="x86-64"),
    "tflm": Target(integer_output=True, requant="fixed", signed=True, symmetric_weights=True, tables="tflm"),
    "c": Target(integer_output=True, requant="fixed", signed=True, narrow_activations=True),
    "tensorrt": Target(integer_output=True, signed=True, symmetric=True, symmetric_weights=True),
}
