"""Keypoints per part of the face: OpenCV's own, counted where they are."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from unmask.core.types import Face
from unmask.features.base import Subject
from unmask.features.keypoints import Keypoints, describe_keypoints, regions

POINTS = ((100.0, 110.0), (156.0, 110.0), (128.0, 140.0), (108.0, 170.0), (148.0, 170.0))
FACE = Face((70, 60, 186, 200), 1.0, POINTS)


def test_counts_are_opencvs_own(portrait_pixels: np.ndarray) -> None:
    parts = np.zeros((2, 256, 256), bool)
    parts[0, :, :128] = parts[1, 40:90, 60:200] = True
    values = describe_keypoints(portrait_pixels, parts).reshape(3, 2, 3)
    grey = cv2.cvtColor(portrait_pixels, cv2.COLOR_RGB2GRAY)
    for detector, found in ((cv2.SIFT_create(), values[0]), (cv2.AKAZE_create(), values[2])):
        points = detector.detect(grey, None)
        left = [p for p in points if round(p.pt[0]) < 128]
        assert found[0, 0] == len(left) > 10
        assert found[0, 1] == pytest.approx(len(left) / 32.768, rel=1e-5)
        assert found[0, 2] == pytest.approx(sum(p.response for p in left) / 32.768, rel=1e-5)
        box = [p for p in points if 40 <= round(p.pt[1]) < 90 and 60 <= round(p.pt[0]) < 200]
        assert found[1, 0] == len(box)
    assert values[1, 0, 0] > 10  # ORB is there too


@pytest.mark.parametrize("part", ["eyes", "mouth"])
def test_texture_on_one_part_is_found_there_and_nowhere_else(part: str) -> None:
    image = np.full((256, 256, 3), 128, np.uint8)
    noise = np.random.default_rng(0).integers(0, 2, (8, 8)).repeat(6, 0).repeat(6, 1) * 200 + 20
    for x, y in [POINTS[0], POINTS[1]] if part == "eyes" else [(128.0, 170.0)]:
        patch = noise[:16, :16] if part == "eyes" else noise[:24, :24]
        half = len(patch) // 2
        image[int(y) - half : int(y) + half, int(x) - half : int(x) + half] = patch[..., None]
    image = cv2.GaussianBlur(image, (0, 0), 1)
    feature = Keypoints()
    values = dict(zip(feature.columns, feature.measure([Subject(image, FACE)])[0].values, strict=True))  # type: ignore[arg-type]
    other = "mouth" if part == "eyes" else "eyes"
    for detector in ("sift", "akaze"):
        assert values[f"{detector} {part} count"] > 0 and values[f"{detector} {part} response"] > 0
        assert values[f"{detector} {other} count"] == 0 == values[f"{detector} {other} response"]
        assert values[f"{detector} face count"] >= values[f"{detector} {part} count"]


def test_blur_takes_keypoints_away(portrait_pixels: np.ndarray) -> None:
    feature = Keypoints()
    face = Face((80, 40, 180, 170), 1.0, ((110, 90), (150, 90), (130, 115), (113, 135), (147, 135)))
    sharp, soft = (
        feature.measure([Subject(i, face)])[0].values
        for i in (portrait_pixels, cv2.GaussianBlur(portrait_pixels, (0, 0), 3))
    )
    for column in ("sift face count", "orb face density", "akaze face response"):
        at = feature.columns.index(column)
        assert soft[at] < 0.7 * sharp[at]  # type: ignore[index]


def test_where_there_are_no_points_there_is_a_reason(portrait_pixels: np.ndarray) -> None:
    subjects = [
        Subject(portrait_pixels, f) for f in (None, Face((80, 40, 180, 170)), Face((0, 0, 20, 20), 1.0, POINTS))
    ]
    assert [m.status for m in Keypoints().measure(subjects)] == ["no_face", "no_landmarks", "too_small"]


def test_regions_are_where_the_points_are() -> None:
    face, eyes, mouth = regions(FACE, 256)
    assert eyes[110, 100] and eyes[110, 156] and not eyes[140, 128] and mouth[170, 128] and not mouth[110, 100]
    assert face[130, 128] and not face[61, 71]
