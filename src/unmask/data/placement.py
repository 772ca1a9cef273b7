"""Where a photo's content lies after an edit that moves it: cropped, shown on a screen, sent at another size."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from unmask.core.types import Face, FloatMap, Landmarks, UInt8Image

LEAST_FACE = 0.5
"""A face of which less than this share of its box is left in the frame counts as cut off."""


@dataclass(frozen=True, slots=True)
class Placement:
    """The whole photo resized to ``inner`` and laid into a frame ``after``, what hangs over cut off.

    >>> place = Placement((40, 60), inner=(20, 30), top=5, left=-10, after=(30, 30))
    >>> place.face(Face((30.0, 0.0, 50.0, 40.0))).box
    (5.0, 5.0, 15.0, 25.0)
    >>> place.mask(np.ones((40, 60), np.float32)).sum(), place.moved
    (np.float32(400.0), True)
    """

    before: tuple[int, int]
    """Height and width of the photo."""
    inner: tuple[int, int]
    """Height and width of the photo's content in the frame, the part that is cut off included."""
    top: int
    """Row of the frame at which the content starts; negative where its top is cut off."""
    left: int
    after: tuple[int, int]
    """Height and width of the frame."""

    @classmethod
    def still(cls, shape: tuple[int, int]) -> Placement:
        """Content that stays where it is."""
        return cls(shape, shape, 0, 0, shape)

    @property
    def moved(self) -> bool:
        """False when every pixel is where it was."""
        return (self.inner, self.top, self.left, self.after) != (self.before, 0, 0, self.before)

    def _parts(self) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """What is seen of the content, as a place in the frame and as a place in the content."""
        y1, x1 = max(self.top, 0), max(self.left, 0)
        y2, x2 = min(self.top + self.inner[0], self.after[0]), min(self.left + self.inner[1], self.after[1])
        inside = slice(y1 - self.top, y2 - self.top), slice(x1 - self.left, x2 - self.left)
        return (slice(y1, y2), slice(x1, x2)), inside

    def image(self, image: UInt8Image, background: tuple[int, int, int] = (0, 0, 0)) -> UInt8Image:
        """The frame with the photo (H, W, 3) in it, area averages where it shrinks and bicubic where it grows."""
        where, inside = self._parts()
        frame = np.empty((*self.after, 3), np.uint8)
        frame[:] = background
        frame[where] = _resized(image, self.inner, cv2.INTER_CUBIC)[inside]
        return frame

    def mask(self, mask: FloatMap) -> FloatMap:
        """A map (H, W) in [0, 1] over the photo as one over the frame, 0 where the photo is not."""
        if not self.moved:
            return mask
        where, inside = self._parts()
        frame = np.zeros(self.after, np.float32)
        frame[where] = _resized(mask, self.inner, cv2.INTER_LINEAR)[inside]
        return frame.clip(0.0, 1.0)

    def back(self, values: FloatMap) -> FloatMap:
        """A map over the frame put back on the photo (H, W), nan where the photo was cut off."""
        if not self.moved:
            return values
        where, inside = self._parts()
        content = np.full(self.inner, np.nan, np.float32)
        content[inside] = values[where]
        seen = _resized(np.isfinite(content).astype(np.float32), self.before, cv2.INTER_LINEAR)
        found = _resized(np.nan_to_num(content), self.before, cv2.INTER_LINEAR) / np.maximum(seen, 1e-6)
        return np.where(seen >= 0.5, found, np.float32(np.nan)).astype(np.float32)

    def face(self, face: Face) -> Face | None:
        """A face of the photo as one of the frame, its box cut down to it; None when most of it is cut off."""
        if not self.moved:
            return face
        sy, sx = self.inner[0] / self.before[0], self.inner[1] / self.before[1]
        x1, y1, x2, y2 = face.box
        x1, y1, x2, y2 = x1 * sx + self.left, y1 * sy + self.top, x2 * sx + self.left, y2 * sy + self.top
        area = (x2 - x1) * (y2 - y1)
        box = (max(x1, 0.0), max(y1, 0.0), min(x2, float(self.after[1])), min(y2, float(self.after[0])))
        if max(box[2] - box[0], 0) * max(box[3] - box[1], 0) < LEAST_FACE * area or area <= 0:
            return None
        points = face.points and tuple((x * sx + self.left, y * sy + self.top) for x, y in face.points)
        return Face(box, face.score, points)

    def landmarks(self, landmarks: Landmarks) -> Landmarks:
        """Dense points of the photo as points of the frame; those that are cut off lie beyond it."""
        if not self.moved:
            return landmarks
        scale = self.inner[1] / self.before[1], self.inner[0] / self.before[0]
        points = landmarks.points * np.array(scale) + (self.left, self.top)
        return Landmarks(points.astype(np.float32), landmarks.score)


def _resized(values: npt.NDArray, shape: tuple[int, int], larger: int) -> npt.NDArray:  # type: ignore[type-arg]
    """(H, W[, C]) at another size."""
    if values.shape[:2] == shape:
        return values
    how = cv2.INTER_AREA if shape[0] * shape[1] < values.shape[0] * values.shape[1] else larger
    return cv2.resize(values, shape[::-1], interpolation=how)


def crop_window(shape: tuple[int, int], share: float, rng: np.random.Generator) -> Placement:
    """A window that keeps ``share`` of each side, anywhere in the photo."""
    height, width = (max(1, round(side * share)) for side in shape)
    top, left = int(rng.integers(shape[0] - height + 1)), int(rng.integers(shape[1] - width + 1))
    return Placement(shape, shape, -top, -left, (height, width))


def scaled(shape: tuple[int, int], factor: float) -> Placement:
    """The whole photo at another size."""
    after = max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))
    return Placement(shape, after, 0, 0, after)
