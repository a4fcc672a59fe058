"""Permission for tiles (AMX): when the system is asked, what a refusal leaves, and that nothing else in the process
changes. Each case has a process of its own, since an answer cannot be taken back.

The dispatcher is built alone, with a row of tiles that every CPU has (QL_EMULATE_AMX) and no kernels. The package is
tried as it is: where it has no tiles, that is what it has to say.
"""

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMPILER = (sysconfig.get_config_var("CC") or "cc").split()
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "QLITE_ISA"} | {"QLITE_TRUST_TILES": "1"}

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="Linux on x86-64 alone asks for permission"
)

# What a process can do that matters for the permission: a signal stack of 4 KB, a filter that forbids the question.
PRELUDE = """
import ctypes, os, struct, threading

libc = ctypes.CDLL(None, use_errno=True)

class Stack(ctypes.Structure):
    _fields_ = [("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]

memory = ctypes.create_string_buffer(4096)

def take_small_stack():
    stack = Stack(ctypes.cast(memory, ctypes.c_void_p), 0, len(memory))
    return libc.sigaltstack(ctypes.byref(stack), None) == 0

def permitted():
    mask = ctypes.c_uint64()
    libc.syscall(158, 0x1022, ctypes.byref(mask))  # arch_prctl(ARCH_GET_XCOMP_PERM)
    return bool(mask.value >> 18 & 1)

def forbid():
    rules = [(0x20, 0, 0, 0), (0x15, 0, 3, 158), (0x20, 0, 0, 16), (0x15, 0, 1, 0x1023)]  # arch_prctl(0x1023, ...)
    rules += [(0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000)]  # EPERM; all else is allowed
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(rules), ctypes.addressof(code)))
    assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0, ctypes.get_errno()

def in_child(check):
    pid = os.fork()
    if pid == 0:
        try:
            check()
        except BaseException as error:
            os.write(2, repr(error).encode())
            os._exit(1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0

def in_threads(check, n=8):
    barrier, answers = threading.Barrier(n), []
    def run():
        barrier.wait()
        answers.append(check())
    threads = [threading.Thread(target=run) for _ in range(n)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(answers) == n
    return set(answers)
"""
ALONE = """
core = ctypes.CDLL(os.environ["CORE"])
core.ql_tiles_permission.restype = ctypes.c_bool
core.ql_isa_can_run.restype = ctypes.c_bool
core.ql_isa_can_run.argtypes = [ctypes.c_size_t]
core.ql_isa_active.restype = core.ql_tiles_text.restype = ctypes.c_char_p
permission = core.ql_tiles_permission

def now():
    return core.ql_isa_active().decode(), core.ql_tiles_text().decode()

SMALL, FORBIDDEN = "refused: a signal stack is too small", "refused: a filter forbids the system call"
assert core.ql_isa_select(None) == 0
assert now() == ("amxint8", "not asked yet") and core.ql_isa_can_run(1)
"""
PACKAGE = """
import numpy as np
import qlite as ql

rng = np.random.default_rng(0)
a = rng.integers(0, 256, (128, 512)).astype(np.uint8)
b = rng.integers(-128, 128, (512, 128)).astype(np.int8)
expected = (a.astype(np.float64) @ b).astype(np.int32)
packed = ql.pack(b)

def is_right():
    return np.array_equal(ql.matmul_integer(a, b), expected) and np.array_equal(ql.matmul_integer(a, packed), expected)

def model():
    layer = ql.from_weights([(np.random.default_rng(1).normal(size=(512, 128)), None)])
    return ql.quantize_model(layer, data=a[:2] / np.float32(255))

has_tiles = ql.show_config("dict")["isa_active"] == "amxint8"

def tiles_are(answer):
    config = ql.show_config("dict")
    assert (config["isa_active"] == "amxint8") == (has_tiles and answer != "refused")
    return config["tiles"].partition(":")[0] == (answer if has_tiles else "absent")
"""


@pytest.fixture(scope="module")
def dispatcher(tmp_path_factory):
    """The dispatcher with two rows, scalar and amxint8."""
    if not shutil.which(COMPILER[0]):
        pytest.skip("needs a compiler")
    folder = tmp_path_factory.mktemp("tiles")
    header = folder / "kernels" / "amxint8" / "amxint8.h"
    header.parent.mkdir(parents=True)
    header.write_text('#include "kernels/kernels.h"\nQL_DECLARE_KERNELS(amxint8);\n')
    sources = ["dispatch/cpu.c", "dispatch/dispatch.c", "dispatch/permission.c", "../tests/core/tiles.c"]
    flags = ["-std=c11", "-O1", "-shared", "-fPIC", "-DQL_EMULATE_AMX", "-DQL_HAVE_AMXINT8"]
    flags += [f"-I{ROOT / 'csrc'}", f"-I{folder}"]
    command = [*COMPILER, *flags, *(ROOT / "csrc" / source for source in sources), "-o", folder / "tiles.so"]
    subprocess.run(command, check=True)
    return folder / "tiles.so"


def run(program, **environment):
    command = [sys.executable, "-c", PRELUDE + program]
    result = subprocess.run(command, capture_output=True, text=True, env={**ENVIRONMENT, **environment}, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


ALONE_CASES = {
    "granted": "assert permission() and permission() and now() == ('amxint8', 'granted')",
    "small stack": "take_small_stack()\n"
    "assert not permission() and now() == ('scalar', SMALL)\n"
    "assert not core.ql_isa_can_run(1) and core.ql_isa_select(b'amxint8') != 0",
    "filter": "forbid()\nassert not permission() and now() == ('scalar', FORBIDDEN)",
    "by name": "assert core.ql_isa_select(b'amxint8') == 0 and now() == ('amxint8', 'granted')",
    "by name, refused": "forbid()\n"
    "assert core.ql_isa_select(b'amxint8') != 0 and now() == ('scalar', FORBIDDEN)\n"
    "assert core.ql_isa_select(None) == 0 and now()[0] == 'scalar'",
    "switched off": "assert core.ql_isa_select(b'scalar') == 0 and now() == ('scalar', 'not asked yet')\n"
    "assert core.ql_isa_select(None) == 0 and now() == ('amxint8', 'not asked yet')",
    "asked once, granted": "assert permission()\nforbid()\nassert permission() and now() == ('amxint8', 'granted')",
    "asked once, refused": "take_small_stack()\nassert not permission()\n"
    "libc.sigaltstack(ctypes.byref(Stack(None, 2, 0)), None)\n"
    "assert not permission() and now() == ('scalar', SMALL)",
    "threads at once": "assert in_threads(permission) == {True} and now() == ('amxint8', 'granted')",
    "threads at once, refused": "forbid()\nassert in_threads(permission) == {False} and now() == ('scalar', FORBIDDEN)",
    "fork before": "in_child(lambda: permission() or 1 / 0)\nassert now() == ('amxint8', 'not asked yet')",
    "fork after": "assert permission()\nforbid()\nin_child(lambda: permission() or 1 / 0)",
    "fork after, refused": "forbid()\nassert not permission()\nin_child(lambda: permission() and 1 / 0)\n"
    "in_child(lambda: now() == ('scalar', FORBIDDEN) or 1 / 0)",
}
PACKAGE_CASES = {
    "small stack": "assert take_small_stack() and is_right() and tiles_are('refused')",
    "filter": "forbid()\nassert is_right() and tiles_are('refused')",
    "planned before the answer": "planned = model()\n"
    "y = planned(a[:1] / 255)\n"
    "assert is_right() and np.array_equal(planned(a / 255)[:1], y) and np.array_equal(model()(a / 255)[:1], y)",
    "planned before a refusal": "planned = model()\nforbid()\n"
    "y = planned(a / 255)\n"
    "assert is_right() and np.array_equal(model()(a / 255), y)",
    "threads at once": "assert in_threads(is_right) == {True} and tiles_are('granted')",
    "threads before and after": "go, answers = threading.Event(), []\n"
    "def wait():\n    go.wait()\n    answers.append(is_right())\n"
    "early = threading.Thread(target=wait)\nearly.start()\n"
    "assert is_right()\ngo.set()\nearly.join()\n"
    "assert answers == [True] and in_threads(is_right, 2) == {True}",
    "fork": "ql.set_num_threads(1)\nin_child(lambda: is_right() or 1 / 0)\nassert is_right()\n"
    "in_child(lambda: is_right() or 1 / 0)",
    "faulthandler": "import faulthandler\nfaulthandler.enable()\nassert is_right()\n"
    "faulthandler.disable()\nfaulthandler.enable()\nassert is_right()",
    "subinterpreter": "import _xxsubinterpreters as interpreters\nassert is_right()\n"
    "other = interpreters.create()\ninterpreters.run_string(other, 'assert sum(range(10)) == 45')\n"
    "interpreters.destroy(other)\nassert is_right()",
}


@pytest.mark.parametrize("case", ALONE_CASES)
def test_the_dispatcher(case, dispatcher):
    run(ALONE + ALONE_CASES[case], CORE=str(dispatcher))


@pytest.mark.parametrize("case", PACKAGE_CASES)
def test_products(case):
    if case == "subinterpreter":
        pytest.importorskip("_xxsubinterpreters")
    run(PACKAGE + PACKAGE_CASES[case])


def test_an_import_does_not_ask():
    run("before = permitted()\nimport qlite\nassert permitted() == before and take_small_stack()")


def test_exec_forgets_the_answer():
    program = "import sys\nassert is_right()\nos.execv(sys.executable, [sys.executable, '-c', sys.argv[-1]])"
    after = "import qlite\nprint(qlite.show_config('dict')['tiles'])"
    program = program.replace("sys.argv[-1]", repr(after))
    assert run(PACKAGE + program).startswith(("absent", "not asked yet"))


def test_an_instruction_set_asked_for_by_name_is_refused_with_the_reason():
    program = """
forbid()
try:
    import qlite
except ImportError as error:
    assert "QLITE_ISA" in str(error) and "tiles are " in str(error), error
else:
    raise AssertionError("imported")
"""
    run(program, QLITE_ISA="amxint8")


def test_it_can_be_switched_off():
    """Also under the name of a set that has none."""
    program = "said = ql.show_config('dict')['tiles']\n"
    program += "assert is_right() and not has_tiles and said in ('absent: the CPU has no tiles', 'not asked yet')\n"
    program += "assert not permitted()"
    run(PACKAGE + program, QLITE_ISA="scalar")
