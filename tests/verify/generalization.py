"""Whether quantization helps generalization, as is claimed at times.

Networks 784-128-64-10 are trained on 3750 MNIST digits (extra `test`), for several seeds of the split, the weights and
the batches. Measured are the gap between the accuracy on training and on held-out data, and the accuracy on held-out
digits under Gaussian noise, all in points. Noisy pixels are cut off at 0 and 1, as a camera does, but in the last
column: there a static network cuts them off itself, at the ranges that it was calibrated for, the float one does not.

A network that was quantized after training is held against the float one; a network that was trained further with
quantization against a control, the float one trained further for as long: what more training gives is not
quantization's. Differences are paired by seed; one whose interval leaves out 0 has a star. With so many of them one in
twenty has it by chance.
"""

from statistics import fmean, stdev

import numpy as np

import qlite as ql

SEEDS = range(5)
T95 = 2.776  # Student's t for 95 % and 4 degrees of freedom
EPOCHS, MORE_EPOCHS, MORE_RATE = 10, 5, 3e-4
NOISE = (0.1, 0.2, 0.3, 0.5)
UNCUT = 0.3  # deviation of the noise in the last column
COLUMNS = ("training", "held out", "gap", *(f"noise {sigma}" for sigma in NOISE), f"{UNCUT}, uncut")
#: Each network, what it is held against, and how many points it may be below on held-out data, on average.
COMPARED = (
    ("w8a8", "float", 0.3),
    ("control w8a8", "control", 0.3),
    ("trained w8a8", "control", 0.3),
    ("trained w4a4", "control", 0.6),
)


def verify(checks, seeds=SEEDS, epochs=EPOCHS, more_epochs=MORE_EPOCHS):
    """Train, print the table, and check that no network falls behind."""
    from models import mnist  # here: it needs packages that other verifiers go without

    rows = {}
    for seed in seeds:
        data = mnist(seed)
        for name, model in _networks(data, seed, epochs, more_epochs).items():
            rows.setdefault(name, []).append(_measure(model, data, seed))
    print(f"\nAccuracy in points, means of {len(seeds)} seeds\n{'':14}" + "".join(f"{c:>16}" for c in COLUMNS))
    for name, measured in rows.items():
        print(f"{name:14}" + "".join(f"{fmean(column):16.2f}" for column in zip(*measured, strict=True)))
    print("\nDifferences and 95 % intervals")
    for name, other, most in COMPARED:
        differences = np.subtract(rows[name], rows[other])
        cells = "".join(f"{_interval(column):>16}" for column in differences.T)
        mean = differences[:, COLUMNS.index("held out")].mean()
        print(f"{name:14}{cells}  to {other}")
        checks.line(f"{name}, held out: {mean:+.2f} points to {other}, at least {-most:+.2f}", mean >= -most)


def _networks(data, seed, epochs, more_epochs):
    layers = [ql.Dense(units=128, activation="relu"), ql.Dense(units=64, activation="relu"), ql.Dense(units=10)]
    start = ql.Sequential(layers, input_shape=(784,), seed=seed)
    trained = ql.train(start, data.x, data.y, epochs=epochs, seed=seed, progress=False)
    more = {"epochs": more_epochs, "learning_rate": MORE_RATE, "seed": seed, "progress": False}
    control = ql.train(trained, data.x, data.y, schedule="hold_cosine", **more)
    networks = {"float": trained, "control": control}
    networks["w8a8"] = ql.quantize_model(trained, "w8a8", data.x)
    networks["control w8a8"] = ql.quantize_model(control, "w8a8", data.x)
    for scheme in ("w8a8", "w4a4"):
        aware = ql.train(trained, data.x, data.y, scheme=scheme, **more)
        networks[f"trained {scheme}"] = ql.quantize_model(aware)
    return networks


def _measure(model, data, seed):
    """The figures of `COLUMNS`; the noise is the same for all networks of a seed."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(data.x_held.shape, np.float32)
    training, held = _points(model, data.x, data.y), _points(model, data.x_held, data.y_held)
    noisy = [_points(model, np.clip(data.x_held + sigma * noise, 0, 1), data.y_held) for sigma in NOISE]
    return [training, held, training - held, *noisy, _points(model, data.x_held + UNCUT * noise, data.y_held)]


def _points(model, x, y):
    return 100 * model.evaluate(x, y, "accuracy")["accuracy"]


def _interval(differences):
    half = T95 * stdev(differences) / np.sqrt(len(differences))
    mean = fmean(differences)
    return f"{mean:+.2f} +-{half:.2f}{'*' if abs(mean) > half else ' '}"
