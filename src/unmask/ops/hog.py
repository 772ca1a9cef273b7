"""Histograms of oriented gradients (Dalal and Triggs, 2005)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def oriented_histograms(grey: Tensor, cell: int, orientations: int = 9) -> Tensor:
    """Gradient magnitude by direction (180 degrees in equal parts), summed per cell and divided by its pixels.

    Args:
        grey: (B, 1, H, W); rows and columns after the last whole cell are left out. Central differences, 0 at borders.
        cell: side of a cell in pixels.
        orientations: parts of the half circle.

    Returns:
        (B, H // cell, W // cell, orientations).

    >>> ramp = torch.arange(8.0).expand(1, 1, 8, 8)  # grows to the right: direction 0
    >>> oriented_histograms(ramp, 8)[0, 0, 0, :2].tolist()
    [1.5, 0.0]
    """
    batch, _, height, width = grey.shape
    rows, columns, parts = height // cell, width // cell, 2 * orientations + 1
    part = (slice(None), slice(rows * cell), slice(columns * cell))
    across = F.pad(grey[..., 2:] - grey[..., :-2], (1, 1))[:, 0][part]
    down = F.pad(grey[..., 2:, :] - grey[..., :-2, :], (0, 0, 1, 1))[:, 0][part]
    magnitude = (across.square() + down.square()).sqrt()
    turn = torch.atan2(down, across).mul(orientations / math.pi)  # in parts, -orientations .. orientations
    row = torch.arange(rows * cell, device=grey.device) // cell * columns
    first = (row[:, None] + torch.arange(columns * cell, device=grey.device) // cell) * parts + orientations
    place = turn.add_(2e-6).floor_().long().add_(first)  # a rounding below a part's edge is on it
    votes = magnitude.new_zeros(batch, rows * columns * parts)
    votes = votes.scatter_add(1, place.flatten(1), magnitude.flatten(1)).view(batch, rows, columns, parts)
    # Half a turn is no turn: the parts below 0, those from 0 on, and the one that holds half a turn alone.
    whole = votes[..., :orientations] + votes[..., orientations:-1] + F.pad(votes[..., -1:], (0, orientations - 1))
    return whole / cell**2


def hog(grey: Tensor, cell: int, block: int, orientations: int = 9) -> Tensor:
    """``skimage.feature.hog(..., block_norm="L2-Hys")``: histograms of cells, normalised over overlapping blocks.

    Args:
        grey: (B, 1, H, W).
        cell: side of a cell in pixels.
        block: side of a block in cells.
        orientations: parts of the half circle.

    Returns:
        (B, rows, columns, block, block, orientations): ``H // cell - block + 1`` rows of blocks, alike columns.

    Raises:
        ValueError: not one block fits.
    """
    height, width = grey.shape[-2:]
    if min(height, width) < cell * block:
        raise ValueError(f"expected sides of at least {cell * block} for a block, got {height}x{width}")
    votes = oriented_histograms(grey, cell, orientations)
    blocks = votes.unfold(1, block, 1).unfold(2, block, 1).permute(0, 1, 2, 4, 5, 3)
    clipped = _unit(blocks).clamp_max(0.2)
    return _unit(clipped)


def _unit(blocks: Tensor) -> Tensor:
    # Over the root of the energy plus 1e-10; written so because an ONNX optimizer drops sums with so little.
    return blocks * (1e5 / (blocks.square().sum((3, 4, 5), keepdim=True) * 1e10 + 1).sqrt())
