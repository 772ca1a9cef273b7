"""Local sharpness that does not depend on contrast: how much of an octave's detail the next finer octave has."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.ops.srm import luma

FLOOR = (0.5 / 255) ** 2
"""Energy of rounding to 8 bits and a little more: what keeps flat places at 0."""
SIGMAS = (0.8, 1.6, 3.2)
"""Where octaves part, in pixels."""
POOL = 4.0
"""Sigma over which energies are averaged, in pixels."""


def blur(planes: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (B, C, H, W), borders repeated, cut off at 3 sigma.

    >>> blur(torch.ones(1, 2, 5, 9), 1.5).sub(1).abs().max().item() < 1e-6
    True
    """
    reach = max(1, round(3 * sigma))
    at = torch.arange(-reach, reach + 1, dtype=planes.dtype, device=planes.device)
    kernel = torch.exp(-(at**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(planes.shape[1], 1, 1, -1)
    padded = F.pad(planes, (reach, reach, reach, reach), mode="replicate")
    rows = F.conv2d(padded, kernel, groups=planes.shape[1])
    return F.conv2d(rows, kernel.transpose(2, 3), groups=planes.shape[1])


def octaves(image: Tensor) -> Tensor:
    """Local energy of the luma in three octaves, finest first: (B, 3, H, W) in [0, 1] to (B, 3, H, W)."""
    levels = [luma(image)]
    levels += [blur(levels[0], sigma) for sigma in SIGMAS]
    bands = torch.cat([fine - coarse for fine, coarse in pairwise(levels)], 1)
    return blur(bands**2, POOL)


def sharpness(energies: Tensor) -> Tensor:
    """Logarithm of each octave's energy over the next coarser one's: (B, 3, H, W) to (B, 2, H, W).

    An edge of any contrast has one value; blur and enlarging take the finer octave away. 0 where all is flat.

    >>> edge = torch.zeros(1, 3, 64, 64)
    >>> edge[..., 32:] = 1
    >>> sharp, soft = (sharpness(octaves(e))[0, 0, 32, 32].item() for e in (edge, blur(edge, 2.0)))
    >>> sharp - soft > 2
    True
    """
    logs = (energies + FLOOR).log()
    return logs[:, :-1] - logs[:, 1:]
