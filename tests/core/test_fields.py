"""Fields of steps, from Python to C: every kind, also those that no step has yet, and what is refused.

The conversion of the glue (csrc/python/py_fields.c) is built into a module of its own, which shows its results.
"""

import importlib.util
import shutil
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
COMPILER = (sysconfig.get_config_var("CC") or "cc").split()
NONE, BUFFER, BUFFERS, INT, FLOAT, INTS, TEXT, ARRAY = (1 << i for i in range(8))  # ql_value_kind

pytestmark = pytest.mark.skipif(
    not shutil.which(COMPILER[0]) or not (ROOT / "csrc").exists(), reason="needs a compiler and the sources"
)


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    path = tmp_path_factory.mktemp("fields") / f"fields{sysconfig.get_config_var('EXT_SUFFIX')}"
    includes = [ROOT / "csrc", sysconfig.get_path("include"), np.get_include()]
    sources = ["csrc/python/py_fields.c", "tests/core/fields.c"]
    command = [*COMPILER, "-std=c11", "-O1", "-shared", "-fPIC", *(f"-I{folder}" for folder in includes)]
    subprocess.run([*command, *(ROOT / source for source in sources), "-o", path], check=True)
    spec = importlib.util.spec_from_file_location("fields", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.values


def array(dtype, shape):
    return np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)


TAKEN = [
    (BUFFER, 3, BUFFER, 3),
    (BUFFER, np.int64(3), BUFFER, 3),
    (BUFFERS, (), BUFFERS, ()),
    (BUFFERS, (2,), BUFFERS, (2,)),
    (BUFFERS, tuple(range(8)), BUFFERS, tuple(range(8))),
    (INT, 7, INT, 7),
    (INT, -(2**63), INT, -(2**63)),
    (INT, 2**63 - 1, INT, 2**63 - 1),
    (INT, True, INT, 1),
    (INT, np.bool_(True), INT, 1),
    (INT, np.uint8(200), INT, 200),
    (FLOAT, 0.1, FLOAT, 0.1),
    (FLOAT, -3, FLOAT, -3.0),
    (FLOAT, np.float32(0.1), FLOAT, float(np.float32(0.1))),
    (FLOAT, float("inf"), FLOAT, float("inf")),
    (INT | FLOAT, 2, INT, 2),
    (INT | FLOAT, 2.0, FLOAT, 2.0),
    (INTS, (), INTS, ()),
    (INTS, (-1, True, np.int32(5)), INTS, (-1, 1, 5)),
    (INTS, tuple(range(-4, 4)), INTS, tuple(range(-4, 4))),
    (TEXT, "relu", TEXT, "relu"),
    (TEXT, "größer", TEXT, "größer"),
    *((kind | NONE, None, NONE, None) for kind in (BUFFER, INT, FLOAT, INTS, TEXT, ARRAY)),
    (TEXT | NONE, "", TEXT, ""),
]


@pytest.mark.parametrize("kinds, given, kind, expected", TAKEN, ids=str)
def test_values(values, kinds, given, kind, expected):
    ((name, (got_kind, got)),) = values({"field": kinds}, {"field": given}).items()
    assert (name, got_kind, got) == ("field", kind, expected)
    assert type(got) is type(expected)


@pytest.mark.parametrize("dtype", ["float32", "int8", "uint8", "int16", "int32"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 1, 3), (2, 3, 1, 2), (0, 3)], ids=str)
def test_arrays(values, dtype, shape):
    plain = array(dtype, shape)
    expected = (ARRAY, (dtype, shape, plain.tobytes()))
    for given in (plain, plain.copy("F"), plain.astype(plain.dtype.newbyteorder())):
        assert values({"field": ARRAY | NONE}, {"field": given}) == {"field": expected}


def test_several_fields_in_order(values):
    table = {"inputs": BUFFERS, "output": BUFFER, "weight": ARRAY, "alpha": FLOAT, "stride": INTS, "name": TEXT | NONE}
    given = {"name": None, "stride": (2, 2), "alpha": 1, "weight": array("int8", (2,)), "output": 1, "inputs": (0,)}
    got = values(table, given)
    assert list(got) == list(table)
    assert [kind for kind, _ in got.values()] == [BUFFERS, BUFFER, ARRAY, FLOAT, INTS, NONE]


def test_fields_that_there_are_not(values):
    with pytest.raises(ValueError, match=r"^fields: expected 1 of them, got 2"):
        values({"field": INT}, {"field": 1, "another": 2})
    with pytest.raises(ValueError, match=r"^fields: field is missing"):
        values({"field": INT}, {"another": 2})


REFUSED = [
    (BUFFER, 1.0, TypeError, "expected an integer, got float"),
    (BUFFER, -1, ValueError, "expected numbers of buffers, from 0 on, got -1"),
    (BUFFER, 2**70, ValueError, "expected a number that fits 64 bits, got 1180591620717411303424"),
    (BUFFER, None, TypeError, "expected an integer, got NoneType"),
    (BUFFERS, [0], TypeError, "expected a tuple of integers, got list"),
    (BUFFERS, (0.0,), TypeError, "expected a tuple of integers, got one with a float"),
    (BUFFERS, (0, -1), ValueError, "expected numbers of buffers, from 0 on, got -1"),
    (BUFFERS, (0,) * 9, ValueError, "expected up to 8 numbers, got 9"),
    (INT, "1", TypeError, "expected an integer, got str"),
    (INT, 2**63, ValueError, "expected a number that fits 64 bits"),
    (INT, np.ones((), np.int64), TypeError, "expected an integer, got numpy.ndarray"),
    (FLOAT, "1", TypeError, "expected a real number, got str"),
    (FLOAT, 1j, TypeError, "expected a real number, got complex"),
    (INTS, (1, None), TypeError, "expected a tuple of integers, got one with a NoneType"),
    (INTS, (0,) * 9, ValueError, "expected up to 8 numbers, got 9"),
    (INTS | NONE, 5, TypeError, "expected a tuple of integers or None, got int"),
    (TEXT, b"relu", TypeError, "expected a string, got bytes"),
    (TEXT | NONE, True, TypeError, "expected a string or None, got bool"),
    (ARRAY, [1.0], TypeError, "expected an ndarray, got list"),
    (ARRAY, None, TypeError, "expected an ndarray, got NoneType"),
    (ARRAY, np.zeros(3), TypeError, "expected float32, int8, uint8, int16 or int32 .* got float64 of 1"),
    (ARRAY, np.zeros((1,) * 5, np.int8), TypeError, "of up to 4 dimensions, got int8 of 5"),
]


@pytest.mark.parametrize("kinds, given, error, message", REFUSED, ids=str)
def test_refused(values, kinds, given, error, message):
    with pytest.raises(error, match=f"^field: {message}" if message[0] != "o" else f"^field: .*{message}"):
        values({"field": kinds}, {"field": given})


def test_a_missing_field(values):
    """None where it may be None."""
    assert values({"field": INT | NONE}, {}) == {"field": values({"field": NONE}, {"field": None})["field"]}
    with pytest.raises(ValueError, match=r"^fields: field is missing"):
        values({"field": INT}, {"fields": 1})
