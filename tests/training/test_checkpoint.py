"""Checkpoints of trainings: what goes on from one has the same bits, and no other training goes on from it."""

import json
import warnings
from functools import partial

import numpy as np
import pytest
from samples import same_bytes
from sklearn.datasets import load_digits

import qlite as ql
from qlite.io import container

X, Y = load_digits(return_X_y=True)
X = (X[:400] / 16).astype(np.float32)
Y = Y[:400]
OPTIONS = {
    "plain": {},
    "all": {
        "optimizer": "sgd",
        "momentum": 0.9,
        "validation": 0.2,
        "patience": 50,
        "augment": lambda x, rng: x + rng.random(x.shape, np.float32) / 10,
        "clip_norm": 1.0,
        "class_weight": "balanced",
    },
    "rmsprop": {"optimizer": "rmsprop", "validation": (X[:50], Y[:50]), "frozen": ["dense_2"]},
}


def network(seed=0, units=16):
    layers = [ql.Dense(units=units, activation="relu"), ql.Dense(units=16, activation="relu"), ql.Dense(units=10)]
    return ql.Sequential(layers, input_shape=(64,), seed=seed)


def weighted(weights, raw, y):
    """The mean of squares, weighted by unit, around one-hot labels."""
    error = raw - np.eye(10, dtype=np.float32)[y]
    return float((weights * error**2).mean()), weights * error * np.float32(2 / error.size)


def train(path, epochs, model=None, x=X, y=Y, **options):
    return ql.train(model or network(), x, y, epochs=epochs, checkpoint=path, batch_size=64, **options)


def same(a, b):
    for one, two in zip(a.layers, b.layers, strict=True):
        for name, array in one.parameters.items():
            same_bytes(array, two.parameters[name])
    for name in set(a.history.figures) - {"seconds"}:
        assert a.history[name] == b.history[name]
    assert a.history.best_epoch == b.history.best_epoch


@pytest.mark.parametrize("case", OPTIONS)
def test_a_resumed_training_has_the_same_bits(tmp_path, case):
    options = OPTIONS[case]
    whole = train(None, 6, **options)
    path = tmp_path / "training.qlite"
    train(path, 2, **options)
    part = train(path, 5, **options)
    assert len(part.history) == 5
    same(train(path, 6, **options), whole)
    assert [p.name for p in tmp_path.iterdir()] == ["training.qlite"]


def test_options_of_numpys_types_are_the_plain_numbers(tmp_path):
    path = tmp_path / "c"
    plain = {
        "seed": 3,
        "learning_rate": 0.01,
        "label_smoothing": 0.25,
        "temperature": 4.0,
        "epochs": 1,
        "clip_norm": 1.0,
    }
    own = {name: np.int64(value) if isinstance(value, int) else np.float32(value) for name, value in plain.items()}
    own["learning_rate"] = np.float64(0.01)
    train(path, x=X[:64], y=Y[:64], teacher=network(), **own)
    content = path.read_bytes()
    train(path, x=X[:64], y=Y[:64], teacher=network(), **plain)
    assert path.read_bytes() == content


def test_an_interrupted_training_goes_on_from_its_last_epoch(tmp_path):
    path, count = tmp_path / "c", 0

    def schedule(step):
        nonlocal count
        count += 1
        if count == 17:  # seven steps an epoch: in the third
            raise KeyboardInterrupt
        return 1.0

    stopped = train(path, 6, schedule=schedule)
    assert stopped.history.interrupted
    assert len(stopped.history) == 2
    same(train(path, 6, schedule=schedule), train(None, 6))


def test_figures_that_are_not_finite_are_kept(tmp_path):
    options = {"validation": (np.where(np.arange(64) % 2, 3e38, -3e38) * np.ones((9, 1)), Y[:9])}
    train(tmp_path / "c", 1, **options)
    whole, part = train(None, 2, **options), train(tmp_path / "c", 2, **options)
    assert np.isnan(part.history["validation_loss"]).tolist() == [True, True]
    assert part.history["loss"] == whole.history["loss"]


def test_a_finished_training_is_only_read(tmp_path):
    path = tmp_path / "c"
    first = train(path, 3)
    content = path.read_bytes()
    same(train(path, 3), first)
    assert path.read_bytes() == content


def test_a_training_that_stopped_early_stays_so(tmp_path):
    options = {"validation": (X[:50], np.roll(Y[:50], 1)), "patience": 2, "learning_rate": 0.01}
    first = train(tmp_path / "c", 90, **options)
    assert first.history.stopped.startswith("no smaller validation loss")
    again = train(tmp_path / "c", 90, **options)
    same(again, first)
    assert again.history.stopped == first.history.stopped


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("model", {"model": network(seed=1)}),
        ("model", {"model": network(units=17)}),
        ("X, y", {"x": X[1:], "y": Y[1:]}),
        ("X, y", {"y": Y[::-1]}),
        ("optimizer", {"learning_rate": 0.1}),
        ("optimizer", {"optimizer": "sgd"}),
        ("seed", {"seed": 1}),
        ("validation", {"validation": (X[:9], Y[:9])}),
        ("schedule", {"schedule": "cosine"}),
        ("label_smoothing", {"label_smoothing": 0.1}),
        ("frozen", {"frozen": ["dense_1"]}),
        ("teacher", {"teacher": network(seed=2)}),
        ("augment", {"augment": lambda x, rng: x}),
    ],
)
def test_another_training_is_refused_by_name(tmp_path, name, options):
    path = tmp_path / "c"
    train(path, 1)
    content = path.read_bytes()
    with pytest.raises(ValueError, match=f"checkpoint: .*: {name}: expected what the checkpoint was made with"):
        train(path, 2, **options)
    assert path.read_bytes() == content


def jittered(x, rng, scale):
    return x + scale * rng.random(x.shape, np.float32)


BATCHES = [(X[i : i + 50], Y[i : i + 50]) for i in range(0, 200, 50)]


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("X, y", {}, {"x": X[::-1]}),
        ("X, y", {"x": BATCHES, "y": None}, {"x": BATCHES[::-1], "y": None}),
        ("validation", {"validation": (X[:90], Y[:90])}, {"validation": (X[90:180], Y[:90])}),
        ("augment", {"augment": partial(jittered, scale=0.1)}, {"augment": partial(jittered, scale=0.2)}),
        (
            "loss",
            {"loss": partial(weighted, np.ones(10, np.float32))},
            {"loss": partial(weighted, np.full(10, 2, np.float32))},
        ),
        ("teacher", {"teacher": network(seed=2)}, {"teacher": network(seed=3)}),
        (
            "teacher",
            {"teacher": ql.quantize_model(network(seed=2), "w8")},
            {"teacher": ql.quantize_model(network(seed=3), "w8")},
        ),
    ],
)
def test_other_data_and_functions_are_refused_by_name(tmp_path, name, before, after):
    path = tmp_path / "c"
    train(path, 1, **before)
    train(path, 2, **before)
    with pytest.raises(ValueError, match=f"checkpoint: .*: {name}: expected what the checkpoint was made with"):
        train(path, 3, **after)


def test_a_schedule_that_depends_on_the_number_of_epochs_keeps_it(tmp_path):
    train(tmp_path / "c", 2, schedule="cosine")
    with pytest.raises(
        ValueError, match="schedule: expected what the checkpoint was made with, 'cosine over 2 epochs'"
    ):
        train(tmp_path / "c", 3, schedule="cosine")


def test_a_training_that_a_callback_stopped_goes_on(tmp_path):
    path, options = tmp_path / "c", {"validation": 0.2, "patience": 9}
    first = train(path, 5, callbacks=[lambda state: state.stop("budget")], **options)
    assert (len(first.history), first.history.stopped) == (1, "budget")
    whole = train(path, 3, **options)
    assert whole.history.stopped is None
    same(whole, train(None, 3, **options))


CRAFTED = {
    "figures that are a list": ("figures: expected lists by name", {"figures": [1]}),
    "figures that are numbers": ("figures: expected lists by name", {"figures": {"loss": 1}}),
    "figures of different lengths": ("figures: .*of one length", {"figures": {"loss": ["1"], "seconds": []}}),
    "no figures": ("figures: expected 'loss'", {"figures": {}}),
    "figures of no numbers": ("could not convert", {"figures": {"loss": ["x"]}}),
    "figures of lists": ("figures: loss: expected a string", {"figures": {"loss": [[]]}}),
    "a best epoch of letters": ("best_epoch: expected an integer", {"best_epoch": "a", "least": 1.0}),
    "a best epoch to come": ("best_epoch: expected at most 1", {"best_epoch": 2, "least": 1.0}),
    "a best loss of letters": ("least: expected a number", {"best_epoch": 1, "least": "a"}),
    "a generator that is a number": ("rng: expected the state", {"rng": 3}),
    "a generator without numbers": ("rng: expected the state", {"rng": {"bit_generator": "PCG64"}}),
    "a generator of another kind": ("rng: expected the state", {"rng": {"bit_generator": "MT19937", "state": {}}}),
    "a generator of negative numbers": (
        "rng: expected the state",
        {"rng": {"bit_generator": "PCG64", "state": {"state": -1, "inc": 1}, "has_uint32": 0, "uinteger": 0}},
    ),
    "a step before the first": ("step: expected at least 0", {"step": -1}),
}


@pytest.mark.parametrize("case", CRAFTED)
def test_a_crafted_file_is_refused_by_its_name(tmp_path, case):
    message, changes = CRAFTED[case]
    path = tmp_path / "c"
    train(path, 1)
    description, tensors = container.read(path)
    container.write(path, json.dumps(json.loads(description) | changes), tensors)
    with pytest.raises(ValueError, match=f"checkpoint: {path}: .*{message}"):
        train(path, 2)


def test_damaged_files_and_others_are_refused(tmp_path):
    path = tmp_path / "c"
    train(path, 1)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"checkpoint: .*digest"):
        train(path, 2)
    path.write_bytes(b"PK\3\4 no checkpoint at all")
    with pytest.raises(ValueError, match="checkpoint: "):
        train(path, 2)
    ql.quantize_model(network(), "w8").save(path)
    with pytest.raises(ValueError, match=r"checkpoint: .*expected a training"):
        train(path, 2)


def test_paths_that_cannot_be_are_refused_before_training(tmp_path):
    def never(state):
        raise AssertionError("an epoch was trained")

    with pytest.raises(FileNotFoundError, match="checkpoint: expected a name in a folder that exists"):
        train(tmp_path / "no" / "c", 1, callbacks=[never])
    with pytest.raises(OSError, match="checkpoint: expected a file"):
        train(tmp_path, 1, callbacks=[never])
    with pytest.raises(TypeError, match="checkpoint: expected a path"):
        train(3, 1, callbacks=[never])


def test_load_says_what_a_checkpoint_is(tmp_path):
    train(tmp_path / "c", 1)
    with pytest.raises(ValueError, match="it is the checkpoint of a training"):
        ql.load(tmp_path / "c")


def test_an_epoch_that_is_not_finite_is_not_written(tmp_path):
    path = tmp_path / "c"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ql.train(network(), np.full_like(X, np.nan), Y, checkpoint=path)
    assert not path.exists()
