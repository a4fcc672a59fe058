"""Steps that give values other places: equal to the reference on every instruction set, and what they refuse."""

from itertools import permutations

import numpy as np
import pytest
import reference
from samples import codes, same_bytes

from qlite import _core
from qlite.nn.plan import Plan
from qlite.nn.program import Buffer, Program
from qlite.nn.steps import DepthToSpace, MirrorPad, Slice, SpaceToDepth, Transpose

DTYPES = ["int8", "uint8", "float32"]


def made(step, shape, dtype, after=None, **changes):
    grid = {} if dtype == "float32" else {"scale": 0.5, "zero_point": 3}
    x = Buffer("x", "x", shape, dtype, **grid)
    made = step((0,), 1)
    y = Buffer("y", "y", after or made.infer(x)[0], dtype, **(grid | changes))
    return Program([x, y], [made])


def check(step, shape, dtype, rng, rows=3):
    program = made(step, shape, dtype)
    shape = (rows, *shape)
    x = rng.normal(size=shape).astype(np.float32) if dtype == "float32" else codes(rng, shape, np.dtype(dtype))
    same_bytes(Plan(program).run(x), np.ascontiguousarray(reference.evaluate(program, x)[1]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_transpose(isa, rng, dtype):
    for shape in ((5,), (17, 33), (64, 3), (5, 7, 4), (3, 4, 16), (20, 30, 2), (2, 3, 8, 5)):
        for axes in permutations(range(len(shape))):
            check(lambda i, o: Transpose(i, o, axes), shape, dtype, rng)  # noqa: B023


@pytest.mark.parametrize("dtype", DTYPES)
def test_slice(isa, rng, dtype):
    for shape in ((9,), (5, 8), (6, 7, 4), (4, 6, 33), (3, 4, 5, 6)):
        for _ in range(30):
            places = []
            for n in shape:
                begin, stride = int(rng.integers(n)), int(rng.choice([1, 1, 1, 2, 3, -1, -2]))
                end = int(rng.integers(begin + 1, n + 1)) if stride > 0 else int(rng.integers(-1, begin))
                places.append((begin, end, stride) if rng.random() < 0.7 else (0, n, 1))
            begin, end, stride = zip(*places, strict=True)
            check(lambda i, o: Slice(i, o, begin, end, stride), shape, dtype, rng)  # noqa: B023


@pytest.mark.parametrize("dtype", DTYPES)
def test_blocks(isa, rng, dtype):
    for block in (1, 2, 3, 4):
        for height, width, channels in ((1, 1, 1), (3, 4, 1), (2, 5, 3), (4, 3, 8), (2, 2, 40)):
            deep, wide = (height, width, channels * block**2), (height * block, width * block, channels)
            check(lambda i, o: DepthToSpace(i, o, block), deep, dtype, rng)  # noqa: B023
            check(lambda i, o: SpaceToDepth(i, o, block), wide, dtype, rng)  # noqa: B023


def test_blocks_there_and_back(rng):
    x = codes(rng, (2, 4, 6, 8), np.uint8)
    y = Plan(made(lambda i, o: DepthToSpace(i, o, 2), x.shape[1:], "uint8")).run(x)
    same_bytes(Plan(made(lambda i, o: SpaceToDepth(i, o, 2), y.shape[1:], "uint8")).run(y), x)


@pytest.mark.parametrize("mode", ["reflect", "symmetric"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_mirror_pad(isa, rng, dtype, mode):
    for shape in ((1,), (9,), (5, 8), (6, 7, 4), (4, 1, 33), (3, 4, 200), (3, 4, 2, 3)):
        for _ in range(10):
            most = [n if mode == "symmetric" else n - 1 for n in shape]
            padding = tuple(int(rng.integers(n + 1)) if rng.random() < 0.6 else 0 for n in most for _ in "ba")
            check(lambda i, o: MirrorPad(i, o, padding, mode), shape, dtype, rng)  # noqa: B023


#: Steps on samples of (4, 6, 8), their messages, and the fields that the core refuses as well.
REFUSED = {
    "axis twice": (Transpose, {"axes": (0, 1, 1)}, r"axes: expected all of 0 to 2, got \(0, 1, 1\)"),
    "too few axes": (Transpose, {"axes": (0, 1)}, r"axes: expected all of 0 to 2"),
    "negative axis": (Transpose, {"axes": (0, 1, -1)}, r"axes: expected all of 0 to 2"),
    "no stride": (Slice, {"stride": (1, 0, 1)}, r"stride: expected others than 0"),
    "two ends": (Slice, {"end": (4, 6)}, r"end: expected 3 integers"),
    "begins outside": (Slice, {"begin": (4, 0, 0), "stride": (-1, 1, 1)}, r"begin, end: expected places within"),
    "begins before": (Slice, {"begin": (-1, 0, 0)}, r"begin: expected 3 integers of at least 0"),
    "ends outside": (Slice, {"end": (4, 7, 8)}, r"begin, end: expected places within \(4, 6, 8\)"),
    "ends before": (Slice, {"end": (-2, 6, 8), "stride": (-1, 1, 1)}, r"end: expected 3 integers of at least -1"),
    "nothing left": (Slice, {"begin": (0, 3, 0), "end": (4, 3, 8)}, r"begin, end: expected places within"),
    "wrong way": (Slice, {"stride": (1, 1, -1)}, r"begin, end: expected places within"),
    "one side": (MirrorPad, {"padding": (1, 1)}, r"padding: expected 6 integers of at least 0"),
    "beyond the mirror": (MirrorPad, {"padding": (0, 0, 6, 0, 0, 0)}, r"padding: expected at most \(3, 5, 7\), as"),
    "twice beyond": (MirrorPad, {"padding": (5, 0) * 3, "mode": "symmetric"}, r"padding: expected at most \(4, 6, 8\)"),
    "zeros": (MirrorPad, {"mode": "constant"}, r"mode: expected one of 'reflect', 'symmetric', got 'constant'"),
    "no block": (DepthToSpace, {"block": 0}, r"block: expected an integer of at least 1, got 0"),
    "channels left": (DepthToSpace, {"block": 3}, r"inputs: expected a multiple of 9 channels, got 8"),
    "rows left": (SpaceToDepth, {"block": 4}, r"inputs: expected height and width in multiples of 4, got 4 x 6"),
}
FIELDS = {MirrorPad: {"padding": (0,) * 6, "mode": "reflect"}}
FIELDS |= {Slice: {"begin": (0, 0, 0), "end": (4, 6, 8), "stride": (1, 1, 1)}, Transpose: {"axes": (0, 1, 2)}}


@pytest.mark.parametrize("case", REFUSED)
def test_what_moves_refuse(case):
    kind, changes, message = REFUSED[case]
    fields = FIELDS.get(kind, {}) | changes
    with pytest.raises(ValueError, match=message):
        made(lambda i, o: kind(i, o, **fields), (4, 6, 8), "uint8", (4, 6, 8))
    core = _core.Plan([("uint8", (4, 6, 8), 0.5, 3, -1, -1, 8)] * 2, (0,), (1,))
    with pytest.raises(ValueError, match=f"^{kind.kind}: "):
        core.add(kind.kind, {"inputs": (0,), "output": 1, **fields})


def test_grids_and_shapes_that_moves_refuse():
    def transpose(i, o):
        return Transpose(i, o, (1, 0))

    for changes in ({"scale": 0.25}, {"zero_point": 4}, {"bits": 4}):
        with pytest.raises(ValueError, match=r"output: expected scale, zero point and bits .* as 'x', got"):
            made(transpose, (4, 6), "uint8", **changes)
    with pytest.raises(ValueError, match=r"output: expected shape \(6, 4\) and uint8"):
        made(transpose, (4, 6), "uint8", (4, 6))
    with pytest.raises(ValueError, match=r"inputs: expected images of three axes, got \(4, 8\)"):
        made(lambda i, o: DepthToSpace(i, o, 2), (4, 8), "uint8")
