"""What the layers of an integer program compute in, and what that costs, as a table."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from qlite.nn.plan import Plan
from qlite.nn.program import Buffer, Program, Step
from qlite.nn.shown_names import shown_names
from qlite.nn.steps import DenseF32, Dequantize, JoinDigits, MatMul, Quantize, QuantizeDigits, QuantizeDynamic
from qlite.nn.steps.products import Product
from qlite.nn.steps.transposed import TransposedConvolution
from qlite.nn.summary import Table

#: Runs on one sample whose median is a time, in the middle of which the machine may do something else; fewer where
#: they take longer than a glance.
FEWEST_RUNS, RUNS, RUN_SECONDS = 3, 15, 0.3
#: Steps between floats and codes.
BETWEEN = (Quantize, QuantizeDigits, QuantizeDynamic, Dequantize)


@dataclass(frozen=True)
class ProgramLayer:
    """One layer of a program: its name, its steps, what these compute in, the shape of its result, and what it costs.

    Attributes
    ----------
    arithmetic : {"integer", "float32", ""}
        "float32" where a step has floats on both sides; nothing where there are but steps between floats and codes.
    macs : int
        Products of a sample, each of which is added up.
    nbytes : int
        Of its arrays.
    microseconds : float
        Of one sample, on one thread.
    """

    name: str
    steps: tuple[str, ...]
    arithmetic: str
    shape: tuple[int, ...]
    macs: int
    nbytes: int
    microseconds: float


@dataclass(frozen=True, repr=False)
class ProgramSummary(Table):
    """A table of a program's layers, to print or to look at in a notebook. Made by `QModel.summary`.

    Attributes
    ----------
    float_macs, float_time : float
        The share of the layers that compute in float32 in products and in time, 0 to 1.
    wide_macs, wide_time : float
        That of the layers whose activations have 16 bits, for which products are made twice.
    between_time : float
        The share of the steps between floats and codes in time.
    """

    words: ClassVar[int] = 4
    title: str
    layers: tuple[ProgramLayer, ...]
    float_macs: float
    float_time: float
    wide_macs: float
    wide_time: float
    between_time: float

    def _rows(self) -> list[list[str]]:
        rows = [["layer", "steps", "in", "shape", "MACs", "bytes", "us/sample"]]
        shown = self._shown()
        for row in self.layers:
            shape = " x ".join(map(str, row.shape))
            sizes = (f"{n:,}" if n else "" for n in (row.macs, row.nbytes))
            cells = shown[row.name], ", ".join(row.steps), row.arithmetic, shape
            rows.append([*cells, *sizes, f"{row.microseconds:.2f}"])
        macs, nbytes = (f"{sum(getattr(row, what) for row in self.layers):,}" for what in ("macs", "nbytes"))
        return [*rows, ["total", "", "", "", macs, nbytes, f"{sum(row.microseconds for row in self.layers):.2f}"]]

    def _shown(self) -> dict[str, str]:
        return shown_names(row.name for row in self.layers)

    def _notes(self) -> list[str]:
        shown = self._shown()
        names = [shown[row.name] for row in self.layers if row.arithmetic == "float32"]
        what = f"in float32: {', '.join(names)}" if names else "in float32: no layer"
        cost = f" ({self.float_macs:.1%} of the MACs, {self.float_time:.1%} of the time)" if names else ""
        notes = [f"{what}{cost}; between floats and codes: {self.between_time:.1%} of the time"]
        wide = [shown[row.name] for row in self.layers if is_wide(row.steps)]
        if wide:
            cost = f"{self.wide_macs:.1%} of the MACs, each made twice, {self.wide_time:.1%} of the time"
            notes.append(f"activations of 16 bits: {', '.join(wide)} ({cost})")
        return notes


def summary_of(title: str, plan: Plan) -> ProgramSummary:
    """The summary of a program, which runs a few times on a sample of zeros."""
    program = plan.program
    inputs = [np.zeros((1, *b.shape), b.dtype) for b in (program.buffers[i] for i in program.inputs)]
    runs: list[np.ndarray] = []
    began = time.perf_counter()
    while len(runs) < FEWEST_RUNS or (len(runs) < RUNS and time.perf_counter() - began < RUN_SECONDS):
        runs.append(plan.timed(*inputs)[1])
    seconds = np.median(runs, axis=0)
    kinds = [_arithmetic(program, step) for step in program.steps]
    macs = [_macs(step, [program.buffers[i] for i in step.inputs], program.buffers[step.output])
            for step in program.steps]  # fmt: skip
    numbers: dict[str, list[int]] = {}
    for i, step in enumerate(program.steps):
        numbers.setdefault(program.buffers[step.output].layer, []).append(i)
    layers = []
    for name, own in numbers.items():
        steps = [program.steps[i] for i in own]
        arithmetic = "float32" if any(kinds[i] == "float32" for i in own) else max(kinds[i] for i in own)
        layers.append(
            ProgramLayer(
                name=name,
                steps=tuple(step.kind for step in steps),
                arithmetic="" if arithmetic == "between" else arithmetic,
                shape=program.buffers[steps[-1].output].shape,
                macs=sum(macs[i] for i in own),
                nbytes=sum(step.nbytes for step in steps),
                microseconds=1e6 * float(seconds[own].sum()),
            )
        )
    is_float, is_between = (np.array([kind == what for kind in kinds]) for what in ("float32", "between"))
    wide = {layer.name for layer in layers if is_wide(layer.steps)}
    in_wide = np.array([program.buffers[step.output].layer in wide for step in program.steps])
    return ProgramSummary(
        title,
        tuple(layers),
        _share(np.array(macs), is_float),
        _share(seconds, is_float),
        _share(np.array(macs), in_wide),
        _share(seconds, in_wide),
        _share(seconds, is_between),
    )


def is_wide(kinds: Sequence[str]) -> bool:
    """Whether the kinds of a layer's steps are those of a product of 16-bit activations: two of 8 bits, joined."""
    return JoinDigits.kind in kinds


def _share(values: np.ndarray, chosen: np.ndarray) -> float:
    total = float(values.sum())
    return float(values[chosen].sum()) / total if total else 0.0


def _arithmetic(program: Program, step: Step) -> str:
    """Whether a step computes with floats alone, with codes or their sums, or makes one of the other."""
    if isinstance(step, BETWEEN):
        return "between"
    ends = [program.buffers[i] for i in (*step.inputs, step.output)]
    return "float32" if all(b.dtype == "float32" for b in ends) else "integer"


def _macs(step: Any, inputs: Sequence[Buffer], output: Buffer) -> int:
    """How many products a step adds up for a sample."""
    if isinstance(step, TransposedConvolution):
        return step.weight.size * math.prod(inputs[0].shape[:-1])
    if isinstance(step, (Product, DenseF32)):
        return step.weight.size * math.prod(output.shape) // step.weight.shape[-1]
    if isinstance(step, MatMul):
        a, b = inputs[0].shape, inputs[1].shape
        return math.prod(output.shape) * _depth(step, a, b)
    return 0


def _depth(step: MatMul, a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """How many products a result of two matrices is the sum of."""
    return a[-1] // step.heads if step.heads and len(a) == 2 else a[-1]
