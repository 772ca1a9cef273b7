"""Dense points of faces in photos: cut, looked at twice, mapped back; or found elsewhere and read from a file."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from unmask.core.errors import DataError
from unmask.core.files import atomic_path
from unmask.core.types import Face, Landmarks, UInt8Image
from unmask.data.faces import align
from unmask.nn.landmarks import COUNT, COUNT_WITH_IRISES, FIVE, SIZE, load_landmark_network

Points = npt.NDArray[np.float64]

IN_BOX: Points = np.array([(0.285, 0.4), (0.715, 0.4), (0.5, 0.597), (0.285, 0.74), (0.715, 0.74)])
"""Where the five points lie in the box of an upright face, as fractions of its sides: mean over the training photos."""

OVERLAP = 0.2
"""Intersection over union of a face's box and the box around given points, from which on they are that face's."""


def columns_of(count: int = COUNT_WITH_IRISES) -> tuple[str, ...]:
    """Columns of a file of landmarks with so many points a face.

    >>> columns_of(2)
    ('path', 'score', 'x0', 'y0', 'x1', 'y1')
    """
    return ("path", "score", *(f"{axis}{i}" for i in range(count) for axis in "xy"))


def five_points(points: npt.ArrayLike) -> Points:
    """(468 or 478, 2) dense points to the (5, 2) of :attr:`unmask.core.types.Face.points`.

    >>> five_points(np.zeros((468, 2))).shape
    (5, 2)
    """
    dense = np.asarray(points, float)
    return np.stack([dense[list(part)].mean(0) for part in FIVE])


def to_image(points: npt.ArrayLike, matrix: Points) -> Points:
    """Undo the (2, 3) map from image to square that :func:`unmask.data.faces.align` gives: (..., 2) to (..., 2)."""
    return (np.asarray(points, float) - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T


class LandmarkFinder:
    """The 468 points of the MediaPipe face mesh for given faces of an image.

    Each face is turned upright by its five points (by its box where it has none), looked at, cut again by what was
    found and looked at once more. The mesh has no irises.

    Args:
        device: where the network runs, e.g. ``"cpu"`` or ``"cuda"``.
        min_size: faces whose box has a shorter longer side, in pixels, get no landmarks.
        min_score: faces that the network is less sure of get none.
        batch: faces looked at together; bounds the memory.

    Raises:
        WeightsError: the shipped weights are missing or damaged.

    >>> LandmarkFinder().find(np.zeros((64, 64, 3), np.uint8), [Face((0, 0, 20, 20))])
    [None]
    """

    def __init__(self, device: str = "cpu", min_size: float = 32, min_score: float = 0.5, batch: int = 32) -> None:
        self.network = load_landmark_network().to(device)
        self.device, self.min_size, self.min_score, self.batch = device, min_size, min_score, batch

    def find(self, image: UInt8Image, faces: Sequence[Face]) -> list[Landmarks | None]:
        """Dense points of each face, in continuous pixels of the (H, W, 3) uint8 RGB image, or None."""
        found: list[Landmarks | None] = [None] * len(faces)
        able = [i for i, face in enumerate(faces) if _side(face) >= self.min_size]
        for start in range(0, len(able), self.batch):
            part = able[start : start + self.batch]
            points = self.look(image, [_start(faces[i]) for i in part])[0]
            points, scores = self.look(image, [five_points(p) for p in points])
            for i, dense, score in zip(part, points, scores.tolist(), strict=True):
                if score >= self.min_score:
                    found[i] = Landmarks(dense.astype(np.float32), score)
        return found

    def look(self, image: UInt8Image, fives: Sequence[Points]) -> tuple[Points, npt.NDArray[np.float32]]:
        """One look at the faces with these (5, 2) points: (N, 468, 2) in image pixels and (N,) scores in [0, 1]."""
        cuts = [align(image, five, SIZE) for five in fives]
        squares = torch.from_numpy(np.stack([pixels for pixels, _ in cuts])).to(self.device)
        with torch.inference_mode():
            dense, logits = self.network(squares.permute(0, 3, 1, 2).float() / 255)
        square_points = (dense * SIZE).cpu().numpy()
        points = np.stack([to_image(p, matrix) for p, (_, matrix) in zip(square_points, cuts, strict=True)])
        return points, logits.sigmoid().cpu().numpy()


def _side(face: Face) -> float:
    x1, y1, x2, y2 = face.box
    return max(x2 - x1, y2 - y1)


def _start(face: Face) -> Points:
    """The face's five points, or where they would be in its box."""
    if face.points is not None and np.ptp(face.points, axis=0).max() > 0:
        return np.array(face.points, float)
    x1, y1, x2, y2 = face.box
    return (x1, y1) + IN_BOX * (x2 - x1, y2 - y1)


def write_landmarks(path: str | Path, landmarks: Mapping[str, Sequence[Landmarks]]) -> None:
    """Write dense points by image path as ``.csv`` or ``.parquet``, one row per face.

    Columns: ``path``, ``score``, then ``x0``, ``y0`` to ``x467``, ``y467`` or, where any face has irises, ``x477``,
    ``y477`` (empty for those without). An image without faces is one row with its path alone, so that "none" and "not
    looked at" stay apart.

    Raises:
        DataError: ``bad_landmarks``: another suffix.
    """
    entries = [(name, face) for name, found in landmarks.items() for face in found or (None,)]
    columns = columns_of(max((len(face.points) for _, face in entries if face is not None), default=COUNT))
    numbers = np.full((len(entries), len(columns) - 1), np.nan, np.float32)
    for row, (_, face) in zip(numbers, entries, strict=True):
        if face is not None:
            row[0], row[1 : 1 + face.points.size] = face.score, face.points.ravel()
    suffix = _suffix(Path(path))
    with atomic_path(path) as temporary:
        if suffix == ".parquet":
            import pyarrow as pa
            import pyarrow.parquet as pq

            names = pa.array([name for name, _ in entries], pa.string())
            parts = [pa.array(column, from_pandas=True) for column in numbers.T]  # nan is null
            pq.write_table(pa.table([names, *parts], names=list(columns)), temporary)
        else:
            with temporary.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(columns)
                for (name, _), values in zip(entries, numbers.tolist(), strict=True):
                    writer.writerow([name, *("" if math.isnan(v) else f"{v:.9g}" for v in values)])


def read_landmarks(path: str | Path) -> dict[str, list[Landmarks]]:
    """Dense points by image path from a ``.csv`` or ``.parquet`` file; an image whose row is empty has no faces.

    Required columns: ``path`` and ``x0``, ``y0`` to ``x467``, ``y467`` or ``x477``, ``y477``, in continuous pixels of
    the upright image, in the order of :attr:`unmask.core.types.Landmarks.points`; ``score`` (default 1) is optional,
    the order of columns is free, others are ignored. A row has 468 points, 478, or none.

    Raises:
        DataError: ``bad_landmarks``: no such file, another suffix, an empty file, columns missing, another number of
            points, or a value that is no finite number; names the row.
    """
    path = Path(path)
    rows = _rows(path)
    names: list[str] = next(rows, [])
    here = set(names)
    count = next(i for i in range(len(names) + 1) if not {f"x{i}", f"y{i}"} <= here)
    beyond = [name for name in names if name[:1] in "xy" and name[1:].isdecimal() and int(name[1:]) >= count]
    if "path" not in here or beyond:
        first = "path" if "path" not in here else f"x{count}" if f"x{count}" not in here else f"y{count}"
        hint = "expected path, x0, y0 to x467, y467 (or to x477, y477 with irises) and, if known, score"
        raise DataError("bad_landmarks", f"{path} has no column {first}; {hint}")
    if count not in (COUNT, COUNT_WITH_IRISES):
        raise DataError("bad_landmarks", f"{path} has columns for {count} points; {_COUNTS}")
    order = [names.index(name) for name in columns_of(count) if name != "score"]
    score = names.index("score") if "score" in here else None
    result: dict[str, list[Landmarks]] = {}
    for number, row in enumerate(rows, 1):
        where = f"{path}, row {number}"
        if len(row) != len(names):
            raise DataError("bad_landmarks", f"{where}: expected {len(names)} values as in the header, got {len(row)}")
        name, *cells = (row[i] for i in order)
        found = result.setdefault(str(name), [])
        while cells and cells[-1] in (None, ""):
            cells.pop()
        if cells:
            known = None if score is None or row[score] in (None, "") else row[score]
            found.append(_landmarks(cells, 1.0 if known is None else known, where))
    return result


_COUNTS = (
    "expected the 468 of the MediaPipe face mesh, or 478 with irises: points of another scheme mean other places, and "
    "have to be turned into these first"
)


def _landmarks(cells: Sequence[Any], score: Any, where: str) -> Landmarks:
    if len(cells) not in (2 * COUNT, 2 * COUNT_WITH_IRISES):
        raise DataError("bad_landmarks", f"{where}: has {len(cells) / 2:g} points; {_COUNTS}")
    try:
        with np.errstate(over="ignore"):
            values = np.array([score, *cells], np.float64).astype(np.float32)
    except (TypeError, ValueError) as error:
        hint = "expected a number for every point, and none at all for an image without faces"
        raise DataError("bad_landmarks", f"{where}: {hint}: {error}") from None
    if not np.isfinite(values).all():
        hint = "leave out the row of a face whose points are not all known"
        raise DataError(
            "bad_landmarks", f"{where}: expected finite numbers, got {values[~np.isfinite(values)][0]}; {hint}"
        )
    return Landmarks(values[1:].reshape(-1, 2), float(values[0]))


def _suffix(path: Path) -> str:
    if path.suffix not in (".csv", ".parquet"):
        hint = "convert them, with a column per number"
        raise DataError("bad_landmarks", f"landmarks are a .csv or .parquet file, not '{path.name}'; {hint}")
    return path.suffix


def _rows(path: Path) -> Iterator[list[Any]]:
    """The names of the columns, then the rows one by one."""
    suffix = _suffix(path)
    try:
        if path.stat().st_size == 0:
            hint = "expected a header and a row per face, as unmask.data.landmarks.write_landmarks writes"
            raise DataError("bad_landmarks", f"{path} is empty; {hint}")
        if suffix == ".parquet":
            import pyarrow.parquet as pq

            table = pq.ParquetFile(path)
            yield table.schema_arrow.names
            for batch in table.iter_batches(1024):
                yield from map(list, zip(*(column.to_pylist() for column in batch.columns), strict=True))
        else:
            with path.open(newline="", encoding="utf-8-sig") as file:
                yield from (row for row in csv.reader(file) if row)
    except (OSError, ValueError, csv.Error) as error:
        raise DataError("bad_landmarks", f"cannot read landmarks from {path}: {error}") from error


def landmarks_of(face: Face, given: Sequence[Landmarks]) -> Landmarks | None:
    """Whichever of an image's given points overlap most with a face's box, None if none do by :data:`OVERLAP`.

    >>> corners = np.resize(np.float32([(10, 10), (30, 30)]), (468, 2))
    >>> landmarks_of(Face((5, 5, 30, 30)), [Landmarks(corners + 40), Landmarks(corners)]).points[0].tolist()
    [10.0, 10.0]
    """

    def shared(landmarks: Landmarks) -> float:
        box, low, high = np.array(face.box), landmarks.points.min(0), landmarks.points.max(0)
        both = np.clip(np.minimum(high, box[2:]) - np.maximum(low, box[:2]), 0, None).prod()
        union = (high - low).prod() + (box[2:] - box[:2]).prod() - both
        return float(both / union) if union > 0 else 0.0

    best = max(given, key=shared, default=None)
    return best if best is not None and shared(best) >= OVERLAP else None
