"""Row 12: corneal specular highlights, what both eyes mirror of the same room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from unmask.core.types import UInt8Image
from unmask.data.faces import similarity
from unmask.features.base import Feature, Measured, Subject
from unmask.nn.landmarks import COUNT_WITH_IRISES, IRISES, REGIONS

Plane = npt.NDArray[np.float32]

SMALLEST = 20.0
"""Pixels between the corners of an eye below which its highlights cannot be told."""
_CORNERS = (0, 8)  # places of the corners in the closed contour of an eye
_SQUARE, _WIDE = 128, 96  # side of the square an eye is brought to, and the eye's width in it
_RADII = tuple(range(16, 26))  # of an iris: 11.7 mm across, in an eye of 25 to 32 mm
_IRIS = 24  # radius both irises are brought to
_INNER = 0.8  # of the radius, where highlights are looked for: farther out an inexact circle would take in white
_OPEN = 1 / 3  # of that circle, to be seen at least where the iris is given: the eye may be shut
_CONTRAST = 0.08  # white of the eye over iris, in luma
_BRIGHTER = 0.15  # highlight over the iris, in luma
_SHIFT = 4  # pixels of the 24 by which the two may be moved onto each other


class CornealHighlights(Feature):
    """Do both corneas show the same highlights? The eyes of a person who looks at distant lights do (Hu et al., 2021).

    Each eye is turned upright by the corners of its contour. The iris is the one that the landmarks give; where they
    have none (468 points), it is the circle in the contour across whose border the luma rises most (Daugman, 1993, over
    lit and lidless parts only). A highlight is what Yen's threshold separates in it and is clearly brighter than the
    iris. Both irises are laid onto each other, up to a sixth of their radius. ``iou`` is the highlights' intersection
    over union, ``share`` their mean share of the inner iris (0.8 of the radius), ``imbalance`` the difference of the
    two shares over their sum.

    ``not_applicable``: an eye under 20 pixels wide, no iris to be seen (of a given one less than a third of what is
    looked at), or no highlight in either eye.
    """

    name = "corneal"
    line = "specular highlights of both corneas, laid onto each other: intersection over union"
    paper = "Hu, Li and Lyu, 2021"
    kinds = ("descriptor",)
    needs = ("landmarks",)
    columns = ("iou", "share", "imbalance")

    def _measure(self, subjects: Sequence[Subject]) -> list[Measured]:
        return [self._one(subject) for subject in subjects]

    def _one(self, subject: Subject) -> Measured:
        assert subject.landmarks is not None
        masks = []
        for part in ("left_eye", "right_eye"):
            points = np.asarray(subject.landmarks.points, np.float64)
            contour = points[list(REGIONS[part])]
            if np.hypot(*(contour[_CORNERS[1]] - contour[_CORNERS[0]])) < SMALLEST:
                return Measured("not_applicable")
            luma, open_eye = upright_eye(subject.image, contour)
            given = len(points) == COUNT_WITH_IRISES
            circle = given_iris(contour, points[list(IRISES[part])]) if given else find_iris(luma, open_eye)
            if circle is None or (given and _open_share(open_eye, circle) < _OPEN):
                return Measured("not_applicable")
            masks.append(highlights(luma, open_eye, circle))
        return compare(*masks)


def upright_eye(image: UInt8Image, contour: npt.NDArray[np.float64]) -> tuple[Plane, npt.NDArray[np.bool_]]:
    """Luma in [0, 1] of an eye with its corners on a level 96 pixels apart in a square of 128, and what is open of it.

    Args:
        image: (H, W, 3) RGB.
        contour: (16, 2) closed contour in image pixels, in the order of :data:`unmask.nn.landmarks.REGIONS`.
    """
    matrix = _level(contour)
    warp = matrix.copy()
    warp[:, 2] += warp[:, :2] @ (0.5, 0.5) - 0.5  # OpenCV's pixel centres are whole numbers
    scale = np.hypot(*matrix[:, 0])
    if scale < 0.5:  # a strong reduction would alias
        image = cv2.GaussianBlur(image, (0, 0), 0.4 / scale).astype(np.uint8)
    turned = cv2.warpAffine(image, warp, (_SQUARE, _SQUARE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    luma = cv2.cvtColor(turned.astype(np.uint8), cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    outline = contour @ matrix[:, :2].T + matrix[:, 2] - 0.5
    mask = np.zeros(luma.shape, np.uint8)
    cv2.fillPoly(mask, [np.round(outline * 16).astype(np.int32)], 1, shift=4)
    return np.asarray(luma, np.float32), np.asarray(mask > 0)


def _level(contour: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The (2, 3) map from image to upright square, in continuous pixels of both."""
    corners = contour[list(_CORNERS)]
    corners = corners[corners[:, 0].argsort()]
    low, high = (_SQUARE - _WIDE) / 2, (_SQUARE + _WIDE) / 2
    return similarity(corners, [(low, _SQUARE / 2), (high, _SQUARE / 2)])


def given_iris(contour: npt.NDArray[np.float64], iris: npt.NDArray[np.float64]) -> tuple[float, float, float] | None:
    """Centre x, y and radius in the upright eye (as of :func:`find_iris`) of an iris in the image, None if it is a dot.

    Args:
        contour: (16, 2) of the eye, as :func:`upright_eye` takes it.
        iris: (5, 2) in the order of :data:`unmask.nn.landmarks.IRISES`. The middle of the four points on the border is
            the circle's, their mean distance from it the radius.
    """
    matrix = _level(contour)
    border = iris[1:] @ matrix[:, :2].T + matrix[:, 2] - 0.5
    x, y = border.mean(0).tolist()
    radius = float(np.hypot(*(border - (x, y)).T).mean())
    return (x, y, radius) if radius > 1 else None


def _open_share(open_eye: npt.NDArray[np.bool_], circle: tuple[float, float, float]) -> float:
    """How much of what :func:`highlights` looks at is open."""
    x, y, radius = circle
    row, column = np.mgrid[: open_eye.shape[0], : open_eye.shape[1]]
    inside = np.hypot(column - x, row - y) <= _INNER * radius
    return float((open_eye & inside).sum() / (np.pi * (_INNER * radius) ** 2))


def find_iris(luma: Plane, open_eye: npt.NDArray[np.bool_]) -> tuple[float, float, float] | None:
    """Centre x, y and radius of the iris in an upright eye, None where no circle stands out.

    For every centre in the open eye and radius, the mean luma in a ring outside the circle less that in a ring inside
    it, of open pixels only.
    """
    seen = open_eye.astype(np.float32)
    if not open_eye.any():
        return None
    flat = np.minimum(luma, np.quantile(luma[open_eye], 0.8)).astype(np.float32)  # highlights are no border
    best: tuple[float, float, float, float] = (_CONTRAST, 0.0, 0.0, 0.0)
    for radius in _RADII:
        outer, outer_count = _ring_mean(flat, seen, radius + 1.0, radius * 1.35)
        inner, inner_count = _ring_mean(flat, seen, radius * 0.55, radius - 1.0)
        rise = np.where(open_eye & (outer_count > 0.2) & (inner_count > 0.35), outer - inner, -1.0)
        y, x = np.unravel_index(int(rise.argmax()), rise.shape)
        if rise[y, x] > best[0]:
            best = (float(rise[y, x]), float(x), float(y), float(radius))
    return best[1:] if best[3] else None


def _ring_mean(values: Plane, seen: Plane, inner: float, outer: float) -> tuple[Plane, Plane]:
    """About every pixel: mean of the seen values in a ring, and the share of the ring that is seen."""
    reach = int(np.ceil(outer))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    ring = ((np.hypot(x, y) >= inner) & (np.hypot(x, y) <= outer)).astype(np.float32)
    ring /= ring.sum()
    share = cv2.filter2D(seen, -1, ring, borderType=cv2.BORDER_CONSTANT)
    total = cv2.filter2D(values * seen, -1, ring, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(total / np.maximum(share, 1e-3), np.float32), np.asarray(share, np.float32)


def highlights(
    luma: Plane, open_eye: npt.NDArray[np.bool_], circle: tuple[float, float, float]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Where an iris shines, and where it is seen, both as (S, S) with the iris in the middle at a radius of 24."""
    from skimage.filters import threshold_yen

    x, y, radius = circle
    scale, side = _IRIS / radius, 2 * (_IRIS + _SHIFT)
    warp = np.array([[scale, 0, side / 2 - 0.5 - scale * x], [0, scale, side / 2 - 0.5 - scale * y]])
    near = cv2.warpAffine(luma, warp, (side, side), flags=cv2.INTER_LINEAR)
    row, column = np.mgrid[:side, :side] - (side - 1) / 2
    iris = np.hypot(row, column) <= _INNER * _IRIS
    iris &= cv2.warpAffine(open_eye.astype(np.uint8), warp, (side, side), flags=cv2.INTER_NEAREST) > 0
    if not iris.any() or np.ptp(near[iris]) < 1 / 255:
        return np.zeros_like(iris), iris
    yen: Any = threshold_yen
    threshold = max(float(yen(near[iris])), float(np.median(near[iris])) + _BRIGHTER)
    return iris & (near > threshold), iris


def compare(
    left: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]],
    right: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]],
) -> Measured:
    """The highlights of two irises, each (shining, seen), laid onto each other as well as a small shift can."""
    (a, seen_a), (b, seen_b) = left, right
    if not a.any() and not b.any():
        return Measured("not_applicable")
    padded = np.pad(a, _SHIFT).astype(np.float32)
    shared = cv2.matchTemplate(padded, b.astype(np.float32), cv2.TM_CCORR).max()  # pixels both have, best shift
    total = int(a.sum()) + int(b.sum())
    share_a, share_b = a.sum() / max(1, seen_a.sum()), b.sum() / max(1, seen_b.sum())
    iou = np.rint(shared) / (total - np.rint(shared))
    return Measured(
        "ok", np.array([iou, (share_a + share_b) / 2, abs(share_a - share_b) / (share_a + share_b)], np.float32)
    )
