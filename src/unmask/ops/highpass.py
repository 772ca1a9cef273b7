"""High-pass residuals: what is left of an image when its smooth part is taken out."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

KERNELS = (
    ((0, 0, 0), (0, 1, -1), (0, 0, 0)),
    ((0, 0, 0), (0, 1, 0), (0, -1, 0)),
    ((0, 1, 0), (1, -4, 1), (0, 1, 0)),
    ((1, -2, 1), (-2, 4, -2), (1, -2, 1)),
)
"""Difference to the right and to the lower neighbour, Laplacian, mixed second difference."""


def highpass_kernels() -> Tensor:
    """(12, 1, 3, 3): :data:`KERNELS` for each of three channels, scaled to unit L1 norm.

    >>> highpass_kernels().sum((2, 3)).abs().max().item()
    0.0
    """
    kernels = torch.tensor(KERNELS, dtype=torch.float32)[:, None]
    return (kernels / kernels.abs().sum((2, 3), keepdim=True)).repeat(3, 1, 1, 1)


def highpass(image: Tensor, kernels: Tensor) -> Tensor:
    """(B, 3, H, W) to (B, 12, H, W): four residuals per channel, borders mirrored.

    >>> highpass(torch.full((1, 3, 8, 8), 0.5), highpass_kernels()).abs().max().item()
    0.0
    """
    return F.conv2d(F.pad(image, (1, 1, 1, 1), mode="reflect"), kernels, groups=3)


def standardize(residual: Tensor, floor: float, limit: float = 4.0) -> Tensor:
    """Each channel over its own standard deviation plus ``floor``, clamped to ``limit``.

    A residual's strength measures a photo's own sharpness, noise and compression; what is left is its structure.
    """
    spread = residual.flatten(2).std(2)[..., None, None]
    return (residual / (spread + floor)).clamp(-limit, limit)
