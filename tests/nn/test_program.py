"""Programs as data: what makes no sense is refused before it runs."""

import pytest

from qlite.nn.program import Buffer, Dequantize, Program, Quantize


def test_programs_whose_buffers_make_no_sense():
    a, codes, y = (Buffer("a", "a", 3, "float32"), Buffer("b", "a", 3, "uint8", 1.0, 0), Buffer("y", "a", 3, "float32"))
    with pytest.raises(ValueError, match=r"^buffers: .*'b'"):
        Program([a, codes, codes, y], [Quantize(0, 1), Dequantize(1, 3)])
    with pytest.raises(ValueError, match=r"^output: .*'y'"):
        Program([a, codes, y], [Quantize(0, 1)])
