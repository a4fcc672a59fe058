"""qlite under another instruction set, in a process of its own: which one serves is settled when it is imported."""

import gc
import multiprocessing
import os
import sys
from functools import partial
from unittest.mock import patch

from .. import ROOT
from . import harness
from .harness import Contender, Work


def under(ours, isa):
    """The contender that does what `ours` does with QLITE_ISA=isa."""
    return Contender(isa, f"the same with QLITE_ISA={isa}", ours.modules, partial(_work, ours.make, isa))


def _work(make, isa, case):
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    with patch.dict(os.environ, QLITE_ISA=isa), patch.object(sys, "path", [*sys.path, str(ROOT)]):
        context.Process(target=_serve, args=(there, make, case), daemon=True).start()
    there.close()

    def seconds_per_call(count, pause):
        here.send((count, pause))
        return here.recv()

    return Work(partial(seconds_per_call, 1, 0), elsewhere=seconds_per_call)


def _serve(pipe, make, case):
    gc.disable()
    work = make(case)
    while True:
        try:
            order = pipe.recv()
        except EOFError:  # the other side is done
            return
        pipe.send(harness.seconds_per_call(work.call, *order))
