"""Colour spaces and their first differences."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.ops.srm import luma


def hsv(image: Tensor) -> Tensor:
    """Hue, saturation and value.

    Args:
        image: (B, 3, H, W) RGB in [0, 1].

    Returns:
        (B, 3, H, W): hue in turns, [0, 1), 0 for greys; saturation and value in [0, 1].

    >>> hsv(torch.tensor([0.0, 0.0, 0.5]).view(1, 3, 1, 1)).flatten().tolist()  # dark blue
    [0.6666666865348816, 1.0, 0.5]
    """
    red, green, blue = image.unbind(1)
    value, low = image.amax(1), image.amin(1)
    spread = value - low
    safe = torch.where(spread > 0, spread, 1)
    turn = torch.where(
        value == blue,
        4 + (red - green) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, (green - blue) / safe),
    )
    turn = torch.where(value == red, (green - blue) / safe, turn)
    hue = torch.where(spread > 0, (turn / 6) % 1, 0)
    saturation = spread / torch.where(value > 0, value, 1)
    return torch.stack([hue, saturation, value], 1)


def hue_plane(image: Tensor) -> Tensor:
    """Hue as a point of the colour circle, as far from its centre as the colour is saturated.

    A hue is an angle: its mean or its difference means nothing, and in a grey pixel it is noise. Cosine and sine times
    the saturation have neither trouble.

    Args:
        image: (B, 3, H, W) RGB in [0, 1].

    Returns:
        (B, 3, H, W): cosine and sine of the hue times the saturation, in [-1, 1], and the saturation itself.

    >>> hue_plane(torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)).flatten().tolist()
    [1.0, 0.0, 1.0]
    """
    hue, saturation, _ = hsv(image).unbind(1)
    angle = hue * (2 * torch.pi)
    return torch.stack([angle.cos() * saturation, angle.sin() * saturation, saturation], 1)


def ycbcr(image: Tensor) -> Tensor:
    """Full-range BT.601 as in JPEG: (B, 3, H, W) RGB in [0, 1] to luma in [0, 1] and Cb, Cr in [-0.5, 0.5].

    >>> [round(value, 4) for value in ycbcr(torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)).flatten().tolist()]
    [0.114, 0.5, -0.0813]
    """
    y = luma(image)
    return torch.cat([y, (image[:, 2:] - y) / 1.772, (image[:, :1] - y) / 1.402], 1)


def differences(planes: Tensor) -> tuple[Tensor, Tensor]:
    """First differences of (B, C, H, W) to the right and to the lower neighbour; 0 in the last column or row.

    >>> right, down = differences(torch.tensor([[[[1.0, 3.0], [6.0, 6.0]]]]))
    >>> right.flatten().tolist(), down.flatten().tolist()
    ([2.0, 0.0, 0.0, 0.0], [5.0, 3.0, 0.0, 0.0])
    """
    right = F.pad(planes[..., 1:] - planes[..., :-1], (0, 1))
    down = F.pad(planes[..., 1:, :] - planes[..., :-1, :], (0, 0, 0, 1))
    return right, down


def gradient_size(planes: Tensor, smooth: float = 1e-3) -> Tensor:
    """Length of the first differences of (B, C, H, W), with a finite slope at 0: ``sqrt(dx² + dy² + s²) - s``."""
    right, down = differences(planes)
    return (right.square() + down.square() + smooth**2).sqrt() - smooth
