"""The memory that programs run in: buffers share it as soon as nobody reads them any more.

`all` is what the buffers of the samples that go at once would take with memory of their own, `workspace` what a thread
takes, with what steps need beside their buffers; inputs and outputs are the caller's.
"""

import itertools

import numpy as np

import qlite as ql
from qlite.nn.plan import Plan
from qlite.nn.program import Buffer, Program
from qlite.nn.steps import Add

CHAIN, WIDTH = 10, 512
MAP = (112, 112, 32)


def dense_chain(scheme):
    """Ten layers of 512 units, one after the other."""
    rng = np.random.default_rng(0)
    layers = [(rng.normal(size=(WIDTH, WIDTH)) / WIDTH**0.5, None)] * CHAIN
    data = rng.normal(size=(64, WIDTH)).astype(np.float32)
    return ql.quantize_model(ql.from_weights(layers), scheme, data).program


def worked_example(scheme):
    """The network 784-128-64-10."""
    rng = np.random.default_rng(0)
    widths = (784, 128, 64, 10)
    layers = [(rng.normal(size=pair) / pair[0] ** 0.5, None) for pair in itertools.pairwise(widths)]
    return ql.quantize_model(ql.from_weights(layers), scheme, rng.random((64, 784), np.float32)).program


def residual_maps():
    """Ten sums of feature maps of 112 x 112 x 32 floats, each of the two before it."""
    buffers = [Buffer(f"map_{i}", f"map_{i}", MAP, "float32") for i in range(CHAIN + 1)]
    return Program(buffers, [Add((i, max(i - 1, 0)), i + 1) for i in range(CHAIN)])


PROGRAMS = {
    **{f"{CHAIN} layers of {WIDTH}, {s}": lambda s=s: dense_chain(s) for s in ("w8a8", "dynamic", "w8")},
    **{f"784-128-64-10, {s}": lambda s=s: worked_example(s) for s in ("w8a8", "dynamic", "w8")},
    f"{CHAIN} sums of {MAP[0]}x{MAP[1]}x{MAP[2]} floats": residual_maps,
}


class Memory:
    """A bench that counts bytes and takes no time."""

    threads = 1

    def run(self, quick, only):
        rows = []
        print(f"{'program':38}{'buffers':>8}{'rows':>6}{'all':>14}{'workspace':>14}{'share':>8}")
        for name, make in PROGRAMS.items():
            if only in name:
                rows.append(self.row(name, make()))
        if not rows:
            raise SystemExit(f"--only {only}: there is no such program")
        return {"programs": rows}

    def row(self, name, program):
        plan = Plan(program)
        ends = {*program.inputs, *program.outputs}
        inner = [b for i, b in enumerate(program.buffers) if i not in ends]
        every = plan.rows * sum(int(np.prod(b.shape)) * np.dtype(b.dtype).itemsize for b in inner)
        share = plan.workspace_nbytes / max(every, 1)
        print(f"{name:38}{len(inner):8}{plan.rows:6}{every:14,}{plan.workspace_nbytes:14,}{share:8.0%}")
        figures = {"buffers": len(inner), "rows": plan.rows, "all": every, "workspace": plan.workspace_nbytes}
        return {"program": name, **figures}


BENCH = Memory()
