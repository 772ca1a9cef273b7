"""Colour spaces against scikit-image, differences against NumPy."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data
from skimage.color import rgb2hsv, rgb2ycbcr

from unmask.ops.colour import differences, gradient_size, hsv, hue_plane, ycbcr


def images() -> tuple[torch.Tensor, np.ndarray]:
    """A photo and noise, greys and pure colours among them: (2, 3, 60, 70), and the same as (2, 60, 70, 3)."""
    photo = data.astronaut()[100:160, 200:270] / 255
    noise = np.random.default_rng(0).integers(0, 3, photo.shape) / 2
    both = np.stack([photo, noise])
    return torch.from_numpy(both).permute(0, 3, 1, 2).float(), both


def test_hsv_is_that_of_scikit_image() -> None:
    tensors, arrays = images()
    ours = hsv(tensors).permute(0, 2, 3, 1).numpy()
    theirs = np.stack([rgb2hsv(array) for array in arrays])
    apart = np.abs(ours - theirs)
    apart[..., 0] = np.minimum(apart[..., 0], 1 - apart[..., 0])  # a hue is an angle
    assert apart.max() < 1e-6


def test_ycbcr_is_that_of_scikit_image_at_full_range() -> None:
    tensors, arrays = images()
    ours = ycbcr(tensors).permute(0, 2, 3, 1).numpy()
    theirs = np.stack([rgb2ycbcr(array) for array in arrays])
    np.testing.assert_allclose(16 + 219 * ours[..., 0], theirs[..., 0], atol=2e-3)
    np.testing.assert_allclose(128 + 224 * ours[..., 1:], theirs[..., 1:], atol=2e-3)


def test_hues_are_a_circle_and_greys_its_centre() -> None:
    angles = torch.linspace(0, 1, 7)[:-1] * 2 * torch.pi
    pure = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1]]).float()
    circle = hue_plane(pure.T.reshape(1, 3, 1, 6))[0, :, 0]
    torch.testing.assert_close(circle, torch.stack([angles.cos(), angles.sin(), torch.ones(6)]), atol=1e-6, rtol=0)
    assert not hue_plane(torch.full((1, 3, 4, 4), 0.3)).any()


def test_differences_are_numpys() -> None:
    planes = torch.rand(2, 3, 5, 7)
    right, down = differences(planes)
    np.testing.assert_array_equal(right[..., :-1], np.diff(planes, axis=3))
    np.testing.assert_array_equal(down[..., :-1, :], np.diff(planes, axis=2))
    assert not right[..., -1].any() and not down[..., -1, :].any()
    size = np.hypot(right, down)
    assert np.abs(gradient_size(planes) - size).max() <= 1e-3  # the smoothing


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.sampled_from([0.0, 0.5, 1.0]))
def test_colour_spaces_have_finite_slopes(seed: int, level: float) -> None:
    image = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    image[..., :2, :] = level  # greys, black, white: hue undefined
    image.requires_grad_(True)
    (hue_plane(image).sum() + ycbcr(image).sum() + gradient_size(image).sum()).backward()
    assert image.grad is not None and torch.isfinite(image.grad).all()
