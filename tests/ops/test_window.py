"""The options of sliding windows, next to the counting of positions one by one."""

import pytest

from qlite.ops.window import window


def positions(n, kernel, stride, dilation, before, after):
    """How many windows lie inside, counted."""
    span = (kernel - 1) * dilation
    return sum(start + span < n + before + after for start in range(0, n + before + after, stride))


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 28, 29])
@pytest.mark.parametrize("kernel, stride, dilation", [(1, 1, 1), (3, 1, 1), (3, 2, 1), (2, 2, 1), (3, 1, 2), (2, 5, 3)])
def test_lengths(n, kernel, stride, dilation):
    _, _, ((top, bottom), sides), (height, width) = window("", (n, n), (kernel, kernel), stride, "same", dilation)
    assert height == width == -(-n // stride) == positions(n, kernel, stride, dilation, top, bottom)
    assert sides == (top, bottom) and bottom - top in (0, 1)
    for before, after in ((0, 0), (1, 1), (0, 2), (3, 1)):
        if n + before + after > (kernel - 1) * dilation:
            padding = ((before, after), (before, after))
            out = window("", (n, n), (kernel, kernel), stride, padding, dilation)[3]
            assert out == (positions(n, kernel, stride, dilation, before, after),) * 2


def test_forms():
    expected = (2, 2), (1, 1), ((0, 0), (0, 0)), (4, 5)
    for padding in ("valid", 0, ((0, 0), (0, 0)), [[0, 0], [0, 0]]):
        assert window("", (8, 10), (2, 2), 2, padding, 1) == expected
    assert window("", (8, 10), (2, 2), (2, 2), "valid", [1, 1]) == expected
    assert window("", (8, 10), (3, 1), (2, 3), ((1, 0), (0, 2)), 1) == ((2, 3), (1, 1), ((1, 0), (0, 2)), (4, 4))


@pytest.mark.parametrize(
    "error, message, changed",
    [
        (ValueError, "stride", {"stride": 0}),
        (ValueError, "stride", {"stride": (1, 2, 3)}),
        (TypeError, "stride", {"stride": 1.5}),
        (TypeError, "stride", {"stride": True}),
        (TypeError, "stride", {"stride": "2"}),
        (ValueError, "dilation", {"dilation": (1, -1)}),
        (ValueError, "padding", {"padding": "full"}),
        (ValueError, "padding", {"padding": -1}),
        (ValueError, "padding", {"padding": (1, 1)}),
        (ValueError, "padding", {"padding": ((1, 1), (1, 1, 1))}),
        (ValueError, "padding", {"padding": 10**30}),
        (TypeError, "padding", {"padding": 0.0}),
        (TypeError, "padding", {"padding": None}),
        (ValueError, "x", {"kernel_hw": (5, 2)}),
        (ValueError, "x", {"kernel_hw": (3, 3), "dilation": 2}),
        (ValueError, "x", {"in_hw": (0, 4), "padding": "same"}),
    ],
)
def test_refuses(error, message, changed):
    options = {"in_hw": (4, 4), "kernel_hw": (2, 2), "stride": 1, "padding": 0, "dilation": 1} | changed
    with pytest.raises(error, match=f"^{message}: expected"):
        window("", **options)
    with pytest.raises(error, match=f"^layer 3: {message}: expected"):
        window("layer 3: ", **options)
