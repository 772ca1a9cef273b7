"""Row 9: keypoints of SIFT, ORB and AKAZE on the face, the eyes and the mouth."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from unmask.core.types import Face, UInt8Image, ViewConfig
from unmask.data.views import views
from unmask.features.base import Feature, Measured, Subject

DETECTORS = ("sift", "orb", "akaze")
REGIONS = ("face", "eyes", "mouth")
_VIEW = ViewConfig(kind="face", size=256, margin=1.3)
_SMALLEST = 32  # shorter side of the face's box, in pixels


class Keypoints(Feature):
    """How many keypoints each detector finds on a part of the face, how dense, and how strong they answer.

    Counts are in the square around the face at 256 pixels. ``density`` is per 1000 pixels of the part, ``response`` the
    sum of the detector's responses per 1000 pixels, so that no keypoint is no response. SURF is patented and in no
    default build of OpenCV; AKAZE stands in.
    """

    name = "keypoints"
    line = "count, density and response of SIFT, ORB and AKAZE keypoints on face, eyes and mouth"
    paper = "Wang et al., 2020; Lowe, 2004; Rublee et al., 2011; Alcantarilla et al., 2013"
    kinds = ("descriptor",)
    needs = ("face",)

    @property
    def columns(self) -> tuple[str, ...]:
        """``DETECTOR REGION MEASURE``."""
        measures = ("count", "density", "response")
        return tuple(f"{d} {r} {m}" for d in DETECTORS for r in REGIONS for m in measures)

    def _measure(self, subjects: Sequence[Subject]) -> list[Measured]:
        return [self._one(subject) for subject in subjects]

    def _one(self, subject: Subject) -> Measured:
        face = subject.face
        assert face is not None
        if face.points is None:
            return Measured("no_landmarks")
        x1, y1, x2, y2 = face.box
        if min(x2 - x1, y2 - y1) < _SMALLEST:
            return Measured("too_small")
        (view,) = views(subject.image, [face], _VIEW)
        left, top, right, _ = view.box
        scale = _VIEW.size / (right - left)
        moved = Face(
            ((x1 - left) * scale, (y1 - top) * scale, (x2 - left) * scale, (y2 - top) * scale),
            face.score,
            tuple(((x - left) * scale, (y - top) * scale) for x, y in face.points),
        )
        return Measured("ok", describe_keypoints(view.pixels, regions(moved, _VIEW.size)))


def regions(face: Face, size: int) -> npt.NDArray[np.bool_]:
    """(3, size, size): face, eyes and mouth as ellipses and discs about the box and the five points."""
    assert face.points is not None
    (ex1, ey1), (ex2, ey2), _, (mx1, my1), (mx2, my2) = face.points
    between, wide = np.hypot(ex2 - ex1, ey2 - ey1), np.hypot(mx2 - mx1, my2 - my1)
    x1, y1, x2, y2 = face.box
    y, x = np.mgrid[:size, :size] + 0.5
    whole = ((x - (x1 + x2) / 2) / (x2 - x1)) ** 2 + ((y - (y1 + y2) / 2) / (y2 - y1)) ** 2 <= 0.25
    eyes = np.minimum(np.hypot(x - ex1, y - ey1), np.hypot(x - ex2, y - ey2)) <= 0.35 * between
    mouth = np.hypot(x - (mx1 + mx2) / 2, y - (my1 + my2) / 2) <= 0.6 * max(wide, 0.5 * between)
    return np.stack([whole, eyes, mouth])


def describe_keypoints(pixels: UInt8Image, parts: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Count, density and response of each detector (:data:`DETECTORS`) in each of the parts (R, H, W) of RGB pixels."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    thousands = parts.sum((1, 2)).clip(min=1) / 1000  # (R,)
    found = []
    for detector in _detectors():
        points = detector.detect(grey, None)
        places = np.array([p.pt for p in points]).reshape(-1, 2)
        response = np.array([p.response for p in points], np.float64)
        column, row = places.round().astype(int).clip(0, np.array(grey.shape[::-1]) - 1).T
        inside = parts[:, row, column]  # (R, N)
        count = inside.sum(1)
        found.append(np.stack([count, count / thousands, inside @ response / thousands], 1))
    return np.stack(found).astype(np.float32).ravel()


@lru_cache(maxsize=1)
def _detectors() -> tuple[Any, ...]:
    """In the order of :data:`DETECTORS`; ORB without its limit of 500 and near the border too."""
    return cv2.SIFT.create(), cv2.ORB.create(nfeatures=20000, edgeThreshold=15, patchSize=15), cv2.AKAZE.create()
