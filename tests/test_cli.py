"""The command line: what it prints, which files it leaves and its exit status."""

import os
import subprocess
import sys

import numpy as np
import pytest
from shards import two_shards, write_checkpoint

import qlite as ql
from qlite import demo
from qlite.cli import main

INTEGER = [*demo.QUANTIZED, *demo.TRAINED]
COLUMNS = ["loss", "accuracy", "recall", "agree", "SQNR", "bytes", "us, 1", "us, 256"]
PARTS = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]


def run(*arguments, **options):
    """A process of its own, in a folder where no ./qlite hides the installed one."""
    return subprocess.run([sys.executable, "-m", "qlite", *arguments], capture_output=True, text=True, **options)


def write_idx(path, array):
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes())


def write_mnist(folder, digits, train, test):
    """The digits as 28 x 28 pixels: each pixel three times three, within a frame."""
    x, y = digits
    images = np.kron((255 * x).astype(np.uint8).reshape(-1, 8, 8), np.ones((1, 3, 3), np.uint8))
    images = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    labels = y.astype(np.uint8)
    parts = (images[:train], labels[:train], images[train : train + test], labels[train : train + test])
    for name, array in zip(PARTS, parts, strict=True):
        write_idx(folder / name, array)


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The whole demo, once, as a user runs it: (what came, the folder of its files)."""
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("demo")
    return run("demo", "--seed", "1", "--out", str(folder / "out" / "here"), cwd=folder), folder / "out" / "here"


def test_demo_shows_everything_and_all_its_checks_hold(shown):
    result, folder = shown
    assert (result.returncode, result.stderr) == (0, "")
    text = result.stdout
    assert "1,347 samples to train with, 450 held out" in text
    assert "64-128-64-10" in text
    assert all(column in text for column in COLUMNS)
    assert not [name for name in ("float32", demo.CONTROL, *INTEGER) if f"\n{name} " not in text]
    assert text.count("\n  ok ") == 6 and "FAILED" not in text
    assert not [name for name in ("dense_1", "dense_2", "dense_3") if f"\n{name} " not in text]
    assert str(folder) in text.splitlines()[-1]
    assert max(map(len, text.splitlines())) <= 120


def test_demo_leaves_models_pictures_and_text(shown):
    result, folder = shown
    models = [f"{name.replace(' ', '_')}.qlite" for name in INTEGER]
    pictures = ["report.png", "dense_1_weights.png"]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*models, *pictures, "report.txt"])
    for name in models:
        assert ql.load(folder / name).in_features == 64
    for name in pictures:
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    assert result.stdout.startswith((folder / "report.txt").read_text())


def test_demo_figures_are_those_of_the_models(shown, digits):
    from sklearn.model_selection import train_test_split

    result, folder = shown
    _, x, _, y = train_test_split(*digits, test_size=0.25, stratify=digits[1], random_state=1)
    table = result.stdout.partition("us, 256\n")[2]
    for name in INTEGER:
        path = folder / f"{name.replace(' ', '_')}.qlite"
        (row,) = (line for line in table.splitlines() if line.startswith(f"{name}  "))
        accuracy = ql.load(path).evaluate(x, y)["accuracy"]
        assert f" {accuracy:.2%} " in row and f" {path.stat().st_size:,} " in row


def test_demo_of_a_network_of_images(tmp_path, capsys, monkeypatch):
    """The same on images: fewer epochs, of which the integers make as much."""
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(demo, "EPOCHS", (24, 24))
    assert main(["demo", "--model", "cnn", "--out", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "8x8x1-16-32-10 with relu, filters 3 x 3, max pools" in text
    assert not [name for name in ("conv2d_1", "conv2d_2", "dense_1") if f"\n{name} " not in text]
    assert max(map(len, text.splitlines())) <= 120
    assert ql.load(tmp_path / "w8a8.qlite").inputs == {"input": (8, 8, 1)}
    assert (tmp_path / "dense_1_weights.png").exists()


def test_demo_of_images_that_are_not_square(tmp_path, digits, capsys):
    x, y = digits
    images, labels = (255 * x).astype(np.uint8).reshape(-1, 4, 16)[:, :, :10].copy(), y.astype(np.uint8)
    np.savez(tmp_path / "mnist.npz", x_train=images, y_train=labels, x_test=images[:9], y_test=labels[:9])
    message = refused(["demo", "--model", "cnn", "--data", str(tmp_path)], capsys)
    assert "expected square images for model 'cnn', got 40 pixels" in message


def test_demo_of_an_mnist_folder_leaves_nothing_behind(tmp_path, digits, capsys, monkeypatch):
    write_mnist(tmp_path, digits, 800, 200)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    assert main(["demo", "--data", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "784-128-64-10" in text and "800 samples to train with, 200 held out" in text
    assert not list((tmp_path / "temporary").iterdir())


def test_demo_of_a_keras_archive(tmp_path, digits, capsys):
    x, y = digits
    images, labels = (255 * x).astype(np.uint8).reshape(-1, 8, 8), y.astype(np.uint8)
    parts = {"x_train": images[:800], "y_train": labels[:800], "x_test": images[800:], "y_test": labels[800:]}
    np.savez_compressed(tmp_path / "mnist.npz", **parts)
    main(["demo", "--data", str(tmp_path / "mnist.npz")])
    text = capsys.readouterr().out
    assert f"800 samples to train with, {len(x) - 800} held out" in text and "64-128-64-10" in text


def test_a_check_that_fails_shows_in_text_and_status(digits, tmp_path, capsys, monkeypatch):
    write_mnist(tmp_path, digits, 50, 10)
    monkeypatch.setattr(demo, "FILE_OVERHEAD", -(10**6))
    assert main(["demo", "--data", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "file" in [line.split()[1] for line in lines if line.startswith("  FAILED")]


def refused(arguments, capsys):
    """Exit status 2, nothing but one line that says why."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("qlite: ") and captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize("missing", PARTS)
def test_demo_data_that_is_missing(tmp_path, digits, capsys, missing):
    write_mnist(tmp_path, digits, 20, 10)
    (tmp_path / missing).unlink()
    assert missing in refused(["demo", "--data", str(tmp_path)], capsys)


def test_demo_data_that_is_damaged_or_too_little(tmp_path, digits, capsys):
    write_mnist(tmp_path, digits, 20, 0)
    assert "a test image" in refused(["demo", "--data", str(tmp_path)], capsys)
    write_mnist(tmp_path, digits, 1, 10)
    assert "2 classes" in refused(["demo", "--data", str(tmp_path)], capsys)
    path = tmp_path / PARTS[0]
    path.write_bytes(path.read_bytes()[:-1])
    assert str(path) in refused(["demo", "--data", str(tmp_path), "--out", str(tmp_path / "out")], capsys)
    assert not (tmp_path / "out").exists()


def test_demo_out_that_is_a_file(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert "expected a folder" in refused(["demo", "--out", str(tmp_path / "file")], capsys)


@pytest.mark.parametrize("module, options", [("sklearn", []), ("matplotlib", ["--out", "never"])])
def test_demo_names_the_extra_that_it_lacks(module, options, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    assert "pip install 'qlite-quant[demo]'" in refused(["demo", *options], capsys)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def checkpoint(tmp_path, rng):
    return write_checkpoint(tmp_path / "src", two_shards(rng))


def test_quantize_prints_what_it_did(tmp_path, checkpoint, capsys):
    command = ["quantize", str(checkpoint), str(tmp_path / "dst"), "--scheme", "w4g8", "--skip", "head*"]
    assert main(command) == 0
    text = capsys.readouterr().out
    loaded = ql.load(tmp_path / "dst")
    assert loaded["embed.weight"].bits == 4 and loaded["embed.weight"].group_size == 8
    lines = dict(line.split(maxsplit=1) for line in text.splitlines() if not line.startswith(" "))
    assert lines["folder"] == str(tmp_path / "dst") and lines["scheme"] == "w4g8"
    assert lines["tensors"] == "3 quantized, 4 copied"
    after = sum(path.stat().st_size for path in (tmp_path / "dst").glob("*.qlite"))
    assert f"-> {after:,} (" in lines["bytes"]
    assert "there already" not in text and "embed.weight" in text and "head.weight" not in text
    assert main(command) == 0
    assert "there already  7 of 7\n" in capsys.readouterr().out


def test_quantize_options_reach_it(tmp_path, checkpoint, capsys):
    command = ["quantize", str(checkpoint), str(tmp_path / "dst"), "--scheme", "w4", "--grid", "nf4", "--method", "mse"]
    assert main([*command, "--axis", "1", "--saturate", "--skip", "head*", "--skip", "embed*"]) == 0
    loaded = ql.load(tmp_path / "dst")
    w = np.asarray(two_shards_of(checkpoint)["layers.1.weight"], np.float32)
    assert loaded["layers.1.weight"] == ql.quantize(w, grid="nf4", method="mse", axis=1)
    assert loaded.options["nonfinite"] == "saturate" and loaded.options["skip"] == ["head*", "embed*"]


def two_shards_of(folder):
    from safetensors.numpy import load_file

    return load_file(folder / "model-00002-of-00002.safetensors")


def test_quantize_that_cannot(tmp_path, checkpoint, capsys):
    src, dst = str(checkpoint), str(tmp_path / "dst")
    assert "src: expected a folder" in refused(["quantize", str(tmp_path / "nothing"), dst], capsys)
    for scheme, hint in (("int4", "did you mean 'w4'?"), ("w4g0", "w4g32"), ("w8a8", "'w8'"), ("dynamic", "'w8'")):
        words = refused(["quantize", src, dst, "--scheme", scheme], capsys)
        assert "scheme: expected" in words and hint in words and "or 'dynamic'" not in words
    assert "bits: expected 4" in refused(["quantize", src, dst, "--scheme", "w8", "--grid", "nf4"], capsys)
    assert not os.path.exists(dst)
    broken = checkpoint / "model-00001-of-00002.safetensors"
    broken.write_bytes(broken.read_bytes()[:-1])
    assert main(["quantize", src, dst]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("qlite: src: not everything in ")
    assert "\n  shard model-00001-of-00002.safetensors: " in captured.err
    assert len(os.listdir(dst)) == 4
    assert "other options" not in captured.err and "w16" in refused(["quantize", src, dst, "--scheme", "w16"], capsys)


def test_case_l_quantize_of_another_format_leaves_nothing(tmp_path, capsys):
    np.savez(tmp_path / "mlp.npz", w=np.ones((4, 4)))
    assert main(["quantize", str(tmp_path / "mlp.npz"), str(tmp_path / "o")]) == 2
    assert "it is an archive of NumPy (.npz)" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["mlp.npz"]


@pytest.mark.skipif(os.name != "posix", reason="needs symbolic links")
def test_case_l_links_among_the_shards(tmp_path, checkpoint, capsys):
    for path in list(checkpoint.iterdir()):
        path.rename(tmp_path / path.name)
        path.symlink_to(tmp_path / path.name)
    command = ["quantize", str(checkpoint), str(tmp_path / "dst")]
    assert main(command) == 2
    assert "follow_links=True" in capsys.readouterr().err
    assert main([*command, "--follow-links"]) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["quantize"],
        ["quantize", "src"],
        ["quantize", "src", "dst", "--axis", "x"],
        ["nothing"],
        ["demo", "extra"],
        ["demo", "--seed", "-1"],
        ["demo", "--seed", "1.5"],
        ["demo", "--seed=4294967296"],
    ],
    ids=" ".join,
)
def test_bad_options(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    assert "usage: qlite" in capsys.readouterr().err


def test_info_is_show_config(capsys):
    assert main(["info"]) == 0
    printed = capsys.readouterr().out
    ql.show_config()
    assert printed == capsys.readouterr().out
    config = ql.show_config("dict")
    assert config["isa_active"] in printed and f"\n  tiles (AMX)    {config['tiles']}\n" in printed
    kernels = printed.split("\n  kernels ")[1].split()
    assert sorted(word for word in kernels if not word.endswith(":")) == sorted(config["kernels"])


def test_version(tmp_path, capsys):
    with pytest.raises(SystemExit) as error:
        main(["--version"])
    assert error.value.code == 0
    assert capsys.readouterr().out == f"qlite {ql.show_config('dict')['qlite']}\n"


def test_a_reader_that_leaves_is_no_error(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "qlite", "info"]
    result = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, cwd=tmp_path)
    os.close(writer)
    assert (result.returncode, result.stderr) == (1, b"")


@pytest.fixture
def float_file(tmp_path):
    pytest.importorskip("tflite"), pytest.importorskip("flatbuffers")
    rng = np.random.default_rng(0)
    model = ql.Sequential([ql.Dense(rng.normal(size=(6, 4)), name="hidden"), ql.Activation("relu", name="bent")])
    model.to_tflite(tmp_path / "float.tflite")
    np.save(tmp_path / "x.npy", rng.normal(size=(50, 6)).astype(np.float32))
    return tmp_path / "float.tflite"


def test_convert_writes_a_file_of_integers(float_file, tmp_path, capsys):
    out = tmp_path / "int8.tflite"
    arguments = ["convert", str(float_file), str(out), "--data", str(tmp_path / "x.npy"), "--scheme", "w8a8"]
    assert main([*arguments, "--report"]) == 0
    printed = capsys.readouterr().out
    assert f"-> {out.stat().st_size:,}" in printed and float(printed.split("SQNR ")[1].split()[0]) > 30
    sizes = [line.split(": ")[1].split(" -> ") for line in printed.splitlines()[:5]]
    total, *parts, operators = ([int(size.replace(",", "")) for size in pair] for pair in sizes)
    assert total == [sum(pair) for pair in zip(*parts, strict=True)] == [float_file.stat().st_size, out.stat().st_size]
    assert parts[0] == [4 * 6 * 4 + 4 * 4, 6 * 4 + 4 * 4] and parts[1][0] == 0 and operators == [1, 3]
    assert "scheme w8a8, ranges by '" in printed
    assert isinstance(ql.from_tflite(out), ql.QModel)


def test_convert_takes_arrays_by_name(float_file, tmp_path):
    (name,) = ql.from_tflite(float_file).inputs
    data, out = tmp_path / "x.npz", tmp_path / "int8.tflite"
    np.savez(data, **{name: np.load(tmp_path / "x.npy")})
    assert main(["convert", str(float_file), str(out), "--data", str(data), "--report"]) == 0
    assert isinstance(ql.from_tflite(out), ql.QModel)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool"])
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_convert_refuses_whole_numbers_for_floats(kind, dtype, float_file, tmp_path, capsys):
    data, out, samples = tmp_path / f"whole.{kind}", tmp_path / "a.tflite", np.eye(6, dtype=dtype)
    (name,) = ql.from_tflite(float_file).inputs
    np.savez(data, **{name: samples}) if kind == "npz" else np.save(data, samples)
    assert main(["convert", str(float_file), str(out), "--data", str(data)]) == 2
    assert f"whole.{kind}: expected floats, got {dtype}: save x.astype(np.float32)" in capsys.readouterr().err
    assert not out.exists()


def test_convert_warns_of_its_samples(float_file, tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.zeros((20, 6), np.float32))
    assert main(["convert", str(float_file), str(tmp_path / "a.tflite"), "--data", str(tmp_path / "x.npy")]) == 0
    assert capsys.readouterr().err.startswith("qlite: warning: data: 'input' is 0 throughout;")


def test_convert_refuses_samples_of_another_dtype(float_file, tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.ones((20, 6), complex))
    assert main(["convert", str(float_file), str(tmp_path / "a.tflite"), "--data", str(tmp_path / "x.npy")]) == 2
    assert capsys.readouterr().err.startswith("qlite: data: expected a real floating dtype, got complex128")


def test_convert_takes_indices_as_they_are(tmp_path, capsys):
    """Up to the layer that has no codes in a file."""
    pytest.importorskip("tflite"), pytest.importorskip("flatbuffers")
    words = ql.Input((5,), dtype="int32")
    h = ql.Flatten()(ql.Embedding(entries=9, features=4)(words))
    ql.Model(words, ql.Dense(units=3)(h)).to_tflite(tmp_path / "f.tflite")
    np.save(tmp_path / "x.npy", np.arange(50).reshape(10, 5) % 9)
    arguments = ["convert", str(tmp_path / "f.tflite"), str(tmp_path / "a.tflite"), "--data", str(tmp_path / "x.npy")]
    assert main(arguments) == 2
    assert (
        capsys.readouterr().err == "qlite: layer 'embedding_1': the format has no operator for embedding among codes\n"
    )


@pytest.mark.parametrize("content", [b"hello", b"", b"PK\x03\x04 no archive"], ids=["text", "nothing", "archive"])
def test_convert_names_a_file_that_holds_no_arrays(content, float_file, tmp_path, capsys):
    (tmp_path / "x.npz").write_bytes(content)
    assert main(["convert", str(float_file), str(tmp_path / "a.tflite"), "--data", str(tmp_path / "x.npz")]) == 2
    assert "x.npz: expected an array or arrays that NumPy saved" in capsys.readouterr().err


def test_convert_refuses_a_file_of_integers(float_file, tmp_path, capsys):
    out, data = str(tmp_path / "int8.tflite"), ["--data", str(tmp_path / "x.npy")]
    assert main(["convert", str(float_file), out, *data]) == 0
    assert main(["convert", out, str(tmp_path / "again.tflite"), *data]) == 2
    assert "expected a file of floats" in capsys.readouterr().err
    assert not (tmp_path / "again.tflite").exists()


def test_inspect_shows_operators_with_shapes_dtypes_and_scales(float_file, tmp_path, capsys):
    assert main(["inspect", str(float_file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["operator", "input", "FULLY_CONNECTED", "outputs:"]
    assert "float32[1, 4]" in lines[2] and lines[2].split()[-1] == lines[3].split()[-1]
    out = str(tmp_path / "int8.tflite")
    main(["convert", str(float_file), out, "--data", str(tmp_path / "x.npy")])
    assert main(["inspect", out]) == 0
    printed = capsys.readouterr().out
    row = next(line for line in printed.splitlines() if line.startswith("FULLY_CONNECTED")).split()
    assert row[1:3] == ["int8[1,", "4]"] and float(row[3]) > 0 and -128 <= int(row[4]) <= 127
    assert {"int8", "int32"} < set(row[5:]) and "QUANTIZE" in printed
