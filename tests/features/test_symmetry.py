"""Symmetry: a mirrored face has none of it left to find, wherever it stands and however it is turned."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.metrics import structural_similarity

from unmask.core.types import Face, Landmarks, UInt8Image
from unmask.data.faces import similarity
from unmask.features.base import Subject
from unmask.features.symmetry import Symmetry, midline, mirror_differences, misfit, upright
from unmask.nn.landmarks import ASSET, COUNT, mirror_order

FIVE = np.array([(100.0, 120.0), (156.0, 120.0), (128.0, 150.0), (104.0, 180.0), (152.0, 180.0)])


def half_and_half(image: UInt8Image) -> UInt8Image:
    """The left half and its mirror image: symmetric about x = 128."""
    return np.concatenate([image[:, :128], image[:, 127::-1]], 1)


def turned(image: UInt8Image, degrees: float, shift: tuple[float, float]) -> tuple[UInt8Image, np.ndarray]:
    matrix = cv2.getRotationMatrix2D((128, 140), degrees, 0.9)
    matrix[:, 2] += shift
    centre = matrix[:, :2] @ (0.5, 0.5) - 0.5
    warp = matrix.copy()
    warp[:, 2] += centre
    moved = cv2.warpAffine(image, warp, (256, 256), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    return moved.astype(np.uint8), FIVE @ matrix[:, :2].T + matrix[:, 2]


def measured(image: UInt8Image, five: np.ndarray) -> dict[str, float]:
    feature = Symmetry()
    face = Face((70, 60, 186, 220), 1.0, tuple(map(tuple, five.tolist())))
    values = feature.measure([Subject(image, face)])[0].values
    assert values is not None
    return dict(zip(feature.columns, values.tolist(), strict=True))


@pytest.fixture(scope="module")
def photo(portrait_pixels: np.ndarray) -> UInt8Image:
    return np.ascontiguousarray(portrait_pixels)


@pytest.mark.parametrize(("degrees", "shift"), [(0.0, (0.0, 0.0)), (17.0, (6.3, -4.6)), (-31.0, (-9.0, 3.5))])
def test_a_symmetric_face_scores_symmetric_however_it_is_turned(
    photo: UInt8Image, degrees: float, shift: tuple[float, float]
) -> None:
    even = measured(*turned(half_and_half(photo), degrees, shift))
    uneven = measured(*turned(photo, degrees, shift))
    assert even["points"] < 1e-6
    for column in ("light face", "structure face", "light eyes", "structure mouth", "colour face", "detail face"):
        assert even[column] < 0.35 * uneven[column], column
    if degrees == 0:
        assert even["light face"] < 0.002 and even["structure face"] < 0.01


def test_light_from_one_side_is_light_and_less_detail(photo: UInt8Image) -> None:
    even = half_and_half(photo)
    ramp = np.linspace(1, 0.55, 256)[None, :, None]
    lit = measured((even * ramp).astype(np.uint8), FIVE)
    clean = measured(even, FIVE)
    assert (
        lit["light face"] > clean["light face"] + 0.03
        and lit["detail face"] < 0.5 * measured(photo, FIVE)["detail face"]
    )


def test_one_changed_eye_shows_at_the_eyes(photo: UInt8Image) -> None:
    even = half_and_half(photo)
    changed = even.copy()
    cv2.circle(changed, (156, 120), 10, (20, 60, 200), -1)
    before, after = measured(even, FIVE), measured(changed, FIVE)
    assert (
        after["colour eyes"] > before["colour eyes"] + 0.01
        and after["structure eyes"] > before["structure eyes"] + 0.02
    )
    assert abs(after["colour mouth"] - before["colour mouth"]) < 1e-3


def test_structure_is_scikit_images_ssim(photo: UInt8Image) -> None:
    square = cv2.resize(photo, (128, 128), interpolation=cv2.INTER_AREA).astype(np.uint8)
    luma = cv2.cvtColor(square, cv2.COLOR_RGB2YCrCb)[..., 0] / 255
    _, expected = structural_similarity(
        luma, luma[:, ::-1], data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    np.testing.assert_allclose(mirror_differences(square)[3], 1 - expected, atol=2e-6)


@pytest.mark.parametrize("angle", [0.0, 20.0, -75.0, 160.0])
def test_the_midline_is_found_from_noisy_points(angle: float) -> None:
    generator = np.random.default_rng(1)
    half = generator.uniform((5, -60), (50, 60), (200, 2))
    points = np.concatenate([half, half * (-1, 1)])
    partners = np.concatenate([half * (-1, 1), half])
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    turn = np.array([[c, -s], [s, c]])
    p, q = (x @ turn.T + (70, 30) for x in (points, partners))
    assert misfit(p, q) < 1e-9
    a, b = midline(p + generator.normal(0, 1.5, p.shape), q + generator.normal(0, 1.5, q.shape))
    assert a == pytest.approx(-np.exp(2j * np.deg2rad(angle)), abs=0.02)  # a mirror about a line turned by the angle
    centre = 70 + 30j
    assert abs(a * centre.conjugate() + b - centre) < 1.0


def test_the_midline_is_the_middle_column(photo: UInt8Image) -> None:
    marked = np.zeros_like(photo)
    marked[:, 126:130] = 255
    image, five = turned(marked, 25.0, (4.0, 7.0))
    square = upright(image, five, five[[1, 0, 2, 4, 3]], five).astype(float)[..., 0]
    assert (square * (np.arange(128) + 0.5)).sum() / square.sum() == pytest.approx(64, abs=0.3)


@pytest.mark.skipif(not ASSET.is_file(), reason="no trained landmark network in this copy")
def test_dense_landmarks_take_the_place_of_the_five_points(photo: UInt8Image) -> None:
    order = mirror_order()
    generator = np.random.default_rng(0)
    dense = np.zeros((COUNT, 2))
    dense[:] = generator.uniform((80, 90), (176, 200), (COUNT, 2))
    from unmask.nn.landmarks import FIVE as PARTS

    for part, place in zip(PARTS, FIVE, strict=True):
        dense[list(part)] = place
    mirrored = dense[order] * (-1, 1) + (256, 0)
    dense = (dense + mirrored) / 2  # symmetric about x = 128
    tilted = dense @ similarity([(0, 0), (1, 0)], [(0, 0), (0.95, 0.2)])[:, :2].T
    face = Face((70, 60, 186, 220))
    feature = Symmetry()
    even = feature.measure([Subject(half_and_half(photo), face, Landmarks(dense.astype(np.float32)))])[0].values
    wrong = feature.measure([Subject(half_and_half(photo), face, Landmarks(tilted.astype(np.float32)))])[0].values
    assert even is not None and wrong is not None and even[0] < 0.002 < 0.01 < wrong[0] and even[-1] < 1e-6


def test_what_it_needs_and_its_map(photo: UInt8Image) -> None:
    feature = Symmetry()
    five = tuple(map(tuple, FIVE.tolist()))
    subjects = [
        Subject(photo),
        Subject(photo, Face((70, 60, 186, 220))),
        Subject(photo, Face((70, 60, 186, 220), 1.0, tuple((x / 10, y / 10) for x, y in five))),
    ]
    assert [m.status for m in feature.measure(subjects)] == ["no_face", "no_landmarks", "too_small"]
    assert all(feature.asymmetry_map(s) is None for s in subjects)
    found = feature.asymmetry_map(Subject(photo, Face((70, 60, 186, 220), 1.0, five)))
    assert found is not None and found.shape == (4, 128, 128)
    np.testing.assert_allclose(found, found[:, :, ::-1], atol=2e-3)  # a difference from one's mirror image mirrors
    with pytest.raises(ValueError, match="no map"):
        feature.create_map()
