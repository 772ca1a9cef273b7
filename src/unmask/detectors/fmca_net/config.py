"""Settings of FMCA-Net: every number of the plan, and what the ablations switch off."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from unmask.core.errors import ConfigError
from unmask.core.types import ViewConfig
from unmask.detectors.base import DetectorConfig


@dataclass(frozen=True)
class FMCANetConfig(DetectorConfig):
    """Settings of :class:`FMCANet`. :meth:`literal` is the plan to the letter."""

    view: ViewConfig = field(default_factory=lambda: ViewConfig(kind="face", size=224, margin=1.3))
    """The ViT's position embeddings are made for ``view.size``; its patch must divide it."""
    backbone: str = "vit_base_patch14_dinov2"
    """Any plain vision transformer of timm."""
    vit_stem: str | None = None
    """A network of `unmask.nn.backbones` whose map at stride 16 the ViT reads in the place of patches of pixels, and
    which then is what starts from published weights; null = none."""
    vit_width: int | None = None
    """Channels of the ViT's tokens; null = as published."""
    vit_depth: int | None = None
    """Blocks of the ViT; null = as published."""
    ftma: bool = True
    """Forgery-aware token multi-scale attention on the ViT's tokens."""
    ftma_widths: tuple[float, ...] = (0.25, 0.5, 1.0)
    """Widths of its paths, as shares of the tokens' channels."""
    ftma_pool: Literal["token", "mean"] = "token"
    """``token``: a weight per token and channel. ``mean``: averaged over tokens, one channel gate for all."""
    ftma_alpha: float = 1e-3
    """Start of the learnt strength."""
    frequency: bool = True
    """The Haar branch; without it SFCM and GSFC fall away too."""
    standardize_bands: bool = True
    """Batch-norm on the twelve bands: as they are, LL spreads 10 to 40 times wider than the details and drowns them."""
    frequency_channels: tuple[int, ...] = (64, 128, 256, 256, 128)
    """Channels after each convolution of the frequency network."""
    frequency_strides: tuple[int, ...] = (1, 2, 1, 2, 1)
    """Stride of each."""
    sfcm: bool = True
    """Spatial and frequency tokens query each other."""
    sfcm_heads: int = 8
    """Heads of each cross-attention; they divide the tokens' channels."""
    sfcm_dropout: float = 0.1
    """On what each attention adds."""
    sfcm_gate: float = 0.0
    """Start of both learnt gates, before the sigmoid."""
    gsfc: bool = True
    """Weigh the frequency summary by a learnt gate; without, it is only concatenated."""
    gsfc_gamma: float = 0.0
    """Start of that gate, before the sigmoid."""
    summary: Literal["tokens", "cls"] = "tokens"
    """What stands for an image. ``tokens``: LayerNorm of class token plus mean patch token; mean of the frequency
    tokens after SFCM. ``cls``: the class token alone; the average of the frequency map before SFCM, whose frequency
    half then reaches nothing and is not built."""
    frequency_features: int = 128
    """The frequency summary is compressed to this."""
    hidden: int = 256
    """Hidden units of the classifier."""
    dropout: float = 0.1
    """Before the classifier's last layer."""

    def __post_init__(self) -> None:
        if len(self.frequency_channels) != len(self.frequency_strides) or not self.frequency_channels:
            raise ConfigError(
                "bad_config",
                "frequency_channels and frequency_strides need one number per convolution each, got "
                f"{len(self.frequency_channels)} and {len(self.frequency_strides)}",
            )
        if not self.ftma_widths or min(self.ftma_widths) <= 0:
            raise ConfigError("bad_config", f"ftma_widths must be shares above 0, got {self.ftma_widths}")

    def literal(self) -> FMCANetConfig:
        """The plan to the letter: weights averaged over tokens, bands as they are, class token, plain average."""
        return replace(self, ftma_pool="mean", standardize_bands=False, summary="cls")
