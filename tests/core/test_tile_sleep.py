"""Tiles (AMX) that fall asleep: small products that come alone are left to the next lower instruction set, with the
same bits, whenever that begins. The rule is tried alone; what computes by it, on emulated tiles (QLITE_EMULATE_AMX=1),
whose clock tests can set."""

import ctypes
import platform
import shutil
import subprocess
import sysconfig
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from graphs import Graph, weights
from networks import zoo
from networks.qlite_model import qlite_model
from samples import codes, same_bytes

import qlite as ql
from qlite import _core

ROOT = Path(__file__).parents[2]
COMPILER = (sysconfig.get_config_var("CC") or "cc").split()
MUCH = 3_000_000  # multiply-adds that are always left to tiles (csrc/kernels/amxint8/unit_amxint8.c)


def with_clock(library):
    """The library, with its function that lets the clock leap (tests/kernels/clock_emulated.h)."""
    library.ql_emulated_leaps.argtypes = [ctypes.c_uint64]
    library.ql_emulated_leaps.restype = ctypes.c_uint64
    return library


# ---- the rule ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    if platform.machine() != "x86_64" or not shutil.which(COMPILER[0]):
        pytest.skip("needs a compiler for x86-64")
    path = tmp_path_factory.mktemp("unit") / "unit.so"
    sources = ["csrc/kernels/amxint8/unit_amxint8.c", "tests/kernels/clock_emulated.c"]
    flags = ["-std=c11", "-O1", "-shared", "-fPIC", "-DQL_EMULATE_AMX", "-Icsrc", "-Itests/kernels"]
    subprocess.run([*COMPILER, *flags, *sources, "-o", path], check=True, cwd=ROOT)
    return with_clock(ctypes.CDLL(path))


@pytest.fixture
def unit(compiled):
    """Two functions: whether so many multiply-adds are worth it, and the note that tiles were used."""
    is_worth = compiled.ql_unit_is_worth__amxint8
    is_worth.argtypes, is_worth.restype = [ctypes.c_uint64], ctypes.c_bool
    compiled.ql_emulated_leaps(0)
    compiled.ql_unit_note_use__amxint8()
    yield is_worth, compiled.ql_unit_note_use__amxint8
    compiled.ql_emulated_leaps(0)


def test_tiles_that_are_awake_take_every_product(unit):
    is_worth, _ = unit
    assert all(is_worth(macs) for macs in (1, 1000, MUCH - 1, MUCH, 2**63))


def test_tiles_that_sleep_take_large_products_alone(compiled, unit):
    is_worth, _ = unit
    compiled.ql_emulated_leaps(1)
    assert not any(is_worth(macs) for macs in (1, 1000, MUCH - 1))
    assert all(is_worth(macs) for macs in (MUCH, 2**63))


def test_only_use_wakes_tiles(compiled, unit):
    is_worth, note_use = unit
    compiled.ql_emulated_leaps(2)
    assert [is_worth(1) for _ in range(3)] == [True, False, False]
    compiled.ql_emulated_leaps(4)
    note_use()
    assert [is_worth(1) for _ in range(3)] == [True, True, False]


def test_each_thread_has_tiles_of_its_own(compiled, unit):
    is_worth, note_use = unit
    compiled.ql_emulated_leaps(1)
    note_use()
    compiled.ql_emulated_leaps(10)
    answers = []
    other = threading.Thread(target=lambda: answers.append(is_worth(1)))
    other.start()
    other.join()
    assert answers == [False] and is_worth(1)


# ---- what computes by it ----------------------------------------------------------------------------


def emulated_clock():
    library = ctypes.CDLL(_core.__file__)
    return with_clock(library).ql_emulated_leaps if hasattr(library, "ql_emulated_leaps") else None


@pytest.fixture
def leaps():
    """The emulated clock of tiles, which then serve the test. One thread computes: its tiles can be woken."""
    leaps = emulated_clock()
    if not leaps:
        pytest.skip("tiles are not emulated")
    before = _core.info()["isa"]
    _core.isa_select("amxint8")
    ql.set_num_threads(1)
    yield leaps
    ql.set_num_threads(None)
    _core.isa_select(before)


def wake():
    """One product that is large enough."""
    ql.matmul_integer(np.ones((64, 1024), np.uint8), np.ones((1024, 64), np.int8))


def same_whenever_tiles_sleep(leaps, compute):
    """Calls `compute` with tiles that never sleep, sleep before each product, and fall asleep in the middle: on a
    thread of its own, whose tiles no other test meets asleep."""

    def check():
        expected = compute()
        awake = leaps(1)
        same_bytes(compute(), expected)
        assert 0 < leaps(0) < awake  # a product on tiles reads the clock twice
        for every in (2, 3, 4, 5, 7, 9, 11):
            wake()
            leaps(every)
            same_bytes(compute(), expected)
            leaps(0)

    leaps(0)
    try:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(check).result()
    finally:
        leaps(0)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_products(leaps, rng, dtype):
    shapes = [(1, 64, 32), (16, 64, 64), (33, 100, 70), (70, 130, 257), (300, 64, 40)]
    pairs = [(codes(rng, (m, k), dtype), codes(rng, (k, n), "int8")) for m, k, n in shapes]
    packed = [(a, ql.pack(b)) for a, b in pairs]
    same_whenever_tiles_sleep(leaps, lambda: np.concatenate([ql.matmul_integer(a, b).ravel() for a, b in packed]))


@pytest.mark.parametrize("group_size", [None, 64, 32])
def test_layers(leaps, rng, group_size):
    """Rows with scales of their own, and weights in groups."""
    w = ql.quantize(
        rng.normal(size=(256, 64)).astype(np.float32), 4 if group_size else 8, axis=1, group_size=group_size
    )
    packed = ql.pack(w)
    x = [rng.normal(size=(rows, 256)).astype(np.float32) for rows in (1, 32, 33, 70, 150)]
    same_whenever_tiles_sleep(leaps, lambda: np.concatenate([ql.linear(rows, packed) for rows in x]))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("window", [1, 3])
def test_convolutions(leaps, rng, window, stride):
    images = [codes(rng, (samples, side, side, 64), "uint8") for samples, side in [(3, 6), (1, 7), (2, 30), (1, 9)]]
    w = codes(rng, (window, window, 64, 24), "int8")

    def compute():
        results = [ql.conv2d_integer(x, w, stride=stride, padding=window // 2) for x in images]
        return np.concatenate([y.ravel() for y in results])

    same_whenever_tiles_sleep(leaps, compute)


@pytest.mark.parametrize("padding", [(1, 1, 1, 1), (1, 2, 1, 2)], ids=str)
@pytest.mark.parametrize("count", [64, 80])
def test_transposed_convolutions(leaps, rng, count, padding):
    """Images in copies and in place; phases of one tap and of four, some of which are left to other products anyway."""
    graph, height, width = Graph(inputs=(0,)), 13 - sum(padding[:2]), 15 - sum(padding[2:])
    graph.add_buffer("uint8", (6, 7, count), 0.02, 3, bits=8)
    graph.add_buffer("int32", (height, width, 32))
    fields = weights(rng, 9 * count, 32)
    fields["weight"] = fields["weight"].reshape(3, 3, count, 32)
    fields |= {"stride": (2, 2), "padding": padding, "output_padding": (0, 0), "bias": None, "activation": None}
    graph.add_step("conv_transpose", (0,), 1, **fields, requant="float")
    graph.outputs = (1,)
    x, plan = codes(rng, (3, 6, 7, count), "uint8"), graph.plan()
    same_bytes(plan.run(x), graph.evaluate(x)[1])
    same_whenever_tiles_sleep(leaps, lambda: plan.run(x))


@pytest.mark.parametrize("make", [zoo.small_cnn, zoo.ds_cnn, zoo.resnet_8], ids=lambda make: make.__name__)
def test_plans(leaps, rng, make):
    network = make()
    x = rng.normal(size=(3, *network.input_shape)).astype(np.float32)
    model = ql.quantize_model(qlite_model(network), data=x)
    same_whenever_tiles_sleep(leaps, lambda: model(x))
