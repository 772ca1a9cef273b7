"""From a map of the image to a pyramid of features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.core.errors import ConfigError
from unmask.detectors.clmf.config import StreamConfig
from unmask.nn.backbones import Backbone
from unmask.nn.fusion import create_early
from unmask.nn.maps import create_map


def _conv(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class ConvStem(nn.Module):
    """A small network for maps that no pretrained network knows: 3 x 3 convolutions, one level per halving.

    Args:
        channels: of the map.
        stride: of the map.
        grid: stride of the deepest level.
        width: channels at stride 2; twice as many at 4, four times from 8 on.
    """

    def __init__(self, channels: int, stride: int, grid: int, width: int) -> None:
        super().__init__()
        self.channels: tuple[int, ...] = ()
        self.strides: tuple[int, ...] = ()
        self.levels = nn.ModuleList()
        first = stride if stride > 1 else 2  # a map of a coarser grid is first read as it is
        while first <= grid:
            wide = width * min(4, max(1, first // 2))
            level = nn.Sequential(_conv(channels, wide, 2 if first > stride else 1))
            if first >= 8:
                level.append(_conv(wide, wide, 1))
            self.levels.append(level)
            self.channels, self.strides = (*self.channels, wide), (*self.strides, first)
            channels, first = wide, first * 2

    def forward(self, x: Tensor) -> list[Tensor]:
        """The map to one feature map per level, finest first."""
        features = []
        for level in self.levels:
            x = level(x)
            features.append(x)
        return features


class Source(nn.Module):
    """One map of the image, each channel brought to one scale.

    RGB is what the detector's mean and standard deviation make of the image; any other map is computed from the image
    in [0, 1] and batch-normed: the channels differ in scale by orders (DCT), or hardly vary (LBP).
    """

    def __init__(self, config: StreamConfig) -> None:
        super().__init__()
        self.map = create_map(config.map, **config.options)
        self.name = config.map
        self.rgb = config.map == "rgb"
        self.norm = nn.Identity() if self.rgb else nn.BatchNorm2d(self.map.channels)

    def forward(self, image: Tensor, standard: Tensor) -> Tensor:
        """The image in [0, 1] and standardised, (B, 3, H, W) both, to (B, channels, H / stride, W / stride)."""
        return standard if self.rgb else self.norm(self.map(image))


def _network(
    config: StreamConfig, channels: int, stride: int, grid: int, side: int
) -> tuple[ConvStem | Backbone, int, int]:
    """The network for a map, the factor by which the map is laid out for it, and the side it is bound to or 0."""
    if config.backbone == "conv":
        return ConvStem(channels, stride, grid, config.width), 1, 0
    if channels % (stride * stride):
        raise ConfigError(
            "bad_config",
            f"a backbone cannot read map '{config.map}': {channels} channels per {stride} x {stride} pixels",
        )
    backbone = Backbone(
        config.backbone,
        stages=config.stages,
        in_channels=channels // (stride * stride),
        frozen_stages=config.frozen_stages,
        image_size=side,
    )
    return backbone, stride, backbone.image_size or 0


class _Reader(nn.Module):
    """What both kinds of stream have."""

    sources: nn.ModuleList
    network: ConvStem | Backbone
    layout: int
    side: int
    channels: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def maps(self) -> list[Source]:
        """The maps it reads, in order."""
        return [source for source in self.sources if isinstance(source, Source)]

    def read(self, x: Tensor) -> list[Tensor]:
        """A map, laid out if need be, through the network."""
        features: list[Tensor] = self.network(F.pixel_shuffle(x, self.layout) if self.layout > 1 else x)
        return features


class Stream(_Reader):
    """A map and its network.

    Args:
        config: which.
        grid: pixels per cell of the common grid.
        side: of the view, for backbones that are made for one size of image.
    """

    def __init__(self, config: StreamConfig, grid: int, side: int) -> None:
        super().__init__()
        self.sources = nn.ModuleList([Source(config)])
        read = self.maps[0].map
        self.network, self.layout, self.side = _network(config, read.channels, read.stride, grid, side)
        self.channels, self.strides = self.network.channels, self.network.strides

    def forward(self, image: Tensor, standard: Tensor) -> list[Tensor]:
        """One feature map per level, finest first: (B, channels[i], H / strides[i], W / strides[i])."""
        return self.read(self.maps[0](image, standard))


class EarlyStream(_Reader):
    """Several maps made one before the first stream's network reads them.

    Args:
        configs: of all streams; the network is the first one's.
        fusion: a name of `unmask.nn.fusion.EARLY`.
        grid, side: as for :class:`Stream`.
    """

    def __init__(self, configs: Sequence[StreamConfig], fusion: str, grid: int, side: int) -> None:
        super().__init__()
        self.sources = nn.ModuleList(Source(config) for config in configs)
        self.fusion = create_early(fusion, [source.map.channels for source in self.maps])
        stride = min(source.map.stride for source in self.maps)
        self.network, self.layout, self.side = _network(configs[0], self.fusion.out_channels, stride, grid, side)
        self.channels, self.strides = self.network.channels, self.network.strides
        self.tiles = len(self.sources) if fusion == "concat_space" else 1
        if self.side and self.tiles > 1:
            raise ConfigError(
                "bad_config",
                f"{configs[0].backbone} takes images of one size, not maps side by side; use another network",
            )

    def forward(self, image: Tensor, standard: Tensor) -> list[Tensor]:
        """As :class:`Stream`; maps that were tiled side by side are read in one pass, their features then averaged."""
        features = self.read(self.fusion([source(image, standard) for source in self.maps]))
        if self.tiles > 1:
            tiles = [torch.split(f, int(f.shape[3]) // self.tiles, 3)[: self.tiles] for f in features]
            features = [torch.stack(parts).mean(0) for parts in tiles]
        return features
