"""Which codes of a program share a grid, and whose scale may move."""

from qlite.nn.activation_tables import known_grid
from qlite.nn.program import Program, Step
from qlite.nn.steps import Lookup


def tied(program: Program) -> list[int]:
    """Return for each buffer the first of those that are on its grid, whatever its scale."""
    first = list(range(len(program.buffers)))
    for step in program.steps:
        if step.grids == "one" and program.buffers[step.output].is_codes:
            own = {first[i] for i in (*step.inputs, step.output)}
            first = [min(own) if i in own else i for i in first]
    return first


def fixed(step: Step) -> tuple[int, ...]:
    """Return the buffers whose grid a step leaves no other scale."""
    if isinstance(step, Lookup) and step.function is not None:
        return () if known_grid(step.function) is None else (step.output,)
    return (*step.inputs, step.output) if step.grids == "given" else ()
