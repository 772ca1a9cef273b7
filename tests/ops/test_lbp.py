"""Local binary patterns against scikit-image, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data
from skimage.feature import local_binary_pattern

from unmask.ops.lbp import PATTERNS, pattern_histogram, pattern_planes, uniform_patterns


def reference(grey: np.ndarray) -> np.ndarray:
    return local_binary_pattern(grey, 8, 1, "uniform")


@pytest.mark.parametrize("name", ["camera", "coins", "brick"])
def test_every_pixel_of_a_photo(name: str) -> None:
    grey = getattr(data, name)()[:301, :280]
    np.testing.assert_array_equal(uniform_patterns(torch.from_numpy(grey)[None, None])[0, 0], reference(grey))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 256), st.integers(0, 2**31))
def test_every_size_flat_and_rough(height: int, width: int, levels: int, seed: int) -> None:
    grey = np.random.default_rng(seed).integers(0, levels, (2, height, width), dtype=np.uint8)
    found = uniform_patterns(torch.from_numpy(grey)[:, None])
    assert found.dtype == torch.uint8 and found.shape == (2, 1, height, width)
    for ours, image in zip(found[:, 0].numpy(), grey, strict=True):
        for y, x in np.argwhere(ours != reference(image)):
            assert has_a_tie(np.pad(image.astype(int), 1)[y : y + 3, x : x + 3])


def has_a_tie(around: np.ndarray) -> bool:
    """A corner is exactly as bright as the centre, and so on average are its two sides: scikit-image's floats may
    miss that it is not darker (3 of a million pixels of photos)."""
    centre = around[1, 1]
    return any(
        around[y, x] == centre and around[y, 1] + around[1, x] == 2 * centre and around[y, 1] != centre
        for y in (0, 2)
        for x in (0, 2)
    )


def test_flat_images_have_one_pattern_whatever_their_level() -> None:
    flat = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1).expand(256, 1, 5, 5)
    assert (uniform_patterns(flat)[..., 1:-1, 1:-1] == 8).all()


def test_planes_and_histograms_count_the_same_pixels() -> None:
    grey = torch.from_numpy(np.stack([data.camera()[:64, :80], data.coins()[:64, :80]]))[:, None]
    patterns = uniform_patterns(grey)
    planes = pattern_planes(patterns)
    assert planes.shape == (2, PATTERNS, 64, 80)
    torch.testing.assert_close(planes.sum(1), torch.ones(2, 64, 80))
    assert torch.equal(planes.argmax(1, keepdim=True), patterns.long())
    shares = pattern_histogram(patterns)[:, 0]
    for ours, image in zip(shares, grey[:, 0].numpy(), strict=True):
        expected, _ = np.histogram(reference(image), bins=np.arange(11), density=True)
        np.testing.assert_allclose(ours, expected, atol=1e-7)
