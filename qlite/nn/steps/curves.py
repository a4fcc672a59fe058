"""Functions that products of codes apply to what their sums stand for, before it becomes codes."""

from dataclasses import dataclass, field

import numpy as np

from qlite.nn.steps.checks import expect, of_shape, one_of, scales

CURVES = ("prelu", "leaky_relu", "hard_swish", "hard_sigmoid")


@dataclass(frozen=True, eq=False)
class Curved:
    """What such a step has besides: the fields of the activation that it took in, and what lay between.

    `slope` are the codes of the slopes of "prelu" (see `Prelu`), `slope_scale` their scale, or that of "leaky_relu" the
    slope. The `inner` fields are the name and the grid of the codes that would be between the product and the function
    if it were a step of its own: other targets have that.
    """

    curve: str | None = field(default=None, kw_only=True)
    slope: np.ndarray | None = field(default=None, kw_only=True)
    slope_scale: float | None = field(default=None, kw_only=True)
    slope_zero_point: int | None = field(default=None, kw_only=True)
    inner_name: str | None = field(default=None, kw_only=True)
    inner_scale: float | None = field(default=None, kw_only=True)
    inner_zero_point: int | None = field(default=None, kw_only=True)

    def check_curve(self, outputs: int) -> None:
        """Refuse fields that do not belong together."""
        one_of("curve", self.curve, (None, *CURVES))
        if self.curve is None:
            for name in ("slope", "slope_scale", "slope_zero_point", "inner_name", "inner_scale", "inner_zero_point"):
                expect(getattr(self, name) is None, f"{name}: expected None without a curve")
            return
        is_named = isinstance(self.inner_name, str) and isinstance(self.inner_scale, float)
        expect(is_named and type(self.inner_zero_point) is int, "inner_name: expected a name, a scale and a zero point")
        for name in ("slope", "slope_zero_point"):
            is_given = getattr(self, name) is not None
            expect(is_given == (self.curve == "prelu"), f"{name}: expected that of 'prelu' alone")
        needs_scale = self.curve in ("prelu", "leaky_relu")
        expect(isinstance(self.slope_scale, float) == needs_scale, f"slope_scale: expected none for {self.curve!r}")
        if self.slope_scale is not None:
            scales("slope_scale", np.array([self.slope_scale], np.float32), (1,))
        if self.slope is not None:
            of_shape("slope", self.slope, np.int8, (outputs,))

    def slopes(self, outputs: int) -> np.ndarray | None:
        """Return the slopes below zero of each output as float32, where the curve has some."""
        if self.slope_scale is None:
            return None
        if self.slope is None or self.slope_zero_point is None:
            return np.full(outputs, self.slope_scale, np.float32)
        return (self.slope.astype(np.int32) - self.slope_zero_point).astype(np.float32) * np.float32(self.slope_scale)
