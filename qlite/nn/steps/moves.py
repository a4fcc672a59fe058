"""Steps that give values other places: floats, or codes on the grid that they have."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from qlite.nn.program import CODES_8, Buffer, Step
from qlite.nn.steps.checks import MAX_LENGTH, expect, lengths, one_grid, one_shape


class Move(Step):
    """A step that computes nothing."""

    grids: ClassVar[str] = "one"

    def infer(self, *inputs: Buffer) -> tuple[tuple[int, ...], tuple[str, ...]]:
        shape = one_shape(inputs, 1, ("float32", *CODES_8))
        expect(inputs[0].row_scale is None, "inputs: expected one scale for all samples, got one for each row")
        return self.moved(shape), (inputs[0].dtype,)

    def moved(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the result, by that of the input."""
        raise NotImplementedError

    def check(self, inputs: Sequence[Buffer], output: Buffer) -> None:
        one_grid(inputs, output)


@dataclass(frozen=True, eq=False)
class Transpose(Move):
    """The axes of a sample in another order: axis i of the result is axis `axes[i]` of the input."""

    kind: ClassVar[str] = "transpose"
    axes: tuple[int, ...]

    def moved(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        is_plain = isinstance(self.axes, tuple) and all(type(i) is int for i in self.axes)
        if not is_plain or sorted(self.axes) != list(range(len(shape))):
            raise ValueError(f"axes: expected all of 0 to {len(shape) - 1}, got {self.axes!r}")
        return tuple(shape[i] for i in self.axes)


@dataclass(frozen=True, eq=False)
class Slice(Move):
    """Along each axis of a sample the places `begin`, ``begin + stride``... before `end`, all of them of the input.

    A negative stride goes backwards; the end is -1 then where the first place is wanted as well.
    """

    kind: ClassVar[str] = "slice"
    begin: tuple[int, ...]
    end: tuple[int, ...]
    stride: tuple[int, ...]

    def moved(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        for name, value in (("begin", self.begin), ("end", self.end), ("stride", self.stride)):
            _integers(name, value, len(shape))
        lengths("begin", self.begin, len(shape), 0)
        lengths("end", self.end, len(shape), -1)
        if 0 in self.stride:
            raise ValueError(f"stride: expected others than 0, got {self.stride}")
        out = tuple(len(range(*places)) for places in zip(self.begin, self.end, self.stride, strict=True))
        inside = all(b < n and e <= n for b, e, n in zip(self.begin, self.end, shape, strict=True))
        if not inside or 0 in out:
            raise ValueError(f"begin, end: expected places within {shape}, got {self.begin} to {self.end}")
        return out


def _integers(name: str, value: Any, count: int) -> None:
    is_plain = isinstance(value, tuple) and len(value) == count and all(type(n) is int for n in value)
    if not is_plain or not all(-MAX_LENGTH <= n <= MAX_LENGTH for n in value):
        raise ValueError(f"{name}: expected {count} integers, got {value!r}")


@dataclass(frozen=True, eq=False)
class Blocks(Move):
    """Images (height, width, channels), and squares of `block` x `block` pixels."""

    block: int

    def moved(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if type(self.block) is not int or not 1 <= self.block <= MAX_LENGTH:
            raise ValueError(f"block: expected an integer of at least 1, got {self.block!r}")
        expect(len(shape) == 3, f"inputs: expected images of three axes, got {shape}")
        return self.resized(*shape)

    def resized(self, height: int, width: int, channels: int) -> tuple[int, ...]:
        """Return the shape of the result, by that of an image."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class DepthToSpace(Blocks):
    """The channels of each pixel as a square of pixels: channel ``(u * block + v) * C + c`` of pixel (i, j) becomes
    channel c of pixel ``(i * block + u, j * block + v)``, of C channels."""

    kind: ClassVar[str] = "depth_to_space"

    def resized(self, height: int, width: int, channels: int) -> tuple[int, ...]:
        square = self.block**2
        expect(channels % square == 0, f"inputs: expected a multiple of {square} channels, got {channels}")
        return height * self.block, width * self.block, channels // square


@dataclass(frozen=True, eq=False)
class SpaceToDepth(Blocks):
    """The reverse of `DepthToSpace`."""

    kind: ClassVar[str] = "space_to_depth"

    def resized(self, height: int, width: int, channels: int) -> tuple[int, ...]:
        is_whole = height % self.block == 0 and width % self.block == 0
        expect(is_whole, f"inputs: expected height and width in multiples of {self.block}, got {height} x {width}")
        return height // self.block, width // self.block, channels * self.block**2
