"""Neighbouring pixel relationships: what is left of an image after a nearest-neighbour round trip."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def npr(image: Tensor, scale: float = 0.5) -> Tensor:
    """``x - up(down(x, scale))`` with nearest-neighbour resampling (Tan et al., CVPR 2024).

    Down to ``floor(scale * side)`` (at least 1), up to exactly the input's size, so odd sides work and nothing is
    cropped. At scale 0.5 and even sides this equals the published operator bit for bit.

    Args:
        image: (B, C, H, W).
        scale: in (0, 1]; 1 gives zeros.

    Returns:
        (B, C, H, W) signed residual, in [-1, 1] for images in [0, 1].

    >>> import torch
    >>> npr(torch.tensor([[[[1.0, 3.0, 5.0]]]]), 0.34)
    tensor([[[[0., 2., 4.]]]])
    """
    if not 0 < scale <= 1:
        raise ValueError(f"scale must be in (0, 1], got {scale}")
    size = image.shape[-2:]
    small = [max(1, int(side * scale)) for side in size]
    down = F.interpolate(image, size=small, mode="nearest")
    return image - F.interpolate(down, size=list(size), mode="nearest")


def left_difference(image: Tensor) -> Tensor:
    """Each pixel minus its left neighbour, the border replicated: the undecimated limit of NPR.

    Args:
        image: (B, C, H, W).

    Returns:
        (B, C, H, W); the first column is zero.

    >>> import torch
    >>> left_difference(torch.tensor([[[[1.0, 3.0, 6.0]]]]))
    tensor([[[[0., 2., 3.]]]])
    """
    return F.pad(image[..., 1:] - image[..., :-1], (1, 0))
