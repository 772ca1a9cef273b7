"""Warping: a resampled face among sharp surroundings shows, contrast and brightness do not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage

from unmask.core.types import Face, UInt8Image
from unmask.data.degradations import noise, resample, tone
from unmask.features.base import Subject
from unmask.features.warping import Warping
from unmask.ops.sharpness import blur, octaves, sharpness

FACE = Face((90, 80, 210, 230))


@pytest.fixture(scope="module")
def texture() -> UInt8Image:
    """Leaves of all sizes: as sharp everywhere, whatever their contrast."""
    generator = np.random.default_rng(0)
    image = np.full((320, 320, 3), 128, np.uint8)
    for _ in range(1500):
        centre, radius = generator.integers(0, 320, 2).tolist(), int(generator.integers(2, 18))
        cv2.circle(image, centre, radius, generator.integers(40, 216, 3).tolist(), -1, cv2.LINE_AA)
    return image


def measured(image: UInt8Image) -> dict[str, float]:
    feature = Warping()
    values = feature.measure([Subject(image, FACE)])[0].values
    assert values is not None
    return dict(zip(feature.columns, values.tolist(), strict=True))


def with_face(image: UInt8Image, other: UInt8Image) -> UInt8Image:
    """``other`` inside the face's ellipse."""
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.ellipse(mask, ((150, 155), (120, 150), 0), 1, -1)
    return np.where(mask[..., None] > 0, other, image)


def test_even_sharpness_has_no_difference(texture: UInt8Image) -> None:
    found = measured(texture)
    assert all(abs(found[f"{what} {octave}"]) < 0.35 for what in ("difference", "step") for octave in (1, 2))
    assert abs(found["noise"]) < 0.7


@pytest.mark.parametrize("factor", [0.5, 0.35])
def test_a_resampled_face_lacks_the_finest_octave(texture: UInt8Image, factor: float) -> None:
    clean, fake = measured(texture), measured(with_face(texture, resample(texture, factor)))
    assert fake["difference 1"] < clean["difference 1"] - 0.5 and fake["step 1"] < clean["step 1"] - 0.3
    whole = measured(resample(texture, factor))  # everything alike is no mismatch
    assert abs(whole["difference 1"] - clean["difference 1"]) < 0.25


def test_surroundings_softer_than_the_face_have_the_other_sign(texture: UInt8Image) -> None:
    assert measured(with_face(resample(texture, 0.5), texture))["difference 1"] > 0.5


def test_contrast_of_the_face_is_no_sharpness(texture: UInt8Image) -> None:
    clean, pale = measured(texture), measured(with_face(texture, tone(texture, contrast=0.6)))
    assert abs(pale["difference 1"] - clean["difference 1"]) < 0.15


def test_noise_on_the_face_alone_shows(texture: UInt8Image) -> None:
    smooth = cv2.GaussianBlur(texture, (0, 0), 2).astype(np.uint8)
    generator = np.random.default_rng(0)
    even = noise(smooth, 4.0, generator)
    uneven = with_face(even, noise(smooth, 8.0, generator))
    assert measured(uneven)["noise"] - measured(even)["noise"] == pytest.approx(np.log(2), abs=0.15)


def test_where_it_cannot_tell_there_is_a_reason(texture: UInt8Image) -> None:
    flat = np.full((320, 320, 3), 90, np.uint8)
    subjects = [Subject(flat, FACE), Subject(texture, Face((0, 0, 30, 60))), Subject(texture)]
    assert [m.status for m in Warping().measure(subjects)] == ["not_applicable", "too_small", "no_face"]


def test_blur_is_scipys_and_sharpness_knows_the_octaves(texture: UInt8Image) -> None:
    image = torch.from_numpy(texture[:64, :80]).permute(2, 0, 1)[None].float() / 255
    mine = blur(image, 1.7)[0, 1].numpy()
    np.testing.assert_allclose(
        mine, ndimage.gaussian_filter(image[0, 1].numpy(), 1.7, mode="nearest", radius=5), atol=1e-5
    )
    found = sharpness(octaves(image))
    assert found.shape == (1, 2, 64, 80)
    assert sharpness(octaves(torch.full((1, 3, 32, 32), 0.3))).abs().max() < 1e-4  # flat
    half = sharpness(octaves(image * 0.5 + 0.2))
    assert (half - found).abs().median() < 0.1  # another contrast


def test_the_map_shows_where_the_face_was_resampled(texture: UInt8Image) -> None:
    from unmask.nn.maps import create_map

    fake = with_face(texture, resample(texture, 0.5))
    image = torch.from_numpy(fake).permute(2, 0, 1)[None].float() / 255
    found = create_map(str(Warping.map_name))(image)
    assert found.shape == (1, 2, 320, 320) and found.flatten(2).median(2).values.abs().max() < 1e-5
    inside = found[0, 0, 100:210, 110:190].median()
    outside = torch.cat([found[0, 0, :60].flatten(), found[0, 0, 260:].flatten()]).median()
    assert inside < outside - 0.3
    mask = (np.hypot((np.mgrid[:320, :320][1] - 150) / 60, (np.mgrid[:320, :320][0] - 155) / 75) <= 1).ravel()
    from sklearn.metrics import roc_auc_score

    assert roc_auc_score(mask, -found[0, 0].numpy().ravel()) > 0.85
