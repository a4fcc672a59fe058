"""The networks: two of the sizes that people deploy, three of MLPerf Tiny's, one that a tutorial would train, and five
with the operators of what runs on phones."""

from .description import Network


def mobilenet_v2():
    """MobileNetV2 1.0 (Sandler et al. 2018), 224 x 224."""
    net = Network("MobileNetV2 224", (224, 224, 3))
    net.conv(32, 3, 2, "relu6")
    stages = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    for expansion, filters, blocks, first_stride in stages:
        for block in range(blocks):
            source, stride = net.last, first_stride if block == 0 else 1
            channels = net.shapes[source][-1]
            if expansion > 1:
                net.conv(expansion * channels, 1, 1, "relu6")
            net.depthwise(3, stride, "relu6")
            net.conv(filters, 1)
            if stride == 1 and channels == filters:
                net.add(source, net.last)
    net.conv(1280, 1, 1, "relu6")
    net.mean()
    net.dense(1000)
    return net


def mobilenet_v1_025():
    """MobileNetV1 0.25 (Howard et al. 2017), 96 x 96: MLPerf Tiny's visual wake words."""
    net = Network("MobileNetV1 0.25 96", (96, 96, 3))
    net.conv(8, 3, 2, "relu")
    layers = [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5, (256, 2), (256, 1)]
    for filters, stride in layers:
        net.depthwise(3, stride, "relu")
        net.conv(filters, 1, 1, "relu")
    net.mean()
    net.dense(2)
    return net


def resnet_8():
    """MLPerf Tiny's image classification, 32 x 32."""
    net = Network("ResNet-8 32", (32, 32, 3))
    net.conv(16, 3, 1, "relu")
    for filters, stride in [(16, 1), (32, 2), (64, 2)]:
        _basic_block(net, filters, stride)
    net.mean()
    net.dense(10)
    return net


def ds_cnn():
    """MLPerf Tiny's keyword spotting: 49 frames of 10 coefficients."""
    net = Network("DS-CNN 49x10", (49, 10, 1))
    net.conv(64, (10, 4), 2, "relu")
    for _ in range(4):
        net.depthwise(3, 1, "relu")
        net.conv(64, 1, 1, "relu")
    net.mean()
    net.dense(12)
    return net


def resnet_18():
    """ResNet-18 (He et al. 2015), 224 x 224."""
    net = Network("ResNet-18 224", (224, 224, 3))
    net.conv(64, 7, 2, "relu")
    net.max_pool(3, 2, "same")
    for filters, stride in [(64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1)]:
        _basic_block(net, filters, stride)
    net.mean()
    net.dense(1000)
    return net


def small_cnn():
    """Two convolutions, 28 x 28."""
    net = Network("small CNN 28", (28, 28, 1))
    for filters in (16, 32):
        net.conv(filters, 3, 1, "relu", padding="valid")
        net.max_pool(2, 2)
    net.flatten()
    net.dense(10)
    return net


def _basic_block(net, filters, stride):
    source = net.last
    net.conv(filters, 3, stride, "relu")
    inner = net.conv(filters, 3)
    narrow = stride > 1 or net.shapes[source][-1] != filters
    shortcut = net.conv(filters, 1, stride, source=source) if narrow else source
    net.add(inner, shortcut, "relu")


def face_detector():
    """As BlazeFace (Bazarevsky et al. 2019): padded residuals, their activations operators of their own, 128 x 128."""
    net = Network("face detector 128", (128, 128, 3))
    net.conv(24, 5, 2, "relu")
    for filters, stride in [
        (24, 1),
        (28, 1),
        (32, 2),
        (36, 1),
        (42, 1),
        (48, 2),
        (56, 1),
        (64, 1),
        (72, 1),
        (80, 1),
        (88, 1),
    ]:
        _blaze_block(net, filters, stride)
    fine = _blaze_block(net, 96, 1)
    for stride in (2, 1, 1, 1, 1):
        _blaze_block(net, 96, stride)
    coarse = net.last
    ends = []
    for values in (16, 1):
        rows = []
        for source, anchors in ((fine, 2), (coarse, 6)):
            net.conv(anchors * values, 1, source=source)
            height, width, _ = net.shapes[net.last]
            rows.append(net.reshape((height * width * anchors, values)))
        ends.append(net.concatenate(*rows, axis=0))
    net.ends = tuple(ends)
    return net


def _blaze_block(net, filters, stride):
    source = net.last
    channels = net.shapes[source][-1]
    net.depthwise(3, stride)
    inner = net.conv(filters, 1)
    net.add(inner, _shortcut(net, source, stride, filters - channels))
    return net.activation("relu")


def _shortcut(net, source, stride, more):
    """The source in as many rows and columns as a stride leaves, with channels of zeros."""
    if stride > 1:
        source = net.max_pool(stride, stride, source=source)
    return net.pad(((0, 0), (0, 0), (0, more)), source=source) if more else source


def iris_landmarks():
    """As MediaPipe's model of the iris (Ablavatski et al. 2020): PReLU throughout, two heads, 64 x 64."""
    net = Network("iris landmarks 64", (64, 64, 3))
    net.conv(64, 3, 2)
    net.prelu()
    for filters, stride in [(64, 1)] * 4 + [(128, 2)] + [(128, 1)] * 4:
        _prelu_block(net, filters, stride)
    trunk, ends = net.last, []
    for values in (213, 15):
        source = trunk
        for stride in (2, 1, 1, 2, 1, 1, 2, 1, 1):
            source = _prelu_block(net, 128, stride, source=source)
        net.conv(values, 2, padding="valid")
        ends.append(net.reshape((values,)))
    net.ends = tuple(ends)
    return net


def _prelu_block(net, filters, stride, source=None):
    source = source or net.last
    channels = net.shapes[source][-1]
    net.conv(filters // 2, stride, stride, source=source)
    net.prelu()
    net.depthwise(3)
    inner = net.conv(filters, 1)
    net.add(inner, _shortcut(net, source, stride, filters - channels))
    return net.prelu()


def segmenter():
    """A MobileNetV3 (Howard et al. 2019) and a decoder as in MediaPipe's selfie segmentation, 256 x 256."""
    net = Network("segmenter 256", (256, 256, 3))
    half = net.conv(16, 3, 2, "hard_swish")
    quarter = _inverted_residual(net, 3, 16, 16, 2, "relu", gated=True)
    _inverted_residual(net, 3, 72, 24, 2, "relu")
    eighth = _inverted_residual(net, 3, 88, 24, 1, "relu")
    for kernel, inner, filters, stride in [
        (5, 96, 32, 2),
        (5, 128, 32, 1),
        (5, 128, 32, 1),
        (5, 96, 48, 1),
        (5, 96, 48, 1),
    ]:
        _inverted_residual(net, kernel, inner, filters, stride, "hard_swish", gated=True)
    source = net.last
    features = net.conv(128, 1, 1, "relu")
    net.mean(keepdims=True, source=source)
    net.multiply(features, net.conv(128, 1, 1, "sigmoid"))
    for skip in (eighth, quarter, half):
        height, width, channels = net.shapes[skip]
        net.resize_bilinear(height, width)
        up = net.conv(channels, 1)
        net.multiply(skip, _gate(net, net.add(skip, up)))
        net.add(net.last, up)
        residual = net.conv(channels, 1, 1, "hard_swish")
        net.depthwise(3, 1, "hard_swish")
        net.add(residual, net.last)
    net.conv_transpose(1, 2, 2)
    net.activation("sigmoid")
    return net


def _inverted_residual(net, kernel, inner, filters, stride, activation, gated=False):
    source = net.last
    channels = net.shapes[source][-1]
    if inner != channels:
        net.conv(inner, 1, 1, activation)
    net.depthwise(kernel, stride, activation)
    if gated:
        net.multiply(net.last, _gate(net, net.last))
    net.conv(filters, 1)
    return net.add(source, net.last) if stride == 1 and channels == filters else net.last


def _gate(net, source):
    """A factor for each channel: what squeeze-and-excite (Hu et al. 2017) makes of the means."""
    channels = net.shapes[source][-1]
    net.mean(keepdims=True, source=source)
    net.conv(max(channels // 4, 8), 1, 1, "relu")
    return net.conv(channels, 1, 1, "hard_sigmoid")


def u_net():
    """U-Net (Ronneberger et al. 2015) of 16 to 256 channels, 128 x 128."""
    net = Network("U-Net 128", (128, 128, 3))
    skips = []
    for filters in (16, 32, 64, 128):
        skips.append(_two_convs(net, filters))
        net.max_pool(2, 2)
    _two_convs(net, 256)
    for skip in reversed(skips):
        filters = net.shapes[skip][-1]
        net.concatenate(skip, net.conv_transpose(filters, 2, 2), axis=2)
        _two_convs(net, filters)
    net.conv(2, 1)
    return net


def _two_convs(net, filters):
    net.conv(filters, 3, 1, "relu")
    return net.conv(filters, 3, 1, "relu")


def transformer():
    """The encoder of 6 layers of 384 with 6 heads that small sentence embeddings have, 128 tokens."""
    net = Network("transformer 6x384", (128, 384))
    for _ in range(6):
        source = net.last
        net.layer_norm()
        source = net.add(source, net.attention(6))
        net.layer_norm()
        net.dense(4 * 384, "gelu")
        net.add(source, net.dense(384))
    net.layer_norm()
    return net


NETWORKS = (mobilenet_v2, mobilenet_v1_025, resnet_8, ds_cnn, resnet_18, small_cnn)
#: What published networks of phones are made of.
MOBILE = (face_detector, iris_landmarks, segmenter, u_net, transformer)
