"""Benchmarks against other libraries: `python -m tests.bench`. Never collected as tests.

The libraries below NumPy and its peers read the number of threads and the instruction set once, when they are loaded:
both are pinned here, the instruction set to the one that QLITE_ISA names.
"""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ[variable] = "1"

CEILINGS = {"avx2": ("AVX2", "Haswell"), "avxvnni": ("AVX2_VNNI", "Haswell")}
if os.environ.get("QLITE_ISA") in CEILINGS:
    os.environ["ONEDNN_MAX_CPU_ISA"], os.environ["OPENBLAS_CORETYPE"] = CEILINGS[os.environ["QLITE_ISA"]]
