"""Models for LiteRT, written with the published schema: tensors, and operators that compute one from others."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

SIGNATURE = "serving_default"
#: Tables of options that are not called as their operator.
OPTIONS = {
    "MAX_POOL_2D": "Pool2D",
    "AVERAGE_POOL_2D": "Pool2D",
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"), "Reducer"),
    "BATCH_MATMUL": "BatchMatMul",
    "L2_NORMALIZATION": "L2Norm",
    "PADV2": "PadV2",
}
#: Codes of operators above this one stand in a field that was added later.
LARGEST_OLD_CODE = 127


@dataclass(eq=False)
class Tensor:
    """`data` or, of what is computed, shape and dtype; scales and zero points along `axis`, where there are any.

    `kind` is the schema's name of a dtype that NumPy lacks; `sparse` says that `data` are the blocks of `sparse` values
    along the last axis of a matrix of this shape which are not zero, and in which rows they begin.
    """

    shape: tuple[int, ...]
    dtype: Any
    data: np.ndarray | None = None
    scale: Any = None
    zero_point: Any = 0
    axis: int = 0
    kind: str | None = None
    sparse: "Sparse | None" = None

    @classmethod
    def constant(cls, data, scale=None, axis=0, zero_point=0):
        return cls(data.shape, data.dtype, data, scale, zero_point, axis)


@dataclass(eq=False)
class Sparse:
    """The blocks of a matrix that are not zero: how many values wide, the number of the first block in each row, and
    the columns of all, in blocks."""

    width: int
    segments: np.ndarray
    columns: np.ndarray

    @classmethod
    def of(cls, matrix, width):
        """The tensor that stores these blocks of a matrix."""
        blocks = matrix.reshape(len(matrix), -1, width)
        is_kept = blocks.any(axis=-1)
        sparse = cls(width, np.concatenate([[0], np.cumsum(is_kept.sum(axis=1))]), np.nonzero(is_kept)[1])
        return Tensor(matrix.shape, matrix.dtype, blocks[is_kept], sparse=sparse)


@dataclass(eq=False)
class Operator:
    """`name` is that of the schema, as its options' are. `outputs` is a tensor or several, None an input left out."""

    name: str
    inputs: list[Tensor | None]
    outputs: Tensor | list[Tensor]
    options: dict[str, Any] = field(default_factory=dict)
    version: int = 1


def model(operators, inputs=None, outputs=None):
    """The bytes of a model that computes `outputs` from `inputs`, tensors: those of the last operator from the first
    one of the first operator, where none are named. In its signature they are x, x1, x2... and y, y1, y2..."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    tensors, buffers, codes, written, numbers = [], [schema.BufferT()], [], [], {}

    def number(tensor):
        if tensor is None:
            return -1
        if id(tensor) not in numbers:
            numbers[id(tensor)] = len(tensors)
            tensors.append(_tensor(schema, tensor, buffers, f"t{len(tensors)}"))
        return numbers[id(tensor)]

    inputs = [number(tensor) for tensor in inputs or operators[0].inputs[:1]]
    for operator in operators:
        code = getattr(schema.BuiltinOperator, operator.name)
        codes.append(schema.OperatorCodeT(min(code, LARGEST_OLD_CODE), None, operator.version, code))
        read, made = [number(t) for t in operator.inputs], [number(t) for t in _several(operator.outputs)]
        written.append(schema.OperatorT(len(codes) - 1, read, made, *_options(schema, operator)))
    outputs = [number(tensor) for tensor in outputs or _several(operators[-1].outputs)]
    graph = schema.SubGraphT(tensors, inputs, outputs, written, "main")
    ends = [
        [schema.TensorMapT(f"{letter}{i or ''}", end) for i, end in enumerate(side)]
        for letter, side in (("x", inputs), ("y", outputs))
    ]
    signatures = [schema.SignatureDefT(*ends, SIGNATURE)]
    builder = flatbuffers.Builder(1 << 16)
    packed = schema.ModelT(3, codes, [graph], "written by a test", buffers, signatureDefs=signatures).Pack(builder)
    builder.Finish(packed, file_identifier=b"TFL3")
    return bytes(builder.Output())


def _several(outputs):
    return [outputs] if isinstance(outputs, Tensor) else outputs


def _options(schema, operator):
    """The number and the table of an operator's options; those that have none get zeros."""
    camel = "".join(word.capitalize() for word in operator.name.split("_")).replace("2d", "2D")
    name = f"{OPTIONS.get(operator.name, camel)}Options"
    table = getattr(schema, f"{name}T", None)
    if table is None:
        if operator.options:
            raise ValueError(f"{operator.name} has no options, got {operator.options}")
        return 0, None
    options = table()
    if not operator.options.keys() <= vars(options).keys():
        raise ValueError(f"{operator.name}: expected options out of {list(vars(options))}, got {operator.options}")
    vars(options).update(operator.options)
    return getattr(schema.BuiltinOptions, name), options


def _tensor(schema, tensor, buffers, name):
    buffer = 0
    if tensor.data is not None:
        buffer = len(buffers)
        buffers.append(schema.BufferT(np.frombuffer(np.ascontiguousarray(tensor.data).tobytes(), np.uint8)))
    grid = None
    if tensor.scale is not None:
        scale = np.atleast_1d(np.asarray(tensor.scale, np.float32))
        zero_point = np.array(np.broadcast_to(np.asarray(tensor.zero_point, np.int64), scale.shape))
        grid = schema.QuantizationParametersT(scale=scale, zeroPoint=zero_point, quantizedDimension=tensor.axis)
    kind = getattr(schema.TensorType, tensor.kind or np.dtype(tensor.dtype).name.upper())
    made = schema.TensorT(list(tensor.shape), kind, buffer, name, grid)
    if tensor.sparse is not None:
        made.sparsity = _sparsity(schema, tensor)
    return made


def _sparsity(schema, tensor):
    """Rows that are dense, columns of blocks that are not, and the blocks."""
    sparse, of = tensor.sparse, schema.SparseIndexVector.Int32Vector
    segments, indices = schema.Int32VectorT(sparse.segments), schema.Int32VectorT(sparse.columns)
    axes = [
        schema.DimensionMetadataT(schema.DimensionType.DENSE, tensor.shape[0]),
        schema.DimensionMetadataT(schema.DimensionType.SPARSE_CSR, 0, of, segments, of, indices),
        schema.DimensionMetadataT(schema.DimensionType.DENSE, sparse.width),
    ]
    return schema.SparsityParametersT([0, 1, 2], [1], axes)
