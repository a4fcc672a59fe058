"""Programs made ready to run: the one module here that knows the core."""

from typing import Any

import numpy as np

from qlite import _core
from qlite.nn.program import Program, step_fields, step_nbytes


class Plan:
    """A program with its weights packed and its memory planned.

    It keeps the instruction set that it was made on, and may run on several threads at the same time.

    Attributes
    ----------
    run : callable
        The whole program on samples, (samples, ...) for each input, in one call of the core: the output, or a tuple of
        several.
    run_steps : callable
        ``run_steps(first, last, given, arrays, wanted)``: steps first..last-1 alone, with `arrays` as the buffers of
        the numbers `given`; returns the buffers `wanted`.
    rows : int
        How many samples go through all steps together.
    workspace_nbytes : int
        Bytes that the buffers of so many samples take, inputs and outputs left out: the caller has these.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self._core = _core.Plan(
            [
                (b.dtype, b.shape, b.scale or 0.0, b.zero_point or 0, _number(b.row_scale), _number(b.row_zero_point))
                for b in program.buffers
            ],
            program.inputs,
            program.outputs,
        )
        for step in program.steps:
            self._core.add(step.kind, step_fields(step))
        self._core.finish()
        self.run = self._core.run
        self.run_steps = self._core.run_steps
        self.rows = self._core.rows
        self.workspace_nbytes = self._core.workspace_nbytes

    def __repr__(self) -> str:
        return f"Plan({len(self.program.steps)} steps, {self.rows} samples at once, {self.workspace_nbytes:,} bytes)"

    def intermediates(self, *inputs: Any) -> dict[str, np.ndarray]:
        """Run, and return every buffer by name: codes as codes, floats as floats."""
        buffers = self.program.buffers
        values = self.run_steps(0, len(self.program.steps), self.program.inputs, inputs, tuple(range(len(buffers))))
        return {b.name: value for b, value in zip(buffers, values, strict=True)}

    def update(self, program: Program) -> None:
        """Take over the arrays of a program that differs from this one's in nothing else, into the memory there is."""
        for i, (old, new) in enumerate(zip(self.program.steps, program.steps, strict=True)):
            if old is not new and step_nbytes(new):
                self._core.update(i, step_fields(new))
        self.program = program


def _number(buffer: int | None) -> int:
    return -1 if buffer is None else buffer
