"""The integer program: a short list of steps on a table of buffers. A quantized model is one of these.

Everything that runs, shows, stores or exports a model walks this list; nothing else holds its numbers. A new kind of
step is a dataclass here, a csrc/core/step_<kind>.c, a function in the reference, and a case in each exporter.
"""

from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from qlite import _core

DTYPES = ("float32", "int8", "uint8", "int32")


@dataclass(frozen=True)
class Buffer:
    """A value that a program computes for every sample.

    8-bit buffers have one scale and zero point for all samples, or name the buffers (float32 and int32, width 1) that
    hold one for each sample. A float32 output keeps the scale and zero point that it would have as uint8, so that a
    target with integer output needs no data.
    """

    name: str
    layer: str
    width: int
    dtype: str
    scale: float | None = None
    zero_point: int | None = None
    row_scale: int | None = None
    row_zero_point: int | None = None

    @property
    def grid(self) -> tuple[float, int]:
        """Scale and zero point of a buffer that has one of each for all samples."""
        if self.scale is None or self.zero_point is None:
            raise ValueError(f"buffer {self.name!r}: expected one scale and zero point for all samples")
        return self.scale, self.zero_point


@dataclass(frozen=True, eq=False)
class Step:
    """One step: which buffer it reads and which it writes. Its arrays are its own and cannot be changed."""

    kind: ClassVar[str]
    input: int
    output: int

    def __post_init__(self) -> None:
        for name, value in step_fields(self).items():
            if isinstance(value, np.ndarray):
                own = np.array(value, order="C")
                own.flags.writeable = False
                object.__setattr__(self, name, own)


@dataclass(frozen=True, eq=False)
class Normalize(Step):
    """``(x - mean) / scale``, float32 to float32, with a mean and a scale for each feature."""

    kind: ClassVar[str] = "normalize"
    mean: np.ndarray
    scale: np.ndarray


@dataclass(frozen=True, eq=False)
class Quantize(Step):
    """float32 to codes on the output's grid."""

    kind: ClassVar[str] = "quantize"


@dataclass(frozen=True, eq=False)
class QuantizeDynamic(Step):
    """float32 to uint8 on a grid of each row's own, which is written to the output's row buffers."""

    kind: ClassVar[str] = "quantize_dynamic"


@dataclass(frozen=True, eq=False)
class Gemm(Step):
    """Codes by 8-bit weights (in, out), exact sums, then codes again or float32.

    `bias` is int32 at the scale ``input scale * weight_scale``, or float32 where each row has its own scale. `relu`
    clamps at zero. `fixed` requantizes by rule B.
    """

    kind: ClassVar[str] = "gemm"
    weight: np.ndarray
    weight_scale: np.ndarray
    weight_zero_point: np.ndarray | None
    bias: np.ndarray | None
    relu: bool
    fixed: bool


@dataclass(frozen=True, eq=False)
class GemmF32(Step):
    """float32 by 8-bit weights (in, out): the weight-only product."""

    kind: ClassVar[str] = "gemm_f32"
    weight: np.ndarray
    weight_scale: np.ndarray
    weight_zero_point: np.ndarray | None
    bias: np.ndarray | None
    relu: bool


@dataclass(frozen=True, eq=False)
class Dequantize(Step):
    """Codes to float32."""

    kind: ClassVar[str] = "dequantize"


STEPS: dict[str, type[Step]] = {
    cls.kind: cls for cls in (Normalize, Quantize, QuantizeDynamic, Gemm, GemmF32, Dequantize)
}


def step_fields(step: Step) -> dict[str, Any]:
    """The fields of a step by name, arrays as they are."""
    return {f.name: getattr(step, f.name) for f in fields(step)}


class Program:
    """Steps on buffers, ready to run.

    Parameters
    ----------
    buffers : list of Buffer
    steps : list of Step
        In order; each reads what was written before.
    input, output : int
        Which buffers the caller gives and gets.

    Raises
    ------
    ValueError, TypeError, OverflowError
        A step does not fit its buffers, or a product is too deep for int32; the message names the step and the layer.
        Two buffers have one name, or no step writes the output.
    """

    def __init__(self, buffers: list[Buffer], steps: list[Step], input: int = 0, output: int = -1) -> None:
        self.buffers = tuple(buffers)
        self.steps = tuple(steps)
        self.input = input
        self.output = output % len(buffers) if buffers else 0
        names = [b.name for b in buffers]
        if len(set(names)) != len(names):
            raise ValueError(f"buffers: expected different names, got {sorted(n for n in names if names.count(n) > 1)}")
        table = [
            (b.dtype, b.width, b.scale or 0.0, b.zero_point or 0, _number(b.row_scale), _number(b.row_zero_point))
            for b in buffers
        ]
        self._plan = _core.Plan(table, self.input, self.output)
        for i, step in enumerate(steps):
            try:
                self._plan.add(step.kind, step_fields(step))
            except (ValueError, TypeError, OverflowError) as error:
                layer = buffers[step.output].layer if 0 <= step.output < len(buffers) else "?"
                raise type(error)(f"step {i}, layer {layer!r}: {error}") from None
        if self.output not in self.written:
            raise ValueError(f"output: expected a buffer that a step writes, got {names[self.output]!r}")
        #: The program on samples, shape (samples, width): one call of the core.
        self.run = self._plan.run

    @property
    def written(self) -> set[int]:
        """The numbers of the buffers that steps write."""
        outputs = [self.buffers[step.output] for step in self.steps]
        rows = {n for b in outputs for n in (b.row_scale, b.row_zero_point) if n is not None}
        return rows | {step.output for step in self.steps}

    def intermediates(self, x: Any) -> dict[str, np.ndarray]:
        """Run, and return every buffer by name: codes as codes, floats as floats."""
        return {b.name: v for b, v in zip(self.buffers, self._plan.intermediates(x), strict=True)}

    def values(self, buffer: Buffer, codes: np.ndarray, computed: dict[str, np.ndarray]) -> np.ndarray:
        """Return what a buffer's content stands for, as float32; `computed` are the intermediates it came with."""
        if buffer.dtype == "float32":
            return codes
        if buffer.row_scale is None or buffer.row_zero_point is None:
            scale, zero_point = map(np.asarray, buffer.grid)
        else:
            scale, zero_point = (computed[self.buffers[i].name] for i in (buffer.row_scale, buffer.row_zero_point))
        return (codes.astype(np.int32) - zero_point).astype(np.float32) * scale.astype(np.float32)

    def part(self, steps: list[Step]) -> "Program":
        """Return the program of some steps alone, from the first one's input to the last one's output."""
        return Program(list(self.buffers), steps, steps[0].input, steps[-1].output)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        arrays = (v for step in self.steps for v in step_fields(step).values() if isinstance(v, np.ndarray))
        return sum(a.nbytes for a in arrays)

    def __reduce__(self) -> Any:
        return Program, (list(self.buffers), list(self.steps), self.input, self.output)

    def __repr__(self) -> str:
        lines = [f"Program({len(self.steps)} steps, {self.nbytes:,} bytes)"]
        for step in self.steps:
            source, result = self.buffers[step.input], self.buffers[step.output]
            lines.append(f"  {step.kind}: {source.name} {source.dtype} -> {result.name} {result.dtype}[{result.width}]")
        return "\n".join(lines)


def _number(buffer: int | None) -> int:
    return -1 if buffer is None else buffer
