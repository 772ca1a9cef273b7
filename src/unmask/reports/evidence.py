"""What a verdict rests on: the arrays behind one answer, as the analyzer hands them to the report."""

from __future__ import annotations

from dataclasses import dataclass

from unmask.core.types import Answers, Face, FloatMap
from unmask.data.intake import Decoded
from unmask.detectors.base import AnyDetector
from unmask.detectors.scoring import ImageScore
from unmask.detectors.weights import Calibration


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """One loaded detector with what its card says."""

    name: str
    """Name or file stem of the weights."""
    design: str
    """Name of the design in the zoo."""
    detector: AnyDetector
    answers: Answers
    calibration: Calibration
    """Its own."""
    mask_threshold: float
    """A pixel is marked from this probability on."""
    sha256: str
    """Of the weights file."""
    command: str
    """The command that made the weights; empty when the card does not say."""
    far: float | None = None
    """Farther than this from every real image it remembers, an image is like nothing it knows to be real; None where it
    remembers none, or validation data could not settle it."""


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Everything the report shows beside the verdict. Holds the decoded image: keep only what you need."""

    decoded: Decoded
    faces: tuple[Face, ...]
    results: tuple[tuple[Member, ImageScore], ...]
    """What each detector said, before calibration."""
    heatmap: FloatMap | None
    """(H, W) manipulated-pixel probability in the upright image, 0 where no view looked; None without a localizer."""
    mask_threshold: float
    """Where the heatmap is cut into the predicted mask."""
    calibration: Calibration
    """The last one: from the (combined) logit to the score."""
