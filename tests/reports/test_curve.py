from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unmask.core.verdict import Thresholds
from unmask.detectors.weights import Calibration
from unmask.reports.curve import BOTTOM, LEFT, RIGHT, TOP, curve

maybe = st.none() | st.floats(0, 1)


@given(st.floats(0.05, 20), st.floats(-20, 20), maybe, maybe, st.floats(0, 1))
def test_a_mark_stands_in_the_zone_of_its_verdict(
    scale: float, offset: float, fake: float | None, real: float | None, score: float
) -> None:
    thresholds = Thresholds(fake, real)
    drawn = curve(Calibration(scale, offset), thresholds, [("image", score)])
    mark = drawn.marks[0]
    assert LEFT <= mark.x <= RIGHT and TOP <= mark.y <= BOTTOM
    zones = {band.name for band in drawn.bands if band.y - 0.2 <= mark.y <= band.y + band.height + 0.2}
    assert thresholds.decide(score) in zones or any(abs(score - t) < 1e-3 for t in (fake, real, 0, 1) if t is not None)
    assert sum(band.height for band in drawn.bands) == pytest.approx(BOTTOM - TOP, abs=0.5)


def test_the_mark_lies_on_the_line() -> None:
    drawn = curve(Calibration(2.0, -1.0), Thresholds(0.9, 0.1), [("image", 0.5)])
    points = [tuple(map(float, pair.split(","))) for pair in drawn.line.split()]
    mark = drawn.marks[0]
    nearest = min(points, key=lambda point: abs(point[0] - mark.x))
    assert nearest[1] == pytest.approx(mark.y, abs=6)
    assert drawn.x_ticks and {text for _, text in drawn.limits} == {"fake 0.9", "real 0.1"}
