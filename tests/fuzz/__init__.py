"""Files that were tampered with, for each reader: `python -m tests.fuzz`. Not collected; `tests/io/test_fuzz.py` runs a
few seconds of each."""
