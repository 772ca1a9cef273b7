"""Landmarks from a file against those of our own network: places, head pose, irises, and what `corneal` makes of both.

    OMP_NUM_THREADS=1 python benchmarks/landmarks_given.py pd_train.csv --boxes boxes.csv --landmarks mediapipe.csv \
        [--sheet eyes.png]

The real photos of split ``val``; every face of at least 48 pixels that the boxes name. Distances are in units of the
distance of the outer eye corners (points 33 and 263) of the given points; a part's distance is the mean over its
points. ``shift``: the median over the faces of how far a part lies to the right and down of ours. Irises are compared
with the eye's contour and with our own search in eyes of at least 20 pixels, in widths of the eye. Nothing is drawn by
chance: there is no seed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from unmask.core.files import sha256_file
from unmask.core.types import Landmarks
from unmask.data.faces import read_boxes
from unmask.data.intake import decode
from unmask.data.landmarks import LandmarkFinder, landmarks_of, read_landmarks
from unmask.data.manifest import read_manifest
from unmask.features.base import Subject
from unmask.features.corneal import CornealHighlights, find_iris, given_iris, upright_eye
from unmask.features.pose import HeadPoseConsistency
from unmask.nn.landmarks import COUNT, COUNT_WITH_IRISES, IRISES, REGIONS

PARTS = {
    "all": tuple(range(COUNT)),
    "eyes": REGIONS["left_eye"] + REGIONS["right_eye"],
    "brows": REGIONS["left_brow"] + REGIONS["right_brow"],
    "nose": REGIONS["nose"],
    "mouth": REGIONS["mouth"],
    "outline": REGIONS["outline"],
}
WIDTH = 96  # of an eye that stands upright


def told(name: str, values: list[float], unit: str = "") -> None:
    print(f"  {name:34} median {np.median(values):.3g}{unit}  95th percentile {np.quantile(values, 0.95):.3g}{unit}"
          f"  worst {np.max(values):.3g}{unit}  (n {len(values)})")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--boxes", type=Path, required=True)
    parser.add_argument("--landmarks", type=Path, required=True)
    parser.add_argument(
        "--sheet", type=Path, help="draw the first 24 eyes: contour, given iris green, searched one red"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    print(platform.machine(), os.cpu_count(), "cores; torch", torch.__version__, "; commit", commit)
    print("command: python", " ".join(sys.argv))
    files = [row.path for row in read_manifest(options.manifest).select("val") if row.label == 0]
    digest = hashlib.sha256("".join(sha256_file(file) for file in files).encode()).hexdigest()
    boxes, given, finder = read_boxes(options.boxes), read_landmarks(options.landmarks), LandmarkFinder()
    points = hashlib.sha256(b"".join(one.points.tobytes() for file in files for one in given.get(file, []))).hexdigest()
    print(f"{len(files)} photos (sha256 {digest[:16]}), given points' sha256 {points[:16]}")
    pose, corneal = HeadPoseConsistency(), CornealHighlights()
    found: Counter[str] = Counter()
    status: Counter[str] = Counter()
    apart: dict[str, list[float]] = {part: [] for part in PARTS}
    shift: dict[str, list[np.ndarray]] = {part: [] for part in PARTS}
    turns: list[np.ndarray] = []
    iris: dict[str, list[float]] = {}
    drawn: list[np.ndarray] = []
    values: list[tuple[np.ndarray, np.ndarray]] = []
    for file in files:
        photo = decode(Path(file)).pixels
        for face in boxes[file]:
            if max(face.box[2] - face.box[0], face.box[3] - face.box[1]) < 48:
                continue
            (ours,), theirs = finder.find(photo, [face]), landmarks_of(face, given.get(file, []))
            found[f"ours {ours is not None}, given {theirs is not None}"] += 1
            if ours is None or theirs is None:
                continue
            unit = float(np.linalg.norm(theirs.points[33] - theirs.points[263]))
            off = (theirs.points[:COUNT] - ours.points) / unit
            for part, places in PARTS.items():
                apart[part].append(float(np.linalg.norm(off[list(places)], axis=1).mean()))
                shift[part].append(off[list(places)].mean(0))
            subject = Subject(photo, face)
            seen = {"ours": ours, "given mesh": Landmarks(theirs.points[:COUNT]), "given": theirs}
            poses = [pose.measure([replace(subject, landmarks=seen[which])])[0].values for which in ("ours", "given")]
            if poses[0] is not None and poses[1] is not None:
                turns.append(np.stack(poses))
            results = {}
            for which, landmarks in seen.items():
                results[which] = corneal.measure([replace(subject, landmarks=landmarks)])[0]
                status[f"{which}: {results[which].status}"] += 1
            if results["given mesh"].values is not None and results["given"].values is not None:
                values.append((results["given mesh"].values, results["given"].values))
            if len(theirs.points) == COUNT_WITH_IRISES:
                irises(photo, theirs, iris, drawn)
    if options.sheet and len(drawn) >= 24:
        cv2.imwrite(str(options.sheet), np.vstack([np.hstack(drawn[i : i + 4]) for i in range(0, 24, 4)]))
    print("faces:", dict(found))
    for part, distances in apart.items():
        told(f"distance, {part}", [100 * d for d in distances], " %")
        right, down = 100 * np.median(shift[part], 0)
        print(f"    shift {right:+.2f} % to the right, {down:+.2f} % down")
    first, second = np.array(turns).transpose(1, 0, 2)
    for name in ("whole.pitch", "whole.yaw", "whole.roll", "inner.pitch", "inner.yaw", "inner.roll"):
        change = second[:, pose.columns.index(name)] - first[:, pose.columns.index(name)]
        told(f"head pose, {name}", np.abs(change).tolist(), "°")
        print(f"    mean of given less ours: {change.mean():+.2f}°")
    for which, part in (("ours", first), ("given", second)):
        told(f"turn.angle, {which}", part[:, pose.columns.index("turn.angle")].tolist(), "°")
    for name, numbers in iris.items():
        told(f"iris, {name}", numbers)
    print("corneal:", dict(sorted(status.items())))
    if values:
        searched, taken = np.array(values).transpose(1, 0, 2)
        both = np.corrcoef(searched[:, 0], taken[:, 0])[0, 1]
        medians = [f"{np.median(part[:, 0]):.3f}" for part in (searched, taken)]
        print(f"  iou of {len(values)} faces with both on the given mesh: median by search {medians[0]}, "
              f"by given irises {medians[1]}, correlation {both:.2f}")  # fmt: skip


def irises(photo: np.ndarray, landmarks: Landmarks, told: dict[str, list[float]], drawn: list[np.ndarray]) -> None:
    """Given irises against the eye's contour and against our own search, in widths of the eye; a drawing of each."""
    points = np.asarray(landmarks.points, float)
    for part in IRISES:
        contour, iris = points[list(REGIONS[part])], points[list(IRISES[part])]
        if np.linalg.norm(contour[0] - contour[8]) < 20:
            continue
        luma, seen = upright_eye(photo, contour)
        circle = given_iris(contour, iris)
        assert circle is not None
        x, y, radius = circle
        middle = (WIDTH / 2 + (luma.shape[1] - WIDTH) / 2 - 0.5, luma.shape[0] / 2 - 0.5)
        inside = cv2.pointPolygonTest(contour.astype(np.float32), iris[0].tolist(), False) >= 0
        told.setdefault("centre outside the contour", []).append(float(not inside))
        told.setdefault("centre beside the corners' middle", []).append(abs(x - middle[0]) / WIDTH)
        told.setdefault("radius, in eye widths", []).append(radius / WIDTH)
        centre = np.linalg.norm(iris[0] - iris[1:].mean(0)) / np.linalg.norm(contour[0] - contour[8])
        told.setdefault("centre point to the ring's middle", []).append(float(centre))
        searched = find_iris(luma, seen)
        drawn.append(drawing(luma, seen, circle, searched))
        told.setdefault("search finds none", []).append(float(searched is None))
        if searched is not None:
            told.setdefault("search to given, centre", []).append(np.hypot(searched[0] - x, searched[1] - y) / WIDTH)
            told.setdefault("search below given", []).append((searched[1] - y) / WIDTH)
            told.setdefault("search over given, radius", []).append(searched[2] / radius)


def drawing(
    luma: np.ndarray, seen: np.ndarray, given: tuple[float, ...], searched: tuple[float, ...] | None
) -> np.ndarray:
    """An upright eye at three times its size, its contour and both irises on it."""
    large = cv2.resize(luma, None, fx=3, fy=3)
    tile = cv2.cvtColor((large * 255).clip(0, 255).astype(np.uint8), cv2.COLOR_GRAY2BGR)
    outline = cv2.findContours(
        cv2.resize(seen.astype(np.uint8), None, fx=3, fy=3), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )[0]
    cv2.drawContours(tile, outline, -1, (255, 255, 0), 1)
    for circle, colour in ((given, (0, 255, 0)), (searched, (0, 0, 255))):
        if circle is not None:
            x, y, radius = circle
            cv2.circle(tile, (round(3 * x + 1), round(3 * y + 1)), round(3 * radius), colour, 1)
    return tile[60:330]


if __name__ == "__main__":
    main()
