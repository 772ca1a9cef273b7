"""Global texture: how the channels of a feature map go together, wherever in the image they do."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def gram(x: Tensor) -> Tensor:
    """The Gram matrix of a feature map, per place: ``G_ij = mean over places of x_i x_j``.

    Gatys et al. (2015) without their factor; Qi (Liu, Qi and Torr), "Global Texture Enhancement for Fake Face Detection
    in the Wild" (CVPR 2020), eq. 1. Divided by the number of places, so that it does not depend on the size.

    Args:
        x: (B, C, H, W).

    Returns:
        (B, C, C), symmetric and positive semi-definite.

    >>> gram(torch.tensor([[[[1.0, 3.0]], [[2.0, 0.0]]]])).tolist()
    [[[5.0, 1.0], [1.0, 2.0]]]
    """
    flat = x.flatten(2)  # (B, C, HW)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


class GramBlock(nn.Module):
    """A feature map to a vector of its global texture, as a side branch of any backbone (Gram-Net, CVPR 2020).

    A convolution brings the map to ``width`` channels, their Gram matrix is read as an image of one channel by two
    convolutions, and pooled. A network has one at its input and one before each stage, and adds or concatenates what
    they give to its pooled features.

    Departures: the Gram matrix is divided by the number of places, and its entries go through a signed square root, so
    that it has the scale of the activations and mixed precision does not overflow.

    Args:
        in_channels: of the map.
        out_channels: of the vector.
        width: channels whose Gram matrix is taken.

    >>> GramBlock(24, 64)(torch.zeros(2, 24, 16, 12)).shape
    torch.Size([2, 64])
    """

    def __init__(self, in_channels: int, out_channels: int, width: int = 32) -> None:
        super().__init__()
        self.align = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        half = max(1, out_channels // 2)
        self.refine = nn.Sequential(
            nn.Conv2d(1, half, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(inplace=True),
            nn.Conv2d(half, out_channels, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels)."""
        with torch.autocast(x.device.type, enabled=False):
            texture = gram(self.align(x).float()).unsqueeze(1)  # (B, 1, width, width)
            texture = (texture + 1e-6).sqrt()  # of activations after a ReLU: never below 0
        pooled: Tensor = self.refine(texture).mean((2, 3))
        return pooled
