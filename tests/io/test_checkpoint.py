"""Checkpoints: what is quantized and how, restarts, what is broken, names, memory."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from shards import Bits, contents, shard_bytes, two_shards, write_checkpoint

import qlite as ql
from qlite.io import array_file, atomic_file, checkpoint, container
from qlite.io.checkpoint import INDEX, file_name

SANITIZED = "libasan" in os.environ.get("LD_PRELOAD", "")
BROKEN = {
    "data missing": lambda content: content[:-1],
    "data too long": lambda content: content + b"\0",
    "header missing": lambda content: content[:30],
    "header damaged": lambda content: content[:8] + b"[" + content[9:],
    "garbage": lambda content: bytes(range(256)),
    "empty": lambda content: b"",
}
# Of 200 MB in 100 tensors of 2 MB: a few of their size, and what the process needs to write files at all.
TENSOR_BYTES, MEMORY_ALLOWANCE = 2 << 20, 8 << 20


@pytest.fixture
def src(tmp_path, rng):
    return write_checkpoint(tmp_path / "src", two_shards(rng))


def float32(tensor):
    if isinstance(tensor, Bits):
        return (tensor.bits.astype(np.uint32) << 16).view(np.float32)
    return tensor.astype(np.float32)


@pytest.mark.parametrize("index", [False, True], ids=["folder", "index"])
def test_weights_are_quantized_as_alone_and_the_rest_is_copied(tmp_path, rng, index):
    shards = two_shards(rng)
    src = write_checkpoint(tmp_path / "src", shards, index)
    summary = ql.quantize_checkpoint(src, tmp_path / "dst")
    loaded = ql.load(tmp_path / "dst")
    originals = {name: tensor for tensors in shards.values() for name, tensor in tensors.items()}
    assert list(loaded) == list(originals)
    for name in ("embed.weight", "layers.0.weight", "layers.1.weight", "head.weight"):
        w = float32(originals[name])
        assert loaded[name] == ql.quantize(w, axis=0)
        assert summary.sqnr_db[name] == pytest.approx(loaded[name].error(w).sqnr_db, abs=1e-9)
    for name in ("layers.1.bias", "positions"):
        assert loaded[name].dtype == originals[name].dtype
        np.testing.assert_array_equal(loaded[name], originals[name])
    np.testing.assert_array_equal(loaded["layers.0.bias"], float32(originals["layers.0.bias"]))
    assert (summary.tensors, summary.copied, summary.skipped) == (7, 3, 0)
    assert summary.bytes_before == sum(getattr(t, "bits", t).nbytes for t in originals.values())
    files = contents(tmp_path / "dst")
    assert summary.bytes_after == sum(len(content) for name, content in files.items() if name != INDEX)
    assert summary.ratio == summary.bytes_before / summary.bytes_after
    assert summary.worst == min(summary.sqnr_db, key=summary.sqnr_db.get)
    assert "4 tensors quantized and 3 copied" in repr(summary) and summary.worst in str(summary)


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"scheme": "w4g8"}, {"bits": 4, "group_size": 8, "symmetric": False}),
        ({"scheme": "w3", "symmetric": True}, {"bits": 3}),
        ({"scheme": "w16", "axis": 1}, {"bits": 16, "axis": 1}),
        ({"scheme": "w1"}, {"bits": 1}),
        ({"grid": "nf4"}, {"grid": "nf4"}),
        ({"scheme": "w4", "grid": "mxfp4"}, {"grid": "mxfp4"}),
        ({"scheme": "w2", "grid": np.float32([-1, 0, 1])}, {"grid": np.float32([-1, 0, 1])}),
        ({"scheme": "w8", "method": "mse", "axis": None}, {"method": "mse", "axis": None}),
    ],
    ids=str,
)
def test_options_are_those_of_quantize(tmp_path, rng, options, expected):
    w = rng.normal(size=(12, 40)).astype(np.float32)
    write_checkpoint(tmp_path / "src", {"a.safetensors": {"w": w}})
    ql.quantize_checkpoint(tmp_path / "src", tmp_path / "dst", **options)
    assert ql.load(tmp_path / "dst")["w"] == ql.quantize(w, **{"axis": 0, **expected})


def test_one_file_and_folders_that_are_made(tmp_path, src, monkeypatch):
    shard = sorted(src.iterdir())[0]
    monkeypatch.chdir(tmp_path)
    assert ql.quantize_checkpoint(f"src/{shard.name}", "new/dst").path == str(tmp_path / "new" / "dst")
    assert set(ql.load(tmp_path / "new" / "dst")) == {"embed.weight", "layers.0.weight", "layers.0.bias"}


def test_dtypes_and_shapes_of_all_kinds_come_back(tmp_path):
    tensors = {
        "scalar": np.float32(3).reshape(()),
        "vector": np.arange(3, dtype=np.float32),
        "empty": np.zeros((0, 3), np.float32),
        "bool": np.array([True, False]),
        "complex": np.array([1 + 2j], np.complex64),
        "int": np.arange(6).reshape(2, 3),
    }
    tensors["fp8"] = Bits("F8_E4M3", np.arange(6, dtype=np.uint8).reshape(2, 3))
    tensors["empty_bf16"] = Bits("BF16", np.zeros((2, 0), np.uint16))
    write_checkpoint(tmp_path / "src", {"a.safetensors": tensors})
    assert ql.quantize_checkpoint(tmp_path / "src", tmp_path / "dst").copied == len(tensors)
    loaded = ql.load(tmp_path / "dst")
    for name, tensor in tensors.items():
        expected = getattr(tensor, "bits", tensor)
        assert loaded[name].shape == expected.shape
        np.testing.assert_array_equal(loaded[name], expected)
    assert loaded["empty_bf16"].dtype == np.float32


def test_four_dimensions(tmp_path, rng):
    w = rng.normal(size=(4, 3, 5, 5)).astype(np.float32)
    write_checkpoint(tmp_path / "src", {"a.safetensors": {"w": w}})
    ql.quantize_checkpoint(tmp_path / "src", tmp_path / "dst")
    assert ql.load(tmp_path / "dst")["w"] == ql.quantize(w, axis=0)


def test_skip(tmp_path, src):
    ql.quantize_checkpoint(src, tmp_path / "a", skip="*embed*")
    ql.quantize_checkpoint(src, tmp_path / "b", skip=["head.*", "layers.[0]*"])
    kinds = [{n for n, t in ql.load(tmp_path / d).items() if isinstance(t, ql.QArray)} for d in ("a", "b")]
    assert kinds == [{"layers.0.weight", "layers.1.weight", "head.weight"}, {"embed.weight", "layers.1.weight"}]


NAMES = ["a/b", "../../evil", "a_b", "A_b", "a_B", "..", ".", "", ".hidden", "con", "tab\t", "nul\0l", "ä", "x" * 300]
NAMES += ["x" * 299 + "y", "c:\\d", "qlite.index.json", "a.qlite", "b~c"]


def test_names_stay_in_the_folder_and_apart(tmp_path):
    tensors = {name: np.full((2, 4), i + 1, np.float32) for i, name in enumerate(NAMES)}
    write_checkpoint(tmp_path / "src" / "deep", {"a.safetensors": tensors})
    dst = tmp_path / "src" / "deep" / "dst"
    ql.quantize_checkpoint(tmp_path / "src" / "deep", dst)
    assert sorted(path.name for path in (tmp_path / "src").rglob("*.qlite")) == sorted(
        p.name for p in dst.glob("*.q*e")
    )
    assert len({path.name.lower() for path in dst.iterdir()}) == len(NAMES) + 1
    assert all(len(path.name) < 200 for path in dst.iterdir())
    for name, w in tensors.items():
        np.testing.assert_array_equal(ql.load(dst)[name], w)
    assert file_name("model.layers.0.mlp.weight") == "model.layers.0.mlp.weight.qlite"


class Interrupted:
    """Stands in for os.fsync: the process is interrupted in the middle of a file."""

    def __init__(self, after):
        self.left = after

    def __call__(self, number):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1


@pytest.mark.parametrize("done", [0, 3, 6])
def test_an_interrupted_run_goes_on(tmp_path, src, monkeypatch, done):
    ql.quantize_checkpoint(src, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(atomic_file, "_sync_folder", lambda folder: None)
        patch.setattr(os, "fsync", Interrupted(done))
        with pytest.raises(KeyboardInterrupt):
            ql.quantize_checkpoint(src, tmp_path / "dst")
    whole = contents(tmp_path / "whole")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "dst").iterdir()}
    assert len(before) == done and all(whole[name] == (tmp_path / "dst" / name).read_bytes() for name in before)
    with pytest.raises(FileNotFoundError, match=r"dst: expected a checkpoint with qlite\.index\.json"):
        ql.load(tmp_path / "dst")
    (tmp_path / "dst" / ".0123456789abcdef.tmp").write_bytes(b"of a process that was killed")
    assert ql.quantize_checkpoint(src, tmp_path / "dst").skipped == done
    assert contents(tmp_path / "dst") == whole
    assert all((tmp_path / "dst" / name).stat().st_mtime_ns == time for name, time in before.items())


def test_a_second_run_does_nothing(tmp_path, src):
    first = ql.quantize_checkpoint(src, tmp_path / "dst")
    before = contents(tmp_path / "dst")
    second = ql.quantize_checkpoint(src, tmp_path / "dst")
    assert second.skipped == second.tensors == 7 and "there already" in str(second)
    assert (second.sqnr_db, second.bytes_after) == (first.sqnr_db, first.bytes_after)
    assert contents(tmp_path / "dst") == before


@pytest.mark.parametrize("place", [20, -1])
def test_a_damaged_file_is_found_and_made_anew(tmp_path, src, place):
    ql.quantize_checkpoint(src, tmp_path / "dst")
    before = contents(tmp_path / "dst")
    path = tmp_path / "dst" / "layers.0.weight.qlite"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"layers\.0\.weight\.qlite: not a usable qlite file"):
        ql.load(tmp_path / "dst")["layers.0.weight"]
    assert ql.quantize_checkpoint(src, tmp_path / "dst").skipped == 6
    assert contents(tmp_path / "dst") == before


def test_a_file_that_says_less_than_it_should_is_made_anew(tmp_path, src):
    ql.quantize_checkpoint(src, tmp_path / "dst")
    before = contents(tmp_path / "dst")
    path = tmp_path / "dst" / "head.weight.qlite"
    about = json.loads(container.read_description(path))["about"]
    for note in ({**about, "more": 1}, {k: v for k, v in about.items() if k != "origin"}, "nothing", None):
        array_file.save_arrays(path, {"array": np.zeros(3)}, about=note)
        assert ql.quantize_checkpoint(src, tmp_path / "dst").skipped == 6
        assert contents(tmp_path / "dst") == before


def test_tensors_of_a_shard_that_has_changed_are_made_anew(tmp_path, src, rng):
    ql.quantize_checkpoint(src, tmp_path / "dst")
    shard, tensors = next(iter(two_shards(rng).items()))
    write_checkpoint(src, {shard: tensors})
    os.utime(src / shard, ns=(0, 0))
    assert ql.quantize_checkpoint(src, tmp_path / "dst").skipped == 4
    assert ql.load(tmp_path / "dst")["embed.weight"] == ql.quantize(tensors["embed.weight"], axis=0)


@pytest.mark.parametrize("options", [{"scheme": "w16"}, {"axis": 1}, {"skip": "head*"}, {"percentile": 99.0}], ids=str)
def test_a_run_with_other_options_is_refused(tmp_path, src, options):
    ql.quantize_checkpoint(src, tmp_path / "dst", method="percentile")
    (tmp_path / "dst" / INDEX).unlink()
    before = contents(tmp_path / "dst")
    with pytest.raises(ValueError, match=f"dst: .*dst with .*{next(iter(options))}.* there and .* here"):
        ql.quantize_checkpoint(src, tmp_path / "dst", method="percentile", **options)
    assert contents(tmp_path / "dst") == before


@pytest.mark.parametrize("fault", BROKEN)
@pytest.mark.parametrize("index", [False, True], ids=["folder", "index"])
def test_a_broken_shard_is_reported_once_the_others_are_done(tmp_path, rng, fault, index):
    shards = two_shards(rng)
    src = write_checkpoint(tmp_path / "src", shards, index)
    broken = src / "model-00001-of-00002.safetensors"
    whole = broken.read_bytes()
    broken.write_bytes(BROKEN[fault](whole))
    (src / "other.safetensors").write_bytes(b"" if not index else shard_bytes({}))
    with pytest.raises(ValueError, match=r"src: [^\n]*\n  shard model-00001-of-00002\.safetensors: ") as error:
        ql.quantize_checkpoint(src, tmp_path / "dst")
    assert ("shard other.safetensors" in str(error.value)) == (not index)
    done = [f"{name}.qlite" for name in shards["model-00002-of-00002.safetensors"]]
    assert sorted(contents(tmp_path / "dst")) == sorted(done)
    broken.write_bytes(whole)
    (src / "other.safetensors").unlink()
    assert ql.quantize_checkpoint(src, tmp_path / "dst").skipped == 4
    assert len(ql.load(tmp_path / "dst")) == 7


def test_a_shard_or_tensors_that_the_index_names_but_that_are_missing(tmp_path, rng):
    shards = two_shards(rng)
    src = write_checkpoint(tmp_path / "src", shards, index=True)
    del shards["model-00002-of-00002.safetensors"]["positions"]
    write_checkpoint(src, shards)
    (src / "model-00001-of-00002.safetensors").unlink()
    with pytest.raises(ValueError) as error:
        ql.quantize_checkpoint(src, tmp_path / "dst")
    assert "shard model-00001-of-00002.safetensors: No such file" in str(error.value)
    assert "shard model-00002-of-00002.safetensors: 1 tensors that the index names are not in it" in str(error.value)
    assert len(contents(tmp_path / "dst")) == 3


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_tensors_that_are_not_finite_are_reported_by_name(tmp_path, rng, value):
    shards = two_shards(rng)
    for tensors in shards.values():
        for name in ("embed.weight", "head.weight"):
            if name in tensors:
                tensors[name][3, 5] = value
    src = write_checkpoint(tmp_path / "src", shards)
    with pytest.raises(ValueError) as error:
        ql.quantize_checkpoint(src, tmp_path / "dst")
    for name, shard in zip(("embed.weight", "head.weight"), shards, strict=True):
        assert f"\n  tensor '{name}' in {shard}: expected finite values" in str(error.value)
    assert len(contents(tmp_path / "dst")) == 5
    summary = ql.quantize_checkpoint(src, tmp_path / "clipped", nonfinite="saturate")
    assert all(30 < db < 60 for db in summary.sqnr_db.values())
    assert ql.load(tmp_path / "clipped")["head.weight"] == ql.quantize(
        shards["model-00002-of-00002.safetensors"]["head.weight"], axis=0, nonfinite="saturate"
    )


def test_float64_beyond_float32_is_not_finite(tmp_path):
    src = write_checkpoint(tmp_path / "src", {"a.safetensors": {"w": np.full((2, 2), 1e300)}})
    with pytest.raises(ValueError, match=r"tensor 'w' in a\.safetensors: expected finite values"):
        ql.quantize_checkpoint(src, tmp_path / "dst")


def test_sources_that_are_none(tmp_path, src, rng):
    dst = tmp_path / "dst"
    with pytest.raises(FileNotFoundError, match="src: expected a folder"):
        ql.quantize_checkpoint(tmp_path / "nothing", dst)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"src: expected \*.safetensors in .*empty, got none"):
        ql.quantize_checkpoint(tmp_path / "empty", dst)
    twice = write_checkpoint(tmp_path / "twice", {f"{s}.safetensors": {"w": np.eye(2)} for s in "ab"})
    with pytest.raises(ValueError, match=r"each tensor once, got 'w' in both a\.safetensors and b\.safetensors"):
        ql.quantize_checkpoint(twice, dst)
    for content in ("{", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"w": "../a"}}', '{"weight_map": {"w": 1}}'):
        (twice / "model.safetensors.index.json").write_text(content)
        with pytest.raises(ValueError, match=r"src: .*model\.safetensors\.index\.json"):
            ql.quantize_checkpoint(twice, dst)
    (twice / "other.safetensors.index.json").write_text("{}")
    with pytest.raises(ValueError, match="src: expected one index"):
        ql.quantize_checkpoint(twice, dst)
    assert not dst.exists()


def test_places_that_no_result_can_go_to(tmp_path, src):
    with pytest.raises(ValueError, match="dst: expected another folder than that of src"):
        ql.quantize_checkpoint(src, src)
    with pytest.raises(ValueError, match="dst: expected another folder than that of src"):
        ql.quantize_checkpoint(sorted(src.iterdir())[0], src)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="dst: expected a folder, got what is none"):
        ql.quantize_checkpoint(src, tmp_path / "file")


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"scheme": "w8a8"}, ValueError, "scheme: expected weights alone, such as 'w8', got 'w8a8'"),
        ({"scheme": "w17"}, ValueError, "scheme: expected widths of 1 to 16 bits"),
        ({"scheme": 8}, TypeError, "scheme: expected a string"),
        ({"method": "best"}, ValueError, "method: expected one of"),
        ({"scheme": "w8", "grid": "nf4"}, ValueError, "bits: expected 4 .*for grid 'nf4', got 8"),
        ({"axis": 2}, ValueError, "axis: expected -2 to 1"),
        ({"axis": "0"}, TypeError, "axis: expected an integer"),
        ({"symmetric": 1}, TypeError, "symmetric: expected True or False"),
        ({"percentile": "99"}, TypeError, "percentile: expected a number"),
        ({"nonfinite": "skip"}, ValueError, "nonfinite: expected one of"),
        ({"skip": [1]}, TypeError, "skip: expected patterns"),
        ({"client": 3}, TypeError, "client: expected a distributed.Client"),
    ],
    ids=str,
)
def test_options_that_there_are_not(tmp_path, src, options, error, message):
    if "client" in options:
        pytest.importorskip("distributed")
    with pytest.raises(error, match=message):
        ql.quantize_checkpoint(src, tmp_path / "dst", **options)
    assert not (tmp_path / "dst").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index.update(version=2),
        lambda index: index.pop("tensors"),
        lambda index: index.update(tensors=[]),
        lambda index: index["tensors"]["head.weight"].update(file="../../secret.qlite"),
        lambda index: index.update(options=None),
    ],
)
def test_an_index_that_was_changed(tmp_path, src, change):
    ql.quantize_checkpoint(src, tmp_path / "dst")
    index = json.loads((tmp_path / "dst" / INDEX).read_text())
    change(index)
    (tmp_path / "dst" / INDEX).write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"dst: not a usable checkpoint: qlite\.index\.json: "):
        ql.load(tmp_path / "dst")


def test_files_that_were_exchanged(tmp_path, src):
    ql.quantize_checkpoint(src, tmp_path / "dst")
    os.replace(tmp_path / "dst" / "head.weight.qlite", tmp_path / "dst" / "embed.weight.qlite")
    loaded = ql.load(tmp_path / "dst")
    with pytest.raises(ValueError, match=r"expected the tensor 'embed\.weight', got another one"):
        loaded["embed.weight"]
    with pytest.raises(FileNotFoundError, match=r"head\.weight\.qlite"):
        loaded["head.weight"]


def test_a_checkpoint_reads_what_is_asked_for(tmp_path, src, monkeypatch):
    ql.quantize_checkpoint(src, tmp_path / "dst", "w16")
    loaded, read = ql.load(tmp_path / "dst"), []
    whole = container.read
    monkeypatch.setattr(container, "read", lambda path: read.append(path.name) or whole(path))
    assert len(loaded) == 7 and "head.weight" in loaded and "tail" not in loaded
    assert loaded.scheme == "w16" and loaded.options["axis"] == 0
    assert repr(loaded).endswith("w16, 7 tensors)") and loaded == loaded and hash(loaded) == hash(loaded)
    assert read == []
    assert loaded["head.weight"].bits == 16 and read == ["head.weight.qlite"]
    with pytest.raises(KeyError, match="tail"):
        loaded["tail"]
    assert ql.load(tmp_path / "dst" / "head.weight.qlite") == loaded["head.weight"]


def test_one_core_call_after_another_and_no_more_memory_than_the_largest_tensor(tmp_path):
    if SANITIZED or not os.path.exists("/proc/self/status"):
        pytest.skip("the peak of memory is read from /proc, and says nothing under a sanitizer")
    w = np.arange(TENSOR_BYTES // 4, dtype=np.float32).reshape(256, -1)
    for i in range(4):
        write_checkpoint(tmp_path / "src", {f"{i}.safetensors": {f"w.{i}.{j}": w for j in range(25)}})
    write_checkpoint(tmp_path / "one", {"a.safetensors": {"w": w[:2]}})
    program = (
        "import sys, qlite as ql\n"
        "def peak():\n"
        "    lines = open('/proc/self/status').read().splitlines()\n"
        "    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith('VmHWM'))\n"
        "ql.quantize_checkpoint(sys.argv[1] + '/one', sys.argv[1] + '/warm')\n"
        "before = peak()\n"
        "ql.quantize_checkpoint(sys.argv[1] + '/src', sys.argv[1] + '/dst')\n"
        "print(peak() - before)\n"
    )
    result = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    print(f"{int(result.stdout) / TENSOR_BYTES:.1f} tensors more at the peak")
    assert int(result.stdout) <= MEMORY_ALLOWANCE


def test_progress_has_a_total(tmp_path, src, monkeypatch):
    shown = []
    monkeypatch.setattr(
        checkpoint, "progress", lambda items, what, unit, total: shown.append((what, unit, total)) or items
    )
    ql.quantize_checkpoint(src, tmp_path / "dst")
    assert shown == [("quantizing", "tensor", 7)]


# ---- stacks of matrices -----------------------------------------------------------------------------

STACKED = [
    {"scheme": "w8"},
    {"scheme": "w4"},
    {"scheme": "w4g32"},
    {"scheme": "w4g48"},
    {"scheme": "w4g8", "scale_dtype": "uint8"},
    {"scheme": "w8", "axis": 1},
    {"scheme": "w3g32", "axis": -1},
    {"scheme": "w8", "method": "entropy"},
    {"scheme": "w4g32", "method": "mse"},
    {"scheme": "w1", "grid": "sign"},
    {"grid": "nf4"},
    {"grid": "mxfp4"},
    {"grid": "mxfp8_e4m3", "axis": 1},
    {"scheme": "w2", "grid": "kmeans"},
    {"scheme": "w2g32", "grid": "kmeans", "axis": 1},
]


@pytest.mark.parametrize("options", STACKED, ids=str)
@pytest.mark.parametrize("shape", [(3, 40, 64), (1, 33, 32), (2, 3, 36, 40)], ids=str)
def test_case_d_stacked_matrices_are_quantized_as_one_matrix(tmp_path, rng, options, shape):
    w = (rng.normal(size=shape) * np.exp(3 * rng.normal(size=(*shape[:-1], 1)))).astype(np.float32)
    is_in_out = options.get("axis", 0) != 0
    rows = np.moveaxis(w, -2, -1) if is_in_out else w
    tensors = {"experts": w, "matrix": rows.reshape(-1, rows.shape[-1])}
    write_checkpoint(tmp_path / "src", {"a.safetensors": tensors})
    summary = ql.quantize_checkpoint(tmp_path / "src", tmp_path / "stack", **options)
    ql.quantize_checkpoint(tmp_path / "src", tmp_path / "matrix", **{**options, "axis": 0})
    stack, matrix = ql.load(tmp_path / "stack")["experts"], ql.load(tmp_path / "matrix")["matrix"]
    expected = np.asarray(matrix).reshape(rows.shape)
    np.testing.assert_array_equal(np.asarray(stack), np.moveaxis(expected, -2, -1) if is_in_out else expected)
    assert stack.scale.size == matrix.scale.size and stack.shape == shape
    assert summary.sqnr_db["experts"] == pytest.approx(matrix.error(tensors["matrix"]).sqnr_db, abs=1e-6)


def test_case_d_every_row_of_every_expert_has_its_scales(tmp_path, rng):
    w = (rng.normal(size=(4, 64, 128)) * np.geomspace(1e-3, 1e3, 256).reshape(4, 64, 1)).astype(np.float32)
    write_checkpoint(tmp_path / "src", {"a.safetensors": {"experts": w}})
    for scheme, shape, most in (("w4g32", (4, 64, 4), 0.1), ("w8", (4, 64, 1), 0.01)):
        ql.quantize_checkpoint(tmp_path / "src", tmp_path / scheme, scheme)
        q = ql.load(tmp_path / scheme)["experts"]
        assert q.scale.shape == shape
        error = np.linalg.norm(np.asarray(q) - w, axis=-1) / np.linalg.norm(w, axis=-1)
        assert np.median(error) < most


@pytest.mark.parametrize("shape", [(64, 3, 7, 7), (16, 8, 31), (8, 4, 3, 3, 3)], ids=str)
def test_case_d_filters_keep_a_scale_for_each_output(tmp_path, rng, shape):
    w = rng.normal(size=shape).astype(np.float32)
    write_checkpoint(tmp_path / "src", {"a.safetensors": {"w": w}})
    ql.quantize_checkpoint(tmp_path / "src", tmp_path / "dst")
    assert ql.load(tmp_path / "dst")["w"] == ql.quantize(w, axis=0)


# ---- sources that are quantized already -------------------------------------------------------------


def floats(rng, *shape):
    return rng.normal(size=shape).astype(np.float16)


def codes(dtype, *shape):
    return Bits(dtype, np.ones(shape, {"I32": np.int32, "U32": np.uint32, "I16": np.int16}.get(dtype, np.uint8)))


def quantized_sources(rng):
    """A layer of each kind of quantized checkpoint, as their writers name it."""
    return {
        "GPTQ": {
            "l.qweight": codes("I32", 8, 64),
            "l.qzeros": codes("I32", 2, 8),
            "l.scales": floats(rng, 2, 64),
            "l.g_idx": np.arange(64, dtype=np.int32),
        },
        "fp8": {"l.weight": codes("F8_E4M3", 64, 64), "l.weight_scale_inv": floats(rng, 2, 2).astype(np.float32)},
        "compressed": {"l.weight_packed": codes("I32", 64, 8), "l.weight_scale": floats(rng, 64, 4)},
        "modelopt": {"l.weight": codes("U8", 64, 32), "l.weight_scale": codes("F8_E4M3", 64, 4)},
        "mxfp4": {"e.blocks": codes("U8", 2, 8, 2, 16), "e.scales": codes("U8", 2, 8, 2), "e.bias": floats(rng, 2, 8)},
        "MLX": {"l.weight": codes("U32", 64, 8), "l.scales": floats(rng, 64, 2), "l.biases": floats(rng, 64, 2)},
        "AQLM": {"l.codes": codes("I16", 64, 8, 1), "l.codebooks": floats(rng, 1, 64, 1, 8)},
        "quanto": {"l.weight._data": codes("U8", 64, 64), "l.weight._scale": floats(rng, 64, 1)},
        "bitsandbytes": {"l.weight": codes("U8", 2048, 1), "l.weight.absmax": floats(rng, 8, 8)},
        "HQQ": {"W_q": codes("U8", 64, 32), "scale": floats(rng, 64, 2), "zero": floats(rng, 64, 2)},
        "scales in another shard": {"l.scales": floats(rng, 2, 64)},
    }


@pytest.mark.parametrize("kind", quantized_sources(np.random.default_rng(0)))
def test_case_d_scales_of_a_quantized_source_are_copied(tmp_path, rng, kind):
    tensors = quantized_sources(rng)[kind] | {"lm_head.weight": floats(rng, 64, 64)}
    write_checkpoint(tmp_path / "src", {"a.safetensors": tensors})
    summary = ql.quantize_checkpoint(tmp_path / "src", tmp_path / "dst", "w4g32")
    assert list(summary.sqnr_db) == ["lm_head.weight"]
    loaded = ql.load(tmp_path / "dst")
    for name in tensors.keys() - {"lm_head.weight"}:
        np.testing.assert_array_equal(loaded[name], getattr(tensors[name], "bits", tensors[name]))


def test_case_d_indices_beside_weights_are_no_codes(tmp_path, rng):
    tensors = {"e.position_ids": np.arange(64).reshape(1, 64), "e.weight": floats(rng, 64, 64)}
    write_checkpoint(tmp_path / "src", {"a.safetensors": tensors})
    assert list(ql.quantize_checkpoint(tmp_path / "src", tmp_path / "dst").sqnr_db) == ["e.weight"]


def test_case_d_a_result_that_is_larger_says_so(tmp_path, rng):
    write_checkpoint(tmp_path / "src", {"a.safetensors": {"w": floats(rng, 8, 8)}})
    summary = ql.quantize_checkpoint(tmp_path / "src", tmp_path / "dst")
    assert summary.ratio < 1
    for text in (str(summary), repr(summary)):
        assert "larger" in text and "smaller" not in text


def test_case_d_a_skip_pattern_that_fits_nothing(tmp_path, src):
    with pytest.raises(ValueError, match=r"skip: expected patterns of names .* fit none: tail\*, model\.x$"):
        ql.quantize_checkpoint(src, tmp_path / "dst", skip=["head*", "tail*", "model.x"])
    assert not (tmp_path / "dst").exists()


# ---- what is no regular file ------------------------------------------------------------------------

LINKS = pytest.mark.skipif(os.name != "posix", reason="needs symbolic links and pipes")


@LINKS
def test_case_l_what_a_link_in_the_folder_leads_to_stays(tmp_path, src):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    victim.chmod(0o604)
    ql.quantize_checkpoint(src, tmp_path / "whole")
    (tmp_path / "dst").mkdir()
    for name in ("head.weight.qlite", INDEX):
        (tmp_path / "dst" / name).symlink_to(victim)
    (tmp_path / "dst" / "positions.qlite").symlink_to(tmp_path / "whole" / "positions.qlite")
    (tmp_path / "dst" / "embed.weight.qlite").symlink_to(tmp_path / "nowhere")
    assert ql.quantize_checkpoint(src, tmp_path / "dst").skipped == 0
    assert victim.read_bytes() == b"precious" and victim.stat().st_mode & 0o777 == 0o604
    assert not (tmp_path / "nowhere").exists()
    assert not [path for path in (tmp_path / "dst").iterdir() if path.is_symlink()]
    assert contents(tmp_path / "dst") == contents(tmp_path / "whole")


@LINKS
@pytest.mark.parametrize("name", ["head.weight.qlite", INDEX])
def test_case_l_pipes_and_folders_in_place_of_a_result(tmp_path, src, name):
    for i, make in enumerate((os.mkfifo, os.mkdir)):
        dst = tmp_path / f"dst{i}"
        dst.mkdir()
        make(dst / name)
        with pytest.raises(ValueError, match=f"dst: expected files, got a (pipe|folder): .*{name}"):
            ql.quantize_checkpoint(src, dst)
        assert len(os.listdir(dst)) == 1


@LINKS
@pytest.mark.parametrize("index", [False, True], ids=["folder", "index"])
def test_case_l_links_and_pipes_among_the_shards_are_refused_by_name(tmp_path, rng, index):
    src = write_checkpoint(tmp_path / "src", two_shards(rng), index)
    first, second = sorted(src.glob("*.safetensors"))
    first.rename(tmp_path / "elsewhere")
    first.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=rf"shard {first.name}: expected a regular file, got a symbolic link"):
        ql.quantize_checkpoint(src, tmp_path / "dst")
    ql.quantize_checkpoint(src, tmp_path / "followed", follow_links=True)
    second.unlink()
    os.mkfifo(second)
    with pytest.raises(ValueError, match=rf"shard {second.name}: expected a regular file, got a pipe"):
        ql.quantize_checkpoint(src, tmp_path / "none")
    assert not (tmp_path / "none").exists()
    with pytest.raises(ValueError, match=r"nothing in .* can be quantized"):
        ql.quantize_checkpoint(second, tmp_path / "none")
    if index:
        (src / "model.safetensors.index.json").rename(tmp_path / "index")
        (src / "model.safetensors.index.json").symlink_to(tmp_path / "index")
        with pytest.raises(OSError, match="got a symbolic link"):
            ql.quantize_checkpoint(src, tmp_path / "none")


def test_case_l_a_source_of_another_format_leaves_no_folder(tmp_path):
    np.savez(tmp_path / "mlp.npz", w=np.ones((4, 4)))
    with pytest.raises(
        ValueError, match=r"nothing in .*mlp\.npz can be quantized:\n  shard mlp\.npz: it is an archive of"
    ):
        ql.quantize_checkpoint(tmp_path / "mlp.npz", tmp_path / "o")
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("value", [3, None, 2.5, [], "", "a\0b"])
def test_case_o_paths_that_are_none(tmp_path, src, value):
    for name, arguments in (("src", (value, tmp_path / "dst")), ("dst", (src, value))):
        with pytest.raises((TypeError, ValueError), match=f"^{name}: expected a path"):
            ql.quantize_checkpoint(*arguments)


HINTS = {"int4": "w4", "INT8": "w8", "q4": "w4", "4bit": "w4", "w4g0": None, "w": None, "int99": None, "best": None}


@pytest.mark.parametrize("scheme", HINTS)
def test_case_o_schemes_of_weights_alone(tmp_path, src, scheme):
    hint = f": did you mean {HINTS[scheme]!r}?" if HINTS[scheme] else ""
    with pytest.raises(ValueError, match=r"^scheme: ") as error:
        ql.quantize_checkpoint(src, tmp_path / "dst", scheme)
    assert str(error.value) == f"scheme: expected w<bits>[g<group>], such as 'w8' or 'w4g32', got {scheme!r}{hint}"
