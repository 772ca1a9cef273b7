"""The denoiser's residual against PyWavelets and SciPy, and planted noise found again."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import pywt
import scipy.ndimage
import torch

from unmask.ops.noise import least_local_mean, noise_residual
from unmask.ops.wavelets import wavelet_filters


def wiener(image: np.ndarray, sigma: float, levels: int) -> np.ndarray:
    """The paper's denoiser of a plane, with SciPy's windows, on a mirrored border of 2 ** levels pixels and up."""
    step = 2**levels
    after = [(-side) % step + step for side in image.shape]
    padded = np.pad(image, [(step, side) for side in after], mode="reflect")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # so deep for so small a plane
        coefficients = pywt.wavedec2(padded, "db4", mode="periodization", level=levels)
    kept = [coefficients[0]]
    for bands in coefficients[1:]:
        details = []
        for band in bands:
            means = [scipy.ndimage.uniform_filter(band**2, side, mode="constant") for side in (3, 5, 7, 9)]
            own = np.maximum(np.min(means, 0) - sigma**2, 0)
            details.append(band * own / (own + sigma**2))
        kept.append(tuple(details))
    clean = pywt.waverec2(kept, "db4", mode="periodization")
    return image - clean[step : step + image.shape[0], step : step + image.shape[1]]


@pytest.mark.parametrize("size", [(64, 64), (50, 71), (16, 40)])
def test_equals_the_paper_written_with_pywavelets(size: tuple[int, int], portrait_pixels: np.ndarray) -> None:
    image = portrait_pixels[40 : 40 + size[0], 60 : 60 + size[1]].transpose(2, 0, 1) / 255.0
    ours = noise_residual(torch.from_numpy(image)[None].float(), wavelet_filters("db4"), 5 / 255)
    expected = [wiener(plane, 5 / 255, 4) for plane in image]
    np.testing.assert_allclose(ours[0], expected, atol=2e-6)


def test_sizes_below_the_transform_still_work() -> None:
    assert torch.isfinite(noise_residual(torch.rand(1, 1, 3, 5), wavelet_filters("db4"), 0.02)).all()


def test_the_least_of_four_means_is_scipys() -> None:
    values = torch.rand(2, 3, 15, 22)
    means = [scipy.ndimage.uniform_filter(values.numpy(), (1, 1, side, side), mode="constant") for side in (3, 5, 7, 9)]
    np.testing.assert_allclose(least_local_mean(values), np.min(means, 0), atol=1e-6)


@pytest.mark.parametrize("planted", [0.5, 1.0, 2.0, 3.0])
def test_planted_noise_is_recovered_over_a_smooth_scene(planted: float) -> None:
    generator = np.random.default_rng(4)
    rows, columns = np.mgrid[:128, :160] / 200
    scene = 120 + 15 * np.sin(rows) * np.cos(2 * columns)
    noise = generator.normal(0, planted, scene.shape)
    image = torch.from_numpy(scene + noise).float()[None, None]
    inner = (slice(16, -16), slice(16, -16))  # the scene has kinks where it is mirrored
    residual, noise = noise_residual(image, wavelet_filters("db4"), 5.0)[0, 0].numpy()[inner], noise[inner]
    assert residual.std() == pytest.approx(planted, rel=0.03)
    assert np.corrcoef(residual.ravel(), noise.ravel())[0, 1] > 0.98


def test_edges_are_content_and_not_noise() -> None:
    image = torch.zeros(1, 1, 128, 128)
    image[..., 40:80, 50:90] = 200
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    residual = noise_residual(image + noise, wavelet_filters("db4"), 5.0)
    assert residual.abs().max() < 20 and float(residual.std()) < 1.5
