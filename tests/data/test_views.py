"""Views: what is seen is where it says, and maps go there and back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unmask.core.types import Face, ViewConfig
from unmask.data.views import views

RNG = np.random.default_rng(0)
PHOTO = cv2.GaussianBlur(RNG.integers(0, 256, (300, 420, 3), dtype=np.uint8), (0, 0), 4).astype(np.uint8)
FACE = Face((100, 80, 180, 190))


def test_a_face_view_is_opencv_s_area_average_of_its_square() -> None:
    (view,) = views(PHOTO, [FACE], ViewConfig(size=64, margin=1.6))
    x1, y1, x2, y2 = view.box
    assert x2 - x1 == y2 - y1 == 176 and view.face is FACE
    expected = cv2.resize(PHOTO[y1:y2, x1:x2], (64, 64), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(view.pixels, expected)


def test_outside_is_mirrored_as_opencv_does() -> None:
    (view,) = views(PHOTO, [Face((100, 10, 380, 290))], ViewConfig(size=420, margin=1.5))
    assert view.box == (0, -60, 420, 360)
    np.testing.assert_array_equal(view.pixels, cv2.copyMakeBorder(PHOTO, 60, 60, 0, 0, cv2.BORDER_REFLECT_101))


def test_a_square_that_fits_is_moved_inside() -> None:
    (view,) = views(PHOTO, [Face((-20, 250, 90, 310))], ViewConfig(size=110, margin=1.0))
    assert view.box == (0, 190, 110, 300)
    np.testing.assert_array_equal(view.pixels, PHOTO[190:, :110])


def test_without_faces_the_whole_frame_is_one_view() -> None:
    (view,) = views(PHOTO, [], ViewConfig(size=128))
    assert view.face is None and view.box == (0, -60, 420, 360)


def test_wider_squares_follow_each_face_where_there_is_more_to_see() -> None:
    image = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    small, large = Face((90, 90, 110, 110)), Face((40, 40, 160, 160))
    cut = views(image, [small, large], ViewConfig(size=32, margin=2.0, wider=(2.0, 8.0)))
    assert [v.face for v in cut] == [small] * 3 + [large]
    assert [v.box[2] - v.box[0] for v in cut] == [40, 80, 200, 200]


def test_one_view_per_face_in_order() -> None:
    faces = [FACE, Face((300, 10, 340, 60))]
    assert [v.face for v in views(PHOTO, faces, ViewConfig(size=32))] == faces


@given(
    st.integers(1, 60), st.integers(1, 60), st.integers(-50, 80), st.integers(-50, 80), st.integers(1, 90),
    st.integers(4, 64), st.booleans(),
)  # fmt: skip
@settings(deadline=None, max_examples=150)
def test_maps_round_trip(h: int, w: int, x: int, y: int, side: int, size: int, native: bool) -> None:
    image = np.random.default_rng(h * w).integers(0, 256, (h, w, 3), dtype=np.uint8)
    config = ViewConfig(kind="native" if native else "face", size=size, margin=1.0, crops=4)
    for view in views(image, [Face((x, y, x + side, y + side))], config):
        assert view.pixels.shape == (size, size, 3) and view.pixels.dtype == np.uint8
        x1, y1, x2, y2 = view.box
        assert x2 - x1 == y2 - y1 == (size if native else min(side, max(h, w)))
        inside = view.to_image(np.ones((size, size), np.float32), (h, w))
        expected = np.zeros((h, w))
        expected[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)] = 1
        np.testing.assert_allclose(inside, expected, atol=1e-6)
        constant = view.from_image(np.full((h, w), 0.25))
        np.testing.assert_allclose(constant, 0.25, atol=1e-6)
        assert view.to_image(constant, (h, w)).max() <= 0.25 + 1e-6
        if native or x2 - x1 == size:  # no resampling: exact both ways
            values = image[..., 1].astype(np.float32)
            np.testing.assert_array_equal(view.from_image(values), view.pixels[..., 1])
            np.testing.assert_array_equal(view.to_image(view.from_image(values), (h, w)), values * inside)


def test_a_smooth_map_survives_the_resampling() -> None:
    rows, columns = np.indices(PHOTO.shape[:2])
    smooth = (np.sin(columns / 40) * np.cos(rows / 30) / 2 + 0.5).astype(np.float32)
    (view,) = views(PHOTO, [FACE], ViewConfig(size=256, margin=1.6))
    inside = view.to_image(np.ones((256, 256), np.float32), PHOTO.shape[:2]) > 0
    back = view.to_image(view.from_image(smooth), PHOTO.shape[:2])
    assert np.abs(back - smooth)[inside].max() < 0.01


def test_a_small_mask_stays_where_it_is() -> None:
    mask = np.zeros(PHOTO.shape[:2], np.float32)
    mask[120:140, 130:150] = 1
    for config in (ViewConfig(size=64), ViewConfig(size=300), ViewConfig(kind="native", size=100)):
        view = views(PHOTO, [FACE], config)[0]
        back = view.to_image(view.from_image(mask), mask.shape)
        rows, columns = np.indices(mask.shape)
        assert abs((back * rows).sum() / back.sum() - 129.5) < 0.1
        assert abs((back * columns).sum() / back.sum() - 139.5) < 0.1
        assert abs(back.sum() - mask.sum()) < 0.02 * mask.sum()


def test_native_views_are_untouched_pixels_nearest_the_face_first() -> None:
    config = ViewConfig(kind="native", size=100, crops=6)
    found = views(PHOTO, [FACE], config)
    assert len(found) == 6 and found[0].box == (90, 85, 190, 185)
    centres = np.array([((v.box[0] + v.box[2]) / 2, (v.box[1] + v.box[3]) / 2) for v in found])
    away = np.linalg.norm(centres - (140, 135), axis=1)
    assert (np.diff(away) >= 0).all()
    for view in found:
        x1, y1, x2, y2 = view.box
        assert x1 >= 0 and y1 >= 0 and x2 <= 420 and y2 <= 300
        np.testing.assert_array_equal(view.pixels, PHOTO[y1:y2, x1:x2])
    boxes = np.array([v.box[:2] for v in found])
    shared = np.clip(100 - abs(boxes[:, None] - boxes), 0, None).prod(2)
    assert (shared[~np.eye(6, dtype=bool)] <= 5000).all()


def test_native_views_of_two_faces_start_with_both() -> None:
    faces = [FACE, Face((330, 200, 400, 280))]
    found = views(PHOTO, faces, ViewConfig(kind="native", size=80, crops=5))
    assert [v.face for v in found[:2]] == faces


def test_enough_native_views_cover_the_image() -> None:
    covered = sum(
        v.to_image(np.ones((64, 64), np.float32), PHOTO.shape[:2])
        for v in views(PHOTO, [], ViewConfig(kind="native", size=64, crops=1000))
    )
    assert (covered > 0).mean() > 0.95


def test_small_images_are_repeated() -> None:
    small = PHOTO[:30, :50]
    (view,) = views(small, [], ViewConfig(kind="native", size=64))
    np.testing.assert_array_equal(view.pixels, np.tile(small, (3, 2, 1))[:64, :64])
    assert view.box == (0, 0, 64, 64) and view.face is None
    assert views(PHOTO[:30], [], ViewConfig(kind="native", size=64, crops=2))[1].pixels.shape == (64, 64, 3)


def test_wrong_input_is_said() -> None:
    with pytest.raises(ValueError, match="uint8"):
        views(PHOTO.astype(np.float32), [], ViewConfig())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="map"):
        views(PHOTO, [], ViewConfig())[0].from_image(PHOTO)


def test_a_frame_view_is_the_whole_image_whatever_faces_there_are() -> None:
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    (view,) = views(image, [Face((5, 5, 20, 20)), Face((30, 5, 45, 20))], ViewConfig(kind="frame", size=60))
    assert view.face is None and view.box == (0, -10, 60, 50)
    assert np.array_equal(view.pixels[10:50], image)
