"""The layers of the source tree, held by greps: which file may know what."""

import ast
import re
import shutil
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import qlite
from qlite import _core

ROOT = Path(__file__).resolve().parents[1]
CSRC, PACKAGE = ROOT / "csrc", ROOT / "qlite"
#: Folders of csrc/core: each includes headers of its own and of those that stand before it.
CORE_FOLDERS = ("base", "array", "images", "calibrate", "gemm", "conv", "program", "training")
TOP_LEVEL = {"pyproject.toml", "setup.py", "csrc", "qlite", "tests", "notebooks", "README.md", "LICENSE"}
#: Files outside grids/, arrays/ and ops/ that import the core; the last one explains its absence.
MAY_IMPORT_CORE = {"config.py", "nn/plan.py", "training/kernels.py", "__init__.py"}
#: Folders and files of the package. Each imports only those before it.
ORDER = ["_foreign", "_check", "_public", "_locks", "progress", "metrics", "config", "grids", "arrays", "ops", "nn"]
ORDER += [
    "distributed",
    "io",
    "training",
    "analysis",
    "testing",
    "__init__",
    "pytest_plugin",
    "demo",
    "cli",
    "__main__",
]
#: Imports that go the other way, for methods that users look for where they are. They stand inside these methods.
LATE_IMPORTS = {
    ("arrays/qarray.py", "arrays/error.py"),  # QArray.error
    ("arrays/qarray.py", "ops/linear.py"),  # x @ q
    ("arrays/qarray.py", "io/array_file.py"),  # QArray.save
    ("arrays/qarray.py", "analysis/plot.py"),  # QArray.plot
    ("nn/qmodel.py", "io/model_file.py"),  # QModel.save
    ("nn/model.py", "io/float_model_file.py"),  # Model.save
    ("nn/model.py", "io/tflite/file.py"),  # Model.to_tflite
    ("nn/qmodel.py", "io/tflite/file.py"),  # QModel.to_tflite, QModel.verify
    ("io/tflite/__init__.py", "io/tflite/file.py"),  # from_tflite
    ("nn/qmodel.py", "analysis/plot_model.py"),  # QModel.plot
    ("nn/model.py", "analysis/plot_model.py"),  # Model.plot
    ("analysis/report.py", "analysis/plot.py"),  # Report.plot
    ("training/history.py", "analysis/plot.py"),  # History.plot
}
OPTIONAL_PACKAGES = ["sklearn", "matplotlib", "tqdm", "onnx", "onnxruntime", "h5py", "flatbuffers", "dask", "pandas"]
OPTIONAL_PACKAGES += ["distributed", "torch", "ml_dtypes", "tflite", "ai_edge_litert"]
# What the linker and the runtime add to every shared object.
LINKER_SYMBOLS = {"_init", "_fini", "_edata", "_end", "__bss_start", "__data_start", "_start"}
ISA_NAMES = {"scalar", "avx2", "avxvnni", "avx512vnni", "avx512vbmi", "amxint8", "neon", "neondot", "neoni8mm"}


def sources(*folders):
    return [path for folder in folders for path in sorted((CSRC / folder).rglob("*.[ch]"))]


def includes(path):
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', path.read_text(), re.MULTILINE)


def code(path):
    """A C source without its comments and string literals."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", path.read_text(), flags=re.DOTALL)
    return re.sub(r'"(\\.|[^"\\])*"', '""', text)


def offenders(paths, is_wrong):
    return [str(path.relative_to(ROOT)) for path in paths if is_wrong(path)]


def test_the_core_knows_no_python():
    paths = [CSRC / "qlite.h", *sources("core", "kernels", "dispatch")]
    assert len(paths) > 10
    assert not offenders(paths, lambda p: any("Python.h" in i or "numpy" in i for i in includes(p)))
    assert not offenders(paths, lambda p: re.search(r"\bPy[A-Z]\w+\b|\bnpy_", code(p)))


def test_folders_of_the_core_include_only_those_before_them():
    def is_wrong(path):
        allowed = CORE_FOLDERS[: CORE_FOLDERS.index(path.parent.name) + 1]
        return any(i.startswith("core/") and i.split("/")[1] not in allowed for i in includes(path))

    paths = sources("core")
    assert {path.parent.name for path in paths} == set(CORE_FOLDERS)
    assert not offenders(paths, is_wrong)


def test_intrinsics_live_in_the_folders_of_their_isa():
    paths = [CSRC / "qlite.h", CSRC / "kernels/kernels.h", *sources("core", "dispatch", "python")]
    paths += sources("kernels/portable", "kernels/scalar")
    wide = re.compile(r"intrin\.h|arm_neon\.h|arm_sve\.h")
    assert not offenders(paths, lambda p: any(wide.search(i) for i in includes(p)))
    assert not offenders(paths, lambda p: re.search(r"\b_mm\d*_|\b__m\d+|\bv\w+q_[su]\d|\basm\b|\b__asm__\b", code(p)))


def test_kernels_know_nothing_above_them():
    paths = sources("kernels")
    assert not offenders(paths, lambda p: any(i.startswith(("core/", "dispatch/", "python/")) for i in includes(p)))
    assert not offenders(paths, lambda p: re.search(r"\b(malloc|calloc|realloc|free|aligned_alloc)\s*\(", code(p)))


def test_nothing_in_the_core_prints_or_ends_the_process():
    paths = sources("core", "kernels", "dispatch")
    assert not offenders(paths, lambda p: re.search(r"\b(abort|exit|_exit|f?printf|puts|signal|setenv)\s*\(", code(p)))


def test_the_glue_knows_no_math_and_only_the_public_header():
    paths = sources("python")
    own = {path.name for path in paths}

    def is_wrong(path):
        ours = [i for i in includes(path) if i.startswith(("core/", "kernels/", "dispatch/"))]
        quoted = re.findall(r'#\s*include\s*"([^"]+)"', path.read_text())
        stranger = [i for i in quoted if i != "qlite.h" and Path(i).name not in own]
        return ours or stranger or {"math.h", "tgmath.h", "fenv.h"} & set(includes(path))

    assert paths
    assert not offenders(paths, is_wrong)


def imports_core(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (
            node.module in ("_core", "qlite._core") or any(alias.name == "_core" for alias in node.names)
        ):
            return True
        if isinstance(node, ast.Import) and any(alias.name == "qlite._core" for alias in node.names):
            return True
    return False


def test_only_the_array_level_and_the_program_import_the_core():
    importers = {str(p.relative_to(PACKAGE)) for p in PACKAGE.rglob("*.py") if imports_core(p)}
    assert importers
    assert {path for path in importers if path.split("/")[0] not in ("grids", "arrays", "ops")} <= MAY_IMPORT_CORE


def file_of(module):
    """The file of a module or package of qlite, or None."""
    path = PACKAGE.parent / module.replace(".", "/")
    found = [p for p in (path.with_suffix(".py"), path / "__init__.py") if p.exists()]
    return str(found[0].relative_to(PACKAGE)) if found else None


def imports_of(path):
    """Pairs of a file of the package that is imported, at the top or anywhere, and whether a function imports it."""
    tree = ast.parse(path.read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    late = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: expected imports by their whole names"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name if file_of(name) else node.module for name in names if name != "qlite._core"]
        else:
            continue
        for module in modules:
            if module.split(".")[0] == "qlite" and module != "qlite._core":
                yield file_of(module), id(node) in late


def package_imports():
    """What each file of the package imports of it: (file, imported file, whether a function does)."""
    return {
        (str(path.relative_to(PACKAGE)), imported, is_late)
        for path in PACKAGE.rglob("*.py")
        for imported, is_late in imports_of(path)
    }


def test_a_folder_imports_only_folders_before_it():
    def place(path):
        return ORDER.index(path.split("/")[0].removesuffix(".py"))

    backwards = {(path, imported) for path, imported, _ in package_imports() if place(imported) > place(path)}
    assert backwards - LATE_IMPORTS == set()


def test_no_file_imports_itself_through_others():
    imported = {}
    for path, other, _ in package_imports():
        if (path, other) not in LATE_IMPORTS:
            imported.setdefault(path, set()).add(other)
    assert len(imported) > 40
    TopologicalSorter(imported).prepare()  # raises CycleError, which names the files


def test_late_imports_are_late_and_there():
    imports = package_imports()
    assert {(path, imported) for path, imported, is_late in imports if is_late} >= LATE_IMPORTS
    assert not {(path, imported) for path, imported, is_late in imports if not is_late} & LATE_IMPORTS


def test_python_never_branches_on_an_isa():
    """Strings that name an instruction set, outside docstrings, stand in no module but the one that shows them."""

    def is_wrong(path):
        tree = ast.parse(path.read_text())
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        strings = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        return any(re.search("avx|vnni|neon", n.value) for n in strings if id(n) not in docstrings)

    assert not offenders((p for p in PACKAGE.rglob("*.py") if p.name != "config.py"), is_wrong)


def test_import_brings_no_optional_package():
    program = f"import sys, qlite; print([p for p in {OPTIONAL_PACKAGES!r} if p in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_everything_public_is_there():
    assert sorted(set(qlite.__all__)) == sorted(qlite.__all__)
    assert not [name for name in qlite.__all__ if not hasattr(qlite, name)]


def test_public_classes_go_by_their_public_name():
    classes = [getattr(qlite, name) for name in qlite.__all__ if isinstance(getattr(qlite, name), type)]
    assert [cls.__name__ for cls in classes if cls.__module__ != "qlite"] == []


def test_portable_part_compiles_alone(tmp_path):
    compiler = shutil.which("cc") or pytest.skip("no C compiler")
    folders = ("core", "dispatch", "kernels/portable", "kernels/scalar")
    paths = [p for p in sources(*folders) if p.suffix == ".c"]
    command = [compiler, "-std=c11", f"-I{CSRC}", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", *paths]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr


def test_symbols_carry_the_prefix_and_their_isa():
    nm = shutil.which("nm") or pytest.skip("no nm")
    command = [nm, "--extern-only", "--defined-only", _core.__file__]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    if not lines:
        command.insert(1, "--dynamic")
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    symbols = {line.split()[-1] for line in lines} - LINKER_SYMBOLS
    assert "PyInit__core" in symbols
    assert {name for name in symbols if not name.startswith("ql_")} <= {"PyInit__core"} | sanitizer_symbols(symbols)
    with_isa = {name for name in symbols if name.startswith("ql_") and "__" in name}
    assert {name for name in with_isa if name.partition("__")[2] not in ISA_NAMES} == set()


def sanitizer_symbols(symbols):
    return {name for name in symbols if name.startswith(("__asan", "__ubsan", "__odr_asan", "__tsan"))}


def test_file_names_are_unique_and_say_their_isa():
    names = [path.name for path in sources("core", "kernels", "dispatch", "python")]
    assert len(names) == len(set(names))
    for folder in (CSRC / "kernels").iterdir():
        if folder.is_dir():
            assert folder.name in ISA_NAMES | {"portable", "x86"}
            assert not [p.name for p in folder.glob("*.c") if not p.stem.endswith(f"_{folder.name}")]


def test_top_level_holds_nothing_else():
    git = shutil.which("git")
    if not git or not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    command = [git, "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    top = {path.split("/")[0] for path in listed}
    assert {name for name in top if not name.startswith(".")} <= TOP_LEVEL
