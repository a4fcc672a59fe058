"""Random graphs, quantized: every buffer is the reference's on every instruction set, and stays so through targets,
files, pickles, threads and batches of any size."""

import pickle

import numpy as np
import pytest
import reference
from models import same_program
from random_networks import random_network
from samples import same_bytes

import qlite as ql

#: Every scheme on targets that can have it.
SCHEMES = {
    "w8a8": ["numpy", "onnx", "tflite", "tflm", "c", "tensorrt"],
    "w4a4": ["numpy", "c"],
    "w3a5": ["c"],
    "w2a8": ["numpy", "tflite"],
    "ternary": ["numpy", "tflm"],
    "dynamic": ["numpy"],
    "w4a8-dynamic": ["numpy"],
    "w8": ["numpy"],
    "w4": ["numpy"],
    "w4g8a8": ["numpy"],
    "w4g8": ["numpy"],
    "w8g8a8-dynamic": ["numpy"],
    "w4g32a8": ["numpy"],
    "w2g16a8": ["numpy"],
    "nf4": ["numpy"],
    "nf4g8": ["numpy"],
    "fp4a8": ["numpy", "tflite", "c"],
    "nf4g8a8-dynamic": ["numpy"],
    "w8a16": ["numpy"],
    "w4a16": ["numpy"],
}
CASES = [(scheme, target) for scheme, targets in SCHEMES.items() for target in targets]
SEEDS = range(12)
#: What a target without zero points has no softmax for.
REFUSED = r"^target: expected one whose zero points need not be 0 for a softmax of codes"


def results(model, x):
    """The outputs as a tuple."""
    y = model(x)
    return y if isinstance(y, tuple) else (y,)


def rows(x, part):
    return tuple(array[part] for array in x) if isinstance(x, tuple) else x[part]


def check(quantized, x):
    """Every buffer and output of a model equals the reference's."""
    expected = reference.evaluate(quantized.program, *(x if isinstance(x, tuple) else (x,)))
    got = quantized.intermediates(x)
    assert list(got) == [buffer.name for buffer in quantized.program.buffers]
    for name, value, other in zip(got, got.values(), expected, strict=True):
        try:
            same_bytes(value, other)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}\n{quantized}") from None
    for value, i in zip(results(quantized, x), quantized.program.outputs, strict=True):
        same_bytes(value, expected[i])


def made(seed, scheme, target, **options):
    """A random graph, quantized, and samples, some beyond its grids; None where the target has no such steps."""
    model, x = random_network(np.random.default_rng(seed))
    try:
        quantized = ql.quantize_model(model, scheme, x, target=target, **options)
    except ValueError as error:
        assert target == "tensorrt" and str(error).startswith(REFUSED[1:]), error
        return None
    return quantized, tuple(2 * array for array in x) if isinstance(x, tuple) else 2 * x


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scheme, target", CASES)
def test_every_buffer_is_that_of_the_reference(isa, scheme, target, seed):
    if pair := made(seed, scheme, target):
        quantized, x = pair
        check(quantized, rows(x, slice(6)))


def has_curves(quantized):
    """Whether products apply activations to their sums, which they do no more after a change of target."""
    return any(getattr(step, "curve", None) for step in quantized.program.steps)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("options", [{"output_dtype": "integer"}, {"requant": "fixed"}, {"output_dtype": "float32"}])
def test_conventions_one_by_one(seed, options):
    for target in ("numpy", "tflite"):
        quantized, x = made(seed, "w8a8", target, **options)
        check(quantized, rows(x, slice(3)))
        moved = quantized.retarget(target, **options)
        assert has_curves(quantized) or same_program(moved.program, quantized.program)
        check(moved, rows(x, slice(3)))


@pytest.mark.parametrize("seed", SEEDS)
def test_layers_with_schemes_of_their_own(isa, seed):
    rng = np.random.default_rng(seed)
    model, x = random_network(rng)
    weighted = [name for name in ql.quantize_model(model, "w8").weights]
    own = {name: str(rng.choice(["w8a8", "w4a4", "dynamic", "w4", "w4g8a8", "float32"])) for name in weighted}
    check(ql.quantize_model(model, "w8a8", x, per_layer=own), rows(x, slice(3)))


@pytest.mark.parametrize("seed", SEEDS)
def test_targets_there_and_back(seed):
    """The same program as quantizing for that target gives, and all of its numbers on the way back."""
    start, _ = made(seed, "w8a8", "numpy")
    apart = start.retarget("numpy")
    assert has_curves(start) or same_program(apart.program, start.program)
    for target in ("onnx", "tflite", "tflm", "c", "tensorrt"):
        direct = made(seed, "w8a8", target)
        if direct is None:
            with pytest.raises(ValueError, match=REFUSED):
                start.retarget(target)
            continue
        moved = start.retarget(target)
        assert same_program(moved.program, direct[0].program)
        if target != "tensorrt":
            assert same_program(moved.retarget("numpy").program, apart.program)
            assert same_program(moved.retarget("tflm").program, start.retarget("tflm").program)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scheme, target", CASES)
def test_files_and_pickles_hold_the_same_numbers(scheme, target, seed, tmp_path):
    if pair := made(seed, scheme, target):
        quantized, x = pair
        quantized.save(tmp_path / "model.qlite")
        loaded = ql.load(tmp_path / "model.qlite")
        for other in (loaded, pickle.loads(pickle.dumps(quantized))):
            assert same_program(other.program, quantized.program)
            assert (other.inputs, other.outputs, repr(other)) == (quantized.inputs, quantized.outputs, repr(quantized))
        for got, expected in zip(results(loaded, x), results(quantized, x), strict=True):
            same_bytes(got, expected)
        loaded.save(tmp_path / "again.qlite")
        assert (tmp_path / "again.qlite").read_bytes() == (tmp_path / "model.qlite").read_bytes()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_threads_and_batches_change_no_bit(scheme, seed):
    quantized, x = made(seed, scheme, SCHEMES[scheme][0])
    wide = tuple(np.tile(array, (10, 1, 1, 1)) for array in x) if isinstance(x, tuple) else np.tile(x, (10, 1, 1, 1))
    expected = results(quantized, x)
    try:
        for threads in (1, 2):
            ql.set_num_threads(threads)
            for got, one in zip(results(quantized, wide), expected, strict=True):
                same_bytes(got, np.tile(one, (10, *(1,) * (one.ndim - 1))))
            for size in (1, 3, 8):
                parts = [results(quantized, rows(x, slice(i, i + size))) for i in range(0, 20, size)]
                for got, one in zip(zip(*parts, strict=True), expected, strict=True):
                    same_bytes(np.concatenate(got), one)
    finally:
        ql.set_num_threads(None)
