"""Where a score stands: the calibration curve with its thresholds, as coordinates for an inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unmask.core.verdict import Thresholds, VerdictName
from unmask.detectors.scoring import probability
from unmask.detectors.weights import Calibration

WIDTH, HEIGHT = 380, 230
LEFT, RIGHT, TOP, BOTTOM = 38, 374, 8, 200
REACH = 6.0
"""The curve is drawn for calibrated logits within this distance of 0; scores beyond stand at the edge."""


@dataclass(frozen=True, slots=True)
class Band:
    """A horizontal zone of the plot in which the verdict is ``name``."""

    name: VerdictName
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Mark:
    """One score on the curve."""

    label: str
    x: float
    y: float
    label_y: float
    """Base line of the label: beside the mark, moved down where labels would overlap."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Everything the SVG template needs, in the units of its view box."""

    line: str
    """``points`` of the polyline."""
    bands: tuple[Band, ...]
    marks: tuple[Mark, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    limits: tuple[tuple[float, str], ...]
    """Thresholds: height and text."""


def _y(score: float) -> float:
    return round(BOTTOM - score * (BOTTOM - TOP), 1)


def curve(calibration: Calibration, thresholds: Thresholds, scores: Sequence[tuple[str, float]]) -> Curve:
    """Place labelled calibrated scores on the curve ``sigmoid(scale * logit + offset)``; x is the detector's logit.

    >>> drawn = curve(Calibration(), Thresholds(0.9, 0.2), [("image", 0.5)])
    >>> [band.name for band in drawn.bands], drawn.marks[0].x
    (['real', 'uncertain', 'fake'], 206.0)
    """
    low, high = ((side * REACH - calibration.offset) / calibration.scale for side in (-1, 1))

    def x(logit: float) -> float:
        return round(LEFT + (min(max(logit, low), high) - low) / (high - low) * (RIGHT - LEFT), 1)

    def logit_of(score: float) -> float:
        inside = min(max(score, 1e-9), 1 - 1e-9)
        return (math.log(inside / (1 - inside)) - calibration.offset) / calibration.scale

    logits = np.linspace(low, high, 61)
    line = " ".join(f"{x(v)},{_y(probability(v, calibration.scale, calibration.offset))}" for v in logits.tolist())
    edges = _edges(thresholds)
    bands = tuple(Band(name, _y(top), round(_y(bottom) - _y(top), 1)) for name, bottom, top in edges if top > bottom)
    marks = []
    last = -math.inf
    for label, score in sorted(scores, key=lambda named: -named[1]):
        last = max(_y(score) + 4, TOP + 12, last + 13)
        marks.append(Mark(label, x(logit_of(score)), _y(score), round(last, 1)))
    step = _step((high - low) / 5)
    ticks = np.arange(math.ceil(low / step), math.floor(high / step) + 1) * step
    named = (("fake", thresholds.fake), ("real", thresholds.real))
    return Curve(
        line=line,
        bands=bands,
        marks=tuple(marks),
        x_ticks=tuple((x(tick), f"{tick:.4g}") for tick in ticks.tolist()),
        y_ticks=tuple((_y(value), f"{value:g}") for value in (0, 0.25, 0.5, 0.75, 1)),
        limits=tuple((_y(value), f"{name} {value:.3g}") for name, value in named if value is not None),
    )


def _edges(thresholds: Thresholds) -> list[tuple[VerdictName, float, float]]:
    """The three zones as (verdict, from score, to score); a zone that never happens is empty."""
    fake, real = thresholds.fake, thresholds.real
    low = 0.0 if real is None else real if fake is None else min(real, fake)
    high = 1.0 if fake is None else fake if real is None else max(real, fake)
    return [("real", 0.0, low), ("uncertain", low, high), ("fake", high, 1.0)]


def _step(rough: float) -> float:
    """The nearest 1, 2 or 5 times a power of ten at or above ``rough``."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
