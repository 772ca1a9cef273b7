"""Dense landmarks by mediapipe, written as the file that `unmask features extract --landmarks` reads.

It needs NumPy below 2 and brings its own OpenCV, so it runs in an environment of its own and imports nothing of unmask:

    python3 -m venv mp_env && mp_env/bin/pip install mediapipe==0.10.21
    mp_env/bin/python benchmarks/mediapipe_landmarks.py SOURCE --out landmarks.csv [--boxes boxes.csv] \
        [--split val] [--label 0]

SOURCE is a manifest (.csv with a column ``path``, and ``split`` and ``label`` where those are asked for) or a folder of
images. With --boxes every face is looked for in a square around its box, so that small faces are found as well as large
ones, and has points where mediapipe's lie on it; images that the boxes do not name, and all without --boxes, are looked
at whole. The models are in the package: nothing is downloaded. Columns: path, score (1: mediapipe tells none), x0, y0
to x477, y477 in continuous pixels of the upright image: 468 points of the mesh, then 5 of each iris. An image without
faces has a row with its path alone.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import mediapipe as mp
import numpy as np
from PIL import Image, ImageOps

COUNT = 478
AROUND = 2.0  # side of the square that is looked at, over the longer side of the box
OVERLAP = 0.2  # intersection over union of a box and its points' box
IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
Box = tuple[float, float, float, float]


def images_of(source: Path, split: str | None, label: str | None) -> list[str]:
    """Absolute paths in a manifest's rows of this split and label, or of a folder's images."""
    if source.is_dir():
        if split or label:
            raise SystemExit("--split and --label need a manifest; a folder has neither")
        return [str(path) for path in sorted(source.resolve().rglob("*")) if path.suffix.lower() in IMAGES]
    if source.suffix != ".csv":
        raise SystemExit(f"SOURCE is a folder or a .csv file, got '{source.name}'")
    with source.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        wanted = {"path": None, "split": split, "label": label}
        missing = [c for c, value in wanted.items() if (value or c == "path") and c not in (reader.fieldnames or ())]
        if missing:
            raise SystemExit(f"{source} has no column {', '.join(missing)}; expected a manifest (.csv)")
        rows = [row for row in reader if split in (None, row.get("split")) and label in (None, row.get("label"))]
    folder = source.resolve().parent  # relative paths count from there
    return list(dict.fromkeys(str(folder / row["path"]) for row in rows))


def boxes_of(path: Path) -> dict[str, list[Box]]:
    """Boxes by image path; an image listed with an empty box has none."""
    found: dict[str, list[Box]] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = [c for c in ("path", "x1", "y1", "x2", "y2") if c not in (reader.fieldnames or ())]
        if missing:
            raise SystemExit(f"{path} has no column {', '.join(missing)}; expected path, x1, y1, x2, y2 (.csv)")
        for row in reader:
            boxes = found.setdefault(os.path.realpath(row["path"]), [])
            if row["x1"]:
                boxes.append((float(row["x1"]), float(row["y1"]), float(row["x2"]), float(row["y2"])))
    return found


def square_of(pixels: np.ndarray, box: Box) -> tuple[np.ndarray, tuple[int, int]]:
    """The square around a box, black beyond the image, and where its corner lies in the image (x, y).

    mediapipe looks at squares only: it says itself that it projects the points of other images wrongly.
    """
    x1, y1, x2, y2 = box
    side = max(2, round(max(x2 - x1, y2 - y1)))
    left, top = round((x1 + x2 - side) / 2), round((y1 + y2 - side) / 2)
    square = np.zeros((side, side, 3), np.uint8)
    height, width = pixels.shape[:2]
    a, b, c, d = max(left, 0), max(top, 0), min(left + side, width), min(top + side, height)
    if a < c and b < d:
        square[b - top : d - top, a - left : c - left] = pixels[b:d, a:c]
    return square, (left, top)


def larger(box: Box) -> Box:
    """:data:`AROUND` times as wide and high, about the same middle."""
    x, y, w, h = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1]
    return x - AROUND * w / 2, y - AROUND * h / 2, x + AROUND * w / 2, y + AROUND * h / 2


def iou(points: np.ndarray, box: Box) -> float:
    """Of the box around (N, 2) points and a box."""
    low, high = points.min(0), points.max(0)
    shared = np.minimum(high, box[2:]) - np.maximum(low, box[:2])
    both = float(np.clip(shared, 0, None).prod())
    return both / (float((high - low).prod()) + (box[2] - box[0]) * (box[3] - box[1]) - both)


def faces_in(mesh: mp.solutions.face_mesh.FaceMesh, pixels: np.ndarray) -> list[np.ndarray]:
    """The (478, 2) points of each face, in pixels."""
    height, width = pixels.shape[:2]
    found = mesh.process(np.ascontiguousarray(pixels)).multi_face_landmarks or ()
    return [np.array([(p.x * width, p.y * height) for p in face.landmark]) for face in found]


def landmarks_of(
    mesh: mp.solutions.face_mesh.FaceMesh, pixels: np.ndarray, boxes: list[Box] | None
) -> Iterator[np.ndarray]:
    """Points of each box's face where one is found, or of all faces where there are no boxes."""
    if boxes is None:
        square, corner = square_of(pixels, (0, 0, pixels.shape[1], pixels.shape[0]))
        yield from (points + corner for points in faces_in(mesh, square))
    for box in boxes or ():
        square, corner = square_of(pixels, larger(box))
        found = [points + corner for points in faces_in(mesh, square)]
        best = max(found, key=lambda points: iou(points, box), default=None)
        if best is not None and iou(best, box) >= OVERLAP:
            yield best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="a .csv file")
    parser.add_argument("--boxes", type=Path, help="face boxes (.csv: path,x1,y1,x2,y2)")
    parser.add_argument("--split")
    parser.add_argument("--label")
    parser.add_argument("--faces", type=int, default=5, help="most faces of an image, or of a square (default 5)")
    options = parser.parse_args()
    if options.out.suffix != ".csv":
        raise SystemExit(f"--out is a .csv file, got '{options.out.name}'")
    paths = images_of(options.source, options.split, options.label)
    if not paths:
        raise SystemExit(f"{options.source} has no image that was asked for")
    known = boxes_of(options.boxes) if options.boxes else {}
    boxed = points_of = 0
    unread: list[str] = []
    options.out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = options.out.with_suffix(".part")
    with (
        unfinished.open("w", newline="", encoding="utf-8") as file,
        mp.solutions.face_mesh.FaceMesh(
            static_image_mode=True, max_num_faces=options.faces, refine_landmarks=True, min_detection_confidence=0.5
        ) as mesh,
    ):
        writer = csv.writer(file)
        writer.writerow(["path", "score", *(f"{axis}{i}" for i in range(COUNT) for axis in "xy")])
        for path in paths:
            try:
                with Image.open(path) as image:
                    pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
            except (OSError, ValueError) as error:
                unread.append(path)
                print(f"{path} cannot be read and has no row: {error}", file=sys.stderr)
                continue
            boxes = known.get(os.path.realpath(path))
            found = list(landmarks_of(mesh, pixels, boxes))
            boxed, points_of = boxed + len(boxes or ()), points_of + len(found)
            for points in found:
                writer.writerow([path, "1", *(f"{v:.9g}" for v in points.ravel())])
            if not found:
                writer.writerow([path, "", *[""] * (2 * COUNT)])
    unfinished.replace(options.out)
    looked = len(paths) - len(unread)
    print(f"{options.out}: {looked} images, {points_of} faces with points, {boxed} boxes", file=sys.stderr)
    sys.exit(1 if unread else 0)


if __name__ == "__main__":
    main()
