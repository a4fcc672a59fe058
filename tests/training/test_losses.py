"""Losses and their gradients: against the formulas in float64, and against finite differences."""

import numpy as np
import pytest
from reference import training as reference

import qlite as ql
from qlite.training import losses
from qlite.training.kernels import cross_entropy

#: Rounding of a float32 result, relative to the share of a sample.
SLACK = 2e-7
#: Central differences of float32 inputs: the step's own rounding.
DIFFERENCE_SLACK = 2e-3


def samples(rng, rows=7, units=5, spread=3.0):
    raw = (spread * rng.normal(size=(rows, units))).astype(np.float32)
    weights = rng.random(rows).astype(np.float32)
    return raw, rng.integers(0, units, rows).astype(np.int32), (weights / weights.sum()).astype(np.float32)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("spread", [1.0, 30.0, 1e4, 1e30])
def test_cross_entropy_of_labels(rng, smoothing, spread):
    for rows, units in ((1, 2), (7, 5), (128, 10), (3, 1000)):
        raw, labels, share = samples(rng, rows, units, spread)
        value, gradient = cross_entropy(raw, labels, share, smoothing)
        expected, expected_gradient = reference.cross_entropy(raw, labels, share, smoothing)
        assert value == pytest.approx(expected, rel=1e-12, abs=1e-12)
        assert np.abs(gradient - expected_gradient).max() <= SLACK * share.max()
        assert gradient.dtype == np.float32


def test_cross_entropy_of_probabilities(rng):
    raw, _, share = samples(rng)
    targets = rng.dirichlet(np.ones(5), len(raw)).astype(np.float32)
    value, gradient = cross_entropy(raw, targets, share, 0.0)
    expected, expected_gradient = reference.cross_entropy(raw, targets, share)
    assert value == pytest.approx(expected, rel=1e-6)
    assert np.abs(gradient - expected_gradient).max() <= SLACK


def test_cross_entropy_of_certain_labels_is_that_of_their_one_hot_rows(rng):
    raw, labels, share = samples(rng)
    for smoothing in (0.0, 0.25):
        loss = losses.CrossEntropy(smoothing)
        value, gradient = loss(raw, labels, share)
        other, other_gradient = loss(raw, np.eye(5, dtype=np.float32)[labels], share)
        assert value == pytest.approx(other, rel=1e-6)
        assert np.abs(gradient - other_gradient).max() <= SLACK


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_cross_entropy_of_a_row_that_is_not_finite(rng, bad):
    raw, labels, share = samples(rng)
    raw[2, 3] = bad
    value, gradient = cross_entropy(raw, labels, share, 0.0)
    assert np.isnan(value)
    assert np.isnan(gradient[2]).all()
    assert np.isfinite(np.delete(gradient, 2, axis=0)).all()


def test_cross_entropy_refuses_what_does_not_fit(rng):
    raw, labels, share = samples(rng)
    for label in (-1, 5):
        with pytest.raises(ValueError, match="target"):
            cross_entropy(raw, np.full(7, label, np.int32), share, 0.0)
    with pytest.raises(ValueError, match="target: expected"):
        cross_entropy(raw, labels[1:], share, 0.0)
    with pytest.raises(ValueError, match="share: expected"):
        cross_entropy(raw, labels, share[1:], 0.0)
    with pytest.raises(ValueError, match="raw: expected 2 dimensions, got 1"):
        cross_entropy(raw[0], labels, share, 0.0)
    with pytest.raises(TypeError, match="raw: expected"):
        cross_entropy(raw.astype(np.float64), labels, share, 0.0)


def test_binary_cross_entropy_is_that_of_two_classes(rng):
    raw, _, share = samples(rng, units=1, spread=20)
    labels = rng.integers(0, 2, len(raw)).astype(np.int32)
    for smoothing in (0.0, 0.2):
        value, gradient = losses.BinaryCrossEntropy(smoothing)(raw, labels[:, None].astype(np.float32), share)
        two = np.hstack([np.zeros_like(raw), raw])
        expected, expected_gradient = reference.cross_entropy(two, labels, share, smoothing)
        assert value == pytest.approx(expected, rel=1e-6)
        assert np.abs(gradient - expected_gradient[:, 1:]).max() <= SLACK


def test_binary_cross_entropy_of_huge_logits_is_finite():
    raw = np.array([[3e38], [-3e38], [0]], np.float32)
    value, gradient = losses.BinaryCrossEntropy()(raw, np.float32([[1], [0], [1]]), np.full(3, 1 / 3, np.float32))
    assert value == pytest.approx(np.log(2) / 3, rel=1e-6)
    assert gradient.ravel().tolist() == pytest.approx([0, 0, -1 / 6])


VALUE_LOSSES = {
    "mse": lambda e: e**2,
    "mae": np.abs,
    "huber": lambda e: np.where(np.abs(e) <= 1, e**2 / 2, np.abs(e) - 0.5),
}


@pytest.mark.parametrize("name", VALUE_LOSSES)
def test_losses_of_values(rng, name):
    raw, _, share = samples(rng)
    targets = rng.normal(size=raw.shape).astype(np.float32)
    loss = losses.loss_of(name, "multioutput", 0.0)
    value, gradient = loss(raw, targets, share)
    error = raw.astype(np.float64) - targets
    assert value == pytest.approx((share * VALUE_LOSSES[name](error).mean(axis=1)).sum(), rel=1e-6)
    assert gradient.dtype == np.float32
    step = 1e-3
    for i, j in ((0, 0), (3, 2), (6, 4)):
        ends = []
        for sign in (1, -1):
            moved = raw.copy()
            moved[i, j] += np.float32(sign * step)
            ends.append(loss(moved, targets, share)[0])
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(gradient[i, j], abs=DIFFERENCE_SLACK)


def teacher_of(task, units, seed=3):
    layer = ql.Dense(np.random.default_rng(seed).normal(size=(4, units)))
    return ql.Sequential([layer], task=task)


@pytest.mark.parametrize(("task", "units"), [("multiclass", 3), ("binary", 1), ("regression", 2)])
def test_distillation_is_mixed_by_its_weight(rng, task, units):
    x = rng.normal(size=(6, 4)).astype(np.float32)
    raw = rng.normal(size=(6, units)).astype(np.float32)
    share = np.full(6, 1 / 6, np.float32)
    targets = rng.integers(0, 3, 6).astype(np.int32) if task == "multiclass" else np.ones((6, units), np.float32)
    teacher, t = teacher_of(task, units), 2.0
    loss = losses.loss_of(None, task, 0.0)
    value, gradient = losses.Objective(loss, teacher, 0.25, t)(x, raw, targets, share)
    own, own_gradient = loss(raw, targets, share)
    wanted = teacher(x)
    if task == "regression":
        distance, pull = losses.mse(raw, wanted, share)
    else:
        both = [np.hstack([np.zeros_like(a), a]) if units == 1 else a for a in (raw, wanted)]
        odds = np.exp(both[1].astype(np.float64) / t)
        distance, pull = reference.cross_entropy(both[0] / t, odds / odds.sum(axis=1, keepdims=True), share)
        distance, pull = t**2 * distance, t * pull[:, -units:]
    assert value == pytest.approx(0.75 * own + 0.25 * distance, rel=1e-5)
    assert np.abs(gradient - (0.75 * own_gradient + 0.25 * pull)).max() <= 4 * SLACK


def test_a_teacher_that_one_learns_from_alone_is_approached(rng):
    x = rng.normal(size=(256, 4)).astype(np.float32)
    teacher = teacher_of("multiclass", 3)
    student = ql.Sequential([ql.Dense(units=3)], input_shape=(4,))
    wrong = np.zeros(256, int)
    student = ql.train(student, x, wrong, teacher=teacher, teacher_weight=1.0, epochs=60, learning_rate=0.05)
    assert np.mean(student.predict(x) == teacher.predict(x)) > 0.97
