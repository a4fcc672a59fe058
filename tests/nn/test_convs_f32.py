"""Float convolution steps as data: the shapes that follow from theirs, and what they refuse, in words that name the
field."""

import numpy as np
import pytest

from qlite.nn.program import Buffer, Program
from qlite.nn.steps import ConvF32


def conv(weight_shape=(3, 3, 4, 6), **changes):
    fields = {"weight": np.ones(weight_shape, np.float32), "bias": None, "activation": None, "groups": 1}
    fields |= {"stride": (1, 1), "dilation": (1, 1), "padding": (1, 1, 1, 1)}
    return ConvF32(**{"inputs": (0,), "output": 1} | fields | changes)


def coded(**changes):
    codes = {"weight": np.ones((3, 3, 4, 6), np.int8), "weight_scale": np.ones(6, np.float32)}
    return conv(**codes | changes)


def program(step, shape=(9, 13, 4), output=(9, 13, 6), dtype="float32"):
    return Program([Buffer("input", "input", shape, "float32"), Buffer("output", "layer", output, dtype)], [step])


@pytest.mark.parametrize(
    "step, shape, output",
    [
        (conv(), (9, 13, 4), (9, 13, 6)),
        (coded(weight_zero_point=np.full(6, 3, np.int32)), (9, 13, 4), (9, 13, 6)),
        (conv(stride=(2, 3), padding=(0, 1, 0, 0)), (8, 13, 4), (4, 4, 6)),
        (conv((3, 3, 1, 8), groups=4), (9, 13, 4), (9, 13, 8)),
        (conv((1, 3, 4, 6), padding=(0, 0, 2, 0)), (13, 4), (13, 6)),
        (conv((1, 1, 4, 6), padding=(0, 0, 0, 0)), (4,), (6,)),
    ],
)
def test_shapes(step, shape, output):
    assert step.infer(Buffer("input", "input", shape, "float32")) == (output, ("float32",))
    program(step, shape, output)


REFUSED = {
    "weights of rank 2": (conv(weight=np.ones((4, 6), np.float32)), r"weight: .*\(kernel_h, kernel_w, in, out\)"),
    "weights of float64": (conv(weight=np.ones((3, 3, 4, 6))), "weight: expected int8 or uint8"),
    "weights of NaN": (conv(weight=np.full((3, 3, 4, 6), np.nan, np.float32)), "weight: expected finite"),
    "weights of other channels": (conv((3, 3, 5, 6)), r"weight: expected the 4 channels of 'input'"),
    "scales of floats": (conv(weight_scale=np.ones(6, np.float32)), "weight_scale: expected None"),
    "zero points of floats": (conv(weight_zero_point=np.zeros(6, np.int32)), "weight_zero_point: expected None"),
    "few bits of floats": (conv(weight_bits=4), "weight_bits: expected one of|weight_bits: expected 8"),
    "codes without scales": (coded(weight_scale=None), "weight_scale: "),
    "scales too short": (coded(weight_scale=np.ones(5, np.float32)), r"weight_scale: expected float32 \(6,\)"),
    "zero points that are no codes": (coded(weight_zero_point=np.full(6, 200, np.int32)), "weight_zero_point: "),
    "codes beyond their bits": (
        coded(weight=np.full((3, 3, 4, 6), 9, np.int8), weight_bits=4),
        "weight: expected -8",
    ),
    "a bias of int": (conv(bias=np.ones(6, np.int32)), "bias: expected float32"),
    "a bias of infinity": (conv(bias=np.full(6, np.inf, np.float32)), "bias: expected finite"),
    "an activation that there is not": (conv(activation="tanh"), "activation: "),
    "a stride of 0": (conv(stride=(1, 0)), "stride: expected 2 integers of at least 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    step, message = REFUSED[name]
    with pytest.raises(ValueError, match=rf"^step 0, layer 'layer': conv_f32: ({message})"):
        program(step)


def test_codes_are_no_result():
    with pytest.raises(ValueError, match=r"conv_f32: output: expected shape .* float32"):
        program(conv(), dtype="int32")


def test_bytes_as_stored():
    assert conv().nbytes == 216 * 4
    assert coded().nbytes == 216 + 6 * 4
    assert coded(weight_bits=4).nbytes == 6 * 18 + 6 * 4
