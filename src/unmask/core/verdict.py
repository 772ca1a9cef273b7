"""The answer: one typed record per file, and its one-line JSON form."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal

VerdictName = Literal["fake", "real", "uncertain"]
Status = Literal["ok", "no_face", "error"]
Kind = Literal["edited", "generated"]


@dataclass(frozen=True, slots=True)
class Scores:
    """Calibrated probabilities of the two questions; None where no loaded detector asks it."""

    edited: float | None = None
    generated: float | None = None


@dataclass(frozen=True, slots=True)
class Thresholds:
    """``fake`` at or above ``fake``; ``real`` below ``real``; None where validation data could not settle it."""

    fake: float | None = None
    real: float | None = None

    def decide(self, score: float | None) -> VerdictName:
        """The verdict for a calibrated score; between the thresholds, and between crossed ones, ``uncertain``.

        >>> [Thresholds(fake=0.9, real=0.2).decide(score) for score in (0.1, 0.2, 0.9, None)]
        ['real', 'uncertain', 'fake', 'uncertain']
        >>> [Thresholds(fake=0.4, real=0.6).decide(score) for score in (0.3, 0.5, 0.6)]  # crossed
        ['real', 'uncertain', 'fake']
        >>> Thresholds(fake=0.9, real=None).decide(0.0)
        'uncertain'
        """
        fake = score is not None and self.fake is not None and score >= self.fake
        real = score is not None and self.real is not None and score < self.real
        return "uncertain" if fake == real else "fake" if fake else "real"


@dataclass(frozen=True, slots=True)
class FaceVerdict:
    """What is said about one face."""

    box: tuple[float, float, float, float]
    """(x1, y1, x2, y2) in pixels of the upright image."""
    score: float | None
    """Calibrated P(fake); None when the detectors score the whole frame and no single face."""
    verdict: VerdictName | None
    """None where ``score`` is."""
    mask_area: float | None
    """Share of the box's pixels marked as forged, in [0, 1]; None when nothing loaded localizes."""
    mask: str | None = None
    """Path of a PNG (0 or 255, the size and orientation of the stored file), written with the report; else None."""


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """Why a file could not be analysed."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class EditedVerdict:
    """What is said about the photo after one benign edit."""

    edit: str
    """Name of the degradation."""
    severity: int
    """1 (light) to 5 (strong)."""
    verdict: VerdictName
    score: float | None


@dataclass(frozen=True, slots=True)
class Stability:
    """How far a verdict survives benign edits of the photo: codecs, resizing, cropping, overlays and the like."""

    edits: int
    """How many edited versions were judged."""
    survived: int
    """Of them, those with the same verdict as the photo itself."""
    share: float
    """``survived / edits``."""
    score_low: float | None
    """Lowest score of the photo and its edited versions; None where no version has one."""
    score_high: float | None
    mask_iou: float | None
    """Mean over the versions of the IoU of the photo's mask with the version's, put back on the photo and compared
    where it is still seen; None when nothing is marked in any, or nothing loaded localizes."""
    changed: tuple[EditedVerdict, ...]
    """The versions with another verdict."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share of held-out images, with its 95 % Clopper-Pearson limits (images taken as independent)."""

    count: int
    n: int
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Standing:
    """How many held-out images, of people that the weights never learned from, score at least as high as this one."""

    real: Share
    """Of genuine photos: what the score of a genuine photo reaches by chance."""
    fake: Share
    """Of forgeries."""
    groups: int
    """People (or videos) they come from."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer for one file. :meth:`to_json` is the line that ``unmask detect --json`` prints."""

    path: str | None
    """As given; None for bytes and arrays. Bytes of a name that are no UTF-8 are lone surrogates (``os.fsencode``)."""
    sha256: str | None
    """Of the file's bytes; None when they could not be read, and for arrays."""
    status: Status
    verdict: VerdictName | None
    """None on error."""
    kind: Kind | None
    """Which question made it fake; None unless the verdict is ``fake`` and one question stands out."""
    score: float | None
    """Calibrated P(fake) of the most suspicious face, or of the whole frame when the detector takes frames."""
    scores: Scores
    thresholds: Thresholds
    faces: tuple[FaceVerdict, ...]
    detector: str
    weights_sha256: str
    reasons: tuple[str, ...]
    """``"code: plain words"``: what intake did to the pixels, and why the verdict is weaker than the score."""
    error: ErrorInfo | None = None
    standing: Standing | None = None
    """The score among those of held-out images; None without a score, or where the weights carry none."""
    stability: Stability | None = None
    """Where it was asked for (``--stability``)."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, in the documented order of keys."""
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        """One line of pure ASCII JSON; no nan, no infinity.

        >>> line = Verdict("a.jpg", None, "error", None, None, None, Scores(), Thresholds(), (), "default", "", (),
        ...                ErrorInfo("truncated", "the file ends early")).to_json()
        >>> "\\n" in line, json.loads(line)["error"]["code"]
        (False, 'truncated')
        """
        return json.dumps(self.to_dict(), allow_nan=False)
