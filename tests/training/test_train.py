"""The loop: what it learns, the same bits from the same seed, what it reports, and how it stops."""

import itertools
import tracemalloc
import warnings

import numpy as np
import pytest
from models import extra
from samples import same_bytes
from sklearn.datasets import load_diabetes, load_digits

import qlite as ql
from qlite.nn.layers.layer import Layer
from qlite.training.batches import split


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return (x / 16).astype(np.float32), y


def network(units=10, **options):
    layers = [ql.Dense(units=32, activation="relu"), ql.Dense(units=units)]
    return ql.Sequential(layers, **({"input_shape": (64,)} | options))


def parameters(model):
    return [array for layer in model.layers for array in layer.parameters.values()]


def same_model(a, b):
    for x, y in zip(parameters(a), parameters(b), strict=True):
        same_bytes(x, y)


# ---- what is learned


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        ("sgd", {"learning_rate": 0.1, "momentum": 0.9}),
        ("adam", {"learning_rate": 0.005}),
        ("adamw", {"weight_decay": 0.1, "learning_rate": 0.005}),
        ("rmsprop", {"learning_rate": 0.003}),
        (ql.SGD(0.1, momentum=0.9, nesterov=True), {"schedule": "cosine"}),
    ],
)
def test_digits_are_learned(digits, optimizer, options):
    m = ql.train(network(), *digits, optimizer=optimizer, epochs=20, batch_size=64, validation=0.2, **options)
    assert m.history["validation_accuracy"][-1] > 0.95
    assert m.history["loss"][-1] < 0.2 * m.history["loss"][0]


def test_two_classes_with_names(digits):
    x, y = digits
    names = np.where(y % 2, "odd", "even")
    m = ql.train(network(1, task="binary", classes=["even", "odd"]), x, names, epochs=15, learning_rate=0.01)
    assert m.evaluate(x, names)["accuracy"] > 0.97
    assert m.history["accuracy"][-1] > 0.95


def test_values_of_a_regression():
    x, y = load_diabetes(return_X_y=True)
    x, y = (x / x.std(axis=0)).astype(np.float32), (y - y.mean()) / y.std()
    m = ql.Sequential([ql.Dense(units=1)], input_shape=(10,), task="regression")
    exact = np.linalg.lstsq(np.c_[x, np.ones(len(x))], y, rcond=None)[1][0] / len(x)
    for loss, slack in (("mse", 1.01), ("huber", 1.05), ("mae", 1.05)):
        trained = ql.train(m, x, y, loss=loss, epochs=100, learning_rate=0.01)
        assert trained.evaluate(x, y)["mse"] < slack * exact
        assert "accuracy" not in trained.history


def test_probabilities_as_targets(digits):
    x, y = digits
    soft = np.eye(10, dtype=np.float32)[y] * 0.9 + 0.01
    m = ql.train(network(), x, soft, epochs=15, learning_rate=0.005, validation=0.2)
    assert m.history["validation_accuracy"][-1] > 0.93


def test_a_loss_of_the_users(digits):
    x, y = digits

    def hinge(raw, labels):
        margin = 1 - raw * np.where(np.arange(10) == labels[:, None], 1, -1)
        slope = np.where(np.arange(10) == labels[:, None], -1, 1) * (margin > 0)
        return np.maximum(margin, 0).sum(axis=1).mean(), slope / np.float32(len(raw))

    m = ql.train(network(), x, y, loss=hinge, epochs=15, learning_rate=0.005)
    assert np.mean(m.predict(x) == y) > 0.93


def test_the_gradient_of_a_loss_of_the_users_stays_as_it_is(digits):
    x, y = digits[0][:50], digits[1][:50]
    layers = [ql.Dense(units=16), ql.Dense(units=10, activation="relu")]  # its way back writes over the gradient
    m = ql.Sequential(layers, input_shape=(64,))
    gradient = np.linspace(-1, 1, 500, dtype=np.float32).reshape(50, 10)
    before = gradient.copy()
    a = ql.train(m, x, y, loss=lambda raw, y: (np.float32(1), gradient), epochs=2)
    same_bytes(gradient, before)
    gradient.flags.writeable = False
    same_model(ql.train(m, x, y, loss=lambda raw, y: (np.ones(()), gradient), epochs=2), a)


def test_the_given_model_stays_as_it_is(digits):
    m = network()
    before = m.copy()
    trained = ql.train(m, *digits, epochs=1)
    same_model(m, before)
    assert m.history is None
    assert all((a != b).any() for a, b in zip(parameters(m), parameters(trained), strict=True))


def test_frozen_layers_stay(digits):
    m = network()
    trained = ql.train(m, *digits, epochs=2, frozen=["dense_1"])
    same_bytes(trained.layers[0].weight, m.layers[0].weight)
    same_bytes(trained.layers[0].bias, m.layers[0].bias)
    assert (trained.layers[1].weight != m.layers[1].weight).any()
    trained = ql.train(m, *digits, epochs=2, frozen=["dense_2"])
    same_bytes(trained.layers[1].weight, m.layers[1].weight)
    assert (trained.layers[0].weight != m.layers[0].weight).any()


def test_a_frozen_batch_norm_computes_as_at_inference(digits):
    x, y = digits
    norm = ql.BatchNorm(mean=np.full(32, 0.25), variance=np.full(32, 2.0))
    m = ql.Sequential([ql.Dense(units=32), norm, ql.Dense(units=10)], input_shape=(64,))
    options = {"optimizer": "sgd", "learning_rate": 0.1, "epochs": 2, "batch_size": 100}
    trained = ql.train(m, x, y, frozen=["batch_norm_1"], **options)
    for what, array in (norm.parameters | norm.statistics).items():
        same_bytes((trained.layers[1].parameters | trained.layers[1].statistics)[what], array)
    assert (trained.layers[0].weight != m.layers[0].weight).any()
    once = ql.train(m, x, y, frozen=["batch_norm_1"], **options | {"epochs": 1, "batch_size": len(x)})
    before, after = (model.evaluate(x, y, "cross_entropy")["cross_entropy"] for model in (m, once))
    assert once.history["loss"][0] == pytest.approx(before, rel=1e-5)
    assert after < before


# ---- weights of samples


def test_a_weight_counts_as_repetition(digits):
    x, y = digits[0][:60], digits[1][:60]
    weights = np.arange(60) % 3
    repeated = np.repeat(np.arange(60), weights)
    options = {"optimizer": "sgd", "learning_rate": 0.1, "epochs": 3, "batch_size": 1000}
    a = ql.train(network(), x, y, sample_weight=weights, **options)
    b = ql.train(network(), x[repeated], y[repeated], **options)
    for p, q in zip(parameters(a), parameters(b), strict=True):
        assert np.allclose(p, q, atol=1e-6)
    assert a.history["loss"] == pytest.approx(b.history["loss"], rel=1e-5)


def test_weights_whose_sum_is_beyond_float32_are_shares_all_the_same(digits):
    x, y = digits[0][:50], digits[1][:50]
    options = {"epochs": 2, "batch_size": 25, "validation": (x, y)}
    a = ql.train(network(), x, y, sample_weight=np.full(50, 2.0**126), **options)
    b = ql.train(network(), x, y, sample_weight=np.full(50, 1.0), **options)
    same_model(a, b)
    assert a.history["loss"] == b.history["loss"]


def test_class_weights_are_sample_weights_of_labels(digits):
    x, y = digits
    options = {"epochs": 2, "seed": 1}
    a = ql.train(network(), x, y, class_weight={3: 4.0, 5: 0.5}, **options)
    b = ql.train(network(), x, y, sample_weight=np.select([y == 3, y == 5], [4.0, 0.5], 1.0), **options)
    same_model(a, b)
    a = ql.train(network(), x, y, class_weight="balanced", **options)
    b = ql.train(network(), x, y, sample_weight=(len(y) / (10 * np.bincount(y)))[y], **options)
    same_model(a, b)


def test_a_batch_whose_samples_do_not_count_changes_nothing(digits):
    x, y = digits[0][:4], digits[1][:4]
    batches = [(x, y, np.zeros(4)), (x, y, np.ones(4))]
    m = ql.train(network(), batches, epochs=1, optimizer="sgd")
    same_model(m, ql.train(network(), batches[1:], epochs=1, optimizer="sgd"))


# ---- the same bits


def test_the_same_seed_gives_the_same_bits(digits):
    options = {"epochs": 2, "validation": 0.1, "augment": lambda x, rng: x + rng.random(x.shape, np.float32)}
    a, b, c = (ql.train(network(), *digits, seed=seed, **options) for seed in (5, 5, 6))
    same_model(a, b)
    assert a.history["validation_loss"] == b.history["validation_loss"] != c.history["validation_loss"]
    assert (a.layers[0].weight != c.layers[0].weight).any()


def test_a_list_of_batches_may_hold_other_arrays_than_numpys(digits):
    x, y = digits
    a, b = (
        ql.train(network(), batches, epochs=1)
        for batches in ([(x[:9], y[:9])], [(memoryview(np.ascontiguousarray(x[:9])), memoryview(y[:9]))])
    )
    same_model(a, b)


def test_the_labels_of_a_batch_may_be_a_list(digits):
    x, y = digits[0][:9], digits[1][:9]
    expected = ql.train(network(), [(x, y)], epochs=1)
    same_model(ql.train(network(), [(x, y.tolist())], epochs=1), expected)
    same_model(ql.train(network(), [[x, y.tolist(), [2.0] * 9]], epochs=1), expected)


def test_a_list_of_samples_is_no_list_of_batches():
    m = ql.Sequential([ql.Dense(units=2)], input_shape=(2,))
    rows = [(np.float32(i), np.float32(-i)) for i in range(4)]
    same_model(ql.train(m, rows, [0, 1, 0, 1], epochs=1), ql.train(m, np.array(rows), [0, 1, 0, 1], epochs=1))


def test_labels_are_what_evaluate_takes(digits):
    pandas = extra("pandas")
    x, y = digits[0], np.array(list("abcdefghij"))[digits[1]]
    m = network(classes=list("abcdefghij"))
    same_model(ql.train(m, x, y, epochs=1), ql.train(m, x, pandas.Series(y, dtype=object), epochs=1))


def test_a_mapped_file_is_read_by_batches(tmp_path):
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float64, (4000, 256))
    x[...] = np.random.default_rng(0).normal(size=x.shape)
    y, m = np.arange(len(x)) % 2, ql.Sequential([ql.Dense(units=2)], input_shape=(256,))
    tracemalloc.start()
    try:
        trained = ql.train(m, x, y, epochs=1, batch_size=16, validation=(x[:100], y[:100]))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < x.nbytes / 8
    same_model(trained, ql.train(m, np.array(x), y, epochs=1, batch_size=16))


def test_batches_are_rows_in_the_order_that_the_seed_draws(digits):
    x, y = digits[0][:100], digits[1][:100]
    rng = np.random.default_rng(7)

    def batches():
        order = rng.permutation(100)
        return ((x[order[i : i + 32]], y[order[i : i + 32]]) for i in range(0, 100, 32))

    a = ql.train(network(), x, y, batch_size=32, epochs=3, seed=7)
    b = ql.train(network(), batches, epochs=3, seed=0)
    same_model(a, b)
    assert a.history["loss"] == b.history["loss"]


def test_samples_may_lie_in_a_file_and_be_of_any_floating_dtype(digits, tmp_path):
    x, y = digits
    x = x.astype(np.float64)
    np.save(tmp_path / "x.npy", x)
    expected = ql.train(network(), x.astype(np.float32), y, epochs=1)
    same_model(ql.train(network(), x, y, epochs=1), expected)
    same_model(ql.train(network(), np.load(tmp_path / "x.npy", mmap_mode="r"), y, epochs=1), expected)
    same_model(ql.train(network(), np.asfortranarray(x), y, epochs=1), expected)
    same_model(ql.train(network(), x.astype(">f8")[::-1][::-1], y, epochs=1), expected)
    unaligned = np.frombuffer(b" " + x.tobytes(), np.uint8)[1:].view(np.float64).reshape(x.shape)
    assert not unaligned.flags.aligned
    same_model(ql.train(network(), unaligned, y, epochs=1), expected)


def test_a_batch_of_all_samples_is_one_step(digits):
    steps = []
    m = network()
    ql.train(m, *digits, batch_size=10_000, epochs=3, schedule=lambda step: steps.append(step) or 1.0)
    assert steps == [0, 1, 2]


# ---- validation and stopping


def test_held_out_samples_are_stratified(rng):
    labels = np.repeat([0, 1, 2], [1000, 100, 10]).astype(np.int32)
    rows, held = split(labels, 0.2, rng)
    assert np.bincount(labels[held]).tolist() == [200, 20, 2]
    assert sorted([*rows, *held]) == list(range(1110))
    rows, held = split(rng.random((50, 1), np.float32), 0.3, rng)
    assert (len(rows), len(held)) == (35, 15)


def test_validation_data_gives_what_evaluate_does(digits):
    x, y = digits
    m = ql.train(network(), x[:1000], y[:1000], validation=(x[1000:], y[1000:]), epochs=3)
    figures = m.evaluate(x[1000:], y[1000:], ("accuracy", "cross_entropy"))
    assert m.history["validation_accuracy"][-1] == figures["accuracy"]
    assert m.history["validation_loss"][-1] == pytest.approx(figures["cross_entropy"], rel=1e-6)


def test_values_are_validated_by_their_squared_errors_whatever_the_loss():
    x, y = load_diabetes(return_X_y=True)
    m = ql.Sequential([ql.Dense(units=1)], input_shape=(10,), task="regression")
    for loss in ("mae", "mse"):
        trained = ql.train(m, x[:300], y[:300], loss=loss, validation=(x[300:], y[300:]), epochs=2)
        assert trained.history["validation_mse"][-1] == pytest.approx(trained.evaluate(x[300:], y[300:])["mse"])
        assert len(trained.history["validation_mse"]) == 2
    assert trained.history["validation_loss"] == pytest.approx(trained.history["validation_mse"])


def test_patience_stops_and_restores_the_best(digits):
    x, y = digits
    held = x[1500:], y[1500:]
    m = ql.train(network(), x[:200], y[:200], validation=held, epochs=500, patience=5, learning_rate=0.02)
    losses = m.history["validation_loss"]
    best = int(np.argmin(losses))
    assert len(losses) == best + 6 < 500
    assert m.history.best_epoch == best + 1
    assert m.history.stopped == f"no smaller validation loss since epoch {best + 1}"
    assert m.evaluate(*held, "cross_entropy")["cross_entropy"] == pytest.approx(losses[best], rel=1e-6)
    last = ql.train(
        network(), x[:200], y[:200], validation=held, epochs=500, patience=5, learning_rate=0.02, restore_best=False
    )
    assert last.evaluate(*held, "cross_entropy")["cross_entropy"] == pytest.approx(losses[-1], rel=1e-6)


def test_callbacks_see_every_epoch_and_may_stop(digits):
    seen = []

    def callback(state):
        seen.append((state.epoch, state.epochs, state.history["loss"][-1], state.model.nbytes))
        if state.epoch == 3:
            state.stop("enough")

    m = ql.train(network(), *digits, epochs=9, callbacks=[callback])
    assert [row[0] for row in seen] == [1, 2, 3]
    assert [row[2] for row in seen] == m.history["loss"]
    assert m.history.stopped == "enough"
    assert not m.history.interrupted


def test_an_interrupt_returns_the_model_so_far(digits):
    def callback(state):
        if state.epoch == 2:
            raise KeyboardInterrupt

    m = ql.train(network(), *digits, epochs=9, callbacks=[callback])
    assert len(m.history) == 2
    assert m.history.interrupted
    assert m.history.stopped == "interrupted"
    same_model(m, ql.train(network(), *digits, epochs=2))


def test_an_interrupt_returns_the_best_weights_where_they_are_kept(digits):
    x, y = digits
    held = x[1500:], y[1500:]

    def callback(state):
        if state.epoch == 4:
            raise KeyboardInterrupt

    rates = {"schedule": lambda step: 1.0 if step < 2 else 300.0, "learning_rate": 0.001, "batch_size": 100}
    m = ql.train(network(), x[:100], y[:100], validation=held, restore_best=True, callbacks=[callback], **rates)
    losses = m.history["validation_loss"]
    assert m.history.interrupted
    assert m.history.best_epoch == 1 + int(np.argmin(losses)) < 4
    assert m.evaluate(*held, "cross_entropy")["cross_entropy"] == pytest.approx(min(losses), rel=1e-6)


def test_a_stop_has_a_reason(digits):
    for why, error in (("", ValueError), (5, TypeError)):
        with pytest.raises(error, match="why: expected"):
            ql.train(network(), *digits, epochs=2, callbacks=[lambda state, why=why: state.stop(why)])


def test_a_loss_that_explodes_stops_with_the_last_good_weights(digits):
    rates = itertools.chain(itertools.repeat(0.1, 57), itertools.repeat(1e30))  # 57 steps are one epoch
    with pytest.warns(
        RuntimeWarning, match=r"'dense_\d' is not finite in step (59|60), epoch 2; the model has the last"
    ):
        m = ql.train(network(), *digits, optimizer="sgd", batch_size=32, schedule=lambda step: next(rates), epochs=5)
    assert len(m.history) == 1
    assert "is not finite in step" in m.history.stopped
    good = ql.train(network(), *digits, optimizer="sgd", batch_size=32, schedule=lambda step: 0.1, epochs=1)
    same_model(m, good)


def test_samples_that_are_not_finite_are_named(digits):
    x, y = digits
    x = x.copy()
    x[17, 3] = np.nan
    m = network()
    with pytest.warns(RuntimeWarning, match="'input' is not finite in step 1, epoch 1"):
        trained = ql.train(m, x, y, batch_size=5000)
    same_model(m, trained)


def test_an_augment_that_is_not_finite_is_named(digits):
    with pytest.warns(RuntimeWarning, match="the result of 'augment' is not finite in step 1, epoch 1"):
        ql.train(network(), *digits, augment=lambda x, rng: np.where(x > 0.5, np.nan, x))


def test_weights_that_end_an_epoch_without_being_finite_name_its_last_step(digits):
    x, y = digits
    rates = [1.0, 1.0, np.finfo(np.float64).max]
    options = {"optimizer": "sgd", "batch_size": 100, "learning_rate": 1.0, "schedule": rates.__getitem__}
    with pytest.warns(RuntimeWarning, match=r"weight of layer 'dense_\d' is not finite in step 3, epoch 1"):
        ql.train(network(), x[:300], y[:300], epochs=1, **options)


def test_an_augment_that_works_in_place_leaves_batches_as_they_are(digits):
    x, y = digits[0][:50].copy(), digits[1][:50]

    def augment(x, rng):
        x += 1
        return x

    ql.train(network(), [(x, y)], epochs=2, augment=augment)
    same_bytes(x, digits[0][:50])


# ---- the history


def test_the_history_shows_its_figures(digits):
    m = ql.train(network(), *digits, epochs=2, validation=0.1, learning_rate=0.003, schedule="cosine")
    assert list(m.history.figures) == [
        "loss",
        "accuracy",
        "validation_loss",
        "validation_accuracy",
        "learning_rate",
        "seconds",
    ]
    assert len(m.history) == 2
    assert "validation_loss" in m.history
    text = repr(m.history).splitlines()
    assert text[0] == "History(2 epochs)"
    assert text[1].split() == ["epoch", *m.history.figures]
    assert text[3].split()[1] == f"{m.history['loss'][1]:.4g}"
    assert 0 < m.history["learning_rate"][1] < m.history["learning_rate"][0] < 0.003


def test_a_figure_that_is_not_there_is_named(digits):
    m = ql.train(network(), *digits, epochs=1, validation=0.1)
    with pytest.raises(KeyError, match=r"name: expected one of \('loss', .*'seconds'\), got 'validation_los': did you"):
        m.history["validation_los"]
    with pytest.raises(KeyError, match="got 'val_loss'"):
        m.history["val_loss"]


def test_a_long_history_is_cut():
    history = ql.History()
    for i in range(100):
        history.append({"loss": float(i)})
    lines = repr(history).splitlines()
    assert len(lines) == 23
    assert lines[2].strip() == "..."
    assert lines[-1].split() == ["100", "99"]
    assert repr(ql.History()) == "History(no epochs)"


def test_the_history_is_drawn(digits):
    from matplotlib import pyplot

    m = ql.train(network(), *digits, epochs=3, validation=0.1)
    figure = m.history.plot()
    (axes,) = figure.axes
    assert [line.get_label() for line in axes.lines] == ["loss", "validation loss", "best epoch"]
    assert axes.lines[0].get_ydata().tolist() == m.history["loss"]
    pyplot.close(figure)


# ---- layers


class Double(Layer):
    """A layer without a gradient."""

    kind = "double"

    def infer(self, *shapes):
        return shapes[0]

    def compute(self, *x):
        return 2 * x[0]

    def lower(self, builder, inputs):
        raise NotImplementedError


def test_a_layer_without_a_gradient_is_named(digits):
    layers = [ql.Dense(units=8), Double(None), ql.Dense(units=10)]
    m = ql.Sequential(layers, input_shape=(64,))
    with pytest.raises(ValueError, match="model: expected layers with a gradient, got Double as 'double_1'"):
        ql.train(m, *digits)
    before = [array.copy() for array in parameters(m)]
    trained = ql.train(m, *digits, epochs=1, frozen=["dense_1"])  # nobody before it needs a gradient
    same_bytes(trained.layers[0].weight, before[0])


def test_no_warning_escapes_without_a_reason(digits):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ql.train(network(), *digits, epochs=1, progress=True)


def test_all_kinds_of_layers_are_trained(digits):
    layers = [
        ql.Dense(units=64),
        ql.BatchNorm(),
        ql.Activation("gelu"),
        ql.Dropout(0.2),
        ql.Dense(units=32, activation="tanh"),
        ql.Dense(units=10),
        ql.Softmax(),
    ]
    m = ql.train(ql.Sequential(layers, input_shape=(64,)), *digits, epochs=15, learning_rate=0.003, validation=0.2)
    assert m.history["validation_accuracy"][-1] > 0.95
    assert (m.layers[1].statistics["mean"] != 0).any()


def test_an_end_in_probabilities_is_trained_as_its_logits(digits):
    x, y = digits
    a, b = network(), network()
    b = ql.Sequential([*b.layers, ql.Softmax()], input_shape=(64,))
    a, b = (ql.train(m, x, y, epochs=2, validation=0.1) for m in (a, b))
    same_model(a, b)
    assert a.history["validation_loss"] == b.history["validation_loss"]

    a = network(1, task="binary")
    b = ql.Sequential([a.layers[0], ql.Dense(a.layers[1].weight, activation="sigmoid")], task="binary")
    a, b = (ql.train(m, x, y % 2, epochs=2, teacher=m, temperature=3.0) for m in (a, b))
    for p, q in zip(parameters(a), parameters(b), strict=True):
        assert np.allclose(p, q, atol=1e-5)
    assert a.history["accuracy"] == b.history["accuracy"]


def test_a_loss_of_the_users_sees_what_the_model_gives(digits):
    x, y = digits
    m = ql.Sequential([ql.Dense(units=1, activation="sigmoid")], input_shape=(64,), task="binary")

    def brier(p, targets):
        assert ((p >= 0) & (p <= 1)).all()
        return np.mean((p - targets) ** 2), 2 * (p - targets) / np.float32(len(p))

    m = ql.train(m, x, y % 2, loss=brier, epochs=20, learning_rate=0.02)
    assert m.history["accuracy"][-1] == pytest.approx(m.evaluate(x, y % 2)["accuracy"], abs=0.01)
    assert m.history["accuracy"][-1] > 0.85
