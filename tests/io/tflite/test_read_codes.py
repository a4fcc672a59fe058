"""Files of one operator on codes: the model that is read gives the runtime's bytes."""

from typing import Any, NamedTuple

import litert
import numpy as np
import pytest
from litert import Weights
from litert_file import Operator, Tensor
from litert_file import model as file_of
from samples import codes, same_bytes

import qlite as ql
from qlite.io.tflite.schema import VERSIONS

IMAGE = (1, 6, 7, 4)
#: Grids of what is read and of what is given.
X, Y, Z = (0.05, -3), (0.031, 7), (0.043, 20)
SEED = 5


def int8(*shape):
    return np.random.default_rng(sum(shape)).integers(-127, 128, shape, dtype=np.int8)


def int32(*shape):
    return np.random.default_rng(sum(shape)).integers(-3000, 3000, shape, dtype=np.int32)


def ints(*values):
    return np.array(values, np.int32)


def scales(count):
    return np.random.default_rng(count).uniform(0.001, 0.01, count).astype(np.float32)


def bias_of(outputs, scale):
    """Without its scales the runtime would leave the operator to other kernels, whose bytes differ."""
    return Weights(int32(outputs), np.float32(X[0]) * scale)


class Case(NamedTuple):
    """An operator that reads samples of these shapes, on these grids, and constants."""

    op: str
    inputs: list[tuple[int, ...]]
    constants: list[Any]
    result: Any
    grids: list[tuple[float, int]] = [X]  # noqa: RUF012
    output: tuple[float, int] = Y
    options: dict[str, Any] = {}  # noqa: RUF012
    operands: list[int] | None = None


STRIDE_1 = {"strideH": 1, "strideW": 1}
STRIDE_2 = {"strideH": 2, "strideW": 3}
UNDILATED = {"dilationHFactor": 1, "dilationWFactor": 1}
WINDOW = {"filterHeight": 3, "filterWidth": 2}
SLICED = {"beginMask": 1, "endMask": 1, "ellipsisMask": 0, "newAxisMask": 0, "shrinkAxisMask": 0}
CENTERS = {"alignCorners": False, "halfPixelCenters": True}


def moved(op, result, *constants, operands=None, **options):
    return Case(op, [IMAGE], list(constants), result, [X], X, options, operands)


def binary(op, other, **options):
    return Case(op, [IMAGE, other], [], IMAGE, [X, Z], Y, options)


def product(op, result, weights, outputs, axis=0, activation=0, operands=None, before=(), **options):
    scale = scales(weights.shape[axis])
    constants = [*before, Weights(weights, scale, axis), bias_of(outputs, scale)]
    options |= {"fusedActivationFunction": activation}
    return Case(op, [IMAGE], constants, result, [X], Y, options, operands)


CASES = {
    "add": binary("ADD", IMAGE),
    "add, relu6": binary("ADD", (1, 1, 1, 4), fusedActivationFunction=3),
    "add a constant": Case("ADD", [IMAGE], [Weights(int8(1, 1, 1, 4), 0.02, 0, 5)], IMAGE),
    "sub": binary("SUB", IMAGE),
    "sub from a constant": Case("SUB", [IMAGE], [Weights(int8(4), 0.02, 0, 5)], IMAGE, operands=[1, 0]),
    "mul": binary("MUL", (1, 1, 1, 4), fusedActivationFunction=1),
    "mul by a constant": Case("MUL", [IMAGE], [Weights(int8(4), 0.02, 0, 5)], IMAGE),
    "average pool": moved("AVERAGE_POOL_2D", (1, 3, 3, 4), **STRIDE_2, **WINDOW, padding=0),
    "average pool, relu": moved(
        "AVERAGE_POOL_2D", (1, 4, 6, 4), **STRIDE_1, **WINDOW, padding=1, fusedActivationFunction=1
    ),
    "average pool, relu6": moved(
        "AVERAGE_POOL_2D", (1, 4, 6, 4), **STRIDE_1, **WINDOW, padding=1, fusedActivationFunction=3
    ),
    "max pool": moved("MAX_POOL_2D", (1, 3, 3, 4), **STRIDE_2, **WINDOW, padding=0),
    "max pool, relu6": moved("MAX_POOL_2D", (1, 4, 6, 4), **STRIDE_1, **WINDOW, padding=1, fusedActivationFunction=3),
    "batch matmul": Case("BATCH_MATMUL", [(1, 3, 5), (1, 5, 2)], [], (1, 3, 2), [X, (0.02, 0)], (0.1, 3)),
    "concatenation": Case("CONCATENATION", [IMAGE, (1, 6, 7, 2)], [], (1, 6, 7, 6), [X, X], X, {"axis": -1}),
    "conv": product("CONV_2D", (1, 3, 3, 5), int8(5, 3, 2, 4), 5, **STRIDE_2, **UNDILATED, padding=0),
    "conv, relu6": product(
        "CONV_2D", (1, 4, 6, 5), int8(5, 3, 2, 4), 5, activation=3, **STRIDE_1, **UNDILATED, padding=1
    ),
    "depthwise": product(
        "DEPTHWISE_CONV_2D",
        (1, 6, 7, 8),
        int8(1, 3, 3, 8),
        8,
        3,
        1,
        **STRIDE_1,
        **UNDILATED,
        depthMultiplier=2,
        padding=0,
    ),
    "fully connected": Case(
        "FULLY_CONNECTED", [(1, 9)], [Weights(int8(3, 9), scales(1)), bias_of(3, scales(1))], (1, 3), output=(0.02, 1)
    ),
    "fully connected, without bias": Case("FULLY_CONNECTED", [(1, 9)], [Weights(int8(3, 9), scales(3))], (1, 3)),
    "transpose conv": product(
        "TRANSPOSE_CONV",
        (1, 12, 21, 5),
        int8(5, 3, 4, 4),
        5,
        operands=[1, 2, 0, 3],
        before=[ints(1, 12, 21, 5)],
        **STRIDE_2,
        padding=0,
    ),
    "depth to space": moved("DEPTH_TO_SPACE", (1, 12, 14, 1), blockSize=2),
    "space to depth": Case("SPACE_TO_DEPTH", [(1, 6, 4, 3)], [], (1, 3, 2, 12), [X], X, {"blockSize": 2}),
    "elu": Case("ELU", [IMAGE], [], IMAGE),
    "gelu": Case("GELU", [IMAGE], [], IMAGE),
    "hard swish": Case("HARD_SWISH", [IMAGE], [], IMAGE),
    "leaky relu": Case("LEAKY_RELU", [IMAGE], [], IMAGE, options={"alpha": 0.2}),
    "logistic": Case("LOGISTIC", [IMAGE], [], IMAGE, output=(1 / 256, -128)),
    "tanh": Case("TANH", [IMAGE], [], IMAGE, output=(1 / 128, 0)),
    "softmax": Case("SOFTMAX", [(1, 9)], [], (1, 9), output=(1 / 256, -128), options={"beta": 1.0}),
    "l2 normalization": Case("L2_NORMALIZATION", [(1, 9)], [], (1, 9), output=(1 / 128, 0)),
    "prelu": Case("PRELU", [IMAGE], [Weights(int8(1, 1, 4), 0.004, 0, 9)], IMAGE),
    "prelu, one slope": Case("PRELU", [IMAGE], [Weights(int8(1, 1, 1), 0.004, 0, -4)], IMAGE),
    "relu": Case("RELU", [IMAGE], [], IMAGE),
    "relu6": Case("RELU6", [IMAGE], [], IMAGE),
    "mean": Case("MEAN", [IMAGE], [ints(1, 2)], (1, 4), options={"keepDims": False}),
    "gather": moved("GATHER", (1, 6, 5, 4), ints(6, 0, 1, 2, 5), axis=2),
    "mean of all": Case("MEAN", [IMAGE], [ints(1, 2, 3)], (1,), options={"keepDims": False}),
    "mean of channels": Case("MEAN", [IMAGE], [ints(-1)], (1, 6, 7, 1), options={"keepDims": True}),
    "sum": Case("SUM", [IMAGE], [ints(2)], (1, 6, 4), output=(0.2, 3), options={"keepDims": False}),
    "reduce max": moved("REDUCE_MAX", (1, 4), ints(1, 2), keepDims=False),
    "reduce min": moved("REDUCE_MIN", (1, 6, 1, 4), ints(2), keepDims=True),
    "mirror pad": moved("MIRROR_PAD", (1, 9, 8, 4), ints([0, 0], [2, 1], [0, 1], [0, 0]), mode=0),
    "pad": moved("PAD", (1, 9, 8, 7), ints([0, 0], [2, 1], [0, 1], [0, 3])),
    "quantize": Case("QUANTIZE", [IMAGE], [], IMAGE),
    "reshape": moved("RESHAPE", (1, 42, 4), ints(1, 42, 4), newShape=[1, 42, 4]),
    "resize bilinear": moved("RESIZE_BILINEAR", (1, 9, 5, 4), ints(9, 5), **CENTERS),
    "resize nearest": moved("RESIZE_NEAREST_NEIGHBOR", (1, 9, 5, 4), ints(9, 5), **CENTERS),
    "split": moved("SPLIT", [(1, 6, 7, 2)] * 2, ints(3), operands=[1, 0], numSplits=2),
    "strided slice": moved(
        "STRIDED_SLICE", (1, 3, 3, 4), ints(0, 1, 1, 0), ints(1, 6, 7, 4), ints(1, 2, 2, 1), **SLICED
    ),
    "tile": moved("TILE", (1, 12, 7, 8), ints(1, 2, 1, 2)),
    "transpose": moved("TRANSPOSE", (1, 4, 6, 7), ints(0, 3, 1, 2)),
}


def real(array, grid):
    return (array.astype(np.float32) - np.float32(grid[1])) * np.float32(grid[0])


def loaded(tmp_path, content):
    path = tmp_path / "one.tflite"
    path.write_bytes(content)
    return ql.from_tflite(path)


def several(results):
    return results if isinstance(results, tuple) else (results,)


def gives_the_bytes_of_the_runtime(case, dtype, tmp_path):
    rng = np.random.default_rng(SEED)
    xs = [Tensor(shape, dtype, None, *grid) for shape, grid in zip(case.inputs, case.grids, strict=True)]
    read = [*xs, *map(litert.constant, case.constants)]
    read = read if case.operands is None else [read[i] for i in case.operands]
    results = case.result if isinstance(case.result, list) else [case.result]
    ys = [Tensor(shape, dtype, None, *case.output) for shape in results]
    version = VERSIONS.get(case.op, 2) if dtype is np.int8 else 1
    content = file_of([Operator(case.op, read, ys, dict(case.options), version)], xs)
    model = loaded(tmp_path, content)
    assert isinstance(model, ql.QModel)
    for _ in range(5):
        samples = tuple(codes(rng, shape, dtype) for shape in case.inputs)
        expected = litert.run_all(content, samples)
        floats = tuple(real(x, grid) for x, grid in zip(samples, case.grids, strict=True))
        found = several(model(floats if len(floats) > 1 else floats[0]))
        for a, b in zip(found, expected, strict=True):
            same_bytes(a, real(b, case.output).reshape(a.shape) if b.size == 1 else real(b, case.output))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_an_operator_gives_the_bytes_of_the_runtime(case, tmp_path):
    gives_the_bytes_of_the_runtime(case, np.int8, tmp_path)


#: Operators that LiteRT does not have for uint8.
ONLY_INT8 = ("batch matmul", "elu")
OLD_CASES = {name: case for name, case in CASES.items() if name not in ONLY_INT8}
#: Zero point of weights, which older files have for each of them; not the middle of the codes.
OLD_ZERO_POINT = 131


def unsigned(grid):
    return grid[0], grid[1] + 128


def older(constant):
    """A constant as files of uint8 have it, with one scale."""
    if not isinstance(constant, Weights):
        return constant
    scale = np.atleast_1d(constant.scale)[:1]
    if constant.array.dtype != np.int8:
        return Weights(constant.array, scale)
    zero_point = constant.zero_point + 128 if constant.zero_point else OLD_ZERO_POINT
    return Weights((constant.array.astype(np.int16) + 128).astype(np.uint8), scale, 0, zero_point)


@pytest.mark.parametrize("case", OLD_CASES.values(), ids=OLD_CASES)
def test_an_operator_on_uint8_gives_the_bytes_of_the_runtime(case, tmp_path):
    case = case._replace(
        grids=[unsigned(grid) for grid in case.grids],
        output=unsigned(case.output),
        constants=[older(constant) for constant in case.constants],
    )
    gives_the_bytes_of_the_runtime(case, np.uint8, tmp_path)
