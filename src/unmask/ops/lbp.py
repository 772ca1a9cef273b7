"""Local binary patterns: which of its eight neighbours are not darker than a pixel."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

PATTERNS = 10
"""Rotation-invariant uniform patterns of eight neighbours: 0 to 8 bright ones in a row, and all that are not."""

_RING = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))
_REACH = 0.70711
"""Row and column of a diagonal neighbour on the unit circle, to the five digits that scikit-image keeps."""


def uniform_patterns(grey: Tensor) -> Tensor:
    """The rotation-invariant uniform pattern of every pixel (Ojala et al., 2002), P = 8, R = 1.

    A neighbour's bit is 1 where it is at least the pixel; the four diagonal ones are interpolated bilinearly, and
    outside the image is 0. A ring with at most two changes gets the number of its ones, 0 to 8, any other 9. Equal to
    ``skimage.feature.local_binary_pattern(grey, 8, 1, "uniform")`` for whole grey levels.

    Args:
        grey: (B, 1, H, W) grey levels, whole numbers (0 to 255) in a float type.

    Returns:
        (B, 1, H, W) int32 in 0..9. Not differentiable.

    >>> uniform_patterns(torch.full((1, 1, 3, 3), 7.0))[0, 0, 1, 1].item()  # flat: nobody is darker
    8
    """
    height, width = grey.shape[-2:]
    around = F.pad(grey, (1, 1, 1, 1))
    # (9 differences): rows then columns -1, 0, 1
    off = {
        (row, column): around[..., 1 + row : 1 + row + height, 1 + column : 1 + column + width] - grey
        for row, column in _RING
    }
    bits = [
        off[at]
        if 0 in at
        else _REACH * off[at] + (1 - _REACH) * (off[at[0], 0] + off[0, at[1]])  # the pixel's own share is 0
        for at in _RING
    ]
    ring = torch.cat(bits, 1) >= 0  # (B, 8, H, W)
    changes = (ring ^ torch.cat([ring[:, -1:], ring[:, :-1]], 1)).sum(1, keepdim=True, dtype=torch.int32)
    ones = ring.sum(1, keepdim=True, dtype=torch.int32)
    return torch.where(changes <= 2, ones, PATTERNS - 1)


def pattern_planes(patterns: Tensor) -> Tensor:
    """(B, 1, H, W) patterns to (B, 10, H, W) planes of 0 and 1, one per pattern: their numbers are no metric space.

    >>> pattern_planes(torch.tensor([[[[0, 9]]]]))[0, :, 0].argmax(0).tolist()
    [0, 9]
    """
    kinds = torch.arange(PATTERNS, device=patterns.device, dtype=patterns.dtype).view(1, PATTERNS, 1, 1)
    return (patterns == kinds).float()
