"""Co-occurrence against scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data
from skimage.feature import graycomatrix, graycoprops

from unmask.ops.glcm import PROPERTIES, co_occurrence, co_occurrence_properties, pair_offset

GREY = np.stack([data.camera()[100:180, 150:260], data.coins()[:80, :110]])


@pytest.mark.parametrize("degrees", [0, 45, 90, 135])
@pytest.mark.parametrize("distance", [1, 3])
def test_counts_and_measures_are_those_of_scikit_image(distance: int, degrees: int) -> None:
    counts = co_occurrence(torch.from_numpy(GREY)[:, None], pair_offset(distance, degrees))
    measures = co_occurrence_properties(counts)
    for image, ours, measured in zip(GREY, counts, measures, strict=True):
        matrix = graycomatrix(image, [distance], [np.deg2rad(degrees)], 256, symmetric=True)
        np.testing.assert_array_equal(ours, matrix[:, :, 0, 0])
        expected = [graycoprops(matrix, name)[0, 0] for name in PROPERTIES]
        np.testing.assert_allclose(measured, expected, rtol=2e-6)


@settings(deadline=None, max_examples=15)
@given(st.integers(4, 9), st.integers(4, 9), st.integers(1, 4), st.integers(0, 2**31))
def test_small_and_flat_images(height: int, width: int, levels: int, seed: int) -> None:
    grey = np.random.default_rng(seed).integers(0, levels, (height, width), dtype=np.uint8)
    counts = co_occurrence(torch.from_numpy(grey)[None, None], (2, -2))
    matrix = graycomatrix(grey, [3], [3 * np.pi / 4], 256, symmetric=True)
    np.testing.assert_array_equal(counts[0], matrix[:, :, 0, 0])
    expected = [graycoprops(matrix, name)[0, 0] for name in PROPERTIES]
    np.testing.assert_allclose(co_occurrence_properties(counts)[0], expected, rtol=1e-5, atol=1e-5)
