"""Head pose: a known head, turned and projected, gives its angles back; a face that looks elsewhere is told."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from unmask.core.types import Face, Landmarks
from unmask.features.base import Measured, Subject
from unmask.features.head import INNER, JAW, face_camera, head_pose
from unmask.features.pose import HeadPoseConsistency

HEAD = INNER | JAW
IMAGE = np.zeros((480, 640, 3), np.uint8)
CAMERA = np.array([[900.0, 0, 320], [0, 900, 240], [0, 0, 1]])
FEATURE = HeadPoseConsistency()


def rotation(pitch: float, yaw: float, roll: float) -> np.ndarray:
    """By SciPy: rolled clockwise, then pitched up, then turned to the image's right."""
    return Rotation.from_euler("YXZ", [-yaw, -pitch, roll], degrees=True).as_matrix()


def project(turn: np.ndarray, part: dict[int, tuple[float, float, float]] = HEAD, away: float = 9.0) -> np.ndarray:
    """(468, 2) points of the head in a photo taken by ``CAMERA``; only the points of ``part`` are set."""
    points = np.zeros((468, 2))
    model = np.array(list(part.values()))
    shift = np.array([0.4, -0.3, away])
    points[list(part)] = cv2.projectPoints(model, cv2.Rodrigues(turn)[0], shift, CAMERA, None)[0][:, 0]
    return points


def measure(points: np.ndarray) -> Measured:
    landmarks = Landmarks(points.astype(np.float32))
    return FEATURE.measure([Subject(IMAGE, Face((0, 0, 9, 9)), landmarks)])[0]


def named(found: Measured) -> dict[str, float]:
    assert found.status == "ok" and found.values is not None
    return dict(zip(FEATURE.columns, found.values.tolist(), strict=True))


GRID = list(product((-25, -10, 0, 15, 30), (-45, -20, 0, 10, 40), (-30, 0, 20)))


def test_a_known_camera_gives_a_turned_heads_angles_back() -> None:
    for wanted in GRID:
        pose = head_pose(project(rotation(*wanted)), camera=CAMERA)
        assert pose is not None and pose.error < 1e-4
        np.testing.assert_allclose(pose.angles, wanted, atol=0.01)
        np.testing.assert_allclose(pose.rotation, rotation(*wanted), atol=1e-4)


def test_an_unknown_camera_costs_a_degree_or_so() -> None:
    worst = 0.0
    for wanted in GRID:
        turn = rotation(*wanted)
        points = project(turn)
        # the camera of the feature looks at the middle of the face, the photo's looks past it: known from geometry
        ray = np.linalg.inv(CAMERA) @ np.append(face_camera(points)[0][:2, 2], 1)
        aside = Rotation.from_rotvec(np.cross(ray, (0, 0, 1)) / np.linalg.norm(ray)).as_matrix()
        for part in (None, list(INNER)):
            pose = head_pose(points, part)
            assert pose is not None
            worst = max(worst, np.rad2deg(Rotation.from_matrix(pose.rotation @ (aside @ turn).T).magnitude()))
    assert worst < 2.0


def test_noise_moves_the_angles_little() -> None:
    random = np.random.default_rng(0)
    clean = project(rotation(5, -15, 3))
    unit = face_camera(clean)[1]
    off = []
    for _ in range(40):
        noisy = clean + random.normal(0, 0.02 * unit, clean.shape)  # 2 % of the eye distance
        off.append(np.subtract(head_pose(noisy, camera=CAMERA).angles, (5, -15, 3)))
    assert np.abs(np.mean(off, 0)).max() < 0.5 and np.std(off, 0).max() < 1.5


def test_an_inner_face_that_looks_elsewhere_is_told() -> None:
    points = project(rotation(0, 10, 0))
    same = named(measure(points))
    assert same["turn.angle"] < 1.0 and same["facing.cosine"] > 0.999
    aside = project(rotation(0, 22, 0), INNER)
    swapped = points.copy()
    swapped[list(INNER)] = aside[list(INNER)]
    other = named(measure(swapped))
    assert 7 < other["difference.yaw"] < 17 and other["turn.angle"] > 7
    assert abs(other["difference.roll"]) < 3
    assert other["facing.cosine"] == pytest.approx(np.cos(np.deg2rad(other["turn.angle"])), abs=5e-3)


def test_crop_and_size_change_nothing() -> None:
    points = project(rotation(-8, 20, 5))
    np.testing.assert_allclose(measure(points * 0.5 - 70).values, measure(points).values, atol=0.02)


def test_a_mirrored_face_has_mirrored_angles() -> None:
    from unmask.nn.landmarks import mirror_order

    points = project(rotation(-8, 20, 5))
    mirrored = points[mirror_order()] * (-1, 1) + (640, 0)
    here, there = named(measure(points)), named(measure(mirrored))
    for axis, sign in (("pitch", 1), ("yaw", -1), ("roll", -1)):
        assert there[f"whole.{axis}"] == pytest.approx(sign * here[f"whole.{axis}"], abs=0.05)


@pytest.mark.parametrize("points", [
    np.zeros((468, 2)),
    np.stack([np.arange(468.0)] * 2, 1),
    np.full((468, 2), np.nan),
    np.random.default_rng(0).uniform(0, 200, (468, 2)),
])  # fmt: skip
def test_points_that_are_no_face(points: np.ndarray) -> None:
    assert measure(points) == Measured("not_applicable", None)


def test_it_says_what_is_missing() -> None:
    assert FEATURE.measure([Subject(IMAGE)])[0].status == "no_face"
    assert FEATURE.measure([Subject(IMAGE, Face((0, 0, 9, 9)))])[0].status == "no_landmarks"


def test_the_head_is_symmetric() -> None:
    from unmask.nn.landmarks import mirror_order

    order = mirror_order()
    for point, place in HEAD.items():
        np.testing.assert_allclose(HEAD[int(order[point])], np.multiply(place, (-1, 1, 1)))


def test_the_page_on_landmarks_runs() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "landmarks.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 3
    scope: dict[str, Any] = {}
    for block in blocks:
        exec(block, scope)
