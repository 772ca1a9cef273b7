"""Forensic maps and in-graph descriptors of one image, fused by any strategy of ``unmask.nn.fusion``, one logit.

Not a published design: the detector that the fusion study writes, and a bench for fusions of maps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.core.errors import ConfigError
from unmask.core.types import DetectorOutput, ViewConfig
from unmask.detectors.base import Detector, DetectorConfig, SizeRule
from unmask.detectors.fused.head import FusionHead, MapStream, VectorStream
from unmask.nn.descriptors import create_descriptor
from unmask.nn.fusion import EARLY, create_early, tokens_of
from unmask.nn.maps import create_map

GRID = 16
"""Pixels per cell to which maps are brought before they are fused."""


@dataclass(frozen=True)
class FusedConfig(DetectorConfig):
    """Settings of :class:`FusedDetector`."""

    view: ViewConfig = field(default_factory=lambda: ViewConfig(kind="face", size=128))
    maps: tuple[str, ...] = ("rgb", "lbp", "dct")
    """Names of ``unmask.nn.maps``, each a stream with a small network of its own."""
    descriptors: tuple[str, ...] = ()
    """Names of ``unmask.nn.descriptors``, each a stream of one token (beside maps: the same in every cell)."""
    fusion: str = "reliability"
    """A feature-level fusion; or an early one (concat_channels, concat_space, merge), which takes maps only."""
    fusion_options: dict[str, Any] = field(default_factory=dict)
    """Of a feature-level fusion, e.g. ``{heads: 8}``."""
    dim: int = 64
    """Channels after the fusion."""
    width: int = 16
    """Channels of a map's network at stride 2; at most four times as many later."""
    dropout: float = 0.1
    """Before the last layer."""

    def __post_init__(self) -> None:
        if not self.maps and not self.descriptors:
            raise ConfigError("bad_config", "a fused detector needs maps or descriptors, got neither")
        if self.fusion in EARLY and self.descriptors:
            raise ConfigError(
                "not_a_map",
                f"early fusion '{self.fusion}' takes maps; {', '.join(self.descriptors)} give vectors: fuse them at "
                "feature level",
            )


class FusedDetector(Detector[FusedConfig]):
    """Streams of maps and descriptors, fused, one logit.

    >>> FusedDetector(FusedConfig(width=4, dim=8)).eval()(torch.rand(2, 3, 64, 80)).logits.shape
    torch.Size([2])
    """

    config_class: ClassVar[type[DetectorConfig]] = FusedConfig

    def __init__(self, config: FusedConfig) -> None:
        super().__init__(config)
        self.maps = nn.ModuleList(create_map(name) for name in config.maps)
        self.descriptors = nn.ModuleList(create_descriptor(name) for name in config.descriptors)
        sides = {int(d.size) for d in self.descriptors if hasattr(d, "size")}  # type: ignore[arg-type]
        if sides - {config.view.size}:
            raise ConfigError(
                "bad_config",
                f"a descriptor of {', '.join(config.descriptors)} takes views of {max(sides)} pixels, got view.size = "
                f"{config.view.size}",
            )
        self.side = config.view.size if sides else None
        channels = [int(m.channels) for m in self.maps]  # type: ignore[arg-type]
        strides = [int(m.stride) for m in self.maps]  # type: ignore[arg-type]
        self.early = create_early(config.fusion, channels) if config.fusion in EARLY else None
        if self.early is not None:
            channels, strides = [self.early.out_channels], [min(strides)]
        self.stems = nn.ModuleList(MapStream(c, s, GRID, config.width) for c, s in zip(channels, strides, strict=True))
        widths = [len(d.names) for d in self.descriptors]  # type: ignore[arg-type]
        self.vectors = nn.ModuleList(VectorStream(width) for width in widths)
        dims = [int(stem.channels) for stem in self.stems] + [width + 1 for width in widths]  # type: ignore[arg-type]
        fusion = "concat" if self.early is not None else config.fusion
        self.head = FusionHead(dims, config.dim, fusion, config.fusion_options, config.dropout)

    @property
    def size_rule(self) -> SizeRule:
        """Any size from 64 that 16 divides; the view's alone where a descriptor (``hog``) is bound to it."""
        return SizeRule(minimum=64, multiple=GRID, fixed=self.side)

    def streams(self, image: Tensor) -> tuple[list[Tensor], tuple[int, int]]:
        """(B, 3, H, W) in [0, 1] to tokens (B, N, D_i) per stream, and the cells (h, w); N = h * w, (1, 1) without
        maps."""
        maps = [m(image) for m in self.maps]
        if self.early is not None:
            maps = [self.early(maps)]
        features = [stem(x) for stem, x in zip(self.stems, maps, strict=True)]
        size = (int(features[0].shape[2]), int(features[0].shape[3])) if features else (1, 1)
        features = [
            x if tuple(x.shape[2:]) == size else F.interpolate(x, size=size, mode="bilinear", align_corners=False)
            for x in features
        ]
        vectors = [
            stream(describe(image)).expand(-1, size[0] * size[1], -1)
            for stream, describe in zip(self.vectors, self.descriptors, strict=True)
        ]
        return [*(tokens_of(x) for x in features), *vectors], size

    def forward(self, image: Tensor) -> DetectorOutput:
        """(B, 3, H, W) in [0, 1] to logits, the embedding (B, dim) and, where the fusion has them, each stream's mean
        share (B, K) as ``aux["shares"]``."""
        streams, _ = self.streams(self.normalize(image))
        logits, embedding, shares = self.head(streams)
        return DetectorOutput(logits, None, embedding, None if shares is None else {"shares": shares.mean(1)})

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """``stems`` (each map's network, an early fusion's weights) and ``head``."""
        early = [] if self.early is None else list(self.early.parameters())
        return {"stems": [*early, *self.stems.parameters()], "head": list(self.head.parameters())}

    @torch.no_grad()
    def evidence(self, image: Tensor) -> dict[str, Tensor]:
        """How far each map was let in, cell by cell; nothing for fusions without such a number."""
        streams, size = self.streams(self.normalize(image))
        shares = self.head(streams).shares
        if shares is None or self.early is not None or not self.config.maps:
            return {}
        return {
            f"share of {name}": shares[:, :, i].unflatten(1, size).unsqueeze(1).clamp(0, 1)
            for i, name in enumerate(self.config.maps)
        }
