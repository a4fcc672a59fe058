"""Scales as an optimizer moves them."""

import numpy as np
import pytest

import qlite as ql
from qlite.training.learned_grid import GRADIENT_LIMIT, LearnedGrid, Scales


def grid(scales, learns=True, moves_inside=True, bits=4):
    scales = np.atleast_2d(np.float32(scales))
    return LearnedGrid(ql.QParams(scales, np.zeros(scales.shape, int), bits), 100, learns, moves_inside)


def test_they_begin_where_they_were():
    """But for the rounding of a logarithm to float32 and back, whose magnitude is up to 40."""
    grids = [grid([1e-3, 1.0, 300.0]), grid(0.5), grid([2e-15, 1e15])]
    Scales(grids)
    for g in grids:
        np.testing.assert_allclose(g.scale, g.qparams.scale, rtol=40 * np.finfo(np.float32).eps)
        np.testing.assert_array_equal(g.found.scale, g.scale)


def test_those_that_do_not_learn():
    fixed, learned = grid([0.1, 0.2], learns=False), grid(0.5)
    scales = Scales([fixed, learned])
    assert fixed.parameter is None and fixed.gradient is None
    learned.parameter += 0.01
    scales.refresh()
    np.testing.assert_array_equal(fixed.found.scale, fixed.qparams.scale)
    np.testing.assert_allclose(learned.scale, 0.5 * np.exp(0.1), rtol=1e-5)
    Scales([fixed]).refresh()  # none at all


@pytest.mark.parametrize("step", [1e30, -1e30, 50, -50])
def test_they_stay_positive_and_normal(step):
    g = grid([1e-3, 1.0])
    scales = Scales([g])
    g.parameter += np.float32(step)
    scales.refresh()
    assert np.all(g.scale >= np.finfo(np.float32).smallest_normal) and np.isfinite(g.scale).all()
    assert np.all(np.float32(1e-17) * g.scale > 0)


def test_gradients():
    g, other = grid([0.5, 2.0]), grid(0.25)
    scales = Scales([g, other])
    g.of_scale[...] = [[0.1, -0.2]]
    other.of_scale[...] = 1e9
    scales.differentiate()
    rate = 1 / np.sqrt(100 * 8)  # values, steps to the farther end
    np.testing.assert_allclose(g.gradient, np.array([[0.1, -0.2]]) * rate / (10 * g.scale), rtol=1e-5)
    assert other.gradient.item() == np.float32(GRADIENT_LIMIT)


def test_the_pull_on_clipping_values():
    g = grid(0.5, moves_inside=False)
    scales = Scales([g])
    g.of_scale[...] = 0
    scales.differentiate()
    np.testing.assert_allclose(g.gradient, 2e-4 * 8**2 * 0.5 / (np.sqrt(100 * 8) * 10 * 0.5), rtol=1e-5)


def test_codebooks_are_refused():
    p = ql.choose_qparams(np.float32([[1.0, 2.0]]), grid="nf4")
    with pytest.raises(ValueError, match=r"^scheme: expected uniform grids"):
        LearnedGrid(p, 10, True)
