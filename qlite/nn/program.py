"""The integer program: a short list of steps on a table of buffers. A quantized model is one of these.

Plain data, checked when it is made; nothing here knows the core. Everything that runs, shows, stores or exports a model
walks this list, and nothing else holds its numbers. The kinds of steps are in steps/.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from qlite.nn.shown_names import shown_names

MAX_RANK = 4
#: Elements of a buffer for one sample.
MAX_ELEMENTS = 2**31 - 1

#: The dtypes of buffers, and the codes from which to which each holds.
DTYPES = ("float32", "int8", "uint8", "int16", "int32")
CODE_RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}
#: The dtypes that hold codes of up to 8 bits.
CODES_8 = ("uint8", "int8")

SMALLEST_SCALE, LARGEST_SCALE = float(np.finfo(np.float32).smallest_normal), float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Buffer:
    """A value that a program computes for every sample.

    Codes have one scale and zero point for all samples, or name the buffers (float32 and int32) that hold one for each
    row, of the codes' shape with a last length of 1, or one for each sample, with lengths of 1 alone. A float32 output
    keeps the scale and zero point that it would have as uint8, so that a target with integer output needs no data.

    `bits` below 8 are for uint8 and int8 with one scale: codes 0 to ``2**bits - 1``, or ``-2**(bits - 1)`` to
    ``2**(bits - 1) - 1``.

    Raises
    ------
    ValueError
        A dtype that there is not, a shape with zeros or of more than four axes, a scale that is not normal and
        positive, a zero point that is no code, a scale that is missing or has no use, or a width that there is not.
    """

    name: str
    layer: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None
    row_scale: int | None = None
    row_zero_point: int | None = None
    bits: int = 8

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype: expected one of {', '.join(DTYPES)}, got {self.dtype!r}")
        is_plain = len(self.shape) <= MAX_RANK and all(type(n) is int and n >= 1 for n in self.shape)
        if not is_plain or math.prod(self.shape) > MAX_ELEMENTS:
            raise ValueError(
                f"shape: expected up to {MAX_RANK} lengths of at least 1, {MAX_ELEMENTS} elements in all, "
                f"got {self.shape!r:.80}"
            )
        has_scale, has_rows = self.scale is not None, self.row_scale is not None
        if has_scale != (self.zero_point is not None) or has_rows != (self.row_zero_point is not None):
            raise ValueError(f"scale, zero_point: expected both or none, got {self}")
        if self.dtype in CODE_RANGES and has_scale == has_rows:
            raise ValueError(f"scale: expected one for all samples or one for each row, got {self}")
        if (has_rows and self.dtype not in CODE_RANGES) or (has_scale and self.dtype == "int32"):
            raise ValueError(f"scale: expected None for {self.dtype}, got {self}")
        if self.bits != 8 and not (1 <= self.bits < 8 and self.dtype != "int16" and has_scale):
            raise ValueError(f"bits: expected 8, or 1 to 7 for uint8 or int8 with one scale, got {self}")
        self._check_grid()

    def _check_grid(self) -> None:
        lowest, highest = self.code_range
        if self.zero_point is not None and not lowest <= self.zero_point <= highest:
            raise ValueError(f"zero_point: expected {lowest} to {highest}, got {self.zero_point}")
        if self.scale is not None and not SMALLEST_SCALE <= self.scale <= LARGEST_SCALE:
            raise ValueError(f"scale: expected a normal, positive float32, got {self.scale}")

    def with_grid(self, scale: float, zero_point: int) -> "Buffer":
        """Return the buffer with another scale for all samples; a third of the time of replace()."""
        if self.scale is None:
            raise ValueError(f"buffer {self.name!r}: expected one scale and zero point for all samples")
        new = object.__new__(Buffer)
        vars(new).update(vars(self), scale=scale, zero_point=zero_point)
        new._check_grid()
        return new

    @property
    def code_range(self) -> tuple[int, int]:
        """The least and the greatest code; those of uint8 where there are none."""
        if self.dtype == "int16":
            return CODE_RANGES["int16"]
        lowest = -(1 << (self.bits - 1)) if self.dtype == "int8" else 0
        return lowest, lowest + (1 << self.bits) - 1

    @property
    def affine(self) -> tuple[float, int]:
        """Scale and zero point of a buffer that has one of each for all samples."""
        if self.scale is None or self.zero_point is None:
            raise ValueError(f"buffer {self.name!r}: expected one scale and zero point for all samples")
        return self.scale, self.zero_point

    @property
    def is_codes(self) -> bool:
        """Whether it holds codes rather than floats or sums."""
        return self.dtype in CODE_RANGES


@dataclass(frozen=True, eq=False)
class Step:
    """One step: which buffers it reads and which it writes.

    Its fields are ints, floats, bools, strings, tuples of ints, arrays or None. Arrays are its own and cannot be
    changed.
    """

    kind: ClassVar[str]
    #: Whether it reads codes with a scale for each "row" or each "sample", where there is not one for all samples.
    scale_per: ClassVar[str] = "row"
    #: Grids of the codes that it reads and writes: "one" for all of them, "any" for each, or "given" ones, which nobody
    #: may move.
    grids: ClassVar[str] = "given"
    inputs: tuple[int, ...]
    output: int

    def __post_init__(self) -> None:
        for name, value in step_fields(self).items():
            if isinstance(value, np.ndarray):
                object.__setattr__(self, name, _own(value))

    def with_fields(self, changes: Mapping[str, Any]) -> "Step":
        """Return the step with other values of some fields; half the time of replace()."""
        if not changes.keys() <= vars(self).keys():
            raise ValueError(f"expected fields out of {list(vars(self))}, got {list(changes)}")
        new = object.__new__(type(self))
        vars(new).update(vars(self))
        vars(new).update((k, _own(v) if isinstance(v, np.ndarray) else v) for k, v in changes.items())
        return new

    def computed_fields(self) -> dict[str, Any]:
        """Return the fields that the core computes with."""
        return step_fields(self)

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """Return the output's shape and the dtypes that it may have, of which the first is usual.

        Raises
        ------
        ValueError
            The inputs, or the step's fields, are not of the shapes and dtypes that it takes.
        """
        raise NotImplementedError

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays as they are stored."""
        return sum(v.nbytes for v in vars(self).values() if isinstance(v, np.ndarray))

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        """Refuse what cannot be computed though shapes and dtypes fit, such as sums that an int32 cannot hold."""


def _own(array: np.ndarray) -> np.ndarray:
    """Return the array itself where it has memory of its own that nobody can write to, else a copy of that kind."""
    if array.flags.c_contiguous and array.flags.owndata and not array.flags.writeable:
        return array
    own = np.array(array, order="C")
    own.flags.writeable = False
    return own


def step_fields(step: Step) -> dict[str, Any]:
    """The fields of a step by name, arrays as they are."""
    return dict(vars(step))


class Program:
    """Steps on buffers.

    Parameters
    ----------
    buffers : sequence of Buffer
    steps : sequence of Step
        In order; each reads what was written before.
    inputs, outputs : tuple of int
        Which buffers the caller gives and gets.

    Raises
    ------
    ValueError, OverflowError
        A step does not fit its buffers, or a product is too deep for int32; the message names the step and the layer.
        Two buffers have one name, a step reads what was not written before or writes what was, or nothing writes an
        output.
    """

    def __init__(
        self,
        buffers: Sequence[Buffer],
        steps: Sequence[Step],
        inputs: tuple[int, ...] = (0,),
        outputs: tuple[int, ...] = (-1,),
    ) -> None:
        self.buffers = tuple(buffers)
        self.steps = tuple(steps)
        count = len(self.buffers)
        self.inputs = tuple(inputs)
        self.outputs = tuple(count + i if i == -1 else i for i in outputs)
        for name, numbers in (("inputs", self.inputs), ("outputs", self.outputs)):
            if not numbers or not all(0 <= i < count for i in numbers) or len(set(numbers)) != len(numbers):
                raise ValueError(f"{name}: expected different buffers out of {count}, got {numbers}")
        names = [b.name for b in self.buffers]
        if len(set(names)) != len(names):
            repeated = sorted(name for name, times in Counter(names).items() if times > 1)
            raise ValueError(f"buffers: expected different names, got {repeated!r:.80} again")
        self._check_rows()
        written = set(self.inputs)
        for i, step in enumerate(self.steps):
            try:
                self._check_step(step, written)
            except (ValueError, OverflowError) as error:
                raise self._named(i, error) from None
        if missing := [names[i] for i in self.outputs if i not in written or i in self.inputs]:
            raise ValueError(f"outputs: expected buffers that a step writes, got {missing}")

    def with_changes(
        self, steps: Mapping[int, Mapping[str, Any]], grids: Mapping[int, tuple[float, int]] | None = None
    ) -> "Program":
        """Return a program with other fields of some steps and other scales and zero points of some buffers.

        Only these are checked, and what reads or writes such a buffer. Everything else is shared.

        Raises
        ------
        ValueError, OverflowError
            As `Program`, or fields that change which buffers a step reads and writes.
        """
        buffers, new_steps = list(self.buffers), list(self.steps)
        for i, (scale, zero_point) in (grids or {}).items():
            buffers[i] = buffers[i].with_grid(scale, zero_point)
        for i, changes in steps.items():
            if not {"inputs", "output"}.isdisjoint(changes):
                raise ValueError(f"steps[{i}]: expected other fields than inputs and output, got {sorted(changes)}")
            new_steps[i] = new_steps[i].with_fields(changes)
        new = object.__new__(Program)
        new.buffers, new.steps, new.inputs, new.outputs = tuple(buffers), tuple(new_steps), self.inputs, self.outputs
        moved = set(grids or ())
        for i, step in enumerate(new_steps):
            if i in steps or step.output in moved or not moved.isdisjoint(step.inputs):
                try:
                    new._check_fit(step)
                except (ValueError, OverflowError) as error:
                    raise self._named(i, error) from None
        return new

    def _named(self, i: int, error: ValueError | OverflowError) -> ValueError | OverflowError:
        """The error of step i with the step and its layer named."""
        step = self.steps[i]
        layer = self.buffers[step.output].layer if 0 <= step.output < len(self.buffers) else "?"
        return type(error)(f"step {i}, layer {layer!r}: {step.kind}: {error}")

    def _check_rows(self) -> None:
        taken: set[int] = set()
        for i, b in enumerate(self.buffers):
            if b.row_scale is None or b.row_zero_point is None:
                continue
            if {b.row_scale, b.row_zero_point} & taken:
                raise ValueError(f"buffers[{i}]: expected scales and zero points of rows that no other codes have")
            taken |= {b.row_scale, b.row_zero_point}
            shapes = [(*b.shape[:-1], 1), (1,) * len(b.shape)]
            for n, dtype in ((b.row_scale, "float32"), (b.row_zero_point, "int32")):
                rows = self.buffers[n] if 0 <= n < len(self.buffers) else None
                if rows is None or rows.dtype != dtype or rows.shape not in shapes:
                    raise ValueError(
                        f"buffers[{i}]: expected a {dtype} buffer of shape {' or '.join(map(str, shapes))} for what "
                        f"each row or sample has of its own, got number {n}"
                    )
                shapes = [rows.shape]

    def _check_step(self, step: Step, written: set[int]) -> None:
        """Check a step that follows others, and add what it writes to `written`."""
        for i in (*step.inputs, step.output):
            if not 0 <= i < len(self.buffers):
                raise ValueError(f"expected buffers 0 to {len(self.buffers) - 1}, got {i}")
        if unwritten := [self.buffers[i].name for i in step.inputs if not self._with_rows(i) <= written]:
            raise ValueError(f"inputs: expected what an earlier step writes, got {unwritten}")
        if again := [self.buffers[i].name for i in self._with_rows(step.output) & written]:
            raise ValueError(f"output: expected a buffer that nothing else writes, got {again}")
        self._check_fit(step)
        written |= self._with_rows(step.output)

    def _check_fit(self, step: Step) -> None:
        """Check a step against the buffers that it reads and writes."""
        inputs, output = [self.buffers[i] for i in step.inputs], self.buffers[step.output]
        for x in inputs:
            self._check_scales(step, x)
        shape, dtypes = step.infer(*inputs)
        if output.shape != shape or output.dtype not in dtypes:
            raise ValueError(
                f"output: expected shape {shape} and {' or '.join(dtypes)}, got {output.shape} and {output.dtype}"
            )
        step.check(inputs, output)

    def _check_scales(self, step: Step, x: Buffer) -> None:
        """Refuse codes whose scales are those of rows for a step that reads codes with one for each sample; or the
        reverse."""
        if x.row_scale is None:
            return
        expected = (1,) * len(x.shape) if step.scale_per == "sample" else (*x.shape[:-1], 1)
        got = self.buffers[x.row_scale].shape
        if got != expected:
            raise ValueError(f"inputs: expected a scale for each {step.scale_per}, {expected}, got {got} of {x.name!r}")

    def _with_rows(self, i: int) -> set[int]:
        """The number of a buffer, and those of the buffers that hold its rows' scales and zero points."""
        b = self.buffers[i]
        return {i, *(n for n in (b.row_scale, b.row_zero_point) if n is not None)}

    @property
    def written(self) -> set[int]:
        """The numbers of the buffers that steps write."""
        return set().union(*(self._with_rows(step.output) for step in self.steps))

    def values(self, buffer: Buffer, codes: np.ndarray, computed: dict[str, np.ndarray]) -> np.ndarray:
        """Return what a buffer's content stands for, as float32; `computed` are the intermediates it came with."""
        if not buffer.is_codes:
            return codes
        if buffer.row_scale is None or buffer.row_zero_point is None:
            scale, zero_point = map(np.asarray, buffer.affine)
        else:
            scale, zero_point = (computed[self.buffers[i].name] for i in (buffer.row_scale, buffer.row_zero_point))
        return (codes.astype(np.int32) - zero_point).astype(np.float32) * scale.astype(np.float32)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays as they are stored."""
        return sum(step.nbytes for step in self.steps)

    def __repr__(self) -> str:
        lines = [f"Program({len(self.steps)} steps, {self.nbytes:,} bytes)"]
        layers = shown_names(b.layer for b in self.buffers)  # whose values have their names, some with a suffix
        shown = {b.name: layers[b.layer] + b.name.removeprefix(b.layer) if b.name.startswith(b.layer) else b.name
                 for b in self.buffers}  # fmt: skip
        for step in self.steps:
            sources = ", ".join(f"{shown[b.name]} {b.dtype}" for b in (self.buffers[i] for i in step.inputs))
            result = self.buffers[step.output]
            lengths = ", ".join(map(str, result.shape))
            lines.append(f"  {step.kind}: {sources} -> {shown[result.name]} {result.dtype}[{lengths}]")
        return "\n".join(lines)
