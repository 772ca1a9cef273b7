"""Where two images were blended: the boundary of a mask, as Face X-ray predicts it."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F


def boundary_map(mask: Tensor, soften: float = 0.0) -> Tensor:
    """``4 m (1 - m)``: 1 where both images have equal shares, 0 where only one of them is seen.

    Li et al., "Face X-ray for More General Face Forgery Detection" (CVPR 2020), eq. 2. There ``m`` has a soft edge by
    construction; a mask with a hard edge has no value between 0 and 1 and so no boundary, until it is softened.

    Args:
        mask: (B, 1, H, W) in [0, 1].
        soften: sigma in pixels of a Gaussian blur of the mask before; borders mirrored. 0: none.

    >>> import torch
    >>> boundary_map(torch.tensor([0.0, 0.25, 0.5, 1.0])).tolist()
    [0.0, 0.75, 1.0, 0.0]
    """
    if soften > 0:
        mask = _blurred(mask, soften)
    return 4.0 * mask * (1.0 - mask)


def _blurred(mask: Tensor, sigma: float) -> Tensor:
    radius = min(math.ceil(3 * sigma), min(mask.shape[-2:]) - 1)
    steps = mask.new_tensor(range(-radius, radius + 1))
    weights = (-0.5 * (steps / sigma) ** 2).exp()
    weights = weights / weights.sum()
    mask = F.pad(mask, (radius,) * 4, mode="reflect")
    mask = F.conv2d(mask, weights.view(1, 1, 1, -1))
    return F.conv2d(mask, weights.view(1, 1, -1, 1)).clamp(0.0, 1.0)
