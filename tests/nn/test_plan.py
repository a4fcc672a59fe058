"""Integer programs: one call of the core gives what the reference gives step by step, in every buffer."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import reference
from programs import KINDS, STATIC, random_program, weights
from samples import LAYOUTS, codes, same_bytes

from qlite import _core
from qlite.nn.plan import Plan
from qlite.nn.program import Buffer, Program
from qlite.nn.steps import Add, DenseF32, Dequantize, Gemm, GemmGrouped, Requantize

BATCHES = [0, 1, 2, 13, 95, 96, 97, 300]  # around the most samples that go at once, 96
WIDTHS = [[1, 1], [7, 5], [13, 33, 7], [64, 128, 64, 10], [3, 65, 1, 17]]


def random_plan(rng, kind, widths):
    return Plan(random_program(rng, kind, widths))


def check(program, x):
    expected = reference.evaluate(program, x)
    plan = Plan(program)
    got = plan.intermediates(x)
    assert list(got) == [buffer.name for buffer in program.buffers]
    for value, reference_value in zip(got.values(), expected, strict=True):
        same_bytes(value, reference_value)
    same_bytes(plan.run(x), expected[program.outputs[0]])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_random_programs(isa, rng, kind, widths):
    program = random_program(rng, kind, widths)
    for rows in BATCHES:
        check(program, rng.normal(size=(rows, widths[0])).astype(np.float32))


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_does_not_depend_on_its_batch(isa, rng, kind):
    plan = random_plan(rng, kind, [13, 33, 7])
    x = rng.normal(size=(100, 13)).astype(np.float32)
    together = plan.run(x)
    for i in range(0, 100, 9):
        same_bytes(plan.run(x[i : i + 1]), together[i : i + 1])


@pytest.mark.parametrize("kind", KINDS)
def test_same_bytes_on_every_isa(rng, kind):
    before, answers = _core.info()["isa"], set()
    made_by = random_program(rng, kind, [64, 128, 10])
    x = rng.normal(size=(131, 64)).astype(np.float32)
    try:
        for name in _core.info()["isas_runnable"]:
            _core.isa_select(name)
            plan = Plan(pickle.loads(pickle.dumps(made_by)))
            answers.add(b"".join(value.tobytes() for value in plan.intermediates(x).values()))
    finally:
        _core.isa_select(before)
    assert len(answers) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_keeps_the_isa_it_was_made_on(rng, kind):
    before = _core.info()["isa"]
    plan = random_plan(rng, kind, [64, 128, 10])
    x = rng.normal(size=(50, 64)).astype(np.float32)
    expected = plan.run(x)
    try:
        for name in _core.info()["isas_runnable"]:
            _core.isa_select(name)
            same_bytes(plan.run(x), expected)
    finally:
        _core.isa_select(before)


@pytest.mark.parametrize("kind", KINDS)
def test_threads_share_a_plan(isa, rng, kind):
    plan = random_plan(rng, kind, [64, 128, 10])
    batches = [rng.normal(size=(rows, 64)).astype(np.float32) for rows in (1, 97, 200, 3) * 10]
    expected = [plan.run(x) for x in batches]
    with ThreadPoolExecutor(4) as pool:
        for got, alone in zip(pool.map(plan.run, batches), expected, strict=True):
            same_bytes(got, alone)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_input_that_is_codes_already(isa, rng, dtype):
    k, n = 21, 18
    buffers = [
        Buffer("input", "input", (k,), dtype, 0.02, 5),
        Buffer("hidden", "hidden", (n,), dtype, 0.9, -3 if dtype == "int8" else 3),
        Buffer("output", "hidden", (n,), "float32"),
    ]
    step = Gemm((0,), 1, **weights(rng, k, n, True), bias=None, activation="relu", requant="float")
    program = Program(buffers, [step, Dequantize((1,), 2)])
    integer_output = Program(buffers[:2], [step])
    for rows in BATCHES:
        x = codes(rng, (rows, k), np.dtype(dtype))
        check(program, x)
        check(integer_output, x)
    with pytest.raises(TypeError, match=r"^x: "):
        Plan(program).run(np.zeros((2, k), np.float32))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_input(isa, rng, layout):
    for kind in ("signed", "dynamic", "weight_only"):
        plan = random_plan(rng, kind, [7, 5])
        x = rng.normal(size=(9, 7)).astype(np.float32)
        same_bytes(plan.run(LAYOUTS[layout](x)), reference.evaluate(plan.program, x)[-1])
    with pytest.raises(ValueError, match=r"^x: expected shape \(samples, 7\), got \(9, 7, 1\)"):
        plan.run(x.reshape(9, 7, 1))


@pytest.mark.parametrize("kind", ["static", "dynamic", "weight_only"])
def test_bad_inputs(isa, rng, kind):
    plan = random_plan(rng, kind, [7, 5])
    for bad in (np.nan, np.inf):
        x = np.zeros((130, 7), np.float32)
        x[129, 6] = bad
        with pytest.raises(ValueError, match=r"^x: "):
            plan.run(x)
        with pytest.raises(ValueError, match=r"^x: "):
            plan.intermediates(x)
    for shape in ((3, 8), (7,), (), (0,), (3, 7, 2)):
        with pytest.raises(ValueError, match=r"^x: "):
            plan.run(np.zeros(shape, np.float32))
    with pytest.raises(TypeError, match=r"^x: "):
        plan.run(np.zeros((3, 7), complex))


@pytest.mark.parametrize("kind", ["dynamic", "weight_only"])
def test_overflow_between_layers(isa, rng, kind):
    """Finite inputs and weights whose products leave float32: the same infinities as the reference's, no harm done."""
    program = random_program(rng, kind, [4, 6, 3])
    steps = [
        replace(step, weight_scale=np.full_like(step.weight_scale, 1e38)) if hasattr(step, "weight") else step
        for step in program.steps
    ]
    x = (rng.normal(size=(50, 4)) * 1e37).astype(np.float32)
    check(Program(list(program.buffers), steps), x)


@pytest.mark.parametrize("kind", KINDS)
def test_steps_alone(isa, rng, kind):
    """Any run of steps, on what those before gave, gives what it gives in the whole program."""
    plan = random_plan(rng, kind, [13, 33, 7])
    program, x = plan.program, rng.normal(size=(100, 13)).astype(np.float32)
    values = list(plan.intermediates(x).values())
    for first in range(len(program.steps)):
        for last in range(first + 1, len(program.steps) + 1):
            written = sorted(set().union(*(program._with_rows(s.output) for s in program.steps[first:last])))
            read = {i for s in program.steps[first:last] for n in s.inputs for i in program._with_rows(n)}
            given = tuple(sorted(read - set(written)))
            got = plan.run_steps(first, last, given, tuple(values[i] for i in given), tuple(written))
            for i, value in zip(written, got, strict=True):
                same_bytes(value, values[i])


def test_steps_alone_need_their_inputs(rng):
    plan = random_plan(rng, "static", [13, 33, 7])
    x = rng.normal(size=(5, 13)).astype(np.float32)
    for message, *call in [
        ("given", 1, 3, (), (), (3,)),
        ("wanted", 0, 1, (0,), (x,), (3,)),
        ("last", 0, 9, (0,), (x,), (3,)),
        ("first", 2, 1, (0,), (x,), (3,)),
        ("given", 0, 3, (0, 9), (x, x), (3,)),
        ("arrays", 0, 3, (0,), (x, x), (3,)),
        ("wanted", 0, 3, (0,), (x,), (9,)),
    ]:
        with pytest.raises(ValueError, match=f"^{message}: "):
            plan.run_steps(*call)


SHAPES = [(), (5,), (2, 3), (3, 1, 4), (2, 3, 4, 5)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_steps_of_two_inputs(isa, rng, shape):
    """A graph of sums of floats of every rank, of two inputs, with two outputs, one of which is read again."""
    names = ["left", "right", "sum", "twice", "last"]
    buffers = [Buffer(name, name, shape, "float32") for name in names]
    program = Program(buffers, [Add((0, 1), 2), Add((2, 2), 3), Add((3, 0), 4)], (0, 1), (3, 4))
    plan = Plan(program)
    for rows in BATCHES:
        left, right = rng.normal(size=(2, rows, *shape)).astype(np.float32)
        expected = reference.evaluate(program, left, right)
        for got, value in zip(plan.run(left, right), (expected[3], expected[4]), strict=True):
            same_bytes(got, value)
        for got, value in zip(plan.intermediates(left, right).values(), expected, strict=True):
            same_bytes(got, value)
    left, right = np.zeros((2, 7, *shape), np.float32)
    for x in ((left, right[:6]), (left, np.zeros((7, *shape, 2), np.float32))):
        with pytest.raises(ValueError, match=r"^right: "):
            plan.run(*x)
    right[-1] = np.nan
    with pytest.raises(ValueError, match=r"^right: "):
        plan.run(left, right)


@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
@pytest.mark.parametrize("kind", ["static", "dynamic", "weight_only"])
def test_products_along_the_last_axis(isa, rng, kind, shape):
    """Every row of a sample is a row of the product, with a scale of its own where it is found at run time."""
    flat = random_program(rng, kind, [shape[-1], 7, 3])

    def shaped(b):
        return replace(b, shape=(*shape[:-1], *b.shape))

    program = Program([shaped(b) for b in flat.buffers], flat.steps)
    x = rng.normal(size=(30, *shape)).astype(np.float32)
    check(program, x)
    same_bytes(Plan(program).run(x).reshape(-1, 3), Plan(flat).run(x.reshape(-1, shape[-1])))


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_inputs_of_codes(isa, rng, dtype):
    """They are taken as they are, in any layout, and left so; another dtype is refused."""
    gemm = random_program(rng, "signed" if dtype == "int8" else "static", [13, 33, 7]).steps[1]
    grid = {"dtype": dtype, "scale": 0.03125, "zero_point": 5}
    buffers = [Buffer("pixels", "input", (13,), **grid), Buffer("sums", "layer", (33,), "int32")]
    program = Program(buffers, [replace(gemm, inputs=(0,), output=1, activation=None)])
    plan, x = Plan(program), codes(rng, (100, 13), np.dtype(dtype))
    before, expected = x.copy(), reference.evaluate(program, x)[1]
    for arrange in LAYOUTS.values():
        same_bytes(plan.run(arrange(x)), expected)
    same_bytes(x, before)
    for wrong in (x.astype(np.int32), x.view({"uint8": "int8", "int8": "uint8"}[dtype]), x.astype(np.float32)):
        with pytest.raises(TypeError, match=rf"^x: expected {dtype}, got {wrong.dtype}"):
            plan.run(wrong)


def test_sums_go_where_their_inputs_were(rng):
    """All of a chain lie in the caller's memory for the last."""
    buffers = [Buffer(f"b{i}", f"b{i}", (64,), "float32") for i in range(11)]
    plan = Plan(Program(buffers, [Add((i, i), i + 1) for i in range(10)]))
    assert plan.workspace_nbytes == 0
    x = rng.normal(size=(300, 64)).astype(np.float32)
    same_bytes(plan.run(x), x * np.float32(1024))


def test_large_samples_go_one_by_one():
    buffers = [Buffer(f"b{i}", f"b{i}", (112, 112, 32), "float32") for i in range(3)]
    assert Plan(Program(buffers, [Add((0, 0), 1), Add((1, 0), 2)])).rows == 1


def other_weights(rng, step):
    """Other weights of a step, without zero points."""
    if isinstance(step, DenseF32):
        return {"weight": rng.normal(size=step.weight.shape).astype(np.float32)}
    lowest, highest = step.weight_range
    weight = rng.integers(lowest, highest + 1, step.weight.shape).astype(step.weight.dtype)
    return {"weight": weight, "weight_zero_point": None}


@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_change(isa, rng, kind):
    """Arrays of the same shapes go into the memory that there is, and nothing is left of the old ones."""
    one, other = (random_program(np.random.default_rng(seed), kind, [13, 33, 7]) for seed in (1, 1))
    steps = [replace(s, **other_weights(rng, s)) if hasattr(s, "weight") else s for s in other.steps]
    changed = Program(one.buffers, steps)
    plan, x = Plan(one), rng.normal(size=(100, 13)).astype(np.float32)
    before = plan.run(x)
    plan.update(changed)
    same_bytes(plan.run(x), Plan(changed).run(x))
    plan.update(one)
    same_bytes(plan.run(x), before)


def random_changes(rng, program):
    """Other arrays of all steps with weights, and other grids of all codes."""
    steps, grids = {}, {}
    for i, step in enumerate(program.steps):
        if hasattr(step, "weight"):
            steps[i] = other_weights(rng, step)
            if hasattr(step, "weight_scale"):
                steps[i]["weight_scale"] = step.weight_scale * np.float32(1.5)
    for i, b in enumerate(program.buffers):
        if b.is_codes and b.scale is not None:
            grids[i] = b.scale * 2, int(rng.integers(b.code_range[0], b.code_range[1] + 1))
    return steps, grids


@pytest.mark.parametrize("kind", KINDS)
def test_grids_that_change(isa, rng, kind):
    """Scales and zero points change with the arrays: the changed program is what a whole one is, and so is its plan."""
    program = random_program(rng, kind, [13, 33, 7])
    plan, x = Plan(program), rng.normal(size=(100, 13)).astype(np.float32)
    before = plan.run(x)
    steps, grids = random_changes(rng, program)
    changed = program.with_changes(steps, grids)
    whole = Program(changed.buffers, changed.steps)
    assert [changed.buffers[i].affine for i in grids] == list(grids.values())
    plan.update(changed)
    for got, expected in zip(plan.intermediates(x).values(), reference.evaluate(whole, x), strict=True):
        same_bytes(got, expected)
    plan.update(program)
    same_bytes(plan.run(x), before)


def test_changes_that_are_refused(rng):
    program = random_program(rng, "static", [13, 33, 7])
    plan, x = Plan(program), rng.normal(size=(5, 13)).astype(np.float32)
    before = plan.run(x)
    for message, steps, grids in [
        (r"^step 1, layer 'layer0': gemm: weight: ", {1: {"weight": np.zeros((3, 3), np.int8)}}, {}),
        (r"^step 2, layer 'layer1': gemm: weight_scale: ", {}, {2: (1.2e-38, 3)}),
        (r"^scale: ", {}, {1: (0.0, 3)}),
        (r"^buffer 'input': expected one scale", {}, {0: (0.1, 3)}),
        (r"^expected fields out of .*'weight'.*, got \['weights'\]", {1: {"weights": np.zeros((13, 33), np.int8)}}, {}),
        (r"^zero_point: ", {}, {1: (0.1, 256)}),
        (r"^steps\[1\]: expected other fields than inputs and output", {1: {"inputs": (0,)}}, {}),
    ]:
        if "weight_scale" in message:
            steps = {2: {"weight_scale": np.full(7, 3e38, np.float32)}}
            grids = {2: (3e38, 3)}
        with pytest.raises(ValueError, match=message):
            program.with_changes(steps, grids)
    other = random_program(rng, "static", [13, 33, 7])
    for bad in (
        random_program(rng, "static", [13, 32, 7]),
        random_program(rng, "integer_out", [13, 33, 7]),
        Program([*other.buffers[:2], replace(other.buffers[2], bits=7, zero_point=3), *other.buffers[3:]], other.steps),
    ):
        with pytest.raises(ValueError, match=r"^program: expected"):
            plan.update(bad)
    same_bytes(plan.run(x), before)


@pytest.mark.parametrize("kind", STATIC)
def test_sums_in_a_buffer_of_their_own(isa, rng, kind):
    """A product that leaves its sums, and a step that requantizes them, give the bits of the product that does both."""
    program = random_program(rng, kind, [13, 33, 7])
    buffers, steps = list(program.buffers), []
    for step in program.steps:
        if isinstance(step, Gemm):
            (x,) = step.inputs
            output = program.buffers[step.output]
            buffers.append(Buffer(f"{output.name}_sums", output.layer, output.shape, "int32"))
            sums = len(buffers) - 1
            steps.append(replace(step, output=sums, activation=None))
            rest = program.buffers[x].scale, step.weight_scale, step.activation, step.requant
            steps.append(Requantize((sums,), step.output, *rest))
        else:
            steps.append(step)
    apart = Program(buffers, steps, outputs=program.outputs)
    x = rng.normal(size=(100, 13)).astype(np.float32)
    check(apart, x)
    for name, value in Plan(program).intermediates(x).items():
        same_bytes(Plan(apart).intermediates(x)[name], value)


@pytest.mark.parametrize("group_size", [8, 32, 64, 200])
@pytest.mark.parametrize("code", [0, 255])
def test_groups_of_codes_at_their_ends(isa, group_size, code):
    """The farthest codes by the greatest weights: sums of 16 bits, where kernels have them, hold what a group gives."""
    k, n = 128, 5
    buffers = [
        Buffer("codes", "input", (k,), "uint8", 0.5, 128),
        Buffer("output", "layer", (n,), "float32"),
    ]
    scale = np.ones((-(-k // group_size), n), np.float32)
    for weight in (np.full((k, n), 15, np.uint8), np.full((k, n), -8, np.int8)):
        step = GemmGrouped((0,), 1, weight, scale, None, None, None, weight_bits=4, group_size=group_size)
        program, x = Program(buffers, [step]), np.full((7, k), code, np.uint8)
        check(program, x)
        assert (Plan(program).run(x) == 0.5 * k * (code - 128) * float(weight[0, 0])).all()
