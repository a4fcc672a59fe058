"""Functions of codes that runtimes have no operator for, as steps that they have one for.

``silu(x) = x * sigmoid(x)`` and ``hard_sigmoid(x) = relu6(x + 3) * (1 / 6)``. The grids of what lies between follow
from the functions, so no data is needed; the steps bear the layer's name, by which the function is found again for
targets that tabulate it.
"""

from dataclasses import replace

import numpy as np

from qlite.nn.activation_tables import activation_table, known_grid
from qlite.nn.program import Buffer, Program, Step
from qlite.nn.renumbering import renumbered
from qlite.nn.scheme import Target
from qlite.nn.steps import Add, Constant, Lookup, Multiply
from qlite.ops.activations import SLOPE

#: The greatest step of a code from the lowest one.
STEPS = 255


def with_operators(program: Program, target: Target) -> Program:
    """Return the program of int8 codes whose functions are steps that the target's runtime has."""
    work = _Expanding(program, target)
    for step in program.steps:
        function = step.function if isinstance(step, Lookup) else None
        if function == "silu":
            work.silu(step)
        elif function == "hard_sigmoid":
            work.hard_sigmoid(step)
        else:
            work.steps.append(step)
    if len(work.steps) == len(program.steps):
        return program
    return renumbered(work.buffers, work.steps, program.inputs, program.outputs)


class _Expanding:
    """The buffers and steps as they come."""

    def __init__(self, program: Program, target: Target) -> None:
        self.buffers, self.steps, self.target = list(program.buffers), list[Step](), target

    def silu(self, step: Step) -> None:
        (x,), y = step.inputs, step.output
        grid = known_grid("sigmoid")
        assert grid is not None
        gate = self._buffer(y, "gate", grid.scale.item())
        table = activation_table("sigmoid", SLOPE, self.buffers[x], self.buffers[gate], self.target.tables)
        self.steps.append(Lookup((x,), gate, table, "sigmoid", SLOPE))
        self.steps.append(Multiply((x, gate), y, None, self.target.requant_on_cpu))

    def hard_sigmoid(self, step: Step) -> None:
        (x,), y = step.inputs, step.output
        three, sixth = self._constant(y, "three", 3), self._constant(y, "sixth", 1 / 6)
        clamped = self._buffer(y, "clamped", 6 / STEPS)
        self.steps.append(Add((x, three), clamped, "relu6", self.target.requant))
        self.steps.append(Multiply((clamped, sixth), y, None, self.target.requant_on_cpu))

    def _constant(self, y: int, what: str, value: float) -> int:
        number = self._buffer(y, what, value / STEPS, (1,))
        self.steps.append(Constant((), number, np.array([127], np.int8)))
        return number

    def _buffer(self, y: int, what: str, scale: float, shape: tuple[int, ...] | None = None) -> int:
        """Add codes from 0 on between a layer's input and its result y."""
        result = self.buffers[y]
        rounded, shape = float(np.float32(scale)), result.shape if shape is None else shape
        self.buffers.append(Buffer(f"{result.name}_{what}", result.layer, shape, "int8", rounded, -128))
        return len(self.buffers) - 1


def without_operators(program: Program) -> Program:
    """Return the program whose functions are tables again."""
    buffers, writers = program.buffers, {step.output: step for step in program.steps}
    steps, gone = list(program.steps), set[int]()
    for i, step in enumerate(steps):
        if not isinstance(step, Multiply):
            continue
        source, last = step.inputs
        result = buffers[step.output]
        if _is_part(buffers[last], result, "gate"):
            function, x, parts = "silu", source, {last}
        elif _is_part(buffers[last], result, "sixth") and _is_part(buffers[source], result, "clamped"):
            x, three = writers[source].inputs
            function, parts = "hard_sigmoid", {last, source, three}
        else:
            continue
        gone |= parts
        table = activation_table(function, SLOPE, buffers[x], result)
        steps[i] = Lookup((x,), step.output, table, function, SLOPE)
    if not gone:
        return program
    kept = [replace(step) for step in steps if step.output not in gone]
    return renumbered(buffers, kept, program.inputs, program.outputs)


def _is_part(buffer: Buffer, result: Buffer, what: str) -> bool:
    """Whether a buffer is one that `with_operators` puts before a layer's result."""
    return buffer.layer == result.layer and buffer.name == f"{result.name}_{what}"
