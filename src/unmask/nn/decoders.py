"""From feature pyramids back to one logit per pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _separable(channels: int) -> nn.Sequential:
    """Depthwise 3x3 then pointwise, each with its batch-norm."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


class UNetDecoder(nn.Module):
    """A light U-Net decoder: 1x1 laterals, bilinear upsampling, addition, one separable 3x3 block per level.

    Args:
        channels: channels of the feature maps, finest first.
        width: channels inside the decoder.

    >>> import torch
    >>> maps = [torch.zeros(2, 8, 32, 32), torch.zeros(2, 16, 16, 16)]
    >>> UNetDecoder([8, 16], width=4)(maps, (64, 64)).shape
    torch.Size([2, 1, 64, 64])
    """

    def __init__(self, channels: Sequence[int], width: int = 48) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, width, 1, bias=False), nn.BatchNorm2d(width)) for c in channels
        )
        self.blocks = nn.ModuleList(_separable(width) for _ in channels)
        self.predict = nn.Conv2d(width, 1, 1)
        assert self.predict.bias is not None
        nn.init.constant_(self.predict.bias, -2.0)  # most pixels are authentic

    def forward(self, features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Feature maps, finest first, to (B, 1, *size) logits."""
        x: Tensor | None = None
        for lateral, block, feature in zip(
            reversed(self.laterals), reversed(self.blocks), reversed(features), strict=True
        ):
            side = lateral(feature)
            if x is not None:
                side = side + F.interpolate(x, size=side.shape[-2:], mode="bilinear", align_corners=False)
            x = block(F.relu(side))
        assert x is not None
        logits: Tensor = self.predict(x)
        return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


def log_mean_exp(logits: Tensor, sharpness: float) -> Tensor:
    """A soft maximum of each map: ``log(mean(exp(r * x))) / r``, between mean (r to 0) and maximum (r to infinity).

    Args:
        logits: (B, 1, H, W).
        sharpness: r > 0.

    Returns:
        (B, 1).

    >>> round(float(log_mean_exp(torch.tensor([[[[0.0, 4.0]]]]), 100.0)), 2)
    3.99
    """
    flat = logits.flatten(1)
    count = torch.tensor(float(flat.shape[1]), device=flat.device, dtype=flat.dtype)
    return ((torch.logsumexp(flat * sharpness, 1) - torch.log(count)) / sharpness).unsqueeze(1)
