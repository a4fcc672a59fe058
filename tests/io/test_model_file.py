"""Model files: what is saved comes back as it was, a save is all or nothing, and whatever else is refused.

The catalogue's files, one named fault each, stand in test_known_faults.py; here is what can be gone through as a
whole: every scheme, every length, every value of the description.
"""

import copy
import hashlib
import json
import os
import re
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import reference
from models import SCHEME_TARGETS, digits, integer_network, same_program, small_network
from safetensors import safe_open
from safetensors.numpy import load as read_tensors
from safetensors.numpy import save as write_tensors
from samples import same_bytes

import qlite as ql
from qlite.io import container, model_file
from qlite.nn.program import Buffer, Program, Step
from qlite.nn.steps import STEPS, Add

CHANGES = 2000
# Loading may need twice the file and this much.
LOAD_ALLOWANCE = 16 << 20
LARGE_WEIGHTS = (4000, 8000)  # 32 MB: the allowance is small beside it

SANITIZED = "libasan" in os.environ.get("LD_PRELOAD", "")


def same_model(one, other):
    return (
        same_program(one.program, other.program)
        and (one.scheme, one.target, one.task) == (other.scheme, other.target, other.task)
        and np.array_equal(np.asarray(one.classes, str), np.asarray(other.classes, str))
    )


@pytest.fixture(scope="module")
def model():
    network, x = small_network()
    return ql.quantize_model(network, data=x)


@pytest.fixture
def path(model, tmp_path):
    path = tmp_path / "model.qlite"
    model.save(path)
    return path


def refused(path, words=""):
    with pytest.raises(ValueError, match=rf"{re.escape(path.name)}: .*{words}"):
        ql.load(path)


def parts(content):
    """The description as an object, and the tensors."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["qlite"]), read_tensors(content)


def joined(description, tensors):
    """A file with this content whose digest is right: what somebody would write who means it."""
    text = description if isinstance(description, str) else json.dumps(description)
    return write_tensors(tensors, {"qlite": text, "digest": container._digest(text, tensors)})


# ---- there and back ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["w8a8", "w4a8", "w3a4", "dynamic", "w8", "w4"])
def test_convolutions_come_back(rng, tmp_path, scheme):
    """Weights below 8 bits are stored packed, those of each output in whole bytes."""
    layers = [ql.Conv2D(rng.normal(size=(3, 3, 3, 8)), activation="relu"), ql.DepthwiseConv2D(np.ones((3, 2, 8, 1)))]
    network = ql.Sequential(layers, input_shape=(9, 8, 3), task="regression")
    x = rng.normal(size=(20, 9, 8, 3)).astype(np.float32)
    model, path = ql.quantize_model(network, scheme, data=x), tmp_path / "model.qlite"
    model.save(path)
    loaded = ql.load(path)
    assert same_model(model, loaded)
    same_bytes(loaded(x), model(x))
    bits = {"w8a8": 8, "w4a8": 4, "w3a4": 3, "dynamic": 8, "w8": 8, "w4": 4}[scheme]
    stored = [t.nbytes for name, t in read_tensors(path.read_bytes()).items() if name.endswith(".weight")]
    assert sorted(stored) == [8 * -(-depth * bits // 8) for depth in (6, 27)]


@pytest.mark.parametrize("scheme, target", SCHEME_TARGETS)
def test_there_and_back(tmp_path, scheme, target):
    saved, x = integer_network(scheme, target), digits().x_held
    saved.save(tmp_path / "model.qlite")
    loaded = ql.load(tmp_path / "model.qlite")
    assert same_model(loaded, saved)
    same_bytes(loaded(x), saved(x))
    for value, other in zip(loaded.intermediates(x).values(), saved.intermediates(x).values(), strict=True):
        same_bytes(value, other)
    loaded.save(tmp_path / "again.qlite")
    assert same_model(ql.load(tmp_path / "again.qlite"), saved)


@pytest.mark.parametrize("scheme", ["w8a8", "w4a4", "ternary", "w8", "w4", "w4g32", "w4g32a8", "dynamic"])
@pytest.mark.parametrize("per_layer", [{}, {"conv2d_1": None, "batch_norm_1": "w8"}, {"batch_norm_1": None}])
def test_convolutions_there_and_back(rng, tmp_path, scheme, per_layer):
    image = ql.Input((5, 5, 2))
    h = ql.Conv2D(filters=3, kernel_size=3, padding="same", activation="relu")(image)
    h = ql.BatchNorm(mean=rng.normal(size=3), variance=rng.random(3))(h)
    network = ql.Model(image, ql.Add()(h, ql.DepthwiseConv2D(kernel_size=3, padding="same")(h)))
    x = rng.normal(size=(4, 5, 5, 2))
    saved = ql.quantize_model(network, scheme, x, per_layer=per_layer)
    saved.save(tmp_path / "model.qlite")
    loaded = ql.load(tmp_path / "model.qlite")
    assert same_model(loaded, saved)
    same_bytes(loaded(x), saved(x))


@pytest.mark.parametrize(
    "task, units, classes",
    [
        ("multiclass", 3, None),
        ("multiclass", 3, [3, 7, 11]),
        ("multiclass", 3, ["a", "bc", "ü\u4f60"]),
        ("multiclass", 3, [0.5, 1.5, 2.5]),
        ("multiclass", 2, [False, True]),
        ("binary", 1, None),
        ("binary", 1, ["no", "yes"]),
        ("regression", 3, None),
    ],
)
def test_tasks_and_classes(rng, tmp_path, task, units, classes):
    x = rng.normal(size=(20, 5))
    saved = ql.quantize_model(
        ql.from_weights([(rng.normal(size=(5, units)), None)], task=task, classes=classes), data=x
    )
    saved.save(tmp_path / "model.qlite")
    loaded = ql.load(tmp_path / "model.qlite")
    assert loaded.task == task
    same_bytes(loaded.predict(x), saved.predict(x))
    if classes is not None:
        same_bytes(loaded.classes, saved.classes)


def test_paths(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "one", str(tmp_path / "two"), "three", Path("four"), "name with spaces ü.qlite"):
        assert model.save(path) is None
        assert same_model(ql.load(path), model)
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(OSError):
            ql.load(path)


def test_layers_of_any_name(tmp_path):
    layers = [ql.Dense(np.eye(2), name=name) for name in ("weight", "__metadata__", 'quote"\\', "ü\n")]
    saved = ql.quantize_model(ql.Sequential(layers), "w8")
    saved.save(tmp_path / "model.qlite")
    assert same_model(ql.load(tmp_path / "model.qlite"), saved)


def test_the_file_is_a_safetensors_file(model, path):
    with safe_open(path, "numpy") as file:
        assert set(file.metadata()) == {"qlite", "digest"}
        description = json.loads(file.metadata()["qlite"])
        for i, step in enumerate(model.program.steps[1:], 1):
            same_bytes(file.get_tensor(f"steps.{i}.weight"), step.weight)
            same_bytes(file.get_tensor(f"steps.{i}.bias"), step.bias)
    assert description["version"] == model_file.FORMAT_VERSION
    assert [step["kind"] for step in description["program"]["steps"]] == ["quantize", "gemm", "gemm"]


# ---- older versions -----------------------------------------------------------------------------------

# SHA-256 of the names and contents of all buffers, for OLD_X, as the version that wrote the files computed them.
OLD_MODELS = {
    "w8a8": "bc6a989fa15be958ffed1fceb781037842293e7af8d3229f7125fc8eb520686c",
    "w8a8_onnx": "ffbec483276aee1bb8d2757958ce0894a671c598e2ee286be6177373f24aea9b",
    "w8a8_tflm": "82b575c8c9f197c0888b81975e2fd3d529581f77a98ddba00ccbb2b8108edef7",
    "w8a8_tensorrt": "098a80ad06dd76c84de7f3061fd6de5adc0633eb1a33ed511a631c6d1b8ccf9d",
    "dynamic": "909ddb82bdcc691e673945e09a2c4ab4d6d0f35cc2468e27cd28f6d4559667a4",
    "w8": "df40e256b134e6b47968b858e0813b114a081fba07ae16983a9c7ab0a8dd4c06",
}
OLD_FILES = Path(__file__).parent / "version_1"


def old_x():
    rng = np.random.default_rng(7)
    for shape in ((6, 9), 9, (9, 4), 4):
        rng.normal(size=shape)
    return rng.normal(size=(200, 6)).astype(np.float32)[:50]


@pytest.mark.parametrize("name", OLD_MODELS)
def test_files_of_version_1(name, tmp_path):
    """They load, give the same bits, and are written as the present version."""
    model = ql.load(OLD_FILES / f"{name}.qlite")
    assert model.scheme == name.split("_")[0] and model.classes.tolist() == ["ant", "bee", "cat", "dog"]
    model.save(tmp_path / "new.qlite")
    for loaded in (model, ql.load(tmp_path / "new.qlite")):
        digest = hashlib.sha256()
        for buffer, value in loaded.intermediates(old_x()).items():
            digest.update(buffer.encode() + np.ascontiguousarray(value).tobytes())
        assert digest.hexdigest() == OLD_MODELS[name]


def test_every_value_of_a_description_of_version_1(path):
    """Missing or replaced by anything: a ValueError that names the file, or a model that is as usable as any."""
    description, tensors = parts((OLD_FILES / "w8a8.qlite").read_bytes())
    loaded = check_changes(path, description, tensors)
    assert loaded < 90  # of over 1,000


# ---- steps of any kind ------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Everything(Step):
    """A step with a field of every kind, which only describes itself."""

    kind: ClassVar[str] = "everything"
    whole: int
    part: float
    flag: bool
    text: str
    lengths: tuple[int, ...]
    array: np.ndarray
    no_text: str | None
    no_array: np.ndarray | None

    def infer(self, *inputs):
        return inputs[0].shape, ("float32",)


EVERYTHING = {"whole": -3, "part": 0.1, "flag": True, "text": "ü", "lengths": (2, 3), "no_text": None, "no_array": None}


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (4, 1, 3), (2, 1, 4, 3)], ids=str)
@pytest.mark.parametrize("rank", range(5))
def test_fields_of_every_kind_and_buffers_of_every_rank(tmp_path, monkeypatch, rng, shape, rank):
    monkeypatch.setitem(STEPS, "everything", Everything)
    array = rng.normal(size=(2, 3, 1, 2)[:rank]).astype(np.float32)
    buffers = [Buffer(name, "layer", shape, "float32") for name in ("x", "y", "z")]
    steps = [Add((0, 0), 1), Everything((1, 0), 2, **EVERYTHING, array=array)]
    saved = ql.QModel(Program(buffers, steps), scheme="w8", target="numpy", task="regression")
    saved.save(tmp_path / "model.qlite")
    loaded = ql.load(tmp_path / "model.qlite")
    assert same_model(loaded, saved) and loaded.program.steps[1].inputs == (1, 0)
    assert {name: getattr(loaded.program.steps[1], name) for name in EVERYTHING} == EVERYTHING
    same_bytes(loaded.program.steps[1].array, array)


def test_a_model_of_sums(tmp_path, rng):
    buffers = [Buffer(name, name, (2, 3), "float32") for name in ("x", "y", "z")]
    saved = ql.QModel(
        Program(buffers, [Add((0, 0), 1), Add((1, 0), 2)]), scheme="w8", target="numpy", task="regression"
    )
    saved.save(tmp_path / "model.qlite")
    loaded, x = ql.load(tmp_path / "model.qlite"), rng.normal(size=(50, 2, 3)).astype(np.float32)
    same_bytes(loaded(x), reference.evaluate(saved.program, x)[2])
    same_bytes(loaded.intermediates(x)["y"], x + x)


# ---- all or nothing ---------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="needs files that can be replaced while they are open")
def test_whoever_reads_meanwhile_reads_the_old_file(model, path):
    before = path.read_bytes()
    with path.open("rb") as file:
        head = file.read(100)
        model.retarget("tflite").save(path)
        assert head + file.read() == before
    assert ql.load(path).target == "tflite"


FULL_DISK = """
import resource, signal, sys
import qlite as ql
from pathlib import Path
source, target = map(Path, sys.argv[1:3])
model, before = ql.load(source), target.read_bytes() if target.exists() else None
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in (0, 1, 8, 512, source.stat().st_size - 1):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        model.save(target)
    except OSError:
        pass
    else:
        sys.exit(f"saved {source.stat().st_size} bytes in {limit}")
    if (target.read_bytes() if target.exists() else None) != before or set(target.parent.iterdir()) - {source, target}:
        sys.exit(f"limit {limit}: the folder has changed")
resource.setrlimit(resource.RLIMIT_FSIZE, (source.stat().st_size, resource.RLIM_INFINITY))
model.save(target)
assert ql.load(target).nbytes == model.nbytes
"""


@pytest.mark.skipif(os.name != "posix", reason="needs resource limits")
@pytest.mark.parametrize("old", [None, b"what stood there before"])
def test_a_full_disk(path, old):
    target = path.with_name("target.qlite")
    if old:
        target.write_bytes(old)
    command = [sys.executable, "-c", FULL_DISK, str(path), str(target)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_folders_that_take_no_files(model, path, tmp_path):
    before = path.read_bytes()
    for bad in (path / "below_a_file", tmp_path / "none" / "model.qlite", tmp_path, tmp_path / ("x" * 300)):
        with pytest.raises(OSError):
            model.save(bad)
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == before
    assert not [name for name in os.listdir(tmp_path.parent) if name.endswith(".tmp")]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_an_unwritable_folder(model, path):
    before = path.read_bytes()
    path.parent.chmod(0o500)
    try:
        with pytest.raises(PermissionError):
            model.save(path)
        assert list(path.parent.iterdir()) == [path] and path.read_bytes() == before
    finally:
        path.parent.chmod(0o700)


@pytest.mark.skipif(os.name != "posix", reason="needs permissions")
def test_a_private_file_stays_private(model, path):
    path.chmod(0o600)
    model.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# ---- damage -----------------------------------------------------------------------------------------


def test_every_truncation(tmp_path):
    small = ql.quantize_model(ql.from_weights([(np.eye(2), None)]), "w8")
    small.save(tmp_path / "model.qlite")
    content = (tmp_path / "model.qlite").read_bytes()
    for length in range(len(content)):
        (tmp_path / "model.qlite").write_bytes(content[:length])
        refused(tmp_path / "model.qlite")


def test_changed_bytes(model, path):
    """Refused, or the change was in spaces and the like and every number is as it was."""
    content, rng = path.read_bytes(), np.random.default_rng(0)
    for position, change in zip(rng.integers(0, len(content), CHANGES), rng.integers(1, 256, CHANGES), strict=True):
        changed = bytearray(content)
        changed[position] ^= change
        path.write_bytes(changed)
        try:
            loaded = ql.load(path)
        except ValueError as error:
            assert path.name in str(error)
        else:
            assert same_model(loaded, model), f"byte {position} changed by {change}"


def test_tensors_that_change_their_names(path):
    """All of the right shape, so only the digest can tell."""
    square = ql.quantize_model(ql.from_weights([(np.eye(4), None), (np.ones((4, 4)), None)]), "w8")
    square.save(path)
    content = path.read_bytes().replace(b'"steps.0.weight"', b"+").replace(b'"steps.1.weight"', b'"steps.0.weight"')
    path.write_bytes(content.replace(b"+", b'"steps.1.weight"'))
    refused(path, "digest")


# ---- other content under a right digest ---------------------------------------------------------------


def places(content, prefix=()):
    """The way to every value of nested lists and dicts."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield (*prefix, key)
        yield from places(value, (*prefix, key))


def at(content, place):
    for key in place:
        content = content[key]
    return content


VALUES = [
    None,
    True,
    -1,
    0,
    1,
    3,
    2**31,
    2**80,
    0.5,
    -0.0,
    1e-40,
    1e300,
    "",
    "float32",
    "tflite",
    [],
    [1],
    {},
    {"a": 1},
]


def check_changes(path, description, tensors, target="tflite"):
    """Replace every value of a description by others; returns how many models load all the same."""
    x, loaded = np.ones((3, 6), np.float32), 0
    for place in places(description):
        for value in ["(missing)", *VALUES]:
            changed = copy.deepcopy(description)
            parent = at(changed, place[:-1])
            if value == "(missing)":
                del parent[place[-1]]
            else:
                parent[place[-1]] = value
            path.write_bytes(joined(changed, tensors))
            try:
                model = ql.load(path)
            except ValueError as error:
                assert path.name in str(error)
            else:
                loaded += 1
                assert model(x).dtype == np.float32, (place, value)
                assert model.retarget(target)(x).dtype == np.float32, (place, value)
    return loaded


def test_every_value_of_the_description(path):
    """Missing or replaced by anything: a ValueError that names the file, or a model that is as usable as any."""
    loaded = check_changes(path, *parts(path.read_bytes()))
    assert loaded < 70  # of over 1,000: what loads has another scale, zero point, name or activation


def test_every_value_of_the_description_of_packed_weights(tmp_path):
    network, x = small_network()
    saved, path = ql.quantize_model(network, "w4a4", x), tmp_path / "model.qlite"
    saved.save(path)
    description, tensors = parts(path.read_bytes())
    for i, step in enumerate(saved.program.steps):
        if hasattr(step, "weight"):
            rows, columns = step.weight.shape
            assert tensors[f"steps.{i}.weight"].shape == (columns, -(-rows * step.weight_bits // 8))
    loaded = check_changes(path, description, tensors, "numpy")
    assert loaded < 80  # of over 900


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"weight_shape": [6, 8]}, "stored"),
        ({"weight_shape": [6]}, "."),
        ({"weight_shape": [-6, 9]}, "."),
        ({"weight_dtype": "int16"}, "weight_dtype: expected int8 or uint8"),
        ({"weight_bits": 8}, "weight_bits: expected 1 to 7"),
        ({"weight_bits": True}, "weight_bits: expected 1 to 7"),
        ({"weight_bits": 3}, "weight_zero_point: expected 0 to 7"),
        ({"weight_dtype": None}, "expected .* and perhaps"),
    ],
    ids=str,
)
def test_packed_weights_that_are_not_as_described(tmp_path, changes, message):
    network, x = small_network()
    path = tmp_path / "model.qlite"
    ql.quantize_model(network, "w4a8", x).save(path)
    description, tensors = parts(path.read_bytes())
    step = next(s for s in description["program"]["steps"] if "weight_shape" in s)
    step.update({name: value for name, value in changes.items() if value is not None})
    for name in changes:
        if changes[name] is None:
            del step[name]
    path.write_bytes(joined(description, tensors))
    refused(path, message)


def test_names_that_do_not_belong(path):
    description, tensors = parts(path.read_bytes())
    for place in [(), *places(description)]:
        if isinstance(at(description, place), dict):
            changed = copy.deepcopy(description)
            at(changed, place)["surplus"] = 1
            path.write_bytes(joined(changed, tensors))
            refused(path)
    text = json.dumps(description)
    path.write_bytes(joined(text[:-1] + ', "version": 1}', tensors))
    refused(path, "twice")
    for version in (0, 3, 99, -1, 1.5, "1", [1], None):
        path.write_bytes(joined(description | {"version": version}, tensors))
        refused(path, "version")


def test_tensors_that_do_not_fit(path):
    description, tensors = parts(path.read_bytes())
    path.write_bytes(joined(description, tensors))
    assert ql.load(path).in_features == 6  # so it is the changes that are refused
    for name, tensor in tensors.items():
        shapes = [tensor[:-1], tensor[..., :0], tensor[None], np.concatenate([tensor, tensor]), tensor.ravel()[0]]
        shapes += [tensor.T.copy(), tensor.ravel()] if tensor.ndim == 2 else []
        dtypes = [tensor.astype(d) for d in ("f8", "f2", "i2", "i8", "u4", "?") if tensor.dtype != d]
        values = [np.full_like(tensor, bad) for bad in (np.nan, np.inf, 0, -1)] if tensor.dtype.kind == "f" else []
        for other in [*shapes, *dtypes, *values]:
            path.write_bytes(joined(description, tensors | {name: np.ascontiguousarray(other)}))
            refused(path)
        path.write_bytes(joined(description, {k: v for k, v in tensors.items() if k != name}))
        if not name.endswith(".bias"):  # a bias may be absent
            refused(path)
    for surplus in ("steps.0.weight", "steps.1.codes", "steps.9.weight", "other", ""):
        path.write_bytes(joined(description, tensors | {surplus: np.zeros(2, np.float32)}))
        refused(path)


def test_other_files(path, tmp_path):
    np.savez(tmp_path / "arrays.npz", a=np.ones(3))
    for content in (
        write_tensors({"steps.0.weight": np.ones((2, 3), np.int8)}),
        write_tensors({"a": np.ones(3)}, {"format": "pt"}),
        write_tensors({}, {"qlite": "{}", "digest": "0"}),
        write_tensors({}, {"qlite": "[]", "digest": container._digest("[]", {})}),
        joined("", {}),
        joined("{}", {}),
        joined('{"version":1}', {}),
        joined("[" * 100_000, {}),
        (tmp_path / "arrays.npz").read_bytes(),
        "ein Text über alles Mögliche".encode(),
        b"\xff" * 100,
    ):
        path.write_bytes(content)
        refused(path)


MEMORY = """
import sys
import qlite as ql
from qlite.io import model_file
import hashlib, json, safetensors.numpy

def peak():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))

before = peak()
ql.load(sys.argv[1])
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists() or SANITIZED, reason="needs Linux's peak memory, unpadded")
@pytest.mark.parametrize("scheme", ["w8a8", "w8"])
def test_loading_needs_twice_the_file(tmp_path, scheme):
    weight = np.ones(LARGE_WEIGHTS, np.float32)
    data = np.eye(2, LARGE_WEIGHTS[0], dtype=np.float32) if scheme == "w8a8" else None
    path = tmp_path / "model.qlite"
    ql.quantize_model(ql.from_weights([(weight, None)]), scheme, data).save(path)
    command = [sys.executable, "-c", MEMORY, str(path)]
    needed = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert needed <= 2 * path.stat().st_size + LOAD_ALLOWANCE
