"""Long names of files in tables: short patterns, each of which `per_layer` takes for its layer alone."""

from fnmatch import fnmatchcase

import numpy as np
import pytest

import qlite as ql
from qlite.nn.shown_names import LONGEST, shown_names

OPERATIONS = "net/batch_normalization/FusedBatchNormV3;net/conv2d/Conv2D;net/conv2d/BiasAdd"


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["dense_1", "x" * LONGEST], ["dense_1", "x" * LONGEST]),
        ([f"a/Relu;{OPERATIONS}", f"b/Relu;{OPERATIONS}"], ["a/Relu;*", "b/Relu;*"]),
        ([f"a/Relu;{OPERATIONS}", "a/Relu;b"], ["a/Relu;net/batch_normalization*et/conv2d/BiasAdd", "a/Relu;b"]),
        ([f"a[0];{OPERATIONS}"], [f"a[0];{OPERATIONS}"]),
        (["x" * 100, "x" * 101], ["x" * 100, "x" * 101]),
        ([], []),
    ],
    ids=["short", "first operations", "both ends", "no pattern", "alike", "none"],
)
def test_long_names_are_shown_as_patterns(names, shown):
    assert list(shown_names(names).values()) == shown


@pytest.mark.parametrize("seed", range(5))
def test_what_is_shown_fits_its_name_alone(seed):
    rng = np.random.default_rng(seed)
    names = ["".join(rng.choice(list("ab;["), rng.integers(1, 4))) * int(rng.integers(1, 40)) for _ in range(200)]
    for name, shown in shown_names(names).items():
        assert shown == name or {n for n in names if fnmatchcase(n, shown)} == {name}


def test_tables_are_narrow_and_take_what_they_show():
    rng = np.random.default_rng(0)
    names = [f"net/{i}/Relu;{OPERATIONS}" for i in range(2)]
    x = rng.normal(size=(50, 8))
    m = ql.Sequential([ql.Dense(rng.normal(size=(8, 8)), name=name) for name in names])
    qm = ql.quantize_model(m, data=x, per_layer={"net/1/Relu;*": "w8a16"})
    for table in (m, m.summary(), qm, qm.summary(), ql.compare(m, qm, x)):
        assert "net/1/Relu;*" in str(table)
        assert OPERATIONS not in str(table)
    assert [row.name for row in m.summary().layers] == names
    with pytest.raises(ValueError, match=r"per_layer: .* such as 'net/0/Relu;\*', 'net/1/Relu;\*', got 'conv2d'"):
        ql.quantize_model(m, data=x, per_layer={"conv2d": "w8"})
