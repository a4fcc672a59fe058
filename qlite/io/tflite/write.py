"""From a graph to the bytes of a TensorFlow Lite file."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from qlite.io.tflite.graph import CUSTOM, Graph, Operator, Tensor
from qlite.io.tflite.read import IDENTIFIER
from qlite.io.tflite.schema import OPTIONS, VECTORS, camel, numbers_of, package

#: The number behind which operators have their own number in a field that older readers do not know.
PLACEHOLDER = 127
#: Data of tensors begins at multiples of as many bytes.
ALIGNMENT = 16
SIGNATURE = "serving_default"


def write(graph: Graph) -> bytes:
    """Return the file of a graph, with one signature. Constants of equal bytes are stored once.

    Raises
    ------
    ModuleNotFoundError
        The packages of the extra `tflite` are not installed.
    """
    return _Writer(graph).content()


class _Writer:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.builder = package("flatbuffers").Builder(1 << 16)
        self.types = numbers_of("TensorType")
        self.builtin = numbers_of("BuiltinOperator")
        self.unions = numbers_of("BuiltinOptions")

    def content(self) -> bytes:
        buffers = self._buffers()
        codes = {key: i for i, key in enumerate(dict.fromkeys((op.name, op.version) for op in self.graph.operators))}
        subgraph = self._table(
            "SubGraph",
            tensors=self._tables(
                self._tensor(tensor, number) for tensor, number in zip(self.graph.tensors, self._number_of, strict=True)
            ),
            inputs=self._ints(self.graph.inputs),
            outputs=self._ints(self.graph.outputs),
            operators=self._tables(self._operator(op, codes[op.name, op.version]) for op in self.graph.operators),
            name=self.builder.CreateString("main"),
        )
        model = self._table(
            "Model",
            version=3,
            operator_codes=self._tables(self._code(name, version) for name, version in codes),
            subgraphs=self._tables([subgraph]),
            description=self.builder.CreateString(self.graph.description),
            buffers=buffers,
            signature_defs=self._tables([self._signature()]),
        )
        self.builder.Finish(model, IDENTIFIER)
        return bytes(self.builder.Output())

    # ---- parts of the file

    def _buffers(self) -> int:
        """Write all data; buffer 0 is the empty one of tensors that are computed."""
        number_of: dict[bytes, int] = {b"": 0}
        self._number_of = []
        for tensor in self.graph.tensors:
            data = b"" if tensor.data is None else _bytes(tensor)
            self._number_of.append(number_of.setdefault(data, len(number_of)))
        return self._tables(
            self._table("Buffer", data=self._bytes(data)) if data else self._table("Buffer") for data in number_of
        )

    def _bytes(self, data: bytes) -> int:
        builder = self.builder
        builder.StartVector(1, len(data), ALIGNMENT)
        builder.head -= len(data)
        builder.Bytes[builder.head : builder.head + len(data)] = data
        return builder.EndVector()

    def _tensor(self, tensor: Tensor, buffer: int) -> int:
        fields: dict[str, Any] = {}
        if tensor.scale is not None and tensor.zero_point is not None:
            fields["quantization"] = self._table(
                "QuantizationParameters",
                scale=self.builder.CreateNumpyVector(tensor.scale.astype(np.float32)),
                zero_point=self.builder.CreateNumpyVector(tensor.zero_point.astype(np.int64)),
                quantized_dimension=tensor.axis,
            )
        shape = tuple(abs(n) for n in tensor.shape)
        if shape != tensor.shape:
            fields["shape_signature"] = self._ints(tensor.shape)
        return self._table(
            "Tensor",
            shape=self._ints(shape),
            type=self.types[tensor.type],
            buffer=buffer,
            name=self.builder.CreateString(tensor.name),
            has_rank=True,
            **fields,
        )

    def _operator(self, operator: Operator, code: int) -> int:
        fields: dict[str, Any] = {}
        table, names = OPTIONS.get(operator.name, (None, ""))
        if operator.name.startswith(CUSTOM):
            fields["custom_options"] = self._bytes(operator.options["custom"])
        elif table is not None:
            given = {name: operator.options[name] for name in names.split()}
            given = {name: self._ints(value) if name in VECTORS else value for name, value in given.items()}
            fields |= {"builtin_options": self._table(table, **given), "builtin_options_type": self.unions[table]}
        return self._table(
            "Operator",
            opcode_index=code,
            inputs=self._ints(operator.inputs),
            outputs=self._ints(operator.outputs),
            **fields,
        )

    def _code(self, name: str, version: int) -> int:
        is_custom = name.startswith(CUSTOM)
        number = self.builtin["CUSTOM" if is_custom else name]
        fields: dict[str, Any] = {"deprecated_builtin_code": min(number, PLACEHOLDER), "builtin_code": number}
        if is_custom:
            fields["custom_code"] = self.builder.CreateString(name.removeprefix(CUSTOM))
        return self._table("OperatorCode", version=version, **fields)

    def _signature(self) -> int:
        def maps(names: Sequence[str], numbers: Sequence[int]) -> int:
            return self._tables(
                self._table("TensorMap", name=self.builder.CreateString(name), tensor_index=number)
                for name, number in zip(names, numbers, strict=True)
            )

        return self._table(
            "SignatureDef",
            inputs=maps(self.graph.input_names, self.graph.inputs),
            outputs=maps(self.graph.output_names, self.graph.outputs),
            signature_key=self.builder.CreateString(SIGNATURE),
            subgraph_index=0,
        )

    # ---- tables and vectors

    def _table(self, kind: str, **fields: Any) -> int:
        """Write a table whose strings, vectors and tables are written already."""
        module = package(f"tflite.{kind}")
        getattr(module, f"{kind}Start")(self.builder)
        for name, value in fields.items():
            getattr(module, f"{kind}Add{camel(name)}")(self.builder, value)
        return getattr(module, f"{kind}End")(self.builder)

    def _tables(self, offsets: Any) -> int:
        found = list(offsets)
        self.builder.StartVector(4, len(found), 4)
        for offset in reversed(found):
            self.builder.PrependUOffsetTRelative(offset)
        return self.builder.EndVector()

    def _ints(self, numbers: Sequence[int]) -> int:
        return self.builder.CreateNumpyVector(np.array(numbers, np.int32))


def _bytes(tensor: Tensor) -> bytes:
    """The data of a tensor as files have it: 4-bit codes in pairs, the first one low."""
    assert tensor.data is not None
    data = np.ascontiguousarray(tensor.data)
    if tensor.type != "INT4":
        return data.tobytes()
    codes = np.zeros(math.ceil(data.size / 2) * 2, np.uint8)
    codes[: data.size] = data.view(np.uint8).ravel() & 15
    return (codes[::2] | codes[1::2] << 4).tobytes()
