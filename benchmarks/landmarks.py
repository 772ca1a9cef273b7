"""Our landmarks against their teacher on people they were not trained on, per part of the face, and images per second.

    UNMASK_DATA=/data OMP_NUM_THREADS=1 python benchmarks/landmarks.py pd_train.csv --boxes boxes.csv \
        [--sets val fixtures ffhq] [--sheet worst.png]

Sets: ``val`` is that split of the manifest; ``fixtures`` the 20 real photos of fixtures_pd_cc0; ``ffhq`` the first 100
of ffhq_real by hash of the name. Every face of at least 48 pixels counts where the teacher is steady: the mean of its
answers at three zooms, mirrored and not, is the truth (see unmask.data.landmark_examples). Distances are in units of
the distance of the outer eye corners (points 33 and 263). ``alone``: the teacher's single look at 1.5 face boxes
against that mean, for comparison. Speed is CPU time of one thread.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from unmask.core.types import Face, UInt8Image
from unmask.data.faces import FaceFinder, align, read_boxes
from unmask.data.intake import decode
from unmask.data.landmark_examples import STEADY, SURE, empty_squares, eye_distance, teacher_points
from unmask.data.landmark_teacher import load_teacher, teach
from unmask.data.landmarks import LandmarkFinder, to_image
from unmask.data.manifest import read_manifest
from unmask.nn.landmarks import REGIONS, mirror_order

GROUND = Path(os.environ["UNMASK_DATA"])
TEACHER = GROUND / "facemodels" / "mediapipe_facemesh468_blazeface_landmark.safetensors"
PARTS = {
    "all": tuple(range(468)),
    "eyes": REGIONS["left_eye"] + REGIONS["right_eye"],
    "brows": REGIONS["left_brow"] + REGIONS["right_brow"],
    "nose": REGIONS["nose"],
    "mouth": REGIONS["mouth"],
    "outline": REGIONS["outline"],
}


def files_of(name: str, manifest: Path) -> list[str]:
    """Absolute paths of a set's photos."""
    if name == "val":
        return [row.path for row in read_manifest(manifest).select("val") if row.label == 0]
    if name == "fixtures":
        return [str(path) for path in sorted((GROUND / "data/fixtures_pd_cc0/real").iterdir())]
    found = sorted((GROUND / "data/ffhq_real").rglob("*.jpg"), key=lambda p: hashlib.sha256(p.name.encode()).digest())
    return [str(path) for path in found[:100]]


def yaw_of(points: np.ndarray) -> float:
    """How far the nose lies from the middle of the outer eye corners, in eye distances: 0 looks ahead."""
    middle = (points[33, :2] + points[263, :2]) / 2
    across = points[263, :2] - points[33, :2]
    return float(abs((points[1, :2] - middle) @ across) / (across @ across))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--boxes", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=["val"], choices=["val", "fixtures", "ffhq"])
    parser.add_argument("--sheet", type=Path, help="draw the worst and the median faces of the last set")
    options = parser.parse_args()
    torch.set_num_threads(1)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    print(platform.machine(), os.cpu_count(), "cores; torch", torch.__version__, "; commit", commit)
    print("command: python", " ".join(sys.argv))
    known, teacher, finder, searcher = read_boxes(options.boxes), load_teacher(TEACHER), LandmarkFinder(), FaceFinder()
    mirror = mirror_order()
    for name in options.sets:
        files = files_of(name, options.manifest)
        digest = hashlib.sha256("".join(hashlib.sha256(Path(f).read_bytes()).hexdigest() for f in files).encode())
        rows: list[dict[str, float]] = []
        kept: list[tuple[float, UInt8Image, np.ndarray]] = []
        unsteady = missed = missed_box = false = empties = 0
        for file in files:
            photo = decode(file).pixels
            faces = known[file] if file in known else searcher.find([photo])[0]
            empty = empty_squares(photo, faces, np.random.default_rng(0), 2)
            if empty:
                whole = [Face((0.0, 0.0, float(e.shape[1]), float(e.shape[0]))) for e in empty]
                false += sum(finder.find(e, [w])[0] is not None for e, w in zip(empty, whole, strict=True))
                empties += len(empty)
            for face in faces:
                if face.points is None or max(face.box[2] - face.box[0], face.box[3] - face.box[1]) < 48:
                    continue
                truth, logit, apart = teacher_points(teacher, photo, face.points, mirror)
                if logit < SURE or apart > STEADY:
                    unsteady += 1
                    continue
                unit = eye_distance(truth)
                ours, by_box = finder.find(photo, [face, Face(face.box)])
                missed += ours is None
                missed_box += by_box is None
                if ours is None:
                    continue
                off = np.linalg.norm(ours.points - truth[:, :2], axis=1) / unit
                row = {part: float(off[list(points)].mean()) for part, points in PARTS.items()}
                once = finder.look(photo, [np.array(face.points)])[0][0]
                row["one look"] = float(np.linalg.norm(once - truth[:, :2], axis=1).mean() / unit)
                if by_box is not None:
                    row["by box"] = float(np.linalg.norm(by_box.points - truth[:, :2], axis=1).mean() / unit)
                square, matrix = align(photo, face.points, 192, 0.76)
                alone = to_image(teach(teacher, [square])[0][0, :, :2] * 192, matrix)
                row["alone"] = float(np.linalg.norm(alone - truth[:, :2], axis=1).mean() / unit)
                row["turned"] = yaw_of(truth)
                rows.append(row)
                kept.append((row["all"], align(photo, face.points, 320, 0.7)[0], _drawn(photo, face, ours.points)))
        print(f"\n{name}: {len(files)} photos (sha256 {digest.hexdigest()[:16]}), {len(rows) + missed} faces, "
              f"{unsteady} left out (teacher unsteady), {missed} without landmarks (by box {missed_box}); "
              f"landmarks in {false} of {empties} squares without a face")  # fmt: skip
        for part in (*PARTS, "one look", "by box", "alone"):
            values = np.array([row[part] for row in rows if part in row]) * 100
            print(f"  {part:9} mean {values.mean():.2f} %  median {np.median(values):.2f}  "
                  f"90th percentile {np.quantile(values, 0.9):.2f}  worst {values.max():.2f}")  # fmt: skip
        turned = np.array([row["turned"] for row in rows])
        every = np.array([row["all"] for row in rows]) * 100
        for low, high in ((0, 0.1), (0.1, 0.25), (0.25, 9)):
            some = (turned >= low) & (turned < high)
            if some.any():
                print(f"  nose {low}-{high} eye distances aside: n {some.sum()}, mean {every[some].mean():.2f} %")
        if options.sheet:
            kept.sort(key=lambda entry: -entry[0])
            chosen = [drawn for _, _, drawn in (*kept[:8], *kept[len(kept) // 2 : len(kept) // 2 + 8])]
            sheet = np.vstack([np.hstack(chosen[i : i + 4]) for i in range(0, len(chosen) // 4 * 4, 4)])
            cv2.imwrite(str(options.sheet), sheet[..., ::-1])
    _speed(finder)


def _drawn(photo: UInt8Image, face: Face, points: np.ndarray) -> UInt8Image:
    square, matrix = align(photo, face.points or (), 320, 0.7)
    square = square.copy()
    for x, y in points @ matrix[:, :2].T + matrix[:, 2]:
        cv2.circle(square, (round(float(x)), round(float(y))), 1, (0, 255, 0), -1)
    return square


def _speed(finder: LandmarkFinder) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (600, 800, 3)).astype(np.uint8)
    for count in (1, 16):
        faces = [
            Face((200.0, 150, 400, 400), 1.0, ((250, 240), (350, 240), (300, 300), (260, 340), (340, 340)))
        ] * count
        finder.find(photo, faces)
        start = time.process_time()
        for _ in range(64 // count):
            finder.find(photo, faces)
        print(f"speed, {count} at a time: {64 / (time.process_time() - start):.0f} faces/s (two looks each)")


if __name__ == "__main__":
    main()
