"""Models of one operator for LiteRT, and what its interpreters make of arrays."""

from typing import NamedTuple

import numpy as np
from models import extra

RESOLVERS = {
    "default": "AUTO",
    "reference": "BUILTIN_REF",
    "builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
}
#: By qlite's names: the schema's numbers of activations that operators apply themselves.
ACTIVATIONS = {None: 0, "relu": 1, "relu6": 3}


class Weights(NamedTuple):
    """A constant that has scales, along one of its axes."""

    array: np.ndarray
    scale: np.ndarray
    axis: int


class Codes(NamedTuple):
    """A constant on one grid."""

    array: np.ndarray
    scale: float
    zero_point: int


def _tensor(schema, name, array, scale, zero_point, buffer=0):
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.buffer = name, list(array.shape), buffer
    tensor.type = getattr(schema.TensorType, array.dtype.name.upper())
    if scale is not None:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [float(scale)], [int(zero_point)]
    return tensor


def _constant(schema, number, constant):
    """The tensor and the content of an array, int32 without scales, or of `Weights` or `Codes`."""
    array = constant.array if isinstance(constant, (Weights, Codes)) else constant
    grid = (constant.scale, constant.zero_point) if isinstance(constant, Codes) else (None, 0)
    tensor = _tensor(schema, f"c{number}", array, *grid, number)
    if isinstance(constant, Weights):
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = constant.scale.tolist(), [0] * constant.scale.size
        tensor.quantization.quantizedDimension = constant.axis
    content = schema.BufferT()
    content.data = list(array.tobytes())
    return tensor, content


def model(op, x, y, input=(1.0, 0), output=(1.0, 0), version=1, constants=(), **options):
    """A model of the operator from codes like x to codes like y on the grids (scale, zero point); x and `input` are
    tuples of several. `constants`, int32 or `Weights`, are inputs behind these. The options are those of the operator's
    own table in the schema, of which `options_type` is the name."""
    schema, flatbuffers = extra("ai_edge_litert.schema_py_generated"), extra("flatbuffers")
    code, operator, graph, whole = schema.OperatorCodeT(), schema.OperatorT(), schema.SubGraphT(), schema.ModelT()
    code.builtinCode = getattr(schema.BuiltinOperator, op)
    code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), version
    inputs = list(zip(x, input, strict=True)) if isinstance(x, tuple) else [(x, input)]
    graph.tensors = [_tensor(schema, f"x{i}", array, *grid) for i, (array, grid) in enumerate(inputs)]
    whole.buffers = [schema.BufferT()]
    for number, constant in enumerate(constants, 1):
        tensor, content = _constant(schema, number, constant)
        graph.tensors.append(tensor)
        whole.buffers.append(content)
    graph.tensors.append(_tensor(schema, "y", y, *output))
    last = len(graph.tensors) - 1
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, list(range(last)), [last]
    if name := options.pop("options_type", None):
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
        operator.builtinOptions = getattr(schema, f"{name}T")()
        vars(operator.builtinOptions).update(options)
    graph.inputs, graph.outputs = list(range(len(inputs))), [last]
    graph.operators, graph.name = [operator], b"main"
    whole.version, whole.operatorCodes, whole.subgraphs = 3, [code], [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(whole.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def run(content, x, resolver="default"):
    """The output of one of LiteRT's three sets of kernels, for x or a tuple of several."""
    litert = extra("ai_edge_litert.interpreter")
    kind = getattr(litert.OpResolverType, RESOLVERS[resolver])
    interpreter = litert.Interpreter(model_content=content, num_threads=1, experimental_op_resolver_type=kind)
    interpreter.allocate_tensors()
    inputs = x if isinstance(x, tuple) else (x,)
    for details, array in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(details["index"], array)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
