"""Corneal highlights on drawn eyes: equal ones agree, others do not, and small or dull eyes say nothing."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from unmask.core.types import Face, Landmarks, UInt8Image
from unmask.features.base import Subject
from unmask.features.corneal import CornealHighlights, compare, find_iris, given_iris, upright_eye
from unmask.nn.landmarks import COUNT, COUNT_WITH_IRISES, IRISES, REGIONS

FACE = Face((40, 40, 360, 360))
Spots = Sequence[tuple[float, float, float]]


def contour(centre: tuple[float, float], width: float) -> np.ndarray:
    """16 points of an almond, corner to corner and back, as the face mesh orders the left eye."""
    x = np.concatenate([np.linspace(-1, 1, 9), np.linspace(1, -1, 9)[1:-1]])
    height = 0.42 * (1 - x**2) * np.concatenate([np.full(9, 1.0), np.full(7, -1.0)])
    return np.stack([centre[0] + x * width / 2, centre[1] + height * width / 2], 1)


def eyes(
    left: Spots,
    right: Spots,
    *,
    width: float = 80.0,
    gaze: float = 0.0,
    degrees: float = 0.0,
    iris: int = 70,
    irises: bool = False,
) -> tuple[UInt8Image, Landmarks]:
    """A drawing of two eyes; spots are x, y and radius in iris radii from the iris's middle."""
    big, scale = np.full((1600, 1600, 3), 170, np.uint8), 4
    points = np.zeros((COUNT_WITH_IRISES if irises else COUNT, 2), np.float32)
    for part, centre, spots in (("left_eye", (130.0, 200.0), left), ("right_eye", (270.0, 200.0), right)):
        outline = contour(centre, width)
        if part == "right_eye":  # the mesh runs from the outer corner too
            outline = contour((-centre[0], centre[1]), width) * (-1, 1)
        layer = np.full_like(big, 225)
        radius = 0.205 * width
        middle = np.array([centre[0] + gaze * width, centre[1] - 0.02 * width])
        cv2.circle(
            layer, (scale * middle).astype(int).tolist(), round(scale * radius), (iris, iris, iris), -1, cv2.LINE_AA
        )
        cv2.circle(
            layer, (scale * middle).astype(int).tolist(), round(scale * radius * 0.4), (15, 15, 15), -1, cv2.LINE_AA
        )
        for x, y, size in spots:
            place = (scale * (middle + np.array([x, y]) * radius)).astype(int).tolist()
            cv2.circle(layer, place, round(scale * size * radius), (250, 250, 250), -1, cv2.LINE_AA)
        mask = np.zeros(big.shape[:2], np.uint8)
        cv2.fillPoly(mask, [np.round(scale * outline).astype(np.int32)], 1)
        big[mask > 0] = layer[mask > 0]
        points[list(REGIONS[part])] = outline
        if irises:  # centre, then right, top, left and bottom as mediapipe gives them
            points[list(IRISES[part])] = middle + radius * np.array([(0, 0), (1, 0), (0, -1), (-1, 0), (0, 1)])
    image = cv2.resize(big, (400, 400), interpolation=cv2.INTER_AREA)
    matrix = cv2.getRotationMatrix2D((199.5, 199.5), degrees, 1.0)
    turned = cv2.warpAffine(image, matrix, (400, 400), borderMode=cv2.BORDER_REPLICATE).astype(np.uint8)
    linear, centre_of_turn = matrix[:, :2], np.array([200.0, 200.0])
    moved = (points - centre_of_turn) @ linear.T + centre_of_turn
    noisy = turned + np.random.default_rng(0).normal(0, 2, turned.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8), Landmarks(moved.astype(np.float32))


def measured(image: UInt8Image, landmarks: Landmarks) -> tuple[str, dict[str, float]]:
    feature = CornealHighlights()
    found = feature.measure([Subject(image, FACE, landmarks)])[0]
    return found.status, {} if found.values is None else dict(zip(feature.columns, found.values.tolist(), strict=True))


SPOT, OTHER = [(-0.35, -0.3, 0.22)], [(0.4, 0.3, 0.22)]


@pytest.mark.parametrize(("gaze", "degrees", "width"), [(0.0, 0.0, 80.0), (0.08, 12.0, 80.0), (-0.06, -20.0, 48.0)])
def test_equal_highlights_agree_and_others_do_not(gaze: float, degrees: float, width: float) -> None:
    status, same = measured(*eyes(SPOT, SPOT, gaze=gaze, degrees=degrees, width=width))
    assert status == "ok" and same["iou"] > 0.6 and same["imbalance"] < 0.3
    assert same["share"] == pytest.approx(0.22**2 / 0.8**2, rel=0.4 if width > 50 else 0.7)  # few pixels, soft edges
    status, other = measured(*eyes(SPOT, OTHER, gaze=gaze, degrees=degrees, width=width))
    assert status == "ok" and other["iou"] < 0.1


@pytest.mark.parametrize(("gaze", "degrees", "width"), [(0.0, 0.0, 80.0), (0.1, 12.0, 80.0), (-0.06, -20.0, 48.0)])
def test_given_irises_are_where_they_are_drawn(gaze: float, degrees: float, width: float) -> None:
    _, landmarks = eyes(SPOT, SPOT, gaze=gaze, degrees=degrees, width=width, irises=True)
    points = np.asarray(landmarks.points, np.float64)
    for part in IRISES:
        circle = given_iris(points[list(REGIONS[part])], points[list(IRISES[part])])
        assert circle == pytest.approx(
            (63.5 + gaze * 96, 63.5 - 0.02 * 96, 0.205 * 96), abs=0.05
        )  # in places of pixels


def test_given_irises_take_the_place_of_the_search() -> None:
    for other, low, high in ((SPOT, 0.6, 1.0), (OTHER, 0.0, 0.1)):
        status, values = measured(*eyes(SPOT, other, irises=True))
        assert status == "ok" and low <= values["iou"] <= high
    image, landmarks = eyes(SPOT, SPOT, irises=True)
    moved = landmarks.points.copy()
    moved[list(IRISES["left_eye"])] += (16, 0)  # a radius: the light in it is another
    assert measured(image, Landmarks(moved))[1]["iou"] < 0.3 < 0.6 < measured(image, landmarks)[1]["iou"]


def test_given_irises_that_say_nothing_have_no_value() -> None:
    image, landmarks = eyes(SPOT, SPOT, irises=True)
    for part in IRISES:
        dot, shut = landmarks.points.copy(), landmarks.points.copy()
        dot[list(IRISES[part])] = dot[IRISES[part][0]]
        contour = list(REGIONS[part])
        shut[contour, 1] = 200 + (shut[contour, 1] - 200) * 0.1
        for points in (dot, shut):
            assert measured(image, Landmarks(points))[0] == "not_applicable"


def test_more_lights_in_one_eye_lie_between_and_none_in_one_is_zero() -> None:
    two = measured(*eyes([*SPOT, *OTHER], SPOT))[1]
    assert 0.25 < two["iou"] < 0.7 and two["imbalance"] > 0.2
    assert measured(*eyes(SPOT, []))[1] == pytest.approx({"iou": 0, "share": 0.038, "imbalance": 1}, abs=0.02)


def test_eyes_that_say_nothing_have_no_value() -> None:
    assert measured(*eyes([], []))[0] == "not_applicable"  # no highlight
    assert measured(*eyes(SPOT, SPOT, width=18.0))[0] == "not_applicable"  # under 20 pixels
    image, landmarks = eyes(SPOT, SPOT)
    assert measured(np.full_like(image, 120), landmarks)[0] == "not_applicable"  # no iris
    assert CornealHighlights().measure([Subject(image, FACE)])[0].status == "no_landmarks"


@pytest.mark.parametrize("gaze", [-0.12, -0.05, 0.0, 0.1])
@pytest.mark.parametrize("spots", [[], SPOT])
def test_the_iris_is_found_wherever_the_eye_looks(gaze: float, spots: Spots) -> None:
    image, landmarks = eyes(spots, spots, gaze=gaze)
    luma, seen = upright_eye(image, np.asarray(landmarks.points, np.float64)[list(REGIONS["left_eye"])])
    circle = find_iris(luma, seen)
    assert circle is not None
    x, y, radius = circle
    assert x == pytest.approx(64 + gaze * 96, abs=3) and y == pytest.approx(62, abs=3.5)
    assert radius == pytest.approx(0.205 * 96, abs=3)


def test_comparison_is_intersection_over_union() -> None:
    a, b, seen = np.zeros((56, 56), bool), np.zeros((56, 56), bool), np.ones((56, 56), bool)
    a[20:30, 20:30] = b[22:32, 23:33] = True
    assert compare((a, seen), (b, seen)).values[0] == 1.0  # type: ignore[index]  # within the shift allowed
    b = np.roll(a, 9, 1)  # four of nine pixels can be made up for
    assert compare((a, seen), (b, seen)).values[0] == pytest.approx(50 / 150)  # type: ignore[index]
