"""The verifiers (`python -m tests.verify`) on a part of what they go through, so that they do not rot."""

import shutil

import pytest

from qlite import _core

from .conftest import isas
from .verify import deepk, int4, lanes, products, quotients, shapes, threads
from .verify.checks import Checks
from .verify.tally import Tally

PARTS = {
    "products": (products.check, {"places": products.FEW, "stored": products.FEW[:1]}),
    "lanes": (lanes.check, {"pairs": lanes.FEW}),
    "shapes": (shapes.check, {"numbers": shapes.FEW}),
    "deepk": (deepk.check, {"sizes": deepk.FEW}),
    "int4": (int4.check, {"groups": (8, 24, 64), "rows": (1, 2, 5, 7), "columns": (1, 9, 33), "depths": (8, 64, 100)}),
    "threads": (threads.check, {"shapes": threads.FEW, "images": threads.FEW_IMAGES, "threads": (1, 2, 8)}),
}


@pytest.mark.parametrize("name", PARTS)
def test_part(name):
    check, selection = PARTS[name]
    tally = Tally()
    check(tally, isas(), **selection)
    assert sum(tally.done.values()) > 0
    assert not tally.examples, "\n".join(tally.examples)


def test_quotients_of_a_sample(capsys):
    """One in 4093 floats, all pairs of significands that matter, and one in 997 significands with codes."""
    if not shutil.which(quotients.COMPILER[0]):
        pytest.skip("needs a compiler")
    if _core.info()["isa"] == "scalar":
        pytest.skip("needs fused multiply-add")
    checks = Checks()
    quotients.check(checks)
    assert (checks.passed, checks.failed) == (quotients.SCALES + 4, 0), capsys.readouterr().out
