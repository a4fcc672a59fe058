"""Threads: the same bits for any number of them, and life with forks, signals, other threads and other libraries."""

import ctypes
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import reference
from samples import same_bytes

import qlite as ql

SHARE = 65536  # elements (csrc/core/base/shares.h)
COUNTS = [1, 2, 3, 16]
# The CPUs that this process may run on: fewer than the machine has where it is in a container with a cpuset.
CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
HAS_OPENMP = ql.show_config("dict")["openmp"] is not None
needs_openmp = pytest.mark.skipif(not HAS_OPENMP, reason="built without OpenMP")
needs_two_cpus = pytest.mark.skipif(ql.get_num_threads() < 2, reason="needs two CPUs")
needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")

# What the processes that the tests start begin with: work that takes its time, and what must come of it.
PRELUDE = """
import os, signal, sys, threading, time
import numpy as np
import qlite as ql
x = np.random.default_rng(1).normal(size=2_000_000).astype(np.float32)
p = ql.choose_qparams(x, 12)
def work():
    return ql.quantize(x, p, rounding="stochastic", seed=3).codes.tobytes()
ql.set_num_threads(1)
expected = work()
ql.set_num_threads(3)
assert work() == expected
"""


@pytest.fixture(autouse=True)
def threads_as_before():
    yield
    ql.set_num_threads(None)


def run(program, *, prelude=PRELUDE, timeout=100, **environment):
    """What the program prints."""
    environment = {**os.environ, **{name.upper(): value for name, value in environment.items()}}
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", prelude + program]
    result = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


# ---- how many ---------------------------------------------------------------------------------------


def test_set_and_get():
    default = ql.get_num_threads()
    assert 1 <= default <= (os.cpu_count() or 1)
    for n in (1, np.int64(1), 1024, 7):
        assert ql.set_num_threads(n) is None
        assert ql.get_num_threads() in (n, default)  # the second where OpenMP's limit is lower
    assert ql.show_config("dict")["threads"] == ql.get_num_threads()
    ql.set_num_threads(None)
    assert ql.get_num_threads() == default


def test_bad_arguments_change_nothing():
    ql.set_num_threads(1)
    cases = [(0, ValueError), (1025, ValueError), (-(10**30), ValueError), (2.0, TypeError), ("2", TypeError)]
    for bad, error in cases:
        with pytest.raises(error, match=r"n: expected .*, got "):
            ql.set_num_threads(bad)
    assert ql.get_num_threads() == 1


@needs_openmp
def test_environment_is_a_limit():
    program = "import qlite as ql; print(ql.get_num_threads()); ql.set_num_threads(5); print(ql.get_num_threads())"
    assert run(program, prelude="", omp_num_threads="1").split() == ["1", "1" if CPUS > 1 else "5"]
    cpus = run("import qlite as ql; print(ql.get_num_threads())", prelude="", omp_num_threads="")
    assert run(program, prelude="", omp_num_threads="64").split() == [cpus, "5"]  # of no use: not a lower limit


@needs_openmp
@needs_two_cpus
def test_threadpoolctl_is_a_limit():
    pytest.importorskip("threadpoolctl")
    program = """
from threadpoolctl import threadpool_limits
ql.set_num_threads(9)
with threadpool_limits(1):
    print(ql.get_num_threads(), end=" ")
print(ql.get_num_threads())"""
    assert run(program, omp_num_threads="9") == "1 9"


@needs_openmp
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs affinities")
def test_affinity_is_the_default():
    program = """
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
ql.set_num_threads(None)
print(ql.get_num_threads())"""
    assert run(program) == "1"


@needs_linux
def test_threads_start_when_there_is_work_for_them():
    program = """
started = [len(os.listdir("/proc/self/task"))]
for n in (2, 4, 3):
    ql.set_num_threads(n)
    assert work() == expected
    started.append(len(os.listdir("/proc/self/task")))
print(started[0] - started[-1], started[2] - started[1])
"""
    assert run(program, omp_num_threads="").split() == ["-1", "1"]
    small = "ql.quantize(np.ones(1000, np.float32)); print(len(os.listdir('/proc/self/task')))"
    alone = "print(len(os.listdir('/proc/self/task')))"
    start = "import os; import numpy as np; import qlite as ql;"
    assert run(start + small, prelude="") == run(start + alone, prelude="")


# ---- the same bits ----------------------------------------------------------------------------------

# Shapes and options of which each cuts runs in another way: one run, long ones, many short ones, groups longer and
# shorter than a share, and one that a share ends in.
CUTS = [
    ((1_300_001,), {}),
    ((3, 450_001), {"axis": 0}),
    ((40_000, 33), {"axis": 1}),
    ((1200, 1100), {"axis": 0, "group_size": 7}),
    ((2, 700_000), {"axis": 0, "group_size": 2 * SHARE + 5}),
    ((1_200_000,), {"group_size": 1000}),
    ((700, 1500), {"axis": 1}),
]


@pytest.mark.parametrize("shape, granularity", CUTS, ids=str)
def test_any_number_of_threads_gives_the_same_bits(isa, rng, shape, granularity):
    w = rng.normal(0, 3, shape).astype(np.float32)
    p = ql.choose_qparams(w, symmetric=False, **granularity)
    wide = ql.choose_qparams(w, 12, **granularity)
    groups = dict(zip(("group_size", "group_axis"), p.granularity.groups, strict=True))
    codes = reference.quantize(w, p.scale, p.zero_point, p.qmin, p.qmax, **groups).astype(p.dtype)
    values = reference.dequantize(codes, p.scale, p.zero_point, **groups)
    ql.set_num_threads(1)
    stochastic = ql.quantize(w, wide, rounding="stochastic", seed=5)
    for n in COUNTS:
        ql.set_num_threads(n)
        q = ql.quantize(w, p)
        same_bytes(q.codes, codes)
        same_bytes(ql.dequantize(q), values)
        same_bytes(ql.fake_quantize(w, p), values)
        same_bytes(ql.quantize(w, wide, rounding="stochastic", seed=5).codes, stochastic.codes)
        again = ql.choose_qparams(w, symmetric=False, **granularity)
        same_bytes(again.scale, p.scale)
        same_bytes(again.zero_point, p.zero_point)


@pytest.mark.products
@pytest.mark.parametrize("m, k, n", [(1, 2100, 3001), (70, 1100, 1001), (700, 301, 700)])
def test_products_of_any_number_of_threads(isa, rng, m, k, n):
    a, b = rng.integers(0, 256, (m, k), np.uint8), rng.integers(-128, 128, (k, n), np.int8)
    x, bias = rng.normal(size=(m, k)).astype(np.float32), rng.normal(size=n).astype(np.float32)
    q = ql.quantize(rng.normal(size=(k, n)).astype(np.float32), axis=1)
    exact = reference.matmul_integer(a, b, 3, -4)
    ql.set_num_threads(1)
    expected, floats = ql.linear(x, q, bias, activation="relu"), x @ q
    for threads in COUNTS:
        ql.set_num_threads(threads)
        same_bytes(ql.matmul_integer(a, b, 3, -4), exact)
        same_bytes(ql.linear(x, q, bias, activation="relu"), expected)
        same_bytes(x @ q, floats)


@pytest.mark.products
@pytest.mark.parametrize("m", [4034, 5378])
def test_last_rows_that_share_more_than_those_before(isa, rng, m):
    """Two threads take some 2690 rows, then the rest, a stretch of which is up to 84 rows longer."""
    x = rng.normal(size=(m, 1558)).astype(np.float32)
    q = ql.quantize(rng.normal(size=(1558, 8)).astype(np.float32), axis=1, symmetric=False)
    ql.set_num_threads(1)
    expected = ql.linear(x, q)
    ql.set_num_threads(2)
    same_bytes(ql.linear(x, q), expected)


@pytest.mark.parametrize("place", [0, 777_777, -1])
@pytest.mark.parametrize("bits", [8, 12])
def test_what_one_thread_finds_stops_all(rng, place, bits):
    w = rng.normal(size=1_500_000).astype(np.float32)
    p = ql.choose_qparams(w, bits)
    out, same = np.full(w.shape, 77, p.dtype), np.full(w.shape, 5, np.float32)
    w[place] = np.nan
    for n in COUNTS:
        ql.set_num_threads(n)
        with pytest.raises(ValueError, match=r"^w: "):
            ql.quantize(w, p, out=out)
        with pytest.raises(ValueError, match=r"^x: "):
            ql.fake_quantize(w, p, out=same)
        with pytest.raises(ValueError, match=r"^w: "):
            ql.choose_qparams(w)
        assert (out == 77).all() and (same == 5).all()
        assert ql.quantize(w, p, nonfinite="saturate").codes[place] == p.zero_point.item()


@pytest.mark.skipif(platform.machine() != "x86_64" or sys.platform != "linux", reason="the number of a rounding mode")
def test_helpers_compute_as_the_caller_does(rng):
    """The direction of rounding is a thread's own. (Denormals that are flushed to zero are, too.)"""
    libm, upward = ctypes.CDLL("libm.so.6"), 0x800
    q = ql.quantize(rng.normal(size=1_500_000).astype(np.float32))
    nearest = q.dequantize()
    assert libm.fesetround(upward) == 0
    try:
        results = []
        for n in (1, 4, 4, 4):
            ql.set_num_threads(n)
            results.append(q.dequantize())
    finally:
        libm.fesetround(0)
    assert any(nearest != results[0])
    for result in results[1:]:
        same_bytes(result, results[0])


# ---- with others ------------------------------------------------------------------------------------


def test_many_python_threads_at_once(rng):
    ql.set_num_threads(4)
    w = rng.normal(size=(1100, 1000)).astype(np.float32)
    p = ql.choose_qparams(w, axis=1)
    x = rng.normal(size=(64, 1100)).astype(np.float32)
    weight, codes = ql.pack(ql.quantize(w, p)), rng.integers(-128, 128, (256, 1100), np.int8)
    calls = [
        lambda: ql.quantize(w, p).codes,
        lambda: ql.fake_quantize(w, p, rounding="stochastic", seed=1),
        lambda: ql.matmul_integer(codes, ql.quantize(w, p).codes),
        lambda: ql.linear(x, weight),
    ]
    expected = [call().tobytes() for call in calls]
    wrong = []

    def work(first):
        for i in range(first, first + 12):
            if calls[i % len(calls)]().tobytes() != expected[i % len(calls)]:
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


FORK = """
def child_is_well():
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(30)  # a child that hangs; under sanitizers, on a busy machine, one takes seconds
            os._exit(0 if work() == expected else 1)
        finally:
            os._exit(2)
    return os.waitpid(pid, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_computes():
    program = """
for _ in range(50):
    assert work() == expected
    assert child_is_well()
"""
    run(FORK + program)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_amid_the_work_of_others():
    program = """
done, wrong = [], []
def others():
    while not done:
        if work() != expected:
            wrong.append(1)
threads = [threading.Thread(target=others) for _ in range(2)]
for thread in threads:
    thread.start()
well = [child_is_well() for _ in range(20)]
done.append(True)
for thread in threads:
    thread.join()
assert all(well) and not wrong
"""
    run(FORK + program)


PROCESSES = """
import hashlib, multiprocessing, sys
import numpy as np
import qlite as ql

def work(seed):
    ql.set_num_threads(2)
    x = np.random.default_rng(seed).normal(size=2_000_000).astype(np.float32)
    return hashlib.sha256(ql.quantize(x, 12, rounding="stochastic", seed=seed).codes).hexdigest()

if __name__ == "__main__":
    expected = [work(seed) for seed in range(4)]
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        assert pool.map_async(work, range(4)).get(60) == expected
    print("well")
"""


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_multiprocessing(tmp_path, method):
    script = tmp_path / "processes.py"
    script.write_text(PROCESSES)
    command = [sys.executable, "-W", "ignore::DeprecationWarning", str(script), method]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.stdout.strip() == "well", result.stderr


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_ctrl_c():
    program = """
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where pytest runs in the background of a shell
try:
    print("ready", flush=True)
    while True:
        work()
except KeyboardInterrupt:
    assert work() == expected
    print("stopped", flush=True)
"""
    command = [sys.executable, "-c", PRELUDE + program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    assert out == "stopped\n", err
    assert process.returncode == 0


#: Calls of about a second or more.
LONG = {
    "conv": "ql.conv2d_integer(np.ones((1, 8, 8, 16), np.uint8), np.ones((3, 3, 16, 16), np.int8), padding=2500)",
    "images": "ql.conv2d(np.ones((20, 8, 8, 16)), ql.quantize(np.ones((3, 3, 16, 16)), axis=3), padding=600)",
    "depthwise": "ql.conv2d(ql.quantize(np.ones((1, 8, 8, 16))), ql.quantize(np.ones((5, 5, 1, 16)), axis=3), "
    "padding=2500, groups=16)",
    "codes": "ql.matmul_integer(np.ones((20_000, 2000), np.int8), packed)",
    "linear": "ql.linear(np.ones((20_000, 2000), np.float32), packed)",
    "floats": "np.ones((5000, 2000), np.float32) @ w",
    "model": "model(np.ones((20_000, 2000), np.float32))",
}


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("call", LONG)
def test_case_o_ctrl_c_during_long_calls(call, threads):
    """It is heard while the core works, by the thread that called; the next call is right again."""
    program = f"""
import signal, threading, time
import numpy as np
import qlite as ql
ql.set_num_threads({threads})
signal.signal(signal.SIGINT, signal.default_int_handler)
w = ql.QArray.from_codes(np.ones((2000, 2000), np.int8), 1.0)
packed = ql.pack(w)
model = ql.from_weights([(np.ones((2000, 2000), np.float32), None)], task="multioutput")
model = ql.quantize_model(model, "dynamic")
model(np.ones((1, 2000), np.float32))
said = []
def interrupt():
    said.append(time.perf_counter())
    signal.raise_signal(signal.SIGINT)
threading.Timer(0.4, interrupt).start()
try:
    end = time.perf_counter() + 20
    while time.perf_counter() < end:
        {LONG[call]}
except KeyboardInterrupt:
    print(time.perf_counter() - said[0])
x = np.arange(12, dtype=np.uint8).reshape(3, 4)
assert ql.matmul_integer(x, x.T).tolist() == (x.astype(int) @ x.T).tolist()
"""
    heard = (float(run(program, prelude="", timeout=60)) for _ in range(3))  # again where the machine is busy
    assert any(seconds < 0.3 for seconds in heard)


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_a_signal_handler_computes_while_its_thread_does(rng):
    """What a handler calls is not given up, and what it interrupts goes on."""
    a = rng.integers(0, 256, (20_000, 1000), np.uint8)
    b = ql.pack(rng.integers(-128, 128, (1000, 1000), np.int8))
    expected, inner = ql.matmul_integer(a, b), []

    def compute(*_):
        inner.append(ql.matmul_integer(a[:50], b))
        signal.setitimer(signal.ITIMER_REAL, 0.01)  # again, once this is done: on a slow machine none comes amid it

    before = signal.signal(signal.SIGALRM, compute)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        for _ in range(100):
            same_bytes(ql.matmul_integer(a, b), expected)
            if len(inner) > 3:
                break
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(inner) > 3
    for result in inner:
        same_bytes(result, expected[:50])


@needs_linux
def test_the_program_ends_while_helpers_wait():
    for pause in ("0", "0.01"):
        run(f"time.sleep({pause})")
