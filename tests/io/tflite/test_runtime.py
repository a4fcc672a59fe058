"""LiteRT starts without a word, and what else is written to the standard error meanwhile is not lost."""

import os
import subprocess
import sys

import pytest
from models import extra

from qlite.io.tflite.runtime import without_notes

PROGRAM = """
import sys, numpy as np, qlite as ql
qm = ql.quantize_model(ql.Sequential([ql.Dense(np.eye(3))]), data=np.eye(3), target="tflite")
qm.to_tflite(sys.argv[1])
print(qm.verify(sys.argv[1], np.eye(3)).mismatches)
"""


def test_verify_writes_nothing_of_its_own(tmp_path):
    """In a process of its own: the runtime writes its note once."""
    extra("flatbuffers"), extra("tflite"), extra("ai_edge_litert.interpreter")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "m.tflite")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.stdout, result.stderr, result.returncode) == ("0\n", "", 0)


def test_all_but_notes_is_passed_on(capfd):
    with without_notes():
        os.write(2, b"INFO: a delegate\nERROR: a file\nINFO: another\nrest")
        assert capfd.readouterr().err == ""
    assert capfd.readouterr().err == "ERROR: a file\nrest"
    os.write(2, b"INFO: of others")
    assert capfd.readouterr().err == "INFO: of others"


def test_what_is_raised_leaves_the_stream_as_it_was(capfd):
    with pytest.raises(RuntimeError, match="the runtime"), without_notes():
        os.write(2, b"INFO: a delegate\nERROR: a file\n")
        raise RuntimeError("the runtime")
    os.write(2, b"later")
    assert capfd.readouterr().err == "ERROR: a file\nlater"


def test_no_folder_for_temporary_files(capfd, monkeypatch):
    def refuse():
        raise FileNotFoundError

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with without_notes():
        os.write(2, b"INFO: a delegate\n")
    assert capfd.readouterr().err == "INFO: a delegate\n"


def test_a_stream_that_is_closed():
    program = (
        "import os\nfrom qlite.io.tflite.runtime import without_notes\nos.close(2)\nwith without_notes(): print(3)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (result.stdout, result.returncode) == ("3\n", 0)
