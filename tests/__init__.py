"""The tests of the installed qlite.

`python -m tests.bench` and `python -m pytest` put the checkout on sys.path, where ./qlite has no compiled core (unless
it was installed with `pip install -e .`) and hides the installed one. So the checkout is taken off again, here and in
the processes that tests start.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != ROOT]
os.environ["PYTHONSAFEPATH"] = "1"
