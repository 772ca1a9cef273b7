"""Early fusion: forensic maps of one image made one input, before any network has seen them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.core.errors import ConfigError


class EarlyFusion(nn.Module, ABC):
    """K maps (B, C_i, H_i, W_i) to one (B, ``out_channels``, H, W).

    Maps of a coarser stride are first enlarged (bilinear) to the finest one's size.

    Args:
        channels: of each map.

    Raises:
        ConfigError: no map, or a width below 1.
    """

    line: ClassVar[str]
    """What it does, for people, in one line."""
    paper: ClassVar[str] = "the usual reference"
    out_channels: int

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.channels = tuple(channels)
        if not self.channels or min(self.channels) < 1:
            raise ConfigError("bad_config", f"early fusion needs maps of at least one channel, got {self.channels}")

    def aligned(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The maps at one size.

        Raises:
            ConfigError: something is not a map, or the maps have other channels than promised.
        """
        flat = [tuple(x.shape) for x in maps if x.ndim != 4]
        if flat:
            raise ConfigError(
                "not_a_map",
                f"early fusion takes maps (B, C, H, W), got a vector of shape {flat[0]}; fuse vectors at feature level",
            )
        if tuple(x.shape[1] for x in maps) != self.channels:
            raise ConfigError(
                "bad_config", f"expected maps of {self.channels} channels, got {tuple(x.shape[1] for x in maps)}"
            )
        size = (max(x.shape[2] for x in maps), max(x.shape[3] for x in maps))
        return [
            x if tuple(x.shape[2:]) == size else F.interpolate(x, size=size, mode="bilinear", align_corners=False)
            for x in maps
        ]

    @abstractmethod
    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """K maps to one."""


class ConcatChannels(EarlyFusion):
    """All channels stacked: RGB, FFT and LBP become 9 channels or so."""

    line = "the maps' channels stacked"

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__(channels)
        self.out_channels = sum(self.channels)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """To (B, sum of C_i, H, W)."""
        return torch.cat(self.aligned(maps), 1)


class _Common(EarlyFusion):
    """Maps brought to the channels of the widest: those that have them stay as they are, others through a 1x1."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__(channels)
        self.out_channels = most = max(self.channels)
        self.widen = nn.ModuleList(
            nn.Identity() if c == most else nn.Conv2d(c, most, 1, bias=False) for c in self.channels
        )

    def common(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """K maps (B, ``out_channels``, H, W)."""
        return [widen(x) for widen, x in zip(self.widen, self.aligned(maps), strict=True)]


class ConcatSpace(_Common):
    """The maps tiled side by side, one wide picture."""

    line = "the maps tiled side by side"

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """To (B, most of C_i, H, K * W)."""
        return torch.cat(self.common(maps), 3)


class Merge(_Common):
    """A weighted sum of the aligned signals; weights = softmax of K learned numbers, equal at first."""

    line = "a weighted sum of the aligned maps"

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__(channels)
        self.weights = nn.Parameter(torch.zeros(len(self.channels))) if len(self.channels) > 1 else None

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """To (B, most of C_i, H, W)."""
        parts = torch.stack(self.common(maps), 1)
        return parts[:, 0] if self.weights is None else torch.einsum("bkchw,k->bchw", parts, self.weights.softmax(0))
