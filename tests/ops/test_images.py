"""Products of float images with filters and their gradients, next to sums in float64."""

import numpy as np
import pytest
from reference import images as reference

from qlite.ops import images

#: Least count of rounding errors of float32, relative to the sum of magnitudes, that results may be off by: those of
#: sums of up to 2,000 terms added one by one.
BUDGET = 2000 * 2.0**-24


def random_case(rng):
    """Images, weights and options (stride, dilation, padding, groups) of any kind."""
    kind = rng.integers(4)
    groups = (1, 1, int(rng.integers(2, 4)), int(rng.integers(2, 20)))[kind]
    channels, own = (int(n) for n in rng.integers(1, 7, 2))
    if kind == 3:  # depthwise
        channels, own = 1, int(rng.integers(1, 3))
    kernel, stride = (tuple(int(n) for n in rng.integers(1, 4, 2)) for _ in range(2))
    dilation, padding = (tuple(int(n) for n in rng.integers(low, 3, n)) for low, n in ((1, 2), (0, 4)))
    if rng.random() < 0.2:
        kernel, stride, padding = (1, 1), (1, 1), (0, 0, 0, 0)
    x = rng.normal(size=(int(rng.integers(0, 4)), *rng.integers(6, 12, 2), channels * groups)).astype(np.float32)
    weight = rng.normal(size=(*kernel, channels, own * groups)).astype(np.float32)
    return x, weight, (stride, dilation, padding, groups)


def product(x, weight, stride, dilation, padding, groups):
    """The convolution in float64."""
    kh, kw, channels, out = weight.shape
    seen = reference.columns(x.astype(np.float64), (kh, kw), stride, dilation, padding)
    parts = seen.reshape(*seen.shape[:5], groups, channels)
    split = weight.astype(np.float64).reshape(kh, kw, channels, groups, out // groups)
    return np.einsum("nijuvgc,uvcgo->nijgo", parts, split).reshape(*seen.shape[:3], out)


def gradients(x, weight, gradient, stride, dilation, padding, groups):
    """Those of images and weights, in float64."""
    kh, kw, channels, out = weight.shape
    seen = reference.columns(x.astype(np.float64), (kh, kw), stride, dilation, padding)
    parts = seen.reshape(*seen.shape[:5], groups, channels)
    split = weight.astype(np.float64).reshape(kh, kw, channels, groups, out // groups)
    of_result = gradient.astype(np.float64).reshape(*seen.shape[:3], groups, out // groups)
    of_weight = np.einsum("nijuvgc,nijgo->uvcgo", parts, of_result).reshape(weight.shape)
    of_columns = np.einsum("nijgo,uvcgo->nijuvgc", of_result, split).reshape(seen.shape)
    return reference.add_columns(of_columns, x.shape, stride, dilation, padding), of_weight


def close(got, expected, magnitude):
    assert got.dtype == np.float32
    assert got.shape == expected.shape
    assert np.all(np.abs(got - expected) <= BUDGET * np.maximum(magnitude, np.finfo(np.float32).tiny))


@pytest.mark.parametrize("seed", range(60))
def test_convolution_and_gradients(seed):
    rng = np.random.default_rng(seed)
    x, weight, options = random_case(rng)
    y, sizes = product(x, weight, *options), product(np.abs(x), np.abs(weight), *options)
    close(images.conv2d_f32(x, weight, *options), y, sizes)
    out = np.empty(y.shape, np.float32)
    assert images.conv2d_f32(x, weight, *options, out=out) is out
    close(out, y, sizes)
    gradient = rng.normal(size=y.shape).astype(np.float32)
    expected = gradients(x, weight, gradient, *options)
    sizes = gradients(np.abs(x), np.abs(weight), np.abs(gradient), *options)
    got = images.conv2d_gradients_f32(x, weight, gradient.copy(), *options)
    for one, other, size in zip(got, expected, sizes, strict=True):
        close(one, other, size)
    nothing, of_weight = images.conv2d_gradients_f32(x, weight, gradient, *options, needs_input=False)
    assert nothing is None
    np.testing.assert_array_equal(of_weight, got[1])


def test_many_images():
    """More than are worked on at once."""
    rng = np.random.default_rng(0)
    for stride, groups in (((1, 1), 1), ((2, 2), 1), ((1, 1), 2), ((2, 1), 16)):
        x = rng.normal(size=(40, 30, 29, 16)).astype(np.float32)
        weight = rng.normal(size=(3, 3, 16 // groups, 16)).astype(np.float32)
        options = stride, (1, 1), (1, 1, 1, 1), groups
        y = images.conv2d_f32(x, weight, *options)
        gradient = rng.normal(size=y.shape).astype(np.float32)
        whole = images.conv2d_gradients_f32(x, weight, gradient, *options)
        parts = [images.conv2d_gradients_f32(x[i : i + 1], weight, gradient[i : i + 1], *options) for i in range(40)]
        close(y, np.concatenate([images.conv2d_f32(x[i : i + 1], weight, *options) for i in range(40)]), 144)
        close(whole[0], np.concatenate([part[0] for part in parts]), 144)
        close(whole[1], np.sum([part[1] for part in parts], axis=0, dtype=np.float64), np.float64(y.size))


def test_pools_return_what_they_took():
    """Gradients of ones add up to the number of results: each goes to one pixel, or in shares to several."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(3, 9, 8, 5)).astype(np.float32)
    options = (3, 2), (2, 2), (1, 1, 0, 1)
    y, index = images.max_pool_f32(x, *options, keep_index=True)
    assert index.shape == y.shape
    assert images.max_pool_f32(x, *options)[1] is None
    pixels = x.reshape(3, 72, 5)
    np.testing.assert_array_equal(np.take_along_axis(pixels, index.reshape(3, -1, 5), axis=1).reshape(y.shape), y)
    back = images.max_pool_gradient_f32(np.ones_like(y), index, x.shape, *options)
    assert back.sum() == y.size
    mean = images.average_pool_f32(x, *options)
    assert mean.shape == y.shape
    back = images.average_pool_gradient_f32(np.ones_like(mean), x.shape, *options)
    np.testing.assert_allclose(back.sum(dtype=np.float64), mean.size, rtol=1e-6)
