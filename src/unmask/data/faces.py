"""Faces: found by MTCNN or read from a file, and brought to a canonical pose."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from unmask.core.errors import DataError
from unmask.core.files import atomic_path
from unmask.core.types import Face, UInt8Image
from unmask.nn.mtcnn import MTCNN

POINTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
COLUMNS = ("path", "x1", "y1", "x2", "y2", "score", *(f"{point}_{axis}" for point in POINTS for axis in "xy"))

# Mirror-symmetric mean positions of the five points on a frontal face, as fractions of the aligned square
# (the 112-pixel template common in face recognition, left and right averaged).
TEMPLATE: npt.NDArray[np.float64] = np.array(
    [(0.3427, 0.4607), (0.6573, 0.4607), (0.5, 0.6405), (0.3697, 0.8240), (0.6303, 0.8240)]
)


class FaceFinder:
    """All faces of images, largest first, with five points each.

    Args:
        device: where the networks run, e.g. ``"cpu"`` or ``"cuda"``.
        min_size: smallest face looked for, in pixels (side of the square around it).
        max_side: a larger photo is reduced to this longer side for the search only; ``min_size`` grows with it.

    >>> import numpy as np
    >>> FaceFinder().find([np.zeros((64, 64, 3), np.uint8)])
    [[]]
    """

    def __init__(self, device: str = "cpu", min_size: float = 30, max_side: int = 2048) -> None:
        self.network = MTCNN(min_size=min_size, max_side=max_side).to(device)

    def find(self, images: Sequence[UInt8Image]) -> list[list[Face]]:
        """Faces of each (H, W, 3) uint8 RGB image, largest box first. Memory is bounded whatever the number."""
        result = []
        for found in self.network(images):
            faces = [
                Face((b[0], b[1], b[2], b[3]), s, tuple((x, y) for x, y in p))
                for b, s, p in zip(found.boxes.tolist(), found.scores.tolist(), found.points.tolist(), strict=True)
            ]
            result.append(sorted(faces, key=_area, reverse=True))
        return result


def _area(face: Face) -> float:
    x1, y1, x2, y2 = face.box
    return (x2 - x1) * (y2 - y1)


def similarity(source: npt.ArrayLike, target: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The rotation, uniform scale and shift (2, 3) that best takes ``source`` (N, 2) to ``target`` (N, 2).

    Least squares in closed form, never a reflection: with points as complex numbers, target = a source + b.

    >>> similarity([(0, 0), (1, 0)], [(1, 1), (1, 3)]).round(6).tolist()
    [[0.0, -2.0, 1.0], [2.0, 0.0, 1.0]]
    """
    s, t = (np.asarray(points, float) @ np.array([1, 1j]) for points in (source, target))
    spread = s - s.mean()
    size = np.vdot(spread, spread).real
    if size == 0:
        raise DataError("bad_points", "all points of the face lie on one spot; it cannot be aligned")
    a = np.vdot(spread, t - t.mean()) / size
    b = t.mean() - a * s.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def align(
    image: UInt8Image, points: npt.ArrayLike, size: int = 256, zoom: float = 0.8
) -> tuple[UInt8Image, npt.NDArray[np.float64]]:
    """The face turned upright in a ``size`` square, and the (2, 3) map from image to square pixels (continuous).

    Args:
        image: (H, W, 3) uint8.
        points: (5, 2) in the order of :data:`POINTS`, continuous image coordinates.
        size: side of the result in pixels.
        zoom: 1 = tight face as in recognition; smaller shows more of the head. Beyond the image: mirrored.

    Raises:
        DataError: the points coincide.
    """
    target = ((TEMPLATE - (0.5, 0.6)) * zoom + (0.5, 0.5 + 0.1 * zoom)) * size
    matrix = similarity(points, target)
    linear, shift = matrix[:, :2], matrix[:, 2]
    h, w = image.shape[:2]
    corners = (np.array([(0, 0), (size, 0), (0, size), (size, size)]) - shift) @ np.linalg.inv(linear).T
    left, top = np.clip(np.floor(corners.min(0)) - 2, 0, (w - 1, h - 1)).astype(int)
    right, bottom = np.clip(np.ceil(corners.max(0)) + 2, (left + 1, top + 1), (w, h)).astype(int)
    part = image[top:bottom, left:right]
    # A strong reduction is first done by area averaging, so that the warp itself does not alias.
    scale = min(1.0, math.hypot(*linear[:, 0]))
    wide, high = (max(1, round(n * scale)) for n in (right - left, bottom - top))
    part = cv2.resize(part, (wide, high), interpolation=cv2.INTER_AREA).astype(np.uint8)
    warp = np.empty((2, 3))
    warp[:, :2] = linear * ((right - left) / wide, (bottom - top) / high)
    warp[:, 2] = shift + linear @ (left, top)
    warp[:, 2] += warp[:, :2] @ (0.5, 0.5) - 0.5  # OpenCV's pixel centres are whole numbers
    pixels = cv2.warpAffine(part, warp, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return pixels.astype(np.uint8), matrix


def square_around(face: Face, margin: float) -> tuple[int, int, int, int]:
    """The whole-pixel square (x1, y1, x2, y2) of ``margin`` times the longer side, centred on the face's box.

    >>> square_around(Face((10, 10, 20, 30)), 1.5)
    (0, 5, 30, 35)
    """
    x1, y1, x2, y2 = face.box
    side = max(1, round(margin * max(x2 - x1, y2 - y1)))
    left, top = round((x1 + x2 - side) / 2), round((y1 + y2 - side) / 2)
    return left, top, left + side, top + side


def scale_face(face: Face, before: tuple[int, ...], after: tuple[int, ...]) -> Face:
    """A face of an image at the size of another, shapes (H, W, ...)."""
    if before[:2] == after[:2]:
        return face
    y, x = after[0] / before[0], after[1] / before[1]
    x1, y1, x2, y2 = face.box
    points = None if face.points is None else tuple((px * x, py * y) for px, py in face.points)
    return Face((x1 * x, y1 * y, x2 * x, y2 * y), face.score, points)


def write_boxes(path: str | Path, boxes: Mapping[str, Sequence[Face]]) -> None:
    """Write faces by image path as ``.csv`` or ``.parquet``, one row per face, columns :data:`COLUMNS`.

    An image without faces is one row with an empty box, so that "none" and "not searched" stay apart; unknown
    points are empty.
    """
    rows = [row for name, faces in boxes.items() for row in _rows(name, faces)]
    with atomic_path(path) as temporary:
        if Path(path).suffix == ".parquet":
            import pyarrow
            import pyarrow.parquet

            columns = {c: [row[i] for row in rows] for i, c in enumerate(COLUMNS)}
            types = [(c, pyarrow.float64() if c != "path" else pyarrow.string()) for c in COLUMNS]
            pyarrow.parquet.write_table(pyarrow.table(columns, schema=pyarrow.schema(types)), temporary)
        elif Path(path).suffix == ".csv":
            with temporary.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(COLUMNS)
                writer.writerows([row[0], *("" if v is None else f"{v:.9g}" for v in row[1:])] for row in rows)
        else:
            raise DataError("bad_boxes", f"boxes are written as .csv or .parquet, not as '{Path(path).name}'")


def _rows(name: str, faces: Sequence[Face]) -> Iterable[list[Any]]:
    if not faces:
        yield [name, *[None] * 15]
    for face in faces:
        yield [
            name,
            *face.box,
            face.score,
            *([v for point in face.points for v in point] if face.points else [None] * 10),
        ]


def read_boxes(path: str | Path) -> dict[str, list[Face]]:
    """Faces by image path from a ``.csv`` or ``.parquet`` file; an image listed with an empty box has none.

    Required columns: path, x1, y1, x2, y2; score (default 1) and the ten point columns are optional.

    Raises:
        DataError: no such file, columns missing, or a value that is no number; names the row.
    """
    path = Path(path)
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet

            rows = pyarrow.parquet.read_table(path).to_pylist()
        else:
            with path.open(newline="", encoding="utf-8-sig") as file:
                rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError("bad_boxes", f"cannot read boxes from {path}: {error}") from error
    result: dict[str, list[Face]] = {}
    for number, row in enumerate(rows, 1):
        missing = [c for c in COLUMNS[:5] if c not in row]
        if missing:
            raise DataError("bad_boxes", f"{path} has no column {', '.join(missing)}; expected {', '.join(COLUMNS)}")
        faces = result.setdefault(str(row["path"]), [])
        try:
            values = [None if row.get(c) in (None, "") else float(row[c]) for c in COLUMNS[1:]]
        except (TypeError, ValueError) as error:
            raise DataError("bad_boxes", f"{path}, row {number}: expected numbers: {error}") from None
        box, score, flat = [v for v in values[:4] if v is not None], values[4], [v for v in values[5:] if v is not None]
        if not box:
            continue
        if len(box) != 4:
            raise DataError("bad_boxes", f"{path}, row {number}: expected four numbers x1, y1, x2, y2, got {box}")
        if not np.isfinite(box + flat).all() or box[0] >= box[2] or box[1] >= box[3]:
            raise DataError("bad_boxes", f"{path}, row {number}: expected x1 < x2 and y1 < y2, got {box}")
        points = tuple(zip(flat[::2], flat[1::2], strict=True)) if len(flat) == 10 else None
        faces.append(Face((box[0], box[1], box[2], box[3]), 1.0 if score is None else score, points))
    return result
