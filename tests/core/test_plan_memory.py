"""The memory that plans run in: what lives at one time has places of its own, what does not may share one. The results
are those of the reference, which has an array for each buffer."""

import numpy as np
import pytest
from graphs import Graph, layers, random_graph, weights
from samples import same_bytes

ALIGNMENT = 64
#: What the workspace may take next to the most that lives at one time.
SLACK = 1.15


def rounded(nbytes):
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


#: Steps that need nothing beside their buffers, and whose fields are of one dtype of codes.
WITHOUT_SCRATCH = ("lookup", "softmax")


def scratch(graph):
    """The most that a step needs beside its buffers: what its plan takes, if it has no other step, and no codes that it
    has to copy."""
    most = 0
    buffers = [("uint8", b[1], b[2], 0, *b[4:]) if b[0] == "int8" else b for b in graph.buffers]
    for kind, fields in graph.steps:
        if kind not in WITHOUT_SCRATCH:
            inputs = tuple({i: None for n in fields["inputs"] for i in graph.with_rows(n)})
            plan = Graph(buffers, [(kind, fields)], inputs, (fields["output"],)).plan()
            most = max(most, plan.workspace_nbytes)
    return most


def check(graph, plan, arrays):
    """The plan gives what the reference gives, and leaves what it was given as it was."""
    given, values = [a.copy() for a in arrays], graph.evaluate(*arrays)
    got = plan.run_steps(0, len(graph.steps), graph.inputs, tuple(arrays), graph.outputs)
    for i, result in zip(graph.outputs, got, strict=True):
        same_bytes(result, values[i])
    for array, before in zip(arrays, given, strict=True):
        same_bytes(array, before)


# ---- places -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype, external", [("uint8", 2), ("int8", 0)])
def test_a_chain_of_equal_layers_takes_two_buffers(rng, dtype, external):
    """The caller's own memory serves both ends, unless they are signed codes, of which the plan has a copy."""
    for count in (3, 10):
        graph = layers(rng, count, 100, dtype)
        plan = graph.plan()
        inside = min(count + 1 - external, 2)
        assert plan.workspace_nbytes == inside * rounded(100 * plan.rows) + scratch(graph)


def test_a_buffer_that_is_read_late_keeps_its_place(isa, rng):
    """Of the four buffers inside, the first one lives throughout and the others in turn."""
    graph = Graph(inputs=(0,), outputs=(5, 6))
    for dtype in ("float32", "uint8", "uint8", "uint8", "uint8", "float32", "float32"):
        graph.add_buffer(dtype, (64,), 0.02, 7)
    graph.add_step("quantize", (0,), 1)
    for i in (1, 2, 3):
        graph.add_step("gemm", (i,), i + 1, **weights(rng, 64, 64), bias=None, requant="float")
    graph.add_step("dequantize", (4,), 5)
    graph.add_step("dequantize", (1,), 6)
    plan = graph.plan()
    assert plan.workspace_nbytes == 3 * rounded(64 * plan.rows) + scratch(graph)
    check(graph, plan, graph.samples(rng, 200))


def most_alive(graph, rows):
    """The most bytes that buffers in no caller's memory take at one step, each with a place of its own."""
    ends = {i for i in (*graph.inputs, *graph.outputs) if graph.buffers[i][0] != "int8"}
    begin = dict.fromkeys(graph.inputs, 0) | {
        i: t for t, (_, fields) in enumerate(graph.steps, 1) for i in graph.with_rows(fields["output"])
    }
    end = begin | {
        i: t for t, (_, fields) in enumerate(graph.steps, 1) for n in fields["inputs"] for i in graph.with_rows(n)
    }

    def nbytes(i):
        return rounded(rows * np.dtype(graph.buffers[i][0]).itemsize * int(np.prod(graph.buffers[i][1])))

    steps = range(len(graph.steps) + 1)
    return max(sum(nbytes(i) for i in begin if i not in ends and begin[i] <= t <= end[i]) for t in steps)


@pytest.mark.parametrize("seed", range(40))
def test_random_graphs_take_little_more_than_what_lives_at_one_time(isa, seed):
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, 40)
    plan = graph.plan()
    assert plan.workspace_nbytes <= SLACK * most_alive(graph, plan.rows) + scratch(graph)
    check(graph, plan, graph.samples(rng, plan.rows + 1))


# ---- places that are shared -------------------------------------------------------------------------


def chain(dtype, shape, kinds, outputs=(-1,)):
    """Steps of these kinds, (name, fields of inputs), one after the other, unless they name what they read."""
    graph = Graph(inputs=(0,))
    graph.add_buffer(dtype, shape, 0.02, 7)
    for kind, *inputs in kinds:
        if kind in ("quantize", "dequantize"):
            dtype = {"quantize": "uint8", "dequantize": "float32"}[kind]
        y = graph.add_buffer(dtype, shape, 0.02, 7)
        one = np.ones(shape[-1], np.float32)
        fields = {
            "reshape": {"shape": shape},
            "normalize": {"mean": one, "scale": one * 2},
            "add": {"activation": None, "requant": "float"},
            "activate": {"function": "sigmoid", "slope": 1.0},
            "lookup": {"table": np.arange(256, dtype=np.uint8)[::-1].astype(dtype), "function": None, "slope": 1.0},
        }
        graph.add_step(kind, tuple(inputs) or (y - 1,), y, **fields.get(kind, {}))
    graph.outputs = tuple(i % len(graph.buffers) for i in outputs)
    return graph


ELEMENTS = 96 * 40
SHARED = {
    # steps, outputs: bytes of the workspace for an element
    "nothing inside": (("float32", ["reshape"]), (-1,), 0),
    "floats in the place of the output": (("float32", ["normalize", "activate", "reshape"]), (-1,), 0),
    "a reshaped input": (("float32", ["reshape", "quantize", "dequantize"]), (-1,), 1),
    "a reshaped output": (("float32", ["quantize", "dequantize", "reshape"]), (-1,), 1),
    "codes in the place of their copy": (("int8", ["lookup", "reshape", "lookup"]), (-1,), 1),
    "codes in the place of the output": (("uint8", ["lookup", "reshape", "lookup"]), (-1,), 0),
    "an output that is read": (("uint8", ["lookup", "lookup"]), (1, 2), 0),
    "a signed output that is read": (("int8", ["lookup", "lookup"]), (1, 2), 1),
    "an output, and the same reshaped": (("float32", ["normalize", "reshape"]), (1, 2), 0),
    "a value that is read later": (("uint8", ["lookup", "lookup", ("lookup", 1)]), (2, 3), 0),
    "a value that is read later, inside": (
        ("uint8", ["lookup", "lookup", "dequantize", ("dequantize", 1)]),
        (3, 4),
        2,
    ),
    "a reshaped value that is read later": (
        ("uint8", ["lookup", "reshape", ("lookup", 1), "dequantize", ("dequantize", 2)]),
        (4, 5),
        2,
    ),
    "a sum over its first": (("uint8", ["dequantize", ("dequantize", 0), ("add", 1, 2), "quantize"]), (-1,), 8),
    "a sum over its second": (
        ("uint8", ["dequantize", ("dequantize", 0), ("add", 1, 2), ("add", 1, 3), "quantize"]),
        (-1,),
        8,
    ),
    "a sum of codes": (("uint8", ["lookup", ("lookup", 0), ("add", 1, 2), "dequantize"]), (-1,), 2),
    "a sum with itself": (("uint8", ["dequantize", ("add", 1, 1), ("add", 2, 2), "quantize"]), (-1,), 4),
}


@pytest.mark.parametrize("name", SHARED)
def test_shared_places(isa, rng, name):
    (dtype, kinds), outputs, element_bytes = SHARED[name]
    graph = chain(dtype, (2, 5, 4), [(k,) if isinstance(k, str) else k for k in kinds], outputs)
    plan = graph.plan()
    assert plan.rows == 96
    assert plan.workspace_nbytes == element_bytes * ELEMENTS
    for count in (1, 96, 200):
        check(graph, plan, graph.samples(rng, count))


def test_an_input_is_checked_through_a_reshaping(isa):
    """It is a step on the reshaped input that finds out."""
    graph = chain("float32", (6,), [("reshape",), ("quantize",), ("dequantize",)])
    plan, x = graph.plan(), np.zeros((300, 6), np.float32)
    plan.run(x)
    x[299, 5] = np.nan
    with pytest.raises(ValueError, match=r"^x: expected finite"):
        plan.run(x)


# ---- samples at once --------------------------------------------------------------------------------


@pytest.mark.parametrize("shape, most", [((8,), 96), ((4096,), 12), ((112, 112, 32), 1)], ids=str)
def test_samples_at_once(shape, most):
    """As many as keep the float32 and the codes that live together in 256 KiB, at least one and at most 96; a few less
    where that is a multiple of what kernels take together."""
    graph = chain("float32", shape, [("quantize",), ("dequantize",), ("quantize",), ("dequantize",)])
    plan = graph.plan()
    assert max(1, 3 * most // 4) <= plan.rows <= most
    assert plan.workspace_nbytes == rounded(4 * plan.rows * int(np.prod(shape))) + rounded(
        plan.rows * int(np.prod(shape))
    )


def test_places_in_the_callers_memory_count_where_several_steps_pass_through_them():
    """Steps that write over their inputs in the output's memory still find them in the cache."""
    for kinds, rows in ((["normalize"] * 3, 16), (["normalize"], 96)):
        plan = chain("float32", (4096,), [(k,) for k in kinds]).plan()
        assert plan.workspace_nbytes == 0
        assert 3 * rows // 4 <= plan.rows <= rows


def test_large_weights_are_read_for_many_samples(rng):
    graph = layers(rng, 3, 4096)
    assert graph.plan().rows == 96
