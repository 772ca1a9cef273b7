"""Fixed high-pass kernels of steganalysis (spatial rich model), as one convolution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

LUMA = (0.299, 0.587, 0.114)
"""BT.601 weights of red, green, blue."""

_K: dict[str, Sequence[Sequence[int]]] = {
    "sobel_h": ((-1, -2, -1), (0, 0, 0), (1, 2, 1)),
    "sobel_v": ((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)),
    "log": ((0, 0, -1, 0, 0), (0, -1, -2, -1, 0), (-1, -2, 16, -2, -1), (0, -1, -2, -1, 0), (0, 0, -1, 0, 0)),
    "edge1": ((0, 0, 0, 0, 0), (-1, -2, 0, 2, 1), (0, 0, 0, 0, 0), (1, 2, 0, -2, -1), (0, 0, 0, 0, 0)),
    "edge2": ((-1, 0, 1, 0, -1), (-2, 0, 2, 0, -2), (0, 0, 0, 0, 0), (2, 0, -2, 0, 2), (1, 0, -1, 0, 1)),
    "edge3": ((0, -1, 0, 1, 0), (0, -2, 0, 2, 0), (0, 0, 0, 0, 0), (0, 2, 0, -2, 0), (0, 1, 0, -1, 0)),
    "square3": ((-1, 2, -1), (2, -4, 2), (-1, 2, -1)),
    "square5": ((-1, 2, -2, 2, -1), (2, -6, 8, -6, 2), (-2, 8, -12, 8, -2), (2, -6, 8, -6, 2), (-1, 2, -2, 2, -1)),
    "d33": ((1, -3, 3, -1), (-3, 9, -9, 3), (3, -9, 9, -3), (-1, 3, -3, 1)),
    "d44": ((1, -4, 6, -4, 1), (-4, 16, -24, 16, -4), (6, -24, 36, -24, 6), (-4, 16, -24, 16, -4), (1, -4, 6, -4, 1)),
}
SRM_NAMES = tuple(_K)
"""Names of the ten kernels, in channel order."""


def srm_kernels(*, unit_l1: bool = True) -> Tensor:
    """The ten kernels, zero-padded to 5x5 (the 4x4 one gets its extra row and column at the bottom and right).

    Args:
        unit_l1: scale each to unit L1 norm (their gains run from 8 to 256 otherwise).

    Returns:
        (10, 1, 5, 5) float32; every kernel sums to 0.

    >>> srm_kernels().shape, float(srm_kernels(unit_l1=False).sum().abs())
    (torch.Size([10, 1, 5, 5]), 0.0)
    """
    padded = []
    for rows in _K.values():
        kernel = torch.tensor(rows, dtype=torch.float32)
        before = 1 if len(rows) == 3 else 0
        after = 5 - len(rows) - before
        padded.append(F.pad(kernel, (before, after, before, after)))
    kernels = torch.stack(padded).unsqueeze(1)
    return kernels / kernels.abs().sum((2, 3), keepdim=True) if unit_l1 else kernels


def luma(image: Tensor) -> Tensor:
    """BT.601 luma of (B, 3, H, W) RGB in [0, 1]: (B, 1, H, W)."""
    return LUMA[0] * image[:, :1] + LUMA[1] * image[:, 1:2] + LUMA[2] * image[:, 2:3]


def srm(image: Tensor, kernels: Tensor) -> Tensor:
    """High-pass residuals of the luma.

    Args:
        image: (B, 3, H, W) RGB in [0, 1].
        kernels: (10, 1, 5, 5) from :func:`srm_kernels`, on the image's device.

    Returns:
        (B, 10, H, W); zero padding at the border.
    """
    return F.conv2d(luma(image), kernels, padding=2)
