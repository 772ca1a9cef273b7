"""Amplitude spectra: windowed, logarithmic, and averaged over all directions."""

from __future__ import annotations

import torch
from torch import Tensor

FLOOR = 1e-3
"""Added to amplitudes before the logarithm: white noise of a quarter of a grey level."""


def hann2d(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """(H, W) float32 outer product of two periodic Hann windows, with a root mean square of 1.

    >>> round(hann2d(8, 16).square().mean().item(), 5)
    1.0
    """
    rows, columns = (
        0.5 - 0.5 * torch.cos(2 * torch.pi * torch.arange(side, device=device, dtype=torch.float32) / side)
        for side in (height, width)
    )
    window = rows[:, None] * columns
    return window / window.square().mean().sqrt().clamp_min(1e-12)


def amplitude(planes: Tensor) -> Tensor:
    """Amplitude spectrum of every plane, mean taken out, under a Hann window; unitary.

    White noise of standard deviation s has a root mean square amplitude of s at every frequency, whatever the size.

    Args:
        planes: (B, C, H, W).

    Returns:
        (B, C, H, W), zero frequency at ``[H // 2, W // 2]``: entry (i, j) is the frequency ``((i - H // 2) / H,
        (j - W // 2) / W)`` in cycles per pixel.

    >>> stripes = torch.tensor([1.0, -1.0]).repeat(4).expand(1, 1, 8, 8)  # two pixels per period
    >>> amplitude(stripes).flatten().argmax().item() == 4 * 8 + 0  # zero down, half a cycle across
    True
    """
    height, width = planes.shape[-2:]
    centred = planes - planes.mean((2, 3), keepdim=True)
    spectrum: Tensor = torch.fft.fft2(centred * hann2d(height, width, planes.device), norm="ortho")
    return spectrum.abs().roll((height // 2, width // 2), (2, 3))


def log_amplitude(planes: Tensor) -> Tensor:
    """``log10(amplitude + 1e-3) / 3`` of every plane: -1 where there is nothing, 0 at amplitude 1.

    Args:
        planes: (B, C, H, W) in [0, 1].

    Returns:
        (B, C, H, W), zero frequency in the middle; see :func:`amplitude`.
    """
    return (amplitude(planes) + FLOOR).log10() / 3


def radial_power(grey: Tensor, bins: int) -> Tensor:
    """Mean power by spatial frequency, over all directions (azimuthal average), under a Hann window.

    Args:
        grey: (B, 1, H, W); its mean is taken out.
        bins: equal steps of frequency from 0 to the corner of the spectrum, ``sqrt(0.5)`` cycles per pixel.

    Returns:
        (B, bins) power, white noise of variance v gives v throughout; nan where an image is too small for a bin to
        hold a frequency.

    >>> stripes = torch.tensor([1.0, -1.0]).repeat(16).expand(1, 1, 32, 32)  # half a cycle per pixel
    >>> radial_power(stripes, 10).argmax().item() == int(0.5 / 0.5**0.5 * 10)
    True
    """
    height, width = grey.shape[-2:]
    plane = grey[:, 0] - grey[:, 0].mean((1, 2), keepdim=True)
    spectrum: Tensor = torch.fft.rfft2(plane * hann2d(height, width, grey.device), norm="ortho")
    power = spectrum.real.square() + spectrum.imag.square()  # (B, H, W // 2 + 1)
    row = torch.arange(height, device=grey.device)
    down = torch.minimum(row, height - row) / height  # cycles per pixel, without sign
    across = torch.arange(width // 2 + 1, device=grey.device) / width
    radius = (down.square()[:, None] + across.square()).sqrt()
    # On the edge of two steps a frequency belongs to the upper one, on every device.
    which = (radius * (bins * 2**0.5) + 1e-4).long().clamp_max(bins - 1).flatten()
    twice = torch.full_like(across, 2.0)  # the half that a real image repeats
    twice[0] = 1
    if width % 2 == 0:
        twice[-1] = 1
    weight = twice.expand(height, -1).flatten()
    sums = power.new_zeros(grey.shape[0], bins).scatter_add(
        1, which.expand(grey.shape[0], -1), power.flatten(1) * weight
    )
    return sums / weight.new_zeros(bins).scatter_add(0, which, weight)
