"""Edits that move content say exactly where to; overlays lie where they should and nowhere else."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.data import astronaut

from unmask.core.types import Face
from unmask.data import overlays
from unmask.data.degradations import DEGRADATIONS
from unmask.data.placement import Placement, crop_window, scaled

PHOTO = np.ascontiguousarray(astronaut()[0:240, 100:330])
MOVING = [name for name, row in DEGRADATIONS.items() if row.moves]


@pytest.mark.parametrize("name", MOVING)
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_a_mark_on_the_photo_is_found_where_the_mask_says(name: str, severity: int) -> None:
    image = np.full((200, 160, 3), 120, np.uint8)
    truth = np.zeros((200, 160), np.float32)
    image[90:120, 60:100] = (255, 0, 0)
    truth[90:120, 60:100] = 1
    for seed in range(4):
        edited, place = DEGRADATIONS[name].edit(image, severity, np.random.default_rng(seed))
        red = (edited[..., 0].astype(int) - edited[..., 2]) > 100
        mask = place.mask(truth) > 0.5
        assert (red & mask).sum() / (red | mask).sum() > 0.8
        back = place.back(red.astype(np.float32))
        known = ~np.isnan(back)
        again = np.where(known, back, 0) >= 0.5
        assert (again & (truth > 0)).sum() / (again | ((truth > 0) & known)).sum() > 0.85
        face = place.face(Face((60.0, 90.0, 100.0, 120.0), 0.9, ((70.0, 100.0),) * 5))
        assert face is not None and face.points is not None
        ys, xs = np.nonzero(red)
        assert np.allclose(face.box, (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1), atol=2)


@settings(max_examples=60, deadline=None)
@given(height=st.integers(20, 90), width=st.integers(20, 90), share=st.floats(0.3, 1.0), seed=st.integers(0, 99))
def test_a_crop_is_numpy_slicing_and_comes_back_exactly(height: int, width: int, share: float, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 255, (height, width, 3)).astype(np.uint8)
    place = crop_window((height, width), share, np.random.default_rng(seed))
    top, left = -place.top, -place.left
    window = (slice(top, top + place.after[0]), slice(left, left + place.after[1]))
    assert (place.image(values) == values[window]).all()
    grey = values[..., 0].astype(np.float32) / 255
    assert (place.mask(grey) == grey[window]).all()
    back = place.back(place.mask(grey))
    assert (back[window] == grey[window]).all()
    assert np.isnan(back).sum() == height * width - place.after[0] * place.after[1]


def test_scaling_agrees_with_opencv_and_moves_nothing_where_the_size_stays() -> None:
    place = scaled((240, 230), 0.5)
    assert (place.image(PHOTO) == cv2.resize(PHOTO, (115, 120), interpolation=cv2.INTER_AREA)).all()
    assert Placement.still((9, 7)) == scaled((9, 7), 1.0) and not scaled((9, 7), 1.0).moved
    face = Face((1, 2, 3, 4))
    assert Placement.still((9, 7)).face(face) is face
    values = np.random.default_rng(0).random((9, 7), np.float32)
    assert (Placement.still((9, 7)).back(values) == values).all()


def test_faces_that_are_cut_off_are_dropped_and_others_cut_down() -> None:
    place = Placement((100, 100), (100, 100), -50, 0, (50, 100))
    assert place.face(Face((10, 0, 30, 60))) is None
    cut = place.face(Face((10, 40, 30, 80)))
    assert cut is not None and cut.box == (10, 0, 30, 30)


def test_a_screenshot_holds_the_photo_untouched_at_full_size() -> None:
    screen, place = overlays.screenshot(PHOTO, 1.0, np.random.default_rng(0))
    there = screen[place.top : place.top + 240, place.left : place.left + 230]
    assert (there == PHOTO).all() and screen.shape[0] > 240


def test_a_messenger_shrinks_by_the_promised_factor_and_leaves_a_jpeg() -> None:
    sent, place = DEGRADATIONS["messenger"].edit(PHOTO, 2, np.random.default_rng(0))
    assert place.inner == place.after == sent.shape[:2] == (round(204 * 0.85), round(196 * 0.85))
    again = cv2.imdecode(cv2.imencode(".jpg", sent[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 72])[1], 1)[..., ::-1]
    assert np.abs(again.astype(int) - sent).mean() < 1.0, "a second JPEG of the same tables changes next to nothing"


@pytest.mark.parametrize("name", ["text", "sticker"])
def test_overlays_cover_a_part_and_leave_the_rest_to_the_bit(name: str) -> None:
    for seed in range(6):
        for severity in (1, 5):
            out = DEGRADATIONS[name](PHOTO, severity, np.random.default_rng(seed))
            changed = (out != PHOTO).any(2)
            assert 0.001 < changed.mean() < 0.3
    small = np.full((20, 15, 3), 90, np.uint8)
    assert DEGRADATIONS[name](small, 5, np.random.default_rng(0)).shape == small.shape


def test_beauty_smooths_skin_and_leaves_what_is_not_skin() -> None:
    generator = np.random.default_rng(0)
    image = np.empty((80, 120, 3), np.uint8)
    image[:, :60], image[:, 60:] = (205, 150, 125), (60, 90, 200)  # a skin tone; a blue wall
    noisy = (image + generator.normal(0, 6, image.shape)).clip(0, 255).astype(np.uint8)
    assert overlays.skin(noisy)[:, :50].min() > 0.9 and overlays.skin(noisy)[:, 70:].max() < 0.05
    out = overlays.beauty(noisy, 30.0)
    assert out[:, :50].std(axis=(0, 1)).max() < 0.6 * noisy[:, :50].std(axis=(0, 1)).min()
    assert np.abs(out[:, 75:].astype(int) - noisy[:, 75:]).max() <= 1


def test_no_saturation_is_the_luma_of_opencv() -> None:
    grey = DEGRADATIONS["saturation"](PHOTO, 5, np.random.default_rng(0))
    expected = cv2.cvtColor(PHOTO, cv2.COLOR_RGB2GRAY)
    assert np.abs(grey.astype(int) - expected[..., None]).max() <= 1
