"""Views: the squares of an image that a detector sees, with exact maps there and back.

Every part that turns an image into detector inputs (analysis, evaluation, training) does it here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from unmask.core.types import Face, FloatMap, UInt8Image, ViewConfig
from unmask.data.faces import square_around

Index = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One square of an image as a detector sees it."""

    pixels: UInt8Image
    """(size, size, 3) RGB."""
    face: Face | None
    """The face it was cut around (``native``: the nearest one), None without faces."""
    box: tuple[int, int, int, int]
    """x1, y1, x2, y2 of the square in whole image pixels. It may overhang an image that is smaller: the
    outside of a face view is mirrored, that of a native view repeats the image."""
    tiled: bool = False
    """Outside repeats (native views) instead of being mirrored (face views)."""

    def from_image(self, values: npt.NDArray[np.generic]) -> FloatMap:
        """The part of an image-sized map that this view shows: (H, W) to float32 (size, size)."""
        if values.ndim != 2:
            raise ValueError(f"expected a map of shape (H, W), got {values.shape}")
        return resized(_cut(values.astype(np.float32), self.box, self.tiled), self.pixels.shape[0])

    def to_image(self, values: FloatMap, shape: tuple[int, int]) -> FloatMap:
        """A map over this view put back in place: (size, size) to float32 ``shape`` = (H, W), 0 outside the view."""
        x1, y1, x2, y2 = self.box
        side = x2 - x1
        patch = resized(np.asarray(values, np.float32), side)
        result = np.zeros(shape, np.float32)
        top, left, bottom, right = max(y1, 0), max(x1, 0), min(y2, shape[0]), min(x2, shape[1])
        if top < bottom and left < right:
            result[top:bottom, left:right] = patch[top - y1 : bottom - y1, left - x1 : right - x1]
        return result


def views(image: UInt8Image, faces: Sequence[Face], config: ViewConfig) -> list[View]:
    """What a detector with ``config`` sees of an image (H, W, 3) with these faces.

    ``face``: one square per face, ``margin`` times the longer side of its box but never more than the image's longer
    side, moved inside the image where it fits (a mirrored border shows nothing new), resized to ``size`` (area
    average when shrinking, bilinear when enlarging), and for each number in ``wider`` a square so many times wider, if
    the image has more to show; without faces one square over the whole frame, ``face`` None, which the caller may
    refuse for a detector that needs a face.

    ``frame``: that square over the whole frame, whatever faces there are.

    ``native``: at most ``crops`` unresized squares: one centred on each face (moved inside the image), then those of
    an even grid over the image, nearest to a face first, none that earlier ones cover by half. Without faces the
    image's centre takes their place. An image smaller than the square is repeated to fill it.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(f"expected a uint8 image of shape (H, W, 3), got {image.dtype} {image.shape}")
    if config.kind == "native":
        return _native(image, faces, config)
    h, w = image.shape[:2]
    chosen: list[Face | None] = [*faces] if faces and config.kind == "face" else [None]
    result = []
    for face in chosen:
        margins = [config.margin * times for times in (1.0, *config.wider)] if face else [1.0]
        boxes = [_inside(square_around(face or Face((0, 0, w, h)), margin), h, w) for margin in margins]
        result += [View(resized(_cut(image, box), config.size), face, box) for box in dict.fromkeys(boxes)]
    return result


def turned(values: npt.NDArray, degrees: float) -> npt.NDArray:  # type: ignore[type-arg]
    """A picture or map (H, W[, C]) turned about its centre, counter-clockwise, borders mirrored, bilinear.

    Equal angles move equal places: turn an image, its mask and its counterpart alike.
    """
    height, width = values.shape[:2]
    border = cv2.BORDER_REFLECT_101
    return cv2.warpAffine(values, turn_matrix(height, width, degrees), (width, height), borderMode=border)


def turn_matrix(height: int, width: int, degrees: float) -> npt.NDArray[np.float64]:
    """(2, 3): where :func:`turned` puts the point (x, y, 1)."""
    return np.asarray(cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0), np.float64)


def _inside(box: tuple[int, int, int, int], h: int, w: int) -> tuple[int, int, int, int]:
    """The square cut down to the longer side of an (h, w) image and moved inside it; centred where it cannot fit."""
    side = min(box[2] - box[0], max(h, w))
    x, y = (
        min(max((lo + hi - side) // 2, 0), n - side) if side <= n else (n - side) // 2
        for lo, hi, n in ((box[0], box[2], w), (box[1], box[3], h))
    )
    return x, y, x + side, y + side


def _native(image: UInt8Image, faces: Sequence[Face], config: ViewConfig) -> list[View]:
    h, w = image.shape[:2]
    size = config.size
    room = np.array([max(w - size, 0), max(h - size, 0)])
    boxes = np.array([f.box for f in faces], float).reshape(-1, 4)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 if len(faces) else np.array([[w / 2, h / 2]])
    grid = np.stack(np.meshgrid(*[_even(r, size) for r in room]), -1).reshape(-1, 2)
    away = np.linalg.norm(grid[:, None] + size / 2 - centres, axis=2).min(1)
    first = np.clip(np.round(centres - size / 2), 0, room).astype(int)
    corners: list[npt.NDArray[np.int_]] = []
    for corner in [*first, *grid[np.argsort(away, kind="stable")]]:
        shared = np.clip(size - abs(np.array(corners).reshape(-1, 2) - corner), 0, None).prod(1)
        if not corners or shared.max() <= size * size / 2:
            corners.append(corner)
        if len(corners) == config.crops:
            break
    result = []
    for x, y in corners:
        nearest = int(np.linalg.norm(centres - (x + size / 2, y + size / 2), axis=1).argmin())
        box = (int(x), int(y), int(x) + size, int(y) + size)
        pixels = np.ascontiguousarray(_cut(image, box, tiled=True))
        result.append(View(pixels, faces[nearest] if faces else None, box, tiled=True))
    return result


def _even(room: int, size: int) -> npt.NDArray[np.int_]:
    """Left ends of as few squares as cover ``room + size`` pixels, evenly spread."""
    return np.linspace(0, room, -(-room // size) + 1).round().astype(int)


def _index(start: int, stop: int, n: int, tiled: bool) -> Index:
    """Positions start..stop folded into 0..n-1, by repeating or by mirroring at the edge pixels' centres."""
    i = np.arange(start, stop)
    if tiled:
        return i % n
    i = i % max(2 * (n - 1), 1)
    return np.minimum(i, 2 * (n - 1) - i) if n > 1 else i


def _cut(values: npt.NDArray, box: tuple[int, int, int, int], tiled: bool = False) -> npt.NDArray:  # type: ignore[type-arg]
    """The square ``box`` of (H, W) or (H, W, C), outside filled by mirroring or repeating."""
    x1, y1, x2, y2 = box
    h, w = values.shape[:2]
    if x1 >= 0 and y1 >= 0 and x2 <= w and y2 <= h:
        return values[y1:y2, x1:x2]
    return values[_index(y1, y2, h, tiled)][:, _index(x1, x2, w, tiled)]


def resized(values: npt.NDArray, size: int) -> npt.NDArray:  # type: ignore[type-arg]
    """A square (S, S[, C]) to (size, size[, C]): area averages where it shrinks, bilinear where it grows."""
    if values.shape[0] == size:
        return np.ascontiguousarray(values)
    how = cv2.INTER_AREA if size < values.shape[0] else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(values), (size, size), interpolation=how)
