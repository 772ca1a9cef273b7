"""Shortcut features and probe, against scikit-learn, scikit-image and data whose answer is known."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from unmask.core.errors import DataError
from unmask.data.intake import Decoded, decode
from unmask.data.shortcuts import (
    COLOUR_FEATURES,
    METADATA_FEATURES,
    auc_interval,
    blur_score,
    colour_features,
    metadata_features,
    probe,
)


def encoded(pixels: np.ndarray, kind: str = "JPEG", **options: object) -> Decoded:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return decode(file.getvalue())


def noise(height: int = 40, width: int = 60, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_blur_score_is_the_laplacian_of_the_grey_image() -> None:
    pixels = noise()
    grey = np.asarray(Image.fromarray(pixels).convert("L"), float)
    assert blur_score(pixels) == pytest.approx(-ndimage.laplace(grey, mode="mirror").std(), rel=0.01)  # grey is rounded
    blurred = ndimage.gaussian_filter(pixels, (1, 1, 0))
    assert blur_score(blurred) > blur_score(pixels)


def test_metadata_features_see_the_file_and_no_pixel() -> None:
    names = dict(zip(METADATA_FEATURES, metadata_features(encoded(noise(), quality=50)), strict=True))
    assert np.exp(names["log_width"]) == pytest.approx(60)
    assert np.exp(names["log_height"]) == pytest.approx(40)
    assert (names["is_jpeg"], names["is_png"], names["tables"]) == (1, 0, 2)
    finer = dict(zip(METADATA_FEATURES, metadata_features(encoded(noise(), quality=95)), strict=True))
    assert finer["luma_mean"] < names["luma_mean"]
    assert finer["bytes_per_pixel"] > names["bytes_per_pixel"]
    a, b = (encoded(noise(seed=s), "BMP") for s in (1, 2))
    assert np.array_equal(metadata_features(a), metadata_features(b))
    assert np.isfinite(metadata_features(a)).all()


def test_colour_features() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[..., 0] = 255
    named = dict(zip(COLOUR_FEATURES, colour_features(pixels), strict=True))
    assert named["red"] == 1 and named["green"] == 0 and named["saturation"] == 1 and named["contrast"] == 0
    assert named["brightness"] == pytest.approx(0.299, abs=0.002)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 1)), min_size=2, max_size=40))
def test_auc_is_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    scores, labels = np.array(pairs, float).T
    if len(set(labels)) < 2:
        return
    families = [str(i) for i in range(len(pairs))]
    assert auc_interval(scores, labels.astype(int), families, replicates=50)[0] == pytest.approx(
        roc_auc_score(labels, scores)
    )


def test_interval_covers_as_often_as_it_says_and_counts_relatives_once() -> None:
    generator = np.random.default_rng(0)
    truth = 0.760  # two unit normals one standard deviation apart: Phi(1 / sqrt 2)
    covered = 0
    for trial in range(60):
        labels = np.arange(200) % 2
        scores = generator.normal(labels)
        _, low, high = auc_interval(scores, labels, [str(i) for i in range(200)], seed=trial, replicates=300)
        covered += low <= truth <= high
    assert covered >= 51  # 95 % of 60 is 57
    wide = auc_interval(np.repeat(scores, 10), np.repeat(labels, 10), [str(i // 10) for i in range(2000)])
    narrow = auc_interval(np.repeat(scores, 10), np.repeat(labels, 10), [str(i) for i in range(2000)])
    assert wide[2] - wide[1] > 2 * (narrow[2] - narrow[1])
    assert wide[2] - wide[1] == pytest.approx(high - low, rel=0.2)


def test_probe_finds_what_is_there_and_only_that() -> None:
    generator = np.random.default_rng(1)
    labels = [i % 2 for i in range(120)]
    families = [f"p{i // 2}" for i in range(120)]
    folds = [i // 2 % 5 for i in range(120)]
    clean = probe(generator.normal(size=(120, 4)), labels, families, folds)
    assert clean.low < 0.5 < clean.high
    step = np.where(np.array(labels) == 1, 256, generator.choice([128, 512], 120))  # not monotone
    assert probe(step, labels, families, folds).auc > 0.95
    slope = generator.normal(size=120) + np.array(labels)
    assert 0.65 < probe(slope, labels, families, folds).auc < 0.9
    person = np.repeat(generator.normal(size=60), 2)  # says who it is, not what it is
    assert probe(person, labels, families, folds).auc < 0.6


def test_probe_needs_both_labels() -> None:
    with pytest.raises(DataError):
        probe([1.0, 2.0, 3.0], [0, 0, 1], ["a", "b", "c"], [0, 0, 1])


GROUND = Path(os.environ.get("UNMASK_DATA", "")) / "data"


@pytest.mark.skipif(not (GROUND / "ffhq_real").is_dir(), reason="UNMASK_DATA with data/ffhq_real is not set")
def test_floor_of_the_real_development_sets() -> None:
    """Sizes and codecs alone separate the StyleGAN2 release samples from the Flickr photos."""
    reals = sorted((GROUND / "ffhq_real").glob("*.jpg"))[:40]
    fakes = sorted((GROUND / "stylegan2_nvlabs256").glob("*.webp"))[:40]
    features = np.array([metadata_features(decode(p)) for p in (*reals, *fakes)])
    labels = [0] * 40 + [1] * 40
    assert probe(features, labels, [str(i) for i in range(80)], [i % 5 for i in range(80)]).auc == 1
