"""tests/kernels: every kernel called from C, its assertions on, each array at the end of a page that may not be
touched."""

import ast
import os
import platform
import re
import shlex
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from pathlib import Path

import pytest

import qlite as ql
from qlite import _core

ROOT = Path(__file__).resolve().parents[2]
DEBUG = ["-UNDEBUG", "-Og"]  # as QLITE_DEBUG=1 has it; a third of -O3's compile time
COMPILER = shlex.split(os.environ.get("CC", "cc"))
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # a sanitizer's
ENVIRONMENT["QLITE_TRUST_TILES"] = "1"
# Headers of intrinsics: reading them takes most of a kernel's compile time, unless they are precompiled.
PRELUDE = "#ifdef __aarch64__\n#include <arm_neon.h>\n#else\n#include <immintrin.h>\n#endif\n"


def of_setup():
    """The upper-case constants and the functions of setup.py, which cannot be imported without building."""
    wanted = []
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        is_constant = isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "").isupper()
        if is_constant or isinstance(node, ast.FunctionDef):
            wanted.append(node)
    namespace = {"re": re, "glob": lambda pattern: glob(pattern, root_dir=ROOT), "Path": lambda path: ROOT / path}
    exec(compile(ast.Module(wanted, []), "setup.py", "exec"), namespace)
    return namespace


def run(*command):
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=ROOT, env=ENVIRONMENT)
    assert result.returncode == 0, result.stderr
    return result


def has_compiler():
    """Whether there is one for this machine: under an emulator it is for another."""
    if not shutil.which(COMPILER[0]):
        return False
    return run(*COMPILER, "-dumpmachine").stdout.startswith(platform.machine())


def covered():
    """The instruction sets that can run here, and whether tiles are emulated, which then run where avx2 does."""
    runnable = [isa for isa in _core.info()["isas_runnable"] if isa != "amxint8"]
    has_tiles = "avx512vbmi" in runnable and "amxint8" in _core.info()["isas_runnable"]
    return [*runnable, *(["amxint8"] if "avx2" in runnable else [])], "avx2" in runnable and not has_tiles


def build(folder):
    """Scalar kernels and those of every instruction set that can run here, the core that calls them, and the cases."""
    setup = of_setup()
    isas, emulates = covered()
    chosen = [isa for isa in isas if isa in setup["ISAS"]]
    flags = [*setup["COMPILE"], *DEBUG, "-Werror", "-Icsrc", *(f"-DQL_HAVE_{isa.upper()}" for isa in chosen)]
    if emulates:
        setup["ISAS"]["amxint8"] = setup["ISAS"]["avx2"]
        flags += ["-DQL_EMULATE_AMX", "-Itests/kernels"]
    jobs = []
    for isa in chosen:
        own = [*flags, *setup["ISAS"][isa][1].split(), f"-DQL_ISA={isa}"]
        prelude = folder / f"{isa}.h"
        prelude.write_text(PRELUDE)
        run(*COMPILER, *own, "-x", "c-header", prelude, "-o", f"{prelude}.gch")
        jobs += [(source, [*own, "-include", prelude]) for source in setup["kernel_sources"](isa)]
    for pattern in ("core/*/*", "dispatch/*", "kernels/scalar/*", "kernels/portable/*"):
        jobs += [(source, flags) for source in glob(f"csrc/{pattern}.c", root_dir=ROOT)]
    jobs += [(source, flags) for source in glob("tests/kernels/*.c", root_dir=ROOT)]
    objects = [folder / f"{number}.o" for number in range(len(jobs))]

    def compile_one(job, target):
        source, flags = job
        run(*COMPILER, *flags, "-c", source, "-o", target)

    with ThreadPoolExecutor(ql.get_num_threads()) as pool:
        list(pool.map(compile_one, jobs, objects))
    run(*COMPILER, *objects, "-lm", "-lpthread", "-o", folder / "kernels")
    return folder / "kernels"


def test_every_instruction_set_computes_what_scalar_does(tmp_path):
    if not has_compiler():
        assert os.environ.get("CI") != "true", f"CI needs {COMPILER[0]} for this machine"
        pytest.skip(f"needs {COMPILER[0]} for this machine")
    result = run(build(tmp_path))
    assert result.stderr.split(":")[1].split(" not ")[0].split() == covered()[0]
    assert [line.split()[0] for line in result.stdout.splitlines()] == list(_core.info()["kernels"])
