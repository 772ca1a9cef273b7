"""How far our landmarks follow a head that turns away: held-out portraits turned in depth, against the teacher.

    UNMASK_DATA=/data OMP_NUM_THREADS=1 python benchmarks/landmarks_turned.py runs/landmarks/06347421a782679b.npz

The argument is what ``python -m unmask.data.landmark_training`` keeps of the ``val`` photos. Portraits look ahead; the
face mesh's depth lets their pixels be moved as a turned head would show them (as Zhu et al., CVPR 2016, turn faces with
a 3-D model). What was hidden cannot appear, so faces are left out where the teacher's points lie farther than a tenth
of the eye distance from the turned ones. The truth is the teacher's answer on the turned picture.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import Delaunay

from unmask.core.types import Face, UInt8Image
from unmask.data.faces import align
from unmask.data.landmark_examples import KEPT, SURE, eye_distance, to_image3
from unmask.data.landmark_teacher import load_teacher, teach
from unmask.data.landmarks import LandmarkFinder, five_points
from unmask.nn.landmarks import REGIONS, mirror_order

GRID = 48
"""The displacement is interpolated at so many places a side and smoothly enlarged."""


def turn_head(
    square: UInt8Image, points: npt.NDArray[np.floating], yaw: float, pitch: float
) -> tuple[UInt8Image, npt.NDArray[np.float64]]:
    """The square with its head turned, and the turned (468, 3) points.

    Args:
        square: (S, S, 3).
        points: (468, 3), x and y as fractions of the square, z away from the camera in the same unit.
        yaw: degrees to the right of the image, on top of how the head stands.
        pitch: degrees up.
    """
    a, b = np.deg2rad([-yaw, -pitch])
    about_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    outline = points[list(REGIONS["outline"])].astype(float)
    centre = outline.mean(0)  # about the middle of the head, behind the face
    hair = centre + (outline - centre) * (1.45, 1.45, 1)
    before = np.concatenate([points.astype(float), hair])
    after = (before - centre) @ (about_y @ about_x).T + centre
    triangles = Delaunay(before[:, :2]).simplices
    flipped = _area(after[triangles, :2]) * _area(before[triangles, :2]) <= 0
    behind = np.unique(triangles[flipped])  # folded over: the front keeps its place
    behind = behind[after[behind, 2] > np.median(after[:, 2])]
    stays = np.setdiff1d(np.arange(len(before)), behind)
    line = np.linspace(-0.2, 1.2, 8)
    frame = np.array([(x, y) for x in line for y in line if x in line[[0, -1]] or y in line[[0, -1]]])
    places = np.concatenate([after[stays, :2], frame])
    moves = np.concatenate([(before - after)[stays, :2], 0 * frame])
    axis = (np.arange(GRID) + 0.5) / GRID
    field = LinearNDInterpolator(places, moves)(*np.meshgrid(axis, axis)).astype(np.float32)
    side = len(square)
    fine = cv2.GaussianBlur(cv2.resize(field, (side, side), interpolation=cv2.INTER_LINEAR), (0, 0), side / 96)
    steps = np.arange(side, dtype=np.float32)
    x, y = steps + fine[..., 0] * side, steps[:, None] + fine[..., 1] * side
    turned = cv2.remap(square, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return turned.astype(np.uint8, copy=False), after[: len(points)]


def _area(triangles: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    first, second = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    signed: npt.NDArray[np.float64] = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    return signed


def main() -> None:
    torch.set_num_threads(1)
    teacher = load_teacher(
        Path(os.environ["UNMASK_DATA"]) / "facemodels" / "mediapipe_facemesh468_blazeface_landmark.safetensors"
    )
    finder, mirror, random = LandmarkFinder(), mirror_order(), np.random.default_rng(0)
    with np.load(sys.argv[1]) as held:
        squares, points = held["squares"], held["points"]
    rows = []
    for square, dense in zip(squares, points, strict=True):
        yaw = random.uniform(-40, 40)
        turned, place = turn_head(square, dense, yaw, 0)
        five = five_points(place[:, :2]) * KEPT
        cut, matrix = align(turned, five, 192, 0.76)
        said, logit = teach(teacher, [cut], mirror)
        truth = to_image3(said[0] * 192, matrix)[:, :2]
        unit = eye_distance(truth)
        if logit[0] < SURE or np.linalg.norm(truth - place[:, :2] * KEPT, axis=1).mean() > 0.1 * unit:
            rows.append((abs(yaw), -1.0))
            continue
        (found,) = finder.find(turned, [Face((0, 0, KEPT, KEPT), 1.0, tuple(map(tuple, five.tolist())))])
        rows.append((abs(yaw), np.inf if found is None else np.linalg.norm(found.points - truth, axis=1).mean() / unit))
    table = np.array(rows)
    for low, high in ((0, 10), (10, 20), (20, 30), (30, 40)):
        errors = table[(table[:, 0] >= low) & (table[:, 0] < high), 1]
        good = errors[(errors >= 0) & np.isfinite(errors)]
        print(f"turned {low}-{high} degrees: n {len(good)}, mean {100 * good.mean():.2f} %; left out "
              f"{(errors < 0).sum()}, without landmarks {np.isinf(errors).sum()}")  # fmt: skip


if __name__ == "__main__":
    main()
