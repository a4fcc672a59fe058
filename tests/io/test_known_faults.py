"""The catalogue of known faults (see tests/test_known_faults.py): what has gone wrong with model files."""

import json
import os
import re
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load as safetensors_load
from samples import same_bytes

import qlite as ql
from qlite.io import array_file, container, model_file

# Loading may need twice the file and this much.
LOAD_ALLOWANCE = 16 << 20
REFUSAL_SECONDS = 1.0  # a refusal takes milliseconds; a hang or a huge allocation takes far longer


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    layers = [(rng.normal(size=(6, 9)), rng.normal(size=9)), (rng.normal(size=(9, 4)), rng.normal(size=4))]
    return ql.quantize_model(ql.from_weights(layers, activation="relu"), "w8a8", data=rng.normal(size=(50, 6)))


@pytest.fixture
def path(model, tmp_path):
    path = tmp_path / "model.qlite"
    model.save(path)
    return path


X = np.random.default_rng(1).normal(size=(20, 6))


def refused(path, content):
    """Whatever these bytes are: a ValueError that names the file, soon, and without much memory."""
    path.write_bytes(content)
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises(ValueError, match=re.escape(path.name)):
        ql.load(path)
    assert time.perf_counter() - start < REFUSAL_SECONDS
    assert tracemalloc.get_traced_memory()[1] < 2 * len(content) + LOAD_ALLOWANCE
    tracemalloc.stop()


def parts(content):
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header, body):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def with_header(content, change):
    header, body = parts(content)
    change(header)
    return joined(header, body)


def with_description(content, change):
    """A file whose description was changed by somebody who also made its digest right."""
    header, body = parts(content)
    description = json.loads(header["__metadata__"]["qlite"])
    change(description)
    text = json.dumps(description)
    digest = container._digest(text, safetensors_load(content))
    header["__metadata__"] = {"qlite": text, "digest": digest}
    return joined(header, body)


def first_tensor(header):
    return header[sorted(name for name in header if name != "__metadata__")[0]]


def test_the_untouched_file_loads(model, path):
    same_bytes(ql.load(path)(X), model(X))
    same = with_description(path.read_bytes(), lambda description: None)
    path.write_bytes(same)
    same_bytes(ql.load(path)(X), model(X))


@pytest.mark.parametrize("shape", [[2**42 + 1], [2**32, 2**32], [1] * 70, [-1], [2**63], [1.5], "4", None])
def test_k54_shapes_that_wrap_or_have_too_many_dimensions(path, shape):
    refused(path, with_header(path.read_bytes(), lambda header: first_tensor(header).update(shape=shape)))


def test_k54_numbers_that_wrap_in_the_description(path):
    content = path.read_bytes()
    for length in (2**62, 2**32 + 6, 0, -1, 1.5, "6", True, None):
        refused(path, with_description(content, lambda d, n=length: d["program"]["buffers"][0].update(shape=[n])))
    for number in (2**63, 99, -1, 1.0, None):
        refused(path, with_description(content, lambda d, n=number: d["program"]["steps"][0].update(output=n)))
        refused(path, with_description(content, lambda d, n=number: d["program"].update(outputs=[n])))


def test_k55_no_check_is_an_assert():
    for module in (model_file, array_file, container):
        assert not re.search(r"^\s*assert\b", Path(module.__file__).read_text(), re.MULTILINE)


def test_k56_declared_data_beyond_the_file(path):
    content = path.read_bytes()
    for offsets in ([0, 2**40], [2**40, 2**41], [0, 2**64 - 1]):
        refused(path, with_header(content, lambda h, o=offsets: first_tensor(h).update(data_offsets=o)))
    _, body = parts(content)
    refused(path, with_header(content, lambda header: None)[: -len(body)])


def test_k57_header_lengths_and_offsets(path):
    content = path.read_bytes()
    for length in (2**64 - 1, 2**64 - 8, 2**63, len(content), len(content) - 7, 0, 1):
        refused(path, length.to_bytes(8, "little") + content[8:])
    for offsets in ([], [8], [8, 0], [0, 1], [-4, 4], ["0", "4"], None, [0, 8, 16]):
        refused(path, with_header(content, lambda h, o=offsets: first_tensor(h).update(data_offsets=o)))
    for dtype in ("F64", "I4", "", None, "BF16"):
        refused(path, with_header(content, lambda h, d=dtype: first_tensor(h).update(dtype=d)))


@pytest.mark.parametrize(
    "content",
    [b"", bytes(7), bytes(8), b"\x18\0\0\0TFL3", b"GGUF\3\0\0\0", b"PK\3\4" + bytes(99), b"\x93NUMPY" * 9],
)
def test_k58_other_and_tiny_files(path, content):
    refused(path, content)


def test_k59_names_in_the_file_set_nothing(path):
    content = path.read_bytes()
    changes = [
        lambda d: d.update(__class__="os.system"),
        lambda d: d["program"].update(run="os.system"),
        lambda d: d["program"]["steps"][0].update(kind="__init__"),
        lambda d: d["program"]["steps"][0].update(kind=["gemm"]),
        lambda d: d["program"]["steps"][1].update(weight="steps.0.weight"),
        lambda d: d["program"]["buffers"][0].update(dtype="object"),
        lambda d: d["program"]["buffers"][0].update(external="../../etc/passwd"),
        lambda d: d.pop("program"),
        lambda d: d.update(program=[]),
        lambda d: d.update(output="os.system"),
        lambda d: d.update(classes={"a": 1}),
        lambda d: d.update(classes=[0, 1]),
        lambda d: d.update(version=99),
    ]
    for change in changes:
        refused(path, with_description(content, change))


def test_k60_nothing_in_the_package_runs_code_from_data():
    sources = Path(ql.__file__).parent.rglob("*.py")
    dangerous = r"\b(import|from) (pickle|marshal|shelve|dill|cloudpickle|yaml)\b|allow_pickle=True|\b(eval|exec)\("
    assert not [path.name for path in sources if re.search(dangerous, path.read_text())]


def test_k62_saving_onto_the_file_it_came_from(model, path):
    loaded = ql.load(path)
    loaded.save(path)
    loaded.save(path)
    same_bytes(ql.load(path)(X), model(X))


def test_k62_a_failed_save_leaves_the_old_file(model, path, monkeypatch):
    before = path.read_bytes()
    for function in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, function, lambda *_: (_ for _ in ()).throw(OSError("no space left")))
            with pytest.raises(OSError, match="no space left"):
                model.save(path)
        assert path.read_bytes() == before
        assert list(path.parent.iterdir()) == [path]


def test_k63_a_file_cut_after_loading(model, path):
    loaded = ql.load(path)
    os.truncate(path, 10)
    same_bytes(loaded(X), model(X))
    refused(path, path.read_bytes())


def test_k64_tensors_over_the_same_bytes(path):
    def share(header):
        names = sorted(name for name in header if name != "__metadata__")
        for name in names:
            header[name]["data_offsets"] = [0, header[name]["data_offsets"][1] - header[name]["data_offsets"][0]]

    refused(path, with_header(path.read_bytes(), share))


def test_k65_headers_that_are_expensive_to_read(path):
    refused(path, joined(b"[" * 5_000_000, b""))
    refused(path, joined(b'{"a":' * 1_000_000, b""))
    refused(path, joined(b'{"__metadata__":{"qlite":' + b"9" * 1_000_000 + b"}}", b""))
    refused(path, (container.MAX_HEADER + 1).to_bytes(8, "little") + b" " * 100)


def test_values_that_no_grid_has(path):
    content = path.read_bytes()
    for scale in (0.0, -1.0, 1e-45, float("nan"), float("inf"), 1e300):
        refused(path, with_description(content, lambda d, s=scale: d["program"]["buffers"][1].update(scale=s)))
    for code in (256, -1, 2**40):
        refused(path, with_description(content, lambda d, z=code: d["program"]["buffers"][1].update(zero_point=z)))


def test_every_truncation_is_refused(path):
    content = path.read_bytes()
    for length in range(0, len(content), 5):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="not a usable"):
            ql.load(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(ValueError, match="not a usable"):
        ql.load(path)


def test_changed_bytes_are_refused_or_harmless(model, path):
    content, rng = path.read_bytes(), np.random.default_rng(2)
    expected = model(X).tobytes()
    for position in rng.permutation(len(content))[:800]:
        changed = bytearray(content)
        changed[position] ^= int(rng.integers(1, 256))
        path.write_bytes(changed)
        try:
            assert ql.load(path)(X).tobytes() == expected
        except ValueError as error:
            assert "not a usable" in str(error)


@pytest.mark.skipif(os.name != "posix", reason="needs resource limits")
def test_r11_a_full_disk_leaves_the_old_file(model, path):
    before = path.read_bytes()
    program = (
        "import resource, signal, sys, qlite as ql\n"
        "model = ql.load(sys.argv[1])\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))\n"
        "try:\n    model.save(sys.argv[1])\nexcept OSError:\n    sys.exit(7)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)]).returncode == 7
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_r12_duplicate_names(path):
    header, body = parts(path.read_bytes())
    text = json.dumps(header)
    name = sorted(name for name in header if name != "__metadata__")[0]
    twice = text[:-1] + f', "{name}": {json.dumps(header[name])}}}'
    refused(path, joined(twice.encode(), body))
    metadata = header["__metadata__"]
    refused(path, joined((text[:-1] + f', "__metadata__": {json.dumps(metadata)}}}').encode(), body))


def test_case_l_descriptions_that_take_long_to_refuse(path):
    content = path.read_bytes()
    long = [2**31 - 1] * 20_000
    refused(path, with_description(content, lambda d: d["program"]["buffers"][0].update(shape=long)))
    same = {"name": "a", "layer": "a", "shape": [1], "dtype": "float32"}
    refused(path, with_description(content, lambda d: d["program"].update(buffers=[same] * 2_000)))
    labels = {"dtype": "<U999999", "values": ["a", "b"]}
    refused(path, with_description(content, lambda d: d.update(classes=labels, task="binary")))
