"""TensorFlow Lite files that are damaged or forged: a ValueError soon, and without memory."""

import time
import tracemalloc

import litert
import numpy as np
import pytest
from litert_file import Operator, Sparse, Tensor
from litert_file import model as file_of

import qlite as ql
from qlite.io.tflite.graph import Graph
from qlite.io.tflite.graph import Operator as Node
from qlite.io.tflite.graph import Tensor as Value
from qlite.io.tflite.read import IDENTIFIER, read
from qlite.io.tflite.write import write

#: Seconds and bytes that a file may take, beyond twice its size.
PATIENCE, ALLOWANCE = 1.0, 16 << 20


def network():
    """A file of a convolution, a sum and a product."""
    rng = np.random.default_rng(0)
    x = ql.Input((5, 5, 2))
    y = ql.Conv2D(rng.normal(size=(3, 3, 2, 3)), padding="same", activation="relu")(x)
    return ql.Model(x, ql.Dense(rng.normal(size=(3, 2)))(ql.GlobalAveragePool()(ql.Add()(y, y))))


@pytest.fixture
def content(tmp_path):
    network().to_tflite(tmp_path / "whole.tflite")
    return (tmp_path / "whole.tflite").read_bytes()


def load(tmp_path, content):
    path = tmp_path / "forged.tflite"
    path.write_bytes(content)
    return ql.from_tflite(path)


def refused(tmp_path, content, message):
    """Whether a file is refused with this message, within time and memory."""
    load_once(tmp_path)
    tracemalloc.start()
    start = time.perf_counter()
    try:
        with pytest.raises(ValueError, match=message):
            load(tmp_path, content)
        seconds, (_, peak) = time.perf_counter() - start, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= 2 * len(content) + ALLOWANCE
    return seconds


def load_once(tmp_path):
    """What the first file imports is none of a later one's memory."""
    network().to_tflite(tmp_path / "whole.tflite")
    ql.from_tflite(tmp_path / "whole.tflite")


def graph(tensors, operators, inputs=(0,), outputs=None):
    outputs = operators[-1].outputs if outputs is None else outputs
    names = [f"x{i}" for i in inputs], [f"y{i}" for i in outputs]
    return write(Graph(tensors, operators, tuple(inputs), tuple(outputs), *map(tuple, names)))


def value(name, *shape, **fields):
    return Value(name, shape or (1, 4), **fields)


def unary(x, y, name="RELU"):
    return Node(name, (x,), (y,))


# ---- damage


def test_a_file_that_ends_early_is_refused_or_read(content, tmp_path):
    """At every byte, as what lies behind the end is not always read."""
    load_once(tmp_path)
    refusals = 0
    for end in range(len(content)):
        try:
            read(content[:end])
        except ValueError:
            refusals += 1
    assert refusals > len(content) * 3 // 4


def test_half_a_file_is_said_to_be_truncated(content, tmp_path):
    half = len(content) // 2
    with pytest.raises(
        ValueError, match=rf"forged.tflite: .* a damaged or truncated one: .* beyond its {half:,} bytes"
    ):
        load(tmp_path, content[:half])


def test_constants_that_end_early_are_named_with_both_sizes(content, tmp_path):
    cut = len(content) - 40
    expected = rf"forged.tflite: tensors\[\d+\], '.*': expected a file of at least [\d,]+ bytes, got one of {cut:,}: "
    with pytest.raises(ValueError, match=expected):
        load(tmp_path, content[:cut])


@pytest.mark.parametrize("number", [0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x00FFFFFF])
def test_a_word_of_another_number_is_refused_or_read(content, number, tmp_path):
    """Offsets, lengths, numbers and shapes, one after the other."""
    words = np.frombuffer(content[: len(content) // 4 * 4], "<u4")
    refusals = 0
    for i in range(len(words)):
        forged = words.copy()
        forged[i] = number
        try:
            load(tmp_path, forged.tobytes())
        except ValueError as error:
            assert "forged.tflite" in str(error)
            refusals += 1
    assert refusals > len(words) // 4


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "byte 4"), (b"\0" * 7, "byte 4"), (b"\0\0\0\0TFL4" * 9, "byte 4"), (b"\xff" * 4 + IDENTIFIER, "damaged")],
)
def test_what_is_no_such_file_is_refused(content, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load(tmp_path, content)


# ---- graphs that make no sense


def cases():
    x, y, z = value("x"), value("y"), value("z")
    four = np.ones(4, np.float32)
    huge = (1, 1 << 30, 1 << 30)
    yield "operators in a circle", graph([x, y, z], [unary(2, 1), unary(1, 2)]), "computed before"
    yield "an operator on its own result", graph([x, y], [unary(1, 1)]), "computed before"
    yield (
        "an operator before what it reads",
        graph([x, y, z], [unary(1, 2), unary(0, 1)], outputs=[2]),
        "computed before",
    )
    yield "a tensor twice", graph([x, y], [unary(0, 1), unary(0, 1)]), "nothing else gives"
    yield "an input that is computed", graph([x, y], [unary(0, 1), unary(1, 0)]), "nothing else gives"
    yield "the input as output", graph([x, y], [unary(0, 1)], outputs=[0]), "output 'y0'"
    yield "an output of nothing", graph([x, y, z], [unary(0, 1)], outputs=[1, 2]), "output 'y2'"
    constant = value("y", data=np.ones((1, 4), np.float32))
    yield "no input that is read", graph([x, constant, z], [unary(1, 2)]), "computed from an input"
    yield "an output twice", graph([x, y], [unary(0, 1)], outputs=[1, 1]), "each once"
    yield "no samples", graph([value("x", 4), value("y", 4)], [unary(0, 1)]), "samples, ..."
    yield (
        "samples that are mixed",
        graph([value("x", 3, 4), value("y", 1, 12)], [Node("RESHAPE", (0,), (1,), {"new_shape": (1, 12)})]),
        "3 samples along the first axis",
    )
    pair = [value("x", 3, 4), value("y", 2, 4), value("z", 3, 4)]
    added = Node("ADD", (0, 1), (2,), {"fused_activation_function": 0})
    yield "inputs of other numbers of samples", graph(pair, [added], inputs=[0, 1]), "expected 3 samples"
    yield "no values", graph([value("x", 1, 0), value("y", 1, 0)], [unary(0, 1)]), "samples, ..."
    yield "more values than memory", graph([value("x", *huge), value("y", *huge)], [unary(0, 1)]), "bytes of memory"
    yield "no such tensor", graph([x, y], [unary(0, 9)], outputs=[1]), "expected tensors 0 to 1"
    yield "a left out input", graph([x, y], [unary(-1, 1)]), "expected at least 1 inputs"
    slope = Value("slope", (1, 1), data=four[:1].reshape(1, 1))
    wide = [value("x", 1, 1 << 28), value("y", 1, 1 << 28), slope]
    yield "a slope of very many", graph(wide, [Node("PRELU", (0, 2), (1,))]), "channels"
    one = np.array([1], np.int32)
    for number in (7, 2, -3):
        axes = Value("axes", (1,), "INT32", one * number)
        mean = Node("MEAN", (0, 2), (1,), {"keep_dims": True})
        yield f"no axis {number}", graph([x, y, axes], [mean]), "expected an axis"
    infinite = Value("inf", (4,), data=four * np.inf)
    options = {"fused_activation_function": 0}
    yield "infinity", graph([x, y, infinite], [Node("ADD", (0, 2), (1,), options)]), "finite"
    yield (
        "no activation",
        graph([x, y, z], [Node("ADD", (0, 0), (1,), {"fused_activation_function": 77})]),
        "activation",
    )


CASES = {name: (content, message) for name, content, message in cases()}


@pytest.mark.parametrize("name", CASES)
def test_a_graph_that_makes_no_sense_is_refused(name, tmp_path):
    assert refused(tmp_path, *CASES[name]) < PATIENCE


# ---- files that would take much


def test_many_tensors_of_one_name_take_little_time(tmp_path):
    many = [value("x") for _ in range(1000)]
    path = tmp_path / "many.tflite"
    path.write_bytes(graph(many, [unary(i, i + 1) for i in range(999)]))
    start = time.perf_counter()
    model = ql.from_tflite(path)
    assert len(model.layers) == 999 and time.perf_counter() - start < 10 * PATIENCE


def sparse_file(weights, stored):
    dense, x, y = Tensor(weights, np.float32), Tensor((1, weights[1]), np.float32), Tensor((1, weights[0]), np.float32)
    return file_of([Operator("DENSIFY", [stored], dense), Operator("FULLY_CONNECTED", [x, dense], y)], [x])


def test_a_sparse_array_that_would_be_huge_is_refused(tmp_path):
    stored = Sparse.of(np.eye(4, dtype=np.float32), 1)
    stored.shape = (4, 1 << 28)
    assert (
        refused(tmp_path, sparse_file(stored.shape, stored), "constants that the file's size makes likely") < PATIENCE
    )


@pytest.mark.parametrize("numbers", [[0, 1, 2, 3, 9], [0, 2, 1, 3, 4], [1, 1, 2, 3, 4], [0, -1, 2, 3, 4], [0, 1, 4]])
def test_segments_that_make_no_sense_are_refused(numbers, tmp_path):
    stored = Sparse.of(np.eye(4, dtype=np.float32), 1)
    stored.sparse.segments = np.array(numbers)
    assert refused(tmp_path, sparse_file((4, 4), stored), "sparsity") < PATIENCE


def test_an_index_beyond_the_axis_is_refused(tmp_path):
    stored = Sparse.of(np.eye(4, dtype=np.float32), 1)
    stored.sparse.columns = np.array([0, 1, 2, 4])
    assert refused(tmp_path, sparse_file((4, 4), stored), "below 4") < PATIENCE


def test_the_sparse_file_is_read_where_nothing_is_forged(tmp_path):
    weights = np.kron(np.eye(3, 2, dtype=np.float32), np.arange(1, 5, dtype=np.float32))
    x = np.arange(8, dtype=np.float32)[None]
    content = sparse_file(weights.shape, Sparse.of(weights, 4))
    np.testing.assert_array_equal(load(tmp_path, content)(x), litert.run(content, x))
