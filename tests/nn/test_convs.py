"""Convolution steps as data: the shapes that follow from theirs, and what they refuse, in words that name the field."""

from dataclasses import replace

import numpy as np
import pytest

from qlite.nn.program import Buffer, Program
from qlite.nn.steps import Conv, Gemm, QuantizeDynamic


def conv(weight_shape=(3, 3, 4, 6), **changes):
    out = weight_shape[-1]
    fields = {"weight": np.ones(weight_shape, np.int8), "weight_scale": np.ones(out, np.float32)}
    fields |= {"weight_zero_point": None, "bias": None, "activation": None, "requant": "float", "groups": 1}
    fields |= {"stride": (1, 1), "dilation": (1, 1), "padding": (1, 1, 1, 1)}
    return Conv(**{"inputs": (0,), "output": 1} | fields | changes)


def program(step, shape=(9, 13, 4), output=(9, 13, 6), dtype="uint8"):
    source = Buffer("input", "input", shape, "uint8", 0.1, 3)
    target = Buffer("output", "layer", output, dtype, *((0.1, 3) if dtype == "uint8" else ()))
    return Program([source, target], [step])


@pytest.mark.parametrize(
    "step, shape, output",
    [
        (conv(), (9, 13, 4), (9, 13, 6)),
        (conv(stride=(2, 3), padding=(0, 1, 0, 0)), (8, 13, 4), (4, 4, 6)),
        (conv(dilation=(2, 3), padding=(0, 0, 0, 0)), (9, 13, 4), (5, 7, 6)),
        (conv((3, 3, 1, 8), groups=4), (9, 13, 4), (9, 13, 8)),
        (conv((1, 3, 4, 6), padding=(0, 0, 2, 0)), (13, 4), (13, 6)),
        (conv((3, 3, 4, 6)), (13, 4), (13, 6)),
        (conv((1, 1, 4, 6), padding=(0, 0, 0, 0)), (4,), (6,)),
    ],
)
def test_shapes(step, shape, output):
    x = Buffer("input", "input", shape, "uint8", 0.1, 3)
    assert step.infer(x) == (output, ("uint8", "int8", "float32", "int32"))
    program(step, shape, output)


REFUSED = {
    "float weights": (conv(weight=np.ones((3, 3, 4, 6), np.float32)), "weight: expected int8 or uint8"),
    "weights of rank 2": (conv(weight=np.ones((4, 6), np.int8)), r"weight: .*\(kernel_h, kernel_w, in, out\)"),
    "weights of other channels": (conv((3, 3, 5, 6)), r"weight: expected the 4 channels of 'input'"),
    "groups that do not divide": (conv((3, 3, 2, 5), groups=2), r"weight: .* 5 outputs in 2 groups"),
    "groups of 0": (conv(groups=0), "groups: expected an integer of at least 1, got 0"),
    "groups as a float": (conv(groups=1.0), r"groups: .*got 1\.0"),
    "a window larger than the image": (conv((12, 3, 4, 6)), "weight: expected windows within 11"),
    "one stride": (conv(stride=(1,)), "stride: expected 2 integers of at least 1"),
    "a stride of 0": (conv(stride=(1, 0)), "stride: expected 2 integers of at least 1"),
    "a huge stride": (conv(stride=(1, 2**31)), "stride: expected 2 integers"),
    "a dilation as a list": (conv(dilation=[1, 1]), "dilation: expected 2 integers"),
    "negative padding": (conv(padding=(1, 1, 1, -1)), "padding: expected 4 integers of at least 0"),
    "pairs of padding": (conv(padding=((1, 1), (1, 1))), "padding: expected 4 integers"),
    "scales too short": (conv(weight_scale=np.ones(5, np.float32)), r"weight_scale: expected float32 \(6,\)"),
    "zero points that are no codes": (conv(weight_zero_point=np.full(6, 200, np.int32)), "weight_zero_point: "),
    "a bias of float": (conv(bias=np.ones(6, np.float32)), "bias: expected int32"),
    "an activation that there is not": (conv(activation="tanh"), "activation: "),
    "a rule that there is not": (conv(requant="double"), "requant: "),
    "weights beyond their bits": (conv(weight=np.full((3, 3, 4, 6), 9, np.int8), weight_bits=4), "weight: expected -8"),
    "another multiplier": (conv(weight_scale=np.full(6, 1e30, np.float32)), "weight_scale: .*below 2"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    step, message = REFUSED[name]
    with pytest.raises(ValueError, match=rf"^step 0, layer 'layer': conv: {message}"):
        program(step)


def test_ranks_that_are_refused():
    with pytest.raises(ValueError, match=r"conv: inputs: expected one to three axes"):
        program(conv(), ())


def test_several_images_give_as_many():
    with pytest.raises(ValueError, match=r"conv: output: expected shape \(2, 9, 13, 6\)"):
        program(conv(), (2, 9, 13, 4))


def test_an_image_of_lower_rank_has_one_window_along_what_it_lacks():
    with pytest.raises(ValueError, match=r"conv: padding: expected one window along what 'input' of \(13, 4\) lacks"):
        program(conv((1, 3, 4, 6)), (13, 4), (13, 6))


def test_sums_that_could_overflow():
    """3 * 3 * 4 weights of 1, activations at most 252 from their zero point."""
    limit = 2**31 - 1 - 36 * 252
    program(conv(bias=np.full(6, limit, np.int32)))
    with pytest.raises(OverflowError, match=r"^step 0, layer 'layer': conv: expected sums that int32 holds"):
        program(conv(bias=np.full(6, limit + 1, np.int32)))


def test_sums_have_no_activation():
    program(conv(), dtype="int32")
    with pytest.raises(ValueError, match="conv: activation: "):
        program(conv(activation="relu"), dtype="int32")


def test_bytes_as_stored():
    """Four bits a weight, each output's in whole bytes, beside six scales."""
    weight = np.ones((3, 3, 1, 6), np.int8)
    assert conv(weight=weight, weight_bits=4).nbytes == 6 * 5 + 6 * 4
    assert conv(weight=weight).nbytes == 6 * 9 + 6 * 4


def dynamic(own, step, output):
    buffers = [
        Buffer("input", "input", (9, 13, 4), "float32"),
        Buffer("scale", "input", own, "float32"),
        Buffer("zero_point", "input", own, "int32"),
        Buffer("codes", "input", (9, 13, 4), "uint8", row_scale=1, row_zero_point=2),
        Buffer("output", "layer", output, "float32"),
    ]
    return Program(buffers, [QuantizeDynamic((0,), 3), replace(step, inputs=(3,), output=4)])


def test_scales_of_samples_and_of_rows():
    bias = np.ones(6, np.float32)
    dense = Gemm((3,), 4, np.ones((4, 6), np.int8), np.ones(6, np.float32), None, bias, None, "float")
    dynamic((1, 1, 1), conv(bias=bias), (9, 13, 6))
    dynamic((9, 13, 1), dense, (9, 13, 6))
    with pytest.raises(ValueError, match=r"conv: inputs: .* for each sample, \(1, 1, 1\), got \(9, 13, 1\)"):
        dynamic((9, 13, 1), conv(bias=bias), (9, 13, 6))
    with pytest.raises(ValueError, match=r"gemm: inputs: .* for each row, \(9, 13, 1\), got \(1, 1, 1\)"):
        dynamic((1, 1, 1), dense, (9, 13, 6))
    with pytest.raises(ValueError, match=r"^buffers\[3\]: .* shape \(9, 13, 1\) or \(1, 1, 1\)"):
        dynamic((1, 13, 1), conv(bias=bias), (9, 13, 6))
    with pytest.raises(ValueError, match=r"conv: bias: expected float32"):
        dynamic((1, 1, 1), conv(bias=np.ones(6, np.int32)), (9, 13, 6))
