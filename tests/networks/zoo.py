"""The networks: two of the sizes that people deploy, three of MLPerf Tiny's, and one that a tutorial would train."""

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


NETWORKS = (mobilenet_v2, mobilenet_v1_025, resnet_8, ds_cnn, resnet_18, small_cnn)
