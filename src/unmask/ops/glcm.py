"""Co-occurrence of grey levels: how often two levels stand at a fixed distance and direction from each other."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LEVELS = 256
PROPERTIES = ("contrast", "dissimilarity", "homogeneity", "energy", "correlation", "ASM", "entropy")
"""Haralick's measures (1973), named as in scikit-image."""

Offset = tuple[int, int]


def pair_offset(distance: float, degrees: float) -> Offset:
    """Rows and columns to the second pixel of a pair, as scikit-image counts them: whole pixels, y downwards.

    >>> pair_offset(3, 45), pair_offset(1, 90)
    ((2, 2), (1, 0))
    """
    angle = math.radians(degrees)
    return round(math.sin(angle) * distance), round(math.cos(angle) * distance)


def co_occurrence(grey: Tensor, offset: Offset) -> Tensor:
    """Symmetric co-occurrence counts at one offset: ``skimage.feature.graycomatrix(..., 256, symmetric=True)``.

    Args:
        grey: (B, 1, H, W) uint8, sides over the offset.
        offset: rows (0 or more) and columns from a pixel to its partner.

    Returns:
        (B, 256, 256) int32; every pair is counted in both orders.

    >>> counts = co_occurrence(torch.tensor([[[[0, 0, 5]]]], dtype=torch.uint8), (0, 1))[0]
    >>> counts[0, 0].item(), counts[0, 5].item(), counts[5, 0].item(), counts.sum().item()
    (2, 1, 1, 4)
    """
    batch, _, height, width = grey.shape
    down, across = offset
    left, right = max(0, -across), max(0, across)
    one = grey[:, 0, : height - down, left : width - right].long()
    other = grey[:, 0, down:, right : width - left]
    pairs = one.mul_(LEVELS).add_(other).flatten(1)
    counts = torch.zeros(batch, LEVELS**2, dtype=torch.int32, device=grey.device)
    single = torch.ones(1, 1, dtype=torch.int32, device=grey.device).expand_as(pairs)
    counts = counts.scatter_add(1, pairs, single).view(batch, LEVELS, LEVELS)
    return counts + counts.mT


def co_occurrence_properties(counts: Tensor) -> Tensor:
    """All of :data:`PROPERTIES`: ``skimage.feature.graycoprops``.

    Args:
        counts: (B, 256, 256) symmetric, from :func:`co_occurrence`.

    Returns:
        (B, 7) float32. Of a flat image the correlation is 1, as in scikit-image.
    """
    batch = counts.shape[0]
    share = counts.float().flatten(1)  # counts below 2**24: exact
    total = share.sum(1, keepdim=True)
    level = torch.arange(LEVELS, device=counts.device, dtype=torch.float32)
    apart = (level[:, None] - level).abs()
    weights = torch.stack([apart.square(), apart, 1 / (1 + apart.square())], 2)  # (256, 256, 3)
    entropy = total[:, 0].log() - (share.clamp_min(1).log() * share).sum(1) / total[:, 0]
    share = share / total
    second = share.square().sum(1)
    share = share.view(batch, LEVELS, LEVELS)
    # Row by row and then over the rows: one sum of 65536 numbers would lose four digits.
    contrast, dissimilarity, homogeneity = (share.transpose(0, 1) @ weights).sum(0).unbind(1)
    margin = share.sum(2)
    mean = margin @ level
    variance = (margin * (level - mean[:, None]).square()).sum(1)
    # Both margins are one: E[(i - j)²] = 2 variance - 2 covariance.
    safe = torch.where(variance > 0, variance, 1)
    correlation = torch.where(contrast > 0, 1 - contrast / (2 * safe), 1)
    return torch.stack([contrast, dissimilarity, homogeneity, second.sqrt(), correlation, second, entropy], 1)
