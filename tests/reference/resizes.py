"""Images (samples, height, width, channels) of another height and width."""

import numpy as np
from reference.basics import F32


def nearest_places(length, out, align_corners, half_pixel_centers):
    """Which place of an axis each one of the result is: float32 arithmetic."""
    less = int(align_corners and out > 1)
    scale = F32(length - less) / F32(out - less)
    places = (np.arange(out, dtype=F32) + F32(0.5 * half_pixel_centers)) * scale
    places = np.floor(places + np.float64(0.5)) if align_corners else np.floor(places)
    return np.minimum(places.astype(int), length - 1)


def resize_nearest(x, size, align_corners, half_pixel_centers):
    rows, cols = (
        nearest_places(length, out, align_corners, half_pixel_centers)
        for length, out in zip(x.shape[1:3], size, strict=True)
    )
    return x[:, rows][:, :, cols]


def places_float(length, out, align_corners, half_pixel_centers):
    """XNNPACK's: the two neighbours of each place of the result, and how near the second one is, in float32."""
    less = int(align_corners and out > 1)
    scale = F32(length - less) / F32(out - less)
    places = np.arange(out, dtype=F32) * scale
    if half_pixel_centers:
        places = np.maximum(places + (F32(0.5) * scale - F32(0.5)), F32(0))
    places = np.minimum(places, F32(length - 1))
    first = places.astype(int)
    return first, np.minimum(first + 1, length - 1), places - first.astype(F32)


def places_fixed(length, out, align_corners, half_pixel_centers):
    """TensorFlow Lite's, 10 fraction bits; the second neighbour's weight as an integer."""
    less = int(align_corners and out > 1)
    spaces = out - less
    scale = (1024 * (length - less) + spaces // 2) // spaces
    places = np.arange(out) * scale + (scale // 2 - 512 if half_pixel_centers else 0)
    first = np.clip(places // 1024, 0, length - 1)
    second = np.clip(-(-places // 1024), 0, length - 1)
    return first, second, np.where(first == second, 0, places - 1024 * first)


def mixed(x, axis, places, one):
    """(one - w) * first + w * second along an axis."""
    first, second, weight = places
    weight = weight.reshape(-1, *(1,) * (x.ndim - axis - 1))
    return np.take(x, first, axis) * (one - weight) + np.take(x, second, axis) * weight


def resize_bilinear_codes(x, size, align_corners, half_pixel_centers, fixed):
    """Exact sums of codes as they are, rounded once: ties go up, or away from zero."""
    places = places_fixed if fixed else places_float
    one, sums = 1024 if fixed else 2048, x.astype(np.int64)
    for axis, out in ((1, size[0]), (2, size[1])):
        first, second, weight = places(x.shape[axis], out, align_corners, half_pixel_centers)
        if not fixed:
            weight = np.rint(weight * F32(one)).astype(np.int64)
        sums = mixed(sums, axis, (first, second, weight), one)
    if fixed:
        y = np.sign(sums) * ((np.abs(sums) + one * one // 2) // (one * one))
    else:
        y = (sums + one * one // 2) // (one * one)
    return y.astype(x.dtype)


def resize_bilinear_floats(x, size, align_corners, half_pixel_centers):
    """a + (b - a) * w, every operation rounded to float32: along rows of pixels first."""
    y = x
    with np.errstate(over="ignore", invalid="ignore"):
        for axis, out in ((2, size[1]), (1, size[0])):
            first, second, weight = places_float(x.shape[axis], out, align_corners, half_pixel_centers)
            weight = weight.reshape(-1, *(1,) * (x.ndim - axis - 1))
            a, b = np.take(y, first, axis), np.take(y, second, axis)
            y = a + (b - a) * weight
    return y
