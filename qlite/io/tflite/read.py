"""From the bytes of a TensorFlow Lite file to a graph, which any file may damage or forge.

Arrays are views of the bytes. What is copied or becomes an object is counted, as often as tables share it, and ends at
the size of the file: so time and memory are bounded by it, whatever points where.
"""

import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from qlite.io.tflite.graph import CUSTOM, DTYPES, Graph, Operator, Tensor
from qlite.io.tflite.schema import OPTIONS, VECTORS, camel, names_of, package
from qlite.io.tflite.sparse import densified

IDENTIFIER = b"TFL3"
#: Tables of a kind in a file at most: real networks have a few thousand.
MOST = 1 << 14
#: The most axes of a tensor.
MOST_AXES = 8
#: Bytes that the least table takes in a file.
LEAST_TABLE = 12
#: Bytes that constants may take beyond those in the file: of 4-bit codes, and of sparse arrays for each byte of a file.
ROOM, ROOM_PER_BYTE = 1 << 23, 4
#: Where the table of a buffer says where its bytes are.
DATA_FIELD = 4
#: What flatbuffers raises where offsets point nowhere.
_BROKEN = (struct.error, ValueError, IndexError, KeyError, TypeError, OverflowError, AttributeError)


def read(content: bytes) -> Graph:
    """Return the graph of a file.

    Raises
    ------
    ValueError
        No TensorFlow Lite file, one that is damaged, or one of several subgraphs.
    ModuleNotFoundError
        The packages of the extra `tflite` are not installed.
    """
    if len(content) < 8 or content[4:8] != IDENTIFIER:
        raise ValueError(f"expected a TensorFlow Lite file, {IDENTIFIER!r} at byte 4, got {bytes(content[:8])!r}")
    root = package("tflite.Model").Model
    try:
        return _File(content, root.GetRootAs(content, 0)).graph()
    except _Refused as error:
        raise ValueError(str(error)) from None
    except (struct.error, ValueError) as error:  # in whose words the buffer is too short
        where = f"it refers beyond its {len(content):,} bytes"
        raise ValueError(f"expected a TensorFlow Lite file, got a damaged or truncated one: {where}") from error
    except _BROKEN as error:
        raise ValueError(f"expected a TensorFlow Lite file, got a damaged one ({error})") from None


class _Refused(Exception):
    """What is wrong with a file, in our words."""


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise _Refused(message)


class _File:
    """The tables of a file while they are read."""

    def __init__(self, content: bytes, model: Any) -> None:
        self.content, self.model = content, model
        self.types = names_of("TensorType")
        self.operators = names_of("BuiltinOperator")
        self.kinds_of_options = names_of("BuiltinOptions")
        self._rest = len(content)
        self._room = ROOM + ROOM_PER_BYTE * len(content)

    def graph(self) -> Graph:
        model = self.model
        _expect(model.Version() == 3, f"version: expected 3, got {model.Version()}")
        count = model.SubgraphsLength()
        _expect(count == 1, f"subgraphs: expected 1, got {count}")
        subgraph = model.Subgraphs(0)
        codes = [self._code(code) for code in self._all(model, "OperatorCodes")]
        tensors = [self._tensor(i, tensor) for i, tensor in enumerate(self._all(subgraph, "Tensors"))]
        operators = [
            self._operator(i, operator, codes, len(tensors))
            for i, operator in enumerate(self._all(subgraph, "Operators"))
        ]
        inputs = self._numbers("inputs", subgraph.InputsAsNumpy(), len(tensors))
        outputs = self._numbers("outputs", subgraph.OutputsAsNumpy(), len(tensors))
        _expect(len(outputs) > 0, "outputs: expected at least one, got none")
        names = [tensor.name for tensor in tensors]
        input_names, output_names = self._signature(inputs, outputs, names)
        description = self._text(model.Description())
        return Graph(tensors, operators, inputs, outputs, input_names, output_names, description)

    def _all(self, table: Any, field: str) -> Iterator[Any]:
        """The tables of a vector."""
        count = getattr(table, f"{field}Length")()
        _expect(count <= MOST, f"{field.lower()}: expected at most {MOST}, got {count}")
        self._spend(count * LEAST_TABLE)
        get = getattr(table, field)
        return (get(i) for i in range(count))

    def _spend(self, count: int) -> None:
        """Count bytes of the file."""
        self._rest -= count
        _expect(self._rest >= 0, f"expected tables that share no more than the {len(self.content)} bytes of the file")

    def _take_room(self, where: str, count: int) -> None:
        """Count bytes of constants that are not in the file."""
        self._room -= count
        _expect(
            self._room >= 0, f"{where}: shape: expected constants that the file's size makes likely, got {count} bytes"
        )

    def _text(self, value: bytes | None) -> str:
        self._spend(len(value or b""))
        return (value or b"").decode("utf-8", "replace")

    def _numbers(self, what: str, vector: Any, count: int, *, may_lack: bool = False) -> tuple[int, ...]:
        """A vector of numbers of tensors."""
        if not isinstance(vector, np.ndarray):
            return ()
        self._spend(vector.nbytes)
        found = tuple(vector.tolist())
        lowest = -1 if may_lack else 0
        _expect(all(lowest <= i < count for i in found), f"{what}: expected tensors 0 to {count - 1}, got {found[:8]}")
        return found

    # ---- operators

    def _code(self, code: Any) -> tuple[str, int]:
        """An operator's name and version. Older files have its number in a byte alone."""
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        name = self.operators.get(number)
        _expect(name is not None, f"operator codes: expected one of the schema, got {number}")
        assert name is not None
        return (CUSTOM + self._text(code.CustomCode()) if name == "CUSTOM" else name), code.Version()

    def _operator(self, i: int, table: Any, codes: Sequence[tuple[str, int]], tensors: int) -> Operator:
        number = table.OpcodeIndex()
        _expect(0 <= number < len(codes), f"operators[{i}]: expected operator code 0 to {len(codes) - 1}, got {number}")
        name, version = codes[number]
        where = f"operators[{i}], {name}"
        inputs = self._numbers(f"{where}: inputs", table.InputsAsNumpy(), tensors, may_lack=True)
        outputs = self._numbers(f"{where}: outputs", table.OutputsAsNumpy(), tensors)
        _expect(len(outputs) > 0, f"{where}: outputs: expected at least one, got none")
        if name.startswith(CUSTOM):
            raw = table.CustomOptionsAsNumpy()
            options: dict[str, Any] = {"custom": raw.tobytes() if isinstance(raw, np.ndarray) else b""}
        else:
            options = self._options(where, name, table)
        return Operator(name, inputs, outputs, options, version)

    def _options(self, where: str, name: str, operator: Any) -> dict[str, Any]:
        kind, fields = OPTIONS.get(name, (None, ""))
        if kind is None or not fields:
            return {}
        table = getattr(package(f"tflite.{kind}"), kind)()
        union = operator.BuiltinOptions()
        if union is None:  # all of them are the schema's defaults: a table without fields
            return {field: () if field in VECTORS else 0 for field in fields.split()}
        given = self.kinds_of_options.get(operator.BuiltinOptionsType())
        _expect(given == kind, f"{where}: options: expected {kind}, got {given}")
        table.Init(union.Bytes, union.Pos)
        return {field: self._option(table, field) for field in fields.split()}

    def _option(self, table: Any, field: str) -> Any:
        if field not in VECTORS:
            return getattr(table, camel(field))()
        vector = getattr(table, f"{camel(field)}AsNumpy")()
        return tuple(int(n) for n in vector[:MOST_AXES]) if isinstance(vector, np.ndarray) else ()

    # ---- tensors

    def _tensor(self, i: int, table: Any) -> Tensor:
        name = self._text(table.Name())
        where = f"tensors[{i}], {name!r:.80}"
        kind = self.types.get(table.Type())
        _expect(kind is not None, f"{where}: type: expected one of the schema, got {table.Type()}")
        assert kind is not None
        shape = self._shape(where, table.ShapeAsNumpy())
        signature = self._shape(where, table.ShapeSignatureAsNumpy())
        tensor = Tensor(name, shape, kind)
        self._take_grid(where, table.Quantization(), tensor)
        data = self._data(where, table.Buffer())
        if data is not None:
            tensor.data = self._array(where, data, tensor, table.Sparsity())
        elif len(signature) == len(shape) and shape and signature[0] == -1:
            tensor.shape = (-1, *shape[1:])
        return tensor

    def _shape(self, where: str, vector: Any) -> tuple[int, ...]:
        if not isinstance(vector, np.ndarray):
            return ()
        _expect(len(vector) <= MOST_AXES, f"{where}: shape: expected at most {MOST_AXES} axes, got {len(vector)}")
        shape = tuple(int(n) for n in vector)
        _expect(all(n >= -1 for n in shape), f"{where}: shape: expected lengths of at least 0, got {shape}")
        return shape

    def _take_grid(self, where: str, table: Any, tensor: Tensor) -> None:
        """Scales and zero points, if there are any."""
        scale = None if table is None else table.ScaleAsNumpy()
        if not isinstance(scale, np.ndarray) or not len(scale):
            return
        zero_point = table.ZeroPointAsNumpy()
        zero_point = zero_point if isinstance(zero_point, np.ndarray) else np.zeros(len(scale), np.int64)
        axis = table.QuantizedDimension()
        lengths = {len(scale), len(zero_point)}
        expected = {1} if len(scale) == 1 else {tensor.shape[axis]} if 0 <= axis < len(tensor.shape) else set()
        _expect(
            lengths == expected,
            f"{where}: quantization: expected one scale and zero point, or {tensor.shape} along axis {axis}, "
            f"got {len(scale)} and {len(zero_point)}",
        )
        valid = np.isfinite(scale) & (scale > 0)
        _expect(bool(valid.all()), f"{where}: scale: expected positive numbers, got {scale[~valid][:1]}")
        tensor.scale, tensor.zero_point, tensor.axis = scale, zero_point, axis

    def _data(self, where: str, number: int) -> np.ndarray | None:
        """The bytes of a buffer, of which the first is none; of large files they lie behind the tables."""
        if number == 0:
            return None
        count = self.model.BuffersLength()
        _expect(number < count, f"{where}: buffer: expected 0 to {count - 1}, got {number}")
        buffer = self.model.Buffers(number)
        if size := buffer.DataLength():
            first = buffer._tab.Vector(buffer._tab.Offset(DATA_FIELD))
        else:
            first, size = buffer.Offset(), buffer.Size()
        if first <= 1:
            return None
        end, found = first + size, len(self.content)
        _expect(
            end <= found, f"{where}: expected a file of at least {end:,} bytes, got one of {found:,}: it was cut off"
        )
        return np.frombuffer(self.content, np.uint8, size, first)

    def _array(self, where: str, data: np.ndarray, tensor: Tensor, sparsity: Any) -> np.ndarray | None:
        if tensor.type == "STRING":
            return None
        _expect(tensor.type in DTYPES, f"{where}: type: expected one of {', '.join(DTYPES)}, got {tensor.type}")
        dtype, shape = DTYPES[tensor.type], tensor.shape
        _expect(min(shape, default=0) >= 0, f"{where}: shape: expected lengths of at least 0, got {shape}")
        count = math.prod(shape)
        if sparsity is not None:
            _expect(tensor.type != "INT4", f"{where}: type: expected whole bytes for a sparse array, got INT4")
            self._take_room(where, count * dtype.itemsize)
            return densified(where, data.view(dtype), shape, sparsity, _expect)
        size = (count + 1) // 2 if tensor.type == "INT4" else count * dtype.itemsize
        _expect(len(data) == size, f"{where}: buffer: expected {size} bytes for {shape}, got {len(data)}")
        if tensor.type == "INT4":
            self._take_room(where, count)
            return _nibbles(data, count).reshape(shape)
        return data.view(dtype).reshape(shape)

    # ---- names

    def _signature(
        self, inputs: Sequence[int], outputs: Sequence[int], names: Sequence[str]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of inputs and outputs: those of the signature where it names all of them, else those of the tensors."""
        found = []
        signatures = list(self._all(self.model, "SignatureDefs"))
        for field, numbers in (("Inputs", inputs), ("Outputs", outputs)):
            given = {}
            if signatures:
                given = {entry.TensorIndex(): self._text(entry.Name()) for entry in self._all(signatures[0], field)}
            is_whole = set(given) == set(numbers) and len(set(given.values())) == len(numbers)
            found.append(tuple((given if is_whole else names)[i] for i in numbers))
        return found[0], found[1]


def _nibbles(data: np.ndarray, count: int) -> np.ndarray:
    """Signed 4-bit codes, the low ones first, as int8."""
    codes = np.empty((len(data), 2), np.int8)
    codes[:, 0] = data.view(np.int8) << 4
    codes[:, 1] = data.view(np.int8)
    return (codes >> 4).ravel()[:count]
