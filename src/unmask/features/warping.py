"""Row 13: face warping artefacts, a face that is sharper or softer than what surrounds it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unmask.core.types import Face, UInt8Image
from unmask.data.faces import square_around
from unmask.features.base import Feature, Measured, Subject
from unmask.ops.sharpness import FLOOR, octaves, sharpness

_MARGIN = 2.2  # of the square that holds face and surroundings, over the face's longer side
_LARGEST = 1024  # side of that square; a larger one is reduced
_SMALLEST = 48  # shorter side of the face's box, in pixels
_TEXTURE = 4 * FLOOR  # energy of the middle octave below which a place is flat and says nothing
_ENOUGH = 200  # pixels with texture that each part needs


class Warping(Feature):
    """Sharpness of the face against its surroundings, in the photo's own pixels.

    A face that was synthesised at a fixed size, warped into place and blended has lost an octave that its surroundings
    have (Li and Lyu, 2019). Per octave: the median of :func:`unmask.ops.sharpness.sharpness` in the face's ellipse less
    that in a ring around it, its spread in the face, and the step from just inside the ellipse to just outside; and the
    logarithm of the ratio of noise levels. Places without texture do not count.
    """

    name = "warping"
    line = "sharpness and noise of the face against its surroundings, by octave"
    paper = "Li and Lyu, 2019"
    kinds = ("map", "descriptor")
    needs = ("face",)
    map_name = "sharpness"

    @property
    def columns(self) -> tuple[str, ...]:
        """``MEASURE OCTAVE``, finest first, then noise."""
        return (*(f"{m} {o}" for o in (1, 2) for m in ("difference", "spread", "step")), "noise")

    def _measure(self, subjects: Sequence[Subject]) -> list[Measured]:
        return [self._one(subject) for subject in subjects]

    def _one(self, subject: Subject) -> Measured:
        face = subject.face
        assert face is not None
        if min(face.box[2] - face.box[0], face.box[3] - face.box[1]) < _SMALLEST:
            return Measured("too_small")
        pixels, box = _surroundings(subject.image, face)
        image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            energies = octaves(image)
            ratios = sharpness(energies)[0].numpy()  # (2, H, W)
            textured = energies[0, 1].numpy() > _TEXTURE
            residual = _diagonal(image)
        away = _distance(box, pixels.shape[:2])  # (H, W), 1 on the ellipse
        face_at, ring = textured & (away < 0.9), textured & (away > 1.2)
        inside, outside = textured & (away > 0.75) & (away < 0.95), textured & (away > 1.05) & (away < 1.3)
        if min(face_at.sum(), ring.sum()) < _ENOUGH or not inside.any() or not outside.any():
            return Measured("not_applicable")
        values: list[float] = []
        for ratio in ratios:
            low, middle, high = np.quantile(ratio[face_at], (0.25, 0.5, 0.75))
            step = np.median(ratio[inside]) - np.median(ratio[outside])
            values += [middle - np.median(ratio[ring]), high - low, step]
        noise = [np.median(np.abs(residual[part])) + 1e-4 for part in (away < 0.9, away > 1.2)]
        return Measured("ok", np.array([*values, np.log(noise[0] / noise[1])], np.float32))


def _surroundings(image: UInt8Image, face: Face) -> tuple[UInt8Image, tuple[float, float, float, float]]:
    """The part of an image around a face, and the face's box in it."""
    height, width = image.shape[:2]
    left, top, right, bottom = square_around(face, _MARGIN)
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    part = np.ascontiguousarray(image[top:bottom, left:right])
    scale = min(1.0, _LARGEST / max(part.shape[:2]))
    if scale < 1:
        part = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8)
    x1, y1, x2, y2 = face.box
    return part, ((x1 - left) * scale, (y1 - top) * scale, (x2 - left) * scale, (y2 - top) * scale)


def _distance(box: tuple[float, float, float, float], shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """(H, W): how far from the box's middle, 1 on the ellipse in it."""
    x1, y1, x2, y2 = box
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    return np.asarray(2 * np.hypot((x - (x1 + x2) / 2) / (x2 - x1), (y - (y1 + y2) / 2) / (y2 - y1)))


def _diagonal(image: Tensor) -> npt.NDArray[np.float32]:
    """Mixed second difference of the green plane over 6, noise for the most part (Immerkær, 1996): (H, W)."""
    green = image[0, 1].numpy()
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6
    return np.asarray(cv2.filter2D(green, -1, kernel, borderType=cv2.BORDER_REFLECT_101), np.float32)
