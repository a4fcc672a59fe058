"""Forks while another thread is at work on an object that the child goes on with."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

PRELUDE = """
import os, signal, sys, threading, time
import numpy as np
import qlite as ql
values = np.random.default_rng(1).normal(size=1_000_000).astype(np.float32)

def succeeds_in_a_child(check):
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(5)
            os._exit(0 if check() else 1)
        finally:
            os._exit(2)
    return os.waitpid(pid, 0)[1] == 0

def while_another_works(work, check):
    done = []
    def others():
        while not done:
            work()
    thread = threading.Thread(target=others)
    thread.start()
    well = [succeeds_in_a_child(check) for _ in range(20)]
    done.append(True)
    thread.join()
    return all(well)
"""


def run(program):
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PRELUDE + program]
    result = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert (result.returncode, result.stdout) == (0, "well\n"), result.stderr


def test_case_m_a_fork_amid_an_update():
    """The child finds whole batches."""
    run("""
c = ql.Calibrator().update(values)
expected = c.qparams()
def check():
    is_whole = c.count % values.size == 0 and c._halves[c._batches % 2].state["count"].sum() % values.size == 0
    return is_whole and c.qparams() == expected and c.update(values).count % values.size == 0
assert while_another_works(lambda: c.update(values), check)
print("well")
""")


def test_case_m_a_fork_amid_merges():
    run("""
a, b = ql.Calibrator().update(values), ql.Calibrator().update(values)
expected = a.qparams()
assert while_another_works(lambda: a.merge(b), lambda: a.merge(b).qparams() == expected and b.qparams() == expected)
print("well")
""")


def test_case_m_a_fork_amid_the_first_call_of_a_model():
    run("""
model = ql.from_weights([(values.reshape(1000, 1000), None)])
quantized = ql.quantize_model(model, "w8")
x = values[:1000].reshape(1, 1000)
expected = model(x)
is_planning = threading.Event()
def plan():
    with quantized._planning:
        is_planning.set()
        time.sleep(0.3)
thread = threading.Thread(target=plan)
thread.start()
is_planning.wait()
assert succeeds_in_a_child(lambda: np.allclose(quantized(x), expected, rtol=0, atol=1))
thread.join()
print("well")
""")


def test_case_m_a_signal_handler_may_fork_while_its_thread_holds_a_lock():
    run("""
c = ql.Calibrator().update(values)
with c._lock:
    assert succeeds_in_a_child(lambda: c.qparams() is not None)
assert c.update(values).count == 2 * values.size
print("well")
""")
