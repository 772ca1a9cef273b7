"""Landmarks of real photos: right places, moved as the image moves, nothing where there is no face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unmask.core.types import Face, Landmarks, UInt8Image
from unmask.data.faces import FaceFinder
from unmask.data.landmarks import LandmarkFinder, five_points
from unmask.nn.landmarks import REGIONS, mirror_order


@pytest.fixture(scope="module")
def photo(astronaut: Path) -> UInt8Image:
    with Image.open(astronaut) as image:
        return np.asarray(image.convert("RGB"))[:320, 64:384].copy()


@pytest.fixture(scope="module")
def face(photo: UInt8Image) -> Face:
    return FaceFinder().find([photo])[0][0]


@pytest.fixture(scope="module")
def finder() -> LandmarkFinder:
    return LandmarkFinder()


@pytest.fixture(scope="module")
def found(finder: LandmarkFinder, photo: UInt8Image, face: Face) -> Landmarks:
    (landmarks,) = finder.find(photo, [face])
    assert landmarks is not None
    return landmarks


def unit(landmarks: Landmarks) -> float:
    return float(np.linalg.norm(landmarks.points[33] - landmarks.points[263]))


def apart(landmarks: Landmarks | None, wanted: np.ndarray, scale: float) -> float:
    assert landmarks is not None
    return float(np.linalg.norm(landmarks.points - wanted, axis=1).mean()) / scale


def test_the_points_lie_where_the_face_search_puts_them(found: Landmarks, face: Face) -> None:
    assert found.points.shape == (468, 2) and found.points.dtype == np.float32 and found.score > 0.9
    off = np.linalg.norm(five_points(found.points) - np.array(face.points), axis=1) / unit(found)
    assert off.max() < 0.08


def test_the_eyes_are_dark_and_the_parts_in_place(found: Landmarks, photo: UInt8Image) -> None:
    middle = {name: found.points[list(points)].mean(0) for name, points in REGIONS.items()}
    assert middle["left_eye"][0] < middle["nose"][0] < middle["right_eye"][0]
    assert middle["left_brow"][1] < middle["left_eye"][1] < middle["nose"][1] < middle["mouth"][1]
    assert middle["mouth"][1] < found.points[152, 1]  # the chin
    grey = photo.mean(2)
    cheek = grey[tuple(found.points[50, ::-1].astype(int))]
    for eye in ("left_eye", "right_eye"):
        x, y = middle[eye].round().astype(int)
        assert grey[y - 1 : y + 2, x - 1 : x + 2].mean() < cheek - 50


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_rotated_image_gives_rotated_points(
    quarters: int, finder: LandmarkFinder, photo: UInt8Image, face: Face, found: Landmarks
) -> None:
    side = photo.shape[0]

    def turned(points: np.ndarray) -> np.ndarray:
        for _ in range(quarters):
            points = np.stack([points[:, 1], side - points[:, 0]], 1)
        return points

    assert face.points is not None
    corners = turned(np.array([face.box[:2], face.box[2:]]))
    box = (*corners.min(0).tolist(), *corners.max(0).tolist())
    moved = Face(box, 1.0, tuple(map(tuple, turned(np.array(face.points)).tolist())))  # type: ignore[arg-type]
    (there,) = finder.find(np.ascontiguousarray(np.rot90(photo, quarters)), [moved])
    assert apart(there, turned(found.points), unit(found)) < 0.01


def test_a_mirrored_image_gives_mirrored_points(
    finder: LandmarkFinder, photo: UInt8Image, face: Face, found: Landmarks
) -> None:
    assert face.points is not None
    width, swap = photo.shape[1], (1, 0, 2, 4, 3)
    x1, y1, x2, y2 = face.box
    points = tuple((width - face.points[i][0], face.points[i][1]) for i in swap)
    (there,) = finder.find(np.ascontiguousarray(photo[:, ::-1]), [Face((width - x2, y1, width - x1, y2), 1.0, points)])
    wanted = found.points[mirror_order()] * (-1, 1) + (width, 0)
    assert apart(there, wanted, unit(found)) < 0.04


def test_a_smaller_image_gives_the_same_points(
    finder: LandmarkFinder, face: Face, photo: UInt8Image, found: Landmarks
) -> None:
    half = np.asarray(Image.fromarray(photo).reduce(2))
    (there,) = finder.find(half, [Face(tuple(v / 2 for v in face.box))])  # type: ignore[arg-type]
    assert apart(there, found.points / 2, unit(found) / 2) < 0.05


def test_a_box_without_points_is_enough(
    finder: LandmarkFinder, photo: UInt8Image, face: Face, found: Landmarks
) -> None:
    by_box, same_spot = finder.find(photo, [Face(face.box), Face(face.box, 1.0, ((5.0, 5.0),) * 5)])
    assert apart(by_box, found.points, unit(found)) < 0.03
    assert apart(same_spot, found.points, unit(found)) < 0.03  # five points on one spot say nothing


def test_a_face_cut_by_the_border(finder: LandmarkFinder, photo: UInt8Image, face: Face, found: Landmarks) -> None:
    """The image ends at the chin and at the left cheek."""
    left, bottom = int(found.points[234, 0]) + 3, int(found.points[152, 1]) - 2
    cut = np.ascontiguousarray(photo[:bottom, left:])
    assert face.points is not None
    points = tuple((x - left, y) for x, y in face.points)
    x1, y1, x2, y2 = face.box
    (there,) = finder.find(cut, [Face((x1 - left, y1, x2 - left, y2), 1.0, points)])
    assert apart(there, found.points - (left, 0), unit(found)) < 0.08


def test_no_face_and_small_faces_have_no_landmarks(finder: LandmarkFinder, photo: UInt8Image, face: Face) -> None:
    flat = np.full((200, 200, 3), 128, np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3)).astype(np.uint8)
    assert finder.find(photo, []) == []
    assert finder.find(flat, [Face((40, 40, 160, 160))]) == [None]
    assert finder.find(noise, [Face((40, 40, 160, 160))]) == [None]
    upside_down = np.ascontiguousarray(photo[::-1])
    x1, y1, x2, y2 = face.box
    assert finder.find(upside_down, [Face((x1, 320 - y2, x2, 320 - y1))]) == [None]
    small = Face((x1, y1, x1 + 31, y1 + 31))
    assert finder.find(photo, [small, face])[0] is None


def test_many_faces_in_small_batches_are_the_same(photo: UInt8Image, face: Face, found: Landmarks) -> None:
    several = LandmarkFinder(batch=2).find(photo, [face, Face((0, 0, 10, 10)), face, face])
    assert several[1] is None
    for landmarks in (several[0], several[2], several[3]):
        assert apart(landmarks, found.points, unit(found)) < 1e-4
