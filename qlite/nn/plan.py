"""Programs made ready to run: the one module here that knows the core."""

from dataclasses import replace
from typing import Any

import numpy as np

from qlite import _core
from qlite.nn.program import Buffer, Program


class Plan:
    """A program with its weights packed and its memory planned.

    It keeps the instruction set that it was made on, and may run on several threads at the same time.

    Attributes
    ----------
    run : callable
        The whole program on samples, (samples, ...) for each input, in one call of the core: the output, or a tuple of
        several. Codes are taken as they are. Errors name the input's buffer, where there are several.
    timed : callable
        The same on one thread, with what each step took: the output, or a tuple of several, and seconds (steps,) of
        float64.
    run_steps : callable
        ``run_steps(first, last, given, arrays, wanted)``: steps first..last-1 alone, with `arrays` as the buffers of
        the numbers `given`; returns the buffers `wanted`.
    rows : int
        How many samples go through all steps together.
    workspace_nbytes : int
        Bytes that a thread needs for so many samples: for buffers, inputs and outputs left out, which the caller has,
        and for what steps need beside them. Buffers share bytes that do not hold values at the same time.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        names = tuple(program.buffers[i].name for i in program.inputs)
        self._core = _core.Plan([_described(b) for b in program.buffers], program.inputs, program.outputs, names)
        for step in program.steps:
            self._core.add(step.kind, step.computed_fields())
        self._core.finish()
        self.run = self._core.run
        self.timed = self._core.timed
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
        """Take over a program that differs from this one's in fields of steps, with arrays of the same shapes, and in
        scales and zero points of buffers of codes; into the memory that there is.

        Raises
        ------
        ValueError
            It differs in something else, or the plan is running. Nothing has changed then.
        """
        old = self.program
        if _structure(old) != _structure(program):
            raise ValueError(f"program: expected the buffers and steps of {old}, got {program}")
        moved = _moved(old, program)
        grids = [(i, *program.buffers[i].affine) for i in moved]
        steps = [
            (i, new.computed_fields())
            for i, (before, new) in enumerate(zip(old.steps, program.steps, strict=True))
            if new.nbytes and (before is not new or not moved.isdisjoint((*new.inputs, new.output)))
        ]
        self._core.update(grids, steps)
        self.program = program


def _described(b: Buffer) -> tuple[str, tuple[int, ...], float, int, int, int, int]:
    """A buffer as the core takes it."""
    row_scale, row_zero_point = (-1 if i is None else i for i in (b.row_scale, b.row_zero_point))
    bits = b.bits if b.is_codes else 8
    return b.dtype, b.shape, b.scale or 0.0, b.zero_point or 0, row_scale, row_zero_point, bits


def _structure(program: Program) -> Any:
    """All but what an update may change, without the buffers' own fields."""
    steps = [(step.kind, step.inputs, step.output) for step in program.steps]
    return program.inputs, program.outputs, len(program.buffers), steps


def _moved(old: Program, new: Program) -> set[int]:
    """The numbers of the codes that have another scale or zero point."""
    moved = set()
    for i, (before, now) in enumerate(zip(old.buffers, new.buffers, strict=True)):
        if before is now or before == now:
            continue
        if replace(now, scale=before.scale, zero_point=before.zero_point) != before:
            raise ValueError(f"program: expected buffers like {before}, got {now}")
        if now.is_codes:
            moved.add(i)
    return moved
