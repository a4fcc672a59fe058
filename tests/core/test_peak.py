"""The multiply-adds that benchmarks time: as many as are said, on every instruction set."""

import pytest

from qlite import _core


@pytest.mark.parametrize("rounds", [0, 1, 2, 1537])
@pytest.mark.parametrize(("a", "b"), [(0, 5), (1, 1), (255, -128), (255, 127)])
def test_the_sum_is_that_of_so_many_products(isa, rounds, a, b):
    count, total = _core.peak(rounds, a, b)
    assert count == rounds * _core.peak(1, a, b)[0]
    assert (total - count * a * b) % 2**32 == 0


@pytest.mark.parametrize(("rounds", "b"), [(-1, 0), (1, 128), (1, -129)])
def test_what_does_not_fit_is_refused(rounds, b):
    with pytest.raises(ValueError, match="rounds, b"):
        _core.peak(rounds, 1, b)
