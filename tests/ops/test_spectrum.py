"""Spectra against NumPy, and planted periods at their frequency."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import torch

from unmask.ops.spectrum import amplitude, hann2d, log_amplitude, radial_power


@pytest.mark.parametrize("size", [(64, 64), (40, 51), (33, 32)])
def test_amplitude_is_numpys_under_scipys_window(size: tuple[int, int]) -> None:
    plane = np.random.default_rng(0).random((2, 3, *size))
    window = np.outer(*(scipy.signal.get_window("hann", side) for side in size))
    window /= np.sqrt((window**2).mean())
    np.testing.assert_allclose(hann2d(*size), window, atol=1e-5)
    centred = plane - plane.mean((2, 3), keepdims=True)
    expected = np.abs(np.fft.fftshift(np.fft.fft2(centred * window, norm="ortho"), axes=(2, 3)))
    tensor = torch.from_numpy(plane).float()
    np.testing.assert_allclose(amplitude(tensor), expected, atol=1e-5)
    np.testing.assert_allclose(log_amplitude(tensor), np.log10(expected + 1e-3) / 3, atol=1e-3)


@pytest.mark.parametrize("size", [(96, 96), (80, 65), (65, 80)])
def test_radial_power_is_the_mean_over_rings(size: tuple[int, int]) -> None:
    grey = torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(2))
    down, across = (np.fft.fftshift(np.fft.fftfreq(side)) for side in size)
    ring = np.minimum((np.hypot(down[:, None], across) * (20 * 2**0.5) + 1e-4).astype(int), 19)
    power = amplitude(grey)[:, 0].numpy().astype(float) ** 2
    expected = [scipy.ndimage.mean(each, ring, np.arange(20)) for each in power]
    np.testing.assert_allclose(radial_power(grey, 20), expected, rtol=1e-3)


@pytest.mark.parametrize("period", [2, 3, 4, 8])
@pytest.mark.parametrize("angle", [0.0, 0.6, 1.2])
def test_a_planted_period_stands_out_at_its_frequency(period: int, angle: float) -> None:
    rows, columns = np.mgrid[:192, :192]
    wave = np.cos(2 * np.pi / period * (columns * np.cos(angle) + rows * np.sin(angle)))
    noise = np.random.default_rng(0).normal(0, 0.1, wave.shape)
    grey = torch.from_numpy(0.5 + 0.05 * wave + noise).float()[None, None]
    profile = radial_power(grey, 64)[0]
    peak = (float(profile.argmax()) + 0.5) / 64 * 0.5**0.5
    assert peak == pytest.approx(1 / period, abs=0.006)  # half a step
    spectrum = amplitude(grey)[0, 0]
    row, column = divmod(int(spectrum.argmax()), 192)
    assert np.hypot(row - 96, column - 96) / 192 == pytest.approx(1 / period, abs=0.006)


def test_white_noise_is_flat_at_its_variance() -> None:
    grey = torch.randn(8, 1, 128, 128, generator=torch.Generator().manual_seed(3)) * 0.02
    profile = radial_power(grey, 16).mean(0)[1:-1]  # few frequencies lie in the first step and in the last
    torch.testing.assert_close(profile, torch.full((14,), 4e-4), rtol=0.1, atol=0)


def test_nothing_has_the_floor_for_a_spectrum() -> None:
    found = log_amplitude(torch.full((1, 3, 16, 16), 0.7))
    torch.testing.assert_close(found, torch.full((1, 3, 16, 16), -1.0), atol=1e-3, rtol=0)
