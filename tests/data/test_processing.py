"""Processing that both sides of a re-synthesised pair get: sharpness must say nothing about the label."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.data import astronaut, chelsea, coffee
from sklearn.metrics import roc_auc_score

from unmask.data.forgeries import forge
from unmask.data.forgeries.processing import draw_processing, sharpness, with_sharpness
from unmask.data.forgeries.resynthesis import resynthesize

PHOTOS = [np.ascontiguousarray(photo[:256, 60:316]) for photo in (astronaut(), chelsea(), coffee())]


@pytest.mark.parametrize("factor", [0.3, 0.7, 1.4, 2.0])
def test_sharpness_is_brought_to_the_target(factor: float) -> None:
    target = factor * sharpness(PHOTOS[0])
    assert sharpness(with_sharpness(PHOTOS[0], target)) == pytest.approx(target, rel=0.05)


def test_sharpness_is_opencv_s_laplacian_and_zero_on_flat() -> None:
    grey = cv2.cvtColor(PHOTOS[1], cv2.COLOR_RGB2GRAY).astype(np.float64)
    reference = cv2.filter2D(grey, -1, np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], np.float64))
    assert sharpness(PHOTOS[1]) == pytest.approx(reference.std(), rel=1e-3)
    flat = np.full((40, 40, 3), 90, np.uint8)
    np.testing.assert_array_equal(with_sharpness(flat, 10.0), flat)


def test_most_pairs_have_one_sharpness_and_untreated_ones_do_not() -> None:
    raw, treated = [], []
    for seed in range(45):
        random = np.random.default_rng(seed)
        photo = PHOTOS[seed % 3]
        fake = resynthesize(photo, random)
        raw.append((sharpness(photo), sharpness(fake)))
        treated.append(tuple(map(sharpness, draw_processing(photo, fake, random))))
    labels = np.tile([0, 1], len(raw))
    assert roc_auc_score(labels, -np.ravel(raw)) > 0.9
    assert 0.4 < roc_auc_score(labels, -np.ravel(treated)) < 0.7
    close = np.array([abs(a - b) < 0.1 * max(a, b) for a, b in treated])
    assert close.mean() > 0.65


def test_a_whole_resynthesis_covers_everything_and_repeats() -> None:
    first, again = (forge("resynthesis", PHOTOS[0], None, np.random.default_rng(4)) for _ in range(2))
    assert first.mask.min() == first.mask.max() == 1.0
    assert first.image.shape == first.real.shape == PHOTOS[0].shape
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.real, again.real)
