"""Plans of the core: random graphs of steps on buffers of every rank, whole and in parts, give what the reference gives
step by step. Buffers whose memory was shared while both were alive would not."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from graphs import Graph, as_tuple, buffer, layers, random_graph, weights
from samples import LAYOUTS, codes, same_bytes

from qlite import _core

pytestmark = pytest.mark.products


@pytest.mark.parametrize("seed", range(40))
def test_random_graphs(isa, seed):
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, int(rng.integers(1, 25)))
    plan = graph.plan()
    for count in (0, 1, 5, plan.rows + 3):
        arrays = graph.samples(rng, count)
        given, values = [a.copy() for a in arrays], graph.evaluate(*arrays)
        for i, got in zip(graph.outputs, as_tuple(plan.run(*arrays)), strict=True):
            same_bytes(got, values[i])
        for array, before in zip(arrays, given, strict=True):
            same_bytes(array, before)
        everything = tuple(range(len(values)))
        for i, got in enumerate(plan.run_steps(0, len(graph.steps), graph.inputs, tuple(arrays), everything)):
            if values[i] is not None:
                same_bytes(got, values[i])


@pytest.mark.parametrize("seed", range(40, 60))
def test_parts_of_random_graphs(isa, seed):
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, 12)
    plan, arrays = graph.plan(), graph.samples(rng, 100)
    values = graph.evaluate(*arrays)
    for _ in range(20):
        first, last = (int(i) for i in sorted(rng.integers(0, 13, 2)))
        written = graph.written(first, last)
        needed = graph.read(first, last) - written
        others = [i for i, v in enumerate(values) if v is not None and i not in needed | written]
        given = tuple(int(i) for i in rng.permutation([*needed, *others[: rng.integers(0, 3)]]))
        if not given:
            continue
        wanted = tuple(int(i) for i in rng.choice([*given, *written], rng.integers(0, 6)))
        got = plan.run_steps(first, last, given, tuple(values[i] for i in given), wanted)
        assert len(got) == len(wanted)
        for i, value in zip(wanted, got, strict=True):
            same_bytes(value, values[i])


@pytest.mark.parametrize("seed", range(20))
def test_timed_runs(isa, seed):
    """The same results, and a time for each step, on one thread: what the whole took and hardly more."""
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, int(rng.integers(1, 20)))
    plan = graph.plan()
    for count in (0, 1, 3 * plan.rows + 1):
        arrays = graph.samples(rng, count)
        start = time.perf_counter()
        results, seconds = plan.timed(*arrays)
        whole = time.perf_counter() - start
        for got, value in zip(as_tuple(results), as_tuple(plan.run(*arrays)), strict=True):
            same_bytes(got, value)
        assert seconds.dtype == np.float64 and seconds.shape == (len(graph.steps),)
        assert np.all(seconds >= 0) and seconds.sum() <= whole
        assert (seconds.sum() > 0) == (count > 0)


def test_times_tell_steps_apart(rng):
    """A product of 1024 x 1024 takes longer than one of 1024 x 4."""
    graph = Graph(inputs=(0,), outputs=(2,))
    for width in (1024, 1024, 4):
        graph.add_buffer("uint8", (width,), 0.02, 7)
    for i, width in ((0, 1024), (1, 4)):
        graph.add_step("gemm", (i,), i + 1, **weights(rng, 1024, width) | {"bias": None, "requant": "float"})
    _, (large, small) = graph.plan().timed(*graph.samples(rng, 500))
    assert large > small > 0


def test_threads_share_parts(isa, rng):
    graph = random_graph(np.random.default_rng(7), 12)
    plan, arrays = graph.plan(), graph.samples(rng, 50)
    values = graph.evaluate(*arrays)
    wanted = [tuple(sorted(graph.written(0, last))) for last in range(1, 13)]

    def run(last):
        return plan.run_steps(0, last, graph.inputs, tuple(arrays), wanted[last - 1])

    with ThreadPoolExecutor(4) as pool:
        for last, got in zip(list(range(1, 13)) * 5, pool.map(run, list(range(1, 13)) * 5), strict=True):
            for i, value in zip(wanted[last - 1], got, strict=True):
                same_bytes(value, values[i])


# ---- arrays that change -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(60, 75))
def test_update(isa, seed):
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, 10)
    plan, arrays = graph.plan(), graph.samples(rng, 20)
    for i, (kind, fields) in enumerate(graph.steps):
        if kind == "normalize":
            changed = fields | {"mean": fields["mean"] + 1, "scale": fields["scale"] * 2}
        elif kind in ("conv_f32", "conv_transpose_f32") and fields["weight"].dtype == np.float32:
            changed = fields | {"weight": fields["weight"][::-1] * np.float32(2)}
        elif kind in ("gemm", "gemm_f32", "conv", "conv_f32", "conv_transpose", "conv_transpose_f32"):
            shape = fields["weight"].shape
            changed = fields | weights(rng, int(np.prod(shape[:-1])), shape[-1]) | {"activation": fields["activation"]}
            changed["weight"] = changed["weight"].reshape(shape)
            changed["bias"] = None if fields["bias"] is None else -fields["bias"]
        elif kind == "requantize":
            changed = fields | {"weight_scale": fields["weight_scale"] * 2, "input_scale": 0.03}
        elif kind == "lookup":
            changed = fields | {"table": fields["table"][::-1].copy()}
        else:
            with pytest.raises(ValueError, match=f"^{kind}: "):
                plan.update([], [(i, fields)])
            continue
        graph.steps[i] = (kind, changed)
        plan.update([], [(i, changed)])
    values = graph.evaluate(*arrays)
    for i, got in zip(graph.outputs, as_tuple(plan.run(*arrays)), strict=True):
        same_bytes(got, values[i])


KEEPING = ("gemm", "gemm_f32", "conv", "conv_transpose", "requantize", "lookup")


@pytest.mark.parametrize("seed", range(75, 90))
def test_update_of_grids(isa, seed):
    """Steps that keep something of a grid take over another one, and none may be left out."""
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, 10)
    plan, arrays = graph.plan(), graph.samples(rng, 20)
    before = as_tuple(plan.run(*arrays))
    grids = []
    for i, (dtype, shape, scale, _, *rows, bits) in enumerate(graph.buffers):
        if scale:
            lowest = -(2 ** (bits - 1)) if dtype == "int8" else 0
            grids.append((i, float(np.float32(scale * 1.5)), int(rng.integers(lowest, lowest + 2**bits))))
            graph.buffers[i] = (dtype, shape, *grids[-1][1:], *rows, bits)
    moved = {i for i, *_ in grids}
    steps = [(i, fields) for i, (kind, fields) in enumerate(graph.steps) if kind in KEEPING]
    for left_out, (_, fields) in enumerate(steps):
        if moved & {*fields["inputs"], fields["output"]}:
            with pytest.raises(ValueError, match=r"^gemm|^conv|^requantize|^lookup"):
                plan.update(grids, steps[:left_out] + steps[left_out + 1 :])
    for got, value in zip(as_tuple(plan.run(*arrays)), before, strict=True):
        same_bytes(got, value)
    plan.update(grids, steps)
    values = graph.evaluate(*arrays)
    for i, got in zip(graph.outputs, as_tuple(plan.run(*arrays)), strict=True):
        same_bytes(got, values[i])


def test_grids_that_an_update_refuses(rng):
    graph = Graph()
    x, q, rows = graph.add_buffer("float32", (3,)), graph.add_buffer("uint8", (3,), 0.1, 3, bits=4), (3, 4)
    graph.add_buffer("uint8", (3,), 0.0, 0, *rows)
    graph.add_buffer("float32", (1,)), graph.add_buffer("int32", (1,))
    graph.add_step("quantize", (x,), q)
    graph.add_step("quantize_dynamic", (x,), 2)
    graph.inputs, graph.outputs = (x,), (q, 2)
    plan = graph.plan()
    no_grids = [(q, 0.1, 16), (q, 0.1, -1), (q, 0.0, 3), (q, np.inf, 3)]
    for grid in [*no_grids, (0, 0.1, 0), (2, 0.1, 3), (9, 0.1, 3), (-1, 0.1, 3)]:
        with pytest.raises(ValueError, match=r"^grids: "):
            plan.update([(q, 0.2, 1), grid], [])
    with pytest.raises(TypeError, match=r"^grids\[0\]: "):
        plan.update([[q, 0.1, 1]], [])
    same_bytes(plan.run(np.float32([[0.1, 0.2, 9]]))[0], np.uint8([[4, 5, 15]]))


def test_an_update_that_fails_changes_nothing(isa, rng):
    graph = layers(rng, 2, 20)
    kind, fields = graph.steps[0]
    plan, arrays = graph.plan(), graph.samples(rng, 5)
    before = plan.run(*arrays)
    too_much = np.full(20, 2**31 - 1, np.int32)
    for error, changes in [
        (ValueError, {"weight": np.zeros((20, 21), np.int8)}),
        (ValueError, {"weight": np.zeros((20, 20), np.float32)}),
        (ValueError, {"weight_scale": np.zeros(20, np.float32)}),
        (ValueError, {"weight_scale": np.full(20, 1e30, np.float32)}),
        (ValueError, {"weight_zero_point": np.full(20, 1000, np.int32)}),
        (ValueError, {"inputs": (1,)}),
        (ValueError, {"output": 2}),
        (ValueError, {"activation": "tanh"}),
        (ValueError, {"requant": "exact"}),
        (OverflowError, {"weight": codes(rng, (20, 20), np.int8), "bias": too_much}),
        (TypeError, {"requant": None}),
    ]:
        with pytest.raises(error, match=f"^({kind}|requant): "):
            plan.update([], [(0, fields | changes)])
        same_bytes(plan.run(*arrays), before)
        if not changes.keys() & {"inputs", "output"}:
            with pytest.raises(error, match=f"^({kind}|requant): "):  # the first step alone could take its values
                plan.update([], [(0, fields | {"bias": None}), (1, graph.steps[1][1] | changes)])
            same_bytes(plan.run(*arrays), before)
    for step in (-1, 2):
        with pytest.raises(ValueError, match=r"^step: expected one of 2, got"):
            plan.update([], [(step, fields)])
    with pytest.raises(ValueError, match=f"^{kind}: "):
        plan.update([], [(0, fields), (0, fields)])
    with pytest.raises(TypeError, match=r"^steps\[0\]: "):
        plan.update([], [fields])


# ---- what is refused --------------------------------------------------------------------------------


F32 = buffer("float32", (3,))
U8 = buffer("uint8", (3,), 0.1, 3)
BROKEN = {
    "no buffers": ([], (0,), (1,)),
    "no input": ([F32, U8], (), (1,)),
    "no output": ([F32, U8], (0,), ()),
    "an input twice": ([F32, U8], (0, 0), (1,)),
    "an output twice": ([F32, U8], (0,), (1, 1)),
    "an input out of range": ([F32, U8], (2,), (1,)),
    "a negative output": ([F32, U8], (0,), (-1,)),
    "a huge number": ([F32, U8], (2**62,), (1,)),
    "rank 5": ([buffer("float32", (1,) * 5), U8], (0,), (1,)),
    "a length of 0": ([buffer("float32", (3, 0)), U8], (0,), (1,)),
    "a negative length": ([buffer("float32", (-3,)), U8], (0,), (1,)),
    "lengths beyond memory": ([buffer("float32", (2**30, 2**30)), U8], (0,), (1,)),
    "a length beyond memory": ([buffer("float32", (2**60,)), U8], (0,), (1,)),
    "a dtype that there is not": ([buffer("float64", (3,)), U8], (0,), (1,)),
    "a scale of 0": ([F32, buffer("uint8", (3,), 0.0, 3)], (0,), (1,)),
    "a scale of NaN": ([F32, buffer("int16", (3,), np.nan, 3)], (0,), (1,)),
    "a subnormal scale": ([F32, buffer("uint8", (3,), 1e-40, 3)], (0,), (1,)),
    "a zero point of 256": ([F32, buffer("uint8", (3,), 0.1, 256)], (0,), (1,)),
    "a zero point of -129": ([F32, buffer("int8", (3,), 0.1, -129)], (0,), (1,)),
    "a zero point of 2**15": ([F32, buffer("int16", (3,), 0.1, 2**15)], (0,), (1,)),
    "floats with row buffers": ([F32, U8, buffer("float32", (3,), 0.0, 0, 0, 1)], (0,), (1,)),
    "one row buffer": ([buffer("float32", (1,)), buffer("uint8", (3,), 0.0, 0, 0, -1)], (0,), (1,)),
    "row buffers of another dtype": ([F32, buffer("uint8", (3,), 0.0, 0, 0, 0)], (0,), (1,)),
    "row buffers of another shape": (
        [buffer("float32", (2, 1)), buffer("int32", (3, 1)), buffer("uint8", (2, 3), 0.0, 0, 0, 1)],
        (0,),
        (1,),
    ),
    "row buffers of no row": (
        [buffer("float32", (1,)), buffer("int32", (1,)), buffer("uint8", (), 0.0, 0, 0, 1)],
        (0,),
        (1,),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_plans(name):
    with pytest.raises((ValueError, OverflowError), match=r"buffers|inputs|outputs|large"):
        _core.Plan(*BROKEN[name])


def test_int16_buffers_and_every_rank():
    """Buffers that no step reads yet are buffers nonetheless."""
    table = [buffer("float32", (2,) * rank) for rank in range(5)] + [buffer("int16", (2, 3), 0.1, -3)]
    plan = _core.Plan([*table, U8, F32], (5, 7), (6,))
    plan.add("quantize", {"inputs": (7,), "output": 6})
    plan.finish()
    x = np.zeros((4, 3), np.float32)
    assert plan.run(np.zeros((4, 2, 3), np.int16), x).tolist() == [[3, 3, 3]] * 4
    with pytest.raises(TypeError, match=r"^inputs\[0\]: expected int16, got int8"):
        plan.run(np.zeros((4, 2, 3), np.int8), x)


def fields(**changes):
    one = np.ones(2, np.float32)
    named = {"weight": np.ones((3, 2), np.int8), "weight_scale": one, "weight_zero_point": None, "bias": None}
    return {"inputs": (1,), "output": 2, **named, "activation": None, "requant": "float"} | changes


def two_steps():
    plan = _core.Plan([F32, U8, buffer("uint8", (2,), 0.1, 3), F32, U8], (0, 4), (2,))
    plan.add("quantize", {"inputs": (0,), "output": 1})
    return plan


STEPS_REFUSED = {
    "a kind that there is not": ("convolution", {"inputs": (0,), "output": 2}, "^kind: "),
    "no inputs": ("gemm", fields(inputs=()), "^gemm: "),
    "two inputs": ("gemm", fields(inputs=(1, 1)), "^gemm: "),
    "too many inputs": ("gemm", fields(inputs=(1,) * 9), "^inputs: expected up to 8"),
    "an input that nothing wrote": ("dequantize", {"inputs": (2,), "output": 3}, "^dequantize: "),
    "an output that is an input": ("dequantize", {"inputs": (1,), "output": 0}, "^dequantize: "),
    "an output that a step wrote": ("quantize", {"inputs": (0,), "output": 1}, "^quantize: "),
    "an input out of range": ("gemm", fields(inputs=(5,)), "^gemm: "),
    "an output out of range": ("gemm", fields(output=5), "^gemm: "),
    "a negative input": ("gemm", fields(inputs=(-1,)), "^inputs: "),
    "a negative output": ("gemm", fields(output=-1), "^output: "),
    "floats to a product of codes": ("gemm", fields(inputs=(0,)), "^gemm: "),
    "another shape": ("dequantize", {"inputs": (4,), "output": 2}, "^dequantize: "),
    "weights of another shape": ("gemm", fields(weight=np.ones((2, 3), np.int8)), "^gemm: "),
    "weights of rank 1": ("gemm", fields(weight=np.ones(6, np.int8)), "^gemm: "),
    "weights of float": ("gemm", fields(weight=np.ones((3, 2), np.float32)), "^gemm: "),
    "weight scales too short": ("gemm", fields(weight_scale=np.ones(1, np.float32)), "^gemm: "),
    "a weight scale of NaN": ("gemm", fields(weight_scale=np.float32([1, np.nan])), "^gemm: "),
    "a multiplier beyond 2**30": ("gemm", fields(weight_scale=np.float32([1, 1e30])), "^gemm: "),
    "weight zero points too long": ("gemm", fields(weight_zero_point=np.zeros(3, np.int32)), "^gemm: "),
    "a weight zero point of 200": ("gemm", fields(weight_zero_point=np.int32([0, 200])), "^gemm: "),
    "a bias of float": ("gemm", fields(bias=np.ones(2, np.float32)), "^gemm: "),
    "an activation that there is not": ("gemm", fields(activation="gelu"), "^gemm: "),
    "a rule that there is not": ("gemm", fields(requant="double"), "^gemm: "),
    "no rule": ("gemm", fields(requant=None), "^requant: expected a string, got NoneType"),
    "no weights": ("gemm", fields(weight=None), "^weight: expected an ndarray, got NoneType"),
    "a field that is missing": ("gemm", {"inputs": (1,), "output": 2}, "^fields: weight is missing"),
}


@pytest.mark.parametrize("name", STEPS_REFUSED)
def test_steps_that_are_refused(name):
    kind, values, message = STEPS_REFUSED[name]
    plan = two_steps()
    with pytest.raises((ValueError, TypeError), match=message):
        plan.add(kind, values)
    plan.add("gemm", fields())
    plan.finish()
    same_bytes(plan.run(np.zeros((1, 3), np.float32), np.zeros((1, 3), np.uint8)), np.uint8([[3, 3]]))


def test_order_of_calls():
    plan, x = two_steps(), np.zeros((1, 3), np.float32)
    assert (plan.rows, plan.workspace_nbytes) == (0, 0)
    with pytest.raises(ValueError, match=r"^outputs: expected buffers that a step writes, got 2"):
        plan.finish()
    for name in ("run", "timed"):
        with pytest.raises(ValueError, match=rf"^{name}: expected a plan that is finished"):
            getattr(plan, name)(x)
    with pytest.raises(ValueError, match=r"^run_steps: expected a plan that is finished"):
        plan.run_steps(0, 1, (0,), (x,), (1,))
    plan.add("gemm", fields())
    plan.finish()
    plan.finish()
    with pytest.raises(ValueError, match=r"^add: expected a plan that is not finished"):
        plan.add("dequantize", {"inputs": (4,), "output": 3})
    with pytest.raises(ValueError, match=r"^outputs: "):
        _core.Plan([F32, U8], (0,), (0,)).finish()


def test_arrays_that_are_refused(rng):
    plan = two_steps()
    plan.add("gemm", fields())
    plan.finish()
    x, q = np.zeros((4, 3), np.float32), np.zeros((4, 3), np.uint8)
    with pytest.raises(TypeError, match=r"^run: expected 2 arguments, got 1"):
        plan.run(x)
    with pytest.raises(ValueError, match=r"^inputs\[1\]: expected 4 samples as in inputs\[0\], got 3"):
        plan.run(x, q[:3])
    with pytest.raises(ValueError, match=r"^inputs\[0\]: expected shape \(samples, 3\), got \(4, 3, 1\)"):
        plan.run(x[..., None], q)
    with pytest.raises(ValueError, match=r"^inputs\[1\]: expected shape \(samples, 3\), got \(3,\)"):
        plan.run(x, q[0])
    with pytest.raises(TypeError, match=r"^inputs\[0\]: expected a real floating dtype, got int64"):
        plan.run(x.astype(np.int64), q)


def test_errors_name_inputs_that_have_names():
    """Where there are several; one alone is x."""
    table = [F32, U8, F32]
    plan = _core.Plan(table, (0, 1), (2,), ("image, %s", "maske"))
    plan.add("dequantize", {"inputs": (1,), "output": 2})
    plan.finish()
    x, q = np.zeros((4, 3), np.float32), np.zeros((4, 3), np.uint8)
    for error, message, *arrays in [
        (ValueError, r"maske: expected 4 samples as in image, %s, got 3", x, q[:3]),
        (ValueError, r"maske: expected shape \(samples, 3\), got \(4, 2\)", x, q[:, :2]),
        (TypeError, r"maske: expected uint8, got int8", x, q.view(np.int8)),
        (TypeError, r"image, %s: expected a real floating dtype, got uint8", q, q),
    ]:
        with pytest.raises(error, match=f"^{message}"):
            plan.run(*arrays)
    one = _core.Plan(table, (1,), (2,), ("maske",))
    one.add("dequantize", {"inputs": (1,), "output": 2})
    one.finish()
    with pytest.raises(ValueError, match=r"^x: expected shape"):
        one.run(q[0])
    for wrong in (("a",), ("a", 1), ("a", "b", "c")):
        with pytest.raises(ValueError, match=r"^names: expected 2 strings, one for each input"):
            _core.Plan(table, (0, 1), (2,), wrong)


@pytest.mark.parametrize("rank, expected", [(0, r"\(samples,\)"), (2, r"\(samples, 2, 2\)"), (4, r"2, 2, 2, 2\)")])
def test_shapes_in_errors(rank, expected):
    plan = _core.Plan([buffer("float32", (2,) * rank), buffer("uint8", (2,) * rank, 0.1, 0)], (0,), (1,))
    plan.add("quantize", {"inputs": (0,), "output": 1})
    plan.finish()
    with pytest.raises(ValueError, match=rf"^x: expected shape .*{expected}, got \(3, 7\)"):
        plan.run(np.zeros((3, 7), np.float32))
    assert plan.run(np.zeros((3, *(2,) * rank), np.float32)).shape == (3, *(2,) * rank)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(isa, rng, layout):
    graph = random_graph(np.random.default_rng(3), 8)
    plan, arrays = graph.plan(), graph.samples(rng, 9)
    values = graph.evaluate(*arrays)
    for i, got in zip(graph.outputs, as_tuple(plan.run(*map(LAYOUTS[layout], arrays))), strict=True):
        same_bytes(got, values[i])


# ---- what is not finite -----------------------------------------------------------------------------


def float_readers():
    """Steps that read floats, of which some find out themselves whether these are finite."""
    one = np.ones(3, np.float32)
    weight = {"weight": np.ones((3, 3), np.int8), "weight_scale": one, "weight_zero_point": None, "bias": None}
    return {
        "quantize": (U8, {}),
        "quantize_dynamic": (buffer("uint8", (3,), 0.0, 0, 3, 4), {}),
        "normalize": (F32, {"mean": one, "scale": one}),
        "gemm_f32": (F32, {**weight, "activation": None}),
        "add": (F32, {"activation": None, "requant": "float"}),
        "mean": (F32, {"axes": (), "keepdims": False, "requant": "float"}),
        "concatenate": (F32, {"axis": 0}),
        "pad": (F32, {"padding": (0, 0)}),
    }


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", float_readers())
def test_every_float_input_is_checked_where_it_is_read(isa, kind, bad):
    """In the first step and in a later one, in a block of its own, and not where nothing reads it."""
    result, named = float_readers()[kind]
    table = [F32, F32, result, buffer("float32", (1,)), buffer("int32", (1,)), U8]
    plan = _core.Plan(table, (0, 1), (2, 5))
    plan.add("quantize", {"inputs": (0,), "output": 5})
    plan.add(kind, {"inputs": (1, 1) if kind == "add" else (1,), "output": 2, **named})
    plan.finish()
    for position, message in ((0, r"^inputs\[0\]: expected finite"), (1, r"^inputs\[1\]: expected finite")):
        arrays = [np.zeros((300, 3), np.float32) for _ in range(2)]
        plan.run(*arrays)
        arrays[position][299, 1] = bad
        with pytest.raises(ValueError, match=message):
            plan.run(*arrays)
        with pytest.raises(ValueError, match=rf"^arrays\[{position}\]: expected finite"):
            plan.run_steps(0, 2, (0, 1), tuple(arrays), (5, 2))
        with pytest.raises(ValueError, match=r"^x: expected finite"):
            plan.run_steps(position, position + 1, (position,), (arrays[position],), ())
        other = 1 - position
        plan.run_steps(other, other + 1, (0, 1), tuple(arrays), ())


def test_given_rows_are_checked(isa, rng):
    """A scale per row that is not finite, a zero point that is no code."""
    graph = Graph(inputs=(0,), outputs=(4,))
    for b in (F32, buffer("float32", (1,)), buffer("int32", (1,)), buffer("uint8", (3,), 0.0, 0, 1, 2), F32):
        graph.add_buffer(*b)
    graph.add_step("quantize_dynamic", (0,), 3)
    graph.add_step("gemm", (3,), 4, **weights(rng, 3, 3), bias=None, requant="float")
    plan, (x,) = graph.plan(), graph.samples(rng, 5)
    scale, zero_point, q, y = plan.run_steps(0, 2, (0,), (x,), (1, 2, 3, 4))
    same_bytes(plan.run_steps(1, 2, (1, 2, 3), (scale, zero_point, q), (4,))[0], y)
    for bad in (-1, 256, -(2**31)):
        wrong = np.where(np.arange(5)[:, None] == 4, np.int32(bad), zero_point)
        with pytest.raises(ValueError, match=r"^arrays\[1\]: expected zero points that are codes"):
            plan.run_steps(1, 2, (1, 2, 3), (scale, wrong, q), (4,))
    with pytest.raises(ValueError, match=r"^arrays\[2\]: expected finite"):
        plan.run_steps(1, 2, (3, 2, 1), (q, zero_point, np.float32(np.inf) * scale), (4,))


def test_add_rounds_once(isa, rng):
    """Sums that lose digits, overflow, or have no value; one input twice."""
    plan, plain = _core.Plan([F32, F32, F32, F32], (0, 1), (2, 3)), {"activation": None, "requant": "float"}
    plan.add("add", {"inputs": (0, 1), "output": 2, **plain})
    plan.add("add", {"inputs": (2, 2), "output": 3, **plain})
    plan.finish()
    a, b = (rng.normal(size=(101, 3)).astype(np.float32) * np.float32(10.0) ** s for s in (-5, 3))
    a[0], b[0] = (3e38, 3e38, 1e-45), (3e38, -3e38, 1e-45)
    with np.errstate(over="ignore"):
        expected = a + b
        for got, value in zip(plan.run(a, b), (expected, expected + expected), strict=True):
            same_bytes(got, value)
    for wrong in ({"inputs": (0,)}, {"inputs": (0, 1, 2)}):
        with pytest.raises(ValueError, match=r"^add: "):
            two_steps().add("add", {"output": 3, **plain, **wrong})


def test_a_part_must_be_whole(rng):
    graph = layers(rng, 3, 4)
    plan, (x,) = graph.plan(), graph.samples(rng, 2)
    for message, *call in [
        ("given: expected what steps 1 to 2 read and do not write, got no buffer 1", 1, 3, (0,), (x,), (3,)),
        ("given: expected buffers, each once, that steps 0 to 1 do not write, got 1", 0, 2, (0, 1), (x, x), ()),
        ("given: expected buffers, each once, .* got 0", 0, 2, (0, 0), (x, x), ()),
        ("given: expected buffers out of 4, got 4", 0, 2, (0, 4), (x, x), ()),
        ("given: expected at least one buffer", 0, 0, (), (), ()),
        ("wanted: expected buffers that are given or that steps 0 to 1 write, got 3", 0, 2, (0,), (x,), (0, 3)),
        ("wanted: expected buffers out of 4, got -1", 0, 2, (0,), (x,), (-1,)),
        ("arrays: expected one for each buffer given, 1, got 2", 0, 2, (0,), (x, x), ()),
        ("last: expected 0 to 3 steps, got 4", 0, 4, (0,), (x,), ()),
        ("first: expected 0 to last, 1, got 2", 2, 1, (0,), (x,), ()),
        ("first: expected 0 to last, 1, got -1", -1, 1, (0,), (x,), ()),
    ]:
        with pytest.raises(ValueError, match=f"^{message}"):
            plan.run_steps(*call)
    assert plan.run_steps(0, 0, (0,), (x,), (0, 0)) == (x, x)
