"""Optimizers: every step equals the reference to the bit, and in a row they follow their papers' formulas."""

import numpy as np
import pytest
from reference import training as reference
from samples import same_bytes

import qlite as ql
from qlite import _core
from qlite.training.kernels import Update, optimize, square_sum
from qlite.training.optimizers import Steps

LENGTHS = (0, 1, 3, 8, 15, 16, 17, 64, 100, 16384, 16385, 50_000)
#: Rounding of some ten float32 steps, relative to float64.
SLACK = 1e-5
CASES = {
    "plain": ("sgd", {}, False, False),
    "momentum": ("sgd", {"momentum": 0.9}, True, False),
    "nesterov": ("sgd", {"momentum": 0.9, "nesterov": True, "decay": 0.01}, True, False),
    "adam": ("adam", {"momentum": 0.9, "memory": 0.999, "root": 3.0, "epsilon": 1e-8}, True, True),
    "adamw": ("adam", {"momentum": 0.9, "memory": 0.999, "epsilon": 1e-8, "shrink": 0.99, "limit": 0.5}, True, True),
    "rmsprop": ("rmsprop", {"memory": 0.99, "epsilon": 1e-8, "gradient_scale": 0.3}, False, True),
    "rmsprop, momentum": ("rmsprop", {"memory": 0.99, "epsilon": 1e-8, "momentum": 0.5}, True, True),
}


def arrays(n, has_first, has_second, seed=0):
    rng = np.random.default_rng(seed)
    p, g, first = (rng.normal(size=n).astype(np.float32) for _ in range(3))
    second = rng.random(n, np.float32)
    return p, g, first if has_first else None, second if has_second else None


@pytest.mark.parametrize("case", CASES)
def test_a_step_equals_the_reference(isa, case):
    rule, options, *moments = CASES[case]
    for n in LENGTHS:
        p, g, first, second = arrays(n, *moments)
        expected = reference.optimize(rule, reference.Update(rate=0.01, **options), p, g, first, second)
        optimize(rule, Update(rate=0.01, **options), p, g, first, second)
        for got, wanted in zip((p, first, second), expected, strict=True):
            assert (got is None) == (wanted is None)
            if got is not None:
                same_bytes(got, wanted)


def test_threads_do_not_change_the_bits():
    results = []
    for threads in (1, 2, 5):
        p, g, first, second = arrays(300_001, True, True)
        ql.set_num_threads(threads)
        try:
            optimize("adam", Update(rate=0.1, momentum=0.9, memory=0.9), p, g, first, second)
        finally:
            ql.set_num_threads(None)
        results.append((p, first, second))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            same_bytes(a, b)


def by_hand(name, p, gradients, rate, decay):
    """Parameters after steps, by the formulas of the docstrings in float64."""
    p, m, v = p.astype(np.float64), 0.0, 0.0
    for t, g in enumerate(gradients, 1):
        g = g.astype(np.float64)
        if name == "adamw":
            p = p - rate * decay * p
        else:
            g = g + decay * p
        if name in ("adam", "adamw"):
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            p = p - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        elif name == "sgd":
            m = 0.9 * m + g
            p = p - rate * m
        else:
            v = 0.99 * v + 0.01 * g**2
            p = p - rate * g / (np.sqrt(v) + 1e-8)
    return p


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        ("sgd", ql.SGD(0.01, 0.1, momentum=0.9)),
        ("adam", ql.Adam(0.01, 0.1)),
        ("adamw", ql.AdamW(0.01, 0.1)),
        ("rmsprop", ql.RMSprop(0.01, 0.1)),
    ],
)
def test_steps_follow_the_formula(name, optimizer, rng):
    p = rng.normal(size=(5, 7)).astype(np.float32)
    gradients = [rng.normal(size=p.shape).astype(np.float32) for _ in range(12)]
    expected = by_hand(name, p, gradients, 0.01, 0.1)
    steps = Steps(optimizer, {("layer", "weight"): p})
    for g in gradients:
        steps.make({("layer", "weight"): g})
    assert np.allclose(p, expected, rtol=SLACK, atol=SLACK)


def test_only_weights_decay(rng):
    p = {("layer", name): np.ones(3, np.float32) for name in ("weight", "bias", "weight_scale")}
    Steps(ql.SGD(0.1, weight_decay=0.5), p).make({key: np.zeros(3, np.float32) for key in p})
    assert p["layer", "weight"][0] == np.float32(0.95)
    assert p["layer", "bias"][0] == p["layer", "weight_scale"][0] == 1


def test_gradients_are_clipped_by_their_norm(rng):
    gradients = {("a", "weight"): np.full(9, 3.0, np.float32), ("b", "bias"): np.full(16, 3.0, np.float32)}
    p = {key: np.zeros_like(g) for key, g in gradients.items()}
    Steps(ql.SGD(1.0), p, clip_norm=5.0).make(gradients)
    norm = np.sqrt(sum(square_sum(values) for values in p.values()))
    assert norm == pytest.approx(5, rel=1e-6)
    assert np.unique(np.concatenate(list(p.values()))).size == 1


def test_gradients_are_clipped_by_value():
    p = np.zeros(4, np.float32)
    g = np.array([-9, -0.5, 0.25, np.inf], np.float32)
    Steps(ql.SGD(1.0), {("a", "weight"): p}, clip_value=0.5).make({("a", "weight"): g})
    assert p.tolist() == [0.5, 0.5, -0.25, -0.5]


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: ql.SGD(-1.0), "learning_rate"),
        (lambda: ql.SGD(np.inf), "learning_rate"),
        (lambda: ql.SGD(0.1, momentum=1.0), "momentum"),
        (lambda: ql.SGD(0.1, nesterov=True), "nesterov"),
        (lambda: ql.SGD(0.1, momentum=0.9, nesterov=1), "nesterov"),
        (lambda: ql.Adam(beta1=-0.1), "beta1"),
        (lambda: ql.Adam(beta2="0.9"), "beta2"),
        (lambda: ql.AdamW(weight_decay=np.nan), "weight_decay"),
        (lambda: ql.RMSprop(alpha=2), "alpha"),
        (lambda: ql.RMSprop(epsilon=True), "epsilon"),
    ],
)
def test_bad_options(make, name):
    with pytest.raises((TypeError, ValueError), match=f"^{name}: expected"):
        make()


def test_the_core_refuses_arrays_that_it_cannot_write(rng):
    p, g, first, second = arrays(8, True, True)
    numbers = (1.0, np.inf, 0.0, 1.0, 0.1, 0.9, 0.9, 1.0, 1e-8, False)
    with pytest.raises(TypeError, match=r"^parameter: expected a C-contiguous, writable float32"):
        _core.optimize("adam", p[::2], g[::2], first, second, numbers)
    with pytest.raises(ValueError, match="gradient: expected"):
        _core.optimize("adam", p, g[1:], first, second, numbers)
    with pytest.raises(ValueError, match=r"^second: expected shape \(8,\), got \(7,\)"):
        _core.optimize("adam", p, g, first, second[1:], numbers)
    with pytest.raises(ValueError, match="first, second"):
        _core.optimize("adam", p, g, None, second, numbers)
    with pytest.raises(ValueError, match="optimizer: expected"):
        _core.optimize("lion", p, g, first, second, numbers)
    before = p.copy()
    p.flags.writeable = False
    with pytest.raises(TypeError, match=r"^parameter: expected a C-contiguous, writable float32"):
        _core.optimize("adam", p, g, first, second, numbers)
    same_bytes(p, before)
