"""Another view of a photo, and numbers as bars."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SHIFT = 0.02
"""Views are moved by up to this share of their side,"""
ZOOM = 0.02
"""are this much larger or smaller,"""
GAIN = 0.1
"""this much brighter or darker,"""
NOISE = 0.01
"""and noisy by up to this standard deviation."""


def other_view(image: Tensor) -> Tensor:
    """(B, 3, H, W) photos in [0, 1] as another picture of the same scene would show them; torch's generator draws.

    >>> other_view(torch.full((2, 3, 8, 8), 0.5)).sub(0.5).abs().max() < 0.2
    tensor(True)
    """
    draw = torch.rand(len(image), 5, device=image.device) * 2 - 1  # (B, 5) in [-1, 1]
    zoom = 1 + ZOOM * draw[:, 0]
    zero = torch.zeros_like(zoom)
    rows = [torch.stack([zoom, zero, 2 * SHIFT * draw[:, 1]], 1), torch.stack([zero, zoom, 2 * SHIFT * draw[:, 2]], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(image.shape), align_corners=False)
    moved = F.grid_sample(image, grid, padding_mode="reflection", align_corners=False)
    gain, noise = (x[:, None, None, None] for x in (1 + GAIN * draw[:, 3], NOISE * draw[:, 4].abs()))
    return (gain * moved + noise * torch.randn_like(moved)).clamp(0, 1)


def bars(values: Tensor) -> Tensor:
    """(B, n) in [0, 1] to a picture (B, 1, h, 96) of horizontal bars, the first on top.

    >>> bars(torch.tensor([[0.25, 1.0]]))[0, 0, ::8].gt(0.5).sum(1).tolist()
    [24, 96]
    """
    place = (torch.arange(96, device=values.device) + 0.5) / 96
    lines = torch.where(place < values[..., None], 0.85, 0.2)  # (B, n, 96)
    framed = F.pad(lines[:, :, None].expand(-1, -1, 6, -1), (0, 0, 0, 2))  # a gap under each bar
    return framed.flatten(1, 2)[:, None]
