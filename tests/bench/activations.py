"""Activations of float32, and the gradients through them: relu to gelu, in a step of training and in memory."""

from functools import partial

from . import works_activations as works
from .harness import Contender
from .limits import memory
from .report import Bench
from .tasks import Task
from .works_activations import Layer

LARGE = (4096, 1024)  # in memory: 16 MB
STEP = (128, 128)  # what a layer of a small network gives for a batch
SHARE = 0.75  # of the speed of memory, that clamps are to reach
TOLERANCE = 1e-6  # of the greatest value: the last digits of float32


def contender(name, what, make, *modules):
    return Contender(name, what, modules, make)


def functions():
    for name in ("relu", "hard_swish", "tanh", "gelu"):
        for place, shape in (("128 x 128", STEP), ("4 M", LARGE)):
            values = shape[0] * shape[1]
            yield Task(
                f"{name} {place}",
                partial(Layer.random, name, *shape),
                values,
                contender("qlite", "activation(name, x, out)", works.apply, "qlite"),
                (contender("torch", "torch.nn.functional; makes its output", works.torch_apply, "torch"),),
                (contender("NumPy", "one call with out=", works.numpy_apply, "numpy"),),
                limit=memory("copy", 4 * values, SHARE) if shape is LARGE and name == "relu" else None,
                tolerance=TOLERANCE,
            )


def steps():
    case = partial(Layer.random, "relu", *STEP)
    values = STEP[0] * STEP[1]
    for label, what, make, recipe, numpy in (
        ("bias and relu", "bias_activation_", works.bias_apply, "add, maximum, in place", works.numpy_bias_apply),
        ("gradient of both", "activation_gradient_", works.gradient, "multiply by z > 0, sum", works.numpy_gradient),
    ):
        ours = contender("qlite", what, make, "qlite")
        yield Task(f"{label} 128 x 128", case, values, ours, (), (contender("NumPy", recipe, numpy, "numpy"),))


BENCH = Bench(
    title="Activations of float32",
    unit="Ge/s = 10^9 values a second",
    tasks=(task for tasks in (functions, steps) for task in tasks()),
    notes=("qlite's exponentials are in double and give the same bits everywhere.",),
)
