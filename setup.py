"""Builds qlite._core: one folder of csrc/kernels is one set of compiler flags, and so is the file that
asks OpenMP. All else is in pyproject.toml.

Environment:
    QLITE_STRICT=1                      warnings are errors
    QLITE_DEBUG=1                       assertions on (Python's own flags switch them off), debug information
    QLITE_SANITIZE=address,undefined    the same, under these sanitizers (.ci/sanitize)
    QLITE_EMULATE_AMX=1                 amxint8 runs wherever avx2 does, its tiles in plain C: for tests

Compilers: GCC and clang on POSIX systems. (Windows lacks aligned_alloc; cl.exe most of the flags too.)
"""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from glob import glob
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError
from setuptools.modified import newer_group

AVX512VNNI = "-mavx2 -mfma -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni"
# folder of csrc/kernels -> the macro that its machine defines, and its flags (none: part of the machine's baseline)
ISAS = {
    "avx2": ("__x86_64__", "-mavx2 -mfma"),
    "avxvnni": ("__x86_64__", "-mavx2 -mfma -mavxvnni"),
    "avx512vnni": ("__x86_64__", AVX512VNNI),
    "avx512vbmi": ("__x86_64__", f"{AVX512VNNI} -mavx512vbmi"),
    "amxint8": ("__x86_64__", f"{AVX512VNNI} -mavx512vbmi -mamx-tile -mamx-int8"),
    "neon": ("__aarch64__", ""),
    "neondot": ("__aarch64__", "-march=armv8.2-a+dotprod"),
    "neoni8mm": ("__aarch64__", "-march=armv8.2-a+dotprod+i8mm"),
}
WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Wstrict-prototypes", "-Wvla"]

# -ffp-contract=off: a fused multiply-add where the source has none would change the bits from machine to machine.
# -fno-math-errno: nobody reads errno, and without its side effect sqrtf and lrintf are vectorized. Not
# -fno-trapping-math: it promises to keep values, but makes GCC 12 drop the integer in (float)(int)x, and -0 comes out.
COMPILE = ["-std=c11", "-O3", "-g0", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden", *WARNINGS]
LINK = []
THREADS, OPENMP = "csrc/core/base/threads.c", ["-fopenmp"]
EMULATED = {}  # folder of csrc/kernels -> further sources
if os.environ.get("QLITE_EMULATE_AMX") == "1":
    COMPILE += ["-DQL_EMULATE_AMX", "-Itests/kernels"]
    ISAS["amxint8"] = (ISAS["avx2"][0], f"{ISAS['avx2'][1]} -O3")  # also under sanitizers: tiles are slow enough
    EMULATED["amxint8"] = sorted(glob("tests/kernels/*_emulated.c"))
if os.environ.get("QLITE_STRICT") == "1":
    COMPILE += ["-Werror"]
if os.environ.get("QLITE_DEBUG") == "1":
    COMPILE += ["-UNDEBUG", "-Og", "-g"]
if sanitizers := os.environ.get("QLITE_SANITIZE"):
    if "undefined" in sanitizers:
        sanitizers += ",float-cast-overflow,float-divide-by-zero"  # `undefined` leaves these two out
    LINK += [f"-fsanitize={sanitizers}"]
    COMPILE += [*LINK, "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-UNDEBUG", "-O1", "-g"]


class BuildCore(build_ext):
    def build_extension(self, ext):
        # Other flags are a reason to build again, so they are written where `depends` sees them change.
        flags = Path(self.build_temp, "flags")
        flags.parent.mkdir(parents=True, exist_ok=True)
        if not flags.exists() or flags.read_text() != repr((COMPILE, LINK, ISAS)):
            flags.write_text(repr((COMPILE, LINK, ISAS)))
        ext.depends.append(str(flags))
        if self.force or newer_group(ext.sources + ext.depends, self.get_ext_fullpath(ext.name)):
            self.compiler.compile = on_all_cores(self.compiler.compile)
            isas = [isa for isa in ISAS if self.can_build(*ISAS[isa])]
            ext.define_macros += [(f"QL_HAVE_{isa.upper()}", None) for isa in isas]
            for isa in isas:
                self.compile_apart(ext, isa, kernel_sources(isa), ISAS[isa][1].split(), [("QL_ISA", isa)])
            openmp = OPENMP if self.has_openmp() else []
            self.compile_apart(ext, "threads", [THREADS], openmp)
            ext.extra_link_args = LINK + openmp
        super().build_extension(ext)

    def compile_apart(self, ext, folder, sources, flags, macros=()):
        ext.extra_objects += self.compiler.compile(
            sources,
            output_dir=str(Path(self.build_temp, folder)),
            macros=[*ext.define_macros, *macros],
            include_dirs=ext.include_dirs,
            extra_postargs=ext.extra_compile_args + flags,
        )

    def can_build(self, machine, flags):
        """Whether this is the machine and the compiler knows the flags. A kernel is no probe: one that fails has to
        fail the build."""
        with TemporaryDirectory() as folder:
            probe, expanded = Path(folder, "probe.c"), Path(folder, "expanded")
            probe.write_text(f"#ifdef {machine}\nint right_machine;\n#endif\n")
            self.compiler.preprocess(str(probe), str(expanded))
            if "right_machine" in expanded.read_text():
                with suppress(CompileError):
                    self.compiler.compile([str(probe)], output_dir=folder, extra_postargs=flags.split())
                    return True
                self.warn(f"built without the kernels that need {flags}")
            return False

    def has_openmp(self):
        """Whether the compiler knows the flag and finds the library. Without it OpenMP's limits
        do not count."""
        with TemporaryDirectory() as folder:
            probe = Path(folder, "probe.c")
            probe.write_text("#include <omp.h>\nint probe(void);\nint probe(void) { return omp_get_max_threads(); }\n")
            with suppress(CompileError, LinkError):
                objects = self.compiler.compile([str(probe)], output_dir=folder, extra_postargs=OPENMP)
                self.compiler.link_shared_object(objects, str(Path(folder, "probe.so")), extra_postargs=OPENMP)
                return True
            self.warn("built without OpenMP: OMP_NUM_THREADS will not count")
            return False

    def get_source_files(self):
        """What the sdist holds: setuptools by itself would take tests/test_*.py without the files that they need."""
        more = [
            *glob("tests/**/*.py", recursive=True),
            *glob("tests/**/*.[ch]", recursive=True),
            *glob("tests/**/*.qlite", recursive=True),
            *glob("tests/**/*.tflite", recursive=True),
        ]
        more += glob("notebooks/*.ipynb")
        return [*super().get_source_files(), *more]


def on_all_cores(compile_in_turn):
    """The same function of sources and options, with a source at a time for each core."""

    def compile_sources(sources, **options):
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = pool.map(lambda source: compile_in_turn([source], **options), sources)
            return [path for one in objects for path in one]

    return compile_sources


def kernel_sources(isa):
    """The folder's own, and the portable ones that its table names. Those of a baseline are scalar's already."""
    own = sorted(glob(f"csrc/kernels/{isa}/*.c")) + EMULATED.get(isa, [])
    named = set(re.findall(rf"(ql_\w+)__{isa}\b", Path(f"csrc/kernels/{isa}/table_{isa}.c").read_text()))
    portable = [path for path in sorted(glob("csrc/kernels/portable/*.c")) if named & set(defined(path))]
    return own + [path for path in portable if ISAS[isa][1] and path.replace("portable", isa) not in own]


def defined(path):
    return re.findall(r"\bQL_KERNEL\((ql_\w+)\)", Path(path).read_text())


special = [THREADS, *(path for isa in ISAS for path in glob(f"csrc/kernels/{isa}/*.c"))]
core = Extension(
    "qlite._core",
    sources=sorted({*glob("csrc/**/*.c", recursive=True)} - {*special}),
    depends=sorted(special + glob("csrc/**/*.h", recursive=True)),
    include_dirs=["csrc", np.get_include()],
    extra_compile_args=COMPILE,
    libraries=["m", "pthread"],
    extra_link_args=LINK,
)
# pytest imports its plugins at every start. In the package `qlite` ours would bring the core each time, so it is one of
# its own.
setup(
    packages=[*find_packages(include=["qlite", "qlite.*"], exclude=["qlite.pytest_plugin"]), "pytest_qlite"],
    package_dir={"pytest_qlite": "qlite/pytest_plugin"},
    ext_modules=[core],
    cmdclass={"build_ext": BuildCore},
)
