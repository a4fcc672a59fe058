"""What all tests share: one run of a test per instruction set that can run here, and data."""

import os
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from qlite import _core

AVX512VNNI = {"avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vnni"}
# The CPU flags, as /proc/cpuinfo spells them, that each instruction set of the core needs.
ISA_CPU_FLAGS = {
    "avx2": {"avx2", "fma"},
    "avxvnni": {"avx2", "fma", "avx_vnni"},
    "avx512vnni": AVX512VNNI,
    "avx512vbmi": AVX512VNNI | {"avx512vbmi"},
    "amxint8": AVX512VNNI | {"avx512vbmi", "amx_tile", "amx_int8"},
    "neon": {"asimd"},
    "neondot": {"asimddp"},
    "neoni8mm": {"asimddp", "i8mm"},
}


def isas():
    """The instruction sets that can run, scalar first; where QLITE_ISA sets a ceiling, that one alone."""
    ceiling = os.environ.get("QLITE_ISA")
    return [ceiling] if ceiling else list(_core.info()["isas_runnable"])


@cache
def isas_by_name():
    """The instruction sets that can run and serve only those who ask for them by name: emulated tiles, for example."""
    if os.environ.get("QLITE_ISA"):
        return []
    before, found = _core.info()["isa"], []
    for isa in [isa for isa in _core.info()["isas_built"] if isa not in isas()]:
        with suppress(ImportError):
            _core.isa_select(isa)
            found.append(isa)
    _core.isa_select(before)
    return found


def isas_not_built():
    """The instruction sets that this CPU has and the build left out."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    built = _core.info()["isas_built"]
    return [isa for isa, needed in ISA_CPU_FLAGS.items() if needed <= flags and isa not in built]


def pytest_addoption(parser):
    parser.addoption("--share", metavar="K/N", help="every N-th test, from the K-th on")
    parser.addoption("--active-isa", action="store_true", help="no tests that choose an instruction set themselves")


def pytest_collection_modifyitems(config, items):
    if config.getoption("active_isa"):
        items[:] = [item for item in items if "isa" not in item.fixturenames]
    if share := config.getoption("share"):
        first, step = map(int, share.split("/"))
        # Rounds begin one share later each time, or that of a fixture's second value would have the slower half.
        items[:] = [item for i, item in enumerate(items) if (i + i // step) % step == first - 1]


def pytest_report_header(config):
    built = ", ".join(_core.info()["isas_built"])
    by_name = "".join(f", {isa} (products)" for isa in isas_by_name())
    return f"qlite: instruction sets covered: {', '.join(isas())}{by_name} (built: {built})"


def pytest_sessionstart(session):
    missing = isas_not_built()
    if missing and os.environ.get("CI") == "true":
        raise pytest.UsageError(f"this CPU has {', '.join(missing)}, but qlite was built without")


def pytest_generate_tests(metafunc):
    if "isa" in metafunc.fixturenames:
        is_of_products = metafunc.definition.get_closest_marker("products")
        metafunc.parametrize("isa", isas() + (isas_by_name() if is_of_products else []), indirect=True)


@pytest.fixture
def isa(request):
    """Runs the test once on each instruction set."""
    before = _core.info()["isa"]
    _core.isa_select(request.param)
    yield request.param
    _core.isa_select(before)


@pytest.fixture
def rng(request):
    """Random numbers that are the same in every run and on every instruction set, and differ from test to test."""
    return np.random.default_rng(list(request.node.originalname.encode()))


@pytest.fixture(scope="session")
def digits():
    """scikit-learn's handwritten digits: (x, y), 1797 x 64 float32 in [0, 1] and labels."""
    datasets = pytest.importorskip("sklearn.datasets")
    x, y = datasets.load_digits(return_X_y=True)
    return (x / 16).astype(np.float32), y
