"""Settings of DCR-Net: the plan's sizes, its options, and what its ablations switch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from unmask.core.types import ViewConfig
from unmask.detectors.base import DetectorConfig

Update = Literal["queue", "rebuild", "kmeans"]


@dataclass(frozen=True)
class DCRNetConfig(DetectorConfig):
    """Settings of :class:`DCRNet`. :meth:`literal` is the plan to the letter, as far as that can be trained."""

    view: ViewConfig = field(default_factory=lambda: ViewConfig(kind="face", size=224))
    backbone: str = "resnet50"
    """A timm name, an alias such as ``EfficientNet``, a layout of ``unmask.nn.backbones``, or ``rine``: a fixed CLIP
    image tower whose blocks' class tokens are weighed by a learnt importance."""
    tower: str = "vit_large_patch14_clip_quickgelu_224"
    """The CLIP tower of ``rine``: any plain vision transformer of timm."""
    stages: int = 4
    """Deepest stage used of a backbone of maps (stage n has stride 2 ** (n + 1))."""
    frozen_stages: int = 0
    """How many of its first stages (the stem counts) stay fixed."""
    bank: int = 2048
    """Real prototypes that can be remembered."""
    hidden: int = 512
    """Width of attention, residual head and, with ``rine``, of the features."""
    top_k: int = 8
    """Nearest prototypes an image is compared with."""
    heads: int = 8
    """Of the attention; they divide ``hidden``."""
    dropout: float = 0.3
    """Inside the residual head and before the classifier."""
    momentum: float = 0.999
    """Of the encoder that makes the keys: each step it keeps this share of itself. Short runs want less."""
    update: Update = "queue"
    """What the memory holds. ``queue``: the newest keys. ``rebuild``: those of the last whole epoch, the newest if they
    are more than fit. ``kmeans``: the same, but prototypes of all of them where they are more than fit."""
    pool: int = 8192
    """Keys of one epoch kept for ``rebuild`` and ``kmeans``; the newest if there are more."""
    warmup: int = 512
    """Real images seen in training before any image is compared with the memory."""
    single_share: float = 0.5
    """Share of each batch that is then compared with the memory instead of its counterpart."""
    views: bool = True
    """Compare with another view of the counterpart (moved, other brightness, noise), not with its exact pixels: of a
    real photo nothing else would be left to compare with than itself."""
    difference: Literal["unit", "raw"] = "unit"
    """Feature vectors are brought to unit length before they are compared, or (``raw``) only the remembered ones."""
    tokens: Literal["many", "one"] = "many"
    """Attention over all differences, through a gate; or over the one pooled difference, added as it is."""

    def __post_init__(self) -> None:
        for name in ("bank", "hidden", "top_k", "heads", "pool"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if self.top_k > self.bank:
            raise ValueError(f"top_k {self.top_k} prototypes cannot come from a bank of {self.bank}")
        if self.hidden % self.heads:
            raise ValueError(f"heads {self.heads} must divide hidden {self.hidden}")
        for name in ("momentum", "single_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")

    def literal(self) -> DCRNetConfig:
        """The plan to the letter: pair mode only, exact counterparts, no momentum, one token, unequal lengths."""
        return replace(self, momentum=0.0, single_share=0.0, views=False, difference="raw", tokens="one")
