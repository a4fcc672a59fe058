"""python -m tests.tflite_converter: writes the files of this folder again. It needs the package tensorflow-cpu (2.21).

Small networks as TFLiteConverter writes them: in float32, and in int8 after it calibrated them on `samples`.
"""

import numpy as np
import tensorflow as tf

from . import FOLDER, SHAPES, samples

SEED = 15


class Weights:
    """Random constants, drawn in the order in which a network asks for them."""

    def __init__(self):
        self.rng = np.random.default_rng(SEED)

    def draw(self, *shape, scale=1.0):
        fan_in = np.prod(shape[:-1]) if len(shape) > 1 else 4
        return (scale * self.rng.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32)

    def conv(self, x, outputs, size=3, stride=1, padding="SAME"):
        kernel = self.draw(size, size, x.shape[-1], outputs)
        return tf.nn.bias_add(tf.nn.conv2d(x, kernel, stride, padding), self.draw(outputs))

    def depthwise(self, x, size=3, stride=1):
        kernel = self.draw(size, size, x.shape[-1], 1, scale=np.sqrt(x.shape[-1]))
        strides = [1, stride, stride, 1]
        return tf.nn.bias_add(tf.nn.depthwise_conv2d(x, kernel, strides, "SAME"), self.draw(x.shape[-1]))

    def dense(self, x, outputs):
        return tf.matmul(x, self.draw(x.shape[-1], outputs)) + self.draw(outputs)


def residual(x):
    """Convolutions, one of them depthwise, and a sum, as in mobile networks, with softmax behind them."""
    w = Weights()
    x = tf.nn.relu6(w.conv(x, 6, stride=2))
    y = tf.nn.relu6(w.depthwise(x))
    x = x + w.conv(y, 6, size=1)
    return tf.nn.softmax(w.dense(tf.reduce_mean(x, (1, 2)), 4))


def joined(x):
    """Branches that are concatenated, pools, and two dense layers."""
    w = Weights()
    x = tf.nn.relu(w.conv(x, 5, padding="VALID"))
    y = tf.concat([tf.nn.max_pool2d(x, 2, 2, "SAME"), tf.nn.relu(w.conv(x, 4, stride=2))], axis=3)
    y = tf.nn.avg_pool2d(y, 2, 1, "VALID")
    return w.dense(tf.nn.relu(w.dense(tf.reshape(y, (-1, 2 * 2 * 9)), 7)), 3)


def gated(x):
    """Functions with tables, products and differences of values, padding and moves."""
    w = Weights()
    x = tf.nn.leaky_relu(w.conv(tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]), 4, padding="VALID"), 0.1)
    x = x * tf.sigmoid(w.conv(x, 4, size=1))
    x = tf.tanh(w.conv(tf.image.resize(x / 2, (10, 10), "nearest"), 3, size=1) - 0.5)
    return tf.transpose(x, (0, 3, 1, 2))


def converted(network, shape, *, is_int8):
    function = tf.function(network, input_signature=[tf.TensorSpec((1, *shape), tf.float32, name="image")])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    if is_int8:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([x[None]] for x in samples(shape))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


for network in (residual, joined, gated):
    name = network.__name__
    (FOLDER / f"{name}_float.tflite").write_bytes(converted(network, SHAPES[name], is_int8=False))
    (FOLDER / f"{name}_int8.tflite").write_bytes(converted(network, SHAPES[name], is_int8=True))
