"""Functions of float32, and gradients through them: in float64 and rounded once, unless they need no exponential."""

import math

import numpy as np
from reference.basics import F32, fma

F64 = np.float64
#: Of e^r, and of erfc(a) exp(a^2) / 2 = t P(2 t - 1), t = 1 / (1 + 0.4 a); the lowest power first.
SERIES = [1 / math.factorial(n) for n in range(14)]
TAIL = [0.21080636406114373, 0.16093037156225332, 0.09078282451151808, 0.03425018158922338,
        0.005672276807451531, -0.0016782174964307375, -0.0009634888568860306, 8.642208560726597e-05,
        0.00013960338891581006, -9.038697891051426e-06, -2.0915876571909594e-05, 1.3226970850345532e-06,
        2.2944000114536244e-06]  # fmt: skip
AREA_TANGENT = [1 / (2 * n + 1) for n in range(14)]
#: In float32: (e^r - 1 - r) / r^2, and erfc(a / sqrt(2)) exp(a^2 / 2) / 2 by t - 1 / 4, t = 1 / (1 + 0.335 a).
SHORT_SERIES = [0.499999940, 0.166665196, 0.0416683927, 0.00836878084, 0.00138144672]
SHORT_TAIL = [0.0440126464, 0.229214902, 0.263453661, 0.236614916, 0.140915038, 0.0164414152,
              -0.0540754094, -0.0733836535, 0.0907787364, -0.0278989018]  # fmt: skip


def polynomial(c, x):
    """Of degree 12 or 13, its terms added in pairs."""
    x2 = x * x
    x4 = x2 * x2
    low = (c[0] + x * c[1] + x2 * (c[2] + x * c[3])) + x4 * (c[4] + x * c[5] + x2 * (c[6] + x * c[7]))
    last = c[12] + x * c[13] if len(c) > 13 else c[12]
    high = c[8] + x * c[9] + x2 * (c[10] + x * c[11]) + x4 * last
    return low + x4 * x4 * high


def exp(x):
    """e^x of float64 x <= 0: the core's own, by the same steps."""
    inside = np.where(x < -709, -709.0, x)
    shifted = inside * float.fromhex("0x1.71547652b82fep+0") + 1.5 * 2.0**52
    k = shifted - 1.5 * 2.0**52
    r = (inside - k * float.fromhex("0x1.62e42feep-1")) - k * float.fromhex("0x1.a39ef35793c76p-33")
    return polynomial(SERIES, r) * ((shifted.view(np.uint64) + np.uint64(1023)) << np.uint64(52)).view(F64)


def exp_sum_f32(x, rest):
    """e^(x + rest) of float32, -88 <= x <= 0: the core's own, by the same steps."""
    c, shift = np.float32(SHORT_SERIES), F32(1.5 * 2.0**23 + 127)
    shifted = fma(x, F32(float.fromhex("0x1.715476p+0")), shift)
    k = shifted - shift
    r = fma(-k, F32(float.fromhex("0x1.62e43p-1")), x) + fma(-k, F32(float.fromhex("-0x1.05c61p-29")), rest)
    r2 = r * r
    high = fma(r2, c[4], fma(r, c[3], c[2]))
    total = fma(r2, fma(r2, high, fma(r, c[1], c[0])), 1 + r)
    return total * (shifted.view(np.uint32) << np.uint32(23)).view(F32)


def exp_f32(x):
    """e^x of float32 x <= 0."""
    return exp_sum_f32(np.where(x < -88, F32(-88), x), F32(0))


def sum_of_rows(x):
    """Sums of float64 along the last axis: eight partial sums, then these."""
    n = x.shape[-1]
    lanes = np.zeros((*x.shape[:-1], 8))
    for first in range(0, n, 8):
        part = x[..., first : first + 8]
        lanes[..., : part.shape[-1]] += part
    a, b, c, d, e, f, g, h = np.moveaxis(lanes, -1, 0)
    return ((a + e) + (c + g)) + ((b + f) + (d + h))


def layer_norm(x, gamma, beta, epsilon):
    """Of rows of float32: mean and variance in float64, the normalized value rounded, then scaled and shifted."""
    x, n = x.astype(F64), x.shape[-1]
    mean = sum_of_rows(x)[..., None] / n
    variance = sum_of_rows((x - mean) * (x - mean))[..., None] / n
    return ((x - mean) * (1 / np.sqrt(variance + epsilon))).astype(F32) * gamma + beta


def logistic(x, e):
    return np.where(x < 0, e, e.dtype.type(1)) / (1 + e)


def share_below(x, exponential):
    """The normal distribution's, given exp(-x^2 / 2)."""
    t = 1 / (1 + 0.4 * (np.abs(x) * float.fromhex("0x1.6a09e667f3bcdp-1")))
    tail = exponential * (t * polynomial(TAIL, 2 * t - 1))
    return np.where(x < 0, tail, 1 - tail)


def tanh(x):
    a = np.abs(x)
    e = exp(-2 * a)
    t = np.where(a < 2.0**-12, a - a * a * a / 3, (1 - e) / (1 + e))
    return np.copysign(t.astype(F32), x)


def hard_swish(x):
    x = x.astype(F32)
    return x * np.clip(x + F32(3), 0, 6) / F32(6)


def elu(x):
    """With the series where exp(x) - 1 loses digits."""
    a = np.where(x < 0, x, 0.0)
    return np.where(x < 0, np.where(a > -(2.0**-12), a + a * a * 0.5 + a * a * a / 6, exp(a) - 1), x)


def hard_sigmoid(x):
    return np.clip(x.astype(F32) + F32(3), 0, 6) / F32(6)


def softplus(x):
    """max(x, 0) and log(1 + e), e = exp(-|x|), which is twice the area tangent of e / (2 + e)."""
    e = exp(-np.abs(x))
    z = e / (2 + e)
    return np.where(x < 0, 0, x) + 2 * z * polynomial(AREA_TANGENT, z * z)


def gelu(x):
    """In float32, as the core does."""
    x = x.astype(F32)
    a = np.where(np.abs(x) < 13.25, np.abs(x), F32(13.25))
    half = F32(-0.5) * a
    square = half * a
    exponential = exp_sum_f32(square, fma(half, a, -square))
    t = 1 / fma(a, F32(0.335), F32(1)) - F32(0.25)
    t2, c = t * t, np.float32(SHORT_TAIL)
    t4 = t2 * t2
    low = fma(t2, fma(t, c[3], c[2]), fma(t, c[1], c[0]))
    high = fma(t4, fma(t, c[9], c[8]), fma(t2, fma(t, c[7], c[6]), fma(t, c[5], c[4])))
    return fma(-exponential, a * fma(t4, high, low), np.where(x < 0, F32(0), x))


def softmax(x):
    """In float32, but for the sum of the exponentials."""
    x = x.astype(F32)
    e = exp_f32(x - x.max(axis=-1, keepdims=True))
    return e * (1 / sum_of_rows(e.astype(F64)))[..., None].astype(F32)


FUNCTIONS = {
    None: lambda x, slope: x,
    "relu": lambda x, slope: np.where(x < 0, 0, x),
    "relu6": lambda x, slope: np.clip(x, 0, 6),
    "leaky_relu": lambda x, slope: x.astype(F32) * np.where(x < 0, F32(slope), F32(1)),
    "sigmoid": lambda x, slope: logistic(x.astype(F32), exp_f32(-np.abs(x.astype(F32)))),
    "tanh": lambda x, slope: tanh(x),
    "gelu": lambda x, slope: gelu(x),
    "silu": lambda x, slope: x * logistic(x, exp(-np.abs(x))),
    "hard_swish": lambda x, slope: hard_swish(x),
    "elu": lambda x, slope: elu(x),
    "hard_sigmoid": lambda x, slope: hard_sigmoid(x),
    "softplus": lambda x, slope: softplus(x),
    "softmax": lambda x, slope: softmax(x),
}


def apply(name, x, slope=0.01, bias=None):
    """A function of float32 values, as float32."""
    with np.errstate(all="ignore"):
        x = x if bias is None else x + bias
        return FUNCTIONS[name](x.astype(F64), slope).astype(F32)


def silu_slope(z):
    s = logistic(z, exp(-np.abs(z)))
    return s * (1 + z * (1 - s))


def bell(z):
    """e / (1 + e)^2 with e = exp(-|z|): the sigmoid's slope."""
    e = exp(-np.abs(z))
    return e / ((1 + e) * (1 + e))


def gelu_slope(z):
    exponential = exp(-0.5 * z * z)
    return share_below(z, exponential) + z * (0.3989422804014327 * exponential)


def hard_swish_slope(z):
    z = z.astype(F32)
    return np.where((z > -3) & (z < 3), z / F32(3) + F32(0.5), np.where(z < 3, F32(0), F32(1)))


SLOPES = {
    None: lambda z, slope: np.ones_like(z),
    "relu": lambda z, slope: z > 0,
    "relu6": lambda z, slope: (z > 0) & (z < 6),
    "leaky_relu": lambda z, slope: np.where(z > 0, F32(1), F32(slope)),
    "sigmoid": lambda z, slope: bell(z),
    "tanh": lambda z, slope: 4 * exp(-2 * np.abs(z)) / ((1 + exp(-2 * np.abs(z))) * (1 + exp(-2 * np.abs(z)))),
    "gelu": lambda z, slope: gelu_slope(z),
    "silu": lambda z, slope: silu_slope(z),
    "hard_swish": lambda z, slope: hard_swish_slope(z),
    "elu": lambda z, slope: exp(np.where(z < 0, z, 0.0)),
    "hard_sigmoid": lambda z, slope: np.where((z > -3) & (z < 3), 1 / 6, 0.0),
    "softplus": lambda z, slope: logistic(z, exp(-np.abs(z))),
}


def gradient(name, g, z, slope=0.01):
    """The gradient of a function's argument z, from that of its result, and its sum over all rows."""
    with np.errstate(all="ignore"):
        if name == "softmax":
            p, g = z.astype(F64), g.astype(F64)
            g = (p * (g - np.cumsum(p * g, axis=-1)[..., -1:])).astype(F32)
        else:
            g = g * SLOPES[name](z.astype(F64), slope).astype(F32)
    total = np.zeros(g.shape[-1], F32)
    for row in g.reshape(-1, g.shape[-1]):
        total += row
    return g, total
