"""Settings of CLMF: which maps are read by what, how they meet, and how the cascade answers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from unmask.core.errors import ConfigError
from unmask.core.types import ViewConfig
from unmask.detectors.base import DetectorConfig


@dataclass(frozen=True)
class StreamConfig:
    """One stream: a map of the image and the network that reads it."""

    map: str = "rgb"
    """A name of `unmask.nn.maps`: rgb, lbp, dct, fft, noise, npr, colour ..."""
    backbone: str = "conv"
    """``conv``: a small convolutional stem of its own; else any timm network, an alias such as ``Xception``, or a
    layout of `unmask.nn.backbones`. A backbone reads a map of a coarser grid laid out in place (the 64 coefficients of
    a block of 8 x 8 at their frequencies' places): one channel at the image's size."""
    stages: int = 4
    """Deepest stage used of a backbone (stage n has stride 2 ** (n + 1))."""
    frozen_stages: int = 0
    """How many of its first stages (the stem counts) stay fixed during training."""
    width: int = 16
    """Channels of ``conv`` at stride 2; twice as many at 4, four times from 8 on."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of the map."""

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ConfigError("bad_config", f"a stream's width must be 1 or more, got {self.width}")


@dataclass(frozen=True)
class CLMFConfig(DetectorConfig):
    """Settings of :class:`CLMF`. :meth:`literal` is the plan to the letter."""

    view: ViewConfig = field(default_factory=lambda: ViewConfig(kind="face", size=224))
    streams: tuple[StreamConfig, ...] = (
        StreamConfig("rgb", "Xception"),
        StreamConfig("lbp", "MobileNet"),
        StreamConfig("dct", "CoAtNet"),
    )
    """In order; the first RGB stream is the one whose backbone starts from pretrained weights."""
    fusion: str = "cross_attention"
    """How streams meet: at feature level (concat, weighted_sum, mlp, cross_attention, gating, film, pooling,
    hierarchical, reliability), or early (concat_channels, concat_space, merge), where the first stream's network reads
    what the maps became."""
    fusion_options: dict[str, Any] = field(default_factory=dict)
    """Of a feature-level fusion, e.g. `{heads: 8}`."""
    dim: int = 256
    """Channels after the fusion."""
    grid: int = 16
    """Pixels per cell of the common grid that all streams are brought to: 8, 16 or 32."""
    decoder_width: int = 48
    """Channels inside the mask decoder."""
    hidden: int = 128
    """Hidden units of the global and the local head."""
    dropout: float = 0.2
    """Before the last layer of both."""
    answer: Literal["joint", "global"] = "joint"
    """The one logit. ``joint``: the mean of the global logit and the regions' (noisy-or). ``global``: the first."""
    region_min: float = 0.01
    """A region with a smaller share of the image is skipped."""
    region_weights: Literal["equal", "area"] = "equal"
    """What a region counts in the local loss: all the same, or by their areas."""

    def __post_init__(self) -> None:
        if not self.streams:
            raise ConfigError("bad_config", "streams: at least one stream is needed")
        if self.grid not in (8, 16, 32):
            raise ConfigError("bad_config", f"grid must be 8, 16 or 32 pixels per cell, got {self.grid}")
        if not 0 <= self.region_min < 0.5:
            raise ConfigError("bad_config", f"region_min must lie in [0, 0.5), got {self.region_min}")

    def literal(self) -> CLMFConfig:
        """The plan to the letter: the answer is the global one, regions count by their areas."""
        return replace(self, answer="global", region_weights="area")
