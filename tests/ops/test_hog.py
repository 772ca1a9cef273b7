"""Histograms of oriented gradients against scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.feature
import torch
from skimage import data

from unmask.ops.hog import hog, oriented_histograms


@pytest.mark.parametrize(("cell", "block"), [(8, 3), (16, 2), (9, 1), (32, 2)])
@pytest.mark.parametrize("whole", [False, True], ids=["float", "grey levels"])
def test_equals_scikit_image(cell: int, block: int, whole: bool) -> None:
    photos = np.stack([data.camera()[90:190, 150:261], data.brick()[:100, :111]])
    grey = photos.astype(np.float32) if whole else photos.astype(np.float32) / 255
    ours = hog(torch.from_numpy(grey)[:, None], cell, block)
    for image, found in zip(grey, ours, strict=True):
        expected = skimage.feature.hog(
            image.astype(float), 9, (cell, cell), (block, block), block_norm="L2-Hys", feature_vector=False
        )
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_an_edge_votes_for_its_direction_whichever_side_is_bright() -> None:
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    for degrees in (0, 30, 90, 130):
        angle = torch.deg2rad(torch.tensor(float(degrees)))
        ramp = (columns * angle.cos() + rows * angle.sin())[None, None]
        for way in (ramp, -ramp):
            inner = oriented_histograms(way[..., 2:14, 2:14].contiguous(), 4)[0, 1, 1]
            assert int(inner.argmax()) == degrees // 20
            assert float(inner.sum()) == pytest.approx(float(inner.max()))


def test_images_under_one_block_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 32"):
        hog(torch.zeros(1, 1, 40, 31), 16, 2)
