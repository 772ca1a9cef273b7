"""NPR against the published operator, written here as its authors describe it, and against its own algebra."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from unmask.ops.npr import left_difference, npr


def published(image: torch.Tensor, factor: float) -> torch.Tensor:
    """Nearest-neighbour down by a scale factor, up by its inverse, subtracted."""
    kind = {"mode": "nearest", "recompute_scale_factor": True}
    return image - F.interpolate(F.interpolate(image, scale_factor=factor, **kind), scale_factor=1 / factor, **kind)


@pytest.mark.parametrize("size", [(2, 2), (64, 64), (224, 224), (30, 46)])
def test_bit_equal_to_the_published_operator_on_even_sizes(size: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    assert torch.equal(npr(image, 0.5), published(image, 0.5))


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.05, 1.0))
def test_each_pixel_loses_the_one_that_nearest_neighbour_indexing_names(h: int, w: int, scale: float) -> None:
    image = torch.arange(h * w, dtype=torch.float32).view(1, 1, h, w)
    small_h, small_w = max(1, int(h * scale)), max(1, int(w * scale))

    def source(side: int, small: int) -> np.ndarray:
        up = np.minimum(np.floor(np.arange(side, dtype=np.float32) * np.float32(small / side)), small - 1).astype(int)
        down = np.minimum(np.floor(np.arange(small, dtype=np.float32) * np.float32(side / small)), side - 1).astype(int)
        return down[up]

    values = image[0, 0].numpy()
    expected = values - values[np.ix_(source(h, small_h), source(w, small_w))]
    np.testing.assert_array_equal(npr(image, scale)[0, 0].numpy(), expected)


def test_nothing_is_left_of_an_image_upsampled_by_two() -> None:
    image = torch.rand(1, 3, 20, 20).repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert not npr(image, 0.5).any()
    assert not npr(torch.rand(1, 3, 9, 9), 1.0).any()


@pytest.mark.parametrize("scale", [0.0, -0.5, 1.5])
def test_scales_outside_the_unit_interval_are_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="scale"):
        npr(torch.rand(1, 3, 8, 8), scale)


def test_left_difference_is_numpys_diff() -> None:
    image = torch.rand(2, 3, 5, 7)
    expected = np.diff(image.numpy(), axis=3, prepend=image.numpy()[..., :1])
    np.testing.assert_array_equal(left_difference(image).numpy(), expected)
