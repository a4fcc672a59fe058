"""Files of one float operator: the model that is read gives what LiteRT gives."""

from typing import Any, NamedTuple

import litert
import numpy as np
import pytest
from litert_file import Operator, Tensor
from litert_file import model as file_of

import qlite as ql
from qlite.io.tflite.operators import CONVERSIONS
from qlite.io.tflite.schema import OPTIONS, VERSIONS

#: Of values around 1: the runtime adds in another order.
TOLERANCE = 1e-5
IMAGE = (1, 6, 7, 4)


def floats(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def ints(*values):
    return np.array(values, np.int32)


class Case(NamedTuple):
    """An operator that reads samples of these shapes and constants: `operands` numbers both, in the order in which
    the operator wants them."""

    op: str
    inputs: list[tuple[int, ...]]
    constants: list[np.ndarray]
    result: Any
    options: dict[str, Any] = {}  # noqa: RUF012
    operands: list[int] | None = None
    samples: Any = None


STRIDE_1 = {"strideH": 1, "strideW": 1}
STRIDE_2 = {"strideH": 2, "strideW": 3}
DILATED = {"dilationHFactor": 2, "dilationWFactor": 2}
UNDILATED = {"dilationHFactor": 1, "dilationWFactor": 1}
WINDOW = {"filterHeight": 3, "filterWidth": 2}
SLICED = {"beginMask": 0, "endMask": 0, "ellipsisMask": 0, "newAxisMask": 0, "shrinkAxisMask": 0}
PADDING = ints([0, 0], [2, 1], [0, 1], [0, 0])
CENTERS = {"alignCorners": False, "halfPixelCenters": True}
CORNERS = {"alignCorners": True, "halfPixelCenters": False}


def unary(op, **options):
    return Case(op, [IMAGE], [], IMAGE, options)


def reduction(op, axes, result, keep):
    return Case(op, [IMAGE], [ints(*axes)], result, {"keepDims": keep})


CASES = {
    "abs": unary("ABS"),
    "add": Case("ADD", [IMAGE, IMAGE], [], IMAGE, {"fusedActivationFunction": 1}),
    "add to itself": Case("ADD", [IMAGE], [], IMAGE, {}, [0, 0]),
    "add channels": Case("ADD", [IMAGE], [floats(4)], IMAGE, {"fusedActivationFunction": 3}),
    "add to channels": Case("ADD", [IMAGE], [floats(4)], IMAGE, {}, [1, 0]),
    "add a scalar": Case("ADD", [IMAGE], [np.float32(0.3).reshape(())], IMAGE),
    "add a column": Case("ADD", [IMAGE, (1, 6, 1, 1)], [], IMAGE),
    "average pool": Case("AVERAGE_POOL_2D", [IMAGE], [], (1, 3, 3, 4), {**STRIDE_2, **WINDOW, "padding": 0}),
    "average pool, valid": Case("AVERAGE_POOL_2D", [IMAGE], [], (1, 4, 6, 4), {**STRIDE_1, **WINDOW, "padding": 1}),
    "average pool, relu": Case(
        "AVERAGE_POOL_2D",
        [IMAGE],
        [],
        (1, 4, 6, 4),
        {**STRIDE_1, **WINDOW, "padding": 1, "fusedActivationFunction": 1},
    ),
    "batch matmul": Case("BATCH_MATMUL", [(1, 3, 5), (1, 5, 2)], [], (1, 3, 2)),
    "batch matmul, transposed": Case("BATCH_MATMUL", [(1, 3, 5), (1, 2, 5)], [], (1, 3, 2), {"adjY": True}),
    "concatenation": Case("CONCATENATION", [IMAGE, (1, 6, 7, 2)], [], (1, 6, 7, 6), {"axis": -1}),
    "concatenation, constant": Case("CONCATENATION", [(1, 3)], [floats(1, 2)], (1, 5), {"axis": 1}),
    "conv": Case(
        "CONV_2D",
        [IMAGE],
        [floats(5, 3, 2, 4), floats(5)],
        (1, 3, 3, 5),
        {**STRIDE_2, **UNDILATED, "padding": 0, "fusedActivationFunction": 1},
    ),
    "conv, dilated": Case(
        "CONV_2D", [IMAGE], [floats(5, 3, 2, 4), floats(5)], (1, 2, 5, 5), {**STRIDE_1, **DILATED, "padding": 1}
    ),
    "conv, groups": Case(
        "CONV_2D", [IMAGE], [floats(6, 3, 3, 2), floats(6)], (1, 6, 7, 6), {**STRIDE_1, **UNDILATED, "padding": 0}
    ),
    "depthwise": Case(
        "DEPTHWISE_CONV_2D",
        [IMAGE],
        [floats(1, 3, 3, 8), floats(8)],
        (1, 6, 7, 8),
        {**STRIDE_1, **UNDILATED, "depthMultiplier": 2, "padding": 0, "fusedActivationFunction": 3},
    ),
    "depth to space": Case("DEPTH_TO_SPACE", [IMAGE], [], (1, 12, 14, 1), {"blockSize": 2}),
    "space to depth": Case("SPACE_TO_DEPTH", [(1, 6, 4, 3)], [], (1, 3, 2, 12), {"blockSize": 2}),
    "div": Case("DIV", [IMAGE], [np.abs(floats(4)) + 1], IMAGE),
    "div by a scalar": Case("DIV", [IMAGE], [np.float32(7).reshape(())], IMAGE, {"fusedActivationFunction": 1}),
    "elu": unary("ELU"),
    "expand dims": Case("EXPAND_DIMS", [(1, 6)], [ints(1)], (1, 1, 6)),
    "fully connected": Case("FULLY_CONNECTED", [(1, 6)], [floats(3, 6), floats(3)], (1, 3), {}),
    "fully connected, no bias": Case("FULLY_CONNECTED", [(1, 6)], [floats(3, 6)], (1, 3), {}),
    "fully connected, of an image": Case("FULLY_CONNECTED", [(1, 2, 3)], [floats(3, 6), floats(3)], (1, 3), {}),
    "fully connected, of rows": Case(
        "FULLY_CONNECTED", [(1, 4, 6)], [floats(3, 6), floats(3)], (1, 4, 3), {"keepNumDims": True}
    ),
    "gather": Case("GATHER", [IMAGE], [ints(1, 3)], (1, 6, 7, 2), {"axis": 3}),
    "gather a row": Case("GATHER", [IMAGE], [ints(4).reshape(())], (1, 7, 4), {"axis": 1}),
    "gather, uneven": Case("GATHER", [IMAGE], [ints(6, 0, 1, 2, 2, 5)], (1, 6, 6, 4), {"axis": 2}),
    "gather, backwards": Case("GATHER", [IMAGE], [ints(3, 2, 0)], (1, 6, 7, 3), {"axis": -1}),
    "gelu": unary("GELU"),
    "gelu, approximate": unary("GELU", approximate=True),
    "hard swish": unary("HARD_SWISH"),
    "l2 normalization": Case("L2_NORMALIZATION", [(1, 9)], [], (1, 9)),
    "leaky relu": unary("LEAKY_RELU", alpha=0.2),
    "logistic": unary("LOGISTIC"),
    "max pool": Case("MAX_POOL_2D", [IMAGE], [], (1, 3, 3, 4), {**STRIDE_2, **WINDOW, "padding": 0}),
    "max pool, relu6": Case(
        "MAX_POOL_2D",
        [IMAGE],
        [],
        (1, 4, 6, 4),
        {**STRIDE_1, **WINDOW, "padding": 1, "fusedActivationFunction": 3},
    ),
    "mean": reduction("MEAN", [1, 2], (1, 4), False),
    "mean, negative axes": reduction("MEAN", [-3, -2], (1, 1, 1, 4), True),
    "mean of all": reduction("MEAN", [1, 2, 3], (1,), False),
    "mean of all, also along samples": reduction("MEAN", [0, 1, 2, 3], (), False),
    "sum of all": reduction("SUM", [-1, -2, -3], (1,), False),
    "sum along samples": reduction("SUM", [0, 1], (1, 1, 7, 4), True),
    "sum": reduction("SUM", [3], (1, 6, 7), False),
    "reduce max": reduction("REDUCE_MAX", [2, 1], (1, 4), False),
    "reduce min": reduction("REDUCE_MIN", [1], (1, 1, 7, 4), True),
    "mirror pad": Case("MIRROR_PAD", [IMAGE], [PADDING], (1, 9, 8, 4), {"mode": 0}),
    "mirror pad, symmetric": Case("MIRROR_PAD", [IMAGE], [PADDING], (1, 9, 8, 4), {"mode": 1}),
    "mul": Case("MUL", [IMAGE, (1, 1, 1, 4)], [], IMAGE),
    "mul by channels": Case("MUL", [IMAGE], [floats(1, 1, 1, 4)], IMAGE, {"fusedActivationFunction": 1}),
    "neg": unary("NEG"),
    "pad": Case("PAD", [IMAGE], [ints([0, 0], [2, 1], [0, 1], [0, 3])], (1, 9, 8, 7)),
    "padv2": Case("PADV2", [IMAGE], [ints([0, 0], [2, 1], [0, 1], [0, 0]), floats(1) * 0], (1, 9, 8, 4)),
    "prelu": Case("PRELU", [IMAGE], [floats(1, 1, 4)], IMAGE),
    "prelu, one slope": Case("PRELU", [IMAGE], [floats(1, 1, 1)], IMAGE),
    "relu": unary("RELU"),
    "relu6": unary("RELU6"),
    "relu -1 to 1": unary("RELU_N1_TO_1"),
    "add, relu -1 to 1": Case("ADD", [IMAGE, IMAGE], [], IMAGE, {"fusedActivationFunction": 2}),
    "max pool, relu -1 to 1": Case(
        "MAX_POOL_2D",
        [IMAGE],
        [],
        (1, 4, 6, 4),
        {**STRIDE_1, **WINDOW, "padding": 1, "fusedActivationFunction": 2},
    ),
    "reshape": Case("RESHAPE", [IMAGE], [ints(1, 42, 4)], (1, 42, 4), {"newShape": [1, 42, 4]}),
    "resize bilinear": Case("RESIZE_BILINEAR", [IMAGE], [ints(9, 5)], (1, 9, 5, 4), CENTERS),
    "resize bilinear, corners": Case("RESIZE_BILINEAR", [IMAGE], [ints(12, 14)], (1, 12, 14, 4), CORNERS),
    "resize nearest": Case("RESIZE_NEAREST_NEIGHBOR", [IMAGE], [ints(9, 5)], (1, 9, 5, 4), CENTERS),
    "slice": Case("SLICE", [IMAGE], [ints(0, 1, 2, 0), ints(1, 3, -1, 2)], (1, 3, 5, 2)),
    "softmax": Case("SOFTMAX", [(1, 9)], [], (1, 9), {"beta": 1.0}),
    "softmax, beta": Case("SOFTMAX", [(1, 9)], [], (1, 9), {"beta": 0.3}),
    "split": Case("SPLIT", [IMAGE], [ints(3)], [(1, 6, 7, 2)] * 2, {"numSplits": 2}, [1, 0]),
    "split v": Case(
        "SPLIT_V",
        [IMAGE],
        [ints(2, 1, -1), ints(1)],
        [(1, 2, 7, 4), (1, 1, 7, 4), (1, 3, 7, 4)],
        {"numSplits": 3},
    ),
    "squeeze": Case("SQUEEZE", [(1, 1, 6, 1)], [], (1, 6), {"squeezeDims": [1, 3]}),
    "strided slice": Case(
        "STRIDED_SLICE",
        [IMAGE],
        [ints(0, 1, 5, 0), ints(1, 6, 0, 4), ints(1, 2, -2, 1)],
        (1, 3, 3, 4),
        {**SLICED, "beginMask": 1, "endMask": 9},
    ),
    "strided slice, one row": Case(
        "STRIDED_SLICE",
        [IMAGE],
        [ints(0, -2, 0, 0), ints(1, 0, 7, 4), ints(1, 1, 1, 1)],
        (1, 7, 4),
        {**SLICED, "shrinkAxisMask": 2},
    ),
    "strided slice, first axes": Case(
        "STRIDED_SLICE", [IMAGE], [ints(0, 2), ints(1, 5), ints(1, 1)], (1, 3, 7, 4), SLICED
    ),
    "squared difference": Case("SQUARED_DIFFERENCE", [IMAGE, IMAGE], [], IMAGE),
    "sub": Case("SUB", [IMAGE, IMAGE], [], IMAGE),
    "sub from channels": Case("SUB", [IMAGE], [floats(4)], IMAGE, {}, [1, 0]),
    "tanh": unary("TANH"),
    "tile": Case("TILE", [IMAGE], [ints(1, 2, 1, 3)], (1, 12, 7, 12)),
    "tile, one copy": Case("TILE", [(1, 5)], [ints(1, 1)], (1, 5)),
    "transpose": Case("TRANSPOSE", [IMAGE], [ints(0, 3, 1, 2)], (1, 4, 6, 7)),
    "transpose conv": Case(
        "TRANSPOSE_CONV",
        [IMAGE],
        [ints(1, 12, 21, 5), floats(5, 3, 4, 4), floats(5)],
        (1, 12, 21, 5),
        {**STRIDE_2, "padding": 0, "fusedActivationFunction": 1},
        [1, 2, 0, 3],
    ),
    "transpose conv, valid": Case(
        "TRANSPOSE_CONV", [IMAGE], [ints(1, 13, 22, 5), floats(5, 3, 4, 4)], (1, 13, 22, 5), {**STRIDE_2, "padding": 1},
        [1, 2, 0],
    ),
}  # fmt: skip
#: Operators that have a test of their own, and those that are read as parts of layers alone.
ELSEWHERE = {"DENSIFY", "DEQUANTIZE", "QUANTIZE", "EMBEDDING_LOOKUP", "LOG", "RSQRT"}


def file_and_samples(case):
    """The bytes of a case's file, and a sample for each of its inputs."""
    xs = [Tensor(shape, np.float32) for shape in case.inputs]
    read = [*xs, *(Tensor.constant(array) for array in case.constants)]
    read = read if case.operands is None else [read[i] for i in case.operands]
    results = case.result if isinstance(case.result, list) else [case.result]
    ys = [Tensor(shape, np.float32) for shape in results]
    content = file_of([Operator(case.op, read, ys, dict(case.options), VERSIONS.get(case.op, 2))], xs)
    return content, tuple(3 * floats(*shape) for shape in case.inputs)


def loaded(tmp_path, content, **options):
    path = tmp_path / "one.tflite"
    path.write_bytes(content)
    return ql.from_tflite(path, **options)


def given(results):
    return results if isinstance(results, tuple) else (results,)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_an_operator_gives_what_the_runtime_gives(case, tmp_path):
    content, samples = file_and_samples(case)
    expected = litert.run_all(content, samples)
    model = loaded(tmp_path, content)
    found = given(model(samples if len(samples) > 1 else samples[0]))
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        b = b.reshape(a.shape) if b.size == 1 else b  # a number of a sample is a vector of one
        np.testing.assert_allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE)


def test_every_operator_of_the_schema_has_a_case():
    assert {case.op for case in CASES.values()} | ELSEWHERE == set(OPTIONS)
    assert {case.op for case in CASES.values()} <= set(CONVERSIONS) | {"DIV", "GATHER"}
