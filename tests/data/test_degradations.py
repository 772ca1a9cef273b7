from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage.data import astronaut

from unmask.core.config import build
from unmask.core.errors import ConfigError
from unmask.data import degradations as d


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.ascontiguousarray(astronaut()[40:200, 140:320])


@pytest.mark.parametrize("name", d.DEGRADATIONS)
def test_changes_pixels_keeps_the_place_it_names_and_depends_on_the_draw_only(name: str, photo: np.ndarray) -> None:
    before = photo.copy()
    row = d.DEGRADATIONS[name]
    distances = []
    for severity in range(1, 6):
        one = row(photo, severity, np.random.default_rng(1))
        two, place = row.edit(photo, severity, np.random.default_rng(1))
        assert one.dtype == np.uint8 and one.shape[2] == 3
        assert (one == two).all()
        assert place.before == photo.shape[:2] and place.after == one.shape[:2]
        if not row.moves:
            assert not place.moved and one.shape == photo.shape
        back = np.stack([place.back(np.ascontiguousarray(one[..., c], np.float32)) for c in range(3)], -1)
        known = ~np.isnan(back)
        lost = 255 * (~known).mean()  # what was cut away counts as far away
        distances.append(np.abs(back - photo)[known].mean() + lost)
    assert (photo == before).all()
    assert distances[0] > 0
    assert distances == sorted(distances), "a higher severity must be further from the photo"


def test_the_rows_that_training_and_older_results_rest_on_are_as_they_were(photo: np.ndarray) -> None:
    old = {"jpeg": (90, 75, 60, 45, 30), "jpeg_twice": (95, 85, 70, 55, 40), "webp": (90, 75, 60, 40, 20),
           "resize": (0.85, 0.7, 0.5, 0.35, 0.25), "blur": (0.5, 1, 1.5, 2, 3), "sharpen": (0.3, 0.6, 1, 1.5, 2),
           "noise": (2, 4, 8, 12, 16), "gamma": (1.15, 1.3, 1.45, 1.6, 1.8), "contrast": (0.9, 0.8, 0.7, 0.6, 0.5),
           "brightness": (10, 20, 30, 40, 50)}  # fmt: skip
    assert list(d.DEGRADATIONS)[: len(old)] == list(old)
    assert {name: d.DEGRADATIONS[name].levels for name in old} == old
    assert [name for name, row in d.DEGRADATIONS.items() if row.moves] == ["crop", "screenshot", "messenger"]


@pytest.mark.parametrize("factor", [0.8, 1.2])
def test_recolouring_agrees_with_torchvision(photo: np.ndarray, factor: float) -> None:
    import torch
    from torchvision.transforms.v2 import functional as tv

    image = torch.from_numpy(photo).permute(2, 0, 1)
    theirs = tv.adjust_brightness(image, factor).permute(1, 2, 0).numpy()
    assert np.abs(d.recolour(photo, brightness=factor).astype(int) - theirs).max() <= 1
    theirs = tv.adjust_saturation(image, factor).permute(1, 2, 0).numpy()
    assert np.abs(d.recolour(photo, saturation=factor).astype(int) - theirs).max() <= 1
    # theirs turns contrast about the image's own mean, which would treat a photo and its forgery differently
    ours = d.recolour(photo, contrast=factor).astype(float)
    assert np.abs(ours - np.clip((photo - 127.5) * factor + 127.5, 0, 255)).max() <= 0.5


def test_hue_goes_in_circles_and_leaves_greys(photo: np.ndarray) -> None:
    grey = np.repeat(photo[..., :1], 3, 2)
    assert np.abs(d.recolour(grey, hue=0.1).astype(int) - grey).max() <= 1
    assert (d.recolour(photo, hue=1.0) == photo).all()
    red = np.full((2, 2, 3), (200, 40, 40), np.uint8)
    assert (d.recolour(red, hue=1 / 3) == (40, 200, 40)).all()


def test_colour_jitter_is_one_draw_for_all_and_off_by_default(photo: np.ndarray) -> None:
    only = {"untouched": 0.0, "resize": 0.0, "blur": 0.0, "sharpen": 0.0, "noise": 0.0, "gamma": 0.0, "jpeg": 0.0}
    off, on = (d.PostConfig(**only, webp=0.0, colour=p) for p in (0.0, 1.0))
    assert (d.post_process([photo], np.random.default_rng(0), off)[0] == photo).all()
    a, b = d.post_process([photo, photo], np.random.default_rng(0), on)
    assert (a == b).all() and not (a == photo).all()
    # where no jitter is asked for, no random number is drawn for it
    generator, other = np.random.default_rng(0), np.random.default_rng(0)
    d.post_process([photo], generator, off)
    other.random(8)  # one for each step there was before
    assert generator.random() == other.random()


def test_severity_out_of_range_is_refused(photo: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="1 to 5"):
        d.DEGRADATIONS["blur"](photo, 6, np.random.default_rng(0))


@pytest.mark.parametrize(("sampling", "pillow"), [("4:4:4", 0), ("4:2:2", 1), ("4:2:0", 2)])
@pytest.mark.parametrize("quality", [50, 90])
def test_jpeg_agrees_with_pillow(photo: np.ndarray, sampling: d.Sampling, pillow: int, quality: int) -> None:
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "JPEG", quality=quality, subsampling=pillow)
    expected = np.asarray(Image.open(buffer)).astype(int)
    assert np.abs(d.jpeg(photo, quality, sampling).astype(int) - expected).mean() < 0.1


def test_jpeg_grid_offset_moves_the_blocks() -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (64, 1, 3))
    jumps = {}
    for dx in (0, 3):
        row = d.jpeg(ramp, 5, "4:4:4", (0, dx))[32, :, 1].astype(int)
        steps = np.abs(np.diff(row) - 1)
        jumps[dx] = [steps[phase::8].mean() for phase in range(8)]
    assert int(np.argmax(jumps[0])) == 7  # between columns 7 and 8
    assert int(np.argmax(jumps[3])) == 4  # the grid starts three columns earlier


def test_blur_agrees_with_scipy(photo: np.ndarray) -> None:
    expected = ndimage.gaussian_filter(photo.astype(float), (1.5, 1.5, 0), mode="mirror", truncate=4)
    assert np.abs(d.blur(photo, 1.5) - expected).max() <= 1.5


def test_sharpen_is_the_unsharp_formula(photo: np.ndarray) -> None:
    expected = np.clip(photo + 0.8 * (photo.astype(float) - d.blur(photo, 1.0)), 0, 255)
    assert np.abs(d.sharpen(photo, 0.8) - expected).max() <= 1


def test_tone_and_noise() -> None:
    grey = np.full((80, 80, 3), 64, np.uint8)
    assert d.tone(grey, gamma=2.0)[0, 0, 0] == round(255 * (64 / 255) ** 2)
    assert d.tone(grey, contrast=0.5)[0, 0, 0] == round((64 - 127.5) * 0.5 + 127.5)
    noisy = d.noise(grey, 5.0, np.random.default_rng(0))
    assert noisy.std() == pytest.approx(np.hypot(5, 1 / np.sqrt(12)), rel=0.02)
    assert noisy.mean() == pytest.approx(64, abs=0.2)


def test_resample_by_one_is_the_identity(photo: np.ndarray) -> None:
    assert (d.resample(photo, 1.0) == photo).all()


def test_one_draw_for_all_images(photo: np.ndarray) -> None:
    other = cv2.flip(photo, 1)
    config = d.PostConfig(untouched=0.0, noise=1.0, jpeg=0.0, webp=0.0)
    for seed in range(20):
        pair = d.post_process([photo, other], np.random.default_rng(seed), config)
        alone = d.post_process([photo], np.random.default_rng(seed), config)
        assert (pair[0] == alone[0]).all(), "a second image must not change what happens to the first"
        assert pair[1].shape == photo.shape


def test_post_covers_every_step_and_leaves_some_untouched(photo: np.ndarray) -> None:
    results = [d.post_process([photo], np.random.default_rng(s), d.PostConfig())[0] for s in range(60)]
    untouched = sum(bool((r == photo).all()) for r in results)
    assert 2 <= untouched <= 25
    assert (d.post_process([photo], np.random.default_rng(0), d.NO_POST)[0] == photo).all()


def test_config_is_typed() -> None:
    assert build(d.PostConfig, {"jpeg_range": [60, 90]}).jpeg_range == (60, 90)
    with pytest.raises(ConfigError, match="probability"):
        build(d.PostConfig, {"blur": 1.5})
