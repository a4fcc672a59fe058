"""Models for LiteRT of one operator or a few, and what its interpreters make of arrays."""

from typing import NamedTuple

import numpy as np
import pytest
from litert_file import Operator, Tensor
from litert_file import model as file_of
from models import extra

RESOLVERS = {
    "default": "AUTO",
    "reference": "BUILTIN_REF",
    "builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
}
MICRO_BYTES = 2**22
#: By qlite's names: the schema's numbers of activations that operators apply themselves.
ACTIVATIONS = {None: 0, "relu": 1, "relu6": 3}


class Weights(NamedTuple):
    """A constant that has scales, along one of its axes, and zero points."""

    array: np.ndarray
    scale: np.ndarray
    axis: int = 0
    zero_point: int = 0


def constant(array):
    """The tensor of an array without scales, or of `Weights`; None is an input left out."""
    if isinstance(array, Weights):
        return Tensor.constant(array.array, array.scale, array.axis, array.zero_point)
    return None if array is None else Tensor.constant(array)


def model(op, x, y, input=(1.0, 0), output=(1.0, 0), version=1, constants=(), operands=None, **options):
    """A model of the operator from x to y, whose codes are on the grids (scale, zero point); x and `input` may be
    tuples of several, as y and `output`. The operator reads these and then `constants`, arrays or `Weights`; `operands`
    are all of them where it reads them in another order. The options are those of its own table in the schema."""
    extra("ai_edge_litert.schema_py_generated"), extra("flatbuffers")
    options.pop("options_type", None)
    xs, ys = _tensors(x, input), _tensors(y, output)
    arrays = x if isinstance(x, tuple) else (x,)
    given = {id(array): tensor for array, tensor in zip(arrays, xs, strict=True)}
    operands = (*arrays, *constants) if operands is None else operands
    read = [given[id(array)] if id(array) in given else constant(array) for array in operands]
    return file_of([Operator(op, read, ys, options, version)], xs)


def _tensors(arrays, grids):
    pairs = zip(arrays, grids, strict=True) if isinstance(arrays, tuple) else [(arrays, grids)]
    return [Tensor(array.shape, array.dtype, None, *grid) for array, grid in pairs]


def run(content, x, resolver="default"):
    """The output of one of LiteRT's three sets of kernels, or of TensorFlow Lite Micro: "micro", for x or a tuple of
    several."""
    return run_all(content, x, resolver)[0]


def run_all(content, x, resolver="default"):
    """All outputs."""
    inputs = x if isinstance(x, tuple) else (x,)
    if resolver == "micro":
        return _run_in_micro(content, inputs)
    litert = extra("ai_edge_litert.interpreter")
    kind = getattr(litert.OpResolverType, RESOLVERS[resolver])
    interpreter = litert.Interpreter(model_content=content, num_threads=1, experimental_op_resolver_type=kind)
    interpreter.allocate_tensors()
    for details, array in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(details["index"], array)
    interpreter.invoke()
    return [interpreter.get_tensor(details["index"]) for details in interpreter.get_output_details()]


def _run_in_micro(content, inputs):
    """There is a package of it for one kind of machine only."""
    micro = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
    interpreter = micro.Interpreter.from_bytes(content, arena_size=MICRO_BYTES)
    for i, array in enumerate(inputs):
        interpreter.set_input(array, i)
    interpreter.invoke()
    schema = extra("ai_edge_litert.schema_py_generated")
    outputs = schema.Model.GetRootAs(content).Subgraphs(0).OutputsLength()
    return [interpreter.get_output(i) for i in range(outputs)]
