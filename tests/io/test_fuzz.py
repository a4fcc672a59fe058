"""A few seconds of `python -m tests.fuzz`: readers under a limit of memory, on files that were tampered with."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "fuzz" / "readers.py"
SECONDS, PATIENCE = 1.0, 120
READERS = ("array", "model", "float_model", "shard", "index", "idx", "npz", "calibrator", "tflite")


@pytest.mark.parametrize("reader", READERS)
def test_case_l_readers_refuse_what_was_tampered_with(reader, tmp_path):
    command = [sys.executable, str(SCRIPT), reader, str(tmp_path), str(SECONDS), "1"]
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment)
    assert result.returncode == 0, result.stdout + result.stderr
    assert int(result.stdout.split()[1].replace(",", "")) > 5
