"""LiteRT as a contender, driven from Python: input set, invoked, output read.

The models are written here with the published schema: constants, one operator after the other, one input, one output.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .harness import Work

TYPES = {np.dtype(np.float32): "FLOAT32", np.dtype(np.int32): "INT32", np.dtype(np.int8): "INT8"}
SIGNATURE = "serving_default"


@dataclass
class Tensor:
    """`data` or, of what is computed, shape and dtype; scales and zero points along `axis`, where there are any."""

    shape: tuple[int, ...]
    dtype: Any
    data: np.ndarray | None = None
    scale: Any = None
    zero_point: Any = 0
    axis: int = 0

    @classmethod
    def constant(cls, data, scale=None, axis=0):
        return cls(data.shape, data.dtype, data, scale, axis=axis)


@dataclass
class Operator:
    """`name` and `kind` are those of the schema: `options` fills a `kind`OptionsT in, of the same name by default."""

    name: str
    inputs: list[Tensor]
    output: Tensor
    options: dict[str, Any] = field(default_factory=dict)
    version: int = 1
    kind: str = ""


def model(operators):
    """The bytes of a model: the first operator's first input is its input "x", the last one's output its output "y"."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    tensors, buffers, codes = [], [schema.BufferT()], []
    numbers = {}

    def number(tensor):
        if id(tensor) not in numbers:
            numbers[id(tensor)] = len(tensors)
            tensors.append(_tensor(schema, tensor, buffers, f"t{len(tensors)}"))
        return numbers[id(tensor)]

    written = []
    for operator in operators:
        kind = f"{operator.kind or operator.name}Options"
        options = getattr(schema, f"{kind}T")()
        for name, value in operator.options.items():
            setattr(options, name, value)
        builtin = getattr(schema.BuiltinOperator, _upper(operator.name))
        codes.append(schema.OperatorCodeT(min(builtin, 127), None, operator.version, builtin))
        written.append(
            schema.OperatorT(
                opcodeIndex=len(codes) - 1,
                inputs=[number(tensor) for tensor in operator.inputs],
                outputs=[number(operator.output)],
                builtinOptionsType=getattr(schema.BuiltinOptions, kind),
                builtinOptions=options,
            )
        )
    ends = [number(operators[0].inputs[0])], [number(operators[-1].output)]
    graph = schema.SubGraphT(tensors=tensors, inputs=ends[0], outputs=ends[1], operators=written)
    x, y = ([schema.TensorMapT(name, end[0])] for name, end in zip("xy", ends, strict=True))
    signatures = [schema.SignatureDefT(x, y, SIGNATURE)]
    builder = flatbuffers.Builder(1 << 16)
    packed = schema.ModelT(3, codes, [graph], "written by a benchmark", buffers, signatureDefs=signatures).Pack(builder)
    builder.Finish(packed, file_identifier=b"TFL3")
    return bytes(builder.Output())


def _tensor(schema, tensor, buffers, name):
    buffer = 0
    if tensor.data is not None:
        buffer = len(buffers)
        buffers.append(schema.BufferT(data=np.frombuffer(np.ascontiguousarray(tensor.data).tobytes(), np.uint8)))
    grid = None
    if tensor.scale is not None:
        scale = np.atleast_1d(np.asarray(tensor.scale, np.float32))
        zero_point = np.broadcast_to(np.asarray(tensor.zero_point, np.int64), scale.shape)
        grid = schema.QuantizationParametersT(
            scale=scale, zeroPoint=np.array(zero_point), quantizedDimension=tensor.axis
        )
    kind = getattr(schema.TensorType, TYPES[np.dtype(tensor.dtype)])
    return schema.TensorT(list(tensor.shape), kind, buffer, name, grid)


def _upper(name):
    """FullyConnected -> FULLY_CONNECTED; the schema writes 2D as one word with what stands before."""
    parts = "".join(f"_{letter}" if letter.isupper() else letter for letter in name).lstrip("_")
    return parts.upper().replace("2_D", "_2D").replace("__", "_")


def work(operators, x, threads=1, result_of=lambda array: array):
    """The work of one call from Python: set_tensor, invoke, get_tensor."""
    return work_of_bytes(model(operators), x, threads, result_of)


def work_of_bytes(content, x, threads=1, result_of=lambda array: array):
    """The same of a model that is written already."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=threads)
    interpreter.allocate_tensors()
    source, target = (ends[0]["index"] for ends in (interpreter.get_input_details(), interpreter.get_output_details()))

    def call():
        interpreter.set_tensor(source, x)
        interpreter.invoke()
        return interpreter.get_tensor(target)

    return Work(call, lambda: result_of(call()))
