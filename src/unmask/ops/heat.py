"""A coarse map of importance laid over the photo it belongs to."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_HUE = (1.0, 0.62, 0.0)
"""Amber: predicted masks are red."""


def stretch(values: Tensor) -> Tensor:
    """Each map of (B, 1, h, w) on its own to the whole of [0, 1]; a constant map to 0.

    >>> stretch(torch.tensor([[[[2.0, 3.0, 4.0]]]])).flatten().tolist()
    [0.0, 0.5, 1.0]
    """
    values = values - values.amin((2, 3), keepdim=True)
    return values / values.amax((2, 3), keepdim=True).clamp_min(1e-12)


def above_mean(values: Tensor) -> Tensor:
    """Each map of (B, 1, h, w) on its own: 0 up to its mean, 1 at its maximum; a constant map is 0.

    >>> above_mean(torch.tensor([[[[0.0, 1.0, 4.0, 7.0]]]])).flatten().tolist()
    [0.0, 0.0, 0.25, 1.0]
    """
    return stretch(values.maximum(values.mean((2, 3), keepdim=True)))


def heat_overlay(image: Tensor, heat: Tensor) -> Tensor:
    """The photo in grey, with amber where the map is high.

    Args:
        image: (B, 3, H, W) in [0, 1].
        heat: (B, 1, h, w) in [0, 1]; enlarged bilinearly.

    Returns:
        (B, 3, H, W) in [0, 1].

    >>> heat_overlay(torch.ones(1, 3, 2, 2), torch.zeros(1, 1, 1, 1)).unique().tolist()
    [1.0]
    """
    strength = 0.8 * F.interpolate(heat, image.shape[-2:], mode="bilinear", align_corners=False)
    hue = torch.tensor(_HUE, device=image.device, dtype=image.dtype).view(1, 3, 1, 1)
    return image.mean(1, keepdim=True) * (1 - strength) + hue * strength
