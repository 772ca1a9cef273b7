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
