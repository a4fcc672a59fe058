"""Benchmarks against other libraries: `python -m tests.bench`. Never collected as tests.

Thread counts are pinned here because the libraries below NumPy and its peers read them once, when they are loaded.
"""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ[variable] = "1"
