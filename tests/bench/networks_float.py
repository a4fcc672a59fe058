"""Whole networks of floats: qlite's model next to PyTorch and the others, and the memory of a call.

Memory is by how much a call raises the peak of a fresh process, next to the two largest values that live at once: what
a network that is computed layer by layer cannot do without.
"""

import os
import subprocess
import sys
from functools import cache, partial
from math import prod
from pathlib import Path

from ..networks import zoo
from .networks import BATCHES
from .report import Bench
from .tasks import Task
from .works_networks import FLOAT_TOLERANCE, FLOATS, QLITE_FLOAT, TORCH, Case

TARGETS = {zoo.mobilenet_v2: 0.5}  # the ratio to PyTorch
SPARE_KIB = 1024  # beyond the two values
FLOAT32_BYTES = 4

ROOT = Path(__file__).resolve().parents[2]
PEAK = r"""
import re, sys
from pathlib import Path
import numpy as np
from tests.networks import zoo
from tests.networks.qlite_model import qlite_model

network = getattr(zoo, sys.argv[1])()
model, x = qlite_model(network), network.images(1)
np.ones((256, 256), np.float32) @ np.ones((256, 256), np.float32)  # BLAS allocates its buffers once
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
peak = lambda: int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
model(x)
print(peak() - before)
"""
AT_ONCE = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}  # what is freed goes back to the system


def tasks():
    for make in zoo.NETWORKS:
        network = make()
        for batch in BATCHES:
            yield Task(
                f"{network.name}, batch {batch}",
                cache(partial(Case, network, batch)),
                batch * network.operations,
                QLITE_FLOAT,
                (TORCH,),
                FLOATS,
                target=TARGETS.get(make),
                tolerance=FLOAT_TOLERANCE,
            )


def largest_pair_kib(network):
    """KiB of the two largest values of one sample that live at once, without the input, which is the caller's."""
    kib = {name: prod(shape) * FLOAT32_BYTES / 1024 for name, shape in network.shapes.items()}
    nodes = network.nodes
    last_use = {name: i for i, node in enumerate(nodes) for name in node.inputs}
    alive, largest = set(), 0
    for i, node in enumerate(nodes):
        alive.add(node.name)
        largest = max(largest, sum(sorted(kib[name] for name in alive)[-2:]))
        alive -= {name for name in node.inputs if last_use[name] == i}
    return largest


def peak_kib(make):
    """By how many KiB the call of a model raises the memory of a fresh process that holds it (Linux)."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **AT_ONCE}
    command = [sys.executable, "-c", PEAK, make.__name__]
    return int(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout)


class NetworksFloat:
    """The tasks, then the memory of the first network."""

    threads = 1

    def run(self, quick, only):
        figures = Bench("Networks of floats", "GOPS = 10^9 multiplications and additions a second", tasks()).run(
            quick, only
        )
        for make in TARGETS:
            peak, pair = peak_kib(make), largest_pair_kib(make())
            mark = " *" if peak > pair + SPARE_KIB else ""
            print(f"\n{make().name}: a call takes {peak:,} KiB (<= {pair:,.0f} of two values + {SPARE_KIB:,}){mark}")
            figures["memory_kib"] = {make.__name__: {"peak": peak, "pair": pair}}
        return figures


BENCH = NetworksFloat()
