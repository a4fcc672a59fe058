"""Random small graphs of float layers: images through convolutions, pools, sums and joins, to one or two outputs."""

import numpy as np

import qlite as ql

ACTIVATIONS = [None, None, "relu", "relu6", "sigmoid", "tanh", "silu", "hard_swish", "leaky_relu", "gelu"]
ACTIVATIONS += ["elu", "hard_sigmoid", "softplus"]


def choice(rng, values):
    return values[rng.integers(len(values))]


def weights(rng, *shape):
    """Of a deviation that keeps values near 1, some of whose outputs are idle."""
    w = rng.normal(0, (shape[0] * shape[1] * shape[2]) ** -0.5, shape)
    w[..., rng.random(shape[-1]) < 0.05] = 0
    return w.astype(np.float32)


def bias(rng, n):
    return rng.normal(0, 0.3, n).astype(np.float32) if rng.random() < 0.8 else None


def window(rng, shape):
    """Kernel size, stride, padding and dilation that fit images of this shape."""
    dilation = choice(rng, [1, 1, 1, 2])
    kernel = tuple(int(n) for n in rng.integers(1, 4, 2))
    padding = choice(rng, ["same", "same", "valid", 1, ((1, 0), (0, 2))])
    spans = [(k - 1) * dilation + 1 for k in kernel]
    if padding != "same" and any(span > length for span, length in zip(spans, shape, strict=False)):
        padding = "same"
    return kernel, {"stride": choice(rng, [1, 1, 2, (2, 1)]), "padding": padding, "dilation": dilation}


def conv(rng, x):
    channels = x.shape[-1]
    kernel, options = window(rng, x.shape)
    groups = choice(rng, [n for n in (1, 1, 2, 3) if channels % n == 0])
    out = groups * int(rng.integers(1, 5))
    w = weights(rng, *kernel, channels // groups, out)
    return ql.Conv2D(w, bias(rng, out), choice(rng, ACTIVATIONS), groups=groups, **options)(x)


def depthwise(rng, x):
    kernel, options = window(rng, x.shape)
    multiplier = choice(rng, [1, 1, 2])
    w = weights(rng, *kernel, 1, x.shape[-1] * multiplier).reshape(*kernel, x.shape[-1], multiplier)
    b, options["multiplier"] = bias(rng, x.shape[-1] * multiplier), multiplier
    return ql.DepthwiseConv2D(w, b, choice(rng, ACTIVATIONS), **options)(x)


def separable(rng, x):
    kernel, options = window(rng, x.shape)
    c, out = x.shape[-1], int(rng.integers(2, 6))
    parts = weights(rng, *kernel, 1, c).reshape(*kernel, c, 1), weights(rng, 1, 1, c, out)
    return ql.SeparableConv2D(*parts, bias(rng, out), choice(rng, ACTIVATIONS), **options)(x)


def dense(rng, x):
    """Of rows: each pixel alone."""
    out = int(rng.integers(2, 7))
    return ql.Dense(weights(rng, 1, 1, x.shape[-1], out)[0, 0], bias(rng, out), choice(rng, ACTIVATIONS))(x)


def pool(rng, x):
    layer = choice(rng, [ql.MaxPool, ql.AveragePool])
    return layer(choice(rng, [2, (1, 3), 3]), stride=choice(rng, [1, 2]), padding="same")(x)


def pad(rng, x):
    mode = choice(rng, ["constant", "constant", "symmetric", "reflect" if min(x.shape[:2]) > 1 else "symmetric"])
    sides = [1, ((0, 1), (1, 0))] if mode == "reflect" else [1, ((0, 1), (1, 0)), ((0, 0), (1, 1), (0, 1))]
    return ql.Pad(choice(rng, sides), mode)(x)


def activation(rng, x):
    return ql.Activation(choice(rng, ACTIVATIONS[2:]))(x)


def conv_transpose(rng, x):
    kernel, stride = (tuple(int(n) for n in rng.integers(1, high, 2)) for high in (5, 3))
    padding = "same" if rng.random() < 0.5 else tuple((0, int(rng.integers(k))) for k in kernel)
    options = {"stride": stride, "padding": padding, "output_padding": tuple(s - 1 for s in stride)}
    w = weights(rng, *kernel, x.shape[-1], int(rng.integers(1, 6)))
    return ql.Conv2DTranspose(w, bias(rng, w.shape[-1]), choice(rng, ACTIVATIONS), **options)(x)


def prelu(rng, x):
    return ql.PReLU(rng.normal(0.2, 0.3, x.shape[-1]))(x)


def norm(rng, x):
    c = x.shape[-1]
    statistics = {"mean": rng.normal(0, 0.2, c), "variance": rng.uniform(0.3, 2, c)}
    return ql.BatchNorm(gamma=rng.normal(1, 0.3, c), beta=rng.normal(0, 0.3, c), **statistics)(x)


def dropout(rng, x):
    return ql.Dropout(0.5)(x)


def layer_norm(rng, x):
    c = x.shape[-1]
    return ql.LayerNorm(rng.normal(1, 0.3, c), rng.normal(0, 0.3, c))(x)


def matmul(rng, x):
    """Rows of an image by those of itself."""
    return ql.MatMul(transpose_b=True)(x, x)


def attention(rng, x):
    """Between all pixels."""
    height, width, channels = x.shape
    arrays = {f"{what}_weight": weights(rng, 1, 1, channels, 4)[0, 0] for what in ("query", "key", "value")}
    arrays |= {"output_weight": weights(rng, 1, 1, 4, channels)[0, 0], "output_bias": bias(rng, channels)}
    y = ql.MultiHeadAttention(choice(rng, [1, 2]), **arrays)(ql.Reshape((height * width, channels))(x))
    return ql.Reshape((height, width, channels))(y)


def reshape(rng, x):
    height, width, channels = x.shape
    return ql.Reshape((width, height, channels))(x)


def move(rng, x):
    """The same values elsewhere, or some of them."""
    height, width, channels = x.shape
    layers = [
        ql.Transpose((1, 0, 2)),
        ql.Transpose((2, 0, 1)),
        ql.Slice(stride=(-1, 1)),
        ql.Slice((height // 2, width // 3)),
    ]
    layers += [ql.SpaceToDepth(2)] if height % 2 == 0 and width % 2 == 0 else []
    layers += [ql.DepthToSpace(2)] if channels % 4 == 0 else []
    return choice(rng, layers)(x)


def resize(rng, x):
    """A little larger or smaller."""
    options = choice(rng, [{"scale": (1, 2)}, {"size": x.shape[0]}, {"size": (3, 5), "align_corners": True}])
    return choice(rng, [ql.ResizeNearest, ql.ResizeBilinear])(**options)(x)


def reduction(rng, x):
    """Along one axis of an image, which stays."""
    return choice(rng, [ql.Mean, ql.Sum, ql.Max, ql.Min])(choice(rng, [0, 1, -1]), keepdims=True)(x)


ONE = [conv, conv, depthwise, separable, dense, pool, pool, pad, activation, prelu, norm]
ONE += [dropout, reshape, move, resize, reduction, conv_transpose, layer_norm, matmul, attention]
#: Values of an image at most that more padding, pixels or channels are added to.
MOST = 400


def gate(rng, x):
    """One number of an image for each channel, or for each pixel."""
    if rng.random() < 0.5:
        return conv_1x1(rng, x, 1, "sigmoid")
    mean = ql.Reshape((1, 1, x.shape[-1]))(ql.GlobalAveragePool()(x))
    return conv_1x1(rng, mean, x.shape[-1], "sigmoid")


def conv_1x1(rng, x, out, activation):
    return ql.Conv2D(weights(rng, 1, 1, x.shape[-1], out), bias(rng, out), activation)(x)


def joined(rng, x, live):
    """A sum, a difference, a product or a join of x and something of its shape: another value, or one made of x."""
    others = [y for y in live if y.shape == x.shape]
    y = choice(rng, others) if others and rng.random() < 0.7 else ql.MaxPool(1)(x)
    if rng.random() < 0.6:
        layer = choice(rng, [ql.Add, ql.Add, ql.Subtract, ql.Multiply])(choice(rng, [None, "relu", "relu6"]))
        other = choice(rng, [y, gate(rng, x), rng.normal(1, 0.5, choice(rng, [(1, 1, x.shape[-1]), x.shape[-1:], 1]))])
        return layer(x, other) if rng.random() < 0.7 else layer(other, x)
    wide = [y for y in live if y.shape[:2] == x.shape[:2]][:8]
    parts = [choice(rng, [x, *wide]) for _ in range(rng.integers(1, 4))]
    return ql.Concatenate(axis=choice(rng, [-1, 2]))(x, *parts) if rng.random() < 0.7 else ql.Concatenate(0)(x, y)


def head(rng, x):
    """Vectors of classes."""
    x = choice(rng, [ql.GlobalAveragePool(), ql.GlobalMaxPool(), ql.Mean((0, 1)), *[ql.Flatten()] * 3])(x)
    x = ql.L2Normalize()(x) if rng.random() < 0.1 else x
    activation = choice(rng, [None, None, "relu", "tanh", "softmax"])
    return ql.Dense(weights(rng, 1, 1, x.shape[0], 4)[0, 0], bias(rng, 4), activation)(x)


def read_by(symbols):
    """All that symbols are computed from."""
    return {source for symbol in symbols for source in (symbol, *read_by(symbol.sources))}


def random_network(rng, layers=7, without=()):
    """A model of one or two inputs, images, and one or two outputs; and samples for it. Layers and activations
    in `without` do not occur."""
    model, samples = _random_network(rng, layers)
    while any(what in without for what in described(model)):
        model, samples = _random_network(rng, layers)
    return model, samples


def described(model):
    """The kinds of a model's layers, and their activations."""
    return {layer.kind for layer in model.layers} | {getattr(layer, "activation", None) for layer in model.layers}


def _random_network(rng, layers):
    shape = tuple(int(n) for n in rng.integers((3, 3, 1), (8, 8, 5)))
    inputs = [ql.Input(shape) for _ in range(choice(rng, [1, 1, 2]))]
    live = list(inputs)
    first = ql.Add()(*inputs) if len(inputs) == 2 else inputs[0]
    live.append(conv(rng, first))
    while len(live) < layers:
        x = live[rng.integers(max(0, len(live) - 3), len(live))]
        is_large = np.prod(x.shape) > MOST
        if rng.random() < 0.3 and not is_large:
            live.append(joined(rng, x, live))
        else:
            layer = choice(rng, [f for f in ONE if f not in (pad, resize, conv_transpose) or not is_large])
            live.append(layer(rng, x))
    outputs = [head(rng, live[-1])]
    if rng.random() < 0.3:
        outputs.append(head(rng, live[-2]) if live[-2] in inputs or rng.random() < 0.5 else live[-2])
    inputs = [x for x in inputs if x in read_by(outputs)]
    if len(inputs) == 1 and rng.random() < 0.3:
        normalization = {"mean": rng.normal(size=shape[-1]), "scale": rng.uniform(0.5, 2, shape[-1])}
    else:
        normalization = {}
    model = ql.Model(inputs if len(inputs) > 1 else inputs[0], outputs, **normalization)
    samples = tuple(rng.normal(size=(20, *shape)).astype(np.float32) for _ in inputs)
    return model, samples if len(samples) > 1 else samples[0]
