"""What pickles name: of qlite only public classes by their public names, so that a file may move and they stay good."""

import copy
import io
import pickle

import numpy as np
import pytest
from qarrays import KINDS, quantized

import qlite as ql

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


class Recorder(pickle.Unpickler):
    """Notes everything that a pickle asks for by name."""

    def __init__(self, data):
        super().__init__(io.BytesIO(data))
        self.names = set()

    def find_class(self, module, name):
        self.names.add(f"{module}.{name}")
        return super().find_class(module, name)


def unpickled(thing, protocol, expected):
    recorder = Recorder(pickle.dumps(thing, protocol))
    twin = recorder.load()
    assert {name for name in recorder.names if name.startswith("qlite")} == expected
    assert "builtins.getattr" not in recorder.names  # of a method, whose name would be looked up
    return twin


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", KINDS)
def test_arrays_and_parameters(rng, kind, protocol):
    q = quantized(rng, kind)
    assert unpickled(q, protocol, {"qlite.QArray", "qlite.QParams"}) == q
    assert unpickled(q.qparams, protocol, {"qlite.QParams"}) == q.qparams


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("options", [{}, {"axis": 1}, {"momentum": 0.5}], ids=str)
def test_calibrators(rng, options, protocol):
    seen, more = ql.Calibrator(**options), np.ones((2, 3))
    for c in (seen, seen.update(rng.normal(size=(4, 3)))):
        twin = unpickled(c, protocol, {"qlite.Calibrator"})
        assert twin.to_json() == c.to_json()
        assert twin.update(more).to_json() == copy.copy(c).update(more).to_json()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_errors(rng, protocol):
    w = rng.normal(size=(3, 4))
    e = ql.quantize(w).error(w)
    assert repr(unpickled(e, protocol, {"qlite.ErrorStats"})) == repr(e)
