"""Moments of many samples at once."""

from __future__ import annotations

import torch
from torch import Tensor


def moments(values: Tensor) -> Tensor:
    """Mean, standard deviation, skewness and excess kurtosis over the last axis, as SciPy's (biased).

    Args:
        values: (..., N) float.

    Returns:
        (..., 4); skewness and kurtosis are nan where all values are equal.

    >>> moments(torch.tensor([1.0, 1.0, 4.0])).tolist()
    [2.0, 1.414..., 0.707..., -1.5...]
    """
    mean = values.mean(-1, keepdim=True)
    off = values - mean
    square = off.square()
    variance = square.mean(-1)
    spread = variance.sqrt()
    flat = spread <= 1e-6 * mean[..., 0].abs()  # rounding of the mean
    skewness = (square * off).mean(-1) / (variance * spread)
    kurtosis = square.square().mean(-1) / variance.square() - 3
    nan = torch.full_like(spread, torch.nan)
    return torch.stack([mean[..., 0], spread, torch.where(flat, nan, skewness), torch.where(flat, nan, kurtosis)], -1)


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's correlation over the last axis: (..., N) twice to (...); nan where one does not vary.

    >>> correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0, 6.0])).item()
    1.0
    """
    first, second = (part - part.mean(-1, keepdim=True) for part in (first, second))
    return (first * second).mean(-1) / (first.square().mean(-1).sqrt() * second.square().mean(-1).sqrt())
