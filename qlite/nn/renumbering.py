"""Programs some of whose buffers have become useless."""

from collections.abc import Sequence
from dataclasses import replace

from qlite.nn.program import Buffer, Program, Step


def renumbered(
    buffers: Sequence[Buffer], steps: Sequence[Step], inputs: Sequence[int], outputs: Sequence[int]
) -> Program:
    """Return the program of these buffers and steps without what nothing uses.

    Inputs come first, then what each step writes, behind what its rows have of their own: as a builder numbers them.
    """
    order = dict.fromkeys(inputs)
    for step in steps:
        b = buffers[step.output]
        order |= dict.fromkeys(n for n in (b.row_scale, b.row_zero_point, step.output) if n is not None)
    number = {old: new for new, old in enumerate(order)}
    rows = [
        b if b.row_scale is None or b.row_zero_point is None
        else replace(b, row_scale=number[b.row_scale], row_zero_point=number[b.row_zero_point])
        for b in (buffers[i] for i in order)
    ]  # fmt: skip
    moved = [replace(s, inputs=tuple(number[i] for i in s.inputs), output=number[s.output]) for s in steps]
    return Program(rows, moved, tuple(number[i] for i in inputs), tuple(number[i] for i in outputs))
