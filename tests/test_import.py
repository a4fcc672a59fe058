"""What `import qlite` costs, and that every public name is documented with examples that run."""

import dataclasses
import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys

import pytest
from models import extra

import qlite as ql
from qlite.analysis.report import LayerReport

# Packages that take long to import, and ones of the standard library that NumPy does without: whoever needs one imports
# it where it is used. What NumPy itself has imported costs nothing more.
HEAVY = ["sklearn", "scipy", "pandas", "matplotlib", "IPython", "tqdm", "safetensors", "onnx", "onnxruntime", "torch"]
HEAVY += ["json", "hashlib", "secrets", "argparse", "gzip", "tempfile", "importlib.metadata", "urllib", "http", "email"]
HEAVY += ["unittest", "multiprocessing", "concurrent", "asyncio", "logging", "subprocess", "socket", "html"]
HEAVY += ["qlite.io.idx"]
HEAVY += [
    "dask",
    "distributed",
    "qlite.io.tflite.to_model",
    "qlite.io.checkpoint",
    "qlite.io.float_model_file",
    "qlite.io.model_file",
    "qlite.analysis.plot",
    "qlite.testing",
    "qlite.demo",
    "qlite.cli",
]

PROGRAM = """
import sys, time
import numpy
before, start = set(sys.modules), time.perf_counter()
import qlite
milliseconds = 1e3 * (time.perf_counter() - start)
print(milliseconds, *set(sys.modules) - before)
"""


class ExampleFinder(doctest.DocTestFinder):
    """Finds the examples of public classes, which go by the name of the package, in the module that they stand in."""

    def _from_module(self, module, thing):
        is_public_class = inspect.isclass(thing) and thing.__module__ == "qlite"
        if is_public_class and vars(module).get(thing.__name__) is thing:
            return re.search(rf"^class {thing.__name__}\b", inspect.getsource(module), re.M) is not None
        return super()._from_module(module, thing)


def public_modules():
    """The package's modules, less those whose names say that they are private or a script."""
    names = [module.name for module in pkgutil.walk_packages(ql.__path__, "qlite.")]
    return [name for name in names if not name.rpartition(".")[2].startswith("_")]


def test_import_brings_nothing_heavy():
    """The time is printed, not tested: on a busy machine it says nothing."""
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    milliseconds, *modules = result.stdout.split()
    print(f"import qlite after numpy: {float(milliseconds):.1f} ms, {len(modules)} modules")
    assert not [name for name in modules if any(name == heavy or name.startswith(heavy + ".") for heavy in HEAVY)]


def test_import_needs_numpy_alone():
    """Without any other package at all: what needs one says which extra brings it."""
    program = (
        "import sys\n"
        "for name in ('safetensors', 'sklearn', 'matplotlib', 'tqdm', 'scipy', 'pandas'): sys.modules[name] = None\n"
        "import numpy as np, qlite as ql\n"
        "m = ql.from_weights([(np.eye(2), None)])\n"
        "q = ql.quantize_model(m, data=np.eye(2))\n"
        "assert ql.compare(m, q, np.eye(2)).sqnr_db > 40\n"
        "for call in (ql.quantize(np.eye(2)).plot, ql.compare(m, q, np.eye(2)).plot):\n"
        "    try:\n        call()\n"
        "    except ImportError as error:\n        assert 'plot' in str(error) and 'qlite' in str(error), error\n"
        "    else:\n        sys.exit('plotted without matplotlib')\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_modules_say_what_they_hold():
    """`help(ql.nn)` and its like begin with a sentence."""
    names = ["qlite", *public_modules()]
    assert not [name for name in names if not (inspect.getdoc(importlib.import_module(name)) or "").strip()]


@pytest.mark.parametrize("name", ql.__all__)
def test_public_names_are_documented(name):
    thing = getattr(ql, name)
    text = inspect.getdoc(thing)
    assert text and text.splitlines()[0].endswith("."), "expected a sentence that says what it is"
    if inspect.isfunction(thing):
        sections = ["Parameters\n----------", "Raises\n------"] if inspect.signature(thing).parameters else []
        sections += ["Examples\n--------"]
        assert not [section.split()[0] for section in sections if section not in text]
        parameters = text.partition("Parameters\n----------")[2].partition("\n\nR")[0]
        for parameter in inspect.signature(thing).parameters:
            assert f"{parameter} :" in parameters or f"{parameter}," in parameters or parameter in parameters.split()
    public = [m for k, m in vars(thing).items() if not k.startswith("_")] if inspect.isclass(thing) else []
    methods = [m.__func__ if isinstance(m, classmethod) else m for m in public]
    assert not [m for m in methods if isinstance(m, property) or inspect.isfunction(m) if not inspect.getdoc(m)]


@pytest.mark.parametrize("name", [name for name in ql.__all__ if inspect.isclass(getattr(ql, name))] + ["LayerReport"])
def test_help_explains_every_field(name):
    """Fields of dataclasses, and what other classes are made of."""
    thing = getattr(ql, name, LayerReport)
    is_data = dataclasses.is_dataclass(thing)
    names = [field.name for field in dataclasses.fields(thing)] if is_data else inspect.signature(thing).parameters
    lines = inspect.getdoc(thing).splitlines()
    heads = [line.partition(" : ")[0].split(", ") for line in lines if re.fullmatch(r"\w+(, \w+)*( : .*)?", line)]
    explained = {field for head in heads for field in head}
    if name == "PackedWeight":
        names = ["shape", "nbytes", "isa", "activation_bits"]  # made by `pack` alone
    if name == "History":
        names = vars(thing())  # made by `train` alone
    assert names and set(names) <= explained


@pytest.mark.parametrize("name", public_modules())
def test_examples(name, tmp_path, monkeypatch):
    if name in ("qlite.analysis.plot", "qlite.demo"):
        extra("matplotlib").use("agg")
    if name == "qlite.io.sklearn":
        extra("sklearn")
    if name in ("qlite.io.tflite", "qlite.nn.model", "qlite.nn.qmodel", "qlite.analysis.compare"):
        extra("tflite")
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner()
    for test in ExampleFinder().find(importlib.import_module(name), name):
        runner.run(test)
    assert runner.failures == 0
    assert list(tmp_path.iterdir()) == []


def test_every_public_function_has_an_example_that_runs():
    finder = ExampleFinder(recurse=False)
    functions = [name for name in ql.__all__ if inspect.isfunction(getattr(ql, name))]
    assert len(functions) > 10
    assert not [name for name in functions if not any(t.examples for t in finder.find(getattr(ql, name), name))]


def test_examples_of_public_classes_are_found():
    modules = {name: importlib.import_module(name) for name in public_modules()}
    tests = [test for name, module in modules.items() for test in ExampleFinder().find(module, name)]
    found = {test.name.rpartition(".")[2] for test in tests if test.examples}  # layers and steps share names
    classes = [name for name in ql.__all__ if inspect.isclass(getattr(ql, name))]
    assert len(classes) > 5
    assert not [name for name in classes if ">>>" in getattr(ql, name).__doc__ and name not in found]
